"""The cache of decoded data sets: built once, rebuilt when a file changes, never in the way."""

from __future__ import annotations

import importlib.metadata
import os
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_labels, write_sample

from rss_env import array_cache, cache_files, digests
from rss_env.array_cache import keep_array
from rss_env.cache_files import cache_folder
from rss_env.datasets import open_dataset
from rss_env.digests import array_digest
from rss_env.errors import DatasetWarning, InputError
from rss_env.scenes import Scenes


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted:
    """Computes an array and counts how often."""

    def __init__(self, value: int = 7):
        self.value, self.calls = value, 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return np.full((3, 4), self.value, np.int16)


def cached(*arguments: Any) -> np.ndarray:
    """The values of an array that is kept."""
    return keep_array(*arguments).values


def arrays(folder: Path) -> list[Path]:
    """The arrays in a cache; digests of files are kept once these are not new any more."""
    return sorted(p for p in folder.glob("*.npy") if not p.name.startswith("file-digests"))


def test_what_was_computed_is_found_again(cache):
    compute = Counted()
    for _ in range(3):
        found = cached("numbers", "here", "now", compute)
        assert found.dtype == np.int16
        assert (found == 7).all()
        found[:] = 0  # reaches neither the file nor whoever asks next
    assert compute.calls == 1
    assert [path.name[:8] for path in arrays(cache)] == ["numbers-"]


def test_new_content_takes_the_place_of_the_old(cache):
    before = cached("numbers", "here", "then", Counted(1))
    assert (cached("numbers", "elsewhere", "then", Counted(2)) == 2).all()
    assert (cached("numbers", "here", "now", Counted(3)) == 3).all()
    assert len(arrays(cache)) == 2
    assert (before == 1).all()  # whoever holds the old array keeps it


@pytest.mark.parametrize("damage", ["truncated", "empty", "no array", "pickle"])
def test_a_damaged_file_is_computed_again(cache, damage):
    cached("numbers", "here", "now", Counted())
    (path,) = arrays(cache)
    content = path.read_bytes()
    if damage == "pickle":
        np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    else:
        path.write_bytes({"truncated": content[:-5], "empty": b"", "no array": b"x" * 500}[damage])
    compute = Counted(8)
    with pytest.warns(UserWarning, match="is damaged and computed again"):
        assert (cached("numbers", "here", "now", compute) == 8).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (cached("numbers", "here", "now", compute) == 8).all()
    assert compute.calls == 1


def flip_a_bit(path: Path) -> None:
    """Damage the last byte in place, and put the times back that a program can put back."""
    state = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_flipped_bit_is_found(cache):
    cached("numbers", "here", "now", Counted())
    flip_a_bit(arrays(cache)[0])
    compute = Counted()
    with pytest.warns(DatasetWarning, match="damaged and computed again: .*not have its digest"):
        assert (cached("numbers", "here", "now", compute) == 7).all()
    assert (cached("numbers", "here", "now", compute) == 7).all()
    assert compute.calls == 1


@pytest.mark.parametrize("is_settled", [True, False])
def test_what_was_found_sound_is_not_read_again(cache, monkeypatch, is_settled):
    """But for a file that was written a moment ago, which may be written to in the same tick."""
    monkeypatch.setattr(digests, "_COARSEST_CLOCK", -(10**15) if is_settled else 10**15)
    cached("numbers", "here", "now", Counted())
    read = []
    monkeypatch.setattr(cache_files, "array_digest", lambda a: read.append(a) or array_digest(a))
    for _ in range(2):
        cached("numbers", "here", "now", Counted())
    assert len(read) == (0 if is_settled else 2)
    (path,) = arrays(cache)
    os.utime(path)  # as if it were restored from elsewhere
    for _ in range(3):
        cached("numbers", "here", "now", Counted())
    assert len(read) == (1 if is_settled else 5)


def test_what_was_damaged_since_it_was_mapped_is_named(cache):
    kept = keep_array("numbers", "here", "now", Counted())
    assert kept.digest_again() == kept.digest
    kept.values[0, 0] += 1
    with pytest.raises(InputError, match=r"cache file .*numbers-.* is damaged.*check --rebuild"):
        kept.digest_again()


