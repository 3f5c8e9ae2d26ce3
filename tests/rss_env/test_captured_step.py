"""A step that is captured gives what a step gives; on the CPU the structure, on CUDA the graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import small_environments
from rss_env.captured_step import can_capture
from rss_env.testing.comparison import as_numpy, difference

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "varied": {"horizontal_flip": True, "zoom": (0.8, 1.5), "colour_jitter": 0.3},
    "views": {"zoom": (0.8, 1.5), "num_views": 3},
    "parts of images": {"crop_size": (8, 16), "scales": (8, 4)},
    "noise": {"feedback": "noisy:0.1", "class_scores": True},
    "ranking": {"feedback": "ranking"},
    "rewards of cells": {"environment_id": "RSS/Shapes-PixelReward-v0"},
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
STEPS = 6  # of which the last are replayed


def make(kind: str, device: str, *, captures: bool) -> Any:
    """An environment whose steps are captured or not; on the CPU one that takes it for a device."""
    env = small_environments.make(
        num_envs=6, group_size=3, array="torch", device=device, **KINDS[kind]
    ).unwrapped
    env._captures, env._on_cpu = captures, False
    return env


def told(env: Any, device: str, dtype: torch.dtype) -> list[Any]:
    """All that a run tells, with a reset, a state that is gone back to, and another seed in it."""
    generator = torch.Generator().manual_seed(0)
    cells, classes = env.geometry.num_cells, env.geometry.num_classes
    results: list[Any] = [env.reset(seed=4)]
    state = None

    def some_actions() -> torch.Tensor:
        return torch.randint(classes, (6, cells), generator=generator).to(device, dtype)

    for step in range(STEPS):
        actions = some_actions()
        results.append(env.step(actions))
        if step == 0:
            state = env.get_state()
        if step == 2:
            env.set_state(state)
        if step == 3:
            results.append(env.reset(seed=9))
    results.append(env.step(some_actions().long()))  # another type, between others
    results.append(env.step(some_actions()))
    return [as_numpy(result) for result in results]  # at the end: all are in memory of their own


@EACH_KIND
def test_a_captured_step_gives_what_a_step_gives(kind):
    want = told(make(kind, "cpu", captures=False), "cpu", torch.uint8)
    got = told(make(kind, "cpu", captures=True), "cpu", torch.uint8)
    assert difference(got, want) is None


@pytest.mark.cuda
@EACH_KIND
def test_a_captured_step_gives_what_a_step_gives_on_cuda(kind):
    eager, captured = (make(kind, "cuda", captures=c) for c in (False, True))
    assert can_capture(captured)
    want, got = (told(env, "cuda", torch.uint8) for env in (eager, captured))
    assert difference(got, want) is None
    assert all(step._rounds._graph is not None for step in captured._captured.values())


def test_results_are_those_of_their_step_alone(monkeypatch):
    env = make("plain", "cpu", captures=True)
    env.reset(seed=0)
    actions = torch.zeros(6, env.geometry.num_cells, dtype=torch.int64)
    first = env.step(actions)
    kept = as_numpy(first, copied=True)
    first[0].add_(1)  # what was told may be written to
    first[1].add_(1)
    second = env.step(actions)
    assert difference(as_numpy(first[4]), kept[4]) is None
    assert first[1].data_ptr() != second[1].data_ptr()


def test_only_steps_that_are_alike_are_captured():
    settings: tuple[dict[str, Any], ...] = (
        {},  # of the CPU
        {"autoreset_mode": "NextStep"},
        {"render_mode": "rgb_array"},
        {"image_index": True},
        {"evaluation": "images"},
        {"scorer": lambda images, maps: maps.float().mean((2, 3)) / 255},
    )
    for options in settings:
        env = small_environments.make(array="torch", **options).unwrapped
        assert not can_capture(env)
        env.device = torch.device("cuda")  # were it there
        assert can_capture(env) == (not options)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(6, 5, dtype=torch.int64), "must have shape|got"),
        (torch.zeros(6, 35), "must be integers"),
        (torch.full((6, 35), 77), "must hold classes"),
    ],
)
def test_bad_actions_are_refused_as_ever(actions, message):
    env = make("plain", "cpu", captures=True)
    env.reset(seed=0)
    if actions.shape[1] == 35:
        actions = actions[:, :1].expand(6, env.geometry.num_cells)
    with pytest.raises(ValueError, match=message):
        env.step(actions)
