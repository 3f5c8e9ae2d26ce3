"""Arguments of Stable-Baselines3's algorithms with which they learn on action maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rss_agents.sb3.rollouts import MapRolloutBuffer

_WARM_UP = 0.1  # share of a training


def warm_up_and_fall(peak: float) -> Callable[[float], float]:
    """A schedule of the learning rate for SB3: up in the first tenth, then down to 0, in lines.

    Args:
        peak: What the falling line starts from; a tenth of it is gone when the warm-up ends.

    Returns:
        A function of the share of the training that is left, 1..0.
    """

    def rate(remaining: float) -> float:
        return peak * remaining * min(1.0, (1.0 - remaining) / _WARM_UP)

    return rate


def ppo_arguments(
    num_envs: int = 64,
    *,
    group_size: int = 1,
    peak: float = 3e-3,
    entropy: float = 0.02,
    epochs: int = 2,
) -> dict[str, Any]:
    """Arguments of SB3's `PPO` with which it learns on these environments.

    One step of all sub-environments is a batch: episodes last one step, so that longer rollouts are
    only larger batches, and discounting has nothing to discount.

    Args:
        num_envs: N.
        group_size: K of the environment; above 1, maps of an image are compared with one another.
        peak: Of the learning rate, which rises in the first tenth and then falls to 0.
        entropy: Coefficient of the entropy, in deviations of the reward.
        epochs: Passes over each batch.
    """
    return {
        "batch_size": num_envs,
        "n_epochs": epochs,
        "ent_coef": entropy,
        "learning_rate": warm_up_and_fall(peak),
        **_common(group_size),
    }


def a2c_arguments(
    *, group_size: int = 1, peak: float = 3e-3, entropy: float = 0.02
) -> dict[str, Any]:
    """Arguments of SB3's `A2C` with which it learns on these environments.

    Args:
        group_size: K of the environment; above 1, maps of an image are compared with one another.
        peak: Of the learning rate, which rises in the first tenth and then falls to 0.
        entropy: Coefficient of the entropy, in deviations of the reward.
    """
    return {
        "normalize_advantage": True,
        "use_rms_prop": False,
        "ent_coef": entropy,
        "learning_rate": warm_up_and_fall(peak),
        **_common(group_size),
    }


def _common(group_size: int) -> dict[str, Any]:
    return {
        "n_steps": 1,
        "gamma": 0.0,
        "rollout_buffer_class": MapRolloutBuffer,
        "rollout_buffer_kwargs": {"group_size": group_size},
    }
