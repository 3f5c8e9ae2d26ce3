"""Writes the cards of the environments: `python docs/environments/generate.py`.

Whatever the code knows is taken from the code: spaces, grids, classes, arguments and defaults. A
test holds the cards on disk against what this writes.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

import docstring_parser
import numpy as np
from gymnasium import spaces

from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.config import EnvironmentConfig
from rss_env.datasets import DATASETS, default_image_size
from rss_env.datasets.cityscapes import trained_classes
from rss_env.refine import RefineEnv
from rss_env.registration import LEVEL_NAMES, SEQUENCE_NAMES
from rss_env.segmentation_task import SegmentationTask
from rss_env.sequential_config import RefineConfig, SequentialConfig

FOLDER = Path(__file__).parent

DESCRIPTIONS = {
    "Shapes": """
Generated scenes of textured figures on a textured ground; the class of a pixel is the shape of its
figure. Colours tell a part of it, as much as `color_cue` says. Nothing is downloaded, and scene
number i of a seed is always the same: this is the data set to try things on.
""",
    "VOC": """
The segmentation task of PASCAL VOC 2012, or any data set in its layout: photographs of things of
20 classes, and background. The border of each thing is void.
""",
    "PascalContext": """
Every pixel of the photographs of PASCAL VOC 2010: the 59 most frequent classes of things and stuff,
or these and a background of all others. Coarse grids already say much here, as there is hardly any
empty ground.
""",
    "Cityscapes": """
Street scenes from a car, 19 classes; or any data set in its layout. Frames are twice as wide as
high, and most classes are small.
""",
    "Folder": """
Your own images, with a label map each, or without labels and with a scorer in their place: a reward
model, a measurement, a person.
""",
}

_REWARDS = {
    "ImageReward": """
One number for each map: its `metric` against the label (over the classes in map or label, void left
out), as far as `feedback` shows it, or what the `scorer` says. An action holds a map for each
scale; the reward is the mean of their scores, weighted by `scale_weights`. The scores themselves
are in the infos.
""",
    "PixelReward": """
One number for each cell: the share of its pixels that are of the class it was given (1 or 0 in
cells of one pixel; 0 where all is void), as far as `feedback` shows it; with `class_balanced`,
times the inverse frequency of the class. The reward is the mean over the cells of a scale, then
over the scales, weighted by `scale_weights`. The rewards of the cells are in the infos.
""",
}

_CARD = """# {name}

<!-- Written by docs/environments/generate.py from the code; edit that file instead. -->

| | |
|---|---|
| Action space | `{action_space}` |
| Observation space | `{observation_space}` |
| Reward | {reward_range} |
| Single | `gymnasium.make("RSS/{name}-ImageReward-v0"{needs})` |
| Vector | `gymnasium.make_vec("RSS/{name}-ImageReward-v0", num_envs=64{needs})` |

## Description

{description}

Classes{class_count}: {classes}

## Action space

A class for every cell of every grid, coarse to fine and row by row in one `MultiDiscrete`
(`action_format="flat"`), or a `Dict` of one grid for each scale (`action_format="maps"`). At the
default size of {height}x{width} pixels:

| scale | cells of | grid | cells |
|---|---|---|---|
{grids}

## Observation space

The image, resized as a whole: `{observation_space}`, rows, columns, RGB.

## Rewards

### `RSS/{name}-ImageReward-v0`

{image_reward}

### `RSS/{name}-PixelReward-v0`

{pixel_reward}

## Several steps: `RSS/{name}-Progressive-v0`, `RSS/{name}-Refine-v0`

The same images and the same scores of maps, in episodes that change one map step by step; the
reward is the gain in score. [What holds of both](../sequential.md), and at the default size:

| id | action space | an action | steps |
|---|---|---|---|
{sequences}

| argument | of | default | meaning |
|---|---|---|---|
{sequence_arguments}

They take no `action_format`, `class_balanced`, `class_scores`, `evaluation`, `scale_scores` and
`scale_weights`. All below is of them as well, unless it says otherwise.

## Starting state

An image of the split, drawn uniformly with replacement: a function of the sub-environment's seed
and the number of its episode, and of nothing else. `reset(seed=s)` gives sub-environment i the
seed `s + i` (with groups, `s + i // group_size`); without a seed the streams go on.

