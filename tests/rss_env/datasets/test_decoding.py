"""Files as they come: what can be read is read right, the rest is told in one clear error."""

from __future__ import annotations

import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from rss_env.datasets import open_dataset
from rss_env.datasets.decoding import LabelRule, read_image
from rss_env.datasets.scanning import check_dataset
from rss_env.errors import DatasetError

ORIENTATION = 0x0112


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], -1).astype(np.uint8)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright: Callable):
    path = tmp_path / "photo.png"
    Image.fromarray(gradient()).save(path, exif=turned(orientation))
    np.testing.assert_array_equal(np.array(read_image(path)), upright(gradient()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    picture = Image.fromarray(gradient()).convert(mode)
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    path = tmp_path / f"photo{suffix}"
    picture.save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    difference = np.abs(np.array(image).astype(int) - np.array(picture.convert("RGB")).astype(int))
    assert difference.max() <= 2


def test_sixteen_bit_grey_images_are_refused_not_clipped(tmp_path):
    path = tmp_path / "scan.png"
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(path)
    with pytest.raises(DatasetError, match=r"scan.png has mode I;16, more than 8 bits"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_empty_truncated_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"cannot read image .*photo{suffix}: "):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=rf"photo{suffix}: the file is empty \(0 bytes\)"):
        read_image(path)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(DatasetError, match=rf"cannot read image .*photo{suffix}: "):
        read_image(path)
    Image.fromarray(gradient()).save(path, format="GIF")
    with pytest.raises(DatasetError, match=rf"cannot read image .*photo{suffix}: .*identify"):
        read_image(path)
    path.unlink()
    with pytest.raises(DatasetError, match=rf"cannot read image .*photo{suffix}: .*No such file"):
        read_image(path)


def bomb(path: Path, height: int, width: int) -> None:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 100_000])
@pytest.mark.parametrize("policy", ["default", "error"])
def test_huge_images_are_refused_with_the_limit(tmp_path, side, policy):
    """Above one limit Pillow only warns, above two it raises: both are one error here."""
    path = tmp_path / "bomb.png"
    bomb(path, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter(policy, Image.DecompressionBombWarning)
        for read in (read_image, LabelRule.identity(3).read):
            with (
                pytest.raises(DatasetError, match=r"bomb.png: .* raise PIL.Image.MAX_IMAGE_PIXELS"),
                warnings.catch_warnings(record=policy == "default"),
            ):
                read(path)


def test_the_limit_is_pillows_own(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.fromarray(gradient()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 40)
    assert read_image(path).size == (40, 24)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 40 - 1)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(DatasetError, match="24x40 is more than the limit of 959 pixels"),
    ):
        read_image(path)


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(gradient()).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_image, [path] * 200))
    assert warnings.filters == before


