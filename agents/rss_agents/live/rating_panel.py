"""The part of the page where somebody gives stars to maps, or says which of two is better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from nicegui import ui
from PIL import Image

from rss_agents.ratings.store import (
    Question,
    RatedMeanwhileError,
    RatingBook,
    is_rated,
    unrated,
)
from rss_env.errors import InputError
from rss_env.rendering import ByteArray, colourise, enlarged, outlined

_SIDE = 256  # pixels that a picture is shown with, at least about


class RatingPanel:
    """Shows what is asked, one image and its maps at a time, and appends what is answered."""

    def __init__(self, folder: Path):
        """Lay out the panel of a folder of questions and ratings, and keep it up to date."""
        self._book = RatingBook(folder)
        self._question: Question | None = None
        self._name: str | None = None
        self._unrated: list[tuple[int, int]] = []
        self._asked: list[tuple[int, int]] = []  # of these, the maps of the image that is shown
        self._stars: dict[tuple[int, int], int] = {}
        self._stands = ui.label().classes("text-lg").props('data-testid="ratings"')
        self._problem = ui.label().classes("text-red-600").props('data-testid="rating-problem"')
        self._notice = ui.label().classes("text-orange-800").props('data-testid="rating-notice"')
        self._legend = ui.row().classes("gap-4")
        self._maps = ui.row().classes("items-start gap-6")
        self._next = ui.button("Next", on_click=self._confirm).props('data-testid="next"')
        self._show()
        self._look()
        ui.timer(0.3, self._look)

    def _look(self) -> None:
        """See whether something else is asked."""
        try:
            name = self._book.open_question()
            if name != self._name:
                self._question = None if name is None else self._book.read_question(name)
                self._name = name
                self._advance()
            elif self._is_rated_meanwhile():
                self._notice.text = "These maps were rated elsewhere meanwhile"
                self._advance()
            self._say()
        except InputError as error:
            self._problem.text = str(error)

    def _say(self) -> None:
        count, images = self._book.count, len({g for g, _ in self._unrated})
        pairs = self._question is not None and self._question.pairs
        question = "Which map is better?" if pairs else "How good is each map?"
        asked = f"{question} {images} image(s) to rate"
        waits = "Nothing is asked at the moment"
        self._stands.text = f"{asked if images else waits}; {count} ratings so far"

    def _is_rated_meanwhile(self) -> bool:
        """Whether somebody else has rated a map that is shown here."""
        if self._question is None or not self._asked:
            return False
        keys, scores = self._question.keys(), self._book.scores()
        return any(is_rated(keys[g][k], scores) for g, k in self._asked)

    def _advance(self) -> None:
        """Show the next image that has maps without a rating."""
        self._unrated = []
        if self._question is not None:
            self._unrated = unrated(self._question.keys(), self._book.scores())
        self._asked = [(g, k) for g, k in self._unrated if g == self._unrated[0][0]]
        if self._question is not None and self._question.pairs:
            self._asked = self._asked[:2]  # neighbours: the two are answered together
        self._stars.clear()
        self._show()

    def _show(self) -> None:
        self._maps.clear()
        self._legend.clear()
        pairs = self._question is not None and self._question.pairs
        self._next.visible = bool(self._asked) and not pairs
        if self._question is None or not self._asked:
            return
        self._name_classes(self._question, [self._question.action_maps[at] for at in self._asked])
        with self._maps:
            with ui.column():
                self._picture(self._question.images[self._asked[0][0]], "image")
                ui.label("image")
            for number, at in enumerate(self._asked, 1):
                with ui.column().props(f'data-testid="map-{number}"'):
                    self._show_map(self._question, at, number)
            if pairs:
                with ui.column():
                    self._answer_button("Alike", "alike", {})
                    image = self._asked[0][0]
                    enough = ui.button("Good enough", on_click=lambda: self._end_image(image))
                    enough.props('flat data-testid="good-enough"')
                    enough.tooltip("Ask no more about this image")
        self._next.set_enabled(False)

    def _show_map(self, question: Question, at: tuple[int, int], number: int) -> None:
        image, action_map = question.images[at[0]], question.action_maps[at]
        shown = outlined(enlarged(image, _SIDE), enlarged(action_map, _SIDE), question.palette)
        self._picture(shown, f"map {number}, on the image")
        self._picture(colourise(action_map, question.palette), f"map {number}")
        if question.pairs:
            self._answer_button("This one", f"better-{number}", {at: 1})
            return

        def give(stars: int) -> None:
            self._stars[at] = stars
            no_star.props(f"color={'grey' if stars else 'primary'}")
            rated.text = f"map {number}: {stars} of {question.stars}"
            self._next.set_enabled(len(self._stars) == len(self._asked))

        def give_none() -> None:
            rating.set_value(0)
            give(0)

        rated = ui.label(f"map {number}: not rated")
        with ui.row().classes("items-center gap-1"):
            no_star = ui.button("0", on_click=give_none)
            no_star.props(f'flat dense round color=grey aria-label="map {number}: no star"')
            rating = ui.rating(  # outlines alone until stars are given
                max=question.stars,
                icon="star_border",
                icon_selected="star",
                color="amber-8",
                size="md",
                on_change=lambda event: give(int(event.value)) if event.value else None,
            )

    def _answer_button(self, words: str, name: str, better: dict[tuple[int, int], int]) -> None:
        """A button that answers which of two maps is better; neither, if there is no star."""

        def answer() -> None:
            self._stars = dict.fromkeys(self._asked, 0) | better
            self._confirm()

        ui.button(words, on_click=answer).props(f'data-testid="{name}"')

    def _end_image(self, image: int) -> None:
        """Append that an image's maps are good enough, and show the next."""
        question = self._question
        if question is not None:
            self._write(lambda: self._book.add_good_enough(question, image))

    def _picture(self, pixels: ByteArray, words: str) -> None:
        picture = ui.image(Image.fromarray(enlarged(pixels, _SIDE))).classes("w-64")
        picture.props(f'no-transition alt="{words}"')

    def _name_classes(self, question: Question, maps: list[ByteArray]) -> None:
        """Names and colours of the classes in some maps."""
        with self._legend:
            for index in np.unique(maps):
                name = question.class_names[index] if question.class_names else f"class {index}"
                colour = "rgb({}, {}, {})".format(*question.palette[index])
                with ui.row().classes("items-center gap-1"):
                    ui.element("div").classes("w-4 h-4 border").style(f"background: {colour}")
                    ui.label(name)

    def _confirm(self) -> None:
        """Append the stars of this image, and show the next."""
        question, stars = self._question, self._stars
        if question is not None and len(stars) == len(self._asked):
            self._write(lambda: self._book.add(question, stars, again=False))

    def _write(self, add: Callable[[], object]) -> None:
        """Append an answer, unless somebody else was faster, and show the next question."""
        try:
            if self._is_rated_meanwhile():
                raise RatedMeanwhileError
            add()
            self._notice.text = self._problem.text = ""
        except RatedMeanwhileError:
            self._notice.text = (
                "These maps were rated elsewhere meanwhile: your answer was not taken"
            )
        except (InputError, OSError) as error:
            self._problem.text = f"the ratings could not be written: {error}"
            return
        self._advance()
        self._say()
