"""Questions to a person, and the ratings given: files in a folder, and nothing else.

A program that wants maps rated writes a question; a page shows it and appends what is answered to
`ratings.jsonl`. Either can be stopped at any moment: no rating is lost, and none is asked for
twice, since it belongs to the pixels of an image and of a map, not to a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from rss_agents.files import DamagedError, new_lines, read_tensors, write_json, write_tensors
from rss_agents.outputs import refuse_links
from rss_agents.ratings.names import RATINGS_NAME
from rss_env.errors import InputError
from rss_env.regular_files import open_regular, open_to_append

_OPEN_NAME, _QUESTIONS_NAME, _LOCK_NAME = "open.json", "questions", ".ratings.lock"
_QUESTION = re.compile(r"[0-9a-f]{32}")
# What reading a file that is none raises.
_NO_QUESTION = (
    *(SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError, OverflowError),
)
_PATIENCE = 10.0  # seconds for another page to write
_LONGEST = 2**16  # bytes of a line, and of what says which question is open

ByteArray = npt.NDArray[np.uint8]


class RatedMeanwhileError(InputError):
    """Somebody else has rated a map since it was shown."""


@dataclass(frozen=True)
class Rating:
    """Stars for one map: a line of `ratings.jsonl`.

    Of two maps that were compared, the better one has one star of one, and the other none.

    Attributes:
        image: Digest of the image's pixels.
        action_map: Digest of the map's cells, painted onto the pixels; empty in a line that says
            of the image that its maps are good enough, and no more are to be compared.
        stars: 0..out_of.
        out_of: Most stars there are.
        question: Name of the question, whose file holds image and map.
        time: When it was given, UTC, ISO 8601.
    """

    image: str
    action_map: str
    stars: int
    out_of: int
    question: str
    time: str

    @property
    def key(self) -> tuple[str, str]:
        """The digests of image and map, which say what was rated."""
        return self.image, self.action_map

    @property
    def score(self) -> float:
        """The stars as a share of all there are, 0..1."""
        return self.stars / self.out_of


_RATING = TypeAdapter(Rating)


@dataclass(frozen=True)
class Question:
    """Maps to be rated, or compared.

    Attributes:
        images: (G, H, W, 3) uint8.
        action_maps: (G, K, H, W) uint8, K maps of each image, painted onto the pixels.
        stars: Most stars that can be given.
        class_names: Of the classes, C; may be empty.
        palette: (C, 3) uint8, their colours.
        pairs: Whether neighbouring maps along K are compared, instead of given stars.
    """

    images: ByteArray
    action_maps: ByteArray
    stars: int
    class_names: tuple[str, ...]
    palette: ByteArray
    pairs: bool = False

    @cached_property
    def name(self) -> str:
        """The same for the same images and maps."""
        return _digest(self.images, self.action_maps)

    @cached_property
    def _keys(self) -> list[list[tuple[str, str]]]:
        return keys_of(self.images, self.action_maps)

    def keys(self) -> list[list[tuple[str, str]]]:
        """The keys of the maps (G, K) in ratings."""
        return self._keys


def _digest(*arrays: ByteArray) -> str:
    """SHA-256 of shapes and bytes, its first 128 bits."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr(array.shape).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:32]


def keys_of(images: ByteArray, action_maps: ByteArray) -> list[list[tuple[str, str]]]:
    """The keys (G, K) in ratings of maps (G, K, H, W) of images (G, H, W, 3)."""
    return [
        [(image, _digest(action_map)) for action_map in group]
        for image, group in zip(map(_digest, images), action_maps, strict=True)
    ]