def label_in(mode: str) -> Image.Image:
    values = np.zeros((24, 40), np.uint8)
    values[4:, 7:] = 2
    if mode == "1":
        return Image.fromarray(values > 0)
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16))
    picture = Image.fromarray(values)
    if mode == "P":
        picture.putpalette([200, 100, 50] * 256)
    return picture


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_labels_of_single_values_keep_them(tmp_path, mode):
    path = tmp_path / "label.png"
    label_in(mode).save(path)
    assert Image.open(path).mode == mode
    label = LabelRule.identity(3).read(path)
    assert label.dtype == np.uint8
    assert label[3, 8] == label[5, 6] == 0
    assert (label[4:, 7:] == (1 if mode == "1" else 2)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_labels_in_colours_are_refused(tmp_path, mode):
    path = tmp_path / ("label.tif" if mode == "CMYK" else "label.png")
    Image.fromarray(gradient()).convert(mode).save(path)
    with pytest.raises(DatasetError, match=rf"label.*has mode {mode}; .*save indices instead"):
        LabelRule.identity(3).read(path)


def test_labels_in_jpeg_are_refused(tmp_path):
    path = tmp_path / "label.jpg"
    label_in("L").save(path)
    with pytest.raises(DatasetError, match="label.jpg is a JPEG, whose compression changes"):
        LabelRule.identity(3).read(path)


def folder_sample(root: Path, classes: str = "ground\ntree\nhouse\n") -> dict[str, str]:
    for name in ("images", "labels"):
        (root / name).mkdir()
    (root / "classes.txt").write_text(classes)
    return {
        "images": str(root / "images"),
        "labels": str(root / "labels"),
        "classes": str(root / "classes.txt"),
    }


def test_labels_of_turned_photographs_must_be_upright(tmp_path):
    options = folder_sample(tmp_path)
    Image.fromarray(gradient()).save(tmp_path / "images/a.jpg", exif=turned(6))
    Image.fromarray(np.zeros((40, 24), np.uint8)).save(tmp_path / "labels/a.png")
    image, label = open_dataset("Folder", **options).read(0)
    assert label is not None
    assert image.shape[:2] == label.shape == (40, 24)
    Image.fromarray(np.zeros((24, 40), np.uint8)).save(tmp_path / "labels/a.png")
    with pytest.raises(DatasetError, match="is 40x24 but label .* is 24x40; an image's EXIF"):
        open_dataset("Folder", **options).read(0)


def test_class_names_that_disagree_with_the_labels(tmp_path):
    options = folder_sample(tmp_path, "ground\ntree\n")
    Image.fromarray(gradient()).save(tmp_path / "images/a.png")
    label_in("L").save(tmp_path / "labels/a.png")
    with pytest.raises(DatasetError, match=r"value 2 .* valid: 0..1, .*\(2 classes of .*txt"):
        open_dataset("Folder", **options).read(0)
    (tmp_path / "classes.txt").write_text("ground\ntree\nground\n")
    with pytest.raises(DatasetError, match="classes.txt names the class 'ground' twice"):
        open_dataset("Folder", **options)


def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path):
    options = folder_sample(tmp_path)
    (tmp_path / "classes.txt").write_text("ground\ntree\nhouse\n", encoding="utf-8-sig")
    Image.fromarray(gradient()).save(tmp_path / "images/a.png")
    label_in("L").save(tmp_path / "labels/a.png")
    assert open_dataset("Folder", **options).class_names == ("ground", "tree", "house")


@pytest.mark.parametrize(
    "line", ["../outside", "/etc/passwd", "a/../../outside", "a.png\t../b.png"]
)
def test_list_lines_that_lead_out_of_the_data_set(tmp_path, line):
    options = folder_sample(tmp_path)
    Image.fromarray(gradient()).save(tmp_path / "images/a.png")
    label_in("L").save(tmp_path / "labels/a.png")
    (tmp_path / "split.txt").write_text(line + "\n")
    with pytest.raises(DatasetError, match="split.txt names .* leads out of the data set"):
        open_dataset("Folder", **options, split=str(tmp_path / "split.txt"))


@pytest.mark.parametrize("name", ["VOC", "PascalContext", "Cityscapes", "Folder"])
def test_a_data_set_is_only_read(name, data_options, tmp_path):
    """From a copy in which nothing may be written, and nothing is."""
    options, copies = {}, {}
    for key, value in data_options[name].items():
        if isinstance(value, str) and Path(value).exists():
            source, copy = Path(value), tmp_path / key
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copy(source, copy)
            copies[key] = copy
            value = str(copy)
        options[key] = value

    def state() -> dict[str, tuple[int, int]]:
        stats = {str(path): path.stat() for path in tmp_path.rglob("*")}
        return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats.items()}

    for path in tmp_path.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state()
    env = gym.make_vec(f"RSS/{name}-ImageReward-v0", num_envs=2, **options)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    check_dataset(name, progress=False, **options)
    assert state() == before
    for path in tmp_path.rglob("*"):
        path.chmod(0o755)
