"""Label maps from what labelling tools write, and lists of splits: parts of `rss-data`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import tyro

from rss_agents.command_line import table
from rss_agents.files import write_bytes
from rss_agents.outputs import refuse_inside, writing
from rss_env.datasets import FileDataset, open_dataset
from rss_env.datasets.paths import expanded
from rss_env.datasets.splitting import deal_out
from rss_env.errors import InputError


@dataclass(kw_only=True)
class ConvertConfig:
    """Write PNGs of class indices from what labelling tools write; nothing is overwritten."""

    format: tyro.conf.Positional[Literal["colours", "coco", "labelme", "voc"]]
    """colours: masks in colours; coco: a JSON file of instances; labelme: a folder of JSON files;
    voc: a folder in VOC's layout."""
    source: tyro.conf.Positional[Path]
    """The file or the folder."""
    out: Path
    """Folder for the PNGs, new or empty; the class file is written beside it: OUT_classes.txt."""
    classes: str | None = None
    """File with a class a line, `name` or `name R G B`; by default the source's own. Masks in
    colours need one."""
    background: str | None = None
    """coco, labelme: class of pixels that nothing covers, by default `background`; none: void."""
    void_values: tuple[str, ...] | None = None
    """colours, voc: colours of pixels of no class, as R,G,B, and values, like 255."""


@dataclass(kw_only=True)
class SplitConfig:
    """Deal the images of a folder out at random into two lists, train.txt and val.txt."""

    images: str
    """Folder of images, subfolders included."""
    labels: str | None = None
    """Folder of label files, if there are: then every image has to have one."""
    image_ending: str = ""
    """What image names end in and label names do not."""
    label_ending: str = ""
    """What label names end in and image names do not, like _mask."""
    val_share: float = 0.2
    """Share of the images that is for validation."""
    seed: int = 0
    """Another seed gives other lists."""
    out: Path = Path(".")
    """Folder for the lists, which must not be there already."""


def run_convert(config: ConvertConfig) -> None:
    """Convert, and print a table of what was written."""
    from rss_env.conversion.convert import convert  # what it needs, nothing else does

    if config.format in ("colours", "labelme") and config.source.is_dir():
        refuse_inside("--out", config.out, [config.source])
    done = convert(
        config.format,
        config.source,
        config.out,
        classes=config.classes,
        background=config.background,
        void_values=config.void_values,
    )
    names, colours = done.classes.names, done.classes.palette.tolist()
    regions = done.regions or [None] * len(names)
    print(
        table(
            ["class", "name", "colour", "regions", "images", "pixels"],
            [
                [str(c), names[c], "{} {} {}".format(*colours[c]), *map(_count, counts)]
                for c, counts in enumerate(
                    zip(regions, done.class_images, done.class_pixels, strict=True)
                )
            ],
        )
    )
    total = max(1, done.void_pixels + int(done.class_pixels.sum()))
    print(f"void: {done.void_pixels / total:.2%} of the pixels")
    if done.empty:
        print(f"{done.empty} image(s) have no outline at all")
    print(f"wrote {done.images} label map(s) to {config.out}, and {done.class_file.name} beside it")


def run_split(config: SplitConfig) -> None:
    """Write the two lists."""
    endings = {"image_ending": config.image_ending, "label_ending": config.label_ending}
    data = open_dataset("Folder", images=config.images, labels=config.labels, classes=2, **endings)
    lists = deal_out(
        cast("FileDataset", data), expanded(config.images), config.val_share, config.seed
    )
    files = [config.out / f"{name}.txt" for name in lists]
    there = [file for file in files if os.path.lexists(file)]
    if there or not config.out.is_dir():
        fault = f"{there[0]} is there already" if there else f"{config.out} is no folder"
        raise InputError(f"{fault}; choose another --out")
    for file, names in zip(files, lists.values(), strict=True):
        with writing(file):
            write_bytes(file, "".join(f"{name}\n" for name in names).encode())
        print(f"wrote {file}: {len(names)} image(s)")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
