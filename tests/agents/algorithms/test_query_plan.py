"""Budgets of score queries: how many batches they buy, and when."""

from __future__ import annotations

import pytest

from rss_agents.algorithms.query_plan import QueryPlan
from rss_env.errors import InputError


@pytest.mark.parametrize(("batches", "updates"), [(1, 1), (1, 7), (3, 10), (10, 10), (9, 10)])
def test_batches_are_spread_evenly_and_the_first_update_asks(batches, updates):
    plan = QueryPlan(batches, updates)
    asks = [plan.asks(update) for update in range(updates)]
    assert asks[0]
    assert sum(asks) == batches == plan.batches_before(updates)
    for update in range(updates):
        assert plan.batches_before(update) == sum(asks[:update])
        assert abs(sum(asks[: update + 1]) - (update + 1) * batches / updates) <= 1


@pytest.mark.parametrize(("batches", "updates"), [(1, 7), (3, 10), (10, 10), (9, 10)])
@pytest.mark.parametrize("first", [1, 2, 5])
def test_what_is_asked_at_once_is_not_asked_later(first, batches, updates):
    plan = QueryPlan(batches, updates)
    for update in range(first):
        plan = plan.asking_until(update + 1)
        assert plan.asks(update) == (update < batches)
    asks = [plan.asks(update) for update in range(updates)]
    assert sum(asks) == batches == plan.batches_before(updates)
    at_once, left = min(first, batches), max(batches - first, 0)
    assert all(asks[:at_once])
    for update in range(at_once, updates):
        assert plan.batches_before(update) == sum(asks[:update])
        share = (update + 1 - at_once) * left / (updates - at_once)
        assert abs(sum(asks[at_once : update + 1]) - share) <= 1


def test_a_budget_is_kept():
    assert QueryPlan.of_budget(100, 32, 5) == QueryPlan(3, 5)
    assert QueryPlan.of_budget(160, 32, 5) == QueryPlan(5, 5)
    for queries in (31, 161, 0, -5):
        with pytest.raises(InputError, match=f"got {queries}"):
            QueryPlan.of_budget(queries, 32, 5)
