"""Fixtures: small data sets in the official layouts, generated; real ones where they exist."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rss_env  # noqa: F401  (registers the ids)

# Workers of pytest-xdist share the cores: threads would only wait for each other.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
os.environ["SDL_VIDEODRIVER"] = "dummy"  # windows of render_mode="human" draw into nothing

REAL_DATA = Path(
    os.environ.get("RSS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


def effort(short: int, long: int) -> int:
    """How often to try something: long in a soak run (RSS_SOAK is set), short otherwise."""
    return long if os.environ.get("RSS_SOAK") else short


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `cuda` on a machine without such a device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda") is not None:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


class Tally:
    """What the tests of a session tried and measured."""

    def __init__(self):
        self.values: dict[str, float] = {}

    def __call__(self, name: str, count: int = 1) -> None:
        """Add to a count."""
        self.values[name] = self.values.get(name, 0) + count

    def measure(self, name: str, value: float) -> None:
        """Keep a measurement as it is."""
        self.values[name] = value


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    """Counts and measurements, written to the file that RSS_TALLY names."""
    tally = Tally()
    yield tally
    if os.environ.get("RSS_TALLY"):
        text = json.dumps(tally.values, indent=2, sort_keys=True)
        Path(os.environ["RSS_TALLY"]).write_text(text + "\n")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' own cache, also for the processes they start."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RSS_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def _fixed_draws():
    """Every test draws the same numbers each time: one that passes by luck fails by it too."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_thread():
    """Threads would only wait for each other where images and networks are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_sample(image: Path, label: Path | None, values: np.ndarray, seed: int = 0) -> None:
    """Write a random image, and a palette label of the given values (H, W)."""
    random = np.random.default_rng(seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (*values.shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    if label is not None:
        label.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(values.astype(np.uint8), mode="L")
        picture.putpalette(list(range(256)) * 3)
        picture.save(label)


def random_labels(seed: int, values: list[int], shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    random = np.random.default_rng(seed)
    blocks = random.choice(values, (shape[0] // 8, shape[1] // 8))
    return blocks.repeat(8, 0).repeat(8, 1)


def write_voc_samples(folder: Path, labels: str, names: list[str], values: list[int]) -> None:
    """Write photographs, and labels of the given values, in VOC layout."""
    for i, name in enumerate(names):
        write_sample(
            folder / "JPEGImages" / f"{name}.jpg",
            folder / labels / f"{name}.png",
            random_labels(i, values),
            i,
        )


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voc")
    folder = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{i:06d}" for i in range(6)]
    write_voc_samples(folder, "SegmentationClass", names, [0, 1, 15, 20, 255])
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:4]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[4:]) + "\n")
    (lists / "trainval.txt").write_text("\n".join(names) + "\n")
    return root


@pytest.fixture(scope="session")
def pascal_context_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pascal Context with PNGs of the 59 classes."""
    root = tmp_path_factory.mktemp("context")
    folder = root / "VOCdevkit" / "VOC2010"
    names = [f"2008_{i:06d}" for i in range(5)]
    write_voc_samples(folder, "SegmentationClassContext", names, [0, 1, 2, 11, 59])
    lists = folder / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:3]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[3:]) + "\n")
    return root


@pytest.fixture(scope="session")
def cityscapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cityscapes")
    for split, city, count in (("train", "aachen", 3), ("train", "bochum", 1), ("val", "ulm", 2)):
        for i in range(count):
            stem = f"{city}_{i:06d}_000019"
            write_sample(
                root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png",
                root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png",
                random_labels(i, [0, 7, 11, 26, 33]),
                i,
            )
    return root


@pytest.fixture(scope="session")
def folder_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Arguments of a `Folder` data set with three classes."""
    root = tmp_path_factory.mktemp("folder")
    for i in range(5):
        write_sample(
            root / "images" / f"photo {i}.png",
            root / "labels" / f"photo {i}.png",
            random_labels(i, [0, 1, 2, 255]),
            i,
        )
    (root / "classes.txt").write_text("ground\ntree\nhouse\n")
    return {
        "images": str(root / "images"),
        "labels": str(root / "labels"),
        "classes": str(root / "classes.txt"),
    }


@pytest.fixture(scope="session")
def data_options(
    voc_root: Path,
    pascal_context_root: Path,
    cityscapes_root: Path,
    folder_data: dict[str, str],
) -> dict[str, dict]:
    """Small data for every data set: arguments of `gym.make`."""
    return {
        "Shapes": {"num_scenes": 12},
        "VOC": {"root": str(voc_root)},
        "PascalContext": {"root": str(pascal_context_root)},
        "Cityscapes": {"root": str(cityscapes_root)},
        "Folder": dict(folder_data),
    }
