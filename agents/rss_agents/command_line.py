"""Common parts of the commands: the arguments that name data, and errors without tracebacks."""

from __future__ import annotations

import io
import os
import re
import select
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import tyro

from rss_agents.faults import told
from rss_agents.option_types import expand_paths
from rss_env.datasets import SegmentationDataset, open_dataset
from rss_env.datasets.base import FileDataset
from rss_env.datasets.paths import expanded
from rss_env.errors import DatasetWarning, InputError
from rss_env.printable import printable
from rss_env.registration import parse_environment_id

Config = TypeVar("Config")
# What programs write themselves: tyro's colours, and tqdm's way up to a bar above another.
_COLOURS, _BARS, _NOTHING = (re.compile(p) for p in (r"(\x1b\[[\d;]*m)", r"(\x1b\[A)", "(?!)"))
_UNREAD = 141  # what shells say of a program that a broken pipe has ended: 128 + SIGPIPE


@dataclass(kw_only=True)
class FilesConfig:
    """Files of a data set, and options of reading them."""

    root: str | None = None
    """Folder of the data set; by default $RSS_DATA_ROOT/<Dataset>."""
    images: str | None = None
    """Folder: images, subfolders included."""
    labels: str | None = None
    """Folder: label files of the same names."""
    image_ending: str | None = None
    """Folder: what image names end in and label names do not."""
    label_ending: str | None = None
    """Folder: what label names end in and image names do not, like _mask."""
    classes: str | int | None = None
    """Folder: file with a class a line, `name` or, for masks in colours, `name R G B`; or how many
    classes. PascalContext: 59 or 60."""
    label_values: tuple[str, ...] | None = None
    """Folder: the value in label files of each class, in order, like 0 255; 1,255 for several."""
    void_values: tuple[str, ...] | None = None
    """Folder: values of pixels of no class, like 255 or 0; R,G,B for a colour; none for none."""
    class_order: Literal["official", "alphabetical"] | None = None
    """PascalContext: what the values of label PNGs mean."""

    @property
    def options(self) -> dict[str, Any]:
        """The data set's own arguments that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(FilesConfig)}
        return {name: value for name, value in values.items() if value is not None}

    def folders(self, dataset: SegmentationDataset | None = None) -> set[Path]:
        """The folders that hold the data: those given, and those of a data set's files.

        Raises:
            DatasetError: If a home that is named is not there.
        """
        found = {expanded(path) for path in (self.images, self.labels) if path is not None}
        if isinstance(dataset, FileDataset):
            found |= {path.parent for path in (*dataset.images, *(dataset.labels or ()))}
        return found


@dataclass
class DataConfig(FilesConfig):
    """The data: an environment id, and where its files lie."""

    env: str = "RSS/Shapes-ImageReward-v0"
    """Environment id, RSS/<Dataset>-<PixelReward|ImageReward>-v0."""

    @property
    def dataset_name(self) -> str:
        """The data set of the environment id.

        Raises:
            InputError: If there is no such id.
        """
        return parse_environment_id(self.env)[0]

    def open(self, split: str | None, exclude: str | None = None) -> SegmentationDataset:
        """Open one split of the data, without the images of a list file if one is given.

        Raises:
            InputError: If the id is unknown or the data cannot be used.
        """
        return open_dataset(self.dataset_name, exclude, split=split, **self.options)


def run_command(
    program: str,
    config: Callable[..., Config],
    function: Callable[[Config], Any],
    arguments: list[str] | None,
    *,
    default: Callable[[list[str] | None], Config | None] = lambda _: None,
) -> None:
    """Read a configuration from the command line and act on it.

    Bad input is told in one line on stderr; the process then exits with code 2.

    Args:
        program: Name to show in messages.
        config: The configuration's dataclass, or a union of those of its subcommands.
        function: What to do with it.
        arguments: The command line without the program; None for the process's own.
        default: Says, of the command line, what options are where it names none; None: as usual.
    """
    escape_what_cannot_be_written()
    with errors_in_a_line(program):
        options: dict[str, Any] = {"prog": program, "args": arguments}
        if (known := default(arguments)) is not None:
            options["default"] = known
        with only_printable_output(coloured=True):  # defaults may be of a file
            chosen = tyro.cli(config, **options)
        expand_paths(chosen)
        if sys.stderr.isatty():  # what trains takes seconds to load
            sys.stderr.write(f"{program}: loading ...\n")
        with only_printable_output():
            function(chosen)


def escape_what_cannot_be_written() -> None:
    """Let the standard streams escape what their encoding lacks, instead of failing.

    Names of files and of classes may be in any script, and a console in a code page of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            keeps_bytes = stream.errors == "surrogateescape" and stream.encoding.lower() == "utf-8"
            if not keeps_bytes:
                stream.reconfigure(errors="backslashreplace")


