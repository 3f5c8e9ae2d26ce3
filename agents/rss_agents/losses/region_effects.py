"""What the scores of an image's maps say of its regions, told by all of them together.

A score R of an unknown formula is taken, near a network's answers, for a sum over regions r:

    R_m = sum over r, c of x_mrc * w_rc + offset + noise,     w_rc ~ N(0, s^2 / regions),

x_mrc the share of class c in region r of map m. The offset is any, of the image or, where only
orders are told, of a group. The effects w are the posterior means given all scored maps of the
image, few or many: with X of rows x_m and y the scores less their mean,

    w = X' a,     a = (X X' / regions + ridge * I + offsets)^-1 y.

The ridge, the variance of noise over s^2, is that under which each score is most likely given the
others of its image, over the last batches. How much of the differences of scores the others predict
so says how far effects are to be believed.

Source: ridge regression in its dual form, and leave-one-out predictions in closed form (Rasmussen
and Williams, Gaussian Processes for Machine Learning, sections 2.2 and 5.4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from rss_agents.distributed import mean_over_ranks
from rss_agents.losses.region_effects_config import RegionEffectsConfig
from rss_agents.replay.region_memory import ScoredRegions
from rss_env.action_maps import ActionMapGeometry

RIDGES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 1))
_OFFSET_VARIANCE = 1e3  # over s^2: any offset, but for rounding
_LEAST = 1e-30
_DECAY = 0.9  # of running means, per batch that is scored


class RegionEffects:
    """Posterior means of what classes add to scores, region by region; and how good they are."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        config: RegionEffectsConfig,
        *,
        by_group: bool,
        device: torch.device | str,
    ):
        """Know nothing yet of scores.

        Args:
            geometry: Of the maps, at one scale.
            config: How many regions there are.
            by_group: Whether only scores of one group can be compared.
            device: Of the maps.
        """
        self._grid, self._classes, self._by_group = (
            geometry.grids[0],
            geometry.num_classes,
            by_group,
        )
        rows, columns = (min(config.regions, side) for side in self._grid)
        self._regions = rows, columns
        row = torch.arange(self._grid[0], device=device) * rows // self._grid[0]
        column = torch.arange(self._grid[1], device=device) * columns // self._grid[1]
        self._region_of = (row[:, None] * columns + column).flatten()
        self._share = (1.0 / torch.bincount(self._region_of))[self._region_of]  # of each cell
        self._ridges = torch.tensor(RIDGES, dtype=torch.float64, device=device)
        # Running means: of each ridge, how unlikely scores are and what is left unexplained of
        # their squares; their squares; the square of how far the effects of a region go.
        self._unlikely = torch.zeros_like(self._ridges)
        self._left = torch.zeros_like(self._ridges)
        self._squares = torch.zeros((), dtype=torch.float64, device=device)
        self._reach = torch.zeros_like(self._squares)

    @property
    def num_shares(self) -> int:
        """Shares of a map: regions times classes."""
        return self._regions[0] * self._regions[1] * self._classes

    @property
    def ridge(self) -> torch.Tensor:
        """The variance of noise over that of effects, a scalar."""
        return self._ridges[self._unlikely.argmin()]

    @property
    def explained(self) -> torch.Tensor:
        """Share of the squared differences of scores that other scores predict, a scalar, 0..1."""
        left = self._left[self._unlikely.argmin()]
        return (1 - left / self._squares.clamp(min=_LEAST)).clamp(0, 1) * (self._squares > 0)

    def shares(self, maps: torch.Tensor) -> torch.Tensor:
        """Shares (B, K, R * C) float32, 0..1, of the classes in the regions of maps (B, K, P)."""
        places = self._region_of * self._classes + maps.long()
        found = torch.zeros(*maps.shape[:2], self.num_shares, device=maps.device)
        return found.scatter_add_(2, places, self._share.expand(places.shape))

    def observe(self, scored: ScoredRegions) -> None:
        """Take in the newest scores, beside those before of the same images.

        Only maps that were drawn are predicted, of images with three maps at least: answers are
        alike. A batch whose scores are all the same says nothing.
        """
        compared = self._compare(scored)
        asked = compared.there & scored.counted.flatten(1)
        asked &= compared.there.sum(1, keepdim=True) > 2
        weight = asked.double() / mean_over_ranks(asked.sum().double()[None]).clamp(min=1)
        count = compared.comparable
        alone = compared.scores * count / (count - 1).clamp(min=1)  # less the mean of the others
        values, vectors = torch.linalg.eigh(compared.kernel)
        inverse = (values.clamp(min=0) + self._ridges[:, None, None]).reciprocal()  # (ridges, B, M)
        diagonal = torch.einsum("bmi,rbi->rbm", vectors.square(), inverse)
        turned = torch.einsum("bmi,bm->bi", vectors, compared.scores)
        solved = torch.einsum("bmi,rbi->rbm", vectors, inverse * turned)
        sums = [
            (weight * solved.square() / diagonal).sum((1, 2)),
            (weight * diagonal.log()).sum((1, 2)),
            (weight * (solved / diagonal).square()).sum((1, 2)),
            (weight * alone.square()).sum()[None],
        ]
        spread, precision, left, squares = mean_over_ranks(torch.cat(sums)).split(
            [len(RIDGES)] * 3 + [1]
        )
        rate = (squares[0] > 0).double() * (1 - _DECAY)
        self._unlikely.lerp_(spread.clamp(min=_LEAST).log() - precision, rate)
        self._left.lerp_(left, rate)
        self._squares.lerp_(squares[0], rate)
        reach = self._effects(compared)
        reach = (reach.amax(1) - reach.amin(1)).square().mean().double()
        reach = mean_over_ranks(reach[None])[0]
        self._reach.lerp_(reach, torch.where(self._reach > 0, rate, (rate > 0).double()))

    def __call__(self, scored: ScoredRegions) -> torch.Tensor:
        """Effects (B, C, P) of the classes of cells, in units of their usual reach.

        The reach is how far the best class of a region is above the worst. Effects are less than
        one as far as scores are not explained; 0 of images that are not known.
        """
        effects = self._effects(self._compare(scored))
        scale = (self.explained / self._reach.clamp(min=_LEAST)).sqrt()
        return F.interpolate(effects * scale.float(), self._grid, mode="bilinear").flatten(2)

    def _compare(self, scored: ScoredRegions) -> _Compared:
        """All maps of each image, less what those that can be compared have in common."""
        batch, groups, size = scored.scores.shape
        there = scored.valid[:, :, None].expand(batch, groups, size).flatten(1)
        group = torch.arange(groups, device=there.device).repeat_interleave(size)
        if not self._by_group:
            group = torch.zeros_like(group)
        same = ((group[:, None] == group) & there[:, :, None] & there[:, None]).double()
        own = torch.eye(len(group), dtype=torch.float64, device=there.device) * there[:, None]
        comparable = same.sum(2)
        centre = own - same / comparable[..., None].clamp(min=1)
        shares = scored.shares.flatten(1, 2).float() * there[..., None]
        products = (shares @ shares.mT).double() / (self._regions[0] * self._regions[1])
        return _Compared(
            there,
            comparable,
            shares,
            centre,
            centre @ products @ centre.mT + _OFFSET_VARIANCE * same,
            (centre @ scored.scores.flatten(1).double()[..., None])[..., 0],
        )

    def _effects(self, compared: _Compared) -> torch.Tensor:
        """Effects (B, C, rows, columns) of the classes of regions, in units of scores."""
        noise = self.ridge * torch.eye(
            compared.kernel.shape[1], dtype=torch.float64, device=compared.kernel.device
        )
        factor = torch.linalg.cholesky(compared.kernel + noise)
        solved = torch.cholesky_solve(compared.scores[..., None], factor)
        solved = (compared.centre.mT @ solved).mT.float()  # (B, 1, M)
        effects = (solved @ compared.shares).view(-1, *self._regions, self._classes)
        return effects.permute(0, 3, 1, 2)

    def get_state(self) -> dict[str, Any]:
        """The running means."""
        return {
            "unlikely": self._unlikely,
            "left": self._left,
            "squares": self._squares,
            "reach": self._reach,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        for name, value in self.get_state().items():
            value.copy_(state[name])


@dataclass(frozen=True)
class _Compared:
    """The M maps of each image of a batch, of all groups.

    Attributes:
        there: (B, M) bool, which there are.
        comparable: (B, M) float64, maps whose scores can be compared, with it.
        shares: (B, M, R * C) float32, 0 of those that are not there.
        centre: (B, M, M) float64, takes the mean of comparable maps away.
        kernel: (B, M, M) float64, covariances of scores under effects of variance 1 / R, and
            offsets.
        scores: (B, M) float64, less the mean.
    """

    there: torch.Tensor
    comparable: torch.Tensor
    shares: torch.Tensor
    centre: torch.Tensor
    kernel: torch.Tensor
    scores: torch.Tensor
