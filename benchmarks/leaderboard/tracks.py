"""Tracks: the same data, budget of scores and feedback for all rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from benchmarks.learning.suites import SUITES
from rss_agents.command_line import FilesConfig
from rss_env.arguments import check_image_size
from rss_env.config import ONE_STEP_LEVELS
from rss_env.datasets import default_image_size, open_dataset
from rss_env.errors import InputError, check_choice, check_value
from rss_env.registration import environment_ids, parse_environment_id
from rss_env.scenes import Scenes, load_scenes

FOLDER = "folder"  # the suite of one's own files
QUERIES = (1_000, 10_000, 64_000)
# What an algorithm is told, with the level and the arguments of the environment.
TOLD: dict[str, tuple[str, dict[str, Any]]] = {
    "image": ("ImageReward", {"scale_scores": False}),
    "scales": ("ImageReward", {}),
    "cells": ("PixelReward", {}),
    "ranking": ("ImageReward", {"feedback": "ranking"}),
}
# The same of episodes of several steps, which are told of each step, or at the end.
_TOLD_IN_STEPS: dict[str, dict[str, Any]] = {"image": {"show_scores": False}, "scales": {}}
# Arguments of environments that say what is shown, scored and told: not an algorithm's to choose.
_OF_THE_TRACK = (
    *("dataset", "level", "split", "exclude", "image_size", "resize", "metric", "class_balanced"),
    *("feedback", "scorer", "scale_scores", "class_scores", "evaluation", "query_budget"),
    "show_scores",
)


@dataclass(frozen=True)
class Track:
    """What the rows of a table have in common.

    Attributes:
        suite: Name of the data: a suite of `benchmarks.learning`, or `folder`.
        queries: Budget of scores.
        told: A key of `TOLD`.
        level: Of the environment id: how an episode goes.
    """

    suite: str
    queries: int
    told: str
    level: str

    @classmethod
    def of(cls, suite: str, queries: int, told: str, level: str | None = None) -> Track:
        """The track of these names.

        Raises:
            InputError: If there is none.
        """
        check_choice("suite", suite, [*SUITES, FOLDER])
        check_choice("told", told, TOLD)
        check_value(queries >= 1, "queries", "at least 1", queries)
        levels = dict.fromkeys(parse_environment_id(name)[1] for name in environment_ids())
        level = check_choice("level", level or TOLD[told][0], levels)
        if level not in ONE_STEP_LEVELS:
            check_choice(f"told of {level}", told, _TOLD_IN_STEPS)
        return cls(suite, queries, told, level)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the environment: what it tells."""
        return TOLD[self.told][1] if self.level in ONE_STEP_LEVELS else _TOLD_IN_STEPS[self.told]

    @property
    def name(self) -> str:
        """As folders and tables call it."""
        own = TOLD[self.told][0]
        return f"{self.suite}-{self.family}".replace(f"{own}-", "")

    @property
    def family(self) -> str:
        """What it has in common with the tracks of other data."""
        return f"{self.level}-{self.told}-{self.queries}"

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.suite}, {self.level}, told: {self.told}, {self.queries:,} score queries"


@dataclass(frozen=True)
class TrackData:
    """The files of a track, on this machine.

    Attributes:
        env: Environment id.
        options: Arguments of the data set.
        image_size: One side, or height and width in pixels; None for the data set's own.
        training: Name or list file of the training split; None for the data set's own.
        validation: Likewise of the split that answers are measured on.
    """

    env: str
    options: dict[str, Any]
    image_size: Sequence[int] | None
    training: str | None
    validation: str

    @classmethod
    def of(
        cls,
        track: Track,
        data_root: Path | None,
        files: FilesConfig,
        splits: tuple[str | None, str | None],
        image_size: Sequence[int] | None,
    ) -> TrackData:
        """Find the files of a track.

        Args:
            track: The track.
            data_root: Folder of the data sets of suites.
            files: Of the suite `folder`.
            splits: Its training and validation split.
            image_size: Its one side, or height and width in pixels.

        Raises:
            InputError: If they are missing, or given for another suite.
        """
        own = {
            **files.options,
            "split": splits[0],
            "val_split": splits[1],
            "image_size": image_size,
        }
        given = [name for name, value in own.items() if value is not None]
        if track.suite != FOLDER:
            if given:
                raise InputError(f"{given[0]} is of --suite folder, got --suite {track.suite}")
            suite = SUITES[track.suite]
            data = suite.data(data_root)
            env = f"RSS/{data.dataset_name}-{track.level}-v0"
            return cls(env, data.options, suite.size, *suite.splits(data_root))
        missing = [
            name for name in ("images", "classes", "labels", "val_split") if name not in given
        ]
        if missing:
            raise InputError(f"--suite folder needs --{missing[0].replace('_', '-')}")
        env = f"RSS/Folder-{track.level}-v0"
        assert splits[1] is not None
        return cls(env, files.options, image_size, splits[0], splits[1])

    def validation_scenes(self) -> Scenes:
        """The images and labels that answers are measured on.

        Raises:
            InputError: If the data cannot be used.
        """
        name = parse_environment_id(self.env)[0]
        data = open_dataset(name, split=self.validation, **self.options)
        if self.image_size is None:
            return load_scenes(data, data.default_image_size or default_image_size(name))
        return load_scenes(data, check_image_size(self.image_size))

    def environment(self, track: Track, wanted: Mapping[str, Any]) -> gym.vector.VectorEnv:
        """The environment that an algorithm learns from, as it wants it.

        Raises:
            InputError: If it wants what is the track's to say, or the environment refuses.
        """
        taken = [name for name in wanted if name in (*_OF_THE_TRACK, *self.options, "root")]
        if taken:
            raise InputError(
                f"environment: {', '.join(taken)} is the track's to say, and not an algorithm's"
            )
        arguments = {**self.options, **track.arguments, **wanted}
        if self.image_size is not None:
            arguments["image_size"] = self.image_size
        if self.training is not None:
            arguments["split"] = self.training
        return gym.make_vec(self.env, query_budget=track.queries, **arguments)

    def as_json(self) -> dict[str, Any]:
        """Everything, as `TrackData(**...)` takes it."""
        return asdict(self)
