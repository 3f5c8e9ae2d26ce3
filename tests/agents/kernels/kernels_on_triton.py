"""Triton's backends against the references: interpreted on the CPU, or on a CUDA device.

The environment variable TRITON_INTERPRET has to be set before Triton is imported, and holds for the
whole process. So `test_triton.py` runs this file, in a process of its own; pytest does not collect
it by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from belief_problems import SHAPES as BELIEF_SHAPES
from belief_problems import belief_problem, sampling_problem, scales_of
from label_problems import COLUMNS, SHAPES, action_problem, problem, wild_actions
from memory_problems import MEMORIES, batches_of, new_tables
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.kernels.cell_uncertainty import cell_uncertainty
from rss_agents.kernels.expected_counts import expected_and_label_counts, expected_counts
from rss_agents.kernels.expected_scores import expected_scores
from rss_agents.kernels.label_covariance import label_covariance
from rss_agents.kernels.map_counts import map_counts
from rss_agents.kernels.memory_places import take_places, take_slots
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import sample_classes
from rss_agents.kernels.systematic_sample import systematic_sample
from rss_agents.kernels.triton import label_covariance as triton_covariance
from rss_agents.kernels.triton import whitened_residuals as triton_residuals
from rss_agents.kernels.whitened_residuals import whitened_residuals
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.training.config import DataConfig, TrainConfig
from rss_agents.training.optimisation import update_once
from rss_agents.training.setup import open_run
from rss_env.kernels import dispatch
from rss_env.kernels.cell_rewards import cell_rewards
from rss_env.kernels.gather_images import gather_images
from rss_env.kernels.hash_images import hash_images
from rss_env.kernels.label_table import label_table
from rss_env.kernels.mirror_cells import mirror_cells
from rss_env.kernels.score_maps import (
    action_counts,
    action_scores,
    class_counts,
    metric_scores,
)
from rss_env.kernels.triton import score_maps as triton_scores
from rss_env.kernels.triton.label_table import label_table_triton
from rss_env.rewards import METRICS
from rss_env.scenes import count_classes

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values on the device with gaps between them, along the last axis."""
    wide = torch.zeros(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype, device=DEVICE)
    wide[..., ::2] = tensor
    return wide[..., ::2]


