"""Maps in cells of one scale, and of several."""

from __future__ import annotations

import torch

from rss_env.drawn_maps import DrawnMaps

COARSE = DrawnMaps(torch.arange(12, dtype=torch.uint8).view(2, 6), columns=3, scale=4)
FINE = DrawnMaps(torch.arange(24, 48, dtype=torch.uint8).view(1, 24), columns=6, scale=2)


def test_maps_are_painted_freshly():
    want = COARSE.cells.view(2, 2, 3).repeat_interleave(4, 1).repeat_interleave(4, 2)
    painted = COARSE.painted()
    torch.testing.assert_close(painted, want, rtol=0, atol=0)
    painted.zero_()
    pixels = DrawnMaps.of_pixels(want)
    pixels.painted().zero_()
    torch.testing.assert_close(COARSE.painted(), want, rtol=0, atol=0)
    torch.testing.assert_close(pixels.painted(), want, rtol=0, atol=0)
    torch.testing.assert_close(pixels.cells_of(4), COARSE.cells, rtol=0, atol=0)
    assert COARSE.cells_of(4) is COARSE.cells
    torch.testing.assert_close(COARSE.pixels(), want, rtol=0, atol=0)
    assert pixels.pixels().data_ptr() == want.data_ptr()  # nothing to paint


def test_first_rows():
    first = FINE.with_rows(torch.tensor([0]), FINE).first_rows(0)
    assert first.cells.shape == (0, 24)
    assert COARSE.first_rows(1).painted().shape == (1, 8, 12)


def test_rows_of_any_scale_replace_others():
    row = torch.tensor([1])
    mixed = COARSE.with_rows(row, FINE)
    assert mixed.scale == 1
    want = torch.cat([COARSE.painted()[:1], FINE.painted()])
    torch.testing.assert_close(mixed.painted(), want, rtol=0, atol=0)
    alike = COARSE.with_rows(row, DrawnMaps(COARSE.cells[:1], columns=3, scale=4))
    assert alike.scale == 4
    assert alike.cells.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert COARSE.cells[1].tolist() == [6, 7, 8, 9, 10, 11]
