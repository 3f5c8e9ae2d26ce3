"""A step of an environment on a GPU as one graph, and the copies that fresh results need.

Told kernel by kernel a step costs the host as much for 256 sub-environments as for 16,384. What is
captured is a step in which every episode ends and the next ones begin: actions checked and judged.
Images are copied out beside it, straight to where the caller has them.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from rss_env.captured_rounds import CapturedRounds
from rss_env.host_inputs import HostInputs
from rss_env.judge import Verdict
from rss_env.scene_stream import SceneBatch
from rss_env.segmentation_task import SegmentationTask

Judged = tuple[torch.Tensor, dict[str, torch.Tensor]]


def can_capture(env: SegmentationTask) -> bool:
    """Tell whether an environment's steps are alike, and all on a GPU."""
    same_step = env._autoreset_mode == AutoresetMode.SAME_STEP and env.takes_one_step
    shows_nothing = env.render_mode is None and not env._tells_index
    by_labels = not env.asks_a_scorer and env._split_pass is None
    return env.device.type == "cuda" and same_step and by_labels and shows_nothing


class CapturedStep:
    """Judges flat actions of one type, and moves the environment on."""

    def __init__(self, env: SegmentationTask, actions: torch.Tensor):
        """Bind an environment, and make room for actions (N, cells) like these."""
        self._env = env
        self._inputs = HostInputs(env.device, keeps=True)
        self._actions = torch.empty_like(actions, memory_format=torch.contiguous_format)
        self._now: SceneBatch[torch.Tensor] | None = None
        self._next: SceneBatch[torch.Tensor] | None = None
        self._rounds = CapturedRounds("the environment's step", self._judge, self._inputs)

    def __call__(self, actions: torch.Tensor) -> tuple[Verdict[torch.Tensor], torch.Tensor]:
        """Do a step.

        Args:
            actions: (N, cells) integers, of the shape and type it was made for.

        Returns:
            The verdict on them and the last observations (N, H, W, 3), in new tensors. The
            environment has moved on.
        """
        env = self._env
        self._actions.copy_(actions)
        if self._now is None:
            self._now = _clone(env._batch)
        elif env._batch is not self._next:  # it was reset, or given a state
            _copy(env._batch, self._now)
        shown = env._observe_scenes(self._now)
        rewards, infos = self._rounds()
        verdict = Verdict(rewards.clone(), {name: part.clone() for name, part in infos.items()})
        assert self._next is not None
        _copy(self._next, self._now)
        env._current = self._next
        return verdict, shown

    def _judge(self) -> Judged:
        """What is captured: the verdict on the actions that lie there, of the scenes of now."""
        env = self._env
        assert self._now is not None
        maps = env._parse(self._actions).reshape(-1, env.group_size, env.geometry.num_cells)
        verdict = env.judge(maps, self._now, self._inputs)
        self._inputs.do(env.move_on)
        self._next = env.tell_scenes(self._inputs)
        return verdict.rewards, dict(verdict.infos)


def _parts(batch: SceneBatch[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors of a batch of scenes."""
    varied = batch.variation
    changes = () if varied is None else (varied.window, varied.colours, varied.cut)
    parts = (batch.index, batch.mirrored, *changes, batch.pixels, batch.truth)
    return [part for part in parts if part is not None]


def _clone(batch: SceneBatch[torch.Tensor]) -> SceneBatch[torch.Tensor]:
    """The same scenes in tensors of their own."""
    varied: Any = batch.variation
    if varied is not None:
        changes = (varied.window, varied.colours, varied.cut)
        cloned = [None if change is None else change.clone() for change in changes]
        varied = type(varied)(*cloned, varied.cut_size)
    samples = [None if part is None else part.clone() for part in (batch.pixels, batch.truth)]
    return SceneBatch(batch.index.clone(), batch.mirrored.clone(), varied, *samples)


def _copy(source: SceneBatch[torch.Tensor], target: SceneBatch[torch.Tensor]) -> None:
    for part, own in zip(_parts(source), _parts(target), strict=True):
        own.copy_(part)
