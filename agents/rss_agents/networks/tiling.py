"""Large images in overlapping windows, blended so that no seams show.

A network answers best for images of the size it was trained at. Here an image is covered with
windows of that size. Of each window the outermost part is dropped, since there the network saw only
one side of things; where windows overlap, one fades into the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_agents.networks.tile_config import TileConfig
from rss_env.datasets.decoding import ByteArray


def window_starts(length: int, window: int, overlap: int) -> list[int]:
    """Starts of windows that cover a side, evenly spread, with at least this overlap.

    All in pixels: a side is at least as long as a window, and an overlap shorter.
    """
    steps = -(-(length - window) // (window - overlap))
    return [step * (length - window) // max(1, steps) for step in range(steps + 1)]


def window_weight(window: int, overlap: int, *, first: bool, last: bool) -> torch.Tensor:
    """Weights of the pixels along a window's side, (window,) float32 in 0..1.

    A quarter of the overlap is dropped at either end. Between, weights of neighbours rise and fall
    as squares of a sine, so that they add up to one. At an end of the image they stay one.

    Args:
        window: Length of the window.
        overlap: With the next one, less than `window`.
        first: Whether the image starts where the window does.
        last: Whether the image ends where the window does.
    """
    dropped = overlap // 4
    place = torch.arange(window) - dropped + 0.5
    rise = (place / max(1, overlap - 2 * dropped)).clamp(0, 1) if overlap else torch.ones(window)
    rise = (rise * (math.pi / 2)).sin().square()
    one = torch.ones(window)
    return (one if first else rise) * (one if last else rise.flip(0))


@torch.no_grad()
def blended_bands(
    network: SegmentationNetwork,
    pixels: ByteArray,
    image_size: tuple[int, int],
    *,
    scale: float = 1.0,
    overlap: float = 0.5,
    batch: int = 8,
) -> Iterator[torch.Tensor]:
    """Values of an image's pixels from windows, a band of rows at a time, from top to bottom.

    Windows are `image_size` on the enlarged image, `image_size / scale` on the image itself, where
    they are blended. An image smaller than a window is continued by its mirror image.

    On the CPU this takes 4 (C + 1) bytes for each pixel of a row of windows, which are
    `image_size[0] / scale` x width, and twice the image; on the network's device one batch of
    windows. It does not grow with the height of the image.

    Args:
        network: A trained network, in evaluation mode.
        pixels: (H, W, 3) uint8.
        image_size: (H, W) the network was trained at.
        scale: How much the image is enlarged.
        overlap: Share of a window that the next one shows again.
        batch: Windows that pass the network at once.

    Yields:
        (C, rows, W) float32 on the CPU: logits, or what classes are worth; H rows in all.
    """
    TileConfig(tiles=True, scale=scale, overlap=overlap).check()
    height, width = pixels.shape[:2]
    tall, wide = (max(1, round(side / scale)) for side in image_size)
    missing = ((0, max(0, tall - height)), (0, max(0, wide - width)), (0, 0))
    pixels = np.pad(pixels, missing, "symmetric")
    down, across = int(overlap * tall), int(overlap * wide)
    tops = window_starts(len(pixels), tall, down)
    lefts = window_starts(pixels.shape[1], wide, across)
    device = network.mean.device
    values = torch.zeros(network.decide.gains.numel(), tall, pixels.shape[1])
    weights = torch.zeros(tall, pixels.shape[1])
    for row, top in enumerate(tops):
        vertical = window_weight(tall, down, first=row == 0, last=row == len(tops) - 1)
        for start in range(0, len(lefts), batch):
            places = range(start, min(start + batch, len(lefts)))
            shown = [pixels[top : top + tall, lefts[i] : lefts[i] + wide] for i in places]
            windows = torch.from_numpy(np.stack([_resized(w, image_size) for w in shown]))
            answers = upsample(network.pixel_values(windows.to(device)).float(), (tall, wide)).cpu()
            for i, answer in zip(places, answers, strict=True):
                horizontal = window_weight(wide, across, first=i == 0, last=i == len(lefts) - 1)
                weight = vertical[:, None] * horizontal
                columns = slice(lefts[i], lefts[i] + wide)
                values[:, :, columns] += answer * weight
                weights[:, columns] += weight
        done = (tops[row + 1] if row + 1 < len(tops) else top + tall) - top  # by later windows, too
        yield (values[:, :done] / weights[:done])[:, : height - top, :width]
        for sums in (values, weights):  # the next windows' first rows are this one's last
            kept = sums[..., done:, :].clone()
            sums.zero_()[..., : tall - done, :] = kept


def _resized(window: ByteArray, image_size: tuple[int, int]) -> ByteArray:
    if window.shape[:2] == tuple(image_size):
        return window
    height, width = image_size
    return np.array(Image.fromarray(window).resize((width, height), Image.Resampling.BILINEAR))


def predict_tiles(
    network: SegmentationNetwork,
    pixels: ByteArray,
    image_size: tuple[int, int],
    windows: TileConfig,
) -> ByteArray:
    """The answer for every pixel of an image in windows, (H, W) uint8; see `blended_bands`.

    Raises:
        InputError: If scale or overlap are out of range.
    """
    bands = blended_bands(network, pixels, image_size, scale=windows.scale, overlap=windows.overlap)
    return torch.cat([band.argmax(0).to(torch.uint8) for band in bands]).numpy()
