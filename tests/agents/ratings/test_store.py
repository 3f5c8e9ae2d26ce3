"""A person's ratings: asked for and answered through files, kept, and replayed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rss_agents.ratings.person import PersonScorer, StoppedWaitingError
from rss_agents.ratings.store import Question, RatingBook, keys_of, unrated
from rss_agents.train import main as train
from rss_env.datasets.base import voc_palette
from rss_env.errors import InputError

ROOT = Path(__file__).parents[3]


def question(seed: int = 0, images: int = 2, maps: int = 3) -> Question:
    random = np.random.default_rng(seed)
    return Question(
        random.integers(0, 256, (images, 8, 6, 3), np.uint8),
        random.integers(0, 4, (images, maps, 8, 6), np.uint8),
        5,
        ("a", "b", "c", "d"),
        voc_palette(4),
    )


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "ratings.jsonl").read_text().splitlines()]


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
    row = lines(tmp_path)[0]
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


class Rater(threading.Thread):
    """Answers what is asked in a folder by a rule, as a person at the page would."""

    def __init__(self, folder: Path):
        super().__init__(daemon=True)
        self.book, self.ends = RatingBook(folder), threading.Event()
        self.asked: list[int] = []

    def run(self) -> None:
        while not self.ends.is_set():
            name = self.book.open_question()
            asked = None if name is None else self.book.read_question(name)
            if asked is not None:
                missing = unrated(asked.keys(), self.book.scores())
                # How much of the map is of the first class.
                share = (asked.action_maps == 0).mean((2, 3))
                if missing:
                    self.asked.append(len(missing))
                    self.book.add(asked, {at: round(5 * share[at]) for at in missing})
            time.sleep(0.02)


@pytest.fixture
def rater(request):
    """Starts one for a folder, and ends it with the test."""
    started: list[Rater] = []

    def start(folder: Path) -> Rater:
        started.append(Rater(folder))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.ends.set()
        each.join()


def test_a_person_is_asked_once_for_each_map(tmp_path, rater):
    answers, asked = rater(tmp_path), question()
    scorer = PersonScorer(tmp_path, poll_seconds=0.01)
    scores = scorer(asked.images, asked.action_maps)
    expected = ((asked.action_maps == 0).mean((2, 3)) * 5).round() / 5
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert scores.dtype == np.float32
    again = PersonScorer(tmp_path, asks=False)
    np.testing.assert_array_equal(again(asked.images, asked.action_maps), scores)
    assert answers.asked == [6]
    assert RatingBook(tmp_path).open_question() is None
    with pytest.raises(InputError, match="has no rating of 6 of the 6 maps"):
        again(*(getattr(question(1), name) for name in ("images", "action_maps")))


def test_waiting_ends_when_it_is_asked_to(tmp_path):
    scorer, asked = PersonScorer(tmp_path, should_stop=lambda: True), question()
    with pytest.raises(StoppedWaitingError):
        scorer(asked.images, asked.action_maps)
    assert RatingBook(tmp_path).open_question() == asked.name  # and can be answered meanwhile


def test_bad_arguments(tmp_path):
    with pytest.raises(InputError, match="stars must be at least 1, got 0"):
        PersonScorer(tmp_path, stars=0)
    with pytest.raises(InputError, match="there are no ratings at"):
        PersonScorer(tmp_path / "nowhere", asks=False)


ARGUMENTS = (
    *("--env", "RSS/Shapes-ImageReward-v0", "--image-size", "16", "--scales", "8"),
    *("--num-images", "2", "--group-size", "2", "--updates", "3", "--eval-every", "2"),
    *("--feedback", "rating:5", "--score-model", "metric"),
)


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_a_run_is_replayed_from_its_ratings(tmp_path, rater, capsys, one_thread):
    answers = rater(tmp_path / "run/ratings")
    train([*ARGUMENTS, "--out", str(tmp_path / "run"), "--scorer", "person"])
    assert sum(answers.asked) == len(lines(tmp_path / "run/ratings")) <= 3 * 4
    ratings = f"ratings:{tmp_path}/run/ratings"
    train([*ARGUMENTS, "--out", str(tmp_path / "again"), "--scorer", ratings])
    assert weights(tmp_path / "again") == weights(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        train([*ARGUMENTS, "--out", str(tmp_path / "other"), "--scorer", ratings, "--seed", "1"])
    assert ended.value.code == 2
    assert "a run is replayed with the options, the seed" in capsys.readouterr().err


@pytest.mark.parametrize("scorer", ["person", "ratings:somewhere"])
def test_sb3_cannot_ask(tmp_path, scorer, capsys):
    with pytest.raises(SystemExit):
        train([*ARGUMENTS, "--algo", "sb3-ppo", "--scorer", scorer, "--out", str(tmp_path / "x")])
    assert "is for one process and for algorithms" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_that_waits_can_be_stopped_and_goes_on(tmp_path, rater, one_thread):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "rss_agents.train", *ARGUMENTS, "--scorer", "person"]
    process = subprocess.Popen(
        [*command, "--out", str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not (out / "ratings/open.json").exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert "stopped by SIGINT after update 0" in process.communicate(timeout=60)[1]
    assert process.returncode == 130
    rater(out / "ratings")
    train(["--resume", str(out)])
    assert json.loads((out / "result.json").read_text())["updates"] == 3
    ratings = f"ratings:{out}/ratings"
    train([*ARGUMENTS, "--out", str(tmp_path / "again"), "--scorer", ratings])
    assert weights(tmp_path / "again") == weights(out)
