"""Whether a run's updates are replayed as one CUDA graph, and what stands against it."""

from __future__ import annotations

from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.distributed import rank, world_size
from rss_agents.training.config import TrainConfig
from rss_env.captured_rounds import warn_not_captured


def obstacle(config: TrainConfig, *, compares_answers: bool = False) -> str | None:
    """Why the updates of a run cannot be replayed; None if they can.

    Args:
        config: The options.
        compares_answers: Whether the host compares the start's answers with what is learned.
    """
    if config.algo in SB3_ALGORITHMS:
        return f"{config.algo} is trained by Stable-Baselines3"
    if config.scorer is not None:
        return f"--scorer {config.scorer} is asked by the host"
    if world_size() > 1:
        return "several processes average gradients"
    if config.queries is not None:
        return "--queries has updates that ask and updates that recall"
    if config.algo == "rss" and config.agent.objective == "expert_iteration":
        return "--objective expert_iteration searches biases before it learns"
    if compares_answers:
        return "answers of the network it starts from are compared by the host (--keep-answers)"
    return None


def captures_updates(config: TrainConfig, device_type: str, **known: bool) -> bool:
    """Whether updates are to be replayed; on CUDA what stands against it is said once.

    Args:
        config: The options.
        device_type: Of the device that is trained on.
        **known: Of `obstacle`.
    """
    if device_type != "cuda" or not config.capture:
        return False
    reason = obstacle(config, **known)
    if reason is not None and rank() == 0:
        warn_not_captured("the update", reason)
    return reason is None
