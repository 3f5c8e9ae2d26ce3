"""Networks: images in, logits for every pixel out.

`tiny-unet` is ours, small enough to train on two CPU cores in a minute or two; `tiny-unet-group` is
the same with group normalisation. Any network of segmentation-models-pytorch is built by name, as
`<architecture>/<encoder>`; with `@4` behind it, it acts where its decoder ends, on cells of 4 x 4
pixels, and is upsampled only to be evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from agents.decisions import MetricDecision
from agents.pretrained import LITE0, LITE0_MEAN, LITE0_STD, load_lite0, packaged_weights
from rss_env.action_maps import MAX_CLASSES
from rss_env.errors import InputError

TINY_UNET = "tiny-unet"
Precision = Literal["float32", "bfloat16", "float64"]

# ImageNet statistics of RGB in 0..1, as most pretrained weights use
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


_CHANNELS_OF_A_GROUP = 8
# timm takes other names for places to read from, `hf_hub:...` on the network, `local-dir:...` here.
_ENCODER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_MOST_PIXELS = 4096 * 4096  # of an image; a network is tried on one


def _group_normalisation(channels: int) -> nn.Module:
    """Each image is normalised by itself (Wu and He, arXiv 1803.08494)."""
    return nn.GroupNorm(channels // _CHANNELS_OF_A_GROUP, channels)


_TINY_UNETS = {TINY_UNET: nn.BatchNorm2d, f"{TINY_UNET}-group": _group_normalisation}


def _block(inputs: int, outputs: int, normalisation: Callable[[int], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            normalisation(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class TinyUNet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) of about 0.23 M parameters."""

    def __init__(
        self,
        num_classes: int,
        normalisation: Callable[[int], nn.Module] = nn.BatchNorm2d,
        widths: tuple[int, ...] = (16, 32, 48, 64),
    ):
        """Lay out the layers.

        Args:
            num_classes: C, channels of the output.
            normalisation: A layer for a number of channels.
            widths: Channels of each level, the first at full resolution.
        """
        super().__init__()
        self.down = nn.ModuleList(
            _block(i, o, normalisation) for i, o in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(deep + skip, skip, normalisation)
            for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of normalised images (B, 3, H, W), any H and W from 8."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], 1))
        return self.head(x)


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
        if not self._half:
            return body(x).to(x.dtype)
        with torch.autocast(x.device.type, torch.bfloat16):
            return body(x).to(x.dtype)

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
            f"unknown network {name!r:.300}; valid: {', '.join(_TINY_UNETS)}, or "
            f"<architecture>/<encoder> with architecture among {', '.join(sorted(architectures))} "
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
            its decoder.
        num_classes: C.
        image_size: (H, W) of the images it will see.
        pretrained: Whether the encoder starts from ImageNet weights (downloaded once, or
            EfficientNet-Lite0's from the extra `pretrained`).
        device: Where the network lives.

    Returns:
        A network from uint8 (B, H, W, 3) to logits (B, C, H/stride, W/stride).

    Raises:
        InputError: If the name is unknown, the weights cannot be had, or the number of classes or
            the size does not fit.
    """
    (height, width), size = image_size, f"{image_size[0]}x{image_size[1]}"
    if not 1 <= num_classes <= MAX_CLASSES:
        raise InputError(f"a network has 1..{MAX_CLASSES} classes, got {num_classes}")
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise InputError(f"images must be of 1x1 to {_MOST_PIXELS} pixels in all, got {size}")
    _, encoder, given = split_name(name)
    stride = given or 1
    if name in _TINY_UNETS:
        if pretrained:
            raise InputError(f"there are no pretrained weights for {name}")
        body: Any = TinyUNet(num_classes, _TINY_UNETS[name])
    else:
        body = _build_smp(name, num_classes, pretrained)
    statistics = (LITE0_MEAN, LITE0_STD) if encoder == LITE0 else (_MEAN, _STD)
    network = SegmentationNetwork(body, num_classes, *statistics, stride).to(device)
    if network.mean.device.type == "cuda":  # (on a CPU the images' layout is enough)
        network = network.to(memory_format=torch.channels_last)
    probe = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)
    try:
        with torch.no_grad():
            output = network.eval().cell_logits(probe)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"network {name!r} does not take {size} images: {str(error)[:200]}"
        ) from None
    if tuple(output.shape) != (1, num_classes, height // stride, width // stride):
        raise InputError(
            f"network {name!r} gives {size} images logits of shape {tuple(output.shape)}, which is "
            f"not stride {stride} but {height / output.shape[2]:g}"
        )
    return network.train()
