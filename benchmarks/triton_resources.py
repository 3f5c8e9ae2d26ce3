"""What do the Triton kernels take of a CUDA device: registers, shared memory, spills?

    python -m benchmarks.triton_resources

Compiles every kernel ahead of time for compute capability 8.0 (A100) and 9.0 (H100), for which no
GPU is needed, and has Triton's own `ptxas` say what each takes. Prints a Markdown table. It says
nothing of speed.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import triton
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rss_agents.kernels.triton import (
    cell_uncertainty,
    expected_counts,
    expected_scores,
    label_covariance,
    map_counts,
    memory_places,
    pairwise_difference,
    pool_cells,
    sample_classes,
    systematic_sample,
    whitened_residuals,
)
from rss_env.kernels.triton import (
    cell_rewards,
    gather_images,
    hash_images,
    label_table,
    mirror_cells,
    score_maps,
)
from rss_env.kernels.triton.launching import ROW, WARPS, padded
from rss_env.rewards import METRICS

CAPABILITIES = (80, 90)
NUM_CLASSES = (21, 60)
NUM_MAPS = (8, 32)
SCALES, OFFSETS = (8, 4, 2, 1), (0, 64, 320, 1344, 5440)  # at 64x64
COLUMNS, SAMPLED = (8, 16, 32, 64), (0, 64, 256, 448, 640)
SCORES = (16, 64)  # of an image
_PTXAS = Path(triton.backends.nvidia.__file__).parent / "bin" / "ptxas"
_TYPES = {
    **{name: f"*{name}" for name in ("u8", "i16", "i32", "i64", "i1")},
    "f32": "*fp32",
    "f64": "*fp64",
}


@dataclass(frozen=True)
class Variant:
    """One kernel with the constants it is compiled for.

    Attributes:
        name: What the table calls it.
        kernel: A `triton.jit` function.
        pointers: Element types of its first arguments, in words, with commas for a tuple; integers
            follow.
        constants: Its compile-time constants.
        ones: Whether its integers are all 1, which Triton compiles for separately (a single cell).
        warps: Of each program.
    """

    name: str
    kernel: Any
    pointers: str
    constants: dict[str, Any] = field(default_factory=dict)
    ones: bool = False
    warps: int = WARPS

    def of_ones(self) -> Variant:
        """The same kernel for integers that are all 1."""
        return replace(self, ones=True)

    def source(self) -> ASTSource:
        """What Triton compiles: tensors begin at multiples of 16 bytes, as PyTorch's do."""
        names, pointers = self.kernel.arg_names, self.pointers.split()
        signature = {
            name: "constexpr" if name in self.constants or (self.ones and i >= len(pointers))
            else _types(pointers[i]) if i < len(pointers) else "i32"
            for i, name in enumerate(names)
        }  # fmt: skip
        ones = dict.fromkeys(names[len(pointers) :], 1) if self.ones else {}
        places = [
            (i, *inner)
            for i, pointer in enumerate(pointers)
            for inner in (
                [(j,) for j in range(len(pointer.split(",")))] if "," in pointer else [()]
            )
        ]
        aligned: Any = {place: [["tt.divisibility", 16]] for place in places}
        return ASTSource(self.kernel, signature, ones | self.constants, aligned)


