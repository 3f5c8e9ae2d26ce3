"""Small kernels of the memory and of samples: backends compared, and both against enumeration."""

from __future__ import annotations

import pytest
import torch

from rss_agents.kernels.hash_images import hash_images
from rss_agents.kernels.map_counts import map_counts
from rss_agents.kernels.systematic_sample import sample_offsets, systematic_sample
from rss_env.kernels.mirror_cells import mirror_cells

EACH_FACE = pytest.mark.parametrize("backend", ["reference", "numba"])

# images, offsets, most
SHAPES = {
    "one cell": (1, (0, 1), 1),
    "all taken": (2, (0, 3, 12), 9),
    "some taken": (3, (0, 4, 20, 84), 16),
    "one drawn": (2, (0, 7, 50), 1),
    "one image": (1, (0, 600), 256),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("certain", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_faces_agree(name, certain, dtype):
    images, offsets, most = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    importance = torch.rand(images, offsets[-1], generator=generator, dtype=dtype)
    importance[torch.rand(importance.shape, generator=generator) < certain] = 0
    starts = torch.rand(images, len(offsets) - 1, generator=generator)
    (cells, counts), found = (
        systematic_sample(importance, starts, offsets, most, backend=i)
        for i in ("reference", "numba")
    )
    assert cells.shape == (images, sample_offsets(offsets, most)[-1])
    assert found[0].equal(cells)
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[1], counts)


@EACH_FACE
def test_sums_over_a_sample_are_right_on_average(backend):
    """Over all starts, of which there are as many as matter here, every cell counts once."""
    importance = torch.tensor([[4.0, 1.0, 0.0, 2.0, 3.0, 0.0, 5.0]], dtype=torch.float64)
    number = 20_000
    starts = ((torch.arange(number) + 0.5) / number).double()[:, None]
    cells, counts = systematic_sample(
        importance.expand(number, -1), starts, (0, 7), 3, backend=backend
    )
    totals = torch.zeros(7, dtype=torch.float64).index_add(0, cells.flatten(), counts.flatten())
    torch.testing.assert_close(
        totals / number, torch.ones(7, dtype=torch.float64), rtol=0, atol=1e-3
    )
    assert (cells.diff(dim=1) >= 0).all()


@EACH_FACE
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 4, 3)])
def test_hashes_are_weighted_sums_modulo_two_to_the_64(shape, backend):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    weights = torch.randint(-(2**62), 2**62, (2, images[0].numel()))
    found = hash_images(images, weights, backend=backend)
    for image, own in zip(images, found.tolist(), strict=True):
        for row, number in zip(weights.tolist(), own, strict=True):
            total = sum(a * b for a, b in zip(image.flatten().tolist(), row, strict=True))
            assert (total - number) % 2**64 == 0


@EACH_FACE
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 4)])
def test_grids_are_mirrored_row_by_row(shape, dtype, backend):
    values = torch.randint(0, 200, (3, *shape, 12 + 35)).to(dtype)
    mirrored = torch.tensor([True, False, True])
    turned = values.movedim(-1, 0).contiguous().movedim(0, -1)
    found = mirror_cells(turned, mirrored, (4, 7), (0, 12, 47), backend=backend)
    coarse = found[..., :12].unflatten(-1, (3, 4)), values[..., :12].unflatten(-1, (3, 4))
    fine = found[..., 12:].unflatten(-1, (5, 7)), values[..., 12:].unflatten(-1, (5, 7))
    for own, given in (coarse, fine):
        assert own[1].equal(given[1])
        assert own[::2].equal(given[::2].flip(-1))


@EACH_FACE
@pytest.mark.parametrize("classes", [2, 19, 60])
def test_cells_of_each_class_are_counted(classes, backend):
    maps = torch.randint(0, classes, (3, 2, 90), dtype=torch.uint8)
    found = map_counts(maps, (0, 7, 90), classes, backend=backend)
    for s, part in enumerate((maps[..., :7], maps[..., 7:])):
        expected = torch.nn.functional.one_hot(part.long(), classes).sum(2)
        assert found[:, :, s].equal(expected.float())
