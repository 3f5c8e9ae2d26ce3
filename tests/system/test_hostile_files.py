"""Image, label and cache files from anywhere: read, or refused with one clear error."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_labels, write_sample
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from fuzzing import GIBIBYTE, Planted, fuzz, harmless, memory_limit, mutated, refused
from rss_env.array_cache import keep_array
from rss_env.cache_files import list_cache
from rss_env.datasets import open_dataset
from rss_env.datasets.decoding import LabelRule, read_image
from rss_env.datasets.image_files import IMAGE_SUFFIXES
from rss_env.datasets.pascal_context import _MatlabRule
from rss_env.scenes import Scenes

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with memory_limit():
        yield


def picture(mode: str, file_format: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 3, (12, 20, 3)).astype(np.uint8)
    file = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16)).save(file, file_format)
    else:
        Image.fromarray(pixels).convert(mode).save(file, file_format, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


VALID = [
    *(picture(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    picture("P", "PNG", transparency=1),
    picture("RGB", "PNG", exif=turned()),
    *(picture(mode, "JPEG") for mode in ("L", "RGB", "CMYK")),
    picture("RGB", "JPEG", progressive=True, exif=turned()),
    *(picture(mode, "BMP") for mode in ("1", "L", "P", "RGB")),
    picture("RGB", "WEBP"),
    picture("RGBA", "WEBP", lossless=True, exif=turned()),
    *(
        picture("RGB", "TIFF", compression=c)
        for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    ),
    *(picture(mode, "TIFF") for mode in ("1", "L", "P", "I;16", "F", "CMYK")),
]  # fmt: skip
MAGIC = [b"", *(file[:16] for file in VALID)]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


sides = st.sampled_from([0, 1, 2, 3, 40, 4096, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
few = st.integers(0, 17) | st.integers(0, 255)


@st.composite
def png_files(draw: st.DrawFn) -> bytes:
    """A PNG with valid checksums, whatever it claims."""
    header = struct.pack(">II", draw(sides), draw(sides)) + bytes(draw(few) for _ in range(5))
    pixels = zlib.compress(draw(st.binary(max_size=64)) * draw(st.sampled_from([1, 100, 10_000])))
    kinds = st.sampled_from(
        [b"PLTE", b"tRNS", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"IDAT", b"iCCP"]
    )
    extra = draw(st.lists(st.tuples(kinds, st.binary(max_size=40)), max_size=4))
    between = b"".join(chunk(kind, data) for kind, data in extra)
    return b"".join(
        [VALID[0][:8], chunk(b"IHDR", header), between, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


files = (
    st.builds(bytes.__add__, st.sampled_from(MAGIC), st.binary(max_size=300))
    | mutated(VALID)
    | mutated(VALID)
    | png_files()
)


@pytest.mark.parametrize("role", ["image", "label"])
def test_hostile_pictures(tmp_path, monkeypatch, tally, role):
    """What is read has the right type and no illegal class; what is not is named in the error."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2**20)
    rule, outcomes = LabelRule.identity(3), {"read": 0, "refused": 0}

    @fuzz(tally, f"{role} files tried", 300, files, st.sampled_from(IMAGE_SUFFIXES))
    def _(content: bytes, suffix: str) -> None:
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(content)

        def read() -> None:
            if role == "image":
                image = read_image(path)
                assert image.mode == "RGB"
                assert np.array(image).nbytes <= 3 * 2**20
            else:
                label = rule.read(path)
                assert label.dtype == np.uint8
                assert set(np.unique(label)) <= {0, 1, 2, 255}

        with harmless():
            message = refused(read)
        assert message is None or path.name in message
        outcomes["read" if message is None else "refused"] += 1

    assert min(outcomes.values()) > 2, outcomes  # both kinds are among them


def test_hostile_matlab_labels(tmp_path, tally):
    table = np.array([255, 0, 1, 2], np.int16)
    rule, path = _MatlabRule(table), tmp_path / "label.mat"
    originals = []
    for compressed in (False, True):
        savemat(path, {"LabelMap": np.eye(9, dtype=np.uint8)}, do_compression=compressed)
        originals.append(path.read_bytes())
        savemat(path, {"LabelMap": np.array([{"a": 1}, "b"], object)}, do_compression=compressed)
        originals.append(path.read_bytes())
    assert refused(partial(rule.read, path))

    @fuzz(tally, "label files tried", 150, mutated(originals) | st.binary(max_size=300))
    def _(content: bytes) -> None:
        path.write_bytes(content)
        found: list[np.ndarray] = []
        with harmless():
            message = refused(lambda: found.append(rule.read(path)))
        assert message is not None or set(np.unique(found[0])) <= {0, 1, 2, 255}


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return zlib.compress(bytes(400_000_000), 9)


