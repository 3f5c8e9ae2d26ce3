"""Networks: images in, logits for every pixel out.

`tiny-unet-silu` is ours, small enough to train on two CPU cores in a minute or two; `tiny-unet` is
the same with ReLU, `tiny-unet-group` with group normalisation as well. Any network of
segmentation-models-pytorch is built by name, as `<architecture>/<encoder>`; with `@4` behind it, it
acts where its decoder ends, on cells of 4 x 4 pixels, and is upsampled only to be evaluated. So is
a network of one's own, named by the function that builds it, `my_package:build_network`.
"""

from __future__ import annotations

import copy
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from rss_agents.networks.decisions import MetricDecision
from rss_agents.networks.names import Precision
from rss_env.errors import InputError

# ImageNet statistics of RGB in 0..1, as most pretrained weights use
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def upsample(logits: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Logits (B, C, h, w) at another size (H, W), bilinear; the same tensor if that is theirs."""
    if tuple(logits.shape[2:]) == tuple(size):
        return logits
    return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Hold a network in evaluation mode; the mode it had comes back, whatever happens."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


class Predictor(nn.Module, ABC):
    """A network that gives the classes of pixels, whatever it is made of."""

    @abstractmethod
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Classes (B, H, W) uint8 of images (B, H, W, 3) uint8, in evaluation mode."""


class SegmentationNetwork(Predictor):
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
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
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

    def frozen_copy(self) -> SegmentationNetwork:
        """A copy of its own, in evaluation mode, that is not learned."""
        compiled, self._compiled = self._compiled, None
        try:
            return copy.deepcopy(self).eval().requires_grad_(False)
        finally:
            self._compiled = compiled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
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

    @torch.no_grad()
    def rehearse(self, images: torch.Tensor) -> torch.Tensor:
        """Logits in training mode, after which everything is as it was.

        Statistics of batches, the mode, and the global generators of random numbers are meant:
        Python's, NumPy's and torch's.
        """
        was_training, compiled, device = self.training, self._compiled, self.mean.device
        of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            self._compiled = None  # which would be compiled for this once
            try:
                return functional_call(self.train(), buffers, (images,))
            finally:
                self._compiled = compiled
                self.train(was_training)
                random.setstate(of_python)
                np.random.set_state(of_numpy)  # noqa: NPY002

    def pixel_values(self, images: torch.Tensor) -> torch.Tensor:
        """The worth of each class of each pixel, (B, C, H, W), whose largest is the answer.

        Logits; or, after training on scores of a known metric, what a class adds to the metric.
        """
        return self.decide(upsample(self(images), images.shape[1:3]))

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) that images are best read at, for a network that was trained at a size."""
        return image_size

    @torch.no_grad()
    def predict(
        self,
        images: torch.Tensor,
        size: Sequence[int] | None = None,
        window: tuple[slice, slice] | None = None,
    ) -> torch.Tensor:
        """The class of each pixel; the network has to be in evaluation mode.

        Args:
            images: (B, H, W, 3) uint8.
            size: (H', W') of the answer, to which values are upsampled; None: of the images.
            window: Rows and columns of the images that are asked for; None: all.

        Returns:
            (B, H', W') uint8.
        """
        values = self.pixel_values(images)
        if window is not None:
            values = values[:, :, window[0], window[1]]
        return upsample(values, size or values.shape[2:]).argmax(1).to(torch.uint8)

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


def _compile(body: nn.Module, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The compiled forward pass of a module; a compiler is tried at once, on something small."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except Exception as error:  # of whatever the compiler's parts raise
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"compile does not work here: {reason[:200]}") from None
    return torch.compile(body.forward)
