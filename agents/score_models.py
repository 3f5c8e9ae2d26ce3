"""How an agent believes that action maps turn into scores: predictions to hold against feedback.

`linear` knows nothing of the metric: every cell adds its own share, the logit of its class in units
of reward. `metric` knows the formula of the score but not the labels: it takes the network's own
class probabilities for the unknown label and works out, in differentiable counts, what the metric
would say of a map. Both are compared with the scores in pairs of maps, so neither needs an offset.
"""

from __future__ import annotations

import torch

from rss_env.feedback import rank_within_group
from rss_env.kernels.expected_counts import expected_counts
from rss_env.kernels.label_covariance import label_covariance

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


def _score(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    cells: int,
    metric: str,
) -> torch.Tensor:
    """The metric (B, K) of expected true positives, predicted and labelled cells (B, K, C)."""
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
    right, predicted = expected_counts(probabilities, maps)
    labelled = probabilities.sum(2)[:, None].expand_as(right)
    return _score(right, predicted, labelled, maps.shape[2], metric)


def metric_covariance(probabilities: torch.Tensor, maps: torch.Tensor, metric: str) -> torch.Tensor:
    """How the scores of the maps vary together, if labels follow the probabilities.

    To first order in the counts, with the cells of the label independent of one another.

    Args:
        probabilities: (B, C, P), summing to 1 over C.
        maps: (B, K, P) uint8.
        metric: As in `metric_prediction`.

    Returns:
        (B, K, K), without gradient.
    """
    probabilities = probabilities.detach()
    right, predicted = expected_counts(probabilities, maps)
    labelled = probabilities.sum(2)[:, None].expand_as(right).clone()
    with torch.enable_grad():
        scores = _score(
            right.requires_grad_(), predicted, labelled.requires_grad_(), maps.shape[2], metric
        )
        hit_weights, class_weights = torch.autograd.grad(
            scores.sum(), (right, labelled), materialize_grads=True
        )
    return label_covariance(probabilities, maps, hit_weights, class_weights)


def scores_from_order(
    scores: torch.Tensor, predicted: torch.Tensor, variances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores that an order of maps stands for: normal scores in the group's expected spread.

    Args:
        scores: (B, V, K) ranks or ratings, higher for better; ties are of the same place.
        predicted: (B, V, K) predicted scores.
        variances: (B, V) mean variance of a score about its prediction, less the group's own mean.

    Returns:
        Scores (B, V, K), and the variance (B, V) that the order leaves open: all of it for a group
        of ties.

    Source: normal scores by Blom's formula (Statistical Estimates and Transformed Beta-Variables,
    1958).
    """
    members = scores.shape[2]
    places = rank_within_group(scores.flatten(0, 1)).view_as(scores) * (members - 1)
    normal = torch.special.ndtri((places.to(predicted.dtype) + 0.625) / (members + 0.25))
    spread = predicted.detach().var(2) + variances.clamp(min=0)
    return normal * spread.sqrt()[..., None], (1 - normal.square().mean(2)) * spread
