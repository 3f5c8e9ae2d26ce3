"""What is kept of data sets of files: known by their content, made anew where it does not fit."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image

from rss_env import array_cache, digests
from rss_env.array_cache import keep_array
from rss_env.cache_files import list_cache, note_array
from rss_env.datasets import file_digests, open_dataset
from rss_env.datasets.base import FileDataset
from rss_env.digests import array_digest, file_digest, file_states
from rss_env.errors import DatasetError, DatasetWarning, InputError
from rss_env.scene_cache import rebuild_cache
from rss_env.scenes import Scenes


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files whose clocks are so fine that they need not grow old."""
    monkeypatch.setattr(digests, "_COARSEST_CLOCK", -(10**15))


def write_label(path: Path, value: int) -> None:
    """A label of one class, with a size that does not depend on it."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(path, compress_level=0)


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(4):
        write_sample(tmp_path / "images" / f"{i}.png", None, np.zeros((16, 16)), i)
        write_label(tmp_path / "labels" / f"{i}.png", i % 3)
    return tmp_path


def data(folder: Path) -> FileDataset:
    options = {"images": str(folder / "images"), "labels": str(folder / "labels")}
    dataset = open_dataset("Folder", **options, classes=3)
    assert isinstance(dataset, FileDataset)
    return dataset


def load(folder: Path) -> Scenes:
    return Scenes(data(folder), (16, 16), torch.device("cpu"))


def contents(scenes: Scenes) -> list[torch.Tensor]:
    assert scenes.labels is not None
    return [scenes.images, scenes.labels, scenes.label_table(8)]


def replace_keeping_size_and_time(path: Path, value: int) -> None:
    before = path.stat()
    write_label(path, value)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("clock", [-(10**15), 10**15], ids=["fine clock", "coarse clock"])
def test_labels_of_the_same_size_and_time_are_read_again(cache, folder, monkeypatch, clock):
    monkeypatch.setattr(digests, "_COARSEST_CLOCK", clock)
    before = load(folder)
    digest, table = before.content_digest((8,)), before.label_table(8).clone()
    for label in (folder / "labels").iterdir():
        replace_keeping_size_and_time(label, 2)
    after = load(folder)
    assert after.labels is not None
    assert (after.labels == 2).all()
    assert not after.label_table(8).equal(table)
    assert after.content_digest((8,)) != digest


@pytest.mark.usefixtures("settled")
def test_files_are_digested_once(cache, folder, monkeypatch):
    load(folder)
    read = []
    monkeypatch.setattr(file_digests, "file_digest", lambda p: read.append(p) or file_digest(p))
    load(folder)
    assert not read
    (folder / "labels" / "1.png").touch()
    samples = [file for file in list_cache(cache) if "samples" in file.name]
    load(folder)
    assert len(read) == 8
    assert [file.path for file in list_cache(cache) if "samples" in file.name] == [
        file.path
        for file in samples  # the same content: nothing is decoded again
    ]


def test_the_identity_is_the_same_without_a_cache_and_elsewhere(cache, folder, monkeypatch):
    expected = load(folder).content_digest((8, 4, 1))
    assert load(folder).content_digest((4, 8)) == expected
    assert load(folder).content_digest() != expected
    (folder / "moved").mkdir()
    for part in ("images", "labels"):
        os.rename(folder / part, folder / "moved" / part)
    assert load(folder / "moved").content_digest((8, 4)) == expected
    monkeypatch.setenv("RSS_CACHE_DIR", "")
    assert load(folder / "moved").content_digest((8, 4)) == expected


@pytest.mark.parametrize("kind", ["samples", "label-counts"])
def test_what_is_kept_with_other_content_is_not_the_same_data(cache, folder, kind):
    """Also where somebody has noted it as if it were sound: digests are of what is used."""
    before = load(folder).content_digest((8,))
    (file,) = [file for file in list_cache(cache) if kind in file.name]
    array = np.load(file.path)
    array.flat[-1] ^= 1
    np.save(file.path, array)
    note_array(file.path, array_digest(array), "")
    assert load(folder).content_digest((8,)) != before


@pytest.mark.parametrize("kind", ["samples", "label-counts"])
def test_a_flipped_bit_changes_no_score(cache, folder, kind):
    expected = [part.clone() for part in contents(load(folder))]
    (file,) = [file for file in list_cache(cache) if kind in file.name]
    content = bytearray(file.path.read_bytes())
    content[-1] ^= 1
    file.path.unlink()
    file.path.write_bytes(content)
    with pytest.warns(DatasetWarning, match=f"{kind}.* is damaged and computed again"):
        found = contents(load(folder))
    for part, right in zip(found, expected, strict=True):
        assert part.equal(right)


@pytest.mark.parametrize("how", ["replaced", "written to", "removed"])
def test_an_image_that_is_replaced_while_it_is_read_is_named(cache, folder, monkeypatch, how):
    read, is_read = FileDataset.read, threading.Event()

    def read_and_replace(self: FileDataset, index: int, *arguments):
        sample = read(self, index, *arguments)
        if index == 1:
            is_read.set()
        if index == 2:  # threads share the images out: this one may come first
            assert is_read.wait(30)
            label = folder / "labels" / "1.png"
            if how == "written to":
                replace_keeping_size_and_time(label, 0)
            elif how == "removed":
                label.unlink()
            else:
                write_label(folder / "other.png", 1)  # even with the same content
                os.replace(folder / "other.png", label)
        return sample

    with monkeypatch.context() as patch:
        patch.setattr(FileDataset, "read", read_and_replace)
        with pytest.raises(DatasetError, match=r"labels.1.png was replaced or changed while the"):
            load(folder)
    assert not [file for file in list_cache(cache) if "samples" in file.name]


@pytest.mark.usefixtures("settled")
def test_what_is_stale_is_named_and_made_anew(cache, folder, monkeypatch):
    load(folder).label_table(8)
    assert rebuild_cache(data(folder)) == []

    def states_that_hide_a_change(paths):
        states = file_states(paths)
        return states if "cache" in str(paths[0]) else states * [0, 1, 1, 0]

    monkeypatch.setattr(file_digests, "file_states", states_that_hide_a_change)
    load(folder).label_table(8)
    replace_keeping_size_and_time(folder / "labels" / "1.png", 2)
    assert (contents(load(folder))[1][1] == 1).all()  # what no state shows is not seen
    told = rebuild_cache(data(folder))
    assert len(told) == 3
    assert "1 file(s) have other content than their inode, size and times were noted" in told[0]
    assert "labels/1.png first" in told[0]
    assert {line.split()[1] for line in told[1:]} == {
        "Folder-samples-16x16", "Folder-label-counts-16x16-8"
    }  # fmt: skip
    assert all(line.startswith("stale: ") for line in told)
    assert rebuild_cache(data(folder)) == []
    monkeypatch.setattr(array_cache, "replace_file", None)  # all is there
    _, labels, table = contents(load(folder))
    assert (labels[1] == 2).all()
    assert table[1, :, 2].all()


def test_damage_is_named_and_made_anew(cache, folder):
    load(folder)
    (file,) = [file for file in list_cache(cache) if "samples" in file.name]
    file.path.write_bytes(file.path.read_bytes()[:-1] + b"\x07")
    told = rebuild_cache(data(folder))
    assert told == [f"damaged: Folder-samples-16x16 of {file.about} is made anew"]
    assert rebuild_cache(data(folder)) == []


def test_there_is_nothing_to_rebuild_without_a_cache(folder, monkeypatch):
    monkeypatch.setenv("RSS_CACHE_DIR", "")
    with pytest.raises(InputError, match="RSS_CACHE_DIR is empty: there is no cache to rebuild"):
        rebuild_cache(data(folder))


def test_what_is_computed_of_other_data_stays(cache, folder):
    keep_array("numbers", "here", "now", lambda: np.ones(3))
    load(folder)
    before = {file.path: file.path.stat().st_ino for file in list_cache(cache)}
    (folder / "few.txt").write_text("0\n1\n")
    options = {"images": str(folder / "images"), "labels": str(folder / "labels")}
    few = open_dataset("Folder", split=str(folder / "few.txt"), classes=3, **options)
    assert isinstance(few, FileDataset)
    assert rebuild_cache(few) == []
    after = {file.path: file.path.stat().st_ino for file in list_cache(cache)}
    assert before.items() <= after.items()
