"""A person as the scorer: asked once for each map, replayed, stopped while it waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rating_questions import question, rating_lines
from rss_agents.quality.examples import read_examples
from rss_agents.ratings.person import PersonScorer, StoppedWaitingError
from rss_agents.ratings.store import Question, RatingBook, unrated
from rss_agents.train import main as train
from rss_env.errors import InputError

ROOT = Path(__file__).parents[3]
ARGUMENTS = (
    *("--env", "RSS/Shapes-ImageReward-v0", "--image-size", "16", "--scales", "8"),
    *("--num-images", "2", "--group-size", "2", "--updates", "3", "--eval-every", "2"),
    *("--feedback", "rating:5", "--score-model", "metric"),
)


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

    def start(folder: Path, kind: type[Rater] = Rater) -> Rater:
        started.append(kind(folder))
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


class Chooser(Rater):
    """Prefers the map with more of the first class; of the second image, any is good enough."""

    def run(self) -> None:
        while not self.ends.is_set():
            name = self.book.open_question()
            asked = None if name is None else self.book.read_question(name)
            missing = [] if asked is None else unrated(asked.keys(), self.book.scores())
            if asked is not None and missing:
                assert asked.pairs
                if missing[0][0] == 1:
                    self.book.add_good_enough(asked, 1)
                    continue
                (g, first), (_, second) = missing[:2]
                self.asked.append(2)
                shares = (asked.action_maps[g] == 0).mean((1, 2))
                better = shares[first] > shares[second]
                self.book.add(asked, {(g, first): int(better), (g, second): int(not better)})
            time.sleep(0.02)


def pairs_of(asked: Question, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The images of a question with an even number of maps of each."""
    maps = np.concatenate([asked.action_maps, 1 - asked.action_maps.clip(0, 1)], 1)
    return asked.images, np.ascontiguousarray(maps[:, :count])


def test_maps_are_compared_in_pairs(tmp_path, rater):
    chooser = rater(tmp_path, Chooser)
    images, maps = pairs_of(question())
    scorer = PersonScorer(tmp_path, pairs=True, poll_seconds=0.01)
    scores = scorer(images, maps)
    shares = (maps == 0).mean((2, 3))
    for k in (0, 2):
        better = shares[0, k] > shares[0, k + 1]
        assert scores[0, k : k + 2].tolist() == [float(better), float(not better)]
    assert scores[1].tolist() == [0.5] * 4
    assert sum(chooser.asked) == 4
    assert RatingBook(tmp_path).count == 4
    other = 1 - maps.clip(0, 1)  # nothing is asked of the image that is good enough
    assert scorer(images[1:], other[1:]).tolist() == [[0.5] * 4]
    np.testing.assert_array_equal(
        PersonScorer(tmp_path, pairs=True, asks=False)(images, maps), scores
    )
    with pytest.raises(InputError, match="group_size must be even, got 3"):
        scorer(images, maps[:, :3])
    with pytest.raises(InputError, match="has comparisons of maps, which are no scores"):
        read_examples([tmp_path], None)


def test_a_training_from_comparisons(tmp_path, rater, one_thread):
    chooser = rater(tmp_path / "run/ratings", Chooser)
    arguments = [*ARGUMENTS[: ARGUMENTS.index("--feedback")], "--feedback", "ranking"]
    train([*arguments, "--out", str(tmp_path / "run"), "--scorer", "person"])
    assert sum(chooser.asked) > 0
    ratings = f"ratings:{tmp_path}/run/ratings"
    train([*arguments, "--out", str(tmp_path / "again"), "--scorer", ratings])
    assert weights(tmp_path / "again") == weights(tmp_path / "run")


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


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


def test_a_run_is_replayed_from_its_ratings(tmp_path, rater, capsys, one_thread):
    answers = rater(tmp_path / "run/ratings")
    train([*ARGUMENTS, "--out", str(tmp_path / "run"), "--scorer", "person"])
    assert sum(answers.asked) == len(rating_lines(tmp_path / "run/ratings")) <= 3 * 4
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
        [*command, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
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
