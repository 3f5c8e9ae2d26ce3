"""Arguments of Stable-Baselines3's algorithms."""

from __future__ import annotations

import pytest

from rss_agents.sb3.arguments import warm_up_and_fall


def test_the_schedule_rises_and_falls():
    rates = [warm_up_and_fall(2.0)(1 - done) for done in (0, 0.05, 0.1, 0.5, 1)]
    assert rates == pytest.approx([0, 0.95, 1.8, 1.0, 0])
