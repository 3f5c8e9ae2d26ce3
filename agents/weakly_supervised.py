"""The weakly supervised reference: image tags, which classes an image shows, and nothing more."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from agents.supervised import LabelledLearner
from rss_env.kernels.label_table import VOID

_SHARPNESS = 5.0  # of the soft maximum over pixels, the source's value


class ImageTagLearner(LabelledLearner):
    """Class activation maps learned from tags (`wsss-cam`); class 0 is taken for the background.

    A class's activation at a pixel is its logit less the background's, so that the most likely
    class is the background where no class is active. A soft maximum over the pixels predicts the
    tag.

    Source: class activation maps (Zhou et al., arXiv 1512.04150), pooled by log-mean-exp as in
    Pinheiro and Collobert, arXiv 1411.6228: under plain averaging nothing tells the background.
    """

    def loss_of(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of every foreground class's tag."""
        shown = F.one_hot(labels.where(labels != VOID, 0), logits.shape[1])
        tags = (shown * (labels != VOID)[..., None]).amax((1, 2))[:, 1:].float()
        activation = (logits[:, 1:] - logits[:, :1]).flatten(2)
        pixels = activation.shape[2]
        pooled = (_SHARPNESS * activation).logsumexp(2) / _SHARPNESS
        pooled = pooled - math.log(pixels) / _SHARPNESS
        return F.binary_cross_entropy_with_logits(pooled, tags)