`reset(options={{"index": 7}})` shows image 7 in that episode; an array of numbers, one for each
sub-environment, shows each its own. With `evaluation`, images come
[in order](../other-libraries.md#evaluation-on-a-whole-split).

## Episode end

After one step: `terminated` is true, `truncated` never is. `Progressive` terminates with its last
grid, `Refine` when it is stopped, and is truncated after `max_steps`. Vector environments start the
next episode in the same step unless `autoreset_mode` says otherwise.

## Arguments

Of the data set:

| argument | default | meaning |
|---|---|---|
{dataset_arguments}

Of every environment:

| argument | default | meaning |
|---|---|---|
{arguments}

## Information

Under `SameStep` in `infos["final_info"]`, otherwise at the top level; each key `k` of a vector
environment has its mask `_k`. N sub-environments, S scales, C classes.

| key | of | shape | |
|---|---|---|---|
| `scale_scores` | ImageReward | (N, S) float32 | the score of each scale |
| `class_scores` | ImageReward, `class_scores=True` | (N, S, C) float32 | of each class, or NaN |
| `pixel_rewards` | PixelReward | (N, cells) float32 | the reward of each cell |
| `dataset_score` | `evaluation=...`, labels | (N,) float64 | the metric of the pass so far |
| `normalised_score` | `evaluation=...`, labels | (N,) float64 | 0 the majority, 1 the best maps |
| `image_index` | `image_index=True` | (N,) int64 | of the image in the data set; also at a reset |
| `score` | Progressive, Refine | (N,) float32 | the score of the map so far |

`SameStep` adds `final_obs`, the images that were judged. Scores of classes are NaN where neither
map nor label has the class. That is so under `rating`, `noisy` and `ranking` as well, which hide
how good a class is and not whether it is there: NaNs tell which classes a label holds.

## Version history

- v0: first version.
"""


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _row(name: str, default: Any, needed: bool, meaning: str | None) -> str:
    shown = "needed" if needed else f"`{default!r}`"
    return f"| `{name}` | {shown} | {_sentence(meaning)} |"


def _arguments(function: type, leave_out: set[str]) -> str:
    """Rows of a table: each argument with its default and what its docstring says."""
    documented = {
        part.arg_name: part.description
        for part in docstring_parser.parse(inspect.getdoc(function.__init__) or "").params
    }
    rows = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out or parameter.kind is parameter.VAR_KEYWORD:
            continue
        needed = parameter.default is parameter.empty
        rows.append(_row(name, parameter.default, needed, documented[name]))
    return "\n".join(rows)


def _fields(config: type, leave_out: set[str]) -> str:
    """Rows of a table: each field with its default and the docstring below it."""
    documented = {
        part.arg_name: part.description
        for base in reversed(config.__mro__[:-1])
        for part in docstring_parser.parse_from_object(base).params
    }
    return "\n".join(
        _row(f.name, f.default, f.default is dataclasses.MISSING, documented[f.name])
        for f in dataclasses.fields(config)
        if f.name not in leave_out
    )


def _sequences(geometry: ActionMapGeometry, count: int | str) -> str:
    """Rows of a table: what an action is in each of the sequences."""
    rows, columns = geometry.grids[-1]
    side = RefineEnv.largest_window(geometry.grids[-1])
    windows = rows * columns // side**2
    one_more = count + 1 if isinstance(count, int) else "C + 1"
    return "\n".join(
        (
            f"| Progressive | `MultiDiscrete([{count}] * {max(geometry.cells)})` | a class for "
            f"each cell of the next grid, the rest is not looked at | {len(geometry.scales)} |",
            f"| Refine | `MultiDiscrete([{windows + 1}] + [{one_more}] * {side**2})` | one of "
            f"{windows} windows of {side}x{side} cells or (last) stop, and a class for each cell "
            f"or (last) keep | {windows} |",
        )
    )


def _sequence_arguments() -> str:
    """Rows of a table: the arguments that sequences alone have, and which of them."""
    of_all, of_both = (
        {f.name for f in dataclasses.fields(config)}
        for config in (EnvironmentConfig, SequentialConfig)
    )
    both, refine = _fields(SequentialConfig, of_all), _fields(RefineConfig, of_both)
    rows = [("both", row) for row in both.splitlines()]
    rows += [("Refine", row) for row in refine.splitlines()]
    return "\n".join(row.replace(" | ", f" | {of} | ", 1) for of, row in rows)


def _class_names(name: str) -> list[str] | None:
    """Names of a data set's classes in order; None if they are the user's own."""
    if name == "Cityscapes":
        return [c.name for c in trained_classes()]
    module = importlib.import_module(DATASETS[name].__module__)
    return list(module.CLASS_NAMES) if hasattr(module, "CLASS_NAMES") else None


def card(name: str) -> str:
    """The card of a data set's environments, in Markdown."""
    dataset = DATASETS[name]
    classes = _class_names(name)
    height, width = default_image_size(name)
    geometry = ActionMapGeometry(
        (height, width), default_scales((height, width)), len(classes) if classes else 2
    )
    count = len(classes) if classes else "C"
    grids = [
        f"| {scale} | {scale}x{scale} pixels | {rows}x{columns} | {rows * columns:,} |"
        for scale, (rows, columns) in zip(geometry.scales, geometry.grids, strict=True)
    ]
    own = list(inspect.signature(dataset).parameters)
    needs = {"root": ", root=...", "images": ", images=..., classes=..., labels=..."}
    return _CARD.format(
        name=name,
        action_space=f"MultiDiscrete([{count}] * {geometry.num_cells})",
        observation_space=spaces.Box(0, 255, (height, width, 3), np.uint8),
        reward_range="0 to 1 (`noisy` and `class_balanced` go beyond)",
        needs=needs.get(own[0], ""),
        description=DESCRIPTIONS[name].strip(),
        class_count=f" ({count})" if classes else "",
        classes=", ".join(classes) if classes else "those of your class-name file.",
        height=height,
        width=width,
        grids="\n".join(grids),
        image_reward=_REWARDS["ImageReward"].strip(),
        pixel_reward=_REWARDS["PixelReward"].strip(),
        sequences=_sequences(geometry, count),
        sequence_arguments=_sequence_arguments(),
        dataset_arguments=_arguments(dataset, {"on_fault"}),
        arguments="\n".join(
            (
                _arguments(SegmentationTask, set()),
                _fields(EnvironmentConfig, {"dataset", "level", "dataset_options", *own}),
            )
        ),
    )


def index() -> str:
    """The page that lists the cards."""
    rows = [
        f"| [{name}]({name.lower()}.md) | "
        f"{', '.join(f'`RSS/{name}-{level}-v0`' for level in (*LEVEL_NAMES, *SEQUENCE_NAMES))} |"
        for name in DATASETS
    ]
    return (
        "# Environments\n\n<!-- Written by docs/environments/generate.py. -->\n\n"
        "| card | ids |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    return {"README.md": index(), **{f"{name.lower()}.md": card(name) for name in DATASETS}}


if __name__ == "__main__":
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
