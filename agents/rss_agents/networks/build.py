"""Networks by name."""

from __future__ import annotations

import re
from inspect import signature
from typing import Any

import torch
from torch import nn

from rss_agents.networks.names import LITE0
from rss_agents.networks.own_network import build_own, check_body, is_object, is_own
from rss_agents.networks.pretrained import LITE0_MEAN, LITE0_STD, load_lite0, packaged_weights
from rss_agents.networks.segmentation_network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SegmentationNetwork,
)
from rss_agents.networks.tiny_unet import TINY_UNETS
from rss_agents.networks.trial import check_logits
from rss_env.errors import InputError
from rss_env.labels import MAX_CLASSES

# timm takes other names for places to read from, `hf_hub:...` on the network, `local-dir:...` here.
_ENCODER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MOST_PIXELS = 4096 * 4096  # of an image; a network is tried on one


def split_name(name: str) -> tuple[str, str, int | None]:
    """Architecture, encoder and stride of a network's name; `tiny-unet` has no encoder.

    Raises:
        InputError: If it is no name, or what is behind an `@` is no stride.
    """
    if not isinstance(name, str):
        raise InputError(f"network must be a name, got {name!r:.300}")
    network, at, stride = name.partition("@")
    architecture, _, encoder = network.partition("/")
    if at and not (stride.isdecimal() and len(stride) < 5 and int(stride) > 0):
        raise InputError(
            f"network {name!r:.300}: behind @ stands the stride of the logits, such as @4"
        )
    return architecture, encoder, int(stride) if at else None


def _build_smp(name: str, num_classes: int, pretrained: bool) -> nn.Module:
    import segmentation_models_pytorch as smp  # heavy, and most runs do without

    architectures = {a.__name__.lower(): a for a in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    architecture, encoder, stride = split_name(name)
    if architecture.lower() not in architectures:
        raise InputError(
            f"unknown network {name!r:.300}; valid: {', '.join(TINY_UNETS)}, "
            "<module>:<function>, or <architecture>/<encoder> with architecture among "
            f"{', '.join(sorted(architectures))} "
            "and an encoder of segmentation-models-pytorch, for example unet/resnet18"
        )
    if encoder and not _ENCODER.fullmatch(encoder):
        raise InputError(
            f"network {name!r:.300}: an encoder is named by letters, digits, dots and dashes alone"
        )
    strided = [n for n, a in architectures.items() if "upsampling" in signature(a).parameters]
    if stride is not None and architecture.lower() not in strided:
        raise InputError(
            f"network {name!r}: {architecture} gives every pixel logits of its own; valid with "
            f"@stride: {', '.join(sorted(strided))}"
        )
    file = packaged_weights() if pretrained and encoder == LITE0 else None
    try:
        network: Any = smp.create_model(
            architecture.lower(),
            encoder_name=encoder,
            encoder_weights="imagenet" if pretrained and file is None else None,
            classes=num_classes,
            **({} if stride is None else {"upsampling": 1}),
        )
    except (KeyError, ValueError, RuntimeError) as error:
        encoders = ", ".join(sorted(smp.encoders.get_encoder_names()))
        raise InputError(
            f"network {name!r} cannot be built with encoder {encoder!r}: "
            f"{str(error).strip(chr(39))[:200]}; valid encoders: {encoders}, or tu-<timm model>"
        ) from None
    if file is not None:
        load_lite0(network.encoder, file)
    return network


def build_network(
    name: str,
    num_classes: int,
    image_size: tuple[int, int],
    *,
    pretrained: bool = False,
    device: torch.device | str = "cpu",
    body: nn.Module | None = None,
) -> SegmentationNetwork:
    """Build a network by name, and check that it takes images of this size.

    Args:
        name: `tiny-unet-silu`, `tiny-unet`, `tiny-unet-group`, or `<architecture>/<encoder>` of
            segmentation-models-pytorch; with `@stride` behind it, the logits stay at the stride of
            its decoder. Or `module:function`, which is imported and called with C, and gives a
            module from normalised (B, 3, H, W) to logits; with `@stride` if they have one.
        num_classes: C.
        image_size: (H, W) of the images it will see.
        pretrained: Whether the encoder starts from ImageNet weights (downloaded once, or
            EfficientNet-Lite0's from the extra `pretrained`).
        device: Where the network lives.
        body: A module that is there already, in place of one that would be built; the name says
            what to call it, and the stride of its logits.

    Returns:
        A network from uint8 (B, H, W, 3) to logits (B, C, H/stride, W/stride).

    Raises:
        InputError: If the name is unknown, the weights cannot be had, the network cannot be built,
            or the number of classes or the size does not fit.
    """
    (height, width), size = image_size, f"{image_size[0]}x{image_size[1]}"
    if not 1 <= num_classes <= MAX_CLASSES:
        raise InputError(f"a network has 1..{MAX_CLASSES} classes, got {num_classes}")
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise InputError(f"images must be of 1x1 to {_MOST_PIXELS} pixels in all, got {size}")
    _, encoder, stride = split_name(name)
    if pretrained and (name in TINY_UNETS or is_own(name) or body is not None):
        raise InputError(f"there are no pretrained weights for {name}")
    if body is not None:
        check_body(name, body)
    elif is_object(name):
        raise InputError(
            f"network {name!r} is an object of the program that trained it: pass the module, or "
            "name what builds its like, with --own-network module:function"
        )
    elif name in TINY_UNETS:
        body = TINY_UNETS[name](num_classes)
    elif is_own(name):
        body = build_own(name, num_classes)
    else:
        body = _build_smp(name, num_classes, pretrained)
    mean, std = (LITE0_MEAN, LITE0_STD) if encoder == LITE0 else (IMAGENET_MEAN, IMAGENET_STD)
    network = SegmentationNetwork(body, num_classes, mean, std, stride or 1).to(device)
    if network.mean.device.type == "cuda":  # (on a CPU the images' layout is enough)
        network = network.to(memory_format=torch.channels_last)
    check_logits(network, name, num_classes, image_size)
    return network.train()