class RatingBook:
    """A folder of questions and ratings; several processes may read it, and one page appends."""

    def __init__(self, folder: Path | str):
        """Bind a folder, which need not be there yet."""
        self.folder = Path(folder)
        self._scores: dict[tuple[str, str], float] = {}
        self._read_to, self._lines = 0, 0

    @property
    def path(self) -> Path:
        """The file of ratings."""
        return self.folder / RATINGS_NAME

    def scores(self) -> Mapping[tuple[str, str], float]:
        """The score in 0..1 of everything rated so far; the last one counts.

        Raises:
            InputError: If the file cannot be read, or a line is no rating.
        """
        while (found := self._new_lines())[0]:
            lines, end = found
            for number, line in enumerate(lines, self._lines + 1):
                if (rating := self._read_line(line.strip(), number)) is not None:
                    self._scores[rating.key] = rating.score
            self._read_to, self._lines = end, self._lines + len(lines)
        return self._scores

    def _new_lines(self) -> tuple[list[bytes], int]:
        try:
            return new_lines(self.path, self._read_to)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from None

    @property
    def count(self) -> int:
        """Number of different maps that have been rated."""
        return sum(action_map != "" for _, action_map in self.scores())

    def _read_line(self, line: bytes, number: int) -> Rating | None:
        """A rating; None if the line was torn by a power cut and was never confirmed."""
        try:
            if not line.startswith(b"{") or not line.endswith(b"}"):
                if line.startswith(b"{") or not line.strip():
                    return None
                raise ValueError("it is no JSON object")
            rating = _RATING.validate_json(line, strict=True)
            if not 0 <= rating.stars <= rating.out_of or rating.out_of < 1:
                raise ValueError(f"{rating.stars} of {rating.out_of} stars")
        except (ValueError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.path}, line {number} is no rating: {reason}") from None
        return rating

    def add(
        self, question: Question, stars: Mapping[tuple[int, int], int], *, again: bool = True
    ) -> list[Rating]:
        """Append ratings of some of a question's maps, and return when they are on the disk.

        Args:
            question: What was asked.
            stars: By image g and map k of the question.
            again: Whether maps that have been rated may be rated once more.

        Raises:
            InputError: If there are more stars than can be given, or fewer than none, or a file in
                the folder is a link.
            RatedMeanwhileError: If one has been rated and may not be again; nothing is written.
            OSError: If they cannot be written.
        """
        keys, now = question.keys(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        ratings = []
        for (g, k), number in stars.items():
            if not 0 <= number <= question.stars:
                raise InputError(f"stars must be in 0..{question.stars}, got {number}")
            ratings.append(Rating(*keys[g][k], number, question.stars, question.name, now))
        self._append(ratings, again=again)
        return ratings

    def add_good_enough(self, question: Question, g: int) -> Rating:
        """Append that image g of a question needs no more comparisons; see `Rating.action_map`.

        Raises:
            OSError: If it cannot be written.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        rating = Rating(question.keys()[g][0][0], "", 1, 1, question.name, now)
        self._append([rating], again=True)
        return rating

    def _append(self, ratings: Sequence[Rating], *, again: bool) -> None:
        """Write lines, and return when they are on the disk; one process after the other."""
        refuse_links(self.folder, (RATINGS_NAME, _LOCK_NAME))
        text = "".join(json.dumps(asdict(rating)) + "\n" for rating in ratings)
        with FileLock(self.folder / _LOCK_NAME, timeout=_PATIENCE):
            if not again and any(is_rated(rating.key, self.scores()) for rating in ratings):
                raise RatedMeanwhileError("a map has been rated meanwhile")
            with open_to_append(self.path) as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    text = "\n" * (file.read(1) != b"\n") + text  # behind a line that was torn
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())

    def ask(self, question: Question) -> None:
        """Open a question; the one that was open before is closed.

        Raises:
            InputError: If a file or a folder in the folder is a link.
            OSError: If it cannot be written.
        """
        refuse_links(self.folder, (_OPEN_NAME, _QUESTIONS_NAME))
        questions = self.folder / _QUESTIONS_NAME
        questions.mkdir(parents=True, exist_ok=True)
        tensors = {
            "images": torch.from_numpy(question.images),
            "action_maps": torch.from_numpy(question.action_maps),
        }
        about = {
            "stars": question.stars,
            "class_names": question.class_names,
            "palette": question.palette.tolist(),
            "pairs": question.pairs,
        }
        path = questions / f"{question.name}.safetensors"
        if not path.exists():
            write_tensors(path, tensors, {"description": json.dumps(about)})
        write_json(self.folder / _OPEN_NAME, {"question": question.name})

    def close(self) -> None:
        """Say that nothing is asked any more."""
        (self.folder / _OPEN_NAME).unlink(missing_ok=True)

    def open_question(self) -> str | None:
        """The name of what is being asked; None if nothing is.

        Raises:
            InputError: If what says so is no file of ours.
        """
        path = self.folder / _OPEN_NAME
        try:
            with open_regular(path) as file:
                name = json.loads(file.read(_LONGEST))["question"]
            if not isinstance(name, str) or not _QUESTION.fullmatch(name):
                raise ValueError("no name of a question")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path} does not say what is asked: {error}") from None
        return name

    def question_names(self) -> list[str]:
        """Names of all questions that were asked, in order of their names."""
        files = (self.folder / _QUESTIONS_NAME).glob("*.safetensors")
        return sorted(file.stem for file in files if _QUESTION.fullmatch(file.stem))

    def read_question(self, name: str) -> Question:
        """Read a question.

        Raises:
            InputError: If there is no such question, or its file is damaged or not one of ours.
        """
        path = self.folder / _QUESTIONS_NAME / f"{name}.safetensors"
        try:
            open_regular(path).close()  # no link
            tensors, metadata = read_tensors(path)
            about: dict[str, Any] = json.loads(metadata["description"])
            images, action_maps = (tensors[name].numpy() for name in ("images", "action_maps"))
            palette = np.array(about["palette"], np.uint8).reshape(-1, 3)
            names = tuple(str(name) for name in about["class_names"])
            pairs = bool(about.get("pairs", False))  # before, there were none
            question = Question(images, action_maps, int(about["stars"]), names, palette, pairs)
        except DamagedError:
            raise
        except _NO_QUESTION as error:
            raise InputError(f"{path} is no question: {str(error)[:200]}") from None
        shape = (*images.shape[:1], *action_maps.shape[1:2], *images.shape[1:3])
        if (
            images.dtype != np.uint8
            or action_maps.dtype != np.uint8
            or images.shape[3:] != (3,)
            or action_maps.shape != shape
            or (action_maps.size and action_maps.max() >= len(palette))
            or (names and len(names) != len(palette))
            or not 1 <= question.stars <= 100
            or (question.pairs and (action_maps.shape[1] % 2 or question.stars != 1))
        ):
            raise InputError(f"{path} is no question: its maps do not fit its images")
        return question


def unrated(
    keys: Sequence[Sequence[tuple[str, str]]], scores: Mapping[tuple[str, str], float]
) -> list[tuple[int, int]]:
    """The maps (g, k) that have no score yet, of images that are not good enough already."""
    return [
        (g, k)
        for g, group in enumerate(keys)
        for k, key in enumerate(group)
        if not is_rated(key, scores)
    ]


def is_rated(key: tuple[str, str], scores: Mapping[tuple[str, str], float]) -> bool:
    """Tell whether a map has a score, or its image is good enough already."""
    return key in scores or (key[0], "") in scores
