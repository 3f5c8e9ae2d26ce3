"""What the scores of an image's maps say of its regions, told by all of them together.

A score of an unknown formula is taken, near a network's answers, for a sum over regions: each class
adds something to a map's score where it is drawn. With a normal prior on these effects, the same for
all, and normal noise, their posterior mean follows from the scored maps of the image, few or many.
How strong noise is beside effects is told by how well each score is predicted by the others.

Source: ridge regression in its dual form, and leave-one-out residuals in closed form (Rasmussen and
Williams, Gaussian Processes for Machine Learning, sections 2.2 and 5.4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from rss_agents.distributed import mean_over_ranks
from rss_env.action_maps import ActionMapGeometry

_RIDGES = tuple(10.0 ** (-4 + 0.5 * i) for i in range(9))  # noise over effects
_FREE = 1e3  # prior variance of what the scores of a group have in common
_DECAY = 0.9


class RegionEffects:
    """Posterior means of what classes add to scores, region by region."""

    def __init__(self, geometry: ActionMapGeometry, blocks: int, *, by_group: bool, device: Any):
        self._geometry, self._by_group = geometry, by_group
        rows, columns = geometry.grids[0]
        self._shape = (min(blocks, rows), min(blocks, columns))
        row = torch.arange(rows, device=device) * self._shape[0] // rows
        column = torch.arange(columns, device=device) * self._shape[1] // columns
        self._block = (row[:, None] * self._shape[1] + column).flatten() * geometry.num_classes
        self._surprise = torch.zeros(len(_RIDGES), dtype=torch.float64, device=device)
        self._left = torch.zeros(len(_RIDGES), dtype=torch.float64, device=device)
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        self._weight = torch.zeros((), dtype=torch.float64, device=device)
        self._unit = torch.zeros((), dtype=torch.float64, device=device)

    def histograms(self, maps: torch.Tensor) -> torch.Tensor:
        """Shares (B, M, blocks * C) of the classes in the blocks of maps (B, M, P)."""
        size = self._shape[0] * self._shape[1] * self._geometry.num_classes
        places = self._block + maps.long()
        ones = torch.ones((), device=maps.device).expand(places.shape)
        counts = torch.zeros(*maps.shape[:2], size, device=maps.device).scatter_add_(
            2, places, ones
        )
        return counts / (maps.shape[2] / (self._shape[0] * self._shape[1]))

    def __call__(self, maps, scores, valid, counted, *, observe: bool) -> torch.Tensor:
        """Effects (B, C, P) in units of their typical size, as far as scores are predicted.

        maps (B, V, K, P) uint8, scores (B, V, K), valid (B, V), counted (B, V, K).
        """
        batch, groups, size = scores.shape
        there = valid[:, :, None].expand_as(scores).flatten(1)  # (B, M)
        weight = there.double()
        shares = self.histograms(maps.flatten(1, 2)) * weight[..., None].float()
        group = torch.arange(groups, device=maps.device).repeat_interleave(size)
        if not self._by_group:
            group = torch.zeros_like(group)
        same = (group[:, None] == group) * weight[:, :, None] * weight[:, None]  # (B, M, M)
        mean = same / same.sum(2, keepdim=True).clamp(min=1)
        eye = torch.eye(len(group), dtype=torch.float64, device=maps.device)
        centre = (eye - mean) * weight[:, :, None]
        gram = (shares @ shares.mT).double() / (self._shape[0] * self._shape[1])
        kernel = centre @ gram @ centre.mT
        y = centre @ scores.flatten(1).double()[..., None]
        values, vectors = torch.linalg.eigh(kernel + _FREE * same)
        turned = vectors.mT @ y
        asked = (counted.flatten(1) & there) & (there.sum(1, keepdim=True) > 2)
        if observe:
            surprises, lefts = [], []
            for ridge in _RIDGES:
                inverse = (vectors / (values.clamp(min=0) + ridge)[:, None]) @ vectors.mT
                a, d = (inverse @ y)[..., 0], inverse.diagonal(dim1=1, dim2=2)
                number = asked.sum().clamp(min=1)
                spread = ((a.square() / d) * asked).sum() / number
                surprises.append(spread.clamp(min=1e-30).log() - (d.log() * asked).sum() / number)
                lefts.append(((a / d).square() * asked).sum() / number)
            n = weight.sum(1, keepdim=True)
            out = (y[..., 0] * n / (n - 1).clamp(min=1)).square()
            stats = torch.cat(
                [
                    torch.stack(surprises),
                    torch.stack(lefts),
                    ((out * asked).sum() / asked.sum().clamp(min=1))[None],
                ]
            )
            stats = mean_over_ranks(stats)
            if bool(asked.any()):
                k = len(_RIDGES)
                for mine, new in (
                    (self._surprise, stats[:k]),
                    (self._left, stats[k : 2 * k]),
                    (self._total, stats[-1]),
                    (self._weight, torch.ones_like(self._weight)),
                ):
                    mine.mul_(_DECAY).add_(new, alpha=1 - _DECAY)
        best = int(self._surprise.argmin())
        explained = (
            float((1 - self._left[best] / self._total.clamp(min=1e-30)).clamp(0, 1))
            if self._weight > 0
            else 0.0
        )
        a = vectors @ (turned / (values.clamp(min=0) + _RIDGES[best])[..., None])
        a = centre.mT @ a  # (B, M, 1)
        effects = (a.mT.float() @ shares)[:, 0].view(batch, *self._shape, -1).permute(0, 3, 1, 2)
        reach = (effects.amax(1) - effects.amin(1)).square().mean().sqrt().double()
        if observe:
            unit = mean_over_ranks(reach[None])[0]
            self._unit.copy_(unit if self._unit == 0 else _DECAY * self._unit + (1 - _DECAY) * unit)
        self.explained, self.ridge = explained, _RIDGES[best]
        effects = effects * (explained**0.5) / self._unit.clamp(min=1e-30).float()
        grid = self._geometry.grids[0]
        return F.interpolate(effects, grid, mode="bilinear").flatten(2)
