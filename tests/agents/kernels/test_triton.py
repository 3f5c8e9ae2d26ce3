"""The CUDA kernels without a GPU: interpreted, compiled ahead of time, and chosen by device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from label_problems import problem
from rss_env.errors import InputError
from rss_env.kernels import dispatch
from rss_env.kernels.label_table import label_table
from rss_env.kernels.score_maps import class_counts

CHECKS = Path(__file__).with_name("kernels_on_triton.py")
NEEDS_TRITON = pytest.mark.skipif(not dispatch.has_triton(), reason="needs Triton")


def run_checks(**environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(CHECKS), "-q", "-p", "no:cacheprovider"],
        env={**os.environ, **environment},
        cwd=CHECKS.parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@NEEDS_TRITON
def test_interpreted_kernels_agree_with_the_references():
    run_checks(TRITON_INTERPRET="1")


@NEEDS_TRITON
@pytest.mark.cuda
def test_kernels_agree_with_the_references_on_cuda():
    run_checks(TRITON_INTERPRET="0")


@NEEDS_TRITON
@pytest.mark.parametrize("capability", [80, 90])
def test_compiled_kernels_do_not_spill(capability):
    from benchmarks import triton_resources
    from rss_agents.kernels.triton.sample_classes import draw_classes
    from rss_env.kernels.triton.cell_rewards import reward_cells

    rows = triton_resources.all_variants()
    variants = [variant for _, variant in rows]
    results = triton_resources.compile_all(variants, capability)
    assert len(results) == len(variants) >= 30
    for (size, variant), (resources, ptx) in zip(rows, results, strict=True):
        where = f"{variant.name}, {size}: {resources}"
        assert f".target sm_{capability}" in ptx, where
        assert resources.spills == resources.stack == 0, where
        assert 0 < resources.registers <= 255, where
        assert resources.shared <= 48 * 1024, where
        if variant.kernel in (draw_classes, reward_cells):  # rounded as on the CPU
            assert not re.search(r"div\.full|\.approx|\.ftz", ptx), where


@NEEDS_TRITON
def test_kernels_compile_where_every_integer_is_one():
    """Triton compiles integers that are 1 as constants: one cell, one map, one image."""
    from benchmarks import triton_resources

    alone = {variant.kernel: variant.of_ones() for _, variant in triton_resources.all_variants()}
    assert len(alone) == 27
    for resources, _ in triton_resources.compile_all(list(alone.values()), 90):
        assert resources.spills == 0


@pytest.mark.parametrize(
    ("device", "has_triton", "backend"),
    [
        ("cpu", True, "numba"),
        ("cuda", True, "triton"),
        ("cuda", False, "reference"),
        ("xpu", True, "reference"),
    ],
)
def test_faces_are_chosen_by_device(device, has_triton, backend, monkeypatch):
    monkeypatch.setattr(dispatch, "has_triton", lambda: has_triton)
    with FakeTensorMode():
        tensor = torch.empty(1, device=device)
    assert dispatch.choose("auto", tensor, dispatch.COMPILED) == backend
    assert dispatch.choose("reference", tensor, dispatch.COMPILED) == "reference"
    without_triton = "reference" if backend == "triton" else backend
    assert dispatch.choose("auto", tensor) == without_triton


def test_faces_that_cannot_run_here_are_refused():
    labels, maps, index, mirrored = problem(1, 1, 1, 2, 2, 2, 2, 0.0)
    table = label_table(labels, 2, 2)
    lookup = (maps, table, index, mirrored, 2, 2)
    message = "'triton' cannot run here on cpu tensors; valid: auto, reference, numba$"
    with pytest.raises(InputError, match=message):
        class_counts(*lookup, backend="triton")
    with pytest.raises(InputError, match="unknown backend 'cuda'; valid: auto, .*triton$"):
        class_counts(*lookup, backend="cuda")
    with pytest.raises(InputError, match="'numba' cannot run here on meta tensors"):
        dispatch.choose("numba", torch.empty(0, device="meta"))


def test_importing_the_environments_does_not_import_triton():
    code = (
        "import sys; sys.modules['triton'] = None; import gymnasium as gym; import rss_env;"
        "env = gym.make_vec('RSS/Shapes-ImageReward-v0', num_envs=2, num_scenes=2, image_size=8);"
        "env.reset(seed=0); env.step(env.action_space.sample());"
        "print([name for name in sys.modules if 'kernels.triton' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
