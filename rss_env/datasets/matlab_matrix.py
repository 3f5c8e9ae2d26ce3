"""Integer matrices in MATLAB files of version 5, read strictly.

Files come from anywhere, and SciPy's reader, which knows every kind of content, follows sizes that
a broken file states out of its memory (a segmentation fault). Labels need one kind: real matrices
of integers, as `save` writes them, compressed or not.

Source: "MAT-File Format", The MathWorks, level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

_HEADER = 128
_MOST_BYTES = 2**28  # of a file or a variable: a matrix of 16384 x 8192 values of 16 bits
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
# Types that values are stored as, and those of arrays of integers.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}
_CLASSES = {8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
_COMPLEX = 0x800


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The type and the content of each element of a file or of a matrix.

    Raises:
        ValueError: If one does not fit what there is.
    """
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise ValueError("it ends within the tag of an element")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:  # a small element: its size is in the upper half, its content in the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            place += 8
        else:
            padding = 0 if kind == _COMPRESSED else -size % 8
            place = start + size + padding
        if start + size > len(data):
            raise ValueError("an element is larger than what it is in")
        yield kind, data[start : start + size]


def _inflate(data: bytes) -> bytes:
    reader = zlib.decompressobj()
    content = reader.decompress(data, _MOST_BYTES)
    if not reader.eof:
        raise ValueError(f"a variable does not end within {_MOST_BYTES} bytes")
    return content


def _matrix(data: bytes, order: str, name: str) -> npt.NDArray[np.int64] | None:
    """The integers of a matrix; None if it has another name."""
    parts = list(_elements(data, order))
    if [kind for kind, _ in parts[:3]] != [_UINT32, _INT32, _INT8] or len(parts[0][1]) < 4:
        raise ValueError("a variable without flags, shape and name")
    if parts[2][1] != name.encode():
        return None
    (flags,) = struct.unpack_from(f"{order}I", parts[0][1])
    shape = np.frombuffer(parts[1][1], f"{order}i4")
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX or len(shape) != 2 or len(parts) != 4:
        raise ValueError(f"{name} is not a matrix of integers")
    kind, content = parts[3]
    if kind not in _STORED:
        raise ValueError(f"{name} is stored as type {kind}, which is none of integers")
    values = np.frombuffer(content, f"{order}{_STORED[kind]}")
    if (shape < 0).any() or int(shape[0]) * int(shape[1]) != len(values):
        raise ValueError(f"{name} has {len(values)} values, not {shape.tolist()}")
    # MATLAB stores columns one after another.
    return values.reshape(int(shape[0]), int(shape[1]), order="F").astype(np.int64)


def read_matrix(path: Path, name: str) -> npt.NDArray[np.int64]:
    """An integer matrix of a file, (rows, columns).

    Args:
        path: A MATLAB file of version 5 (up to MATLAB 7; not 7.3, which is HDF5).
        name: Of the variable.

    Raises:
        KeyError: If the file has no variable of that name.
        ValueError: If it is not such a file, or the variable is not an integer matrix.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    orders = {b"IM": "<", b"MI": ">"}
    if not _HEADER < len(data) <= _MOST_BYTES or data[126:128] not in orders:
        raise ValueError("not a MATLAB file of version 5")
    order = orders[data[126:128]]
    for kind, content in _elements(data[_HEADER:], order):
        inside = [(kind, content)]
        if kind == _COMPRESSED:
            try:
                inside = list(_elements(_inflate(content), order))
            except zlib.error as error:
                raise ValueError(str(error)) from None
        for own_kind, own in inside:
            found = _matrix(own, order, name) if own_kind == _MATRIX else None
            if found is not None:
                return found
    raise KeyError(name)
