"""Rules about types and shapes: what is declared, and what `reset` and `step` return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rss_env.testing.comparison import as_numpy, leaves
from rss_env.testing.subject import Inapplicable, Subject

FLAGS = ("terminated", "truncated")
ARRAY_SPACES = (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Discrete)


def is_a_vector_env(subject: Subject) -> Iterator[str]:
    """The environment is a `gymnasium.vector.VectorEnv` of as many as were asked for."""
    with subject.opened() as env:
        if not isinstance(env, VectorEnv):
            yield f"make returned {type(env).__name__}, not a gymnasium.vector.VectorEnv"
        if type(env.num_envs) is not int or env.num_envs != subject.num_envs:
            yield f"num_envs is {env.num_envs!r}, not {subject.num_envs}"


def spaces_are_batched(subject: Subject) -> Iterator[str]:
    """`observation_space` and `action_space` are their `single_` ones, batched."""
    with subject.opened() as env:
        for name in ("observation_space", "action_space"):
            single, batched = getattr(env, f"single_{name}"), getattr(env, name)
            if not isinstance(single, gym.Space):
                yield f"single_{name} is {single!r}, not a gymnasium.Space"
                continue
            expected = batch_space(single, env.num_envs)
            if batched != expected:
                yield f"{name} is {batched}, not batch_space(single_{name}) = {expected}"


def metadata_names_the_autoreset_mode(subject: Subject) -> Iterator[str]:
    """`metadata["autoreset_mode"]` is a `gymnasium.vector.AutoresetMode`."""
    with subject.opened() as env:
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            yield f"metadata['autoreset_mode'] is {mode!r}, not an AutoresetMode"


def class_metadata_is_left_alone(subject: Subject) -> Iterator[str]:
    """Opening and running an environment writes nothing into the metadata of its class."""
    with subject.opened() as env:
        singles = [single.unwrapped for single in getattr(env.unwrapped, "envs", ())]
        kinds = [kind for e in (env.unwrapped, *singles) for kind in type(e).__mro__]
    watched = {kind: _Watched(kind.metadata) for kind in kinds if "metadata" in vars(kind)}
    before = {kind: kind.metadata for kind in watched}
    try:
        for kind, metadata in watched.items():
            kind.metadata = metadata
        with subject.opened() as env:
            subject.trace(env)
    finally:
        for kind, metadata in before.items():
            kind.metadata = metadata
    for kind, metadata in watched.items():
        for change in metadata.changes[:1]:
            yield f"{kind.__name__}.metadata, which all instances share, is changed by {change}"


def attribute_names_the_autoreset_mode(subject: Subject) -> Iterator[str]:
    """The attribute `autoreset_mode`, which TorchRL reads, says the same as the metadata."""
    with subject.opened() as env:
        attribute = getattr(env, "autoreset_mode", None)
        if not isinstance(attribute, AutoresetMode) or attribute is not subject.mode:
            yield f"the attribute autoreset_mode is {attribute!r}, the metadata say {subject.mode}"


def render_mode_is_declared(subject: Subject) -> Iterator[str]:
    """`render_mode` is None or one of `metadata["render_modes"]`."""
    with subject.opened() as env:
        declared = env.metadata.get("render_modes", [])
        if env.render_mode is not None and env.render_mode not in declared:
            yield f"render_mode is {env.render_mode!r}; metadata['render_modes'] are {declared}"


def render_gives_a_frame_each(subject: Subject) -> Iterator[str]:
    """With `render_mode="rgb_array"`, `render` gives N uint8 frames (H, W, 3)."""
    with subject.opened() as env:
        if env.render_mode != "rgb_array":
            raise Inapplicable("make gives no environment with render_mode='rgb_array'")
        for label, _, _ in subject.results(env, steps=1):
            frames: Any = env.render()
            if not isinstance(frames, (tuple, list)) or len(frames) != env.num_envs:
                size = len(frames) if hasattr(frames, "__len__") else "no length"
                yield (
                    f"after {label}, render gave {type(frames).__name__} ({size}), not a tuple "
                    f"of {env.num_envs} frames"
                )
                continue
            for i, frame in enumerate(frames):
                shape, dtype = getattr(frame, "shape", ()), getattr(frame, "dtype", None)
                if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
                    yield f"after {label}, frame {i} is {dtype} {shape}, not uint8 (H, W, 3)"


def reset_returns_a_pair(subject: Subject) -> Iterator[str]:
    """`reset` returns a tuple of observations and an info dict."""
    with subject.opened() as env:
        result: Any = env.reset()
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            yield f"reset returned {_kinds(result)}, not (observations, dict)"


def step_returns_five(subject: Subject) -> Iterator[str]:
    """`step` returns a tuple of five, the last of them an info dict."""
    with subject.opened() as env:
        env.reset()
        result: Any = env.step(subject.actions(env, 0))
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            yield (
                f"step returned {_kinds(result)}, not (observations, rewards, terminated, "
                "truncated, dict)"
            )


def observations_are_in_their_space(subject: Subject) -> Iterator[str]:
    """Every observation has the dtype, shape and range of `observation_space`."""
    with subject.opened() as env:
        for label, result, _ in subject.results(env):
            yield from _outside(
                env.observation_space, as_numpy(result[0]), f"{label}: observations"
            )


def rewards_are_finite_floats(subject: Subject) -> Iterator[str]:
    """`rewards` are floating-point numbers (N,), all finite."""
    with subject.opened() as env:
        for label, result, _ in subject.results(env):
            if not label.startswith("step"):
                continue
            rewards = np.asarray(as_numpy(result[1]))
            if rewards.shape != (env.num_envs,) or rewards.dtype.kind != "f":
                yield f"{label}: rewards are {rewards.dtype} {rewards.shape}, not floats (N,)"
            elif not np.isfinite(rewards).all():
                yield f"{label}: rewards hold {rewards[~np.isfinite(rewards)][0]}"


def flags_are_booleans(subject: Subject) -> Iterator[str]:
    """`terminated` and `truncated` are booleans (N,)."""
    with subject.opened() as env:
        for label, result, _ in subject.results(env):
            if not label.startswith("step"):
                continue
            for name, flags in zip(FLAGS, as_numpy(result[2:4]), strict=True):
                found = np.asarray(flags)
                if found.shape != (env.num_envs,) or found.dtype != np.bool_:
                    yield f"{label}: {name} is {found.dtype} {found.shape}, not bool (N,)"


def arrays_are_of_one_kind(subject: Subject) -> Iterator[str]:
    """All that comes back is NumPy, or all of it is tensors on one device."""
    with subject.opened() as env:
        for label, result, _ in subject.results(env):
            names = ("observations", "rewards", *FLAGS, "infos") if len(result) == 5 else (
                "observations", "infos")  # fmt: skip
            wanted: str | None = None
            for name, part in zip(names, result, strict=True):
                for path, leaf in leaves(part, name):
                    kind = _kind(leaf)
                    wanted = wanted or kind
                    if kind is not None and kind != wanted:
                        yield f"{label}: {path} is a {kind}, observations are a {wanted}"


def infos_have_masks(subject: Subject) -> Iterator[str]:
    """Every info `key` has a boolean mask `_key` (N,), and every mask has its key."""
    with subject.opened() as env:
        for label, result, _ in subject.results(env):
            yield from _faulty_masks(as_numpy(result[-1]), env.num_envs, f"{label}: infos")


RULES = (
    is_a_vector_env,
    spaces_are_batched,
    metadata_names_the_autoreset_mode,
    class_metadata_is_left_alone,
    attribute_names_the_autoreset_mode,
    render_mode_is_declared,
    render_gives_a_frame_each,
    reset_returns_a_pair,
    step_returns_five,
    observations_are_in_their_space,
    rewards_are_finite_floats,
    flags_are_booleans,
    arrays_are_of_one_kind,
    infos_have_masks,
)

# --- details ---


class _Watched(dict[str, Any]):
    """A dict that notes what is done to it."""

    def __init__(self, content: dict[str, Any]):
        super().__init__(content)
        self.changes: list[str] = []

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes.append(f"metadata[{key!r}] = {value!r}")
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self.changes.append(f"del metadata[{key!r}]")
        super().__delitem__(key)

    def __ior__(self, other: Any) -> Any:
        self.changes.append(f"metadata |= {other!r}")
        return super().__ior__(other)

    def update(self, *arguments: Any, **others: Any) -> None:
        self.changes.append(f"metadata.update({', '.join(map(repr, arguments))})")
        super().update(*arguments, **others)

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self.changes.append(f"metadata.setdefault({key!r}, {default!r})")
        return super().setdefault(key, default)

    def pop(self, *arguments: Any) -> Any:
        self.changes.append(f"metadata.pop({arguments[0]!r})")
        return super().pop(*arguments)

    def clear(self) -> None:
        self.changes.append("metadata.clear()")
        super().clear()


def _kinds(result: Any) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__


def _kind(leaf: Any) -> str | None:
    if isinstance(leaf, torch.Tensor):
        return f"tensor on {leaf.device}"
    # arrays of objects hold what has no array of its own: `final_obs` of a SyncVectorEnv
    return "NumPy array" if isinstance(leaf, np.ndarray) and leaf.dtype != object else None


def _outside(space: gym.Space[Any], value: Any, name: str) -> Iterator[str]:
    """Say what is wrong with a value that should be in a space, leaf by leaf."""
    if isinstance(space, spaces.Dict) and isinstance(value, dict) and set(value) == set(space):
        for key in space:
            yield from _outside(space[key], value[key], f"{name}[{key!r}]")
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple) and len(value) == len(space):
        for i, part in enumerate(value):
            yield from _outside(space[i], part, f"{name}[{i}]")
    elif isinstance(space, ARRAY_SPACES):
        found = np.asarray(value)
        if found.shape != space.shape or found.dtype != space.dtype:
            yield f"{name} are {found.dtype} {found.shape}, not {space.dtype} {space.shape}"
        elif not space.contains(found):
            yield f"{name} hold values from {found.min()} to {found.max()}, outside {space}"
    elif not space.contains(value):
        yield f"{name} are {type(value).__name__} {value!r:.80}, not in {space}"


def _faulty_masks(infos: dict[str, Any], num_envs: int, name: str) -> Iterator[str]:
    for key, value in infos.items():
        if key.startswith("_"):
            if key[1:] not in infos:
                yield f"{name} has a mask {key!r} and no {key[1:]!r}"
            continue
        mask = infos.get(f"_{key}")
        dtype, shape = getattr(mask, "dtype", None), getattr(mask, "shape", None)
        if mask is None:
            yield f"{name} has {key!r} and no mask '_{key}'"
        elif dtype != np.bool_ or shape != (num_envs,):
            yield f"{name}['_{key}'] is {dtype} {shape}, not bool (N,)"
        if isinstance(value, dict) and key != "final_obs":  # which may be of a Dict space
            yield from _faulty_masks(value, num_envs, f"{name}[{key!r}]")
        elif not isinstance(value, dict) and np.shape(value)[:1] != (num_envs,):
            yield f"{name}[{key!r}] has shape {np.shape(value)}, not (N, ...)"
