"""How an agent believes that action maps turn into scores: predictions to hold against feedback.

`linear` knows nothing of the metric: every cell adds its own share, the logit of its class in units
of reward. `metric` knows the formula of the score but not the labels: it takes the network's own
class probabilities for the unknown label and works out, in differentiable counts, what the metric
would say of a map. Both are compared with the scores in pairs of maps, so neither needs an offset.
"""

from __future__ import annotations

import torch

# A class in the map is counted by the metric for certain; one that is not, only if the label has
# it. Its expected share of the image is turned into that chance as share / (share + this).
_PRESENCE_SHARE = 0.005


def linear_prediction(logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Predicted rewards of cells, whose mean is the predicted score of a map.

    Args:
        logits: (B, C, P) in units of reward.
        maps: (B, K, P) uint8.

    Returns:
        (B, K, P).

    Source: value decomposition (Sunehag et al., arXiv 1706.05296).
    """
    return logits.gather(1, maps.long())


def expected_counts(
    probabilities: torch.Tensor, maps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Expected true positives, predicted and labelled cells, if labels follow the probabilities.

    Args:
        probabilities: (B, C, P) of each cell's pixels, summing to 1 over C.
        maps: (B, K, P) uint8.

    Returns:
        True positives (B, K, C), predicted (B, K, C) and labelled (B, 1, C), in cells.
    """
    index = maps.long()
    zeros = probabilities.new_zeros(*maps.shape[:2], probabilities.shape[1])
    right = zeros.scatter_add(2, index, probabilities.gather(1, index))
    predicted = zeros.scatter_add(2, index, torch.ones_like(index, dtype=zeros.dtype))
    return right, predicted, probabilities.sum(2)[:, None]


def metric_prediction(probabilities: torch.Tensor, maps: torch.Tensor, metric: str) -> torch.Tensor:
    """What a metric would say of each map, if labels follow the probabilities.

    The ratios are taken of expected counts: exact for labels that are certain, and close to the
    expectation of the ratio for the large counts of a map.

    Args:
        probabilities: (B, C, P), summing to 1 over C.
        maps: (B, K, P) uint8.
        metric: `miou`, `dice`, `mean_accuracy` or `pixel_accuracy`; see `rss_env.rewards`.

    Returns:
        (B, K) in [0, 1].
    """
    right, predicted, labelled = expected_counts(probabilities, maps)
    cells = maps.shape[2]
    if metric == "pixel_accuracy":
        return right.sum(-1) / cells
    in_label = labelled / (labelled + _PRESENCE_SHARE * cells)
    if metric == "mean_accuracy":
        ratio, counted = right / labelled.clamp(min=1e-6), in_label
    else:
        counted = torch.where(predicted > 0, 1.0, in_label)
        if metric == "miou":
            ratio = right / (predicted + labelled - right).clamp(min=1e-6)
        else:
            ratio = 2 * right / (predicted + labelled).clamp(min=1e-6)
    return (ratio * counted).sum(-1) / counted.sum(-1).clamp(min=1e-6)
