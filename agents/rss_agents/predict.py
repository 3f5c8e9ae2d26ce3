"""Segment images with a trained network: `rss-predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from rss_agents.command_line import run_command
from rss_agents.networks.tile_config import TileConfig
from rss_agents.networks.views_config import ViewsConfig
from rss_agents.option_types import check_types
from rss_agents.outputs import (
    check_folder,
    is_written_by,
    refuse_links,
    refuse_to_replace,
    write_marked_picture,
    writing,
)
from rss_env.arguments import check_device
from rss_env.datasets import warn_of
from rss_env.datasets.decoding import ByteArray, read_image
from rss_env.datasets.image_files import find_images
from rss_env.datasets.paths import is_file
from rss_env.datasets.resizing import Resize
from rss_env.errors import InputError
from rss_env.rendering import palette_image, prediction_sheet

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    from rss_agents.networks.segmentation_network import SegmentationNetwork

PROGRAM = "rss-predict"


@dataclass
class PredictConfig:
    """Write a palette PNG and an overlay for every image of a folder, at the image's own size."""

    checkpoint: Path
    """Folder that rss-train wrote."""
    images: Path
    """Folder of images, subfolders included but for --out; or one image."""
    out: Path
    """Folder for NAME.png (class indices) and NAME_overlay.png."""
    overwrite: bool = False
    """Replace what rss-predict wrote before; no other file is ever replaced."""
    windows: tyro.conf.OmitArgPrefixes[TileConfig] = field(default_factory=TileConfig)
    views: tyro.conf.OmitArgPrefixes[ViewsConfig] = field(default_factory=ViewsConfig)
    own_network: str | None = None
    """module:function that built the network of the checkpoint, if it is one of your own."""
    device: str = "cpu"
    """Device to run on: cpu, cuda, cuda:1, ..."""


def predict(
    network: SegmentationNetwork,
    image: Image.Image,
    image_size: tuple[int, int],
    resize: Resize = "stretch",
    windows: TileConfig | None = None,
) -> ByteArray:
    """The most likely class of every pixel of an RGB image, (H, W) uint8 at its own size.

    Args:
        network: A trained network, in evaluation mode.
        image: Any size.
        image_size: (H, W) the network was trained at; the logits are upsampled from it.
        resize: How the image is brought to it.
        windows: With `tiles`, it is looked at in windows of that size instead.
    """
    import torch

    from rss_agents.networks.evaluation import predict_fitted
    from rss_agents.networks.tiling import predict_tiles

    if windows is not None and windows.tiles:
        return predict_tiles(network, np.array(image), image_size, windows)
    frame = network.input_size(image_size)
    if resize == "pad":
        return predict_fitted(network, np.array(image), frame).numpy()
    resized = image.resize((frame[1], frame[0]), Image.Resampling.BILINEAR)
    device = next(network.parameters()).device
    pixels = torch.from_numpy(np.array(resized)).to(device)[None]
    return network.predict(pixels, (image.height, image.width))[0].cpu().numpy()


def predict_folder(config: PredictConfig) -> int:
    """Segment every image; returns how many.

    Raises:
        InputError: If the windows, the views, the checkpoint, the device, the folders or an image
            cannot be used, or what is to be written lands on an image or on anything that
            `rss-predict` did not write. Images before one that cannot be read have been written;
            otherwise nothing.
    """
    from rss_agents.networks.checkpoint import load_checkpoint
    from rss_agents.networks.views import SeveralViews

    check_types(config)
    config.windows.check()
    config.views.check()
    device = check_device(config.device)
    out = config.out
    images = images_to_segment(config.images, out)
    targets = {name: (out / f"{name}.png", out / f"{name}_overlay.png") for name in images}
    _refuse_targets(images, targets, out, overwrite=config.overwrite)
    network, description = load_checkpoint(config.checkpoint, device, config.own_network)
    size, palette = description.image_size, description.palette_array
    if config.views.several:
        network = SeveralViews(network, size, config.views)
    for name, path in tqdm(images.items(), "segmenting", unit="image"):
        image = read_image(path)
        class_map = predict(network, image, size, description.resize, config.windows)
        page = prediction_sheet(np.array(image), class_map, description.class_names, palette)
        blended = Image.fromarray(page)
        pictures = (palette_image(class_map, palette), blended)
        for target, picture in zip(targets[name], pictures, strict=True):
            with writing(target):
                write_marked_picture(target, picture, PROGRAM)
    return len(images)


def images_to_segment(images: Path, out: Path) -> dict[str, Path]:
    """The image files that are meant, by the names of what is written for them.

    What lies in the output folder, or was written by `rss-predict`, is none of them.

    Args:
        images: A folder, or one image.
        out: The output folder.

    Raises:
        InputError: If there is no image, or the output folder is that of the images.
    """
    if is_file(images):
        return {images.stem: images}
    listing, folder, place = find_images(images), images.resolve(), out.resolve()
    if folder == place:
        raise InputError(
            f"--out {out} is the folder of the images themselves; choose another, also one in it"
        )
    found = listing.files
    if place not in folder.parents:
        found = {name: path for name, path in found.items() if place not in path.resolve().parents}
    own = {name for name, path in found.items() if is_written_by(PROGRAM, path)}
    found = {name: path for name, path in found.items() if name not in own}
    if not found:
        raise InputError(
            f"images folder {images} holds no image but those in --out or written by {PROGRAM}"
        )
    among = (
        f"--out {out} lies among the images of {images}: {PROGRAM} leaves it out, but a data set "
        "of that folder will take what is written for images"
    )
    notes = (
        listing.note(),
        f"left out {len(own)} file(s) that {PROGRAM} wrote" * bool(own),
        among * (folder in place.parents),
    )
    for note in filter(None, notes):
        warn_of(note)
    return found


def _refuse_targets(
    images: dict[str, Path], targets: dict[str, tuple[Path, Path]], out: Path, *, overwrite: bool
) -> None:
    """Refuse files that would land on an image, on each other, or on somebody else's."""
    check_folder(out)
    inputs = {path.resolve() for path in images.values()}
    meant: dict[Path, str] = {}
    for name, files in targets.items():
        for path in files:
            if path.resolve() in inputs:
                raise InputError(
                    f"{path} is one of the images: what {PROGRAM} writes for {images[name]} would "
                    "replace it; choose another --out"
                )
            if path in meant:
                raise InputError(
                    f"{images[meant[path]]} and {images[name]} would both be written to {path}; "
                    "rename one, or segment it by itself into another --out"
                )
            meant[path] = name
    folders = {path.parent.relative_to(out) for path in meant}
    refuse_links(out, sorted(folders - {Path()}))
    refuse_to_replace(PROGRAM, meant, overwrite=overwrite)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-predict`."""
    run_command(PROGRAM, PredictConfig, predict_folder, arguments)


if __name__ == "__main__":
    main()
