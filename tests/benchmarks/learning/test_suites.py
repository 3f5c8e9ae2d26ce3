"""Names of variants and of groups of them."""

from __future__ import annotations

import pytest

from benchmarks.learning.suites import GROUPS, VARIANTS, expand
from rss_env.errors import InputError


def test_groups_are_expanded_once_and_in_order():
    assert expand(("rss", "headline")) == ["rss", "psl", "rss-pixel"]
    assert set(expand(tuple(GROUPS))) == set(VARIANTS)
    with pytest.raises(InputError, match="rss-pixle"):
        expand(("rss-pixle",))
