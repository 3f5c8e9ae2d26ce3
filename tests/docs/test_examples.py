"""Every example runs for a few updates, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TINY = ["--image-size", "16", "--num-images", "2", "--group-size", "2", "--updates", "2"]
ARGUMENTS = {
    "label_free.py": ["--num-images", "4", "--image-size", "16", "--updates", "2"],
    "own_objects.py": ["--updates", "2"],
    "ppo_from_scratch.py": [*TINY, "--scales", "8", "4", "--evaluate-every", "1"],
    "rss_from_scratch.py": [*TINY, "--scales", "8", "4", "--evaluate-every", "1"],
    "star_ratings.py": ["--image-size", "16", "--updates", "2"],
    "torchrl_loop.py": TINY,
}
SAYS = {
    "label_free.py": "IoU with the figures, which nobody told: 0.",
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
def test_an_example_runs(name, tmp_path):
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
