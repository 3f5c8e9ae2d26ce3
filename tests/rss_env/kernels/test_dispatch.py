"""Kernels as operators: what fake tensors and `torch.compile` see of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch._library.custom_ops import CustomOpDef
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from belief_problems import belief_problem, sampling_problem
from label_problems import problem
from rss_agents.kernels.cell_uncertainty import cell_uncertainty
from rss_agents.kernels.expected_counts import expected_counts
from rss_agents.kernels.expected_scores import expected_scores
from rss_agents.kernels.label_covariance import label_covariance
from rss_agents.kernels.map_counts import map_counts
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import sample_classes
from rss_agents.kernels.systematic_sample import systematic_sample
from rss_agents.kernels.whitened_residuals import whitened_residuals
from rss_env.errors import InputError
from rss_env.kernels.cell_rewards import cell_rewards
from rss_env.kernels.gather_images import _copy_images, gather_images
from rss_env.kernels.hash_images import hash_images
from rss_env.kernels.label_table import label_table
from rss_env.kernels.mirror_cells import mirror_cells
from rss_env.kernels.score_maps import _count_pixels, class_counts

LABELS, MAPS, INDEX, MIRRORED = problem(3, 5, 3, 7, 11, 3, 5, 0.2)
LOOKUPS = {
    name: (MAPS, table, INDEX, MIRRORED, 11)
    for name, table in {
        "pixels": LABELS[:, ::3, ::3].reshape(3, -1),
        "narrow": label_table(LABELS, 5, 3),
        "wide": label_table(LABELS, 5, 3).int(),
    }.items()
}
BELIEFS, OWN = belief_problem(2, 4, 9, 3)
PROBABILITIES, KEYS = sampling_problem(2, 5, 7)
SAMPLED = (torch.tensor([[0, 1, 3, 5, 8]] * 2), torch.rand(2, 5))
PAIRS = {
    systematic_sample: (torch.rand(2, 9), torch.rand(2, 2), (0, 2, 9), 3, 0.1),
}
CALLS = {
    **{f"class_counts, {n}": (class_counts, (*given, 5), {}) for n, given in LOOKUPS.items()},
    **{
        f"cell_rewards, {n}": (cell_rewards, (*given, torch.rand(5)), {})
        for n, given in LOOKUPS.items()
    },
    "label_table": (label_table, (LABELS, 5, 3), {}),
    "gather_images": (gather_images, (LABELS, INDEX, MIRRORED, 3), {}),
    "gather_images, once": (gather_images, (LABELS[..., None], INDEX, MIRRORED), {}),
    "sample_classes": (sample_classes, (PROBABILITIES, KEYS, 3), {}),
    "sample_classes, stratified": (sample_classes, (PROBABILITIES, KEYS, 3), {"stratified": True}),
    "sample_classes, mixed": (sample_classes, (PROBABILITIES, KEYS, 3), {"exploration": 0.2}),
    "expected_counts": (expected_counts, (BELIEFS, OWN, (0, 2, 9)), {}),
    "label_covariance": (
        label_covariance,
        (BELIEFS, OWN, *torch.rand(2, 2, 4, 2, 3), (0, 2, 9)),
        {},
    ),
    "label_covariance, sampled": (
        label_covariance,
        (*(BELIEFS, OWN, *torch.rand(2, 2, 4, 2, 3), (0, 2, 5)), *SAMPLED),
        {},
    ),
    "mirror_cells": (mirror_cells, (OWN, torch.tensor([True, False]), (2, 7), (0, 2, 9)), {}),
    "map_counts": (map_counts, (OWN, (0, 2, 9), 3), {}),
    "cell_uncertainty": (cell_uncertainty, (BELIEFS, torch.rand(2, 2, 3), (0, 2, 9)), {}),
    "hash_images": (hash_images, (LABELS, torch.randint(2**62, (2, LABELS[0].numel()))), {}),
    "pairwise_difference": (pairwise_spatial_difference, (torch.rand(2, 4), OWN), {}),
    "whitened_residuals": (
        whitened_residuals,
        (torch.rand(2, 4), torch.eye(4).repeat(2, 1, 1), torch.rand(2, 4), torch.rand(2, 4) < 2, 2),
        {},
    ),
}
EACH_CALL = pytest.mark.parametrize("name", CALLS)

VALUES, FLIPS = torch.rand(3, 5, 8, 12), torch.tensor([True, False, True])
COUNTS, SHARES = 9 * torch.rand(2, 4, 2, 3) + 1, torch.rand(2, 4, 2, 3)
LABELLED = 9 * torch.rand(2, 2, 3) + 9
FLAT_COUNTS = torch.randint(0, 9, (5, 3, 2, 2, 4), dtype=torch.int32)
OPERATORS = {
    "action_counts": (
        torch.cat([MAPS, MAPS], 2),
        [LOOKUPS["pixels"][1], LOOKUPS["narrow"][1]],
        *(INDEX, MIRRORED, [11, 11], 5),
    ),
    "metric_scores": (
        *("miou", FLAT_COUNTS, torch.randint(0, 99, (3, 4)), INDEX),
        torch.tensor([0.5, 0.5]),
    ),
    "action_scores": (
        *("miou", torch.cat([MAPS, MAPS], 2), [LOOKUPS["pixels"][1], LOOKUPS["narrow"][1]]),
        *(INDEX, MIRRORED, [11, 11], torch.randint(0, 99, (3, 5)), torch.tensor([0.5, 0.5])),
    ),
    "take_places": (
        *(torch.tensor([4, 7, 4]), torch.tensor([7, 0, 0]), torch.tensor([1, 0, 0])),
        *(torch.tensor(1), 2),
    ),
    "take_slots": (
        *(torch.tensor([4, 7, 4]), torch.tensor([1, 0, 1]), torch.tensor([False, True, False])),
        *(torch.tensor([1, 0, 0, 0, 0]), 2, 2),
    ),
    "expected_counts_backward": (torch.randn(2, 4, 2, 3), torch.randn(2, 2, 3), OWN, (0, 2, 9)),
    "expected_scores": (COUNTS * SHARES, COUNTS, LABELLED, "miou", 0.005),
    "pool_cells": (VALUES, (4, 2, 1), FLIPS),
    "pool_cells_backward": (torch.randn(3, 5, 126), (4, 2, 1), FLIPS, 8, 12),
}
DIFFERENTIABLE = {
    "expected_counts": (lambda beliefs: expected_counts(beliefs, OWN, (0, 2, 9)), BELIEFS),
    "expected_scores": (
        lambda share: expected_scores(share * COUNTS, COUNTS, LABELLED, "miou", 0.005)[0],
        SHARES,
    ),
    "pool_cells": (lambda values: pool_cells(values, (4, 2, 1), mirrored=FLIPS), VALUES),
}


@EACH_CALL
def test_operators_keep_their_promises(name):
    kernel, arguments, options = CALLS[name]
    operator = getattr(torch.ops.rss_env, kernel.__name__)
    found = torch.library.opcheck(operator.default, arguments, options)
    assert set(found.values()) == {"SUCCESS"}
    told = operator(*arguments, **options)
    counts = told[0] if name == "expected_counts" else told  # which is told beside the label's
    assert counts.equal(kernel(*arguments, **options))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_gradient_of_expected_counts_is_that_of_finite_differences(backend):
    leaf = BELIEFS.double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: expected_counts(p, OWN, (0, 2, 9), backend=backend), leaf
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_parts_of_differentiable_kernels_are_operators_too(name):
    operator = getattr(torch.ops.rss_env, name)
    found = torch.library.opcheck(operator.default, OPERATORS[name])
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_compiled_gradient_is_the_plain_one(name):
    function, given = DIFFERENTIABLE[name]
    upstream = torch.randn(function(given).shape)

    def weighed(values):
        return (function(values) * upstream).sum()

    leaves = [given.clone().requires_grad_() for _ in range(2)]
    weighed(leaves[0]).backward()
    torch.compile(weighed, backend="aot_eager", fullgraph=True)(leaves[1]).backward()
    plain, compiled = (leaf.grad for leaf in leaves)
    assert plain is not None
    assert compiled is not None
    assert plain.equal(compiled)


@pytest.mark.parametrize("kernel", PAIRS)
def test_kernels_of_two_results_are_operators(kernel):
    arguments, operator = PAIRS[kernel], getattr(torch.ops.rss_env, kernel.__name__)
    found = torch.library.opcheck(operator.default, arguments)
    assert set(found.values()) == {"SUCCESS"}
    for own, plain in zip(operator(*arguments), kernel(*arguments), strict=True):
        assert own.equal(plain)


@EACH_CALL
def test_compiled_calls_give_the_same(name):
    """In one graph: the kernel is no reason to break it."""
    kernel, arguments, options = CALLS[name]

    def doubled(*given):
        return 2 * kernel(*given, **options)

    torch.compiler.reset()  # the others are no recompilations of this one
    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    assert compiled(*arguments).equal(doubled(*arguments))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@EACH_CALL
def test_fake_tensors_get_the_shape_and_type(name, device):
    kernel, arguments, options = CALLS[name]
    expected = kernel(*arguments, **options)
    with FakeTensorMode():
        fakes = [
            torch.empty_strided(a.shape, a.stride(), dtype=a.dtype, device=device)
            if isinstance(a, torch.Tensor)
            else a
            for a in arguments
        ]
        found = kernel(*fakes, **options)
        assert isinstance(found, FakeTensor)
        assert found.device.type == device
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert found.stride() == expected.stride()


def test_a_scale_of_one_is_a_view_that_needs_no_operator():
    with FakeTensorMode():
        labels = torch.empty(3, 8, 4, dtype=torch.uint8, device="cuda")
        assert label_table(labels, 5, 1).shape == (3, 32)


def test_plain_tensors_do_not_pass_through_operators(monkeypatch):
    """It would cost the single environment more than the kernel itself."""

    def refuse(*_, **__):
        raise AssertionError("passed through the dispatcher")

    monkeypatch.setattr(CustomOpDef, "__call__", refuse)
    for kernel, arguments, options in CALLS.values():
        kernel(*arguments, **options)
    with FakeTensorMode(), pytest.raises(AssertionError, match="dispatcher"):
        gather_images(torch.empty(1, 2, 2), torch.zeros(1), torch.zeros(1))


def test_what_kernels_say_has_no_gradient():
    leaf = torch.rand(2, 4).requires_grad_()
    assert not pairwise_spatial_difference(leaf, OWN).requires_grad
    compiled = torch.compile(pairwise_spatial_difference, backend="aot_eager", fullgraph=True)
    assert not compiled(leaf, OWN).requires_grad


def test_operators_refuse_backends_that_cannot_run():
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        torch.ops.rss_env.gather_images(LABELS, INDEX, MIRRORED, backend="fast")


def test_the_first_kernel_leaves_the_number_of_threads_of_torch():
    """Numba's threads start with it; this process has started them long before."""
    program = (
        "import torch\n"
        "from rss_env.kernels.hash_images import hash_images\n"
        "torch.set_num_threads(torch.get_num_threads() + 1)\n"  # what OpenMP does not think of
        "before = torch.get_num_threads()\n"
        "images, weights = torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(1, 3).long()\n"
        "hash_images(images, weights)\n"
        "assert torch.get_num_threads() == before\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_serial_and_parallel_loops_do_not_share_a_cache_entry():
    for loop in (_count_pixels, _copy_images):
        assert loop.serial.py_func.__qualname__ != loop.parallel.py_func.__qualname__
        assert not loop.serial.targetoptions.get("parallel", False)
        assert loop.parallel.targetoptions["parallel"]
