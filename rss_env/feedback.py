"""The part of a score that the agent may see, and scores from somewhere else than labels.

Real feedback is coarse and noisy: a number of stars, a noisy measurement, or only which of several
results is better. A `Feedback` turns exact scores into such feedback. A `Scorer` replaces labels
altogether: a reward model, a person, a downstream metric.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rss_env import counter_random
from rss_env.arguments import load_function
from rss_env.arrays import assert_on_device
from rss_env.augmentation import Variation
from rss_env.errors import InputError, check_choice

KINDS = ("exact", "rating", "noisy", "ranking")
_DEFAULT_AMOUNT = {"rating": 5.0, "noisy": 0.05}
_MOST = 1e6  # stars, or noise: of scores in [0, 1], in float32


class Scorer(Protocol):
    """Function that scores action maps. Called once per scale and step with the whole batch."""

    def __call__(self, images: Any, action_maps: Any, /) -> Any:
        """Score K maps of each image.

        Args:
            images: (G, H, W, 3) uint8; arrays or tensors, as the environment's `array` says.
            action_maps: (G, K, H, W) uint8 class indices, painted onto the pixels.

        Returns:
            (G, K) scores in [0, 1].
        """
        ...


@dataclass(frozen=True)
class ScoringContext:
    """The images that a scorer is asked about: which they are, and how they are shown.

    Attributes:
        names: G names of the images: of files their paths, otherwise their numbers.
        index: (G,) int64, their numbers in the data set.
        mirrored: (G,) bool, which of them are shown flipped horizontally.
        variation: How they are zoomed and recoloured; None if they are not.
        scale: Side in pixels of the cells that the maps are made of; 1 for pixels.
        is_validation: Whether nothing is learned from the scores.
    """

    names: tuple[str, ...]
    index: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]
    variation: Variation | None = None
    scale: int = 1
    is_validation: bool = False


class ContextScorer(Protocol):
    """Scorer that also asks which images it judges: one with a parameter named `context`."""

    def __call__(self, images: Any, action_maps: Any, /, *, context: ScoringContext) -> Any:
        """Score K maps of each image; see `Scorer`."""
        ...


AnyScorer = Scorer | ContextScorer


def takes_context(scorer: AnyScorer) -> bool:
    """Tell whether a scorer has a parameter named `context`."""
    called: Any = scorer.forward if isinstance(scorer, nn.Module) else scorer
    try:
        return "context" in inspect.signature(called).parameters
    except (TypeError, ValueError):  # of built-in functions little is known
        return False


def load_scorer(scorer: AnyScorer | str | None) -> AnyScorer | None:
    """Resolve a scorer given as `module:function`; a callable is returned as it is.

    Raises:
        InputError: If the name cannot be imported or is not callable.
    """
    if not isinstance(scorer, str):
        if scorer is not None and not callable(scorer):
            raise InputError(f"scorer must be callable or 'module:function', got {scorer!r}")
        return scorer
    return load_function("scorer", scorer)


def call_scorer(
    scorer: AnyScorer,
    images: torch.Tensor,
    action_maps: torch.Tensor,
    *,
    numpy: bool,
    context: ScoringContext | None = None,
) -> torch.Tensor:
    """Ask a scorer, and check its answer.

    Args:
        scorer: What to ask.
        images: (G, H, W, 3) uint8.
        action_maps: (G, K, H, W) uint8.
        numpy: Whether the scorer is given NumPy arrays rather than tensors.
        context: Of the images, for a scorer that takes one (`takes_context`); None for another.

    Returns:
        (G, K) float32 in [0, 1] on the images' device.

    Raises:
        InputError: If the answer is not of numbers, has another shape, or a value that is not in
            [0, 1].
    """
    ask: Any = scorer
    # Copies: what a scorer changes in place is nothing that others see or learn from.
    copies = images.clone(), action_maps.clone()
    shown = tuple(part.numpy() for part in copies) if numpy else copies
    answer = ask(*shown) if context is None else ask(*shown, context=context)
    expected = tuple(action_maps.shape[:2])
    try:
        given = torch.as_tensor(answer, dtype=torch.float32, device=images.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        got = " ".join(repr(answer).split())[:60]
        raise InputError(f"scorer must return {expected} numbers, got {got}") from None
    scores = given.detach().clone()  # a scorer may fill the same array at every call
    if tuple(scores.shape) != expected:
        raise InputError(f"scorer must return shape {expected}, got {tuple(scores.shape)}")
    legal = (scores >= 0) & (scores <= 1)  # false for NaN
    if scores.device.type == "cpu":
        if not legal.all():
            raise InputError(f"scorer must return scores in [0, 1], got {scores[~legal][0]}")
    else:
        assert_on_device(legal.all(), "scorer must return scores in [0, 1]")
    return scores


def rank_within_group(scores: torch.Tensor) -> torch.Tensor:
    """Rank (G, K, ...) scores along K, from 0 (worst) to 1 (best); ties share their mean.

    NaN has no rank and counts in nobody's; a score that has no other beside it gets 0.5.
    """
    others = scores.unsqueeze(1)  # (G, 1, K, ...) against (G, K, 1, ...)
    own = scores.unsqueeze(2)
    below = (others < own).sum(2)
    ties = (others == own).sum(2) - 1
    compared = (~scores.isnan()).sum(1, keepdim=True) - 1
    ranks = (below + 0.5 * ties).float() / compared.clamp(min=1)
    ranks = torch.where(compared > 0, ranks, 0.5)
    return torch.where(scores.isnan(), torch.nan, ranks)


@dataclass(frozen=True)
class Feedback:
    """A kind of feedback, written `exact`, `rating`, `noisy` or `ranking`.

    `rating:n` quantises to n steps (n + 1 values, default 5 stars); `noisy:sigma` adds Gaussian
    noise of that deviation (default 0.05); `ranking` keeps the order within each group.
    """

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, text: str, group_size: int) -> Feedback:
        """Read `kind` or `kind:amount`.

        Raises:
            InputError: If the kind or the amount is invalid, or ranking has nothing to rank.
        """
        if not isinstance(text, str):
            raise InputError(f"feedback must be a string such as 'rating:5', got {text!r}")
        kind, colon, amount_text = text.partition(":")
        check_choice("feedback", kind, KINDS)
        if kind == "ranking" and group_size < 2:
            raise InputError("feedback 'ranking' needs group_size > 1: it ranks a group's maps")
        if not colon:
            return cls(kind, _DEFAULT_AMOUNT.get(kind, 0.0))
        try:
            amount = float(amount_text)
        except ValueError:
            amount = -1.0
        whole = kind == "rating" and 1 <= amount <= _MOST and amount.is_integer()
        if not (whole or (kind == "noisy" and 0 <= amount <= _MOST)):
            raise InputError(
                f"feedback {text!r:.100} is invalid; valid: exact, ranking, "
                f"rating:<whole number of stars>, noisy:<standard deviation>, each to {_MOST:g}"
            )
        return cls(kind, amount)

    @property
    def variance(self) -> float:
        """Variance of what is seen about the exact score; 0 for `exact` and for `ranking`."""
        if self.kind == "rating":
            return 1.0 / (12.0 * self.amount**2)  # of rounding, uniform over a step
        return self.amount**2 if self.kind == "noisy" else 0.0

    @staticmethod
    def noise_states(
        seeds: npt.ArrayLike,
        episodes: npt.ArrayLike,
        shape: tuple[int, int],
        steps: npt.ArrayLike = 0,
    ) -> npt.NDArray[np.int64]:
        """What the host knows of the noise of scores (G, K, X): (G, K, X) random bits.

        Args:
            seeds: (G,) seed of each group.
            episodes: (G,) episode number of each group.
            shape: (K, X).
            steps: (G,) steps of the episode that lie behind, or one number for all groups.
        """
        columns = np.asarray(steps)[..., None, None] * shape[1]
        return counter_random.hash_counters(
            np.asarray(seeds)[:, None, None],
            np.asarray(episodes)[:, None, None],
            counter_random.NOISE_STREAM,
            np.arange(shape[0])[None, :, None],
            columns + np.arange(shape[1])[None, None, :],
        ).view(np.int64)

    def apply(
        self,
        scores: torch.Tensor,
        noise_states: Callable[[tuple[int, int]], torch.Tensor],
        judged: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """Turn exact scores into what is seen of them.

        Args:
            scores: (G, K, X) float32, X scores (of scales, classes or cells) of each map; NaN
                stays NaN.
            noise_states: Gives those of the groups for (K, X), on the scores' device; see
                `noise_states`. Asked if there is any noise.
            judged: Gives (G, K, X) int64 there, numbers of what each score is of, such as the map.

        Returns:
            (G, K, X) float32. Noise is a function of seed, episode, step, k, column and what is
            judged, and of nothing else: another map has another noise, and the same map the same.
        """
        if self.kind == "rating":
            return (scores * self.amount).round() / self.amount
        if self.kind == "noisy":
            states = noise_states((scores.shape[1], scores.shape[2]))
            noise = counter_random.normal_of_keys(states, judged())
            return scores + (self.amount * noise).float()
        if self.kind == "ranking":
            return rank_within_group(scores)
        return scores
