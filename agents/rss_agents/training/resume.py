"""Options of an earlier run: as a template, or to go on, and whether anything has changed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from rss_agents.networks.own_network import is_own
from rss_agents.training.config import TrainConfig, is_code
from rss_agents.training.objects import NO_OBJECTS
from rss_agents.training.run_files import CONFIG_NAME, LONGEST_CONFIG
from rss_env.datasets.own import OBJECT, names_code
from rss_env.datasets.paths import expanded
from rss_env.errors import InputError, warn_of
from rss_env.registration import parse_environment_id
from rss_env.regular_files import open_regular

if TYPE_CHECKING:  # slow to import, and not needed where nothing is resumed
    from pydantic import TypeAdapter

    from rss_env.scenes import Scenes

# Options that may name code, and whether a value does. What is code has to be named again: options
# are a file, which may come from anybody.
_CODE: dict[str, Callable[[str], bool]] = {
    "scorer": lambda scorer: is_code(scorer) and not scorer.startswith(OBJECT),
    "network": is_own,
    "env": lambda env: names_code(parse_environment_id(env)[0]),
}
# Options that may be others when a run goes on: none changes what is learned, beyond rounding.
_FREE = (
    *("out", "config", "resume", "allow_changes", "overwrite", "keep_states", "save_every"),
    *("patience", "wandb", "device", "capture", "process_timeout", "data_on"),
)


def read_config(run: str | os.PathLike[str]) -> TrainConfig:
    """The options of a run, from its `config.json`.

    Raises:
        InputError: If there is no such file, or it does not hold the options of this version.
    """
    path = expanded(run) / CONFIG_NAME
    try:
        return _options_of(path)
    except OSError as error:
        raise InputError(f"{run} is no run to resume: {path}: {error.strerror}") from None


@cache
def _reader_of_options() -> TypeAdapter[TrainConfig]:
    """What checks options; it takes longer to make than to use, and a page shows many runs."""
    from pydantic import TypeAdapter

    return TypeAdapter(TrainConfig)


def _options_of(path: Path, **absent: Any) -> TrainConfig:
    """The options in a file; `absent` are those that it need not have.

    Raises:
        OSError: If it cannot be read.
        InputError: If it does not hold the options of this version.
    """
    with open_regular(path, follow_links=True) as file:
        text = file.read(LONGEST_CONFIG + 1)
    if len(text) > LONGEST_CONFIG:
        raise InputError(f"{path} has more than {LONGEST_CONFIG} bytes: it is not of rss-train")
    try:
        raw = json.loads(text)
        if isinstance(raw, dict):
            text = json.dumps(absent | raw)
        config = _reader_of_options().validate_json(text)
        unknown = _unknown(raw, dataclasses.asdict(config))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} does not hold options of rss-train: {reason}") from None
    if unknown:
        raise InputError(f"{path} holds options that rss-train does not have: {unknown}")
    return config


def _unknown(raw: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Names of the entries that are not known, also of nested ones."""
    found = [name for name in raw if name not in known]
    for name, value in known.items():
        if isinstance(value, dict) and isinstance(raw.get(name), dict):
            found += [f"{name}.{inner}" for inner in _unknown(raw[name], value)]
    return found


def given_config(arguments: list[str] | None) -> TrainConfig | None:
    """The options of the run, or of the template, that the command line starts from.

    Args:
        arguments: The command line without the program; None for the process's own.

    Returns:
        Those of the run to resume, or of --config, with an output folder yet to be named; None if
        the command line asks for neither.

    Raises:
        InputError: If there are none, or they name code that the command line does not.
    """
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("resume", "config"):
        reader.add_argument(f"--{name}", type=expanded)
    for name in _CODE:
        reader.add_argument(f"--{name}")
    known, _ = reader.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    given: Path | None = known.config
    if given is None:
        if known.resume is None:
            return None
        config = resumed_run(known.resume, vars(known))
        NO_OBJECTS.check(config)
        return config
    if known.resume is not None:
        raise InputError("a run that is resumed keeps its options: give --resume or --config")
    path = given / CONFIG_NAME if given.is_dir() else given
    config = _template(path)
    _check_named_again(path, config, vars(known))
    NO_OBJECTS.check(config)
    return dataclasses.replace(
        config, out=tyro.MISSING, resume=None, overwrite=False, allow_changes=False, config=None
    )