def test_what_a_killed_process_has_left_is_cleaned(cache):
    cached("numbers", "here", "now", Counted())
    cached("numbers", "there", "now", Counted())
    first, _ = arrays(cache)
    left = [
        cache / f".{first.name}.tmp",
        cache / f".{first.with_suffix('.json').name}.tmp",
        cache / first.name.replace("numbers", "others"),  # killed before it was noted
        (cache / first.name.replace("numbers", "more")).with_suffix(".json"),
        cache / f"{first.name[:24]}.lock",  # of an earlier version
    ]
    theirs = [cache / "own.npy", cache / ".own.npy.tmp", cache / "uv.lock", cache / "own.json"]
    for path in (*left, *theirs):
        path.touch()
    with cache_files.lock_of(left[2]):
        cached("numbers", "elsewhere", "now", Counted())
        assert left[2].exists()  # somebody may be about to note it
    cached("numbers", "everywhere", "now", Counted())
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in theirs)
    assert len(arrays(cache)) == 4 + 1
    assert cache_files.clear_cache(cache)[0] == 4
    locks = {path.name for path in cache.glob("place-*.lock")}
    assert {path.name for path in cache.iterdir()} == locks | {path.name for path in theirs}
    assert len(locks) <= 16


def test_a_file_without_a_note_is_computed_again(cache):
    cached("numbers", "here", "now", Counted())
    arrays(cache)[0].with_suffix(".json").unlink()
    compute = Counted()
    cached("numbers", "here", "now", compute)
    assert compute.calls == 1


def test_what_was_not_used_for_longest_makes_room(cache, monkeypatch):
    monkeypatch.setenv("RSS_CACHE_GIB", str(320 / 2**30))  # room for two files of 152 bytes
    for place in ("a", "b"):
        cached("numbers", place, "now", Counted())
    for note in cache.glob("*.json"):
        os.utime(note, (0, 0))
    cached("numbers", "a", "now", Counted())  # it was used last
    cached("numbers", "c", "now", Counted())
    calls = []
    for place in ("a", "c", "b"):
        compute = Counted()
        cached("numbers", place, "now", compute)
        calls.append(compute.calls)
    assert calls == [0, 0, 1]
    monkeypatch.setenv("RSS_CACHE_GIB", "0")
    with pytest.warns(DatasetWarning, match="numbers is not kept .* RSS_CACHE_GIB allows 0"):
        assert (cached("numbers", "d", "now", Counted()) == 7).all()
    monkeypatch.setenv("RSS_CACHE_GIB", "much")
    with pytest.raises(InputError, match="RSS_CACHE_GIB must be a number of 0 or more, got 'much'"):
        cached("numbers", "e", "now", Counted())


