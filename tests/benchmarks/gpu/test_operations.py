"""The count of what is started on CUDA: of this checkout, on the CPU."""

from __future__ import annotations

from benchmarks.gpu.operations import OperationsConfig, count_step, count_update


def test_every_kernel_of_an_update_and_of_a_step_has_a_backend_in_triton():
    triton, reference = (
        OperationsConfig(backend=backend, image_size=8, num_images=2, group_size=2)
        for backend in ("triton", "reference")
    )
    for count in (count_update, count_step):
        found, references = count(triton), count(reference)
        assert 0 < found.total() < references.total()
        assert set(found) == set(references)
        assert found["around the kernels"] == references["around the kernels"]
    update = count_update(triton)
    of_one_kernel = ("cell_uncertainty", "gather_images", "map_counts", "mirror_cells")
    assert [update[name] for name in of_one_kernel] == [1] * len(of_one_kernel)
