"""Picture files: one picture each, and sound pixels whatever the metadata are."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from rss_env.datasets.decoding import LabelRule, read_image
from rss_env.errors import DatasetError

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
XMP = b"XML:com.adobe.xmp\0\1\0\0\0"
ORIENTATION = 0x0112


def png(exif: Image.Exif | None = None, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "PNG", **({"exif": exif} if exif else {}))
    return file.getvalue()


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def with_chunk(content: bytes, extra: bytes) -> bytes:
    """The PNG with a chunk behind its header."""
    return content[:33] + extra + content[33:]


ODD_CHUNKS = {
    "malformed EXIF": chunk(b"eXIf", b"garbage"),
    "3 MB of XMP": chunk(b"iTXt", XMP + zlib.compress(b"x" * 3_000_000)),
    "3 MB of text": chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3_000_000)),
    "3 MB of colour profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 3_000_000)),
    "unknown compression": chunk(b"zTXt", b"a\0\7text"),
    "short density": chunk(b"pHYs", b"\0\0"),
    "short gamma": chunk(b"gAMA", b"\0\0"),
    "wrong checksum": chunk(b"tEXt", b"a\0b", 0),
}


@pytest.mark.parametrize("odd", ODD_CHUNKS)
def test_odd_metadata_leave_pixels_as_they_are(tmp_path, odd):
    path = tmp_path / "photo.png"
    path.write_bytes(with_chunk(png(), ODD_CHUNKS[odd]))
    np.testing.assert_array_equal(np.array(read_image(path)), PIXELS)
    path.write_bytes(with_chunk(png(mode="P"), ODD_CHUNKS[odd]))
    expected = np.array(Image.open(io.BytesIO(png(mode="P"))))
    np.testing.assert_array_equal(LabelRule.identity(255).read(path), expected)


def test_a_sound_orientation_is_applied_beside_odd_metadata(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / "photo.png"
    path.write_bytes(with_chunk(png(exif), ODD_CHUNKS["3 MB of XMP"]))
    np.testing.assert_array_equal(np.array(read_image(path)), np.rot90(PIXELS, -1))


def test_damaged_pixels_are_still_refused(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(with_chunk(png(), ODD_CHUNKS["3 MB of XMP"])[:-200])
    with pytest.raises(DatasetError, match=r"cannot read image .*photo.png: "):
        read_image(path)


def test_malformed_exif_in_jpeg_and_webp(tmp_path):
    for name in ("photo.jpg", "photo.webp"):
        path = tmp_path / name
        Image.fromarray(PIXELS).save(path)
        expected = np.array(Image.open(path).convert("RGB"))
        Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0garbage")
        np.testing.assert_array_equal(np.array(read_image(path)), expected)


def pages(path: Path, count: int, mode: str) -> None:
    first, *others = [Image.fromarray(PIXELS + number).convert(mode) for number in range(count)]
    first.save(path, save_all=True, append_images=others, lossless=True)


@pytest.mark.parametrize("name", ["scan.tif", "moving.png", "moving.webp"])
def test_files_of_several_pictures_are_refused(tmp_path, name):
    path = tmp_path / name
    pages(path, 3, "RGB")
    with pytest.raises(DatasetError, match=rf"image .*{name} holds 3 pages or frames"):
        read_image(path)
    pages(path, 1, "RGB")
    np.testing.assert_array_equal(np.array(read_image(path)), PIXELS)


def test_labels_of_several_pages_are_refused(tmp_path):
    path = tmp_path / "labels.tif"
    pages(path, 2, "L")
    with pytest.raises(DatasetError, match=r"label .*labels.tif holds 2 pages or frames"):
        LabelRule.identity(255).read(path)


def test_smaller_copies_and_masks_are_no_pages(tmp_path):
    """Tiled TIFFs hold their picture in several sizes."""
    path = tmp_path / "map.tif"
    whole, smaller = Image.fromarray(PIXELS), Image.fromarray(PIXELS[::2, ::2])
    information = TiffImagePlugin.ImageFileDirectory_v2()
    information[254] = 1
    smaller.encoderinfo = {"tiffinfo": information}
    whole.save(path, save_all=True, append_images=[smaller])
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
    np.testing.assert_array_equal(np.array(read_image(path)), PIXELS)


def test_the_photograph_of_a_camera_is_its_first_picture(tmp_path):
    """Telephones store a preview or a depth map in the same JPEG."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(PIXELS).save(path, "MPO", save_all=True, append_images=[Image.new("L", (4, 4))])
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 2
        expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(np.array(read_image(path)), expected)
