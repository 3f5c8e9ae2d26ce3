"""The benchmark of kernels reports every kernel; how fast is for it to say."""

from __future__ import annotations

from benchmarks import kernels
from benchmarks.kernels import KernelsConfig


def test_every_kernel_is_timed(tmp_path):
    config = KernelsConfig(
        image_size=8, num_classes=4, images=4, members=(2, 3), part=2, repeats=2,
        out=tmp_path / "kernels.md",
    )  # fmt: skip
    kernels.measure(config)
    report = (tmp_path / "kernels.md").read_text()
    names = [
        "class counts, K = 1", "class counts, 4x4 cells", "cell rewards", "label table",
        "metric scores", "gather images", "narrow actions", "sample classes, K = 3",
        "sample classes, K = 2, stratified", "pair-wise spatial difference, K = 3",
        "pooled cells", "expected counts", "expected scores", "covariances",
        "whitened residuals",
    ]  # fmt: skip
    for name in names:
        for backend in ("numba", "reference"):
            assert any(
                line.startswith(f"| {name}") and f"| {backend} |" in line
                for line in report.splitlines()
            ), (name, backend)
