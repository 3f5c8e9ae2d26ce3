"""Get, check and look at data sets, and record those of interaction: `rss-data`.

The work is done in `rss_env`; the command lives here, with the others, because what commands share
does, and `rss_env` never imports `agents`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from rss_agents.command_line import FilesConfig, run_command, table
from rss_agents.labelling import ConvertConfig, SplitConfig, run_convert, run_split
from rss_agents.outputs import refuse_inside, refuse_to_replace, write_marked_picture, writing
from rss_agents.recording import RecordConfig, run_record
from rss_env.cache_files import cache_folder, cache_limit, clear_cache, list_cache
from rss_env.datasets import (
    DATASETS,
    FileDataset,
    SegmentationDataset,
    default_image_size,
    open_dataset,
    resolve_dataset,
)
from rss_env.datasets.downloads import download
from rss_env.datasets.own import is_own
from rss_env.datasets.scanning import check_dataset
from rss_env.errors import InputError, check_choice
from rss_env.inspection import contact_sheet, summarise
from rss_env.printable import printable

_INFO = "rss-data info"


@dataclass(kw_only=True)
class DownloadConfig:
    """Download a data set, or say how to get it; exit with 1 while something is missing."""

    dataset: tyro.conf.Positional[str]
    """voc, pascal-context or cityscapes."""
    root: Path
    """Folder for it."""
    augmented: bool = False
    """VOC: add the labels of the augmented training set, split train_aug."""


@dataclass(kw_only=True)
class CheckConfig(FilesConfig):
    """Read every image and label, name every defect; exit with 1 if there is one."""

    dataset: tyro.conf.Positional[str]
    """voc, pascal-context, cityscapes or folder."""
    split: str | None = None
    """A split's name or a list file; by default every split there is."""
    rebuild: bool = False
    """Also read what the cache holds of these splits, say what is stale or damaged, and make it
    anew."""


@dataclass(kw_only=True)
class CacheConfig:
    """Show what the cache of decoded data sets holds, or empty it."""

    list: bool = False
    """Show its files, those used last first; so it is without an option."""
    clear: bool = False
    """Remove them; they are made again when they are needed."""


@dataclass(kw_only=True)
class InfoConfig(FilesConfig):
    """Show counts and class frequencies of a split, and draw a contact sheet."""

    dataset: tyro.conf.Positional[str]
    """shapes, voc, pascal-context, cityscapes or folder."""
    split: str | None = None
    """A split's name or a list file; by default the one environments train on."""
    sheet: Path = Path("contact-sheet.png")
    """File for the contact sheet; one that rss-data info drew before is replaced, nothing else."""


Command = (
    Annotated[DownloadConfig, tyro.conf.subcommand("download")]
    | Annotated[CheckConfig, tyro.conf.subcommand("check")]
    | Annotated[InfoConfig, tyro.conf.subcommand("info")]
    | Annotated[CacheConfig, tyro.conf.subcommand("cache")]
    | Annotated[ConvertConfig, tyro.conf.subcommand("convert")]
    | Annotated[SplitConfig, tyro.conf.subcommand("split")]
    | Annotated[RecordConfig, tyro.conf.subcommand("record")]
)


def dataset_name(name: str) -> str:
    """The data set meant by a name in any case, hyphens or not.

    Raises:
        InputError: If there is none.
    """
    plain = {known.lower(): known for known in DATASETS}
    key = name.lower().replace("-", "").replace("_", "")
    if key not in plain and is_own(name):
        return name
    return plain[key] if key in plain else check_choice("data set", name, DATASETS)


def run_download(config: DownloadConfig) -> None:
    """Download, say what was done, and exit with 1 if the data set is not complete."""
    name = dataset_name(config.dataset)
    print(download(name, config.root, augmented=config.augmented))
    try:
        open_dataset(name, root=str(config.root))
    except InputError as error:
        sys.exit(f"rss-data: not complete yet: {error}")


