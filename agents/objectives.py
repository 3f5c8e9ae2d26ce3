"""The loss of one scale, as pure functions of logits, maps and scores.

Shapes: B images, K maps of each, C classes, P cells of the scale.
"""

from __future__ import annotations

import torch

from agents.advantages import leave_one_out, pairwise_spatial_difference, synchronised_deviation


def action_probabilities(
    logits: torch.Tensor, temperature: float, exploration: float
) -> torch.Tensor:
    """Softmax at a temperature, mixed with the uniform distribution.

    Args:
        logits: (B, C, P).
        temperature: Divides the logits; positive.
        exploration: Share of the uniform distribution, 0..1. It keeps every class alive: a policy
            gradient shrinks with a class's own probability, so a class once rare is lost.

    Returns:
        (B, C, P) probabilities over C.
    """
    softmax = (logits / temperature).softmax(1)
    return (1.0 - exploration) * softmax + exploration / logits.shape[1]


def sample_maps(
    probabilities: torch.Tensor, num_maps: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw K independent maps by inverting the distribution function of every cell.

    Args:
        probabilities: (B, C, P).
        num_maps: K.
        generator: Random state, on the same device.

    Returns:
        (B, K, P) uint8.
    """
    batch, classes, cells = probabilities.shape
    cumulative = probabilities.cumsum(1).transpose(1, 2).contiguous()  # (B, P, C)
    draws = torch.rand(batch, cells, num_maps, generator=generator, device=probabilities.device)
    choice = torch.searchsorted(cumulative, draws, right=True)
    choice = choice.clamp_(max=classes - 1)  # the sum of probabilities may round to below 1
    return choice.transpose(1, 2).to(torch.uint8).contiguous()


def relative_regression(
    logits: torch.Tensor,
    maps: torch.Tensor,
    scores: torch.Tensor,
    *,
    psd: bool = True,
    syncan: bool = True,
) -> torch.Tensor:
    """Regress differences in score between maps on differences between their logits.

    The logits are in units of reward: a map's predicted score is the mean of its cells' logits.
    With PSD the loss is the mean over ordered pairs k != j of
    (mean_p [l_p(a_k) - l_p(a_j)] - (R_k - R_j))^2, in which cells where the two maps agree cancel;
    it is computed as the equal sum of squared deviations from the group's mean. Without PSD each
    score is regressed by itself. With SyncAN the loss is in units of the scores' variance over the
    global batch; without, it is weighted by the number of cells.

    Args:
        logits: (B, C, P).
        maps: (B, K, P) uint8.
        scores: (B, K), or (B, K, P) rewards of cells, which are then regressed cell by cell.
        psd: Whether to regress differences.
        syncan: Whether to normalise by the scores' deviation.

    Returns:
        A scalar.

    Source: relative-reward regression is REBEL (Gao et al., arXiv 2404.16767), here with a uniform
    reference policy; the sum over cells is value decomposition (Sunehag et al., arXiv 1706.05296).
    """
    members = maps.shape[1]
    predicted = logits.gather(1, maps.long())  # (B, K, P)
    if scores.ndim == 2:
        predicted = predicted.mean(-1)
    residual = predicted - scores
    if psd:
        centred = residual - residual.mean(1, keepdim=True)
        loss = 2.0 / (members - 1) * centred.square().sum(1).mean()
    else:
        loss = residual.square().mean()
    if syncan:
        spread = scores - scores.mean(1, keepdim=True)
        return loss / synchronised_deviation(spread).square()
    return loss * (maps.shape[2] if scores.ndim == 2 else 1)


def policy_gradient(
    logits: torch.Tensor,
    maps: torch.Tensor,
    scores: torch.Tensor,
    *,
    temperature: float,
    exploration: float,
    entropy: float,
    psd: bool = True,
    syncan: bool = True,
) -> torch.Tensor:
    """The score-function gradient of expected reward plus entropy.

    Advantages are in units of reward per cell (times P for image-level scores), so that the
    entropy coefficient is a temperature in the same units; SyncAN divides both alike, so that the
    balance between them stays while the policy sharpens.

    Args:
        logits: (B, C, P).
        maps: (B, K, P) uint8, drawn from `action_probabilities` of the same logits.
        scores: (B, K), or (B, K, P) rewards of cells, which get a leave-one-out baseline each.
        temperature: As in `action_probabilities`.
        exploration: As in `action_probabilities`.
        entropy: Coefficient of the mean entropy of a cell, in reward per cell.
        psd: Whether pairs of maps share their difference among the cells where they differ;
            otherwise every cell of a map gets the map's leave-one-out advantage.
        syncan: Whether to divide by the advantages' deviation over the global batch.

    Returns:
        A scalar, to be minimised.
    """
    if scores.ndim == 3:
        advantages = leave_one_out(scores)
    elif psd:
        advantages = pairwise_spatial_difference(scores, maps) * maps.shape[2]
    else:
        advantages = leave_one_out(scores)[..., None].expand(maps.shape) * maps.shape[2]
    log_probabilities = (
        action_probabilities(logits, temperature, exploration).clamp(min=1e-12).log()
    )
    chosen = log_probabilities.gather(1, maps.long())
    cell_entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    objective = (advantages * chosen).mean() + entropy * cell_entropy.mean()
    if syncan:
        objective = objective / synchronised_deviation(advantages, advantages != 0)
    return -objective