def both(kernel, *arguments, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """What Triton says of input that is not contiguous, and the reference on the CPU."""
    expected = kernel(*arguments, **options, backend="reference")
    moved = [strided(a) if isinstance(a, torch.Tensor) else a for a in arguments]
    found = kernel(*moved, **options, backend="triton").cpu()
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    return found, expected


@pytest.mark.parametrize("name", SHAPES)
def test_scoring_is_exact(name):
    _, groups, _, _, columns, scale, classes, _ = SHAPES[name]
    labels, maps, index, mirrored = problem(*SHAPES[name], seed=3)
    found, table = both(label_table, labels, classes, scale)
    assert found.equal(table)
    for flipped in (mirrored, ~mirrored, torch.ones(groups, dtype=torch.bool)):
        lookup = (maps, table, index, flipped, columns)
        found, expected = both(class_counts, *lookup, classes)
        assert found.equal(expected)
        found, expected = both(cell_rewards, *lookup, torch.rand(classes))
        assert found.equal(expected)


def test_wide_tables_are_exact():
    labels, maps, index, mirrored = problem(3, 5, 3, 7, 11, 3, 5, 0.2)
    table = label_table(labels, 5, 3, backend="reference").int()
    assert label_table_triton(labels.to(DEVICE), 5, 3, torch.int32).cpu().equal(table)
    lookup = (maps, table, index, mirrored, 11)
    found, expected = both(class_counts, *lookup, 5)
    assert found.equal(expected)
    found, expected = both(cell_rewards, *lookup, torch.rand(5))
    assert found.equal(expected)


def test_maps_of_several_chunks_are_counted_whole():
    labels, maps, index, mirrored = problem(2, 1, 1, 70, 70, 1, 3, 0.1)
    table = label_table(labels, 3, 1)
    found, expected = both(class_counts, maps, table, index, mirrored, 70, 3)
    assert found.equal(expected)
    assert found[0, 0, 1].sum() == (labels[index[0]] != 255).sum()


def test_unchecked_classes_count_for_nothing():
    labels, _, index, mirrored = problem(1, 1, 2, 4, 4, 2, 3, 0.5)
    for scale, cells in ((2, 16), (1, 64)):
        for wild in (3, 200, 255):
            maps = torch.full((1, 2, cells), wild, dtype=torch.uint8, device=DEVICE)
            table = label_table(labels, 3, scale).to(DEVICE)
            lookup = (maps, table, index.to(DEVICE), mirrored.to(DEVICE), 8 // scale)
            weights = torch.ones(3, device=DEVICE)
            assert class_counts(*lookup, 3, backend="triton").sum() == 0
            assert cell_rewards(*lookup, weights, backend="triton").sum() == 0


@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_flat_actions_are_exact(metric):
    _, tables, actions, index, mirrored = action_problem()
    wild = wild_actions(actions)
    class_pixels = torch.randint(0, 40, (4, 7)) * torch.tensor([1, 1, 0, 1, 1, 0, 1])
    class_pixels[index[0]] = 0  # nothing but void
    weights = torch.tensor([0.2, 0.3, 0.5])
    for given in (actions, wild):
        counts = action_counts(given, tables, index, mirrored, COLUMNS, 7, backend="numba")
        moved_tables = [strided(table) for table in tables]
        lookup = (strided(given), moved_tables, strided(index), strided(mirrored), COLUMNS)
        found = action_counts(*lookup, 7, backend="triton")
        assert found.cpu().equal(counts)
        expected = metric_scores(metric, counts, class_pixels, index, weights, backend="reference")
        moved = [strided(part) for part in (class_pixels, index, weights)]
        scores = metric_scores(metric, found, *moved, backend="triton")
        pixels, _, of_scales = moved
        at_once = action_scores(metric, *lookup, pixels, of_scales, backend="triton")
        for own, fused, reference in zip(scores, at_once, expected, strict=True):
            assert own.cpu().equal(reference)
            assert fused.cpu().equal(reference)


@pytest.mark.parametrize("name", SHAPES)
def test_maps_are_counted_and_scored_at_once(name, monkeypatch):
    _, _, _, _, columns, scale, classes, _ = SHAPES[name]
    labels, maps, index, mirrored = problem(*SHAPES[name], seed=3)
    table = label_table(labels, classes, scale)
    pixels = count_classes(labels, classes)
    for most in (triton_scores.MOST_CELLS, 0):  # in one go, and one after the other
        monkeypatch.setattr(triton_scores, "MOST_CELLS", most)
        for metric in METRICS:
            results = [
                action_scores(
                    metric,
                    maps.to(device),
                    [table.to(device)],
                    index.to(device),
                    mirrored.to(device),
                    [columns],
                    pixels.to(device),
                    torch.ones(1, device=device),
                    backend=backend,
                )
                for device, backend in (("cpu", "reference"), (DEVICE, "triton"))
            ]
            for reference, own in zip(*results, strict=True):
                assert own.cpu().equal(reference)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("name", ["one cell", "odd", "single row"])
def test_images_are_copied_exactly(name, repeats):
    labels, _, index, mirrored = problem(*SHAPES[name])
    pictures = torch.randint(0, 256, (*labels.shape, 3), dtype=torch.uint8)
    for images in (labels, pictures):
        found, expected = both(gather_images, images, index, mirrored, repeats)
        assert found.equal(expected)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("images", "classes", "cells", "members"),
    [(1, 2, 1, 1), (2, 5, 7, 3), (1, 2, 1, 8), (3, 60, 130, 2), (1, 21, 65, 7), (1, 256, 9, 33)],
)
def test_drawn_classes_are_the_same(images, classes, cells, members, dtype, stratified):
    probabilities, keys = sampling_problem(images, classes, cells, dtype)
    for exploration in (0.0, 0.3):
        options = {"stratified": stratified, "exploration": exploration}
        found, expected = both(sample_classes, probabilities, keys, members, **options)
        assert found.equal(expected)


def test_extreme_keys_draw_the_same():
    probabilities, _ = sampling_problem(4, 4, 33)
    keys = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    for stratified in (False, True):
        found, expected = both(sample_classes, probabilities, keys, 5, stratified=stratified)
        assert found.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name, shape in BELIEF_SHAPES.items() if shape[1] > 1])