def run_check(config: CheckConfig) -> None:
    """Check, print every defect and a summary table, and exit with 1 if there is a defect."""
    name = dataset_name(config.dataset)
    reports = check_dataset(name, split=config.split, **config.options)
    defects = list(dict.fromkeys(fault for report in reports for fault in report.faults))
    for defect in defects:
        print(f"defect: {defect}")
    for report in reports:
        for warning in report.warnings:
            print(f"warning: {report.split}: {printable(str(warning))}")
        for note in report.notes:
            print(f"note: {report.split}: {printable(str(note))}")
    rows = [[r.split, str(r.samples), str(len(r.faults))] for r in reports]
    print(table(["split", "samples", "defects"], rows))
    if defects:
        print(f"{name}: {len(defects)} defect(s)")
        sys.exit(1)
    print(f"{name}: no defect")
    if config.rebuild:
        from rss_env.scene_cache import rebuild_cache  # slow to import, and seldom needed

        for report in reports:
            dataset = open_dataset(name, split=report.split, **config.options)
            assert isinstance(dataset, FileDataset)
            for fault in rebuild_cache(dataset) or ["nothing is stale"]:
                print(f"cache: {report.split}: {printable(fault)}")


def run_cache(config: CacheConfig) -> None:
    """Print what the cache holds, or empty it."""
    if config.list and config.clear:
        raise InputError("give --list or --clear, not both")
    folder = cache_folder()
    if folder is None:
        print("RSS_CACHE_DIR is empty: there is no cache")
        return
    if config.clear:
        try:
            count, size = clear_cache(folder)
        except OSError as error:
            raise InputError(f"the cache {folder} cannot be emptied: {error}") from None
        print(f"removed {count} file(s), {size / 2**20:.1f} MiB, from {folder}")
        return
    files = list_cache(folder)
    if files:
        rows = [
            [
                file.name,
                f"{file.size / 2**20:.1f}",
                f"{datetime.fromtimestamp(file.used):%Y-%m-%d %H:%M}",
                file.about or "unknown: it is made again",
            ]
            for file in files
        ]
        print(table(["file", "MiB", "used", "of"], rows))
    total = sum(file.size for file in files) / 2**30
    limit = cache_limit() / 2**30
    print(
        f"{len(files)} file(s), {total:.2f} of at most {limit:g} GiB (RSS_CACHE_GIB), in {folder}"
    )


def run_info(config: InfoConfig) -> None:
    """Print counts and frequencies; write the contact sheet."""
    name = dataset_name(config.dataset)
    if config.sheet.suffix.lower() != ".png" or not config.sheet.absolute().parent.is_dir():
        raise InputError(f"--sheet must be a .png in a folder that exists, got {config.sheet}")
    refuse_to_replace(_INFO, [config.sheet], overwrite=True)
    loader, options = resolve_dataset(name, config.options)
    dataset = open_dataset(name, split=config.split, **options)
    refuse_inside("--sheet", config.sheet, config.folders(dataset))
    summary = summarise(dataset)
    print(f"{name}: {summary.samples} samples, {dataset.num_classes} classes")
    if isinstance(loader, type) and issubclass(loader, SegmentationDataset):
        print(f"splits: {', '.join(loader.split_names(**options))}")
    if isinstance(dataset, FileDataset) and dataset.labels and dataset.label_meaning:
        print(f"labels: {dataset.label_meaning}")
    print("height: {}..{}, width: {}..{}".format(*_ranges(summary.smallest, summary.largest)))
    if summary.class_share is not None and summary.class_images is not None:
        print(f"void: {summary.void_share:.2%} of the pixels; shares below are of the others")
        rows = [
            [str(c), class_name, f"{share:.2%}", str(images)]
            for c, (class_name, share, images) in enumerate(
                zip(dataset.class_names, summary.class_share, summary.class_images, strict=True)
            )
        ]
        print(table(["class", "name", "pixels", "images"], rows))
    with writing(config.sheet):
        write_marked_picture(config.sheet, contact_sheet(dataset, default_image_size(name)), _INFO)
    print(f"wrote {config.sheet}")


def _ranges(smallest: tuple[int, int], largest: tuple[int, int]) -> list[int]:
    return [value for pair in zip(smallest, largest, strict=True) for value in pair]


_ACTIONS: dict[type, Callable[[Any], None]] = {
    DownloadConfig: run_download,
    CheckConfig: run_check,
    InfoConfig: run_info,
    CacheConfig: run_cache,
    ConvertConfig: run_convert,
    SplitConfig: run_split,
    RecordConfig: run_record,
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-data`."""
    run_command(
        "rss-data",
        cast("Callable[..., Any]", Command),
        lambda config: _ACTIONS[type(config)](config),
        arguments,
    )


if __name__ == "__main__":
    main()
