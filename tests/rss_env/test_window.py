"""Windows of `render_mode="human"`, drawn into nothing (SDL_VIDEODRIVER=dummy)."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rss_env.errors import InputError
from rss_env.rendering import enlarged, panel_grid
from small_environments import actions_for, make

pygame = pytest.importorskip("pygame")


def screen() -> Any:
    surface = pygame.display.get_surface()
    return None if surface is None else np.swapaxes(pygame.surfarray.array3d(surface), 0, 1)


def test_a_single_environment_shows_each_image_and_each_map():
    arguments = {"num_scenes": 3, "image_size": 16, "scales": (8, 4)}
    env = gym.make("RSS/Shapes-ImageReward-v0", render_mode="human", **arguments)
    twin: Any = gym.make("RSS/Shapes-ImageReward-v0", render_mode="rgb_array", **arguments)
    assert pygame.display.get_surface() is None  # before there is something to show
    action = np.zeros(20, np.int64)
    for environment in (env, twin):
        environment.reset(seed=0)
    np.testing.assert_array_equal(screen(), enlarged(twin.render(), 256))
    for environment in (env, twin):
        environment.step(action)
    np.testing.assert_array_equal(screen(), enlarged(twin.render(), 256))
    assert env.render() is None
    assert pygame.display.get_caption()[0] == "RSS/Shapes-ImageReward-v0"
    env.close()
    assert pygame.display.get_surface() is None
    env.close()


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_vector_environment_shows_all_in_a_grid(mode):
    env = make(num_envs=3, render_mode="human", autoreset_mode=mode)
    twin = make(num_envs=3, render_mode="rgb_array", autoreset_mode=mode)
    for environment in (env, twin):
        environment.reset(seed=1)
        environment.step(actions_for(environment, 0))
    frames = [enlarged(frame, 128) for frame in twin.render()]
    np.testing.assert_array_equal(screen(), panel_grid([frames[:2], frames[2:]]))
    assert env.render() is None
    env.close()
    assert pygame.display.get_surface() is None


def test_many_are_shown_as_the_first_64():
    env = make(num_envs=66, render_mode="human")
    env.reset(seed=0)
    height, width = screen().shape[:2]
    scale = 32 // 24  # eight columns of at least 32 pixels
    assert (height, width) == (8 * (16 * scale + 4) - 4, 8 * (24 * scale + 4) - 4)
    env.close()


def test_without_pygame_or_a_screen_there_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "nothing")
    env = make(render_mode="human")
    with pytest.raises(InputError, match=r"found no screen \(.*\); render_mode='rgb_array'"):
        env.reset(seed=0)
    env.close()
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(InputError, match=r"pip install 'rss-env\[window\]'"):
        make(render_mode="human")