def resumed_run(resumed: Path, named: Mapping[str, Any]) -> TrainConfig:
    """The options of a run to go on with.

    Args:
        resumed: Its folder, or the file of a state in it.
        named: What the caller says of `scorer`, `network` and `env`; None for nothing.

    Raises:
        InputError: If there is nothing to resume, or its options name code that the caller does
            not.
    """
    from rss_agents.training.states import find_state

    run, _ = find_state(resumed)
    config = read_config(run)
    _check_named_again(run / CONFIG_NAME, config, named)
    return dataclasses.replace(
        config, out=run, resume=resumed, overwrite=False, allow_changes=False, config=None
    )


def _check_named_again(path: Path, config: TrainConfig, named: Mapping[str, Any]) -> None:
    """Refuse options of a file that name code which the caller does not.

    Raises:
        InputError: Naming the option.
    """
    for name, is_named in _CODE.items():
        stored = config.data.env if name == "env" else getattr(config, name)
        if stored is not None and is_named(stored) and named.get(name) is None:
            raise unnamed_code(path, name, stored)


def unnamed_code(path: Path, name: str, stored: str) -> InputError:
    """The error for an option of a file that is code, and that the caller does not name."""
    return InputError(
        f"{path} names the {name} {stored!r:.300}, which is code that would "
        f"run with your rights; if it is yours, say so with --{name} and the same name"
    )


def _template(path: Path) -> TrainConfig:
    """The options of a file; it need not name an output folder, nor all of them.

    Raises:
        InputError: If it cannot be read, or does not hold the options of this version.
    """
    try:
        return _options_of(path, out=".")
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from None


def update_to_resume(config: TrainConfig) -> int:
    """The update of the state that a run goes on from.

    Raises:
        InputError: If there is none, or it is another run's than the output folder's.
    """
    from rss_agents.training.states import find_state

    assert config.resume is not None
    folder, update = find_state(config.resume)
    if folder.resolve() != config.out.resolve():
        raise InputError(f"--resume {config.resume} goes on in {folder}, not in {config.out}")
    return update


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


_THREADS = "threads of torch (OMP_NUM_THREADS)"
_DATA = ("training data", "validation data")


def identity(config: TrainConfig, training: str, validation: Scenes) -> dict[str, Any]:
    """Facts that decide a run's result.

    Its options, digests of its data, versions, and on a CPU the number of threads, among which
    torch shares out sums. (Kernels of our own round alike with any number.)
    """
    import torch

    from rss_agents.training.logging import versions

    on_cpu = validation.images.device.type == "cpu"
    return {
        "options": _deciding(config),
        **dict(zip(_DATA, (training, validation.content_digest()), strict=True)),
        **({_THREADS: torch.get_num_threads()} if on_cpu else {}),
        **{f"version of {package}": number for package, number in versions().items()},
    }


def _deciding(config: TrainConfig) -> dict[str, Any]:
    """The options that decide a run's result, by their full names."""
    options = _flat(dataclasses.asdict(config))
    return {name: value for name, value in options.items() if name not in _FREE}


def refuse_changes(config: TrainConfig, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with other options, data or versions, unless that is allowed.

    Args:
        config: The options now.
        then: The identity of the run when its state was saved. Earlier versions kept no options in
            it: those of the folder stand for them.
        now: Its identity now.

    Raises:
        InputError: Naming everything that has changed.
    """
    if config.allow_changes:
        return
    of_folder, current = _deciding(read_config(config.out)), _deciding(config)
    of_state: dict[str, Any] = then.get("options", {})
    stored = of_folder | of_state
    then = {_THREADS: now.get(_THREADS), **then}  # once they were not noted
    if "options" not in then:
        warn_of(
            f"the state in {config.out} is of an earlier version, which digested data otherwise: "
            "whether the data is as it was, nobody knows"
        )
        then = {**then, **{name: now.get(name) for name in _DATA}}
    changes = [
        f"{name} was {stored[name]}, is {current[name]}"
        for name in current
        if stored[name] != current[name]
    ]
    changes += [
        f"{name} has changed" if "data" in name else f"{name} was {then.get(name)}, is {now[name]}"
        for name in now
        if name != "options" and then.get(name) != now[name]
    ]
    if changes:
        foreign = ""
        if any(of_state.get(name, value) != value for name, value in of_folder.items()):
            foreign = (
                f"Its training state was saved with other options than {CONFIG_NAME} has: one of "
                "them is of another run. "
            )
        raise InputError(
            f"{config.out} would not go on as it was: {'; '.join(changes)}. {foreign}"
            "With --allow-changes it goes on nevertheless"
        )
