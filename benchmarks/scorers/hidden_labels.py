"""Labels that a scorer knows and nobody else: found by the image that is shown."""

from __future__ import annotations

import torch

from benchmarks.learning.suites import Suite
from rss_env.errors import InputError
from rss_env.scenes import Scenes, load_scenes


class HiddenLabels:
    """The labels of a suite's training images, of images as they are and mirrored.

    Attributes:
        num_classes: C.
        samples: Images (M, H, W, 3) uint8, and their labels (M, H, W) uint8.
    """

    def __init__(self, suite: Suite):
        """Read the images and labels, and note what each image looks like.

        Raises:
            InputError: If the suite's files are not there.
        """
        scenes: Scenes = load_scenes(suite.data(None).open(suite.splits(None)[0]), suite.size)
        assert scenes.labels is not None
        self.num_classes = scenes.num_classes
        self.samples = scenes.images, scenes.labels
        self._places: dict[bytes, tuple[int, bool]] = {}
        for mirrored in (True, False):
            images = scenes.images.flip(2) if mirrored else scenes.images
            for index, image in enumerate(images.contiguous()):
                self._places[image.numpy().tobytes()] = index, mirrored

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """Label maps (G, H, W) uint8, 255 for void, of images (G, H, W, 3) uint8.

        Raises:
            InputError: If an image is none of the suite's.
        """
        found = []
        for image in images.cpu():
            place = self._places.get(image.numpy().tobytes())
            if place is None:
                raise InputError("an image is shown that the scorer's suite does not have")
            label = self.samples[1][place[0]]
            found.append(label.flip(1) if place[1] else label)
        return torch.stack(found)
