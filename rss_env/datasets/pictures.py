"""From a picture file to its pixels, upright: one page, whatever its metadata are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import ExifTags, Image

from rss_env.errors import DatasetError

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # no format that starts another program
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG_START = b"\x89PNG\r\n\x1a\n"
# What decides the pixels, which way is up, and how many pictures there are.
_PNG_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf", b"acTL")
_NEW_SUBFILE_TYPE = 254  # of a TIFF page; its bits say that it is a smaller copy or a mask
_SMALLER_OR_MASK = 0b101


def decode_picture(path: Path, role: str) -> tuple[Image.Image, str | None]:
    """The decoded pixels of a file in its own mode, its EXIF orientation applied; and its format.

    Damaged or oversized metadata, which pixels do not need, are passed over.

    Args:
        path: The file.
        role: What it is, in messages.

    Raises:
        DatasetError: If the file is missing, empty, truncated, huge, not an image, or holds more
            than one.
    """
    try:
        if path.stat().st_size == 0:
            raise DatasetError(f"cannot read {role} {path}: the file is empty (0 bytes)")
        try:
            return _read(lambda: Image.open(path, formats=_FORMATS), path, role)
        except (DatasetError, Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise
        # Broken files make Pillow's decoders raise almost anything.
        except Exception:
            bare = _without_metadata(path)
            if bare is None:
                raise
            return _read(lambda: Image.open(bare, formats=_FORMATS), path, role)
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,  # raised where warnings are errors
    ) as error:
        raise DatasetError(
            f"cannot read {role} {path}: {error}; if you trust the file, shrink it or raise "
            "PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except DatasetError:
        raise
    except Exception as error:
        reason = str(error).replace(str(path), path.name) or type(error).__name__
        raise DatasetError(f"cannot read {role} {path}: {reason}") from None


def _read(
    opened: Callable[[], Image.Image], path: Path, role: str
) -> tuple[Image.Image, str | None]:
    with opened() as image:
        # Between one and two limits Pillow only warns, once per process.
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise Image.DecompressionBombError(
                f"{image.height}x{image.width} is more than the limit of {limit} pixels"
            )
        pages = _count_pages(image)
        if pages > 1:
            raise DatasetError(
                f"{role} {path} holds {pages} pages or frames, of which only one would be read; "
                "save each as a file of its own"
            )
        image.load()
        return _upright(image), image.format


def _count_pages(image: Image.Image) -> int:
    """Pictures in the file, without smaller copies and masks of the same one."""
    # Cameras add a preview or a depth map to a JPEG: the first picture is the photograph.
    if image.format not in ("PNG", "WEBP", "TIFF"):
        return 1
    count = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return count
    pages = 0
    for number in range(count):
        image.seek(number)
        tags = getattr(image, "tag_v2", {})
        pages += not int(tags.get(_NEW_SUBFILE_TYPE, 0)) & _SMALLER_OR_MASK
    image.seek(0)
    return pages


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; as it is if that is damaged."""
    try:
        method = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Whatever is wrong with metadata, the pixels are sound.
    except Exception:
        method = None
    return image if method is None else image.transpose(method)


def _without_metadata(path: Path) -> io.BytesIO | None:
    """A PNG with nothing but its picture and a sound orientation; None for other files."""
    content = path.read_bytes()
    if not content.startswith(_PNG_START):
        return None
    kept = [chunk for kind, chunk in _chunks(content) if kind in _PNG_NEEDED]
    return io.BytesIO(b"".join([_PNG_START, *kept]))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG with their kinds; without those that are damaged and can be spared."""
    start = len(_PNG_START)
    while start + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, start)
        end = start + 12 + length
        kind, chunk = content[start + 4 : start + 8], content[start:end]
        can_be_spared = bool(kind[0] & 0x20)  # PNG specification: a small first letter
        if not can_be_spared or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
            yield kind, chunk
        start = end


def read_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture file, upright, from its header if that can be read by itself.

    Raises:
        DatasetError: If it is not a picture that can be used.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # of its metadata, for one
        image, _ = decode_picture(path, "image")
        return image.height, image.width
