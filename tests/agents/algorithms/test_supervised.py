"""Learners from labels: their losses by hand, and the images that they see."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F

from rss_agents import train
from rss_agents.algorithms.reference_config import SupervisedConfig
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.supervised import (
    CrossEntropyLearner,
    DiceLearner,
    ImageTagLearner,
    MultiScaleLearner,
)
from rss_agents.command_line import DataConfig
from rss_agents.networks.build import build_network
from rss_env.action_maps import ActionMapGeometry
from rss_env.augmentation import Augmentation
from rss_env.errors import InputError
from rss_env.scenes import load_scenes
from tiny_networks import CLASSES, SIZE, tiny_network

VOID = 255


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(DataConfig().open(None), (SIZE, SIZE))


def geometry(*scales):
    return ActionMapGeometry((SIZE, SIZE), scales, CLASSES)


def labelled(kind, scenes, **arguments):
    return kind(
        tiny_network(), scenes, 4, 0, augmentation=Augmentation(horizontal_flip=True), **arguments
    )


def logits_and_labels():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, CLASSES, 8, 8, generator=generator)
    labels = torch.randint(0, CLASSES, (2, 8, 8), generator=generator)
    labels[0, :2] = VOID
    return logits, labels


def test_cross_entropy_leaves_void_out(scenes):
    logits, labels = logits_and_labels()
    total, count = 0.0, 0
    for b, y, x in (labels != VOID).nonzero().tolist():
        total -= float(logits[b, :, y, x].log_softmax(0)[labels[b, y, x]])
        count += 1
    found = labelled(CrossEntropyLearner, scenes).loss_of(logits, labels)
    assert float(found) == pytest.approx(total / count, rel=1e-5)


def test_dice_is_least_where_the_map_is_right(scenes):
    _, labels = logits_and_labels()
    right = F.one_hot(labels.where(labels != VOID, 0), CLASSES).permute(0, 3, 1, 2) * 50.0
    agent = labelled(DiceLearner, scenes)
    assert float(agent.loss_of(right, labels)) == pytest.approx(0, abs=1e-3)
    assert float(agent.loss_of(-right, labels)) > 1


def test_multiscale_at_the_pixels_alone_is_cross_entropy(scenes):
    logits, labels = logits_and_labels()
    one = labelled(MultiScaleLearner, scenes, geometry=geometry(1)).loss_of(logits, labels)
    torch.testing.assert_close(
        one, labelled(CrossEntropyLearner, scenes).loss_of(logits, labels), rtol=1e-5, atol=1e-6
    )
    flat = labels.where(labels != VOID, 3) * 0 + 3  # one class everywhere: all scales agree
    uniform = logits.mean((2, 3), keepdim=True).expand_as(logits)
    both = labelled(MultiScaleLearner, scenes, geometry=geometry(4, 1)).loss_of(uniform, flat)
    torch.testing.assert_close(both, F.cross_entropy(uniform, flat))


def test_image_tags_move_only_the_classes_of_the_image(scenes):
    """By hand: a class with logits equal to the background's is present with a chance of 1/2."""
    agent = labelled(ImageTagLearner, scenes, sharpness=5.0)
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[0, 0, 0] = 2
    logits = torch.zeros(1, CLASSES, 8, 8, requires_grad=True)
    loss = agent.loss_of(logits, labels)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    downhill = -logits.grad.sum((0, 2, 3))
    assert downhill[2] > 0
    assert (downhill[[1, 3, 4, 5]] < 0).all()
    # Nothing says where: the gradient is the same for labels of another place.
    moved = logits.detach().clone().requires_grad_()
    agent.loss_of(moved, labels.flip(1, 2)).backward()
    torch.testing.assert_close(moved.grad, logits.grad)


def test_supervised_and_reward_learning_see_the_same_images():
    env: Any = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=6, group_size=2, array="torch", num_scenes=30,
        horizontal_flip=True,
    )  # fmt: skip
    network = build_network("tiny-unet", 6, (64, 64))
    reward = RSSLearner(network, env.unwrapped, RSSConfig(), seed=5)
    scenes = env.unwrapped._scenes
    supervised = CrossEntropyLearner(network, scenes, 3, seed=5, augmentation=Augmentation(True))
    for _ in range(3):
        images = env.unwrapped.observe()[::2]
        supervised.loss()
        seen = scenes.observe(supervised.stream.batch())
        torch.testing.assert_close(seen, images, rtol=0, atol=0)
        reward.loss()


def by_hand(logits, labels, weights, gamma):
    total = weight = 0.0
    for b, y, x in (labels != VOID).nonzero().tolist():
        label = int(labels[b, y, x])
        log = float(logits[b, :, y, x].log_softmax(0)[label])
        total -= weights[label] * (1 - math.exp(log)) ** gamma * log
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize("kind", [CrossEntropyLearner, DiceLearner])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_classes_and_wrong_pixels_may_count_more(kind, gamma, scenes):
    logits, labels = logits_and_labels()
    weights = tuple(float(c + 1) for c in range(CLASSES))
    config = SupervisedConfig(class_weights=weights, focal_gamma=gamma)
    found = labelled(kind, scenes, supervised=config).loss_of(logits, labels)
    if kind is DiceLearner:
        found = found - DiceLearner._dice(logits, labels)
    assert float(found) == pytest.approx(by_hand(logits, labels, weights, gamma), rel=1e-5)
    empty = torch.full_like(labels, VOID)
    learner = labelled(CrossEntropyLearner, scenes, supervised=config)
    assert float(learner.loss_of(logits, empty)) == 0


def test_rare_classes_count_by_their_frequency(scenes):
    share = torch.from_numpy(scenes.class_frequencies()).float()
    inverse, root = (
        labelled(CrossEntropyLearner, scenes, supervised=SupervisedConfig(class_weights=kind))
        for kind in ("inverse", "root")
    )
    assert float((inverse._weights * share).sum()) == pytest.approx(1)
    torch.testing.assert_close(inverse._weights * share, torch.full((CLASSES,), 1 / CLASSES))
    torch.testing.assert_close(root._weights, inverse._weights.sqrt())


def test_weights_that_do_not_fit_are_refused(scenes, tmp_path, capsys):
    with pytest.raises(InputError, match=f"class_weights has 2 numbers, the data {CLASSES} cl"):
        labelled(CrossEntropyLearner, scenes, supervised=SupervisedConfig(class_weights=(1.0, 2.0)))
    for options, words in {
        "--algo psl --supervised.class-weights 0 0": "class_weights must be finite, at least 0",
        "--algo psl --supervised.focal-gamma -1": "focal_gamma must be finite and at least 0",
        "--algo rss --supervised.class-weights inverse": "psl, psl-metric, psl-dice, and of rss",
        "--algo wsss-cam --supervised.focal-gamma 2": "got --algo wsss-cam",
    }.items():
        with pytest.raises(SystemExit):
            train.main(["--out", str(tmp_path / "run"), *options.split()])
        assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
