"""Maps whose scores are known: from a person's ratings, or from a table of files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rss_agents.ratings.names import RATINGS_NAME
from rss_agents.ratings.store import RatingBook
from rss_env.datasets.decoding import LabelRule, read_image
from rss_env.datasets.paths import Spelling
from rss_env.datasets.text_files import read_text
from rss_env.errors import InputError
from rss_env.labels import VOID

_COLUMNS = ("image", "map", "score")


@dataclass(frozen=True)
class Examples:
    """Scored maps.

    Attributes:
        images: (M, H, W, 3) uint8, different images.
        index: (N,) int64, which of them each map is of.
        action_maps: (N, H, W) uint8.
        scores: (N,) float32 in [0, 1].
    """

    images: torch.Tensor
    index: torch.Tensor
    action_maps: torch.Tensor
    scores: torch.Tensor

    def __len__(self) -> int:
        return len(self.index)

    def of_images(self, chosen: torch.Tensor) -> Examples:
        """The maps of some images (M,) bool; the images stay."""
        kept = chosen[self.index]
        return Examples(self.images, self.index[kept], self.action_maps[kept], self.scores[kept])


def read_examples(sources: Sequence[Path], image_size: tuple[int, int] | None) -> Examples:
    """Read scored maps, all of one size.

    Args:
        sources: Folders with a `ratings.jsonl` and its questions, or such files; or tables (.csv)
            with the columns image, map and score, whose paths are relative to the table's folder.
        image_size: (H, W) that files of tables are resized to; None: of the first one.

    Raises:
        InputError: If there is nothing to read, a file is damaged, or sizes differ.
    """
    rows: list[tuple[np.ndarray, np.ndarray, float]] = []
    for source in sources:
        if source.suffix == ".csv":
            rows += _of_table(source, image_size or (rows[0][1].shape if rows else None))
        else:
            rows += _of_ratings(source.parent if source.name == RATINGS_NAME else source)
    if not rows:
        raise InputError(f"there is no scored map in {', '.join(map(str, sources))}")
    sizes = {row[1].shape for row in rows}
    if len(sizes) > 1:
        raise InputError(f"scored maps are of different sizes: {sorted(sizes)}; valid: one size")
    places: dict[bytes, int] = {}
    index = [places.setdefault(image.tobytes(), len(places)) for image, _, _ in rows]
    first = {place: number for number, place in reversed(list(enumerate(index)))}
    return Examples(
        torch.from_numpy(np.stack([rows[first[place]][0] for place in range(len(places))])),
        torch.tensor(index),
        torch.from_numpy(np.stack([row[1] for row in rows])),
        torch.tensor([row[2] for row in rows], dtype=torch.float32),
    )


def _of_ratings(folder: Path) -> list[tuple[np.ndarray, np.ndarray, float]]:
    book = RatingBook(folder)
    if not book.path.is_file():
        raise InputError(f"there are no ratings at {book.path}")
    scores, found = book.scores(), []
    for name in book.question_names():
        question = book.read_question(name)
        if question.pairs:
            raise InputError(
                f"{book.path} has comparisons of maps, which are no scores; valid: stars"
            )
        for g, keys in enumerate(question.keys()):
            for k, key in enumerate(keys):
                if key in scores:
                    found.append((question.images[g], question.action_maps[g, k], scores[key]))
    return found


def _of_table(
    path: Path, image_size: tuple[int, ...] | None
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    rule, spelling, found = LabelRule.identity(VOID), Spelling(), []
    with io.StringIO(read_text(path, "table"), newline="") as file:
        table = csv.DictReader(file)
        if not set(_COLUMNS) <= set(table.fieldnames or ()):
            raise InputError(
                f"{path} has the columns {table.fieldnames}; needed: {', '.join(_COLUMNS)}"
            )
        for number, line in enumerate(table, 2):
            try:
                score = float(line["score"])
            except (TypeError, ValueError):
                score = -1.0
            if not 0 <= score <= 1:
                raise InputError(
                    f"{path}, line {number}: score must be a number in 0..1, got {line['score']!r}"
                )
            image = read_image(spelling.find(path.parent / line["image"]))
            drawn = rule.read(spelling.find(path.parent / line["map"]))
            if (drawn == VOID).any():
                raise InputError(f"{path}, line {number}: a map has no void pixels (255)")
            image_size = image_size or drawn.shape
            size = (image_size[1], image_size[0])  # PIL: (width, height)
            found.append((
                np.array(image.resize(size, Image.Resampling.BILINEAR)),
                np.array(Image.fromarray(drawn).resize(size, Image.Resampling.NEAREST)),
                score,
            ))  # fmt: skip
    return found
