"""Annotation files in JSON: read and checked, with a message that names the file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from rss_env.datasets.text_files import read_text
from rss_env.errors import DatasetError

Content = TypeVar("Content")


def read_annotations(kind: type[Content], path: Path, what: str) -> Content:
    """The content of a JSON file.

    Args:
        kind: A dataclass; other entries of the file are ignored.
        path: The file.
        what: What it is to be, in messages.

    Raises:
        DatasetError: If it cannot be read, or holds something else.
    """
    try:
        return TypeAdapter(kind).validate_json(read_text(path, what))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DatasetError(
            f"{path} is no {what}: {place and f'{place}: '}{first['msg']:.300} "
            f"({error.error_count()} fault(s))"
        ) from None


def sample_name(file_name: str, where: str) -> str:
    """The path of an image without its suffix, with slashes, from how a tool names its file.

    Raises:
        DatasetError: If it is empty or leads out of the folder of images.
    """
    path = PurePosixPath(PureWindowsPath(file_name).as_posix())
    if PureWindowsPath(file_name).is_absolute() or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where} names the image {file_name!r:.300}, which leads elsewhere")
    if not path.name or "\0" in file_name:
        raise DatasetError(f"{where} names the image {file_name!r:.300}, which is no file's name")
    return path.with_suffix("").as_posix()
