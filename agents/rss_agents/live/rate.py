"""Train from the stars that a person gives: `rss-rate`.

The training runs in a process of its own, which asks through files; the page answers them. Whatever
ends first, nothing is lost: ratings are on the disk when they are given, and the training saves its
state after every update. A page that is killed takes the training with it, which saves its state
and lets go of the folder.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Annotated

import tyro

from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import (
    errors_in_a_line,
    let_go_of_unread_output,
    only_printable_output,
    run_command,
)
from rss_agents.extras import require
from rss_agents.live.serving import PageConfig, serve
from rss_agents.train import train_and_print
from rss_agents.training.config import TrainConfig
from rss_agents.training.resume import given_config
from rss_env.errors import InputError

_PATIENCE = 5.0  # seconds for the training to end by itself, after Ctrl-C


def _few_questions() -> TrainConfig:
    """A training that asks for eight ratings an update, of coarse maps, and saves after each."""
    return TrainConfig(
        out=tyro.MISSING,
        scorer="person",
        feedback="rating:5",
        agent=RSSConfig(score_model="metric"),
        num_images=4,
        group_size=2,
        scales=(8,),
        updates=30,
        eval_every=5,
        save_every=1,
    )


@dataclass
class RateConfig:
    """Train from the stars you give to maps, on a page in the browser."""

    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=_few_questions)
    page: tyro.conf.OmitArgPrefixes[PageConfig] = field(default_factory=PageConfig)


def _default(arguments: list[str] | None) -> RateConfig | None:
    """The options of the run to resume or of a template; None if neither is asked for."""
    given = given_config(arguments)
    return None if given is None else RateConfig(given)


def _stop_with(page: BaseProcess) -> None:
    """Stop this process, as a SIGTERM stops a training, when the one that serves the page ends."""
    page.join()
    let_go_of_unread_output()
    sys.stderr.write("\nrss-rate: the page has ended, and the training stops with it\n")
    os.kill(os.getpid(), signal.SIGTERM)


def _train(config: TrainConfig) -> None:
    """Train in a process of its own, which does not outlive the page."""
    page = multiprocessing.parent_process()
    assert page is not None
    threading.Thread(target=_stop_with, args=(page,), daemon=True).start()
    with errors_in_a_line("rss-rate"), only_printable_output():
        train_and_print(config)


def rate(config: RateConfig) -> None:
    """Train and serve the page, until Ctrl-C or an error of the training.

    Raises:
        InputError: If an option is invalid, the page cannot be served, or NiceGUI is missing.
    """
    from rss_agents.live.page import build_page

    options = dataclasses.replace(config.train, config=None)  # its options are read
    if options.ratings is None or not options.asks_a_person:
        raise InputError(f"rss-rate asks a person: scorer must be 'person', got {options.scorer!r}")
    require("nicegui", "NiceGUI", "live")
    options.check()
    ratings = {options.out.resolve().name: options.ratings}
    training = multiprocessing.get_context("spawn").Process(target=_train, args=(options,))
    training.start()
    try:
        serve(
            config.page,
            "rss-rate",
            lambda: build_page([options.out], ratings),
            until=lambda: bool(training.exitcode),
        )
    finally:
        training.join(_PATIENCE)  # Ctrl-C has reached it as well
        if training.is_alive():
            training.terminate()
            training.join()
    if training.exitcode:
        sys.exit(training.exitcode)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-rate`."""
    run_command("rss-rate", RateConfig, rate, arguments, default=_default)


if __name__ == "__main__":
    main()