def test_everything_is_on_the_disk_before_it_has_its_name(cache, monkeypatch):
    synced: set[int] = set()
    moved = []
    fsync, replace = os.fsync, os.replace

    def move(source: Path, target: Path) -> None:
        moved.append(Path(target).suffix)
        assert os.stat(source).st_ino in synced
        replace(source, target)

    def sync(file: int) -> None:
        synced.add(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", move)
    cached("numbers", "here", "now", Counted())
    assert moved == [".npy", ".json"]
    assert cache.stat().st_ino in synced


def test_a_cache_that_cannot_be_written_to_costs_a_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    compute = Counted()
    with pytest.warns(UserWarning, match="nothing is kept in the cache .*set RSS_CACHE_DIR"):
        assert (cached("numbers", "here", "now", compute) == 7).all()
    assert compute.calls == 1


def test_a_full_disk_loses_nothing(cache, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    compute = Counted()
    with pytest.warns(UserWarning, match="No space left"):
        assert (cached("numbers", "here", "now", compute) == 7).all()
    assert compute.calls == 1
    assert not [p for p in cache.iterdir() if p.suffix != ".lock"]  # no half-written file


def test_a_folder_that_cannot_lock_files_costs_a_warning(cache, monkeypatch):
    def fail(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(array_cache.FileLock, "acquire", fail)
    compute = Counted()
    with pytest.warns(UserWarning, match="nothing is kept in the cache .*support flock"):
        assert (cached("numbers", "here", "now", compute) == 7).all()
    assert compute.calls == 1


def test_who_waits_long_for_another_process_says_for_what(cache, monkeypatch):
    monkeypatch.setattr(array_cache, "_SILENT_SECONDS", 0.05)
    begun, ended = threading.Event(), threading.Event()

    def slowly():
        begun.set()
        ended.wait()
        return np.zeros(3)

    with ThreadPoolExecutor(1) as other:
        first = other.submit(cached, "numbers", "here", "now", slowly)
        begun.wait()
        threading.Timer(0.5, ended.set).start()
        with pytest.warns(DatasetWarning, match="another process, which is making numbers for"):
            found = cached("numbers", "here", "now", Counted())
        assert (found == first.result()).all()


def test_what_cannot_be_computed_leaves_nothing(cache):
    def fail():
        raise ValueError("a broken image")

    with pytest.raises(ValueError, match="a broken image"):
        cached("numbers", "here", "now", fail)
    assert not arrays(cache)
    assert (cached("numbers", "here", "now", Counted()) == 7).all()


def test_the_cache_can_be_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv("RSS_CACHE_DIR", "")
    monkeypatch.chdir(tmp_path)
    compute = Counted()
    for _ in range(2):
        cached("numbers", "here", "now", compute)
    assert compute.calls == 2
    assert cache_folder() is None
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("RSS_CACHE_DIR")
    assert (cache_folder() or Path()).name == "rss-env"


def _build_slowly(log: str) -> int:
    def compute() -> np.ndarray:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        return np.arange(2_000_000)

    return int(cached("numbers", "here", "now", compute).sum())


def test_processes_that_build_at_once_build_once(cache, tmp_path):
    log = tmp_path / "log"
    with ProcessPoolExecutor(3, get_context("spawn")) as pool:
        sums = list(pool.map(_build_slowly, [str(log)] * 3))
    assert sums == [1_999_999_000_000] * 3
    assert len(log.read_text().splitlines()) == 1


def load(folder: Path, size: tuple[int, int] = (16, 32), labels: str | None = "labels") -> Scenes:
    options = {"images": str(folder / "images"), "classes": "3"}
    if labels:
        options["labels"] = str(folder / labels)
    return Scenes(open_dataset("Folder", **options), size, torch.device("cpu"))


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(4):
        label = tmp_path / "labels" / f"{i}.png"
        write_sample(tmp_path / "images" / f"{i}.png", label, random_labels(i, [0, 1, 2, 255]), i)
    return tmp_path


def contents(scenes: Scenes) -> list[torch.Tensor]:
    if scenes.labels is None or scenes.class_pixels is None:
        return [scenes.images]
    tables = [scenes.label_table(scale) for scale in (8, 2, 1)]
    return [scenes.images, scenes.labels, scenes.class_pixels, *tables]


@pytest.mark.parametrize(("labels", "files"), [("labels", 3), (None, 1)])
def test_scenes_are_the_same_with_and_without_a_cache(cache, folder, monkeypatch, labels, files):
    first, again = contents(load(folder, labels=labels)), contents(load(folder, labels=labels))
    assert len(arrays(cache)) == files
    monkeypatch.setenv("RSS_CACHE_DIR", "")
    without = contents(load(folder, labels=labels))
    assert len(without) == (6 if labels else 1)
    for expected, *found in zip(without, first, again, strict=True):
        for part in found:
            torch.testing.assert_close(part, expected, rtol=0, atol=0)


def test_a_changed_data_set_is_read_again(cache, folder):
    before = load(folder)
    before_table = before.label_table(8).clone()
    names = {path.name for path in arrays(cache)}
    write_sample(
        folder / "images" / "2.png", folder / "labels" / "2.png", np.full((48, 64), 1), seed=9
    )
    after = load(folder)
    assert after.labels is not None
    assert (after.labels[2] == 1).all()
    assert not after.label_table(8).equal(before_table)
    assert not after.images[2].equal(before.images[2])
    assert after.images[1].equal(before.images[1])
    now = {path.name for path in arrays(cache)}
    assert len(now) == len(names) == 2  # the old files are gone
    assert not now & names


def test_sizes_do_not_share_a_file(cache, folder):
    assert load(folder, (16, 32)).images.shape != load(folder, (32, 16)).images.shape
    assert load(folder, (16, 32)).images.shape == (4, 16, 32, 3)
    assert len(arrays(cache)) == 2


def test_a_checkout_that_is_not_installed_has_a_cache_too(cache, folder, monkeypatch):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert len(load(folder)) > 0
    assert arrays(cache)
