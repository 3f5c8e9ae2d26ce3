"""Files of each kind, written in one move, and what has been added to one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    import torch

from rss_env.whole_files import replace_file


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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    on_cpu = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(on_cpu, temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from None

    replace_file(path, write)
