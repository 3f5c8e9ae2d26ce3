"""All cells of an action map as one batched categorical distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from torch.distributions import Categorical, Distribution, register_kl

from rss_agents.algorithms.sampling import sample_maps
from rss_agents.random_draws import RandomDraws
from rss_env.errors import InputError


class CellCategoricals(Distribution):
    """Independent classes of all cells, for what SB3 asks PyTorch's distributions: divergences.

    Attributes:
        log_probabilities: (B, C, P) of every cell's classes.
        cells: Number of cells of each scale, to average over; None to sum over all.
    """

    def __init__(self, log_probabilities: torch.Tensor, cells: Sequence[int] | None):
        self.log_probabilities, self.cells = log_probabilities, cells
        super().__init__(log_probabilities.shape[:1], validate_args=False)

    def over_cells(self, values: torch.Tensor) -> torch.Tensor:
        """The sum (B,) of values of cells (B, P), or the mean of the scales' means."""
        if self.cells is None:
            return values.sum(1)
        return torch.stack([part.mean(1) for part in values.split(self.cells, 1)]).mean(0)


@register_kl(CellCategoricals, CellCategoricals)
def _divergence(p: CellCategoricals, q: CellCategoricals) -> torch.Tensor:
    """The Kullback-Leibler divergence (B,) in nats; TRPO of sb3-contrib is bounded by it."""
    apart = p.log_probabilities - q.log_probabilities
    return p.over_cells((p.log_probabilities.exp() * apart).sum(1))


class MapCategoricalDistribution(MultiCategoricalDistribution):
    """Independent classes of all cells, kept as one tensor instead of a distribution per cell.

    Numerically it is SB3's own `MultiCategoricalDistribution` of equal dimensions.

    Attributes:
        log_probabilities: (B, C, P) of every cell's classes.
    """

    log_probabilities: torch.Tensor

    def __init__(self, action_dims: Sequence[int], cells: Sequence[int] | None = None):
        """Describe the cells.

        Args:
            action_dims: Number of classes of each cell, the same for all.
            cells: Number of cells of each scale: log-probability and entropy are then the mean over
                each scale's cells and over scales, instead of sums over all cells.

        Raises:
            InputError: If cells differ in their number of classes.
        """
        super().__init__([int(dimension) for dimension in action_dims])
        if len(set(self.action_dims)) != 1:
            raise InputError(
                f"cells must have one number of classes, got {sorted(set(self.action_dims))}"
            )
        self.cells = None if cells is None else list(cells)

    def proba_distribution(self, action_logits: torch.Tensor) -> MapCategoricalDistribution:
        """Take logits (B, C, P); or (B, P * C), cell by cell, as SB3's own has them."""
        if action_logits.ndim == 2:
            by_cell = action_logits.unflatten(1, (len(self.action_dims), -1))
            action_logits = by_cell.transpose(1, 2)
        self.log_probabilities = action_logits.log_softmax(1)
        self._of_cells = CellCategoricals(self.log_probabilities, self.cells)
        # SB3 has one for each cell; one for all serves where it goes through them.
        self.distribution = cast("list[Categorical]", [self._of_cells])
        return self

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Log-probability (B,) of maps (B, P), whole numbers of any dtype."""
        index = actions.long()[:, None]
        return self._of_cells.over_cells(self.log_probabilities.gather(1, index)[:, 0])

    def entropy(self) -> torch.Tensor:
        """Entropy (B,) in nats."""
        return self._of_cells.over_cells(
            -(self.log_probabilities.exp() * self.log_probabilities).sum(1)
        )

    def sample(self) -> torch.Tensor:
        """A class for every cell, (B, P) int64, drawn with torch's global state on the CPU."""
        probabilities = self.log_probabilities.exp()
        draws = RandomDraws(torch.default_generator, probabilities.device)
        return sample_maps(probabilities, 1, draws)[:, 0].long()

    def mode(self) -> torch.Tensor:
        """The most likely class of every cell, (B, P) int64."""
        return self.log_probabilities.argmax(1)
