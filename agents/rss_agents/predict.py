"""Segment a folder of images with a trained network: `rss-predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from tqdm import tqdm

from rss_agents.command_line import run_command
from rss_agents.files import write_picture
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.networks.tiling import TileConfig, predict_tiles
from rss_env.arguments import check_device
from rss_env.datasets import warn_of
from rss_env.datasets.decoding import ByteArray, read_image
from rss_env.datasets.image_files import find_images
from rss_env.errors import InputError
from rss_env.rendering import overlay, palette_image


@dataclass
class PredictConfig:
    """Write a palette PNG and an overlay for every image of a folder, at the image's own size."""

    checkpoint: Path
    """Folder that rss-train wrote."""
    images: Path
    """Folder of images, subfolders included."""
    out: Path
    """Folder for NAME.png (class indices) and NAME_overlay.png."""
    windows: tyro.conf.OmitArgPrefixes[TileConfig] = field(default_factory=TileConfig)
    own_network: str | None = None
    """module:function that built the network of the checkpoint, if it is one of your own."""
    device: str = "cpu"
    """Device to run on: cpu, cuda, cuda:1, ..."""


def predict(
    network: SegmentationNetwork, image: Image.Image, image_size: tuple[int, int]
) -> ByteArray:
    """The most likely class of every pixel of an RGB image, (H, W) uint8 at its own size.

    Args:
        network: A trained network, in evaluation mode.
        image: Any size.
        image_size: (H, W) the network was trained at; the logits are upsampled from it.
    """
    resized = image.resize((image_size[1], image_size[0]), Image.Resampling.BILINEAR)
    device = next(network.parameters()).device
    pixels = torch.from_numpy(np.array(resized)).to(device)[None]
    return network.predict(pixels, (image.height, image.width))[0].cpu().numpy()


def predict_folder(config: PredictConfig) -> int:
    """Segment every image; returns how many.

    Raises:
        InputError: If the windows, the checkpoint, the device, the folder or an image cannot be
            used. Images before the bad one have been written.
    """
    windows = config.windows
    windows.check()
    network, description = load_checkpoint(
        config.checkpoint, check_device(config.device), config.own_network
    )
    size, palette = description.image_size, description.palette_array
    found = find_images(config.images)
    if note := found.note():
        warn_of(note)
    files = found.files
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out} is not a folder")
    for name, path in tqdm(files.items(), "segmenting", unit="image"):
        image = read_image(path)
        pixels = np.array(image)
        if windows.tiles:
            class_map = predict_tiles(network, pixels, size, windows)
        else:
            class_map = predict(network, image, size)
        target = config.out / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(target, palette_image(class_map, palette))
        blended = overlay(pixels, class_map, palette)
        write_picture(target.with_name(f"{target.stem}_overlay.png"), Image.fromarray(blended))
    return len(files)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-predict`."""
    run_command("rss-predict", PredictConfig, predict_folder, arguments)


if __name__ == "__main__":
    main()
