"""Packaged ImageNet weights: loaded whole, in their places; refused where they do not fit."""

from typing import Any

import pytest
import torch

from rss_agents.networks.build import build_network
from rss_agents.networks.names import LITE0
from rss_agents.networks.pretrained import load_lite0, packaged_weights
from rss_env.errors import InputError

NETWORK = f"unet/{LITE0}"


def build(name: str, size: int = 32, pretrained: bool = False) -> Any:
    return build_network(name, 3, (size, size), pretrained=pretrained)


@pytest.fixture(scope="module")
def weights():
    file = packaged_weights()
    if file is None:
        pytest.skip("needs the extra rss-env[pretrained]")
    return file


def test_pretrained_start_holds_the_packaged_tensors(weights):
    network = build(NETWORK, pretrained=True)
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    encoder = network.body.encoder
    pairs = [  # a stem, a depthwise layer inside, running statistics, and the last that is taken
        (encoder.model.conv_stem.weight, "_conv_stem.weight"),
        (encoder.model.blocks[1][0].conv_dw.weight, "_blocks.1._depthwise_conv.weight"),
        (encoder.model.blocks[1][0].bn2.running_var, "_blocks.1._bn1.running_var"),
        (encoder.model.blocks[6][0].bn3.running_mean, "_blocks.15._bn2.running_mean"),
    ]
    for own, name in pairs:
        torch.testing.assert_close(own, stored[name], rtol=0, atol=0)
    assert network.training


def test_pretrained_features_tell_images_apart_better_than_random_ones(weights):
    """Weights in wrong places would give features as blind as random ones."""
    torch.manual_seed(0)
    stripes = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    stripes[:, :, ::4] = 255
    images = torch.cat([stripes, stripes.transpose(1, 2), stripes.roll(1, 2)])
    similarities = []
    for pretrained in (True, False):
        network = build(NETWORK, 64, pretrained).eval()
        with torch.no_grad():
            deepest = network.body.encoder(images.permute(0, 3, 1, 2).float() / 127.5 - 1)[-1]
        turned, moved = (
            torch.cosine_similarity(deepest[0].mean((1, 2)), deepest[i].mean((1, 2)), dim=0)
            for i in (1, 2)
        )
        similarities.append((moved - turned).item())
    assert similarities[0] > similarities[1]


def test_images_are_normalised_as_the_weights_expect():
    network = build(NETWORK)
    assert network.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert network.std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_weights_of_another_encoder_are_refused_and_nothing_changes(weights):
    encoder = build("unet/resnet18").body.encoder
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(InputError, match="does not hold the weights"):
        load_lite0(encoder, weights)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