class _PrintableStream:
    """A stream that escapes what would steer a terminal, but for what a program does itself."""

    def __init__(self, stream: Any, keep: str, own: re.Pattern[str]):
        self._stream, self._keep, self._own = stream, keep, own

    def write(self, text: str) -> int:
        parts = self._own.split(text)  # in turn something to look at, and something of its own
        parts[::2] = [printable(part, self._keep) for part in parts[::2]]
        return self._stream.write("".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def only_printable_output(*, coloured: bool = False) -> Iterator[None]:
    """Escape control characters in what the block writes: names of files and classes hold any.

    Args:
        coloured: Whether colours are left as they are.
    """
    own = _COLOURS if coloured else _NOTHING
    with (
        redirect_stdout(cast(Any, _PrintableStream(sys.stdout, "\n\t", own))),
        redirect_stderr(
            cast(Any, _PrintableStream(sys.stderr, "\n\t\r", own if coloured else _BARS))
        ),
    ):
        yield


@contextmanager
def errors_in_a_line(program: str) -> Iterator[None]:
    """End the process with a line on stderr: for bad input (code 2), or an interrupt (130).

    So it ends where the disk is full, memory is short or a file cannot be reached (1): this is the
    one place for whatever commands do not tell themselves.

    Notes on data sets are lines as well. Where nobody reads the output to its end, as with
    `| head`, the process ends without a word, as other programs do (code 141).
    """
    try:
        try:
            with _notes_in_a_line(program):
                yield
        except InputError as error:
            sys.stderr.write(f"{program}: error: {error}\n")
            sys.exit(2)
        except (OSError, MemoryError, RuntimeError, ValueError, OverflowError) as error:
            reason = None if isinstance(error, BrokenPipeError) else told(error)
            if reason is None:
                raise
            sys.stderr.write(f"{program}: error: {reason}\n")
            sys.exit(1)
        except KeyboardInterrupt:
            sys.stderr.write(f"{program}: interrupted\n")
            sys.exit(130)
        finally:
            sys.stdout.flush()  # here rather than at the exit, where nothing is caught
    except BrokenPipeError:
        if not let_go_of_unread_output():
            raise  # another pipe
        sys.exit(_UNREAD)


def let_go_of_unread_output() -> bool:
    """Send what is written from now on nowhere if nobody reads it; False if all is read."""
    unread = False
    for stream in (sys.stdout, sys.stderr):
        ready = select.poll()
        ready.register(stream, select.POLLOUT)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in ready.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            unread = True
    return unread


@contextmanager
def _notes_in_a_line(program: str) -> Iterator[None]:
    """Show what is odd in data sets in a line each on stderr, of several processes by the first."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", DatasetWarning)
        show_others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if not issubclass(category, DatasetWarning):
                show_others(message, category, *place)
            elif str(message) not in told and os.environ.get("RANK", "0") == "0":  # of torchrun
                told.add(str(message))
                sys.stderr.write(f"{program}: note: {printable(str(message))}\n")

        warnings.showwarning = show
        yield


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in columns as wide as they need; numbers, and - for none, to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    lines = [header, *rows]
    widths = [max(len(line[c]) for line in lines) for c in range(len(header))]
    to_right = [
        all(row[c][:1].isdigit() or row[c] == "-" for row in rows) for c in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_right, strict=True)
        ).rstrip()
        for line in lines
    )
