"""What do the recipes at benchmark scale ask of one GPU of 80 GB, and are the sums right?

    python -m benchmarks.memory --out benchmarks/results/DATE-memory.md

No GPU is needed. What networks take is *computed*, from what their tensors would be allocated. What
the learners add is *measured* on the CPU, on generated images of the recipe's size and a network of
one layer. Last, the computation is held against what an update of a real network allocates.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.memory.computed import computed_peak, footprint
from benchmarks.memory.measured import alone, learner_peak, measured_process, measured_tensors
from rss_agents.algorithms.names import Algorithm
from rss_agents.networks.build import build_network
from rss_agents.recipes import RECIPES
from rss_agents.training.config import TrainConfig
from rss_agents.training.logging import versions
from rss_env.action_maps import ActionMapGeometry
from rss_env.kernels.label_table import count_dtype

GIB, MIB = 2**30, 2**20
# Images of the training and validation splits (docs/datasets.md), and classes.
DATA = {
    "voc": (10_582, 1_449, 21),
    "pascal-context": (4_998, 5_105, 59),
    "cityscapes": (2_975, 500, 19),
}
ALTERNATIVES = {
    "voc": ("upernet/resnet50@4", "deeplabv3plus/resnet50"),
    "pascal-context": ("deeplabv3plus/resnet101@4",),
    "cityscapes": ("upernet/tu-convnext_tiny@4",),
}
LEARNERS: tuple[tuple[Algorithm, int], ...] = (("rss", 4), ("rss", 1), ("psl", 4))
CHECKED = ("deeplabv3plus/resnet50@4", "upernet/tu-convnext_tiny@4")
CHECK_CLASSES, CHECK_SIZE, CHECK_IMAGES = 21, (128, 128), 8


@dataclass
class MemoryConfig:
    """Write the tables as Markdown."""

    out: Path
    """The page; replaced if it is there."""
    recipes: tuple[str, ...] = tuple(RECIPES)
    """Which recipes."""


def table(header: str, rows: list[list[str]]) -> str:
    """A Markdown table; columns but the first are numbers."""
    names = header.split(" | ")
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def network_rows(recipe: str, config: TrainConfig) -> list[list[str]]:
    """A row for each network: GiB, single precision and bfloat16."""
    assert config.image_size is not None
    height, width = config.image_size
    rows = []
    for name in (config.network, *ALTERNATIVES[recipe]):
        both = [
            footprint(name, DATA[recipe][2], config.num_images, (height, width), dtype)
            for dtype in (torch.float32, torch.bfloat16)
        ]
        row = [f"{recipe}, `{name}`", f"{both[0].parameters / 4 / 1e6:.1f}"]
        row += [f"{4 * both[0].parameters / GIB:.2f}"]
        row += [f"{found.kept / GIB:.2f}" for found in both]
        rows.append(row + [f"{found.peak / GIB:.2f}" for found in both])
        print(row, flush=True)
    return rows


def learner_row(recipe: str, algo: Algorithm, stride: int) -> list[str]:
    """What a learner adds to the network at this stride, in GiB."""
    config = RECIPES[recipe](Path("unused"), algo)
    peak = alone(learner_peak, config, DATA[recipe][2], stride)
    where = "pixels" if stride == 1 else f"cells of {stride}x{stride}"
    return [f"{recipe}, `{algo}`, logits of {where}", f"{peak / GIB:.2f}"]


def data_row(recipe: str, config: TrainConfig) -> list[str]:
    """The data set on the device, in GiB, and the memory of all its scored maps."""
    geometry, (train, val, _) = geometry_of(recipe, config), DATA[recipe]
    pixels = geometry.image_size[0] * geometry.image_size[1]
    maps = (config.agent.replay + config.group_size) * geometry.num_cells  # with the newest
    sizes = (
        3 * pixels * train,
        pixels * train,
        4 * pixels * val,
        table_bytes(geometry) * train,
        maps * train,
    )
    return [recipe, f"{train:,} + {val:,}", *(f"{size / GIB:.2f}" for size in sizes)]


def traffic_row(recipe: str, config: TrainConfig, parameters: float) -> list[str]:
    """Bytes of one update of `rss`, in MiB."""
    geometry = geometry_of(recipe, config)
    height, width = geometry.image_size
    images = config.num_images * 3 * height * width
    maps = config.num_images * config.group_size * geometry.num_cells
    scores = 4 * config.num_images * config.group_size * len(geometry.scales)
    mib = [
        f"{size / MIB:.1f}" for size in (images, maps, config.num_images * table_bytes(geometry))
    ]
    return [recipe, *mib, f"{scores / 1024:.1f}", f"{4e6 * parameters / MIB:.1f}"]


def geometry_of(recipe: str, config: TrainConfig) -> ActionMapGeometry:
    """Grids of a recipe's maps."""
    assert config.image_size is not None
    assert config.scales is not None
    height, width = config.image_size
    return ActionMapGeometry((height, width), config.scales, DATA[recipe][2])


