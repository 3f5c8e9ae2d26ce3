"""Compare the seeded results of two checkouts, bit for bit: a refactoring leaves them alone.

    python -m benchmarks.same_results before.json                        # of this checkout
    python -m benchmarks.same_results after.json --against before.json
    python -m benchmarks.same_results before.json --checkout ../old

Short trainings over all algorithms, levels and kinds of feedback, and steps of environments of all
kinds, each reduced to digests of its metrics and of its weights. Digests depend on the processor:
compare those of one machine. (Checkouts from before `kernels/lane_sums.py` have to be run twice:
what numba compiled rounded otherwise than what it later loads from its cache.)
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

_SHORT = (
    "--image-size 32 --scales 8 4 2 1 --updates 6 --eval-every 3 --num-images 4 --group-size 4 "
    "--seed 3"
)
_IMAGE, _PIXEL = ("RSS/Shapes-ImageReward-v0", "RSS/Shapes-PixelReward-v0")
# Name: environment, algorithm, further options.
TRAININGS: dict[str, tuple[str, str, str]] = {
    "rss": (_IMAGE, "rss", ""),
    "rss-without-psr": (_IMAGE, "rss", "--no-psr"),
    "rss-without-psd": (_IMAGE, "rss", "--no-psd --replay 0"),
    "rss-dice": (_IMAGE, "rss", "--metric dice --no-metric-decisions"),
    "rss-pixel-accuracy": (_IMAGE, "rss", "--metric pixel_accuracy"),
    "rss-mean-accuracy": (_IMAGE, "rss", "--metric mean_accuracy"),
    "rss-rating": (_IMAGE, "rss", "--feedback rating:5"),
    "rss-rating-without-psd": (_IMAGE, "rss", "--feedback rating:5 --no-psd"),
    "rss-noisy": (_IMAGE, "rss", "--feedback noisy:0.05"),
    "rss-ranking": (_IMAGE, "rss", "--feedback ranking"),
    "rss-varied": (_IMAGE, "rss", "--varied 1"),
    "rss-augmented": (_IMAGE, "rss", "--zoom 1 1.5 --colour-jitter 0.2"),
    "rss-linear": (_IMAGE, "rss", "--score-model linear"),
    "rss-linear-without-syncan": (
        _IMAGE,
        "rss",
        "--score-model linear --no-syncan --no-psd",
    ),
    "rss-policy-gradient": (_IMAGE, "rss", "--objective policy_gradient"),
    "rss-policy-gradient-plain": (
        _IMAGE,
        "rss",
        "--objective policy_gradient --no-psd --no-syncan --replay 0",
    ),
    "rss-scorer": (_IMAGE, "rss", "--scorer same_results_scorer:score"),
    "rss-scorer-metric": (
        _IMAGE,
        "rss",
        "--scorer same_results_scorer:score --score-model metric",
    ),
    "rss-pixel": (_PIXEL, "rss", ""),
    "rss-pixel-noisy": (_PIXEL, "rss", "--feedback noisy:0.1"),
    "rss-pixel-ranking": (_PIXEL, "rss", "--feedback ranking --no-syncan"),
    "rss-pixel-policy-gradient": (_PIXEL, "rss", "--objective policy_gradient"),
    "rss-strided": (
        _IMAGE,
        "rss",
        "--network deeplabv3plus/resnet18@4 --image-size 64 --scales 32 16 8 4 --updates 2",
    ),
    "psl": (_IMAGE, "psl", "--zoom 1 1.5"),
    "psl-metric": (_IMAGE, "psl-metric", ""),
    "psl-dice": (_IMAGE, "psl-dice", ""),
    "psl-multiscale": (_IMAGE, "psl-multiscale", ""),
    "wsss-cam": (_IMAGE, "wsss-cam", ""),
    "reinforce": (_IMAGE, "reinforce", "--baseline.exploration 0.1"),
    "rloo": (_IMAGE, "rloo", ""),
    "grpo": (_IMAGE, "grpo", ""),
    "ppo": (_IMAGE, "ppo", "--clip-gradient 1"),
    "sb3-ppo": (_IMAGE, "sb3-ppo", ""),
    "sb3-a2c": (_IMAGE, "sb3-a2c", "--group-size 1 --num-images 8"),
    "sb3-ppo-cnn": (
        _IMAGE,
        "sb3-ppo",
        "--sb3.policy cnn --image-size 40 --scales 8 --num-images 2 --group-size 4",
    ),
}
_SCORER = """
def score(images, maps):
    bright = (images[:, None, ..., 0] > 127).float()
    return (maps == 1).float().mean((2, 3)) * 0.5 + bright.mean((2, 3)) * 0.5
