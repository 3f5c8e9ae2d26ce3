"""The unit that advantages are measured in: SyncAN, for all scales, images, ranks and updates."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rss_agents.losses.advantages import synchronised_deviation


class AdvantageUnit:
    """Root mean square of the advantages of the cells that differ, in the first batch with such.

    With it, scores of any unit teach alike. That it is one for all scales and stays as it is leaves
    the balance between scales, between updates, and between rewards and entropy alone.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        """Begin without any."""
        self._unit = torch.full((), torch.inf, dtype=torch.float64, device=device)

    def observe(self, advantages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Give the unit for a batch of advantages, which may be the first.

        Args:
            advantages: Those of each scale, of any shape; they are centred, so that their mean is
                not subtracted again, and 0 where maps agree.

        Returns:
            A positive scalar of their type; infinite if those of the batch are zero to rounding, so
            that a batch whose maps all score alike weighs nothing. One all-reduce of two numbers
            over the ranks.
        """
        everywhere = torch.cat([part.flatten() for part in advantages])
        deviation = synchronised_deviation(everywhere, everywhere != 0)
        self._unit.copy_(torch.where(self._unit.isinf(), deviation, self._unit))
        return torch.where(deviation.isinf(), torch.inf, self._unit).to(everywhere.dtype)

    def get_state(self) -> dict[str, torch.Tensor]:
        """The unit; infinite if there is none yet."""
        return {"unit": self._unit}

    def set_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state of `get_state`."""
        self._unit.copy_(state["unit"])
