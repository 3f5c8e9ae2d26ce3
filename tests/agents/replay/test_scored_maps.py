"""Groups of scored maps."""

from __future__ import annotations

import torch

from replay_samples import scored
from rss_env.action_maps import ActionMapGeometry


def test_predicted_counts_are_of_the_maps():
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    new = scored(geometry, 3)
    for s, part in enumerate(geometry.split(new.own_maps)):
        counts = torch.nn.functional.one_hot(part.long(), 3).sum(-2)
        assert new.predicted[..., s, :].equal(counts.float())
