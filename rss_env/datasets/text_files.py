"""Text files that people write: lists, class names, tables, in the encodings of their editors."""

from __future__ import annotations

import codecs
from pathlib import Path

from rss_env.datasets.paths import is_file
from rss_env.errors import DatasetError

# A mark at the start tells; that of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_LONGEST_QUOTE = 40  # characters
_ADVICE = "save it as UTF-8 (in an editor: Save as, Encoding; or: iconv -f CP1252 -t UTF-8)"


def read_text(path: Path, what: str = "list") -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Other encodings have no mark, and guessing one would make other names of the same bytes.

    Args:
        path: The file.
        what: What it is, in messages.

    Raises:
        DatasetError: If it is no file, cannot be read, or is in another encoding; the message says
            how to save it.
    """
    if not is_file(path):  # reading a pipe or a device might never end
        raise DatasetError(f"cannot read {what} {path}: there is no such file")
    try:
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise DatasetError(f"cannot read {what} {path}: {error}") from None
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except MemoryError as error:
        raise DatasetError(f"cannot read {what} {path}: {error}") from None
    except UnicodeDecodeError as error:
        start = content.rfind(b"\n", 0, error.start) + 1
        line = content[start:].splitlines()[0].decode("cp1252", "replace").strip()
        raise DatasetError(
            f"cannot read {what} {path}: it is not {encoding.upper()}; line "
            f"{content.count(bytes([10]), 0, error.start) + 1} may read "
            f"{line[:_LONGEST_QUOTE]!r}; {_ADVICE}"
        ) from None
    if "\0" in text:
        raise DatasetError(
            f"cannot read {what} {path}: it holds NUL characters, as UTF-16 without a mark does; "
            f"{_ADVICE}"
        )
    return text


def read_list(path: Path) -> list[str]:
    """Non-empty lines of a split list or a class-name file, stripped.

    Raises:
        DatasetError: See `read_text`.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]
