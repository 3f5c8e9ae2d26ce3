"""The references: labelled losses, image tags, and plain policy gradients."""

from __future__ import annotations

import math

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F

from rss_agents.algorithms.policy_gradients import (
    METHODS,
    BaselineConfig,
    BaselineLearner,
    clipped_objective,
)
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
from rss_env.vector_env import RSSVectorEnv

CLASSES, SIZE, VOID = 6, 16, 255


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(DataConfig().open(None), (SIZE, SIZE))


def network(seed=0):
    torch.manual_seed(seed)
    return build_network("tiny-unet", CLASSES, (SIZE, SIZE))


def geometry(*scales):
    return ActionMapGeometry((SIZE, SIZE), scales, CLASSES)


def labelled(kind, scenes, **arguments):
    return kind(
        network(), scenes, 4, 0, augmentation=Augmentation(horizontal_flip=True), **arguments
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


def baseline(method, **config):
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        num_envs=16,
        group_size=4,
        array="torch",
        image_size=SIZE,
        scales=(1,),
    ).unwrapped
    assert isinstance(env, RSSVectorEnv)
    return BaselineLearner(method, network(), env, BaselineConfig(**config), seed=0)


def test_advantages_by_hand():
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.5, 0.5]])
    rloo = baseline("rloo").advantages(scores, 10)
    torch.testing.assert_close(
        rloo[0], 10 * torch.tensor([0.1 - 1.1 / 3, 0.2 - 1 / 3, 0.3 - 0.3, 0.6 - 0.2])
    )
    assert (rloo[1] == 0).all()
    grpo = baseline("grpo").advantages(scores, 10)
    torch.testing.assert_close(grpo[0], (scores[0] - 0.3) / scores[0].std(), rtol=1e-4, atol=1e-5)
    assert (grpo[1] == 0).all()
    ppo = baseline("ppo").advantages(scores, 10)
    torch.testing.assert_close(ppo.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(ppo[0] / ppo[0, 3], (scores[0] - 0.3) / 0.3)
    reinforce = baseline("reinforce")
    mean = scores.mean()
    torch.testing.assert_close(reinforce.advantages(scores, 10), (scores - mean) * 10)
    torch.testing.assert_close(reinforce.advantages(scores + 0.1, 10), (scores + 0.1 - mean) * 10)
    later = mean + 0.1 * 0.1
    torch.testing.assert_close(reinforce.advantages(scores, 10), (scores - later) * 10)


def test_clipping_takes_the_gain_from_ratios_that_went_far():
    ratio = torch.tensor([[[0.5, 1.0, 1.5]], [[0.5, 1.0, 1.5]]], requires_grad=True)
    advantages = torch.tensor([[2.0], [-2.0]])
    found = clipped_objective(ratio, advantages, 0.2)
    expected = (2 * (0.5 + 1.0 + 1.2) - 2 * (0.8 + 1.0 + 1.5)) / 6
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert ratio.grad is not None
    assert (ratio.grad != 0).flatten().tolist() == [True, True, False, False, True, True]
    torch.testing.assert_close(
        clipped_objective(ratio, advantages, None), (ratio * advantages[..., None]).mean()
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_takes_its_steps(method):
    agent = baseline(method, epochs=3)
    optimizer = torch.optim.SGD(agent.network.parameters(), 0.1)
    steps = 0
    for loss, metrics in agent.losses():
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
        assert metrics["score"] >= 0
        steps += 1
    assert steps == (3 if method in ("grpo", "ppo") else 1)
    assert agent.queries_per_update == 16


def test_the_first_gradient_of_ppo_is_the_policy_gradient():
    """Before a step every ratio is one: nothing is clipped, and ppo is rloo in other units."""
    gradients = []
    for method in ("rloo", "ppo"):
        agent = baseline(method, entropy=0.0)
        loss, _ = agent.loss()
        loss.backward()
        weights = agent.network.get_parameter("body.head.weight")
        assert weights.grad is not None
        gradients.append(weights.grad.flatten())
    alike = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert float(alike) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"entropy": -1.0}, "entropy must be at least 0, got -1"),
        ({"exploration": 1.0}, "exploration must be in 0..1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"clip": 1.5}, "clip must be between 0 and 1"),
    ],
)
def test_a_bad_configuration_is_named(arguments, named):
    with pytest.raises(InputError, match=named):
        BaselineConfig(**arguments).check()
