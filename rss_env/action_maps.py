"""The geometry of multi-scale action maps: the only place that computes an offset.

At scale s one cell covers s x s pixels, so an (H, W) image has a grid of (H/s, W/s) cells. An
action names one class for every cell of every scale. The same thing has two formats: `flat`, all
grids concatenated coarse to fine in row-major order, and `maps`, one grid per scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import spaces

from rss_env.arrays import as_tensor
from rss_env.class_indices import check_integers, narrow
from rss_env.errors import ActionError, InputError, check_choice
from rss_env.kernels.mirror_cells import mirror_cells
from rss_env.kernels.paint_cells import paint_cells
from rss_env.labels import MAX_CLASSES

ACTION_FORMATS = ("flat", "maps")

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def default_scales(image_size: tuple[int, int]) -> tuple[int, ...]:
    """Choose scales for an image size: down to single pixels up to 64 px, else down to 4 px."""
    return (8, 4, 2, 1) if min(image_size) <= 64 else (32, 16, 8, 4)


class ActionMapGeometry:
    """Grids, offsets and formats of the action maps of one image size.

    Attributes:
        image_size: (H, W) in pixels.
        scales: Cell sizes in pixels, coarse to fine (S entries).
        grids: (H/s, W/s) of each scale.
        cells: Number of cells of each scale.
        offsets: Where each scale starts in the flat format; S + 1 entries, the last is the total.
        num_cells: Cells of all scales together: the length of a flat action.
        num_classes: C, the number of values a cell can take.
    """

    def __init__(self, image_size: tuple[int, int], scales: Sequence[int], num_classes: int):
        """Check the sizes and lay out the grids.

        Raises:
            InputError: If the scales do not divide the image, or are not coarse to fine.
        """
        height, width = image_size
        self.image_size = (int(height), int(width))
        whole = isinstance(scales, Iterable) and all(
            isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in scales
        )
        if not whole:
            raise InputError(f"scales must be whole numbers of pixels, got {scales!r}")
        self.scales = tuple(int(scale) for scale in scales)
        self.num_classes = int(num_classes)
        if not self.scales or list(self.scales) != sorted(set(self.scales), reverse=True):
            raise InputError(
                f"scales must be distinct and ordered coarse to fine, got {tuple(scales)}"
            )
        wrong = [s for s in self.scales if s < 1 or height % s or width % s]
        if wrong:
            common = int(np.gcd(height, width))
            valid = [s for s in range(1, common + 1) if common % s == 0]
            raise InputError(
                f"scales {wrong} do not divide the image size {height}x{width}; valid: {valid}"
            )
        if not 2 <= self.num_classes <= MAX_CLASSES:
            raise InputError(f"num_classes must be 2..{MAX_CLASSES}, got {num_classes}")
        self.grids = tuple((height // s, width // s) for s in self.scales)
        self.cells = tuple(rows * columns for rows, columns in self.grids)
        self.offsets = (0, *(int(total) for total in np.cumsum(self.cells)))
        self.num_cells = self.offsets[-1]

    @property
    def map_names(self) -> tuple[str, ...]:
        """Keys of the `maps` format, coarse to fine: `scale_<cell size>`."""
        return tuple(f"scale_{scale}" for scale in self.scales)

    def split(self, flat: Array) -> list[Array]:
        """Views (..., cells_s) of each scale's part of a flat action (..., cells)."""
        return [flat[..., a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def to_maps(self, flat: Array) -> dict[str, Array]:
        """The `maps` format (..., H/s, W/s) of a flat action (..., cells)."""
        parts = zip(self.map_names, self.split(flat), self.grids, strict=True)
        return {name: part.reshape(*part.shape[:-1], *grid) for name, part, grid in parts}

    def to_flat(self, maps: Mapping[str, Array]) -> Array:
        """The flat format (..., cells) of one grid (..., H/s, W/s) per scale."""
        parts = [maps[name].reshape(*maps[name].shape[:-2], -1) for name in self.map_names]
        if isinstance(parts[0], torch.Tensor):
            return torch.cat(parts, -1)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return np.concatenate(parts, -1)

    def upsample(self, part: torch.Tensor, scale_index: int) -> torch.Tensor:
        """Paint the cells of one scale (..., cells_s) onto pixels: (..., H, W)."""
        scale, grid = self.scales[scale_index], self.grids[scale_index]
        if scale == 1:
            return part.reshape(*part.shape[:-1], *grid)
        return paint_cells(part, grid[1], scale)

    def mirror(self, flat: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        """Flip flat actions (B, ..., cells) horizontally where `mirrored` (B,) is true."""
        columns = [columns for _, columns in self.grids]
        return mirror_cells(flat, mirrored, columns, self.offsets)

    def action_space(self, action_format: str) -> spaces.Space[Any]:
        """Build the space of one environment's action: `MultiDiscrete`, or a `Dict` of them.

        Raises:
            InputError: If the format is unknown.
        """
        if check_choice("action_format", action_format, ACTION_FORMATS) == "flat":
            return spaces.MultiDiscrete(np.full(self.num_cells, self.num_classes, np.int64))
        return spaces.Dict(
            {
                name: spaces.MultiDiscrete(np.full(grid, self.num_classes, np.int64))
                for name, grid in zip(self.map_names, self.grids, strict=True)
            }
        )

    def parse(
        self,
        actions: Any,
        batch: int,
        action_format: str = "flat",
        *,
        device: torch.device | str = "cpu",
        check_range: bool = True,
    ) -> torch.Tensor:
        """Turn a batch of actions into class indices; nothing is clamped or rounded.

        Args:
            actions: (batch, cells) integers, or a mapping of (batch, H/s, W/s) per scale.
            batch: Number of actions expected.
            action_format: `flat` or `maps`.
            device: Where tensors must lie. Arrays are accepted for the CPU only.
            check_range: Whether to check every value; on CUDA a device-side assertion, so that
                nothing is copied to the host.

        Returns:
            uint8 tensor (batch, cells) on `device`.

        Raises:
            ActionError: Naming what is wrong and what was expected.
        """
        device = torch.device(device)
        return as_tensor(
            self.parse_to_array(actions, batch, action_format, check_range=check_range)
            if device.type == "cpu"
            else self._parse(actions, batch, action_format, device, check_range)
        )

    def parse_to_array(
        self,
        actions: Any,
        batch: int,
        action_format: str = "flat",
        *,
        check_range: bool = True,
    ) -> np.ndarray:
        """Parse on the CPU, as `parse` does: a uint8 array (batch, cells)."""
        return self._parse(actions, batch, action_format, None, check_range)

    def _parse(
        self,
        actions: Any,
        batch: int,
        action_format: str,
        device: torch.device | None,
        check_range: bool,
    ) -> Any:
        if action_format == "flat":
            shape = (batch, self.num_cells)
            return self._parse_part(actions, shape, "actions", device, check_range)
        if not isinstance(actions, Mapping) or set(actions) != set(self.map_names):
            got = list(actions) if isinstance(actions, Mapping) else type(actions).__name__
            raise ActionError(f"actions must be a dict with keys {list(self.map_names)}, got {got}")
        return self.to_flat(
            {
                name: self._parse_part(
                    actions[name], (batch, *grid), f"actions[{name!r}]", device, check_range
                )
                for name, grid in zip(self.map_names, self.grids, strict=True)
            }
        )

    def _parse_part(
        self,
        part: Any,
        shape: tuple[int, ...],
        name: str,
        device: torch.device | None,  # None: the CPU, and arrays
        check_range: bool,
    ) -> Any:
        values = check_integers(part, shape, name, device)
        return narrow(values, self.num_classes, name, check_range=check_range)
