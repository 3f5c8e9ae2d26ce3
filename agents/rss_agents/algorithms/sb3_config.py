"""The options of Stable-Baselines3, which commands read whether it is installed or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rss_env.errors import check_value

SB3_FILE = "sb3.zip"  # SB3's own checkpoint, in the folder of a run
ALGORITHMS = ("sb3-ppo", "sb3-a2c")


@dataclass(frozen=True)
class SB3Config:
    """The hyper-parameters of PPO and A2C of Stable-Baselines3 (sb3-ppo, sb3-a2c).

    The optimiser is SB3's own, without weight decay; the learning rate rises to nearly its peak
    in the first part of the training, then falls.
    """

    policy: Literal["maps", "cnn"] = "maps"
    """maps: --network, all cells in one distribution. cnn: SB3's CnnPolicy, for few cells."""
    entropy: float = 0.02
    """Coefficient of the entropy: of a cell for maps, of all cells together for cnn."""
    epochs: int = 2
    """sb3-ppo: passes over each batch."""
    warm_up: float = 0.1
    """Share of the training in which the learning rate rises."""

    def check(self) -> None:
        """Refuse values that make no sense, with an `InputError`."""
        check_value(0 <= self.entropy < float("inf"), "sb3 entropy", "at least 0", self.entropy)
        check_value(self.epochs >= 1, "sb3 epochs", "at least 1", self.epochs)
        check_value(0 < self.warm_up < 1, "sb3 warm_up", "between 0 and 1", self.warm_up)
