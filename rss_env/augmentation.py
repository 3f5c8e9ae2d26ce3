"""Varying training images at random: flipped, zoomed, in other colours, cut; labels follow.

Whole batches at a time, on their device; what happens to an image is a pure function of (seed,
episode), like everything else that is random in an environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from rss_env import counter_random
from rss_env.arrays import steady_mean
from rss_env.errors import InputError
from rss_env.labels import VOID

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
NUM_DRAWS = 8  # of an image: zoom, x, y, brightness, contrast, saturation, cut's y, cut's x


@dataclass(frozen=True)
class Variation:
    """Changes to each of G images.

    Attributes:
        window: (G, 3) float32: zoom factor, and the window's centre (x, y) with the image's edges
            at -1 and 1; None for whole images.
        colours: (G, 3) float32 factors of brightness, contrast and saturation; None for none.
        cut: (G, 2) float32 in 0..1: where between top and bottom, left and right, the part of the
            image is that is left in the end.
        cut_size: (h, w) of that part; None for all of it.
    """

    window: torch.Tensor | None
    colours: torch.Tensor | None
    cut: torch.Tensor | None = None
    cut_size: tuple[int, int] | None = None

    @property
    def moves_labels(self) -> bool:
        """Tell whether labels are changed with the images."""
        return self.window is not None or self.cut is not None

    def of_images(self, images: torch.Tensor) -> torch.Tensor:
        """Vary images (G, H, W, 3) uint8; what lies outside of them is black."""
        if self.window is None and self.colours is None:
            return self._cut(images)
        values = images.permute(0, 3, 1, 2).float()
        if self.window is not None:
            values = _look_through(self.window, values, "bilinear")
        if self.colours is not None:
            values = _recolour(values, *self.colours.view(-1, 3, 1, 1, 1).unbind(1))
        return self._cut(values.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous())

    def of_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Vary label maps (G, H, W) uint8 as the images; what lies outside of them is void."""
        if self.window is None:
            return self._cut(labels)
        # Counted from void, so that the zeros outside of the image mean void.
        shifted = (labels.float() - VOID)[:, None]
        labels = (_look_through(self.window, shifted, "nearest")[:, 0] + VOID).to(torch.uint8)
        return self._cut(labels)

    def _cut(self, values: torch.Tensor) -> torch.Tensor:
        """The part (G, h, w, ...) of values (G, H, W, ...) that is left."""
        if self.cut is None or self.cut_size is None:
            return values
        places = []
        for axis, part in enumerate(self.cut_size):
            rest = values.shape[1 + axis] - part
            start = (self.cut[:, axis] * (rest + 1)).long().clamp(max=rest)
            places.append(start[:, None] + torch.arange(part, device=values.device))
        group = torch.arange(len(values), device=values.device)[:, None, None]
        return values[group, places[0][:, :, None], places[1][:, None, :]]


