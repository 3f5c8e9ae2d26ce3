"""Any folder of images, with a folder of label files or, for a scorer, without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rss_env.datasets.base import (
    FaultHandler,
    FileDataset,
    is_list_file,
    raise_fault,
    read_split,
)
from rss_env.datasets.class_file import read_classes
from rss_env.datasets.image_files import find_images, unused_labels
from rss_env.datasets.label_doubts import Counts, LabelDoubts, doubts_about_void
from rss_env.datasets.label_values import describe_labels, label_rule_of
from rss_env.datasets.paths import composed, expanded
from rss_env.errors import DatasetError

EVERY_IMAGE = "all"


class Folder(FileDataset):
    """Images and labels paired by name: `images/a/x.jpg` with `labels/a/x.png`."""

    def __init__(
        self,
        images: str | None = None,
        labels: str | None = None,
        classes: str | int | None = None,
        split: str = EVERY_IMAGE,
        image_ending: str = "",
        label_ending: str = "",
        label_values: Sequence[Any] | None = None,
        void_values: Any = None,
        on_fault: FaultHandler = raise_fault,
    ):
        """Pair the files.

        Args:
            images: Folder of images, subfolders included.
            labels: Folder of label files (class indices, 255 for void; or colours), or None. It
                may be the folder of images if the endings differ.
            classes: File with a class a line, `name` or, where masks are in colours, `name R G B`;
                or the number of classes.
            split: `all`, or the path of a list file with one name (or file name) a line, or an
                image file and a label file a line with a tab between.
            image_ending: What image names end in, before the suffix, and label names do not:
                `_rgb` pairs `x_rgb.jpg` with `x.png`.
            label_ending: The same for labels: `_mask` pairs `x.jpg` with `x_mask.png`.
            label_values: The value in label files of each class, in order: `(0, 255)`. In place of
                one, several: `(0, "1,255")`. None: 0..C-1, or 1..C if 0 is void.
            void_values: The value of pixels of no class, such as 255, 0 or `(0, 255)`; a colour as
                `"R,G,B"`; or `"none"`. None: 255, unless that is the value of a class.
            on_fault: See `FileDataset`.

        Raises:
            DatasetError: If an argument is missing or invalid, or a file is not there.
        """
        if images is None or classes is None:
            raise DatasetError(
                "Folder needs images=<folder of images> and classes=<class-name file or number>, "
                "and labels=<folder of label files> unless a scorer is given"
            )
        listed = read_classes(classes)
        origin = f"{len(listed.names)} classes of {classes}; other values: --label-values"
        rule = label_rule_of(listed, label_values, void_values, origin)
        image_folder = expanded(images)
        label_folder = None if labels is None else expanded(labels)
        found = find_images(
            image_folder, "images", image_ending, "" if image_ending else label_ending
        )
        image_files = found.files
        label_files: dict[str, Path] | None = None
        notes = [found.note()]
        if label_folder is not None:
            labelled = find_images(
                label_folder, "labels", label_ending, "" if label_ending else image_ending
            )
            label_files = _spelt_like(image_files, labelled.files)
            notes = [found.note({*label_files.values()}), labelled.note({*image_files.values()})]
            if label_folder == image_folder:
                notes.pop()  # it is the same
            notes.append(unused_labels(label_files, image_files, label_folder))
        names = list(image_files)
        if split != EVERY_IMAGE:
            if not is_list_file(split):
                raise DatasetError(
                    f"unknown Folder split {split!r}; valid: {EVERY_IMAGE!r} or the path of a list "
                    "file (.txt)"
                )
            names = []
            spelt = {composed(name): name for name in image_files}
            for line in read_split(Path(split), on_fault):
                image, tab, label = line.partition("\t")
                if tab:
                    image_files[line] = image_folder / image
                    if label_files is not None and label_folder is not None:
                        label_files[line] = label_folder / label
                names.append(line if tab else _name(line, spelt, image_ending))
        for role, files in (("image", image_files), ("label", label_files)):
            absent = [n for n in names if files is not None and n not in files]
            if absent and on_fault is raise_fault:
                on_fault(
                    f"{len(absent)} of {len(names)} samples have no {role} file, "
                    f"first {absent[0]!r}"
                )
            for name in absent:
                on_fault(f"sample {name!r} has no {role} file")
            names = [n for n in names if files is None or n in files]
        super().__init__(
            [image_files[name] for name in names],
            None if label_files is None else [label_files[name] for name in names],
            listed.names,
            listed.palette,
            rule,
            f"Folder split {split!r} in {images}",
            on_fault,
            notes,
        )
        if label_values is not None or void_values is not None:
            self.label_meaning = describe_labels(rule, listed.names)

    @classmethod
    def split_names(cls, **options: Any) -> list[str]:
        """Every image; other splits are list files."""
        return [EVERY_IMAGE]

    def doubts(self, class_pixels: Counts, void_pixels: Counts) -> LabelDoubts:
        """See `SegmentationDataset.doubts`: whether 255, if nobody said what it is, is void."""
        if self.labels is None or not self.label_rule.assumes_void:
            return LabelDoubts()
        return doubts_about_void(class_pixels, void_pixels, self.class_names, self.labels)


def _spelt_like(others: Mapping[str, Path], files: Mapping[str, Path]) -> dict[str, Path]:
    """The files by name, spelt as in `others` where only the encoding of accents differs."""
    spelt = {composed(name): name for name in others}
    named = {name: spelt.get(composed(name), name) for name in files}
    return {
        name if name in others or named[name] in files else named[name]: path
        for name, path in files.items()
    }


def _name(line: str, spelt: Mapping[str, str], ending: str) -> str:
    """The sample a list line means, with or without a suffix and an ending.

    Args:
        line: The line.
        spelt: The names of all samples by their composed form.
        ending: What names of images end in besides.
    """
    names = [line, Path(line).with_suffix("").as_posix()] if Path(line).name else [line]
    names += [name.removesuffix(ending) for name in names]
    return next((spelt[composed(name)] for name in names if composed(name) in spelt), line)
