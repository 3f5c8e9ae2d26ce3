"""Rows of a comparison that need no training."""

from __future__ import annotations

from benchmarks.learning.untrained import untrained_rows
from rss_agents.command_line import DataConfig
from rss_env.scenes import load_scenes


def test_untrained_rows():
    training, validation = (
        load_scenes(DataConfig().open(split), (32, 32)) for split in (None, "val")
    )
    rows = untrained_rows(training, validation, (8, 4, 2, 1))
    assert rows["oracle, scale 1"].miou == 1.0
    oracles = [rows[f"oracle, scale {scale}"].miou for scale in (1, 2, 4, 8)]
    assert oracles == sorted(oracles, reverse=True)
    assert rows["random"].miou < rows["majority"].miou < oracles[-1]
