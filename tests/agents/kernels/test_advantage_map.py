"""The map of advantages: both backends against the gradient."""

from __future__ import annotations

import pytest
import torch

from belief_problems import SHAPES, belief_problem
from rss_agents.kernels.advantage_map import advantage_map


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_advantage_map_is_the_gradient_of_the_gains(name, dtype):
    probabilities, maps = belief_problem(*SHAPES[name])
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    advantages = torch.randn(maps.shape, dtype=dtype)
    leaf = probabilities.to(dtype).log().requires_grad_()
    gains = (advantages * leaf.gather(1, maps.long())).sum()
    expected = torch.autograd.grad(gains, leaf)[0]
    for backend in ("reference", "numba"):
        found = advantage_map(advantages, turned, probabilities.shape[1], backend=backend)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected)
