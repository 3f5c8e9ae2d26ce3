"""Networks: images in, logits for every pixel out.

`tiny-unet` is ours, small enough to train on two CPU cores in a minute or two; `tiny-unet-group` is
the same with group normalisation. Any network of segmentation-models-pytorch is built by name, as
`<architecture>/<encoder>`; with `@4` behind it, it acts where its decoder ends, on cells of 4 x 4
pixels, and is upsampled only to be evaluated. So is a network of one's own, named by the function
that builds it, `my_package:build_network`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from inspect import signature
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from agents.decisions import MetricDecision
from agents.own_network import build_own, is_own
from agents.pretrained import LITE0, LITE0_MEAN, LITE0_STD, load_lite0, packaged_weights
from agents.tiny_unet import TINY_UNETS, TinyUNet
from rss_env.action_maps import MAX_CLASSES
from rss_env.errors import InputError

Precision = Literal["float32", "bfloat16", "float64"]

# ImageNet statistics of RGB in 0..1, as most pretrained weights use
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# timm takes other names for places to read from, `hf_hub:...` on the network, `local-dir:...` here.
_ENCODER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MOST_PIXELS = 4096 * 4096  # of an image; a network is tried on one


def upsample(logits: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Logits (B, C, h, w) at another size (H, W), bilinear; the same tensor if that is theirs."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


class SegmentationNetwork(nn.Module):
    """A network behind the observation format: uint8 images in, logits out.

    Attributes:
        stride: Side in pixels of the cells that have logits in training; 1 for pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        body: nn.Module,
        num_classes: int,
        mean: tuple[float, ...] = _MEAN,
        std: tuple[float, ...] = _STD,
        stride: int = 1,
    ):
        """Wrap a module that maps normalised (B, 3, H, W) to logits (B, C, H/stride, W/stride).

        Args:
            body: The module.
            num_classes: C.
            mean: What is subtracted from RGB in 0..1.
            std: What the rest is divided by.
            stride: Of the logits.
        """
        super().__init__()
        self.body, self.stride = body, stride
        self.decide = MetricDecision(num_classes)
        self._half, self._compiled = False, None
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def accelerate(self, precision: Precision, *, compiled: bool) -> None:
        """Choose how the body runs.

        Args:
            precision: `bfloat16` is automatic mixed precision, with parameters in float32.
            compiled: Whether to compile it for training. (Evaluation meets batches of many sizes,
                and would be compiled for each.)

        Raises:
            InputError: If nothing can be compiled here.
        """
        self.to(torch.float64 if precision == "float64" else torch.float32)
        self._half = precision == "bfloat16"
        self._compiled = _compile(self.body, self.mean.device) if compiled else None

    def cell_logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H/stride, W/stride) of images (B, H, W, 3) uint8, of the weights' type."""
        x = images.permute(0, 3, 1, 2)  # the memory is channels-last already
        x = (x.to(self.mean.dtype) / 255.0 - self.mean) / self.std
        body = self._compiled if self._compiled is not None and self.training else self.body
        with torch.autocast(x.device.type, torch.bfloat16) if self._half else nullcontext():
            logits = body(x)
        if not isinstance(logits, torch.Tensor):  # some networks give a dict, or several tensors
            raise InputError(
                "the network must give one tensor of logits (B, C, H/stride, W/stride), got "
                f"{type(logits)}"
            )
        return logits.to(x.dtype)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """In training mode the logits of cells; in evaluation mode those of pixels, (B, C, H, W).

        In evaluation mode, after training on scores of a known metric: what each class is worth
        there instead; in all cases the largest is the answer.
        """
        logits = self.cell_logits(images)
        return logits if self.training else self.decide(upsample(logits, images.shape[1:3]))

    def check_scales(self, scales: Sequence[int]) -> None:
        """Refuse scales whose cells are not whole cells of the network.

        Raises:
            InputError: If the stride does not divide a scale.
        """
        if any(scale % self.stride for scale in scales):
            raise InputError(
                f"scales {tuple(scales)} do not fit a network that acts on cells of "
                f"{self.stride}x{self.stride} pixels; valid: multiples of {self.stride}"
            )


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


def _compile(body: nn.Module, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The compiled forward pass of a module; a compiler is tried at once, on something small."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # of whatever the compiler's parts raise
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"compile does not work here: {reason[:200]}") from None
    return torch.compile(body.forward)


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
) -> SegmentationNetwork:
    """Build a network by name, and check that it takes images of this size.

    Args:
        name: `tiny-unet`, `tiny-unet-group`, or `<architecture>/<encoder>` of
            segmentation-models-pytorch; with `@stride` behind it, the logits stay at the stride of
            its decoder. Or `module:function`, which is imported and called with C, and gives a
            module from normalised (B, 3, H, W) to logits; with `@stride` if they have one.
        num_classes: C.
        image_size: (H, W) of the images it will see.
        pretrained: Whether the encoder starts from ImageNet weights (downloaded once, or
            EfficientNet-Lite0's from the extra `pretrained`).
        device: Where the network lives.

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
    _, encoder, given = split_name(name)
    stride = given or 1
    if pretrained and (name in TINY_UNETS or is_own(name)):
        raise InputError(f"there are no pretrained weights for {name}")
    if name in TINY_UNETS:
        body: Any = TinyUNet(num_classes, TINY_UNETS[name])
    elif is_own(name):
        body = build_own(name, num_classes)
    else:
        body = _build_smp(name, num_classes, pretrained)
    statistics = (LITE0_MEAN, LITE0_STD) if encoder == LITE0 else (_MEAN, _STD)
    network = SegmentationNetwork(body, num_classes, *statistics, stride).to(device)
    if network.mean.device.type == "cuda":  # (on a CPU the images' layout is enough)
        network = network.to(memory_format=torch.channels_last)
    _try(network, name, num_classes, image_size)
    return network.train()


@torch.no_grad()
def _try(
    network: SegmentationNetwork, name: str, num_classes: int, image_size: tuple[int, int]
) -> None:
    """Refuse a network whose logits of an image do not have the shape they should have."""
    (height, width), stride = image_size, network.stride
    size = f"{height}x{width}"
    probe = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=network.mean.device)
    try:
        shape = tuple(network.eval().cell_logits(probe).shape)
    except InputError as error:
        raise InputError(f"network {name!r}: {error}") from None
    except Exception as error:  # of whatever the network's own code raises
        raise InputError(
            f"network {name!r} does not take {size} images: {str(error)[:200]}"
        ) from error
    expected = (1, num_classes, height // stride, width // stride)
    if shape == expected:
        return
    message = f"network {name!r} gives {size} images logits of shape {shape}, "
    if len(shape) == 4 and shape[:2] == expected[:2] and 0 < shape[2] < height:
        raise InputError(f"{message}which is not stride {stride} but {height / shape[2]:g}")
    raise InputError(f"{message}expected {expected}")
