"""Arguments of Stable-Baselines3's algorithms with which they learn on action maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rss_agents.sb3.rollouts import MapRolloutBuffer


def warm_up_and_fall(peak: float, warm_up: float = 0.1) -> Callable[[float], float]:
    """A schedule of the learning rate for SB3: up at first, then down to 0, in lines.

    Args:
        peak: Start of the falling line, a part of which is gone when the warm-up ends.
        warm_up: Share of the training in which it rises.

    Returns:
        A function of the share of the training that is left, 1..0.
    """

    def rate(remaining: float) -> float:
        return peak * remaining * min(1.0, (1.0 - remaining) / warm_up)

    return rate


def ppo_arguments(
    num_envs: int = 64,
    *,
    group_size: int = 1,
    peak: float = 3e-3,
    entropy: float = 0.02,
    epochs: int = 2,
    warm_up: float = 0.1,
) -> dict[str, Any]:
    """Arguments of SB3's `PPO` with which it learns on these environments.

    One step of all sub-environments is a batch: episodes last one step, so that longer rollouts are
    only larger batches, and discounting has nothing to discount.

    Args:
        num_envs: N.
        group_size: K of the environment; above 1, maps of an image are compared with one another.
        peak: Of the learning rate, which rises at first and then falls to 0.
        entropy: Coefficient of the entropy, in deviations of the reward.
        epochs: Passes over each batch.
        warm_up: Share of the training in which the learning rate rises.
    """
    common = _common(group_size, peak, entropy, warm_up)
    return {"batch_size": num_envs, "n_epochs": epochs, **common}


def a2c_arguments(
    *, group_size: int = 1, peak: float = 3e-3, entropy: float = 0.02, warm_up: float = 0.1
) -> dict[str, Any]:
    """Arguments of SB3's `A2C` with which it learns on these environments; see `ppo_arguments`."""
    common = _common(group_size, peak, entropy, warm_up)
    return {"normalize_advantage": True, "use_rms_prop": False, **common}


def _common(group_size: int, peak: float, entropy: float, warm_up: float) -> dict[str, Any]:
    return {
        "n_steps": 1,
        "gamma": 0.0,
        "ent_coef": entropy,
        "learning_rate": warm_up_and_fall(peak, warm_up),
        "rollout_buffer_class": MapRolloutBuffer,
        "rollout_buffer_kwargs": {"group_size": group_size},
    }