def _types(pointer: str) -> Any:
    """Triton's name of an element type, or those of a tuple's, which commas part."""
    types = tuple(_TYPES[part] for part in pointer.split(","))
    return types if "," in pointer else types[0]


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes.

    Attributes:
        registers: Of each thread.
        shared: Bytes of shared memory of each program.
        spills: Bytes stored to or loaded from local memory for want of registers.
        stack: Bytes of local memory of each thread.
    """

    registers: int
    shared: int
    spills: int
    stack: int


def variants_of_classes(num_classes: int) -> Iterator[Variant]:
    """The kernels whose tiles depend on C."""
    tile = score_maps.tile_of(num_classes)
    counting, rewarding = score_maps.count_classes, cell_rewards.reward_cells
    yield Variant("class_counts, pixels", counting, "u8 u8 i64 i1 i32", {"PIXELS": True, **tile})
    for bits in ("u8", "i16", "i32"):
        name, constants = f"class_counts, {bits}", {"PIXELS": False, **tile}
        yield Variant(name, counting, f"u8 {bits} i64 i1 i32", constants)
        constants = {"PIXELS": False, "BLOCK": ROW}
        yield Variant(f"cell_rewards, {bits}", rewarding, f"u8 {bits} i64 i1 f32 f32", constants)
        tabulating = label_table.count_labels
        yield Variant(
            f"label_table, {bits}", tabulating, f"u8 {bits}", label_table.tile_of(num_classes)
        )
    table = {"IN_TABLE": True, "OFFSETS": OFFSETS, **expected_counts.tile_of(num_classes)}
    counting = expected_counts.expect_counts
    for sampled in (False, True):
        name, constants = "expected_counts" + ", sampled" * sampled, {"SAMPLED": sampled, **table}
        yield Variant(name, counting, "f32 u8 i64 i64 f32 f32", constants)
    constants = {"SAMPLED": True, "OFFSETS": OFFSETS, **expected_counts.tile_of(num_classes)}
    labelling = expected_counts.expect_labels
    yield Variant("expected_counts, labels", labelling, "f32 i64 f32 f32", constants)
    spreading = expected_counts.spread_gradient
    yield Variant("expected_counts, gradient", spreading, "f32 f32 u8 i64 f32", table)
    for metric in METRICS if num_classes == NUM_CLASSES[0] else ("miou",):
        constants, scoring = score_maps.constants_of(metric, num_classes), score_maps.score_counts
        yield Variant(f"metric_scores, {metric}", scoring, "i32 i64 i64 f32 f32 f32", constants)
        pixels = tuple(scale == 1 for scale in SCALES)
        constants = {"OFFSETS": OFFSETS, "COLUMNS": COLUMNS, "PIXELS": pixels}
        constants |= score_maps.scoring_of(metric, num_classes)
        pointers = "u8 u8,u8,u8,u8 i64 i1 i64 f32 f32 f32"
        yield Variant(f"action_scores, {metric}", score_maps.count_and_score, pointers, constants)
    constants = {"OFFSETS": OFFSETS, **map_counts.tile_of(num_classes)}
    yield Variant("map_counts", map_counts.count_cells, "u8 f32", constants)
    for metric in METRICS if num_classes == NUM_CLASSES[0] else ("miou",):
        constants = expected_scores.constants_of(metric, 0.005, num_classes)
        scoring = expected_scores.score_with_slopes
        yield Variant(f"expected_scores, {metric}", scoring, "f32 f32 f32 f32", constants)


def variants_of_maps(num_maps: int) -> Iterator[Variant]:
    """The kernels whose tiles depend on K."""
    for stratified in (False, True):
        name = "sample_classes" + ", stratified" * stratified
        constants = {"STRATIFIED": stratified, **sample_classes.tile_of(num_maps)}
        yield Variant(name, sample_classes.draw_classes, "f32 i64 u8", constants)
    tile, differences = pairwise_difference.tile_of(num_maps), pairwise_difference
    yield Variant("pairwise_difference, counts", differences.count_differences, "u8 i32", tile)
    yield Variant("pairwise_difference", differences.share_differences, "f32 u8 i32 f32", tile)


def variants_of_scores(count: int) -> Iterator[Variant]:
    """The kernel whose tile depends on the number of an image's scores."""
    side, solving = padded(count), whitened_residuals.eliminate
    warps = whitened_residuals.warps_of(side)
    for groups in (0, count // 8, count // 2):
        name = f"whitened_residuals, {groups} offsets" if groups else "whitened_residuals"
        constants = {"WITH_OFFSET": groups > 0, "SIDE": side, "SIDES": padded(groups + 1)}
        yield Variant(name, solving, "f64 f32 f32 i1 f32 f64", constants, warps=warps)


def variants_alike() -> Iterator[Variant]:
    """The kernels whose tiles are always the same."""
    constants: dict[str, Any] = {"PIXELS": True, "BLOCK": ROW}
    rewarding = cell_rewards.reward_cells
    yield Variant("cell_rewards, pixels", rewarding, "u8 u8 i64 i1 f32 f32", constants)
    yield Variant("gather_images", gather_images.copy_images, "u8 i64 i1 u8", {"BLOCK": ROW})
    constants = memory_places.take_tile_of(16)
    yield Variant("take_places", memory_places.take, "i64 i64 i64 i64 i64 i1", constants)
    constants = memory_places.slot_tile_of(16, 5)
    yield Variant("take_slots", memory_places.slot, "i64 i64 i1 i64 i64 i1", constants)
    weighing, adding = label_covariance.weigh_cells, label_covariance.add_products
    sampled: dict[str, Any] = {"SAMPLED": True, "OFFSETS": OFFSETS}
    constants = {"IN_TABLE": True, **sampled, "BLOCK": label_covariance.ROW}
    pointers = "f32 u8 i64 i64 f32 f32 f32 f32 f32 u8"
    yield Variant("label_covariance, cells", weighing, pointers, constants)
    constants = {"SIDE": label_covariance.SIDE}
    combining = label_covariance.add_parts
    yield Variant("label_covariance, parts", combining, "f32 f32 f32 f32 f32 f32", constants)
    constants = {name: getattr(label_covariance, name) for name in ("SIDE", "CHUNK", "AT_ONCE")}
    constants["OFFSETS"] = OFFSETS
    yield Variant("label_covariance, products", adding, "f32 f32 u8 f32", constants)
    constants = {"OFFSETS": OFFSETS, "BLOCK": cell_uncertainty.BLOCK}
    yield Variant("cell_uncertainty", cell_uncertainty.weigh_variances, "f32 f32 f32", constants)
    constants = {"SIDES": SCALES, "OFFSETS": OFFSETS, "BLOCK": pool_cells.BLOCK}
    yield Variant("pool_cells", pool_cells.average_pixels, "f32 i1 f32", constants)
    yield Variant("pool_cells, gradient", pool_cells.spread_means, "f32 i1 f32", constants)
    constants = {"OFFSETS": OFFSETS, "UNIFORM_SHARE": 0.1, "BLOCK": ROW}
    adding = systematic_sample.add_up_importance
    yield Variant("systematic_sample, sums", adding, "f32 f64 f64", constants)
    constants = {"OFFSETS": OFFSETS, "UNIFORM_SHARE": 0.1, "SAMPLED": SAMPLED}
    constants |= {"MOST": 192, "LANES": systematic_sample.LANES}
    searching = systematic_sample.search_places
    yield Variant("systematic_sample", searching, "f32 f64 f64 f32 i64 f32", constants)
    constants = {"BLOCK": ROW, "CHUNK": hash_images.CHUNK}
    yield Variant("hash_images", hash_images.hash_bytes, "u8 i64 i64", constants)
    constants = {"COLUMNS": COLUMNS, "OFFSETS": OFFSETS, "BLOCK": ROW}
    for bits in ("u8", "f32"):
        name = f"mirror_cells, {bits}"
        yield Variant(name, mirror_cells.turn_rows, f"{bits} i1 {bits}", constants)


def all_variants() -> list[tuple[str, Variant]]:
    """Every kernel with the sizes of the table's rows."""
    rows = [("any", variant) for variant in variants_alike()]
    for size, make, values in (
        ("C", variants_of_classes, NUM_CLASSES),
        ("K", variants_of_maps, NUM_MAPS),
        ("N", variants_of_scores, SCORES),
    ):
        rows += [(f"{size} = {value}", variant) for value in values for variant in make(value)]
    return rows


def compile_variant(variant: Variant, capability: int) -> tuple[Resources, str]:
    """Compile a kernel for a compute capability (80 for 8.0) and ask `ptxas` what it takes.

    Returns:
        What it takes, and its PTX.

    Raises:
        RuntimeError: If `ptxas` reports nothing that can be read.
    """
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(variant.source(), target=target, options={"num_warps": variant.warps})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(compiled.asm["ptx"])
        architecture = re.search(r"\.target (sm_\w+)", compiled.asm["ptx"])
        if architecture is None:
            raise RuntimeError(f"{variant.name}: the PTX names no target")
        command = [str(_PTXAS), "-v", f"-arch={architecture[1]}", str(source), "-o", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = done.stdout + done.stderr
    registers = re.search(r"Used (\d+) registers", report)
    local = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report
    )
    if registers is None or local is None:
        raise RuntimeError(f"{variant.name}: ptxas said {report!r}")
    stack, stored, loaded = (int(number) for number in local.groups())
    taken = Resources(int(registers[1]), compiled.metadata.shared, stored + loaded, stack)
    return taken, compiled.asm["ptx"]


def compile_all(variants: Sequence[Variant], capability: int) -> list[tuple[Resources, str]]:
    """Compile kernels, one by one: Python 3.11 cannot parse source in two threads at once."""
    return [compile_variant(variant, capability) for variant in variants]


def main() -> None:
    """Compile everything and print the table."""
    rows = all_variants()
    variants = [variant for _, variant in rows]
    found = [compile_all(variants, capability) for capability in CAPABILITIES]
    version = subprocess.run([str(_PTXAS), "--version"], capture_output=True, text=True, check=True)
    release = re.search(r"release [\d.]+, V[\d.]+", version.stdout)
    print("# Registers, shared memory and spills of the Triton kernels\n")
    print("Compiled ahead of time, without a GPU; nothing was run on one, and nothing timed.")
    print(f"`python -m benchmarks.triton_resources`; triton {triton.__version__}, ptxas", end=" ")
    print(f"{release[0] if release else 'unknown'}, {platform.system()} {platform.machine()}.")
    print(f"Programs of {WARPS} warps, but for whitened residuals. Each cell: registers", end=" ")
    print("of a thread / bytes of shared memory")
    print("of a program / bytes of spills.\n")
    names = [f"sm_{capability}" for capability in CAPABILITIES]
    print(f"| kernel | size | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for (size, variant), *taken in zip(rows, *found, strict=True):
        cells = [f"{r.registers} / {r.shared} / {r.spills}" for r, _ in taken]
        print(f"| {variant.name} | {size} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