def table_bytes(geometry: ActionMapGeometry) -> int:
    """Bytes of an image's label tables, which have a count of each class, and of valid pixels."""
    return sum(
        cells * (geometry.num_classes + 1) * count_dtype(scale).itemsize
        for cells, scale in zip(geometry.cells, geometry.scales, strict=True)
    )


def check_row(name: str) -> list[str]:
    """The ledger against reality, in MiB."""
    meta = build_network(name, CHECK_CLASSES, CHECK_SIZE, device="meta")
    computed = computed_peak(meta, CHECK_IMAGES, CHECK_SIZE, torch.float32)
    case = (name, CHECK_CLASSES, CHECK_IMAGES, CHECK_SIZE)
    tensors, process = alone(measured_tensors, *case), alone(measured_process, *case)
    mib = [f"{size / MIB:.0f}" for size in (computed, tensors, process)]
    return [f"`{name}`", *mib, f"{computed / tensors:.3f}", f"{computed / process:.3f}"]


def main() -> None:
    """Compute, measure and write the page."""
    config = tyro.cli(MemoryConfig)
    chosen = {name: RECIPES[name](Path("unused")) for name in config.recipes}
    networks = {name: network_rows(name, recipe) for name, recipe in chosen.items()}
    page = PAGE.format(
        networks=table(
            "recipe, network | million parameters | weights, gradients, AdamW "
            "| kept, fp32 | kept, bf16 | peak, fp32 | peak, bf16",
            [row for rows in networks.values() for row in rows],
        ),
        learners=table(
            "recipe, learner | measured on the CPU",
            [learner_row(name, algo, stride) for name in chosen for algo, stride in LEARNERS],
        ),
        data=table(
            "recipe | images | pixels of images | labels | validation | label tables "
            "| memory of all scored maps",
            [data_row(name, recipe) for name, recipe in chosen.items()],
        ),
        traffic=table(
            "recipe | images | maps | label tables read | scores (KiB) | gradients",
            [
                traffic_row(name, recipe, float(networks[name][0][1]))
                for name, recipe in chosen.items()
            ],
        ),
        check=table(
            "network | computed | tensors, measured | process, measured | computed / tensors "
            "| computed / process",
            [check_row(name) for name in CHECKED],
        ),
        command=shlex.join(["python", "-m", "benchmarks.memory", *sys.argv[1:]]),
        machine=f"{platform.machine()}, {os.cpu_count()} cores",
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        check_size="{} images of {}x{}".format(CHECK_IMAGES, *CHECK_SIZE),
    )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(page, encoding="utf-8")
    print(page)


PAGE = """\
# Memory of the recipes at benchmark scale, for one GPU of 80 GB

Nothing here ran on a GPU. *Computed* figures come from PyTorch's fake tensors, which have shapes
and devices but no memory; *measured* ones are of the CPU. GPUs need more than the tables say: the
CUDA context, workspaces of cuDNN, and what the allocator loses to fragments are not counted.

## Networks (computed, GiB)

The recipe's network first, then others at the same size and number of images. *Kept* is what the
forward pass keeps for the backward pass, on a fake CUDA device, under its own autocast for bf16.
*Peak* is the most that is alive at once in an update of cross-entropy at the stride of the logits
(weights, gradients, AdamW's state and temporaries included), from a ledger of allocations on a fake
CPU, whose autocast keeps fewer operations in single precision than CUDA's. The recipes train in
single precision. A network without `@4` gives logits of pixels.

{networks}
## Learners (measured on the CPU, GiB)

What one batch takes beyond the network: acting, being scored, the loss and its gradient. The
network is one layer on generated images of the recipe's size, varied as the recipe varies them. On
a GPU, kernels that have no CUDA backend run in plain PyTorch, which takes more than this.

{learners}
## Data set on the device (computed, GiB)

Official training and validation splits. The last two columns are what images would take that are
not varied: tables of the labels in the cells of each scale, and the memory of every image's scored
maps (8 batches of 8 maps). The recipes vary images: tables are of a batch, and no maps are
remembered. (The memory is bounded by 1 GiB.)

{data}
## Bytes of one update of `rss` (computed, MiB)

What is shown, answered and read: uint8 images, uint8 maps, rows of the label tables, float32
scores, and float32 gradients, which each of several processes would exchange.

{traffic}
## The computation against reality (MiB)

Two updates in single precision, {check_size} pixels. *Tensors*: the most that PyTorch's profiler
saw allocated. *Process*: growth of the process's memory, which also holds what libraries allocate
by themselves.

{check}
Command:

    {command}

{machine}. {versions}.
"""

if __name__ == "__main__":
    main()
