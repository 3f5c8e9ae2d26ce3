"""Trying a network on black images, before anything is made of it or written."""

from __future__ import annotations

import torch

from rss_agents.distributed import world_size
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.errors import InputError


@torch.no_grad()
def check_logits(
    network: SegmentationNetwork, name: str, num_classes: int, image_size: tuple[int, int]
) -> None:
    """Refuse a network whose logits of an image do not have the shape they should have.

    Args:
        network: The network; in evaluation mode afterwards.
        name: Of the network, for messages.
        num_classes: C.
        image_size: (H, W).

    Raises:
        InputError: If it fails, or gives something else.
    """
    stride, (height, width) = network.stride, image_size
    size = f"{height}x{width}"
    try:
        shape = tuple(network.eval()(_black(network, 1, image_size)).shape)
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


def check_training(
    network: SegmentationNetwork, name: str, num_images: int, image_size: tuple[int, int]
) -> None:
    """Refuse a network that cannot be trained on batches of so many images.

    Batch normalisation cannot where an image leaves it one value of a channel. The network and the
    generators of random numbers stay as they are.

    Args:
        network: The network, which gives the logits it should in evaluation mode.
        name: Of the network, for messages.
        num_images: Images of a batch of this process.
        image_size: (H, W).

    Raises:
        InputError: If it fails in training mode, or gives other logits than in evaluation mode.
    """
    if world_size() > 1 and network.mean.device.type == "cuda":
        num_images = max(2, num_images)  # batch normalisation is over those of all processes there
    reason = training_failure(network, num_images, image_size)
    if reason is None:
        return
    batch = "1 image" if num_images == 1 else f"{num_images} images"
    advice = ""
    if num_images == 1 and training_failure(network, 2, image_size) is None:
        advice = f"; it needs two or more a process: give --num-images {2 * world_size()}"
    raise InputError(
        f"network {name!r} cannot be trained on {batch} of {image_size[0]}x{image_size[1]} at a "
        f"time: {reason}{advice}"
    )


def training_failure(
    network: SegmentationNetwork, num_images: int, image_size: tuple[int, int]
) -> str | None:
    """Why a network cannot be trained on batches of so many images, in a line; None if it can."""
    height, width = (side // network.stride for side in image_size)
    try:
        shape = tuple(network.rehearse(_black(network, num_images, image_size)).shape)
    except Exception as error:  # of whatever the network's own code raises
        reason = str(error).strip().split("\n")[0]
        return reason[:200] or type(error).__name__
    if (shape[0], *shape[2:]) == (num_images, height, width):
        return None
    return f"its logits have the shape {shape} in training mode"


def _black(
    network: SegmentationNetwork, num_images: int, image_size: tuple[int, int]
) -> torch.Tensor:
    """Black images (B, H, W, 3) uint8 on the network's device."""
    return torch.zeros(num_images, *image_size, 3, dtype=torch.uint8, device=network.mean.device)
