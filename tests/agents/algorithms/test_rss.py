"""What the agent learns: small tasks, and a scorer of the metric in place of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.networks import evaluation
from rss_agents.networks.build import build_network
from rss_agents.train import train
from rss_agents.training.config import TrainConfig
from rss_env.datasets import open_dataset

SIZE = 16


def known_labels() -> dict[bytes, np.ndarray]:
    dataset = open_dataset("Shapes")
    labels: dict[bytes, np.ndarray] = {}
    for index in range(len(dataset)):
        image, label = dataset.read(index, (SIZE, SIZE))
        assert label is not None
        labels[image.tobytes()] = label
    return labels


LABELS: dict[bytes, np.ndarray] = {}


def mean_iou(images: torch.Tensor, action_maps: torch.Tensor) -> np.ndarray:
    """Mean IoU over the classes in map or label, looked up by the image: a slow scorer."""
    LABELS.update(LABELS or known_labels())
    scores = np.zeros(action_maps.shape[:2], np.float32)
    for g, image in enumerate(images.numpy()):
        label = LABELS[image.tobytes()]
        for k, class_map in enumerate(action_maps[g].numpy()):
            valid = label != 255
            there = np.union1d(class_map[valid], label[valid])
            iou = [
                ((class_map == c) & (label == c)).sum()
                / (((class_map == c) | (label == c)) & valid).sum()
                for c in there
            ]
            scores[g, k] = np.mean(iou)
    return scores


def weights(out: Path, scorer: str | None, model: str) -> dict[str, torch.Tensor]:
    train(
        TrainConfig(
            out=out,
            data=DataConfig("RSS/Shapes-ImageReward-v0"),
            agent=RSSConfig(score_model=model),  # type: ignore[arg-type]
            image_size=(SIZE,),
            scales=(8, 2),
            num_images=4,
            group_size=4,
            updates=3,
            eval_every=3,
            horizontal_flip=False,
            scorer=scorer,
        )
    )
    return load_file(out / "model.safetensors")


def test_a_scorer_of_the_metric_teaches_what_labels_teach(tmp_path, one_thread):
    from_labels = weights(tmp_path / "labels", None, "auto")
    from_scorer = weights(tmp_path / "scorer", f"{__name__}:mean_iou", "metric")
    assert from_labels.keys() == from_scorer.keys()
    for name, value in from_labels.items():
        torch.testing.assert_close(from_scorer[name], value, rtol=1e-3, atol=1e-4)
    for model in ("auto", "linear"):  # which are not told the formula
        other = weights(tmp_path / model, f"{__name__}:mean_iou", model)
        apart = max(
            float((other[n] - v).abs().max())
            for n, v in from_labels.items()
            if v.is_floating_point()
        )
        assert apart > 1e-3


@pytest.mark.parametrize("level", ["ImageReward", "PixelReward"])
@pytest.mark.parametrize("objective", ["relative_regression", "policy_gradient"])
def test_each_objective_learns_a_small_task(level, objective, tmp_path):
    """Two classes told apart by colour: thirty scored batches are enough to beat the majority."""
    random = np.random.default_rng(0)
    for i in range(8):
        values = np.zeros((16, 16), np.uint8)
        values[:, 6:] = 1
        pixels = np.where(values[..., None] == 1, [200, 60, 60], [60, 60, 200])
        pixels = np.roll(pixels, int(random.integers(16)), 1 if i % 2 else 0)
        values = (pixels[..., 0] > 100).astype(np.uint8)
        for folder, content in (("images", pixels.astype(np.uint8)), ("labels", values)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{i}.png")
    env: Any = gym.make_vec(
        f"RSS/Folder-{level}-v0", num_envs=32, group_size=8, array="torch", image_size=16,
        scales=(4, 2, 1), images=str(tmp_path / "images"), labels=str(tmp_path / "labels"),
        classes=2,
    ).unwrapped  # fmt: skip
    torch.manual_seed(0)
    network = build_network("tiny-unet", 2, (16, 16))
    config = RSSConfig(objective=objective)
    learner = RSSLearner(network, env, config, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(30):
        loss, _ = learner.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scenes = env._scenes
    trained = evaluation.evaluate(network, scenes).miou
    assert trained > 0.8
    assert trained > evaluation.evaluate_majority_class(scenes, scenes).miou + 0.3
