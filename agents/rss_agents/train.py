"""Train a segmentation network from scores, or from labels for comparison: `rss-train`.

Everything is opened and checked before the output folder is made, so a bad argument leaves nothing
behind. Ctrl-C ends the run after the current update, with a usable checkpoint, and `--resume` goes
on with it. Under `torchrun` the processes share out the images of every update, and the first one
writes the folder.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.command_line import run_command
from rss_agents.folder_lock import locked_folder
from rss_agents.sb3 import require_sb3
from rss_agents.training.config import TrainConfig
from rss_agents.training.objects import NO_OBJECTS, RunObjects
from rss_agents.training.resume import given_config
from rss_agents.training.run_files import check_run_folder

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    from rss_agents.training.run import Run


def train(config: TrainConfig, objects: RunObjects = NO_OBJECTS) -> dict[str, Any]:
    """Run a training and write its folder; `rss_agents.api.train` is the same for programs.

    Args:
        config: The options.
        objects: That stand in place of what they name.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
        TrainingError: If it could not go on, for want of memory, disk or finite numbers.
        ProcessLostError: If another process of the training has ended.
    """
    outcome = run_training(config, objects)
    if isinstance(outcome, str):
        sys.exit(130)
    return outcome


def run_training(config: TrainConfig, objects: RunObjects = NO_OBJECTS) -> dict[str, Any] | str:
    """Train as `train` does; the name of the signal, if one has ended the run before."""
    from rss_agents.training.loop import TrainingLoop
    from rss_agents.training.processes import joined_processes

    with joined_processes(config.device, config.process_timeout), ExitStack() as held:

        def open_and_lock(options: TrainConfig) -> Run:
            run = _open(options, objects)
            if run.validation is not None:  # the process that writes the folder
                held.enter_context(locked_folder(options.out))
                if options.resume is None:  # another may have written there meanwhile
                    check_run_folder(options.out, overwrite=options.overwrite)
            return run

        return TrainingLoop(config, open_and_lock, objects).run()


def _open(config: TrainConfig, objects: RunObjects) -> Run:
    """The run of an algorithm, ours or Stable-Baselines3's."""
    if config.algo in SB3_ALGORITHMS:
        require_sb3()
        from rss_agents.sb3.learner import open_sb3_run

        return open_sb3_run(config, objects)
    from rss_agents.training.setup import open_run

    return open_run(config, objects)


def train_and_print(config: TrainConfig) -> None:
    """Train as `rss-train` does: the result on stdout; what ended it before, on stderr.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    from rss_agents.distributed import rank
    from rss_agents.training.loop import TrainingError
    from rss_agents.training.processes import ProcessLostError, joined_processes
    from rss_agents.training.states import RunStates

    config = dataclasses.replace(config, config=None)  # its options are read
    try:
        with joined_processes(config.device, config.process_timeout):
            result = train(config)
            if rank() == 0:
                print(json.dumps(result))
    except ProcessLostError as error:
        last = RunStates(config.out).last()
        left = "no state is yet in" if last is None else f"go on from update {last} with --resume"
        sys.stderr.write(f"\nrss-train: error: {error}; {left} {config.out}\n")
        sys.exit(1)
    except TrainingError as error:
        sys.stderr.write(f"\nrss-train: error: {error}\n")
        sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-train`."""
    run_command("rss-train", TrainConfig, train_and_print, arguments, default=given_config)


if __name__ == "__main__":
    main()
