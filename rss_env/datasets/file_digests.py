"""What is in the files of a data set, known by digests that are computed once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from tqdm import tqdm

from rss_env.array_cache import discard, keep_array
from rss_env.datasets.decoding import ByteArray
from rss_env.digests import States, are_settled, file_digest, file_states
from rss_env.errors import DatasetError

_NAME = "file-digests"
_PROGRESS_BAR_FROM = 2000  # files


@dataclass(frozen=True, eq=False)
class FileContents:
    """What is in files, by their digests.

    Attributes:
        files: M paths.
        states: (M, 4) int64, from `file_states`, in which they had the digests.
        digests: (M, 32) uint8, SHA-256 of each.
    """

    files: tuple[Path, ...]
    states: States
    digests: ByteArray

    @classmethod
    def of(cls, files: Sequence[Path], *, anew: bool = False) -> FileContents:
        """Digest files, or find what they had in the same states before.

        A digest is kept with the inode, the size and both times of its file; of files that changed
        a moment ago none is kept, as they may change again without showing it.

        Args:
            files: Their paths.
            anew: Whether all of them are read in any case.

        Raises:
            DatasetError: If one cannot be read, or changes meanwhile.
        """
        try:
            states = file_states(files)
        except OSError as error:
            raise DatasetError(f"cannot read {error.filename}: {error.strerror}") from None
        compute = partial(_digest_all, files, states)
        if not are_settled(states, time.time_ns()):
            return cls(tuple(files), states, compute())
        place = tuple(map(os.path.abspath, files))
        if anew:
            discard(_NAME, place)
        kept = keep_array(
            _NAME,
            place,
            states.tobytes(),
            compute,
            shape=(len(files), sha256().digest_size),
            dtype=np.uint8,
            about=f"{len(files)} files, {files[0]} first",
        )
        return cls(tuple(files), states, kept.values)

    @property
    def digest(self) -> str:
        """A digest of all of them in their order."""
        return sha256(np.ascontiguousarray(self.digests).data).hexdigest()

    def differing(self, other: FileContents) -> list[Path]:
        """Those of the same files that have other content there."""
        rows = (self.digests != other.digests).any(1)
        return [path for path, differs in zip(self.files, rows, strict=True) if differs]

    def refuse_changes(self) -> None:
        """Check that no file has been replaced or written to since.

        Raises:
            DatasetError: Naming the first that has.
        """
        try:
            changed = (file_states(self.files) != self.states).any(1)
        except OSError as error:
            raise _changed(str(error.filename)) from None
        if changed.any():
            raise _changed(str(self.files[int(changed.argmax())]))


def _changed(path: str) -> DatasetError:
    return DatasetError(
        f"{path} was replaced or changed while the data set was read: what was read of it is not "
        "used; begin again when nothing writes to it"
    )


def _digest_all(files: Sequence[Path], states: States) -> ByteArray:
    def digest(path: Path) -> bytes:
        try:
            return file_digest(path)
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror}") from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(digest, files)
        shown = tqdm(done, "digesting files", len(files), disable=len(files) < _PROGRESS_BAR_FROM)
        digests = np.frombuffer(b"".join(shown), np.uint8).reshape(len(files), -1)
    found = FileContents(tuple(files), states, digests)
    found.refuse_changes()
    return found.digests
