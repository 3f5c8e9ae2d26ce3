"""Arguments of environments: each once, and nothing refused that environments take."""

from __future__ import annotations

import inspect
import pickle
import re
from dataclasses import fields
from typing import Any

import docstring_parser
import numpy as np
import pytest
import torch
import tyro
from gymnasium.vector import AutoresetMode

from rss_env import RSSEnv, RSSVectorEnv
from rss_env.config import EnvironmentConfig, TaskConfig
from rss_env.errors import InputError, UnknownArgumentError

NEEDED = {"dataset": "Shapes", "level": "ImageReward"}


def test_every_field_is_said_once_and_explained():
    every = {part.name for part in fields(EnvironmentConfig)}  # without what is of the class
    own = [every & set(inspect.get_annotations(c)) for c in (TaskConfig, EnvironmentConfig)]
    assert not own[0] & own[1]
    for config, names in zip((TaskConfig, EnvironmentConfig), own, strict=True):
        explained = {p.arg_name for p in docstring_parser.parse_from_object(config).params}
        assert explained == names


def test_task_arguments_are_those_that_environments_take():
    task = TaskConfig(image_size=(16,), scales=(4, 2), feedback="rating:5", group_size=2)
    assert set(task.task_arguments) == {part.name for part in fields(TaskConfig)}
    env = RSSVectorEnv(4, **NEEDED, num_scenes=3, **task.task_arguments)
    assert env.geometry.scales == (4, 2)
    assert env.feedback.kind == "rating"
    assert env.group_size == 2
    config = EnvironmentConfig.of({**NEEDED, "device": "cpu", **task.task_arguments})
    assert config.task_arguments == task.task_arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_size": 16},
        {"image_size": np.array([16, 24]), "scales": [8, 4]},
        {"scorer": lambda images, maps: maps[..., 0, 0] * 0.0},
        {"zoom": [1, 2]},
        {"scale_weights": np.ones(2), "scales": [8, 4]},
        {"group_size": np.int64(2), "horizontal_flip": np.True_},
        {"autoreset_mode": AutoresetMode.DISABLED, "device": torch.device("cpu")},
        {"autoreset_mode": "next_step"},
    ],
)
def test_nothing_is_refused_that_is_not_of_the_annotated_type(arguments):
    env = RSSVectorEnv(2, **NEEDED, num_scenes=3, **{"image_size": 16, **arguments})
    env.reset(seed=0)
    env.step(env.action_space.sample())


def test_other_names_are_options_of_the_data_set():
    config = EnvironmentConfig.of({**NEEDED, "num_scenes": 3})
    assert config.dataset_options == {"num_scenes": 3}


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("flavour", "valid: split, color_cue, scene_seed, num_scenes, exclude, image_size"),
        ("dataset_options", ""),
        ("imagesize", "did you mean 'image_size'? valid: split"),
        ("group-size", "did you mean 'group_size'? valid: split"),
        ("frameskip", "valid: split"),
        ("numscenes", "did you mean 'num_scenes'? valid: split"),
    ],
)
@pytest.mark.parametrize("environment", [RSSVectorEnv, RSSEnv])
def test_unknown_names_are_refused_in_the_words_that_libraries_look_for(environment, name, advice):
    unknown: dict[str, Any] = {name: 1}
    message = f"environment of Shapes got an unexpected keyword argument '{name}'; {advice}"
    with pytest.raises(UnknownArgumentError, match="^" + re.escape(message)) as caught:
        environment(**NEEDED, **unknown)
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, TypeError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (UnknownArgumentError, str(caught.value))


def test_a_command_line_reads_a_task():
    options = "--image-size 16 24 --scales 8 4 --zoom 1 2 --scorer m:f --horizontal-flip"
    task = tyro.cli(TaskConfig, args=options.split())
    assert task == TaskConfig(
        image_size=(16, 24), scales=(8, 4), zoom=(1, 2), scorer="m:f", horizontal_flip=True
    )
