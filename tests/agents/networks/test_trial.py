"""Networks that are tried in training mode: what is refused, and that nothing else is changed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rss_agents import train
from rss_agents.networks.build import build_network
from rss_agents.networks.trial import check_training
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

NORMALISES_ONE_VALUE = "unet/resnet18"  # at 32 x 32 pixels, which its encoder makes 1 x 1


class Drawing(nn.Conv2d):
    """A network that counts its calls in a buffer and draws from every global generator."""

    def __init__(self, num_classes: int):
        super().__init__(3, num_classes, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.normalise, self.drop = nn.BatchNorm2d(num_classes), nn.Dropout(0.5)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        noise = random.random() + np.random.rand()  # noqa: NPY002
        return self.drop(self.normalise(super().forward(input))) + noise


class OtherInTraining(nn.Conv2d):
    """A network that gives half of the cells while it is trained."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        logits = super().forward(input)
        return logits[..., ::2] if self.training else logits


def drawing(num_classes: int) -> nn.Module:
    return Drawing(num_classes)


def other_in_training(num_classes: int) -> nn.Module:
    return OtherInTraining(3, num_classes, 1)


def seed_everything() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)


def draws() -> list[float]:
    return [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002


def test_a_trial_leaves_no_trace():
    network = build_network("test_trial:drawing", 3, (8, 8)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    seed_everything()
    expected = draws()
    seed_everything()
    check_training(network, "drawing", 2, (8, 8))
    assert draws() == expected
    assert network.training
    assert before.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_is_given_in_training_mode_is_looked_at():
    name = "test_trial:other_in_training"
    network = build_network(name, 3, (8, 8))
    with pytest.raises(InputError, match=rf"{name}.*2 images.*shape \(2, 3, 8, 4\) in training"):
        check_training(network, name, 2, (8, 8))


@pytest.mark.parametrize("algo", ["rss", "psl", "rloo", "sb3-ppo"])
def test_one_image_of_which_one_value_is_left_is_refused_before_anything_is_written(
    algo: Any, tmp_path
):
    config = TrainConfig(
        tmp_path / "run", algo=algo, network=NORMALISES_ONE_VALUE, num_images=1, group_size=2,
        image_size=(32,), scales=(8,), updates=1,
    )  # fmt: skip
    with pytest.raises(
        InputError,
        match=r"^network 'unet/resnet18' cannot be trained on 1 image of 32x32 at a time: Expected "
        r"more than 1 value per channel .* give --num-images 2$",
    ):
        train.train(config)
    assert not list(tmp_path.iterdir())


def test_two_images_are_enough():
    network = build_network(NORMALISES_ONE_VALUE, 3, (32, 32))
    check_training(network, NORMALISES_ONE_VALUE, 2, (32, 32))
    check_training(build_network("tiny-unet", 3, (32, 32)), "tiny-unet", 1, (32, 32))