@pytest.mark.parametrize("bomb", ["text", "colour profile", "pixels", "rows"])
def test_compressed_bombs_cost_no_memory(tmp_path, zeros, bomb):
    """Few bytes that unfold to hundreds of megabytes, in places no image size bounds."""
    start = VALID[0][:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(20)))
    parts = {
        "text": [start, chunk(b"zTXt", b"a\0\0" + zeros), pixels],
        "colour profile": [start, chunk(b"iCCP", b"a\0\0" + zeros), pixels],
        "pixels": [start, chunk(b"IDAT", zeros)],
        "rows": [VALID[0][:8], chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2**31 - 1, 8, 0, 0, 0, 0)),
                 chunk(b"IDAT", zeros)],
    }  # fmt: skip
    path = tmp_path / "bomb.png"
    path.write_bytes(b"".join([*parts[bomb], chunk(b"IEND", b"")]))
    with memory_limit(GIBIBYTE // 4):
        for read in (read_image, LabelRule.identity(3).read):
            message = refused(partial(read, path))
            assert message is None or "bomb.png" in message


# --- the cache of decoded data sets ---


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_with_header(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


NUMBERS = np.arange(12, dtype=np.int16).reshape(3, 4)
HEADERS = [
    b"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 99999999999999999999)}\n",
    b"{'descr': '<i2', 'fortran_order': False, 'shape': (-3, 4)}\n",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 4)}\n",
    b"{'descr': '<i2', 'fortran_order': False, 'shape': (1000000, 1000000)}\n",
    b"(" * 9000,
    b"__import__('os').abort()",
    b"{'descr': " + b"[" * 5000 + b"]" * 5000,
    b"1" * 9000,
]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ask(value: np.ndarray = NUMBERS, name: str = "numbers") -> np.ndarray:
    kept = keep_array(name, "here", "now", value.copy, shape=value.shape, dtype=value.dtype)
    return kept.values


def test_hostile_cache_files(cache, tally):
    """A cache file that is not what was written is computed again, whatever it is instead."""
    ask()
    (file,) = cache.glob("*.npy")
    zipped = io.BytesIO()
    np.savez(zipped, numbers=NUMBERS)
    others = [npy(NUMBERS.astype(np.int32)), npy(NUMBERS.T.copy()), npy(NUMBERS[:0])]
    headers = st.sampled_from([npy_with_header(header) for header in HEADERS])
    damaged = mutated([npy(NUMBERS)]) | mutated([zipped.getvalue()]) | st.binary(max_size=200)
    data_pickle = st.just(npy(np.array([Planted(cache / "planted"), None])))
    pickles = st.just(pickle.dumps(Planted(cache / "planted"))) | data_pickle

    @fuzz(tally, "cache files tried", 150, damaged | headers | pickles | st.sampled_from(others))
    def _(content: bytes) -> None:
        file.unlink()  # whoever maps the file keeps it
        file.write_bytes(content)
        with warnings.catch_warnings(), harmless(cache):
            warnings.filterwarnings("ignore", "cache file .* is damaged")
            found = ask()
        assert (found.shape, found.dtype) == (NUMBERS.shape, NUMBERS.dtype)
        np.testing.assert_array_equal(found, NUMBERS)
        assert not (cache / "planted").exists()


def test_hostile_notes_of_cache_files(cache, tally):
    """What lies beside a cache file is of no harm either; a file without its note is not used."""
    ask()
    (note,) = cache.glob("*.json")
    content, others = (
        note.read_bytes(),
        [b'{"seen": 1e999}', b"[" * 9000, b"null", b"1", b'{"a": 1}'],
    )

    @fuzz(tally, "cache files tried", 50, mutated([content]) | st.sampled_from(others))
    def _(damaged: bytes) -> None:
        note.write_bytes(damaged)
        with warnings.catch_warnings(), harmless(cache):
            warnings.filterwarnings("ignore", "cache file .* is damaged")
            np.testing.assert_array_equal(ask(), NUMBERS)
            assert len(list_cache(cache)) == 1


def test_a_name_does_not_lead_out_of_the_cache(cache, tmp_path):
    with harmless(cache):
        for name in ("../../outside", "/outside", "a/b", "..", "\0"):
            assert refused(partial(ask, name=name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["shape", "type", "zip"])
def test_scenes_survive_a_foreign_cache(cache, tmp_path, kind):
    for i in range(3):
        label = tmp_path / "labels" / f"{i}.png"
        write_sample(tmp_path / "images" / f"{i}.png", label, random_labels(i, [0, 1, 2]), i)
    options = {"images": str(tmp_path / "images"), "labels": str(tmp_path / "labels")}

    def load() -> list[torch.Tensor]:
        scenes = Scenes(open_dataset("Folder", **options, classes=3), (16, 24), torch.device("cpu"))
        return [scenes.images, scenes.label_table(8), scenes.label_table(1)]

    expected = [part.clone() for part in load()]
    for file in list(cache.glob("*.npy")):
        array = np.load(file)
        file.unlink()
        with file.open("wb") as stream:
            if kind == "zip":
                np.savez(stream, array)
            else:
                np.save(stream, array[1:] if kind == "shape" else array.astype(np.float32))
    with pytest.warns(UserWarning, match="is damaged and computed again"):
        found = load()
    for part, right in zip(found, expected, strict=True):
        torch.testing.assert_close(part, right, rtol=0, atol=0)
