"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError
from safetensors.torch import save_file


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its name, make sure that it is on the disk, and move it into place.

    Args:
        path: The file; what was there stays until the new one is whole.
        write: Writes it at the path it is given.

    Raises:
        OSError: If it cannot be written; what was written of it is gone.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a link there would be followed
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one move.

    Raises:
        OSError: If it cannot be written.
    """
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one move.

    Raises:
        OSError: If it cannot be written.
    """
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def new_lines(path: Path, position: int) -> tuple[list[bytes], int]:
    """The lines that a file has behind a position, but for one that is being written.

    Returns:
        The lines without their ends, and the position behind them; nothing new if there is no file.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(position)
            found = file.read()
    except FileNotFoundError:
        return [], position
    end = found.rfind(b"\n") + 1
    return found[:end].splitlines(), position + end


def write_picture(path: Path, picture: Image.Image, text: Mapping[str, str] | None = None) -> None:
    """Write a PNG in one move; a link in its place is replaced, not followed.

    Args:
        path: The file.
        picture: Its pixels.
        text: Texts to keep in the file, by keyword.

    Raises:
        OSError: If it cannot be written.
    """
    info = PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    replace_file(path, lambda temporary: picture.save(temporary, "PNG", pnginfo=info))


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    """Write a safetensors file in one move.

    Raises:
        OSError: If it cannot be written.
    """
    on_cpu = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(on_cpu, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from None

    replace_file(path, write)
