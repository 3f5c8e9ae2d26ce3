"""The part of the page about runs: curves of several, and all that is known of one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nicegui import ui

from rss_agents.live.charts import class_chart, curve_chart, spread_chart
from rss_agents.live.run_reader import RunReader, find_runs
from rss_agents.training.run_files import PROGRESS_NAME
from rss_env.errors import InputError

_MOST = 5  # problems that are told at a time
_AXES = {"update": "updates", "score_queries": "score queries"}


def _duration(seconds: float) -> str:
    """A time span in words as short as it can be read."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _standing(run: RunReader) -> str:
    """A line about the progress of a run."""
    progress = run.progress
    if progress is None:
        return f"no {PROGRESS_NAME} yet"
    parts = [f"{progress.state}: {progress.update} of {progress.updates} updates"]
    speed, left = progress.updates_per_second, progress.seconds_left
    if speed is not None:
        parts.append(f"{speed:.2g} updates/s")
    if progress.state == "running" and left is not None:
        parts.append(f"{_duration(left)} left")
    else:
        parts.append(f"{_duration(progress.seconds)} in all")
    if (quiet := run.seconds_without_news()) is not None:
        parts.append(f"no news for {_duration(quiet)}")
    return ", ".join(parts)


class _Chart:
    """A chart that is drawn again only when it has changed."""

    def __init__(self, name: str):
        self._element = ui.echart({"series": []}, renderer="svg").classes("w-full h-72")
        self._element.props(f'data-testid="{name}"')

    def draw(self, options: dict[str, Any]) -> None:
        self._element.visible = any(line["data"] for line in options["series"])
        if options != self._element.options:
            self._element.options.clear()
            self._element.options.update(options)
            self._element.update()


class RunPanel:
    """Curves of all runs of some folders, and the details of one of them."""

    def __init__(self, folders: Sequence[Path]):
        """Lay out the panel of folders of runs, or of such folders, and keep it up to date."""
        self._folders, self._readers = folders, dict[str, RunReader]()
        self._overlay_time = 0.0
        self._unreadable: list[str] = []  # why runs that were found are not among the readers
        self._has_chosen = self._is_choosing = False
        self._problem = ui.label().classes("text-red-600 whitespace-pre-line")
        self._problem.props('data-testid="problem"')
        with ui.row().classes("items-center gap-6"):
            self._axis = ui.toggle(_AXES, value="update", on_change=self._draw)
            self._run = ui.select([], label="details of", on_change=self._choose)
            self._run.classes("min-w-48").props('data-testid="run"')
        with ui.grid().classes("w-full grid-cols-1 md:grid-cols-2"):
            self._miou = _Chart("miou")
            self._score = _Chart("score")
        self._standing = ui.label().classes("text-lg").props('data-testid="standing"')
        self._bar = ui.linear_progress(0, show_value=False).classes("w-full")
        with ui.row().classes("w-full items-start no-wrap gap-4"):
            with ui.column().classes("grow min-w-0"):
                self._spread = _Chart("spread")
                self._classes = _Chart("classes")
            with ui.column().classes("shrink-0 max-w-[45%]"):
                self._caption = ui.label()
                self._overlay = ui.image().classes("w-96 max-w-full")
                self._overlay.props('data-testid="overlay" no-transition')
        self._look_for_runs()
        ui.timer(1.0, self._refresh)
        ui.timer(10.0, self._look_for_runs)

    def _look_for_runs(self) -> None:
        self._unreadable = []
        for name, folder in find_runs(self._folders).items():
            if name not in self._readers:
                try:
                    self._readers[name] = RunReader(folder, name)
                except InputError as error:  # of one run: the others are shown
                    self._unreadable.append(str(error))
        self._tell_problems()
        names = list(self._readers)
        shown = self._run.value
        if not self._has_chosen:  # the run that goes on, or the last one that did
            shown = max(names, key=lambda name: self._readers[name].told_at(), default=None)
        if names != self._run.options or shown != self._run.value:
            self._is_choosing = True
            self._run.set_options(names, value=shown)
            self._is_choosing = False
        self._draw()

    def _choose(self) -> None:
        self._has_chosen |= not self._is_choosing
        self._overlay_time = 0.0
        self._overlay.set_source("")
        self._draw()

    def _tell_problems(self) -> None:
        """Say what cannot be read, the first few in full."""
        problems = [*self._unreadable, *(r.problem for r in self._readers.values() if r.problem)]
        more = [f"and {len(problems) - _MOST} more"] * (len(problems) > _MOST)
        self._problem.text = "\n".join([*problems[:_MOST], *more])

    def _refresh(self) -> None:
        news = [reader.refresh() for reader in self._readers.values()]
        self._tell_problems()
        if any(news):
            self._draw()
        elif (run := self._readers.get(self._run.value)) is not None:
            self._standing.text = _standing(run)

    def _draw(self) -> None:
        x = self._axis.value
        rows = {name: reader.rows for name, reader in self._readers.items()}
        self._miou.draw(curve_chart("validation mIoU", rows, x, "miou"))
        self._score.draw(curve_chart("score in training", rows, x, "score"))
        run = self._readers.get(self._run.value)
        if run is None:
            self._standing.text = f"no run yet in {', '.join(map(str, self._folders))}"
            return
        self._standing.text = _standing(run)
        if run.progress is not None:
            self._bar.value = run.progress.update / max(run.progress.updates, 1)
        self._spread.draw(spread_chart(run.rows, x))
        self._classes.draw(class_chart(run.validation.class_iou if run.validation else {}))
        if run.validation is not None:
            self._caption.text = f"after update {run.validation.update}: what the network answers"
        self._show_overlay(run)

    def _show_overlay(self, run: RunReader) -> None:
        """Send the picture of a run, read here: a path would be served whatever lies there then."""
        try:
            picture = run.overlay(self._overlay_time)
        except InputError as error:
            self._caption.text = str(error)
            return
        if picture is not None:
            self._overlay_time, content = picture
            self._overlay.set_source(f"data:image/png;base64,{b64encode(content).decode()}")
