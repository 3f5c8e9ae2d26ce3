"""Answers from several views of an image: mirrored, and at several sizes.

Probabilities of the views are averaged, as is usual ("test-time augmentation"; flips and scales as
in Chen et al., "Rethinking atrous convolution", arXiv 1706.05587).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_agents.networks.views_config import ViewsConfig
from rss_env.errors import InputError

_STEPS = (1, 2, 4, 8, 16, 32)  # pixels; most encoders need sides to be multiples of the last


class SeveralViews(SegmentationNetwork):
    """A trained network that answers with the mean probabilities of several views.

    It shares the network's layers and decisions, and stands wherever the network does, in windows
    too.
    """

    def __init__(
        self, network: SegmentationNetwork, image_size: tuple[int, int], views: ViewsConfig
    ):
        """Bind a network in evaluation mode.

        Args:
            network: The network.
            image_size: (H, W) it was trained at.
            views: What is looked at. Sides are rounded to multiples of a power of two that divides
                the size trained at, 32 at most.

        Raises:
            InputError: If the views are none, or the network does not take images of their sizes.
        """
        views.check()
        super().__init__(network.body, network.decide.gains.numel(), stride=network.stride)
        self.mean, self.std, self.decide = network.mean, network.std, network.decide
        self._flip = views.flip
        step = max(s for s in _STEPS if all(side % s == 0 for side in image_size))
        self._sizes = [_scaled(image_size, scale, step) for scale in views.image_scales]
        self.eval()
        for size in self._sizes:
            self._try(size)

    @torch.no_grad()
    def _try(self, size: tuple[int, int]) -> None:
        probe = torch.zeros(1, *size, 3, dtype=torch.uint8, device=self.mean.device)
        try:
            self(probe)
        except Exception as error:  # of whatever the network's own code raises
            raise InputError(
                f"the network does not take images of {size[0]}x{size[1]}, one of --image-scales: "
                f"{str(error)[:200]}"
            ) from None

    def input_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """See `SegmentationNetwork.input_size`: the largest view's."""
        return max(image_size, *self._sizes)

    def pixel_values(self, images: torch.Tensor) -> torch.Tensor:
        """See `SegmentationNetwork.pixel_values`: of the views' mean probabilities."""
        size, views = images.shape[1:3], []
        for view_size in self._sizes:
            view = _resized(images, view_size)
            logits = [upsample(self(view), size)]
            if self._flip:
                logits.append(upsample(self(view.flip(2)).flip(3), size))
            views += [(values / self.decide.temperature).softmax(1) for values in logits]
        probabilities = torch.stack(views).mean(0)
        return self.decide.worth(probabilities) if self.decide.has_observed else probabilities


def _scaled(image_size: tuple[int, int], scale: float, step: int) -> tuple[int, int]:
    height, width = (max(step, round(side * scale / step) * step) for side in image_size)
    return height, width


def _resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images (B, H, W, 3) uint8 at another size, bilinear, smoothed where they shrink."""
    if tuple(images.shape[1:3]) == size:
        return images
    pixels = F.interpolate(
        images.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True
    )
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