"""
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "image": {},
    "image-single-scale": {"scales": (4,)},
    "dice": {"metric": "dice", "class_scores": True, "group_size": 2},
    "mean-accuracy": {"metric": "mean_accuracy", "feedback": "rating:5", "class_scores": True},
    "pixel-accuracy": {"metric": "pixel_accuracy", "scale_weights": (1, 2, 3, 4)},
    "noisy": {"feedback": "noisy:0.1", "group_size": 2, "horizontal_flip": True},
    "ranking": {"feedback": "ranking", "group_size": 4},
    "augmented": {"horizontal_flip": True, "zoom": (1, 2), "colour_jitter": 0.3},
    "maps": {"action_format": "maps", "autoreset_mode": "NextStep"},
    "disabled": {"autoreset_mode": "Disabled"},
    "tensors": {"array": "torch", "group_size": 2},
    "tensors-augmented": {"array": "torch", "zoom": (1, 2), "metric": "dice"},
    "pixel": {"level": "PixelReward"},
    "pixel-balanced": {"level": "PixelReward", "class_balanced": True, "feedback": "rating:2"},
}


@dataclass
class SameResultsConfig:
    """Write digests of seeded results, and compare them with others."""

    out: tyro.conf.Positional[Path]
    """JSON file to write."""
    against: Path | None = None
    """JSON file of another checkout, to be compared with."""
    checkout: Path = Path(__file__).parents[1]
    """What is run."""


def _digest(parts: Any) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else repr(part).encode())
    return found.hexdigest()[:16]


def _of_training(name: str, main: Any, folder: Path) -> dict[str, str]:
    from safetensors.numpy import load_file

    env, algorithm, options = TRAININGS[name]
    main(
        ["--out", str(folder), "--env", env, "--algo", algorithm, *_SHORT.split(), *options.split()]
    )
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["update"]]  # once nothing was measured before learning
    names = sorted({key for row in rows for key in row})
    found = {key: _digest(row[key] for row in rows if key in row) for key in names}
    found |= {
        key: str(value)
        for key, value in json.loads((folder / "result.json").read_text()).items()
        if key in ("miou", "pixel_accuracy", "score_queries")
    }
    if (folder / "model.safetensors").exists():
        weights = load_file(folder / "model.safetensors")
        found["weights"] = _digest(
            part for k in sorted(weights) for part in (k, weights[k].tobytes())
        )
    return found


def _of_environment(options: dict[str, Any], *, single: bool) -> str:
    import gymnasium as gym
    import numpy as np
    import torch

    import rss_env  # noqa: F401

    level = options.get("level", "ImageReward")
    given = {k: v for k, v in options.items() if k != "level"}
    common = {"image_size": 32, "num_scenes": 12, **given}
    if single:
        common |= {"group_size": 1}
        common.pop("autoreset_mode", None)  # of vector environments alone
        env: Any = gym.make(f"RSS/Shapes-{level}-v0", **common)
    else:
        env = gym.make_vec(f"RSS/Shapes-{level}-v0", num_envs=8, **common)
    parts: list[Any] = []

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                parts.append(key)
                add(value[key])
        elif isinstance(value, torch.Tensor):
            add(value.numpy())
        else:
            parts.extend([str(np.asarray(value).dtype), np.ascontiguousarray(value).tobytes()])

    add(env.reset(seed=5)[0])
    env.action_space.seed(7)
    disabled = str(options.get("autoreset_mode", "")) == "Disabled"
    for _ in range(4):
        actions = env.action_space.sample()
        if options.get("array") == "torch":
            actions = torch.as_tensor(actions)
        for value in env.step(actions):
            add(value)
        if single or disabled:
            add(env.reset()[0])
    env.close()
    return _digest(parts)


def _work(out: Path) -> None:
    """Everything, in this process and of the checkout that it stands in."""
    import torch

    torch.set_num_threads(1)
    is_there = Path("agents/rss_agents").is_dir()  # before, the package was named agents
    main: Any = importlib.import_module("rss_agents.train" if is_there else "agents.train").main
    assert Path(main.__code__.co_filename).is_relative_to(Path.cwd()), main.__code__.co_filename
    found: dict[str, Any] = {}
    for name, options in ENVIRONMENTS.items():
        found[f"env {name}"] = {"steps": _of_environment(options, single=False)}
        if options.get("feedback") != "ranking":
            found[f"single {name}"] = {"steps": _of_environment(options, single=True)}
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        Path(folder, "same_results_scorer.py").write_text(_SCORER)
        for name in TRAININGS:
            found[name] = _of_training(name, main, Path(folder, name))
    out.write_text(json.dumps(found, indent=1) + "\n")


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Lines that name runs that are missing, and metrics that differ, are lost or are new."""
    lines = []
    for name, then in before.items():
        now = after.get(name)
        if now is None:
            lines.append(f"{name}: missing")
            continue
        differing = [key for key in then if key in now and then[key] != now[key]]
        lost, new = [k for k in then if k not in now], [k for k in now if k not in then]
        for what, keys in (("differs in", differing), ("lost", lost), ("new", new)):
            if keys:
                lines.append(f"{name}: {what} {', '.join(keys)}")
    return lines


def main(config: SameResultsConfig) -> None:
    """Run everything in a process of its own, and compare."""
    out, checkout = config.out.resolve(), config.checkout.resolve()
    path = os.pathsep.join([str(checkout), str(checkout / "agents")])
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--work", str(out)]
    environment = {**os.environ, "PYTHONPATH": path, **threads}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    if config.against is not None:
        found = json.loads(out.read_text())
        lines = differences(json.loads(config.against.read_text()), found)
        print("\n".join(lines) or f"{len(found)} runs: all digests are the same")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(Path(sys.argv[2]))
    else:
        main(tyro.cli(SameResultsConfig))