def _look_through(window: torch.Tensor, values: torch.Tensor, mode: str) -> torch.Tensor:
    """Values (G, D, H, W) seen through each image's window; 0 outside of the image."""
    zoom, x, y = window[:, :, None].unbind(1)
    height, width = values.shape[2:]

    # As `affine_grid` has it, but place by place: products of matrices are rounded on a GPU as the
    # size of the batch will have it.
    def places(size: int, centre: torch.Tensor) -> torch.Tensor:
        edges = torch.linspace(-1, 1, size, device=window.device) * (size - 1) / size
        return edges * (1 / zoom) + centre

    columns = places(width, x)[:, None].expand(-1, height, -1)
    rows = places(height, y)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([columns, rows], -1)
    return F.grid_sample(values, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _recolour(
    values: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, saturation: torch.Tensor
) -> torch.Tensor:
    """Blend images (G, 3, H, W) in 0..255 with black, with their mean grey and with their greys."""
    # (Filled in on the device, so that nothing is copied there.)
    luma = torch.stack([values.new_full((), part) for part in _LUMA]).view(1, 3, 1, 1)
    values = (values * brightness).clamp(0, 255)
    mean = steady_mean((values * luma).sum(1, keepdim=True), (2, 3))
    values = (mean + contrast * (values - mean)).clamp(0, 255)
    grey = (values * luma).sum(1, keepdim=True)
    return (grey + saturation * (values - grey)).clamp(0, 255)


@dataclass(frozen=True)
class Augmentation:
    """Random variation of images.

    Attributes:
        horizontal_flip: Whether half of them are mirrored.
        zoom: Lowest and highest factor, drawn log-uniformly. Above 1 a window of the image fills
            the frame, anywhere in it; below 1 the image fills a part of the frame and the rest is
            black and void. None for whole images.
        colour_jitter: How far the factors of brightness, contrast and saturation go from 1.
        cut_size: (h, w) of the part of an image that is shown, anywhere in it; None for all of it.
        num_views: In how many ways each image is varied; None for a new one each time.
    """

    horizontal_flip: bool = False
    zoom: tuple[float, float] | None = None
    colour_jitter: float = 0.0
    cut_size: tuple[int, int] | None = None
    num_views: int | None = None

    @classmethod
    def parse(
        cls,
        horizontal_flip: bool,
        zoom: Sequence[float] | None,
        colour_jitter: float,
        cut_size: tuple[int, int] | None = None,
        num_views: int | None = None,
    ) -> Augmentation:
        """Check arguments; `cut_size` and `num_views` have been checked.

        Raises:
            InputError: If one is invalid.
        """
        if not (_is_number(colour_jitter) and 0 <= colour_jitter < 1):
            raise InputError(f"colour_jitter must be in 0..1 (below 1), got {colour_jitter!r}")
        flips, colours = bool(horizontal_flip), float(colour_jitter)
        if zoom is None:
            return cls(flips, None, colours, cut_size, num_views)
        legal = isinstance(zoom, Sequence) and len(zoom) == 2 and all(map(_is_number, zoom))
        if not (legal and 0 < zoom[0] <= zoom[1] < float("inf")):
            raise InputError(
                f"zoom must be two positive factors, lowest and highest, got {zoom!r}; for example "
                "(0.75, 1.5)"
            )
        return cls(flips, (zoom[0], zoom[1]), colours, cut_size, num_views)

    @property
    def varies_images(self) -> bool:
        """Tell whether more is done to images than that they are mirrored."""
        return self.zoom is not None or self.colour_jitter > 0 or self.cut_size is not None

    @property
    def makes_new_images(self) -> bool:
        """Tell whether an image hardly ever comes back as it was, or as its mirror image."""
        return self.varies_images and self.num_views is None

    @property
    def changes_images(self) -> bool:
        """Tell whether images are changed at all."""
        return self.horizontal_flip or self.varies_images

    def variation_of(self, changes: Sequence[torch.Tensor | None]) -> Variation | None:
        """The variation of window, colours and cut, as `draw` gives them, on a device."""
        window, colours, cut = changes
        if not self.varies_images:
            return None
        return Variation(window, colours, cut, self.cut_size)

    def draw(
        self,
        seeds: npt.NDArray[np.int64],
        episodes: npt.NDArray[np.int64],
        index: npt.NDArray[np.int64],
    ) -> tuple[Any, ...]:
        """Draw the changes to the image of each of G groups.

        Args:
            seeds: (G,).
            episodes: (G,).
            index: (G,), the numbers of the images. Of those come the changes where there are so
                many views of each, and of seed and episode only which view it is.

        Returns:
            (G,) bool, which are mirrored (before all else); and a variation's window, colours and
            cut, arrays of G rows, or None.
        """
        if self.num_views is not None:
            view = counter_random.integers(
                self.num_views, seeds, episodes, counter_random.VIEW_STREAM
            )
            seeds, episodes = index, view
        mirrored = np.zeros(len(seeds), np.bool_)
        if self.horizontal_flip:
            mirrored = counter_random.uniform(seeds, episodes, counter_random.MIRROR_STREAM) < 0.5
        if not self.varies_images:
            return mirrored, None, None, None

        draws = counter_random.uniform(
            seeds[:, None],
            episodes[:, None],
            counter_random.AUGMENTATION_STREAM,
            np.arange(NUM_DRAWS)[None],
        ).astype(np.float32)
        return mirrored, *self.changes(draws)

    def changes(self, draws: Any) -> tuple[Any, Any, Any]:
        """A variation's window, colours and cut, or None, of what is drawn.

        Args:
            draws: (G, 8) float32 in [0, 1), an array or a tensor; so are they then.
        """
        window = colours = None
        if self.zoom is not None:
            low, high = self.zoom
            zoom = low * (high / low) ** draws[:, :1]
            centre = (2 * draws[:, 1:3] - 1) * (1 - 1 / zoom)
            join = torch.cat if isinstance(draws, torch.Tensor) else np.concatenate
            window = join([zoom, centre], 1)
        if self.colour_jitter:
            colours = 1 + self.colour_jitter * (2 * draws[:, 3:6] - 1)
        return window, colours, None if self.cut_size is None else draws[:, 6:]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
