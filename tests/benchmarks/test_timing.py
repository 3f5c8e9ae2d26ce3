"""How things are timed."""

from __future__ import annotations

from benchmarks.timing import time_in_turn


def test_things_are_timed_in_turn_after_a_warm_up():
    order = []
    things = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timings = time_in_turn(things, repeats=9, warm_up=1)
    rounds = list(zip(order[::2], order[1::2], strict=True))
    assert len(rounds) == 10
    assert set(rounds) == {("a", "b"), ("b", "a")}  # everything in each, in no order of its own
    assert list(timings) == ["a", "b"]
    assert {len(timing.seconds) for timing in timings.values()} == {9}
