"""A pass over a split: what is answered for each image once, and the metric of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rss_env.errors import InputError
from rss_env.kernels.paint_cells import paint_cells
from rss_env.labels import VOID
from rss_env.rewards import score_counts_in_double
from rss_env.scenes import Scenes, count_classes

_STATE = ("seen", "right", "predicted")


def best_maps(scenes: Scenes, scale: int) -> torch.Tensor:
    """The most frequent class of every cell, painted onto its pixels: (M, H, W) uint8.

    Pixels of no class get class 0, which counts nowhere.
    """
    table = scenes.label_table(scale)
    if table.ndim == 2:  # pixels: the label itself
        assert scenes.labels is not None
        return torch.where(scenes.labels == VOID, 0, scenes.labels)
    cells = table[..., :-1].argmax(2).to(torch.uint8)
    return paint_cells(cells, scenes.image_size[1] // scale, scale)


def reference_scores(scenes: Scenes, metric: str, scale: int) -> tuple[float, float]:
    """The metric of a whole split under answers that need no training.

    Args:
        scenes: The split, with labels.
        metric: A key of `rewards.METRICS`.
        scale: Side in pixels of the cells that maps are made of.

    Returns:
        Of the split's most frequent class everywhere, and of each cell's most frequent class, which
        is about the best there is at this scale (of pixels it is the label).
    """
    assert scenes.labels is not None
    assert scenes.class_pixels is not None
    labelled = scenes.class_pixels.sum(0)
    valid = scenes.labels != VOID
    majority = torch.full_like(scenes.labels, int(labelled.argmax()))

    def score(maps: torch.Tensor) -> float:
        right = count_classes(torch.where(maps == scenes.labels, maps, VOID), scenes.num_classes)
        predicted = count_classes(torch.where(valid, maps, VOID), scenes.num_classes)
        return float(score_counts_in_double(metric, right.sum(0), predicted.sum(0), labelled))

    return score(majority), score(best_maps(scenes, scale))


class SplitPass:
    """What was answered in a pass over a split so far.

    An image counts once in a pass, with its first answer. When all were seen, the next answer
    begins another pass.

    Attributes:
        references: `reference_scores` of the split.
    """

    def __init__(self, scenes: Scenes, metric: str, scale: int, rewarded: str):
        """Begin a pass.

        Args:
            scenes: The split, with labels.
            metric: A key of `rewards.METRICS`.
            scale: Side in pixels of the cells of the maps that are the answers.
            rewarded: `dataset` or `normalised`: what the mean of the gains is; or `images`.

        Raises:
            InputError: If the normalised score is to be gained, and there is none: the most
                frequent class is the best answer.
        """
        self.references = reference_scores(scenes, metric, scale)
        if rewarded == "normalised" and self.references[1] <= self.references[0]:
            raise InputError(
                "evaluation 'normalised' needs labels of several classes: here one class "
                "everywhere is the best answer; valid: images, dataset"
            )
        assert scenes.class_pixels is not None
        self._labelled = scenes.class_pixels.cpu().numpy()
        self._metric, self._normalises = metric, rewarded == "normalised"
        self.clear()

    def clear(self) -> None:
        """Begin a new pass."""
        self._seen: dict[int, None] = {}  # in order
        self._totals = np.zeros((3, self._labelled.shape[1]), np.int64)

    def add(
        self,
        index: npt.NDArray[np.int64],
        counts: npt.NDArray[np.integer],
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Count answers, one after the other.

        Args:
            index: (B,) numbers of images.
            counts: (B, 2, C) true positives and predicted pixels of their maps.
            counted: (B,) which of them are answers; None for all. The others get zeros.

        Returns:
            (B,) each, after each answer: `dataset_score`, the metric of all images of the pass so
            far; `normalised_score`, the same from 0, the most frequent class everywhere, to 1, the
            best maps; and `gains`, whose mean over a pass is one or the other of the whole split.
        """
        if counted is not None:
            told = self.add(index[counted], counts[counted])
            whole = {name: np.zeros(len(index)) for name in told}
            for name, values in told.items():
                whole[name][counted] = values
            return whole
        totals, numbers = [self._totals.copy()], [len(self._seen)]
        begins = np.zeros(len(index), np.bool_)
        for row, (image, found) in enumerate(zip(index.tolist(), counts, strict=True)):
            if len(self._seen) == len(self._labelled):
                self.clear()
                begins[row] = True
            if image not in self._seen:
                self._seen[image] = None
                self._totals[:2] += found
                self._totals[2] += self._labelled[image]
            totals.append(self._totals.copy())
            numbers.append(len(self._seen))
        parts = torch.from_numpy(np.stack(totals)).unbind(1)
        scores = score_counts_in_double(self._metric, *parts).numpy()
        normalised = self.normalise(scores)
        gained = np.where(numbers, normalised if self._normalises else scores, 0.0) * numbers
        return {
            "dataset_score": scores[1:],
            "normalised_score": normalised[1:],
            "gains": gained[1:] - np.where(begins, 0.0, gained[:-1]),
        }

    def normalise(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores of the split from 0, the most frequent class, to 1, the best maps; or NaN."""
        majority, best = self.references
        return (scores - majority) / (best - majority) if best > majority else scores * np.nan

    def get_state(self) -> dict[str, list[int]]:
        """What has been answered, as lists of integers."""
        right, predicted, _ = self._totals
        return dict(zip(_STATE, ([*self._seen], right.tolist(), predicted.tolist()), strict=True))

    def parse_state(self, state: Any) -> tuple[list[int], npt.NDArray[np.int64]]:
        """Images seen and totals (3, C) of a state of `get_state`.

        Raises:
            InputError: If it is none of a pass over this split.
        """
        count, classes = self._labelled.shape
        parts: list[Any] = [state.get(n) if isinstance(state, Mapping) else None for n in _STATE]
        whole = all(
            isinstance(part, list) and all(type(v) is int and 0 <= v < 2**62 for v in part)
            for part in parts
        )
        seen, *found = parts
        if (
            not whole
            or len({*seen}) < len(seen)
            or any(image >= count for image in seen)
            or any(len(part) != classes for part in found)
        ):
            raise InputError(
                f"state must hold {', '.join(_STATE)} of a pass over {count} images with {classes} "
                f"classes, got {parts!r:.200}"
            )
        return seen, np.array([*found, self._labelled[seen].sum(0)], np.int64)

    def set_state(self, state: Any) -> None:
        """Go on from a state of `get_state`.

        Raises:
            InputError: If it is none of a pass over this split.
        """
        seen, self._totals = self.parse_state(state)
        self._seen = dict.fromkeys(seen)
