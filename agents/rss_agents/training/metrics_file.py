"""`metrics.jsonl`: a row an update that is logged, of one run and of nobody else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rss_agents.files import write_bytes
from rss_agents.training.run_files import METRICS_NAME, ForeignWriteError, is_still
from rss_env.errors import InputError, warn_of
from rss_env.regular_files import open_regular, open_to_append

Row = dict[str, float]


class MetricsFile:
    """Appends rows, and notices if the file holds anything else.

    Attributes:
        rows: All so far.
    """

    def __init__(self, folder: Path, saved: Mapping[str, Any] | None = None):
        """Start the file in an existing folder, or go on with it.

        Args:
            folder: Of the run.
            saved: What `get_state` said, to go on from there: what is behind it is forgotten.

        Raises:
            InputError: If the file is not the one that the state is of.
        """
        self._path = folder / METRICS_NAME
        content = b""
        if saved is not None:
            content, found = _content_of(self._path, saved, "")
            if found[: len(content)] != content:
                warn_of(f"{self._path}: its last line was torn, and is put back as it was")
            elif found[len(content) :].rpartition(b"\n")[2]:
                warn_of(f"{self._path}: its last line was torn, and is cut off")
        write_bytes(self._path, content)  # another name of the old file keeps its lines
        self.rows: list[Row] = [json.loads(line) for line in content.splitlines()]
        self._size, self._digest = len(content), hashlib.sha256(content)
        self._last_row = content.splitlines(keepends=True)[-1] if content else b""
        self._file = open_to_append(self._path)

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            OSError: If it cannot be written.
        """
        self.rows.append(row)
        line = (json.dumps(row) + "\n").encode()
        written = 0
        while written < len(line):  # a full disk may take a part, and then none
            written += os.write(self._file.fileno(), line[written:])
        self._size, self._last_row = self._size + len(line), line
        self._digest.update(line)

    def get_state(self) -> dict[str, Any]:
        """What tells this file from others, all of it on the disk now.

        Raises:
            ForeignWriteError: If something else has written to it.
            OSError: If it cannot be put on the disk.
        """
        os.fsync(self._file.fileno())
        self.check()
        return {
            "position": self._size,
            "metrics_digest": self._digest.hexdigest(),
            "last_row": self._last_row.decode(),
        }

    def check(self) -> None:
        """Check that the file holds the rows and nothing else.

        Raises:
            ForeignWriteError: If it does not.
        """
        if not is_still(self._path, self._digest.digest()):
            raise ForeignWriteError(self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_metrics(folder: Path, saved: Mapping[str, Any], advice: str) -> None:
    """Check that a run's metrics are those of a state of `MetricsFile.get_state`.

    Args:
        folder: Of the run.
        saved: The state.
        advice: What can be done otherwise.

    Raises:
        InputError: If they are not; it names the file, and the line if one is damaged.
    """
    _content_of(folder / METRICS_NAME, saved, f"; {advice}")


def _content_of(path: Path, saved: Mapping[str, Any], advice: str) -> tuple[bytes, bytes]:
    """The content that a state was saved with, and that of the file.

    The first is what the file begins with, but for a torn last line, which the state knows.

    Raises:
        InputError: If the file does not begin with it.
    """
    position: int = saved["position"]
    try:
        with open_regular(path) as file:
            found = file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be continued: {error.strerror or error}{advice}") from None
    content = found[:position]
    if "metrics_digest" in saved:  # otherwise an earlier version has saved it
        last_row = saved["last_row"].encode()
        content = content[: position - len(last_row)] + last_row
        if hashlib.sha256(content).hexdigest() == saved["metrics_digest"]:
            return content, found
    damage = _damage_of(found[:position])
    if damage is None and len(found) < position:
        damage = (
            f"it has {len(found)} of the {position} bytes that were there when the training state "
            "was saved"
        )
    if damage is None and "metrics_digest" in saved:
        damage = "it is another run's, or was changed since the training state was saved"
    if damage is not None:
        raise InputError(f"{path} cannot be continued: {damage}{advice}")
    return content, found


def _damage_of(content: bytes) -> str | None:
    """Which line is no row of metrics, if any."""
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or "update" not in row:
            return f"line {number} is damaged: {line.decode(errors='replace')!r:.100}"
    return None
