"""Two people at the page that asks for stars: the first answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rating_questions import question, rating_lines
from rss_agents.ratings.store import RatingBook

pytest.importorskip("nicegui")


def with_two_browsers(folder: Path, act: Callable[[Any, Any], Any]) -> None:
    """Show what is asked in a folder twice, in browsers that are simulated, and do something."""
    from nicegui.testing.user import User
    from nicegui.testing.user_simulation import user_simulation

    from rss_agents.live.rating_panel import RatingPanel

    async def show() -> None:
        async with user_simulation(root=lambda: RatingPanel(folder)) as first:
            second = User(first.http_client)
            for browser in (first, second):
                await browser.open("/")
            await act(first, second)

    asyncio.run(show())


def give(browser: Any, stars: int) -> None:
    """Give each map that is shown so many stars."""
    from nicegui import ui

    with browser.client:
        for element in browser.find(ui.rating).elements:
            element.set_value(stars)


def test_an_answer_that_comes_too_late_is_not_taken(tmp_path):
    book, asked = RatingBook(tmp_path), question(images=2)
    book.ask(asked)

    async def act(first: Any, second: Any) -> None:
        give(first, 5)
        give(second, 1)
        first.find("Next").click()
        second.find("Next").click()  # at once: it has not seen yet that they are rated
        await second.should_see("your answer was not taken")
        assert [line["stars"] for line in rating_lines(tmp_path)] == [5] * 3
        await second.should_see("1 image(s) to rate; 3 ratings so far")
        give(second, 2)
        second.find("Next").click()  # the next image, which nobody has rated
        await second.should_see("6 ratings so far")
        await second.should_not_see("your answer was not taken")

    with_two_browsers(tmp_path, act)
    assert [line["stars"] for line in rating_lines(tmp_path)] == [5, 5, 5, 2, 2, 2]


def test_maps_that_are_rated_elsewhere_are_shown_no_more(tmp_path):
    book, asked = RatingBook(tmp_path), question(images=1)
    book.ask(asked)

    async def act(first: Any, second: Any) -> None:
        await second.should_see("1 image(s) to rate")
        give(first, 4)
        first.find("Next").click()
        await second.should_see("These maps were rated elsewhere meanwhile")
        await second.should_see("Nothing is asked at the moment; 3 ratings so far")
        await first.should_not_see("rated elsewhere")

    with_two_browsers(tmp_path, act)
