"""Classes are matched by their names."""

from __future__ import annotations

import pytest

from rss_agents.networks.class_order import class_order
from rss_env.errors import InputError


def test_another_order_is_found():
    order = class_order(["sky", "road", "tree"], ["tree", "sky", "road"])
    assert order is not None
    assert order.tolist() == [1, 2, 0]


def test_names_that_say_nothing_are_matched_by_place():
    named, made_up = ["sky", "road"], ["class 0", "class 1"]
    assert class_order(named, named) is None
    assert class_order(named, made_up) is None
    assert class_order(made_up, named) is None


def test_other_classes_are_refused_by_both_orders():
    with pytest.raises(InputError, match="are 0 sky, 1 road; the data's are 0 sky, 1 tree"):
        class_order(["sky", "road"], ["sky", "tree"])
    with pytest.raises(
        InputError, match=r"has 2 classes \(0 sky, 1 road\), the data has 1 \(0 sky\)"
    ):
        class_order(["sky", "road"], ["sky"])
