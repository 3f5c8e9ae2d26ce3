"""Split lists, class-name files and paths from anywhere: they name samples, or are refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_labels, write_sample
from hypothesis import strategies as st
from PIL import Image

from fuzzing import fuzz, harmless, memory_limit, refused
from rss_env.datasets import open_dataset
from rss_env.datasets.base import FileDataset
from rss_env.datasets.class_file import read_classes
from rss_env.datasets.pascal_context import CLASS_NAMES
from rss_env.datasets.scanning import check_dataset

NAMES = {"Folder": "photo 1", "VOC": "2007_000001", "PascalContext": "2008_000001"}
LIST_READERS = [*NAMES, "Cityscapes"]


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with memory_limit():
        yield


parts = st.sampled_from(
    [
        b"..", b".", b"/", b"//", b"~", b"\\", b"\0", b"\t", b" ", b"\r", b"\x0b", b"\x85", b"a",
        b".png", b".jpg", b"/etc/passwd", b"/dev/zero", b"C:\\x", b"\xff\xfe", b"\xe2\x80\xa8",
        b"JPEGImages/", b"x" * 300, b"../" * 2000, b"\xed\xa0\x80", b"-1", b"1", b"%00", b"$HOME",
    ]
)  # fmt: skip


def lines(name: str) -> st.SearchStrategy[bytes]:
    whole = st.sampled_from([name.encode()]) | st.sampled_from([b"aachen/aachen_000001_000019"])
    made_up = st.lists(parts | parts | whole, max_size=5).map(b"".join)
    return whole | made_up | made_up | st.binary(max_size=40) | st.just(b"y" * 100_000)


def lists(name: str) -> st.SearchStrategy[bytes]:
    endings = st.sampled_from([b"\n", b"\r\n", b""])
    return st.lists(st.tuples(lines(name), endings).map(b"".join), max_size=4).map(b"".join)


def roots(options: dict[str, Any]) -> list[Path]:
    return [Path(options[key]).resolve() for key in ("root", "images", "labels") if key in options]


@pytest.mark.parametrize("dataset", LIST_READERS)
def test_hostile_lists(dataset, data_options, tmp_path, tally):
    """What a list names lies in the data set, or is refused; a check goes through all of it."""
    options = dict(data_options[dataset])
    split = tmp_path / "list.txt"
    open_dataset(dataset, **options)  # imports what it needs

    @fuzz(tally, "list files tried", 80, lists(NAMES.get(dataset, "a")))
    def _(content: bytes) -> None:
        split.write_bytes(content)

        def read() -> None:
            opened = open_dataset(dataset, **options, split=str(split))
            assert isinstance(opened, FileDataset)
            for path in (*opened.images, *(opened.labels or ())):
                assert any(path.resolve().is_relative_to(root) for root in roots(options)), path
            opened.read(0)

        with harmless():
            refused(read)
            (report,) = check_dataset(dataset, progress=False, **options, split=str(split))
        assert report.samples or report.faults


@pytest.mark.parametrize("dataset", NAMES)
def test_a_plain_list_is_read(dataset, data_options, tmp_path):
    split = tmp_path / "list.txt"
    split.write_text(NAMES[dataset])
    assert len(open_dataset(dataset, **data_options[dataset], split=str(split))) == 1


odd_texts = st.text(max_size=20) | st.sampled_from(
    [
        "9" * 5000,
        "999999999999",
        "²",
        "٣",
        "1e9",
        "-1",
        " 3",
        "\0",
        "/",
        "x" * 5000,
        "/dev/null",
        "~",
    ]
)


def test_hostile_class_names(tmp_path, tally):
    path = tmp_path / "classes.txt"
    contents = (
        st.binary(max_size=60)
        | st.lists(st.text(max_size=5), max_size=8).map(lambda names: "\n".join(names).encode())
        | st.lists(
            st.sampled_from(["a", "b 1 2 3", "c 1,2,3", "d 0 0 256", "e 1 2 9" + "9" * 9])
        ).map(lambda lines: "\n".join(lines).encode())
        | st.sampled_from([b"a\n" * 300_000, b"x" * 3_000_000, b"\0\n\1\n"])
    )

    @fuzz(tally, "class-name files tried", 150, contents | odd_texts | st.integers())
    def _(given: Any) -> None:
        if isinstance(given, bytes):
            path.write_bytes(given)
        found: list[list[str]] = []
        with harmless():
            classes = str(path) if isinstance(given, bytes) else given
            message = refused(lambda: found.append(read_classes(classes).names))
        if message is None:
            assert 2 <= len(set(found[0])) == len(found[0]) <= 255


def test_hostile_label_values(folder_data, tally):
    """Anything in place of the values of classes and of void is refused, or means values."""
    odd = st.integers() | st.text(max_size=7) | st.floats() | st.booleans() | st.none()
    values = odd | st.sampled_from(["0,1", "none", "255", "²", "9" * 5000, "1,2,3", b"1", {}])

    @fuzz(tally, "label values tried", 150, st.tuples(*[values | st.lists(values, max_size=3)] * 2))
    def _(given: tuple[Any, Any]) -> None:
        of_classes, void = given
        arguments = {"label_values": of_classes, "void_values": void}
        with harmless():
            refused(lambda: open_dataset("Folder", **folder_data, **arguments))


def test_hostile_paths(data_options, tally):
    """Every option that is a path, given something else."""
    keys = [
        (dataset, key)
        for dataset, options in data_options.items()
        for key in (*options, "split", "image_ending", "label_ending", "class_order")
        if dataset != "Shapes" and not (dataset != "Folder" and key.endswith("ending"))
    ]
    odd_paths = odd_texts | st.sampled_from(
        ["a/" * 3000 + ".txt", "\ud800.txt", "\0.txt", "/proc/self/mem"]
    )

    @fuzz(tally, "paths tried", 150, st.sampled_from(keys), odd_paths)
    def _(which: tuple[str, str], value: str) -> None:
        dataset, key = which
        is_folder = os.path.isdir(os.path.expanduser(value or "."))
        if is_folder and key in ("images", "labels"):
            return  # that all of it is looked through is what it says
        with harmless():
            message = refused(
                lambda: open_dataset(dataset, **{**data_options[dataset], key: value})
            )
        if key in ("root", "images", "labels", "split") and not is_folder:
            assert message is not None or (key, value) == ("split", "all")


def test_hostile_matlab_names(pascal_context_root, tmp_path, tally):
    """`labels.txt` beside the original files sets the size of a table."""
    root = shutil.copytree(pascal_context_root, tmp_path / "context")
    folder = root / "VOCdevkit" / "VOC2010"
    (folder / "SegmentationClassContext").rename(folder / "trainval")
    official = "\n".join(f"{i}: {name}" for i, name in enumerate(CLASS_NAMES, 1))
    values = st.sampled_from(["1", "99999", "999999999999", "9" * 5000, "²", "-1", "", " 7 "])
    odd_lines = st.lists(st.tuples(values, st.text(max_size=5)).map(": ".join), max_size=3)

    @fuzz(tally, "class-name files tried", 60, odd_lines, st.sampled_from(["", official]))
    def _(odd: list[str], rest: str) -> None:
        (folder / "labels.txt").write_text("\n".join([*odd, rest]), encoding="utf-8")
        with harmless():
            assert refused(lambda: open_dataset("PascalContext", root=str(root)))


# --- files that are not files ---


@pytest.fixture
def folder(tmp_path) -> dict[str, str]:
    for name in "ab":
        label = tmp_path / "labels" / f"{name}.png"
        write_sample(tmp_path / "images" / f"{name}.png", label, random_labels(0, [0, 1]))
    (tmp_path / "classes.txt").write_text("ground\ntree\n")
    return {
        "images": str(tmp_path / "images"),
        "labels": str(tmp_path / "labels"),
        "classes": str(tmp_path / "classes.txt"),
    }


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["images/a.png", "labels/a.png", "classes.txt"])
@pytest.mark.parametrize("kind", ["pipe", "endless device", "loop", "folder", "secret", "nothing"])
def test_links_to_what_is_no_picture(folder, tmp_path, name, kind):
    """Nothing waits for a pipe or reads a device to its end, and no error repeats a secret."""
    (tmp_path / "secret").write_text("password: tr0ub4dor\n" * 300)
    path = tmp_path / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        target = {"endless device": "/dev/zero", "loop": path.name, "nothing": "/nowhere"}
        path.symlink_to(target.get(kind, str(tmp_path / "secret")))

    (tmp_path / "list.txt").write_text("a\nb\n")

    def read() -> None:
        dataset = open_dataset("Folder", **folder, split=str(tmp_path / "list.txt"))
        for index in range(len(dataset)):
            dataset.read(index)

    with harmless():
        message = refused(read)
    assert message is not None
    assert len(message) < 1000
    assert message.count("tr0ub4dor") <= 1  # of a class-name file, the one name that is wrong


def test_links_inside_folders_are_followed_once(folder, tmp_path):
    """A picture may be a link, as large data sets are laid out; a folder within itself ends."""
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    shutil.move(tmp_path / "images" / "a.png", tmp_path / "elsewhere.png")
    (tmp_path / "images" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    dataset = open_dataset("Folder", **folder)
    assert len(dataset) == 2
    expected = np.array(Image.open(tmp_path / "elsewhere.png"))
    np.testing.assert_array_equal(dataset.read(0)[0], expected)
