"""A person's ratings: asked for and answered through files, and kept."""

from __future__ import annotations

import numpy as np
import pytest

from rating_questions import question, rating_lines
from rss_agents.ratings.store import Question, RatingBook, keys_of, unrated
from rss_env.datasets.base import voc_palette
from rss_env.errors import InputError


def test_a_question_is_read_as_it_was_asked(tmp_path):
    book, asked = RatingBook(tmp_path), question()
    assert book.open_question() is None
    book.ask(asked)
    name = RatingBook(tmp_path).open_question()
    assert name == asked.name
    assert name is not None
    found = book.read_question(name)
    np.testing.assert_array_equal(found.images, asked.images)
    np.testing.assert_array_equal(found.action_maps, asked.action_maps)
    np.testing.assert_array_equal(found.palette, asked.palette)
    assert (found.stars, found.class_names) == (asked.stars, asked.class_names)
    book.close()
    assert book.open_question() is None


def test_ratings_are_appended_and_the_last_one_counts(tmp_path):
    book, asked = RatingBook(tmp_path), question()
    book.ask(asked)
    book.add(asked, {(0, 0): 5, (0, 1): 0})
    keys = asked.keys()
    assert unrated(keys, book.scores()) == [(0, 2), (1, 0), (1, 1), (1, 2)]
    before = (tmp_path / "ratings.jsonl").read_bytes()
    book.add(asked, {(0, 0): 2})
    assert (tmp_path / "ratings.jsonl").read_bytes().startswith(before)
    assert book.scores()[keys[0][0]] == pytest.approx(0.4)
    assert book.scores()[keys[0][1]] == 0
    assert book.count == 2
    assert RatingBook(tmp_path).scores() == book.scores()
    row = rating_lines(tmp_path)[0]
    assert (row["stars"], row["out_of"], row["question"]) == (5, 5, asked.name)


def test_a_rating_belongs_to_the_pixels_of_image_and_map(tmp_path):
    asked = question()
    same = keys_of(asked.images.copy(), asked.action_maps.copy())
    assert same == asked.keys()
    other = asked.action_maps.copy()
    other[1, 2, 0, 0] ^= 1
    changed = keys_of(asked.images, other)
    assert [(g, k) for g in range(2) for k in range(3) if changed[g][k] != same[g][k]] == [(1, 2)]
    turned = keys_of(asked.images.transpose(0, 2, 1, 3), asked.action_maps.transpose(0, 1, 3, 2))
    assert not {key for group in turned for key in group} & {key for g in same for key in g}


def test_a_torn_line_is_passed_over_and_the_next_rating_starts_a_line(tmp_path):
    book, asked = RatingBook(tmp_path), question()
    book.ask(asked)
    book.add(asked, {(0, 0): 1})
    with book.path.open("ab") as file:
        file.write(b'{"image": "44408ca6')
    assert RatingBook(tmp_path).count == 1
    RatingBook(tmp_path).add(asked, {(0, 1): 2})
    assert RatingBook(tmp_path).count == 2


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"image": 1}',
        '{"image": "a", "action_map": "b", "stars": 6, "out_of": 5, "question": "c", "time": "d"}',
        '{"image": "a", "action_map": "b", "stars": 0, "out_of": 0, "question": "c", "time": "d"}',
        '{"image": "a", "action_map": "b", "stars": 1e9, "out_of": 5, "question": "", "time": ""}',
    ],
)
def test_a_line_that_is_no_rating_is_named(tmp_path, line):
    (tmp_path / "ratings.jsonl").write_text(line + "\n")
    book = RatingBook(tmp_path)
    for _ in range(2):  # it stays what it is, and where it is
        with pytest.raises(InputError, match="line 1 is no rating"):
            book.scores()


@pytest.mark.parametrize("text", ["", "[]", '{"question": "../../etc/passwd"}', '{"question": 3}'])
def test_what_is_asked_is_not_believed_blindly(tmp_path, text):
    (tmp_path / "open.json").write_text(text)
    with pytest.raises(InputError, match=r"open\.json does not say what is asked"):
        RatingBook(tmp_path).open_question()


def test_a_question_that_does_not_fit_is_refused(tmp_path):
    book, asked = RatingBook(tmp_path), question()
    beyond = Question(asked.images, asked.action_maps + 4, 5, (), voc_palette(4))
    book.ask(beyond)
    with pytest.raises(InputError, match="its maps do not fit its images"):
        book.read_question(beyond.name)
    (tmp_path / "questions" / f"{asked.name}.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is no question"):
        book.read_question(asked.name)


@pytest.mark.parametrize("stars", [-1, 6])
def test_impossible_stars_are_refused(tmp_path, stars):
    book, asked = RatingBook(tmp_path), question()
    book.ask(asked)
    with pytest.raises(InputError, match=r"stars must be in 0\.\.5"):
        book.add(asked, {(0, 0): 3, (0, 1): stars})
    assert not book.path.exists()
