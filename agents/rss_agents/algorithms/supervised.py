"""References with labels: the same network on the same images, but it sees their labels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import DiceLoss
from torch import nn

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.reference_config import SupervisedConfig
from rss_agents.distributed import mean_over_ranks, own_seed
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.losses.cross_entropy import weighted_cross_entropy
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_env.action_maps import ActionMapGeometry
from rss_env.augmentation import Augmentation
from rss_env.errors import InputError
from rss_env.host_inputs import HostInputs
from rss_env.labels import VOID
from rss_env.scene_stream import SceneStream
from rss_env.scenes import Scenes


def _count(valid: torch.Tensor) -> torch.Tensor:
    """Number of valid pixels, on average over the ranks; at least 1."""
    return mean_over_ranks(valid.sum()).clamp(min=1)


class LabelledLearner(Learner):
    """Draws images with their labels, as the environment draws them; subclasses add the loss."""

    def __init__(
        self,
        network: nn.Module,
        scenes: Scenes,
        num_images: int,
        seed: int,
        *,
        augmentation: Augmentation,
    ):
        """Bind a network to labelled scenes.

        Args:
            network: uint8 (B, H, W, 3) to logits (B, C, h, w), which are upsampled to pixels.
            scenes: Images with labels.
            num_images: B, of this process.
            seed: Of the images: the same seed shows the same images as the environment does.
            augmentation: How images are varied at random.
        """
        self.network, self.scenes = network, scenes
        self.stream = SceneStream(num_images, len(scenes), augmentation, source=scenes.streamed)
        self.inputs = HostInputs(scenes.device)
        for group in range(num_images):
            self.stream.seed(group, own_seed(seed, num_images) + group)

    def replace_inputs(self, inputs: HostInputs) -> None:
        """See `Learner.replace_inputs`."""
        self.inputs = inputs

    def get_state(self) -> dict[str, Any]:
        """The state of the stream of images."""
        return {"stream": self.stream.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on with a stream of `get_state`."""
        self.stream.set_state(state["stream"])

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The images, their numbers and their labels."""
        batch = self.stream.batch(self.scenes.device)
        images, labels = self.scenes.observe(batch), self.scenes.labels_of(batch)
        return {"images": images, "index": batch.index, "labels": labels}

    @abstractmethod
    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of logits (B, C, H, W) for labels (B, H, W) int64, 255 for void."""

    def loss(self, progress: Progress = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch: the loss, and the pixel accuracy to log as `score`."""
        self.inputs.do(lambda: self.stream.advance(self.stream.episodes >= -1))
        batch = self.stream.tell(self.inputs)
        labels = self.scenes.labels_of(batch).long()
        logits = upsample(self.network(self.scenes.observe(batch)), labels.shape[1:])
        with torch.no_grad():
            valid = labels != VOID
            right = ((logits.argmax(1) == labels) & valid).sum() / _count(valid)
        return self.loss_of(logits, labels), {"score": right}


class CrossEntropyLearner(LabelledLearner):
    """Cross-entropy of every pixel (`psl`, pixel-level supervised learning)."""

    def __init__(self, *arguments: Any, supervised: SupervisedConfig | None = None, **options: Any):
        """Bind a network to labelled scenes.

        Args:
            *arguments: Of the parent.
            supervised: Which pixels count more; None: all alike.
            **options: Of the parent.

        Raises:
            InputError: If there is not one weight a class.
        """
        super().__init__(*arguments, **options)
        self._config = supervised or SupervisedConfig()
        self._weights = self._weights_of(self._config.class_weights)

    def _weights_of(
        self, given: tuple[float, ...] | Literal["inverse", "root"] | None
    ) -> torch.Tensor:
        """Weights of the classes, (C,) float32."""
        classes = self.scenes.num_classes
        if isinstance(given, tuple) and len(given) != classes:
            raise InputError(f"class_weights has {len(given)} numbers, the data {classes} classes")
        weights = np.ones(classes) if given is None else np.array(given)
        if isinstance(given, str):
            weights = self.scenes.inverse_frequencies() ** (0.5 if given == "root" else 1.0)
        return torch.from_numpy(weights.astype(np.float32)).to(self.scenes.device)

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over valid pixels, and zero instead of NaN for a batch that has none."""
        if self._config.weighs_pixels:
            total, weight = weighted_cross_entropy(
                logits, labels, self._weights, self._config.focal_gamma
            )
            return total / mean_over_ranks(weight).clamp(min=1e-6)
        total = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum")
        return total / _count(labels != VOID)


class MetricDecisionLearner(CrossEntropyLearner):
    """Cross-entropy, then decisions for the metric as `rss` makes them (`psl-metric`).

    Tells what of a result is due to the decisions.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        *arguments: Any,
        metric: str,
        model: MetricModelConfig,
        **options: Any,
    ):
        """Bind a network, with the metric that decisions shall serve."""
        super().__init__(network, *arguments, **options)
        self.decide, self.metric, self.model = network.decide, metric, model

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The parent's loss; the network's probabilities are taken note of."""
        self.decide.observe(logits.softmax(1), self.metric, model=self.model)
        return super().loss_of(logits, labels)


class DiceLearner(CrossEntropyLearner):
    """Cross-entropy plus soft Dice (`psl-dice`): the reference that aims at overlap, as mIoU does.

    Source: Milletari et al., V-Net, arXiv 1606.04797; over the classes of the batch.
    """

    _dice = DiceLoss("multiclass", ignore_index=VOID)

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum of both."""
        return super().loss_of(logits, labels) + self._dice(logits, labels)


class MultiScaleLearner(LabelledLearner):
    """Cross-entropy of every scale's cells (`psl-multiscale`): the scores' scales, with labels."""

    def __init__(self, *arguments: Any, geometry: ActionMapGeometry, **options: Any):
        """Bind a network, with the action maps whose cells are learned from."""
        super().__init__(*arguments, **options)
        self.geometry = geometry

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over scales of the cross-entropy with the share of each class in a cell."""
        valid = (labels != VOID).float()
        targets = F.one_hot(labels.where(labels != VOID, 0), logits.shape[1]).permute(0, 3, 1, 2)
        scales, split = self.geometry.scales, self.geometry.split
        shares = pool_cells(targets * valid[:, None], scales)  # sum to the valid share
        likelihoods = shares * pool_cells(logits, scales).log_softmax(1)
        terms = [
            -of_scale.sum() / mean_over_ranks(share.sum()).clamp(min=1e-6)
            for of_scale, share in zip(split(likelihoods), split(shares), strict=True)
        ]
        return torch.stack(terms).mean()


class ImageTagLearner(LabelledLearner):
    """Class activation maps learned from tags (`wsss-cam`); class 0 is taken for the background.

    A class's activation at a pixel is its logit less the background's, so that the most likely
    class is the background where no class is active. A soft maximum over the pixels predicts the
    tag.

    Source: class activation maps (Zhou et al., arXiv 1512.04150), pooled by log-mean-exp as in
    Pinheiro and Collobert, arXiv 1411.6228: under plain averaging nothing tells the background.
    """

    def __init__(self, *arguments: Any, sharpness: float, **options: Any):
        """Bind a network, with the sharpness of the soft maximum (in the source 5)."""
        super().__init__(*arguments, **options)
        self.sharpness = sharpness

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of every foreground class's tag."""
        shown = F.one_hot(labels.where(labels != VOID, 0), logits.shape[1])
        tags = (shown * (labels != VOID)[..., None]).amax((1, 2))[:, 1:].float()
        activation = (logits[:, 1:] - logits[:, :1]).flatten(2)
        pixels = activation.shape[2]
        pooled = (self.sharpness * activation).logsumexp(2) / self.sharpness
        pooled = pooled - math.log(pixels) / self.sharpness
        return F.binary_cross_entropy_with_logits(pooled, tags)
