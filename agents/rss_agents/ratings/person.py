"""A scorer that asks a person, through files; and one that answers from ratings given before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rss_agents.ratings.store import Question, RatingBook, keys_of, unrated
from rss_env.arrays import as_tensor
from rss_env.datasets.base import voc_palette
from rss_env.errors import InputError, check_value

_CLASSES = 256  # that a map of uint8 can name
_ALIKE = 0.5  # score of maps that nobody is asked about any more


class StoppedWaitingError(RuntimeError):
    """Somebody has asked the program to stop while it waited for ratings."""


class PersonScorer:
    """Scores maps by what a person says on the page of `rss-watch` or `rss-rate`.

    A map that was rated before, in this run or in an earlier one, is not asked for again.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        stars: int = 5,
        pairs: bool = False,
        class_names: Sequence[str] = (),
        palette: npt.NDArray[np.uint8] | None = None,
        asks: bool = True,
        should_stop: Callable[[], bool] = lambda: False,
        poll_seconds: float = 0.1,
    ):
        """Bind a folder of questions and ratings.

        Args:
            folder: Where they lie; it is made if it is missing.
            stars: Most stars that can be given.
            pairs: Whether to ask which of two maps is better instead; K is even then.
            class_names: Of the classes, to be shown.
            palette: (C, 3) uint8, their colours; by default those of VOC.
            asks: Whether to ask for what has no rating, and to wait for it.
            should_stop: Is asked again and again while waiting.
            poll_seconds: How often to look for ratings.

        Raises:
            InputError: If `stars` is less than 1, or there is nothing to answer from.
        """
        check_value(stars >= 1, "stars", "at least 1", stars)
        self._book = RatingBook(folder)
        if not asks and not self._book.path.is_file():
            raise InputError(f"there are no ratings at {self._book.path}")
        self._stars, self._asks, self._poll = 1 if pairs else stars, asks, poll_seconds
        self._pairs = pairs
        self._class_names = tuple(class_names)
        self._palette = voc_palette(_CLASSES) if palette is None else palette
        self._should_stop = should_stop

    def __call__(self, images: Any, action_maps: Any) -> npt.NDArray[np.float32]:
        """Stars as a share of all there are.

        Args:
            images: (G, H, W, 3) uint8, arrays or tensors.
            action_maps: (G, K, H, W) uint8, painted onto the pixels.

        Returns:
            (G, K) float32 in [0, 1].

        Raises:
            InputError: If pairs are asked for and K is odd, a map has no rating and nobody is to be
                asked, or a rating is damaged.
            StoppedWaitingError: If the program was asked to stop meanwhile.
            OSError: If the question cannot be written.
        """
        images, action_maps = (as_tensor(array).cpu().numpy() for array in (images, action_maps))
        if self._pairs and action_maps.shape[1] % 2:
            count = action_maps.shape[1]
            raise InputError(f"maps are compared in pairs: group_size must be even, got {count}")
        keys = keys_of(images, action_maps)
        scores = self._book.scores()
        if missing := unrated(keys, scores):
            if not self._asks:
                raise InputError(
                    f"{self._book.path} has no rating of {len(missing)} of the "
                    f"{sum(map(len, keys))} maps asked for: a run is replayed with the options, "
                    "the seed, the data and the versions it was rated with"
                )
            self._book.ask(
                Question(
                    images,
                    action_maps,
                    self._stars,
                    self._class_names,
                    self._palette,
                    self._pairs,
                )
            )
            while unrated(keys, self._book.scores()):
                if self._should_stop():
                    raise StoppedWaitingError("stopped while waiting for ratings")
                time.sleep(self._poll)
            self._book.close()
        # Maps of an image that is good enough are alike.
        return np.array([[scores.get(key, _ALIKE) for key in group] for group in keys], np.float32)
