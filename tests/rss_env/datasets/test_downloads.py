"""Downloads through torchvision, whose fetching is replaced: no network, real unpacking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import random_labels, write_sample
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import sbd, voc

from data_command import run
from rss_env.datasets import open_dataset
from rss_env.datasets.downloads import download
from rss_env.errors import DatasetError, InputError

TRAIN, VAL = ["2007_000000", "2007_000001"], ["2007_000002"]
ADDED = ["2008_000003", "2008_000004"]


def write_voc(root: str, year: str) -> None:
    """What the archive of a VOC year unpacks to."""
    folder = Path(root) / "VOCdevkit" / f"VOC{year}"
    for i, name in enumerate([*TRAIN, *VAL, *ADDED]):
        label = folder / "SegmentationClass" / f"{name}.png"
        write_sample(
            folder / "JPEGImages" / f"{name}.jpg",
            None if name in ADDED else label,
            random_labels(i, [0, 15, 255]),
            i,
        )
    for kind in ("Segmentation", "Main"):
        lists = folder / "ImageSets" / kind
        lists.mkdir(parents=True)
        for split, names in {"train": TRAIN, "val": VAL, "trainval": [*TRAIN, *VAL]}.items():
            (lists / f"{split}.txt").write_text("\n".join(names) + "\n")


def write_boundaries(root: str) -> None:
    """What the archive of the Semantic Boundaries Dataset unpacks to."""
    folder = Path(root) / "benchmark_RELEASE" / "dataset"
    for part in ("cls", "img", "inst"):
        (folder / part).mkdir(parents=True)
    splits = {"train": [TRAIN[0], VAL[0], ADDED[0]], "val": [ADDED[1]]}
    for split, names in splits.items():
        (folder / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            labels = np.full((48, 64), 3, np.uint8)
            ground_truth = np.array([(labels,)], dtype=[("Segmentation", object)])
            savemat(folder / "cls" / f"{name}.mat", {"GTcls": ground_truth})
            Image.new("RGB", (64, 48)).save(folder / "img" / f"{name}.jpg")


@pytest.fixture
def fetched(monkeypatch) -> list[str]:
    """torchvision's fetching replaced; the URLs it was asked for."""
    urls: list[str] = []

    def fetch_voc(url: str, root: str, filename: str, md5: str) -> None:
        urls.append(url)
        assert md5
        write_voc(root, "2010" if "2010" in url else "2012")

    def fetch_boundaries(url: str, root: str, filename: str, md5: str) -> None:
        urls.append(url)
        assert md5
        write_boundaries(root)

    monkeypatch.setattr(voc, "download_and_extract_archive", fetch_voc)
    monkeypatch.setattr(sbd, "download_and_extract_archive", fetch_boundaries)
    return urls


def everything(root: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the content of files."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def test_voc_is_downloaded_into_its_layout(fetched, tmp_path, capsys):
    root = tmp_path / "new" / "voc"
    code, output = run(capsys, "download", "voc", "--root", str(root))
    assert code == 0, output
    assert "downloaded VOC 2012" in output
    assert len(fetched) == 1
    assert len(open_dataset("VOC", root=str(root))) == len(TRAIN)
    assert [path.name for path in root.iterdir()] == ["VOCdevkit"]
    before = everything(root)
    code, output = run(capsys, "download", "VOC", "--root", str(root))
    assert code == 0
    assert "already there" in output
    assert len(fetched) == 1
    assert everything(root) == before


def test_augmented_set_is_voc_train_and_boundaries_without_val(fetched, tmp_path):
    message = download("VOC", tmp_path, augmented=True)
    assert "added 2 labels" in message
    assert "train_aug has 4 images" in message
    dataset = open_dataset("VOC", root=str(tmp_path), split="train_aug")
    assert [path.stem for path in dataset.images] == sorted([*TRAIN, *ADDED])  # type: ignore
    # VOC's own labels, with their void borders, are kept; the others come from the boundaries.
    np.testing.assert_array_equal(dataset.read(0)[1], random_labels(0, [0, 15, 255]))
    assert (dataset.read(3)[1] == 3).all()  # type: ignore
    aug = tmp_path / "VOCdevkit/VOC2012/SegmentationClassAug"
    assert Image.open(aug / f"{ADDED[0]}.png").mode == "P"
    assert len(open_dataset("VOC", root=str(tmp_path), split="trainaug")) == 4
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").unlink()
    assert len(open_dataset("VOC", root=str(tmp_path), split="train_aug")) == 4
    before = everything(tmp_path)
    assert "already there" in download("VOC", tmp_path, augmented=True)
    assert everything(tmp_path) == before


def failing(write: Callable[[str], None], error: BaseException) -> Callable:
    """A fetch that breaks off after half of its files."""

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        write(root)
        (Path(root) / filename).write_bytes(b"half an archive")
        raise error

    return fetch


@pytest.mark.parametrize(
    "error", [OSError("network is unreachable"), RuntimeError("File not found or corrupted.")]
)
def test_a_failed_download_leaves_nothing(tmp_path, monkeypatch, capsys, error):
    monkeypatch.setattr(
        voc, "download_and_extract_archive", failing(lambda root: write_voc(root, "2012"), error)
    )
    root = tmp_path / "new" / "voc"
    code, output = run(capsys, "download", "voc", "--root", str(root))
    assert code == 2
    assert f"could not download VOC 2012: {type(error).__name__}: {error}" in output
    assert "Traceback" not in output
    assert everything(tmp_path) == {}
    root.mkdir(parents=True)
    (root / "mine.txt").write_text("kept")
    with pytest.raises(DatasetError, match="is as it was"):
        download("VOC", root)
    assert everything(root) == {"mine.txt": b"kept"}


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch, capsys):
    interruption = failing(lambda root: write_voc(root, "2012"), KeyboardInterrupt())
    monkeypatch.setattr(voc, "download_and_extract_archive", interruption)
    code, _ = run(capsys, "download", "voc", "--root", str(tmp_path / "voc"))
    assert code == 130
    assert everything(tmp_path) == {}


