"""`config.json`: the options of a run, as its folder has them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from rss_agents.files import write_json
from rss_agents.training.config import TrainConfig
from rss_agents.training.run_files import CONFIG_NAME, ForeignWriteError, is_still


class ConfigFile:
    """Writes the options of a run, and notices if something else does.

    Attributes:
        options: As JSON has them, without those that say how the run is started.
    """

    def __init__(self, config: TrainConfig):
        """Take the options; nothing is written yet."""
        started = {"out": str(config.out), "config": None, "resume": None}
        started |= {"allow_changes": False, "overwrite": False}
        self.options: dict[str, Any] = dataclasses.asdict(config) | started
        self._path: Path = config.out / CONFIG_NAME
        self._digest = b""

    def write(self) -> None:
        """Write them into the folder of the run.

        Raises:
            OSError: If they cannot be written.
        """
        write_json(self._path, self.options)
        self._digest = hashlib.sha256(self._path.read_bytes()).digest()

    def check(self) -> None:
        """Check that the file holds what was written.

        Raises:
            ForeignWriteError: If it does not.
        """
        if not is_still(self._path, self._digest):
            raise ForeignWriteError(self._path)
