"""How fast are the kernels on the CPU: against their references, the usual way, and the memory?

    python -m benchmarks.kernels --out benchmarks/results/kernels.md

Every operation runs over arrays beyond the cache, in turn with what it is compared with. `of bound`
is the share of the rate at which the machine's threads read uint8 arrays, counting each byte that
the operation has to read or write once. What is slow is timed on a part of the arrays, which fits
the cache better and favours it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import tyro

from benchmarks.belief_kernels import believing
from benchmarks.timing import Operation, as_words, markdown_table, publish, read_once, time_in_turn
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.kernels.sample_classes import sample_classes
from rss_env.kernels.cell_rewards import cell_rewards
from rss_env.kernels.gather_images import gather_images
from rss_env.kernels.label_table import count_dtype, label_table
from rss_env.kernels.narrow_classes import narrow_classes
from rss_env.kernels.score_maps import class_counts, metric_scores
from rss_env.labels import VOID


@dataclass
class KernelsConfig:
    """Time every kernel of the environment, and those that draw and compare maps."""

    image_size: int = 128
    """Side of the images, in pixels."""
    num_classes: int = 21
    """Classes."""
    images: int = 1024
    """Images; times `members` maps, with all their pixels, should exceed the cache."""
    members: tuple[int, ...] = (8, 32)
    """Maps of each image, K: for the kernels whose speed depends on it."""
    part: int = 16
    """What is slow is timed on this part of the images: 1 / part."""
    repeats: int = 7
    """Timed rounds of everything, in turn."""
    out: Path | None = None
    """Markdown file to write."""


def on_one_thread(run: Callable[[], object]) -> object:
    """Run with one thread of numba."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        return run()
    finally:
        numba.set_num_threads(threads)


