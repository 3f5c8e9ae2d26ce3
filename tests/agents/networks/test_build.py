"""Networks by name: what the stride in a name decides, and names that are none."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rss_agents.networks.build import build_network
from rss_env.errors import InputError
from strided_network import NETWORK, SIZE, strided_images


def test_the_stride_decides_nothing_but_where_the_decoder_stops():
    torch.manual_seed(0)
    strided = build_network(NETWORK, 5, SIZE).eval()
    torch.manual_seed(0)
    plain = build_network(NETWORK.removesuffix("@4"), 5, SIZE).eval()
    assert plain.stride == 1
    with torch.no_grad():
        cells = strided(strided_images())
        own = F.interpolate(cells, SIZE, mode="bilinear", align_corners=True)  # the library's way
        torch.testing.assert_close(plain(strided_images()), own)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fpn/resnet18@8", "not stride 8 but 4"),
        ("deeplabv3/resnet18@4", "not stride 4 but 8"),
        ("unet/resnet18@4", "gives every pixel logits of its own; valid with @stride: .*upernet"),
        ("fpn/resnet18@", "such as @4"),
        ("fpn/resnet18@-4", "such as @4"),
        ("fpn/resnet18@0", "such as @4"),
        ("tiny-unet@4", "unknown network 'tiny-unet@4'"),
    ],
)
def test_a_stride_that_is_not_there_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        build_network(name, 3, (64, 64))
