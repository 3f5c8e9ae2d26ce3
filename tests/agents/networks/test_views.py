"""Mirrored and resized views are averaged as they should be."""

from __future__ import annotations

import pytest
import torch

from rss_agents.networks.tile_config import TileConfig
from rss_agents.networks.tiling import predict_tiles
from rss_agents.networks.views import SeveralViews
from rss_agents.networks.views_config import ViewsConfig
from rss_env.errors import InputError
from trained_networks import SIZE, answer_with_every_class, trained


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("run")
    return trained("tiny-unet-silu", some_images(2), folder, answer_with_every_class)


def some_images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def test_a_mirrored_view_is_averaged(network):
    images = some_images(2)
    views = SeveralViews(network, SIZE, ViewsConfig(flip=True))
    expected = (network(images).softmax(1) + network(images.flip(2)).flip(3).softmax(1)) / 2
    torch.testing.assert_close(views.pixel_values(images), expected)
    assert views.predict(images).equal(views.predict(images.flip(2)).flip(2))
    assert not network.predict(images).equal(views.predict(images))


@torch.no_grad()
def test_sizes_are_those_asked_for(network, monkeypatch):
    sizes = []
    forward = SeveralViews.forward

    def noted(self, images):
        sizes.append(tuple(images.shape[1:3]))
        return forward(self, images)

    monkeypatch.setattr(SeveralViews, "forward", noted)
    views = SeveralViews(network, SIZE, ViewsConfig(image_scales=(0.5, 1.0, 2.0)))
    sizes.clear()
    images = some_images(1)
    answer = views.predict(images, (50, 100))
    assert answer.shape == (1, 50, 100)
    assert sizes == [(32, 32), (32, 64), (64, 128)]  # sides are multiples of 32, as those of SIZE
    assert views.input_size(SIZE) == (64, 128)
    one = SeveralViews(network, SIZE, ViewsConfig())
    assert one.predict(images).equal(network.predict(images))


def test_windows_have_views_too(network):
    pixels = some_images(1)[0].numpy()
    views = SeveralViews(network, SIZE, ViewsConfig(flip=True))
    windows = TileConfig(tiles=True)
    tiled = predict_tiles(views, pixels, SIZE, windows)
    assert (tiled == views.predict(some_images(1))[0].numpy()).all()


@pytest.mark.parametrize("scales", [(0.0,), (1.0, 17.0), (float("nan"),), ()])
def test_scales_that_are_none(scales):
    with pytest.raises(InputError, match="image_scales must be"):
        ViewsConfig(image_scales=scales).check()