def test_a_failed_augmentation_leaves_voc_as_it_was(fetched, tmp_path, monkeypatch):
    download("VOC", tmp_path)
    before = everything(tmp_path)
    monkeypatch.setattr(
        sbd, "download_and_extract_archive", failing(write_boundaries, OSError("disk full"))
    )
    with pytest.raises(DatasetError, match="the Semantic Boundaries Dataset: OSError: disk full"):
        download("VOC", tmp_path, augmented=True)
    assert everything(tmp_path) == before


def test_an_augmentation_that_cannot_be_listed_is_taken_back(fetched, tmp_path, monkeypatch):
    download("VOC", tmp_path)
    before = everything(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError("read-only list folder")

    monkeypatch.setattr("rss_env.datasets.downloads.os.replace", refuse)
    with pytest.raises(DatasetError, match="read-only list folder"):
        download("VOC", tmp_path, augmented=True)
    assert everything(tmp_path) == before


def test_an_archive_without_the_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(voc, "download_and_extract_archive", lambda *a, **k: None)
    with pytest.raises(DatasetError, match="could not download VOC 2012: RuntimeError"):
        download("VOC", tmp_path / "voc")
    assert everything(tmp_path) == {}


def test_pascal_context_brings_the_photographs_and_says_the_rest(fetched, tmp_path, capsys):
    code, output = run(capsys, "download", "pascal_context", "--root", str(tmp_path))
    assert code == 1  # labels are missing
    assert "2010" in fetched[0]
    assert "roozbeh/pascal-context" in output
    assert "not complete yet: " in output
    assert (tmp_path / "VOCdevkit/VOC2010/JPEGImages").is_dir()
    folder = tmp_path / "SegmentationClassContext"
    folder.mkdir()
    for name in TRAIN:
        Image.fromarray(np.ones((48, 64), np.uint8)).save(folder / f"{name}.png")
    code, output = run(capsys, "download", "pascal-context", "--root", str(tmp_path))
    assert code == 0, output
    assert len(open_dataset("PascalContext", root=str(tmp_path))) == len(TRAIN)


def test_cityscapes_is_explained(tmp_path, capsys, cityscapes_root):
    code, output = run(capsys, "download", "cityscapes", "--root", str(tmp_path / "city"))
    assert code == 1
    assert "https://www.cityscapes-dataset.com" in output
    assert f"rss-data check cityscapes --root {tmp_path / 'city'}" in output
    assert everything(tmp_path) == {}
    code, _ = run(capsys, "download", "cityscapes", "--root", str(cityscapes_root))
    assert code == 0


def test_what_cannot_be_downloaded(tmp_path, capsys):
    with pytest.raises(InputError, match="unknown data set to download 'Folder'; valid: VOC, Pas"):
        download("Folder", tmp_path)
    with pytest.raises(InputError, match="only VOC has an augmented training set"):
        download("Cityscapes", tmp_path, augmented=True)
    blocked = tmp_path / "file"
    blocked.write_text("")
    code, output = run(capsys, "download", "voc", "--root", str(blocked / "voc"))
    assert code == 2
    assert "cannot write to" in output
