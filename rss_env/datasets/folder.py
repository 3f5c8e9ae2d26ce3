"""Any folder of images, with a folder of label files or, for a scorer, without labels."""

from __future__ import annotations

from pathlib import Path

from rss_env.datasets.base import (
    IMAGE_SUFFIXES,
    FileDataset,
    LabelRule,
    is_list_file,
    read_list,
    read_split,
    voc_palette,
)
from rss_env.errors import DatasetError

EVERY_IMAGE = "all"


def find_images(folder: Path, role: str = "images") -> dict[str, Path]:
    """Image files below a folder, by their path in it without the suffix.

    Args:
        folder: Where to look, subfolders included.
        role: What the folder is for, in messages.

    Raises:
        DatasetError: If the folder is missing, holds no image, or two files share a name.
    """
    if not folder.is_dir():
        raise DatasetError(f"{role} folder {folder} does not exist")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise DatasetError(f"{role} {files[name]} and {path} share the name {name!r}")
            files[name] = path
    if not files:
        raise DatasetError(
            f"{role} folder {folder} holds no image; valid suffixes: {', '.join(IMAGE_SUFFIXES)}"
        )
    return files


def read_class_names(classes: str | int) -> list[str]:
    """Class names from a file with one name a line, or made up for a number of classes.

    Raises:
        DatasetError: If the file is unreadable or there are fewer than two classes.
    """
    if isinstance(classes, int) or classes.isdigit():
        names = [f"class {c}" for c in range(int(classes))]
    else:
        names = read_list(Path(classes))
    if not 2 <= len(names) <= 255:
        raise DatasetError(f"classes {classes!r} gives {len(names)} classes; valid: 2..255")
    return names


class Folder(FileDataset):
    """Images and labels paired by name: `images/a/x.jpg` with `labels/a/x.png`."""

    def __init__(
        self,
        images: str | None = None,
        labels: str | None = None,
        classes: str | int | None = None,
        split: str = EVERY_IMAGE,
    ):
        """Pair the files.

        Args:
            images: Folder of images, subfolders included.
            labels: Folder of label files (class indices, 255 for void), or None.
            classes: File with a class name a line, or the number of classes.
            split: `all`, or the path of a list file with one name (or file name) a line.

        Raises:
            DatasetError: If an argument is missing or a file is not there.
        """
        if images is None or classes is None:
            raise DatasetError(
                "Folder needs images=<folder of images> and classes=<class-name file or number>, "
                "and labels=<folder of label files> unless a scorer is given"
            )
        class_names = read_class_names(classes)
        image_files = find_images(Path(images).expanduser())
        label_files = None
        if labels is not None:
            label_files = find_images(Path(labels).expanduser(), "labels")
        names = list(image_files)
        if split != EVERY_IMAGE:
            if not is_list_file(split):
                raise DatasetError(
                    f"unknown Folder split {split!r}; valid: {EVERY_IMAGE!r} or the path of a list "
                    "file (.txt)"
                )
            names = [self._name(line, image_files) for line in read_split(Path(split))]
        for role, files in (("image", image_files), ("label", label_files)):
            absent = [n for n in names if files is not None and n not in files]
            if absent:
                raise DatasetError(
                    f"{len(absent)} of {len(names)} samples have no {role} file, "
                    f"first {absent[0]!r}"
                )
        super().__init__(
            [image_files[name] for name in names],
            None if label_files is None else [label_files[name] for name in names],
            class_names,
            voc_palette(len(class_names)),
            LabelRule.identity(len(class_names)),
            f"Folder split {split!r} in {images}",
        )

    @staticmethod
    def _name(line: str, files: dict[str, Path]) -> str:
        """The sample a list line means, with or without a suffix."""
        return line if line in files else Path(line).with_suffix("").as_posix()
