"""Pictures of an evaluation show what they are of."""

from __future__ import annotations

import numpy as np
import torch

from rss_agents.evaluation_pictures import Answer, answers_sheet, draw_confusion

PALETTE = np.array([[0, 0, 0], [0, 200, 0]], np.uint8)


def test_a_confusion_matrix_of_any_names():
    confusion = torch.tensor([[90, 10], [0, 0]])
    picture = draw_confusion(confusion, ("ground", "\u6811"), "a run")
    assert picture.width > 200
    other = draw_confusion(confusion.flip(1), ("ground", "\u6811"), "a run")
    assert picture.tobytes() != other.tobytes()


def test_wrong_pixels_are_red_and_void_is_none():
    image = np.full((192, 192, 3), 100, np.uint8)
    label, answer = np.zeros((192, 192), np.uint8), np.zeros((192, 192), np.uint8)
    answer[:10] = 1
    label[:5] = 255
    sheet = np.array(answers_sheet([Answer("x.jpg", image, label, answer)], "ab", PALETTE))
    errors = sheet[36:, 3 * 196 :][:192, :192].astype(int)  # below a line of heads and a title
    red = errors[..., 0] > errors[..., 1] + 30
    assert red.any(1).tolist() == [False] * 5 + [True] * 5 + [False] * 182
    below = sheet[36 + 192 :].reshape(-1, 3)
    assert all((below == colour).all(1).any() for colour in PALETTE)  # the legend
