"""Bad arguments, seeds, masks and actions: one clear error, nothing changed, no crash."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from rss_env.errors import InputError
from small_environments import make

BAD_ARGUMENTS = [
    ({"num_envs": 5, "group_size": 2}, "multiple of group_size=2, got 5"),
    ({"num_envs": 0}, "num_envs must be a whole number of at least 1, got 0"),
    ({"group_size": 0}, "group_size must be a whole number of at least 1, got 0"),
    ({"array": "jax"}, "unknown array 'jax'; valid: numpy, torch"),
    ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ({"device": "abacus"}, "device 'abacus' cannot be used"),
    ({"autoreset_mode": "never"}, "valid: NextStep, SameStep, Disabled"),
    ({"metric": "iou"}, "unknown metric 'iou'"),
    ({"metric": np.zeros(0)}, "unknown metric array"),
    ({"feedback": "five stars"}, "unknown feedback"),
    ({"feedback": "ranking"}, "group_size > 1"),
    ({"action_format": "grid"}, "unknown action_format 'grid'; valid: flat, maps"),
    ({"render_mode": "ansi"}, "unknown render_mode 'ansi'; valid: rgb_array, human"),
    ({"scales": (5,)}, "do not divide the image size 16x24"),
    ({"scale_weights": (1.0,)}, "scale_weights must be 3"),
    ({"scale_weights": (0, 0, 0)}, "positive sum"),
    ({"scale_weights": (1, -1, 1)}, "non-negative"),
    ({"image_size": 0}, "image_size must be"),
    ({"image_size": (1, 2, 3)}, "image_size must be"),
    ({"class_balanced": True}, "PixelReward level"),
    ({"roots": "x"}, "environment of Shapes got an unexpected keyword argument 'roots'; valid"),
    ({"scorer": 5}, "scorer must be callable"),
    ({"scorer": ".scorers:mine"}, "scorer '.scorers:mine' is not 'module:function'"),
    ({"num_envs": True}, "num_envs must be a whole number of at least 1, got True"),
    ({"group_size": 2.0}, "group_size must be a whole number of at least 1, got 2.0"),
    ({"horizontal_flip": "no"}, "horizontal_flip must be True or False, got 'no'"),
    ({"scales": "841"}, "scales must be whole numbers of pixels, got '841'"),
    ({"scales": (8, 4.0)}, "scales must be whole numbers of pixels"),
    ({"scales": 8}, "scales must be whole numbers of pixels, got 8"),
    ({"scale_weights": ("1", "1", "1")}, "scale_weights must be 3 non-negative numbers"),
    ({"scale_weights": ((1,), 1, 1)}, "scale_weights must be 3 non-negative numbers"),
    ({"image_size": 16.0}, "image_size must be a side or"),
    ({"device": None}, "device must be a name such as 'cuda:0', got None"),
    ({"device": "meta", "array": "torch"}, "device 'meta' cannot be used"),
    ({"autoreset_mode": ["SameStep"]}, "unknown autoreset_mode"),
    ({"num_scenes": 2.5}, "num_scenes must be a whole number of at least 1, got 2.5"),
    ({"scene_seed": "0"}, "scene_seed must be a whole number"),
    ({"color_cue": "much"}, "color_cue must be in 0..1, got 'much'"),
    ({"split": 3}, "split must be a string or a path, got 3"),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_contradicting_arguments_are_refused():
    with pytest.raises(InputError, match="ImageReward level"):
        make("RSS/Shapes-PixelReward-v0", scorer=lambda images, maps: maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "0..2"),
        (2**63, "0..2"),
        ([1, 2], "4 entries"),
        ([1, 2, 3, "x"], "got 'x'"),
        ([True, 1, 2, 3], "got True"),
        (True, "got True"),
        (1.5, "got 1.5"),
        (np.int64(1), "got np.int64"),
        ("4567", "got '4567'"),
        ({1: 1, 2: 2, 3: 3, 4: 4}, "got {1: 1"),
    ],
)
def test_bad_seeds_are_refused(seed, message):
    env = make()
    before = env.unwrapped.get_state()
    with pytest.raises(InputError, match=message):
        env.reset(seed=seed)
    assert env.unwrapped.get_state() == before


def test_seeds_within_a_group_must_agree():
    env = make(group_size=2)
    env.reset(seed=[3, 3, 9, 9])
    assert env.unwrapped.get_state()["seeds"] == [3, 9]
    with pytest.raises(InputError, match="alike within a group"):
        env.reset(seed=[3, 4, 9, 9])


@pytest.mark.parametrize(
    "mask",
    [
        [True] * 4,
        np.array([True] * 3),
        np.array([1, 1, 1, 1]),
        np.array([False] * 4),
        np.array([True, False, True, True]),
    ],
)
def test_bad_reset_masks_are_refused(mask):
    env = make(group_size=2, autoreset_mode="Disabled")
    env.reset(seed=0)
    with pytest.raises(InputError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_first_reset_must_be_whole():
    with pytest.raises(ResetNeeded, match="every sub-environment"):
        make().reset(options={"reset_mask": np.array([True, False, False, False])})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": None}, "unknown reset option 'mask'; valid: reset_mask, index"),
        ("reset_mask", "options must be a dict, got 'reset_mask'"),
        ({"index": 12}, r"options\['index'\] must be in 0..11, got 12"),
        ({"index": [0, 1]}, r"must be the number of an image, or 4 of them, .* got \[0, 1\]"),
        ({"index": 1.0}, r"must be the number of an image, .* got 1.0"),
        ({"index": [[0], [1, 2]]}, "must be the number of an image"),
    ],
)
def test_bad_reset_options_are_refused(options, message):
    env = make()
    env.reset(seed=0)
    before = env.unwrapped.get_state()
    with pytest.raises(InputError, match=message):
        env.reset(options=options)
    assert env.unwrapped.get_state() == before
    with pytest.raises(InputError, match="unknown reset option 'mask'; valid: index"):
        gym.make("RSS/Shapes-ImageReward-v0", num_scenes=2).reset(options={"mask": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1, 2]}, "state is for 2 groups, this has 4"),
        ({"seeds": [1, 2, 3, -4]}, r"state\['seeds'\] must be a list of integers of at least 0"),
        ({"episodes": [0.5] * 4}, r"state\['episodes'\] must be a list of integers"),
        ({"done": None}, r"state\['done'\] must be a list of integers"),
        ({"done": [0]}, "state is for 1 groups, this has 4"),
    ],
)
def test_bad_states_change_nothing(change, message):
    env = make().unwrapped
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(InputError, match=message):
        env.set_state({"seeds": [9] * 4, "episodes": [9] * 4, "done": [1] * 4, **change})
    assert env.get_state() == before
