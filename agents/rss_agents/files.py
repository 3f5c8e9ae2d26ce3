"""Files of each kind, written in one move and read if they are whole; what was added to one."""

from __future__ import annotations

import errno
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    import torch

from rss_env.errors import InputError
from rss_env.regular_files import open_regular
from rss_env.whole_files import replace_file

_MOST = 2**24  # bytes that are read at a time, and of a line
_DIGEST = "digest"  # the entry of a safetensors file's metadata


class DamagedError(InputError):
    """A file is not what was written."""


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
    """The next lines that a file has behind a position, but for one that is being written.

    Returns:
        The lines without their ends, at most 16 MiB of them, and the position behind them; nothing
        new if there is no file.

    Raises:
        OSError: If it cannot be read, is a link or no regular file, or has a line of 16 MiB.
    """
    try:
        with open_regular(path) as file:
            file.seek(position)
            found = file.read(_MOST)
    except FileNotFoundError:
        return [], position
    end = found.rfind(b"\n") + 1
    if not end and len(found) == _MOST:
        raise OSError(errno.EFBIG, f"it has a line of more than {_MOST} bytes", str(path))
    return found[:end].split(b"\n")[:-1], position + end


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
    content = io.BytesIO()  # Pillow does not say why a disk takes no more
    picture.save(content, "PNG", pnginfo=info)
    write_bytes(path, content.getvalue())


def digest_of(tensors: Mapping[str, torch.Tensor], text: str) -> str:
    """SHA-256 of a text and of tensors on the CPU: their names, shapes, types and bytes."""
    import torch

    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file in one move, with a digest of its content in its metadata.

    Args:
        path: The file.
        tensors: By name.
        metadata: Texts to keep in the file; one that is called `digest` is kept as it is.

    Raises:
        OSError: If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    on_cpu = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    texts = dict(metadata)
    texts.setdefault(_DIGEST, digest_of(on_cpu, _as_text(metadata)))

    def write(temporary: Path) -> None:
        try:
            save_file(on_cpu, temporary, texts)
            _sort_metadata(temporary)
        except SafetensorError as error:
            raise OSError(str(error)) from None

    replace_file(path, write)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file, on the CPU, and its metadata without the digest.

    A file without a digest, of other programs and of versions before there were any, is believed.

    Raises:
        InputError: If it is not what was written.
        SafetensorError: If it is no file of that kind.
        OSError: If it cannot be read.
    """
    from safetensors import safe_open

    open_regular(path, follow_links=True).close()  # a pipe would be waited for
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    digest = metadata.pop(_DIGEST, None)
    if digest is not None and digest != digest_of(tensors, _as_text(metadata)):
        raise DamagedError(
            f"{path} is damaged: its content does not have the digest that was written with it; "
            "use another copy of it"
        )
    return tensors, metadata


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order: the library's is another each time."""
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def _as_text(metadata: Mapping[str, str]) -> str:
    return json.dumps(dict(metadata), sort_keys=True)