def test_pairwise_differences(name, dtype):
    _, maps = belief_problem(*BELIEF_SHAPES[name])
    maps[0, 1] = maps[0, 0]  # a pair of equal maps
    found, expected = both(
        pairwise_spatial_difference, torch.rand(maps.shape[:2], dtype=dtype), maps
    )
    torch.testing.assert_close(found, expected)


def test_equal_maps_owe_nothing():
    maps = torch.zeros(2, 3, 5, dtype=torch.uint8, device=DEVICE)
    scores = torch.rand(2, 3, device=DEVICE)
    found = pairwise_spatial_difference(scores, maps, backend="triton")
    assert not found.any()


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ((1, 1, 1, 2), (0, 1)),
        ((3, 5, 77, 5), (0, 1, 6, 30, 77)),
        ((2, 3, 35, 60), (0, 7, 35)),
        ((1, 7, 300, 3), (0, 300)),
        ((2, 2, 9, 255), (0, 4, 9)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_expected_counts_and_their_gradient(shape, offsets, dtype):
    probabilities, maps = belief_problem(*shape)
    leaf = probabilities.to(dtype).requires_grad_()
    expected = expected_and_label_counts(leaf, maps, offsets, backend="reference")
    upstream = [torch.randn_like(part) for part in expected]
    torch.autograd.backward(expected, upstream)
    beliefs = strided(leaf.detach()).requires_grad_()
    found = expected_and_label_counts(beliefs, strided(maps), offsets, backend="triton")
    torch.autograd.backward(found, [strided(part) for part in upstream])
    for own, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(own.detach().cpu(), reference.detach())
    assert beliefs.grad is not None
    torch.testing.assert_close(beliefs.grad.cpu(), leaf.grad)


def test_gradient_of_expected_counts_is_that_of_finite_differences():
    probabilities, maps = belief_problem(1, 2, 5, 3)
    leaf, own = probabilities.double().to(DEVICE).requires_grad_(), maps.to(DEVICE)
    assert torch.autograd.gradcheck(
        lambda beliefs: expected_counts(beliefs, own, (0, 2, 5), backend="triton"), leaf
    )


@pytest.mark.parametrize(
    ("shape", "offsets"),
    [
        ((1, 1, 1, 2), (0, 1)),
        ((3, 5, 77, 5), (0, 1, 6, 30, 77)),
        ((2, 3, 35, 60), (0, 7, 35)),
        ((1, 35, 37, 3), (0, 4, 37)),
        ((2, 2, 9, 255), (0, 9)),
    ],
)
def test_covariances(shape, offsets, monkeypatch):
    monkeypatch.setattr(triton_covariance, "CHUNK", 16)  # so that few cells make several
    probabilities, maps = belief_problem(*shape)
    hit, everywhere = torch.rand(2, *maps.shape[:2], len(offsets) - 1, shape[3]).unbind()
    exact = probabilities.double()
    exact = exact / exact.sum(1, keepdim=True)
    counts = torch.randint(1, 9, (shape[0], 1, shape[2]))  # of cells that each cell stands for
    exact, probabilities = exact * counts, probabilities * counts
    found, expected = both(
        label_covariance, exact, maps, hit.double(), everywhere.double(), offsets
    )
    torch.testing.assert_close(found, expected)
    on_device = [t.to(DEVICE) for t in (probabilities, maps, hit, everywhere)]
    found = label_covariance(
        on_device[0], on_device[1], on_device[2], on_device[3], offsets, backend="triton"
    )
    most = float(expected.max())
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-3, atol=1e-4 * most)
    cells = torch.arange(shape[2]).flip(0).expand(shape[0], -1)
    found, expected = both(
        label_covariance,
        exact,
        maps,
        hit.double(),
        everywhere.double(),
        offsets,
        cells,
        1.0 / counts[:, 0],
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [2, 5, 60])
def test_expected_scores_slopes_and_gradients(classes, metric):
    predicted = torch.randint(0, 9, (2, 5, 3, classes)).double()
    predicted[..., 0] += 1
    predicted[:, 0, :, 1:], predicted[:, 0, :, 0] = 0, 20
    labelled = 9 * torch.rand(2, 3, classes).double()
    labelled[1, :, -1], predicted[1, :, :, -1] = 0, 0  # a class that is nowhere
    right = torch.rand(predicted.shape).double() * torch.minimum(predicted, labelled[:, None])
    for dtype in (torch.float64, torch.float32):
        results = []
        for device, backend in (("cpu", "reference"), (DEVICE, "triton")):
            given = [part.to(device, dtype, copy=True) for part in (right, predicted, labelled)]
            leaves = given[0].requires_grad_(), given[2].requires_grad_()
            scores, *slopes = expected_scores(
                leaves[0], given[1], leaves[1], metric, 0.005, backend=backend
            )
            scores.backward(torch.linspace(-1, 1, scores.numel()).view(scores.shape).to(scores))
            results.append([scores.detach(), *slopes, *(leaf.grad for leaf in leaves)])
        tolerance = 1e-9 if dtype == torch.float64 else 1e-4
        for reference, found in zip(*results, strict=True):
            torch.testing.assert_close(found.cpu(), reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("images", "offsets", "most"),
    [(1, (0, 1), 1), (3, (0, 4, 20, 84), 16), (2, (0, 7, 50), 1), (2, (0, 2600), 300)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_systematic_samples(images, offsets, most, dtype):
    starts = torch.rand(images, len(offsets) - 1)
    for certain in (0.0, 0.8, 1.0):
        importance = torch.rand(images, offsets[-1], dtype=dtype)
        importance[torch.rand(importance.shape) < certain] = 0
        cells, counts = systematic_sample(
            importance, starts, offsets, most, 0.1, backend="reference"
        )
        found = systematic_sample(
            strided(importance), strided(starts), offsets, most, 0.1, backend="triton"
        )
        assert found[0].cpu().equal(cells)
        assert found[1].dtype == dtype
        torch.testing.assert_close(found[1].cpu(), counts)


@pytest.mark.parametrize("offset", [None, 0.3, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("images", "number", "members"), [(1, 1, 1), (3, 2, 3), (3, 5, 7)])
def test_whitened_residuals(images, number, members, dtype, offset):
    count = number * members
    root = torch.randn(images, count, count, dtype=torch.float64)
    present = torch.rand(images, number, 1) < 0.7
    present[-1] = False
    present = (present & (torch.rand(images, number, members) < 0.9)).flatten(1)
    system = (
        torch.randn(images, count, dtype=dtype),
        (root @ root.mT).to(dtype),
        torch.linspace(0.1, 1.2, images * count).view(images, -1).to(dtype),
        present,
        members,
        None if offset is None else torch.full((images,), offset, dtype=dtype),
    )
    found, expected = both(whitened_residuals, *system)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_systems_too_large_for_a_program_are_solved_by_the_reference():
    count = 2 * triton_residuals.MOST_SCORES
    system = (torch.randn(1, count), torch.eye(count)[None], torch.ones(1, count))
    found, expected = both(whitened_residuals, *system, torch.ones(1, count).bool(), 2, None)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", BELIEF_SHAPES)
def test_counts_of_maps_are_exact(name):
    _, maps = belief_problem(*BELIEF_SHAPES[name])
    offsets, classes = scales_of(maps.shape[2]), BELIEF_SHAPES[name][3]
    found, expected = both(map_counts, maps, offsets, classes)
    assert found.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BELIEF_SHAPES)
def test_uncertainties_of_cells(name, dtype):
    images, _, cells, classes = BELIEF_SHAPES[name]
    probabilities = belief_problem(*BELIEF_SHAPES[name])[0].to(dtype)
    offsets = scales_of(cells)
    weights = torch.rand(images, len(offsets) - 1, classes, dtype=dtype)
    found, expected = both(cell_uncertainty, probabilities, weights, offsets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("shape", "scales", "stride"),
    [
        ((3, 5, 8, 12), (4, 2, 1), 1),
        ((2, 3, 12, 24), (6, 4, 1), 1),
        ((1, 2, 1, 1), (1,), 1),
        ((2, 4, 8, 16), (16, 8, 4), 4),
        ((1, 2, 36, 30), (6, 3, 2, 1), 1),
    ],
)
def test_pooled_cells_and_their_gradient(shape, scales, stride):
    values, mirrored = torch.randn(shape), torch.arange(shape[0]) % 2 == 0
    for flips in (mirrored, None):
        results = []
        for device, backend in (("cpu", "reference"), (DEVICE, "triton")):
            leaf = values.to(device, memory_format=torch.channels_last, copy=True).requires_grad_()
            own = None if flips is None else flips.to(device)
            found = pool_cells(leaf, scales, stride, own, backend=backend)
            found.backward(torch.linspace(-1, 1, found.numel()).view(found.shape).to(device))
            results.append((found.detach(), leaf.grad))
        for reference, own in zip(*results, strict=True):
            torch.testing.assert_close(own.cpu(), reference)


def test_the_curvature_of_pooled_cells():
    values, results = torch.randn(2, 2, 4, 4), []
    for device, backend in (("cpu", "reference"), (DEVICE, "triton")):
        leaf = values.to(device, copy=True).requires_grad_()
        bent = pool_cells(leaf, (4, 2, 1), backend=backend).exp().sum()
        (slope,) = torch.autograd.grad(bent, leaf, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), leaf)[0].cpu())
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("shape", [(1, 1), (3, 7, 5, 3), (2, 40_000)])
def test_hashes_are_exact(shape):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    weights = torch.randint(-(2**62), 2**62, (3, images[0].numel()))
    found, expected = both(hash_images, images, weights)
    assert found.equal(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_cells_are_mirrored_exactly(dtype):
    columns, offsets = (3, 6, 11), (0, 6, 30, 63)
    flips = torch.tensor([True, False, True])
    for shape in ((3, 63), (3, 4, 63)):
        flat = torch.randint(0, 200, shape).to(dtype)
        found, expected = both(mirror_cells, flat, flips, columns, offsets)
        assert found.equal(expected)


def test_maps_in_a_table_are_taken_where_they_lie():
    images, cells, classes, offsets = 2, 35, 5, (0, 7, 35)
    probabilities, maps = belief_problem(images, 6, cells, classes)
    table, rows = maps.flatten(0, 1), torch.tensor([[3, 9, 0], [11, 3, 3]])
    leaf = probabilities.double().requires_grad_()
    expected = expected_and_label_counts(leaf, table, offsets, rows, backend="reference")
    upstream = [torch.randn_like(part) for part in expected]
    torch.autograd.backward(expected, upstream)
    beliefs = leaf.detach().to(DEVICE, copy=True).requires_grad_()
    moved = (strided(table), offsets, strided(rows))
    found = expected_and_label_counts(beliefs, *moved, backend="triton")
    torch.autograd.backward(found, [part.to(DEVICE) for part in upstream])
    for own, reference in zip((*found, beliefs.grad), (*expected, leaf.grad), strict=True):
        assert own is not None
        torch.testing.assert_close(own.detach().cpu(), reference)
    weights = torch.rand(2, images, 3, 2, classes).double().unbind()
    cells_of_all = torch.tensor([[0, 3, 6, 9, 20, 34], [1, 1, 5, 8, 9, 10]])
    counts = torch.rand(images, 6).double() + 1
    covariance = (leaf.detach(), table, *weights)
    for given in ((offsets,), ((0, 3, 6), cells_of_all, counts)):
        found, expected = both(label_covariance, *covariance, *given, rows=rows.to(DEVICE))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", MEMORIES)
def test_places_and_slots_of_a_memory(name):
    capacity, ring, batch, _ = MEMORIES[name]
    (known_keys, last_seen, clock), count = new_tables(capacity, batch)
    of_cpu = (known_keys, last_seen, clock, count)
    moved = [part.to(DEVICE, copy=True) for part in of_cpu]
    for keys in batches_of(name):
        places, known = take_places(
            keys, known_keys, last_seen, clock, capacity, backend="reference"
        )
        slots, there = take_slots(keys, places, known, count, ring, capacity, backend="reference")
        own = keys.to(DEVICE)
        own_places, own_known = take_places(
            own, moved[0], moved[1], moved[2], capacity, backend="triton"
        )
        own_slots, own_there = take_slots(
            own, own_places, own_known, moved[3], ring, capacity, backend="triton"
        )
        found = (own_places, own_known, own_slots, own_there)
        for part, reference in zip(found, (places, known, slots, there), strict=True):
            assert part.dtype == reference.dtype
            assert part.cpu().equal(reference)
        # (What is written to the spare places, the last one that writes there decides.)
        for part, reference in zip(moved, of_cpu, strict=True):
            assert part.cpu().flatten()[:capacity].equal(reference.flatten()[:capacity])


def learned(out: Path, device: str) -> tuple[list[tuple[float, float]], torch.Tensor]:
    """Loss and gradient of some updates, and the maps that the first one drew."""
    run = open_run(
        TrainConfig(
            out=out,
            data=DataConfig("RSS/Shapes-ImageReward-v0"),
            image_size=(8,),
            num_images=2,
            group_size=2,
            device=device,
            capture=False,
            # (So few cells that some stand for others.)
            agent=RSSConfig(replay=2, metric_model=MetricModelConfig(covariance_cells=16)),
        )
    )
    numbers, drawn = [], []
    for _ in range(2):
        metrics = update_once(run.learner, run.optimizer, 0.5)
        numbers.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
        drawn.append(run.learner.last_batch()["maps"].cpu())
    return numbers, drawn[0]


def test_updates_are_those_of_the_cpu(tmp_path, monkeypatch):
    """With what CUDA would take everywhere: a kernel's backend in Triton, or else its reference.

    A seed gives the same weights and the same random numbers on both; so that maps are the same as
    well, convolutions are not to be rounded to TF32.
    """
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    expected, maps = learned(tmp_path / "cpu", "cpu")
    if DEVICE == "cpu":

        def as_on_cuda(backend, tensor, backends=("numba",)):
            if backend != "auto" or not isinstance(tensor, torch.Tensor):
                return dispatch.choose(backend, tensor, backends)
            return "triton" if "triton" in backends else "reference"

        # (Tables of all scenes would take the interpreter longer than all the rest.)
        left_out = (dispatch.__name__, label_table.__module__)
        for name, module in list(sys.modules.items()):
            if name.startswith(("rss_env.kernels.", "rss_agents.kernels.")) and (
                name not in left_out
            ):
                monkeypatch.setattr(module, "choose", as_on_cuda, raising=False)
    found, drawn = learned(tmp_path / DEVICE, DEVICE)
    assert (drawn == maps).float().mean() > 0.99  # a probability may be rounded past a threshold
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-2, atol=1e-4)
