"""What an algorithm of the leaderboard is: two methods, and weights that can be saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from benchmarks.leaderboard.entries import ENTRIES
from rss_env.arguments import load_function
from rss_env.errors import InputError, check_choice

METHODS = ("learn", "predict", "state_dict", "load_state_dict")


class Algorithm(Protocol):
    """A way to learn from scores, made with `num_classes`, `image_size`, `seed` and its settings.

    A `torch.nn.Module` has the last two methods already. Random numbers of Python, NumPy and torch
    are seeded before it is made.

    Attributes:
        environment: Arguments of the environment that it wants, such as `num_envs`, `group_size`,
            `scales` and `array`; what is shown and told is the track's.
    """

    environment: Mapping[str, Any]

    def learn(self, env: Any, budget: int) -> None:
        """Learn from a vector environment.

        It counts the scores itself (`env.unwrapped.score_queries`). A step that would ask for more
        than the budget raises a `BudgetSpentError`; where that is not caught, learning ends there.

        Args:
            env: Of the training split.
            budget: Scores that may be asked for: maps, each times its scales.
        """
        ...

    def predict(self, images: torch.Tensor) -> Any:
        """Classes (B, H, W) of images (B, H, W, 3) uint8: integers, a tensor or an array."""
        ...

    def state_dict(self) -> Mapping[str, torch.Tensor]:
        """All that `predict` needs, by name."""
        ...

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> Any:
        """Predict as what `state_dict` was taken from; called on an object that has not learned."""
        ...


def load_algorithm(name: str) -> Any:
    """The class of an entry, or the one that `module:name` names.

    Raises:
        InputError: If there is none, or it lacks a method.
    """
    if ":" not in name:
        check_choice("algo", name, [*ENTRIES, "<module>:<class>"])
    found = load_function("algo", ENTRIES.get(name, name))
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing:
        raise InputError(
            f"algo {name!r} has no {', '.join(missing)}; needed: {', '.join(METHODS)} (a "
            "torch.nn.Module has the last two)"
        )
    return found


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings `name=value`; a value is JSON, or otherwise a string.

    Raises:
        InputError: If one has no name, or one is given twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or name in settings:
            raise InputError(f"settings must be name=value, each once, got {text!r}")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def make_algorithm(
    name: str, num_classes: int, image_size: tuple[int, int], seed: int, settings: Mapping[str, Any]
) -> Algorithm:
    """Make an algorithm that has not learned.

    Raises:
        InputError: If there is none of this name, or it does not take the settings.
    """
    made = load_algorithm(name)
    try:
        return made(num_classes=num_classes, image_size=image_size, seed=seed, **settings)
    except TypeError as error:
        raise InputError(f"algo {name!r} cannot be made: {error}") from error


def checked_prediction(answer: Any, images: torch.Tensor, num_classes: int) -> torch.Tensor:
    """What an algorithm predicts, as class maps (B, H, W) uint8.

    Raises:
        InputError: If it is anything else than one class for each pixel.
    """
    maps, shape = torch.as_tensor(answer), images.shape[:3]
    if maps.shape != shape or maps.is_floating_point() or maps.is_complex():
        raise InputError(
            f"predict must give whole numbers of shape {tuple(shape)}, got {maps.dtype} of shape "
            f"{tuple(maps.shape)}"
        )
    if maps.min() < 0 or maps.max() >= num_classes:
        raise InputError(
            f"predict must give classes 0..{num_classes - 1}, got {int(maps.min())} to "
            f"{int(maps.max())}"
        )
    return maps.to(torch.uint8)
