"""Maps as the cells that they are drawn in, painted onto pixels only where somebody sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rss_env.kernels.paint_cells import paint_cells


@dataclass(frozen=True, slots=True)
class DrawnMaps:
    """Maps of one size, all in cells of one scale. Nothing writes to them.

    Attributes:
        cells: (B, P) uint8, row by row: classes, or 255 where nothing is drawn.
        columns: Cells in a row.
        scale: Side of a cell in pixels.
    """

    cells: torch.Tensor
    columns: int
    scale: int

    @classmethod
    def of_pixels(cls, maps: torch.Tensor) -> DrawnMaps:
        """Maps (B, H, W) uint8, whose cells are pixels."""
        return cls(maps.flatten(1), maps.shape[2], 1)

    def painted(self) -> torch.Tensor:
        """The maps on pixels, (B, H, W) uint8, in memory of their own."""
        return paint_cells(self.cells, self.columns, self.scale)

    def pixels(self) -> torch.Tensor:
        """The same, not to be written to: cells that are pixels are not copied."""
        if self.scale > 1:
            return self.painted()
        return self.cells.view(len(self.cells), -1, self.columns)

    def first_rows(self, number: int) -> DrawnMaps:
        """The first of them, of the same memory."""
        return DrawnMaps(self.cells[:number], self.columns, self.scale)

    def cells_of(self, scale: int) -> torch.Tensor:
        """Their cells (B, P) at a scale, if they are of that scale or of pixels that make it up."""
        if scale == self.scale:
            return self.cells
        return self.pixels()[:, ::scale, ::scale].flatten(1)

    def with_rows(self, rows: torch.Tensor, maps: DrawnMaps) -> DrawnMaps:
        """These with others (b, ...) in rows (b,) int64; in pixels, unless scales are the same."""
        old, new = self, maps
        if old.scale != new.scale:
            old, new = DrawnMaps.of_pixels(old.pixels()), DrawnMaps.of_pixels(new.pixels())
        return DrawnMaps(old.cells.index_copy(0, rows, new.cells), old.columns, old.scale)
