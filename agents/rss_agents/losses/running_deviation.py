"""The unit that advantages are measured in: SyncAN, over scales, images, ranks and updates."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rss_agents.losses.advantages import count_and_squares, differ, root_mean_square


class RunningDeviation:
    """Root mean square of the advantages of the cells that differ, over all batches so far.

    One deviation for all scales leaves the balance between them, and between rewards and entropy,
    as it is. And a batch in which few cells differ counts by those few, so that it does not weigh
    as much as one in which many do: nor does a policy learn faster for being surer.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        """Begin without any."""
        self._moments = torch.zeros(2, dtype=torch.float64, device=device)

    def observe(self, advantages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Take in a batch of advantages, and give the deviation of all so far.

        Args:
            advantages: Those of each scale, of any shape; they are centred, so that their mean is
                not subtracted again, and 0 where maps agree.

        Returns:
            A positive scalar of their type; infinite if those of the batch are zero to rounding, so
            that a batch whose maps all score alike weighs nothing. One all-reduce of two numbers
            over the ranks.
        """
        everywhere = torch.cat([part.flatten() for part in advantages])
        newest = count_and_squares(everywhere, everywhere != 0)
        self._moments.add_(newest)
        deviation = root_mean_square(self._moments).to(everywhere.dtype)
        return torch.where(differ(newest), deviation, torch.inf)

    def get_state(self) -> dict[str, torch.Tensor]:
        """Number of the cells so far, and the sum of their squares."""
        return {"moments": self._moments}

    def set_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a state of `get_state`."""
        self._moments.copy_(state["moments"])
