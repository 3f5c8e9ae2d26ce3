"""Pictures of an evaluation: which classes are taken for which, and the worst answers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from rss_env.datasets.base import ByteArray
from rss_env.rendering import colourise, enlarged, overlay, panel_grid, with_legend

_MOST_IN_CELLS = 25  # classes whose shares are written into the cells
_STRIP = 18  # pixels, of a line of text
_RIGHT, _WRONG = (0, 0, 0), (230, 60, 40)


def draw_confusion(confusion: torch.Tensor, class_names: Sequence[str], title: str) -> Image.Image:
    """Draw a confusion matrix: of the pixels of each label, a row, how they were answered.

    Args:
        confusion: (C, C) int64, pixels labelled as the row and answered as the column.
        class_names: C names.
        title: Above it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    counts = confusion.double().numpy()
    total = counts.sum(1, keepdims=True)
    shares = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    count = len(class_names)
    side = 2.5 + min(0.5 * count, 20)
    figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
    shown = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axis, shrink=0.8, label="share of the labelled pixels")
    axis.set_xticks(range(count), class_names, rotation=90)
    axis.set_yticks(range(count), class_names)
    axis.set(xlabel="answer", ylabel="label", title=title)
    if count <= _MOST_IN_CELLS:
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                colour = "white" if share > 0.5 else "black"
                text = f"{100 * share:.0f}" if share >= 0.005 or share == 0 else "<1"
                axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of names in signs that the font has not
        figure.savefig(file, dpi=120)
    plt.close(figure)
    return Image.open(file)


@dataclass(frozen=True)
class Answer:
    """The answer for one image, and what it should have been.

    Attributes:
        title: What stands above it.
        image: (H, W, 3) uint8.
        label: (H, W) uint8, 255 for void.
        class_map: (H, W) uint8.
    """

    title: str
    image: ByteArray
    label: ByteArray
    class_map: ByteArray


def answers_sheet(
    answers: Sequence[Answer], class_names: Sequence[str], palette: ByteArray
) -> Image.Image:
    """Draw a row of image, label, answer, and wrong pixels for each answer, with a legend.

    Args:
        answers: All of one size.
        class_names: C names.
        palette: (C, 3) uint8.
    """
    rows, seen = [], set[int]()
    for answer in answers:
        seen |= set(np.unique(answer.label).tolist()) | set(np.unique(answer.class_map).tolist())
        panels = [
            answer.image,
            colourise(answer.label, palette),
            colourise(answer.class_map, palette),
            _errors(answer, len(class_names)),
        ]
        row = panel_grid([[enlarged(panel, 192) for panel in panels]])
        rows += [_strip(row.shape[1], [answer.title]), row]
    heads = _strip(rows[0].shape[1], ["image", "label", "answer", "wrong pixels"])
    classes = sorted(c for c in seen if c < len(class_names))
    entries = [(class_names[c], palette[c]) for c in classes]
    return with_legend(Image.fromarray(np.concatenate([heads, *rows])), entries)


def _errors(answer: Answer, num_classes: int) -> ByteArray:
    """The image in grey, its wrong pixels in red."""
    wrong = (answer.label != answer.class_map) & (answer.label < num_classes)
    grey = answer.image.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8)
    colours = np.array([_RIGHT, _WRONG], np.uint8)
    marked = overlay(grey, wrong.astype(np.uint8), colours)
    return np.where(wrong[..., None], marked, grey)


def _strip(width: int, texts: Sequence[str]) -> ByteArray:
    """Texts side by side on white, each in an equal share of the width."""
    strip = Image.new("RGB", (width, _STRIP), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    for number, text in enumerate(texts):
        draw.text((number * width // len(texts) + 2, 2), text, fill="black", font=font)
    return np.array(strip)
