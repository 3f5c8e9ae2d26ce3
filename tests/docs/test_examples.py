"""Every example runs for a few updates, as a user would run it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TINY = ["--image-size", "16", "--num-images", "2", "--group-size", "2", "--updates", "2"]
ARGUMENTS = {
    "label_free.py": ["--num-images", "4", "--image-size", "16", "--updates", "2"],
    "off_policy.py": ["--data", "blocks-v0", "--val-split", "all", "--updates", "2"],
    "own_objects.py": ["--updates", "2"],
    "ppo_from_scratch.py": [*TINY, "--scales", "8", "4", "--evaluate-every", "1"],
    "rss_from_scratch.py": [*TINY, "--scales", "8", "4", "--evaluate-every", "1"],
    "star_ratings.py": ["--image-size", "16", "--updates", "2"],
    "torchrl_loop.py": TINY,
}
SAYS = {
    "label_free.py": "IoU with the figures, which nobody told: 0.",
    "off_policy.py": "learned by dr: mean validation score 0.",
    "own_objects.py": "right pixels: 0.",
    "ppo_from_scratch.py": "update 2: score 0.",
    "rss_from_scratch.py": "update 2: score 0.",
    "star_ratings.py": "1,024 ratings, validation mIoU 0.",
    "torchrl_loop.py": "update 2: score 0.",
}


def run(arguments: list[str], folder: Path, said: str = "") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        input=said,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_example_is_run():
    assert set(ARGUMENTS) == {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs(name, tmp_path, monkeypatch, request):
    if name == "off_policy.py":
        monkeypatch.setenv("MINARI_DATASETS_PATH", request.getfixturevalue("bright_blocks"))
    done = run([str(EXAMPLES / name), *ARGUMENTS[name]], tmp_path)
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout


def test_a_person_can_give_the_stars(tmp_path):
    arguments = ["--ask", "--updates", "1", "--image-size", "16"]
    answers = "3\nmany\n5\n0\n1\n"  # of which one is none
    done = run([str(EXAMPLES / "star_ratings.py"), *arguments], tmp_path, answers)
    assert done.returncode == 0, done.stderr
    assert "a whole number from 0 to 5, please" in done.stdout
    assert "4 ratings" in done.stdout
    assert (tmp_path / "rate-me.png").stat().st_size > 0


@pytest.mark.parametrize("name", ["ppo_from_scratch.py", "rss_from_scratch.py"])
def test_what_is_to_be_copied_is_short_and_stands_alone(name):
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) < 250
    assert "rss_agents" not in text


@pytest.fixture(scope="module")
def bright_blocks(tmp_path_factory):
    """Minari's folder with uniform maps of pictures of dark and bright blocks: two classes."""
    pytest.importorskip("minari")
    from rss_agents.command_line import DataConfig
    from rss_agents.recording import RecordConfig, record

    folder, random = tmp_path_factory.mktemp("blocks"), np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number in range(16):
        label = random.integers(0, 2, (4, 4), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        grey = 60 + 120 * label + random.integers(0, 40, (16, 16), dtype=np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"{number}.png")
        Image.fromarray(label).save(folder / "labels" / f"{number}.png")
    images, labels = str(folder / "images"), str(folder / "labels")
    data = DataConfig(env="RSS/Folder-ImageReward-v0", images=images, labels=labels, classes=2)
    task: Any = {"image_size": (16,), "scales": (8, 4), "metric": "pixel_accuracy"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        record(RecordConfig(name="blocks-v0", data=data, episodes=400, **task))
    return str(folder)


@pytest.mark.parametrize("estimator", ["ipw", "dr"])
def test_off_policy_learning_finds_what_scores_best(
    bright_blocks, estimator, monkeypatch, one_thread
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", bright_blocks)
    monkeypatch.syspath_prepend(EXAMPLES)
    off_policy = importlib.import_module("off_policy")
    args = off_policy.Args(
        data="", estimator=estimator, updates=40, batch_size=16, learning_rate=0.01
    )
    recorded = off_policy.load_interactions("blocks-v0")
    network = off_policy.learn(args, recorded)
    assert abs(recorded.scores.mean() - 0.5) < 0.05  # as either class everywhere
    # Cells of 8 x 8 are of both classes: the best maps score 0.84.
    assert off_policy.evaluate(network, recorded, None) > 0.75


@pytest.mark.parametrize("algo", ["ppo", "a2c"])
def test_rl_zoo_trains_with_our_parameters(algo, tmp_path):
    pytest.importorskip("rl_zoo3")
    parameters = EXAMPLES / "rl_zoo" / f"{algo}.py"
    small = ["n_envs:8"] + (["batch_size:8"] if algo == "ppo" else [])
    done = run(
        [
            *("-m", "rl_zoo3.train", "--algo", algo, "--env", "RSS/Shapes-ImageReward-v0"),
            *("--gym-packages", "rss_env", "--conf-file", str(parameters), "-f", "logs"),
            *("--env-kwargs", "image_size:16", "--hyperparams", *small),
            *("--n-timesteps", "32", "--eval-freq", "16", "--eval-episodes", "2", "--seed", "0"),
        ],
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "logs" / algo).iterdir()
    written = {path.name for path in folder.iterdir()}
    assert {"RSS-Shapes-ImageReward-v0.zip", "best_model.zip", "evaluations.npz"} <= written