def torch_bincount(maps: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
    """The usual way to count: void masked out, then a confusion matrix of each map."""
    for map_, label in zip(maps.flatten(0, 1), labels, strict=True):
        valid = label != VOID
        torch.bincount(label[valid].long() * classes + map_[valid], minlength=classes**2)


def numpy_bincount(maps: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """The same in NumPy."""
    for map_, label in zip(maps.reshape(-1, maps.shape[-1]), labels, strict=True):
        valid = label != VOID
        np.bincount(label[valid].astype(int) * classes + map_[valid], minlength=classes**2)


def tuned_bincount(maps: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """NumPy's with a row for void in place of a mask, and indices of 16 bits."""
    for map_, label in zip(maps.reshape(-1, maps.shape[-1]), labels, strict=True):
        np.bincount(label.astype(np.uint16) * classes + map_, minlength=(VOID + 1) * classes)


def scoring(config: KernelsConfig, random: np.random.Generator) -> list[Operation]:
    """Counting at single pixels and in coarse cells, rewards of cells, scores of counts."""
    size, classes = config.image_size, config.num_classes
    labels = random.integers(0, classes, (config.images, size, size), dtype=np.uint8)
    labels[random.random(labels.shape) < 0.05] = VOID
    labels = torch.from_numpy(labels)
    index, mirrored = torch.arange(config.images), torch.zeros(config.images, dtype=torch.bool)
    some = max(config.images // config.part, 1)
    operations = []
    for members in (1, config.members[0]):
        maps = torch.randint(0, classes, (config.images, members, size * size), dtype=torch.uint8)
        given = (labels.flatten(1), index, mirrored, size, classes)
        few, truth = maps[:some], labels.flatten(1)[:some].repeat_interleave(members, 0)

        def count(maps=maps, given=given, backend="numba"):
            return class_counts(maps, *given, backend=backend)

        counts = Operation(f"class counts, K = {members}", "cells", 1 + 1 / members)
        counts.ways = {
            "numba": (count, maps.numel()),
            "numba, one thread": (lambda count=count: on_one_thread(count), maps.numel()),
            "NumPy bincount, one thread": (
                lambda few=few, truth=truth: numpy_bincount(few.numpy(), truth.numpy(), classes),
                few.numel(),
            ),
            "NumPy bincount, tuned, one thread": (
                lambda few=few, truth=truth: tuned_bincount(few.numpy(), truth.numpy(), classes),
                few.numel(),
            ),
            "torch.bincount": (
                lambda few=few, truth=truth: torch_bincount(few, truth, classes),
                few.numel(),
            ),
            "reference": (
                lambda few=few, given=given, count=count: count(
                    few, (given[0], index[:some], mirrored[:some], size, classes), "reference"
                ),
                few.numel(),
            ),
        }
        operations.append(counts)
    scale = 4
    table = label_table(labels, classes, scale)
    coarse = maps[..., : table.shape[1]].contiguous()
    bytes_per_cell = 1 + table.element_size() * 2 / coarse.shape[1]
    kernels: list[tuple[str, Any, Callable[..., object], int]] = [
        ("class counts", classes, class_counts, 0),
        ("cell rewards", torch.ones(classes), cell_rewards, 4),
    ]
    for name, last, kernel, more in kernels:
        operation = Operation(f"{name}, {scale}x{scale} cells", "cells", bytes_per_cell + more)
        for backend, number in (("numba", config.images), ("reference", some)):
            arguments = (coarse[:number], table, index[:number], mirrored[:number], size // scale)
            operation.ways[backend] = (
                lambda kernel=kernel, arguments=arguments, last=last, backend=backend: kernel(
                    *arguments, last, backend=backend
                ),
                coarse[:number].numel(),
            )
        operations.append(operation)
    counted = count_dtype(scale).itemsize * (classes + 1) / scale**2
    tables = Operation(f"label table, {scale}x{scale} cells", "pixels", 1 + counted)
    for backend, number in (("numba", config.images), ("reference", some)):
        tables.ways[backend] = (
            lambda backend=backend, number=number: label_table(
                labels[:number], classes, scale, backend=backend
            ),
            labels[:number].numel(),
        )
    operations.append(tables)
    counts = torch.randint(0, 99, (config.images, members, 4, 2, classes), dtype=torch.int32)
    pixels, weights = torch.full((config.images, classes), 99), torch.full((4,), 0.25)
    scores = Operation("metric scores (miou)", "classes", 8)
    for backend in ("numba", "reference"):
        scores.ways[backend] = (
            lambda backend=backend: metric_scores(
                "miou", counts, pixels, index, weights, backend=backend
            ),
            counts.numel() // 2,
        )
    return [*operations, scores]


def moving(config: KernelsConfig, random: np.random.Generator) -> list[Operation]:
    """Gathering images, and one pass over actions of 8 bytes a cell."""
    size = config.image_size
    images = random.integers(0, 256, (config.images, size, size, 3), dtype=np.uint8)
    images = torch.from_numpy(images)
    index = torch.from_numpy(random.integers(0, config.images, config.images))
    mirrored = torch.arange(config.images) % 2 == 0
    gather = Operation("gather images, half of them flipped", "bytes", 2)
    actions = random.integers(0, config.num_classes, (config.images, 2 * size * size))
    narrow = Operation("narrow actions from int64", "cells", 9)
    for backend in ("numba", "reference"):
        gather.ways[backend] = (
            lambda backend=backend: gather_images(images, index, mirrored, backend=backend),
            images.numel(),
        )
        narrow.ways[backend] = (
            lambda backend=backend: narrow_classes(actions, config.num_classes, backend=backend),
            actions.size,
        )
    return [gather, narrow]


def drawing(config: KernelsConfig) -> list[Operation]:
    """Drawing K maps from probabilities, and pair-wise differences between them."""
    classes, cells = config.num_classes, config.image_size**2
    images = max(config.images // config.part, 1)
    probabilities = (3 * torch.randn(images, classes, cells)).softmax(1)
    keys = torch.arange(images)
    few = max(images // config.part, 1)
    rows = probabilities[:few].transpose(1, 2).reshape(-1, classes).contiguous()
    operations = []
    for members in config.members:
        for stratified in (False, True):
            name = f"sample classes, K = {members}{', stratified' if stratified else ''}"
            operation = Operation(name, "draws", 1 + 4 * classes / members)

            def draw(number, backend, members=members, stratified=stratified):
                return sample_classes(
                    probabilities[:number],
                    keys[:number],
                    members,
                    stratified=stratified,
                    backend=backend,
                )

            operation.ways = {
                "numba": (lambda draw=draw: draw(images, "numba"), images * members * cells),
                "numba, one thread": (
                    lambda draw=draw: on_one_thread(lambda: draw(images, "numba")),
                    images * members * cells,
                ),
                "torch.multinomial": (
                    lambda members=members: torch.multinomial(rows, members, replacement=True),
                    len(rows) * members,
                ),
                "reference": (lambda draw=draw: draw(few, "reference"), few * members * cells),
            }
            operations.append(operation)
        maps = torch.randint(0, classes, (few, members, cells), dtype=torch.uint8)
        scores = torch.rand(few, members)
        pairs = Operation(f"pair-wise spatial difference, K = {members}", "cells of pairs", 18)
        for backend in ("numba", "reference"):
            pairs.ways[backend] = (
                lambda backend=backend, scores=scores, maps=maps: pairwise_spatial_difference(
                    scores, maps, backend=backend
                ),
                few * cells * members * (members - 1) // 2,
            )
        operations.append(pairs)
    return operations


def measure(config: KernelsConfig) -> None:
    """Measure, and publish the table."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    words = as_words(np.ones(256 * 2**20, np.uint8))  # zeros would share one page
    bound = words.nbytes / time_in_turn({"read": lambda: read_once(words)}, 9)["read"].median
    rows = []
    everything = (scoring(config, random), moving(config, random), drawing(config), believing())
    for operations in everything:
        for operation in operations:
            calls = {name: run for name, (run, _) in operation.ways.items()}
            timings = time_in_turn(calls, config.repeats)
            units = {name: number for name, (_, number) in operation.ways.items()}
            ours = timings[operation.ours].median / units[operation.ours]
            for name, timing in timings.items():
                each = timing.median / units[name]
                rows.append(
                    (
                        operation.name,
                        name,
                        f"{timing.spread(units[name] * 1e-9)}",
                        f"{1e-6 / each:,.0f} M {operation.unit}/s",
                        f"{each / ours:.2f}",
                        f"{operation.bytes_per_unit / each / bound:.1%}",
                    )
                )
    header = (
        "operation", "way", "ns each, median (quartiles)", "rate", "time of numba's", "of bound"
    )  # fmt: skip
    sizes = (
        f"\n{config.images} images of {config.image_size}x{config.image_size}, "
        f"{config.num_classes} classes; read bound {bound / 1e9:.1f} GB/s\n"
    )
    publish("Kernels on the CPU", [sizes, markdown_table(header, rows)], config.out)


if __name__ == "__main__":
    measure(tyro.cli(KernelsConfig))
