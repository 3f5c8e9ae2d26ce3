"""Errors a caller can put right: bad actions, bad data, bad settings.

The command line prints them without a traceback and exits with code 2; code that
embeds the library can catch `InputError` for all of them.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable

from rss_env.printable import printable


class InputError(ValueError):
    """Something given to the library is wrong; the message says what and what is valid."""

    def __str__(self) -> str:
        """The message in a line: names in it may hold anything."""
        return printable(super().__str__())


class UnknownArgumentError(InputError, TypeError):
    """An argument that nothing takes.

    Also a `TypeError` in Python's own words: libraries that try which arguments a constructor takes
    (TorchRL's `GymEnv`, for one) look for exactly that.
    """

    @classmethod
    def of(cls, function: str, name: str, valid: Iterable[str]) -> UnknownArgumentError:
        """The error for an argument `name` of `function`, which takes those in `valid`."""
        names = list(valid)
        close = difflib.get_close_matches(name.replace("-", "_"), names, 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        return cls(
            f"{function} got an unexpected keyword argument {name!r}; {meant}valid: "
            f"{', '.join(names)}"
        )


class ActionError(InputError):
    """An action has the wrong shape, dtype, range or device. The environment is unchanged."""


class BudgetSpentError(InputError):
    """A step asks for more scores than are left of a budget. The environment is unchanged."""


class DatasetError(InputError):
    """A data set is missing, laid out wrongly, or holds a file that cannot be used."""


class DatasetWarning(UserWarning):
    """A data set can be used, but something in it may not be as it was meant."""


def check_choice(what: str, value: str, valid: Iterable[str]) -> str:
    """Return `value` if it is among `valid`.

    Args:
        what: The thing being chosen, as the message should name it.
        value: The choice made.
        valid: The choices there are.

    Raises:
        InputError: If `value` is not one of them; the message lists them.
    """
    names = list(valid)
    if not isinstance(value, str) or value not in names:
        raise InputError(f"unknown {what} {value!r}; valid: {', '.join(map(str, names))}")
    return value


def check_value(is_valid: bool, name: str, valid: str, value: object) -> None:
    """Refuse a number with an `InputError`: `name` must be `valid`, got `value`."""
    if not is_valid:
        raise InputError(f"{name} must be {valid}, got {value}")


def warn_of(note: str) -> None:
    """Warn of something in a data set; by Python's own filters, once in a process."""
    warnings.warn(note, DatasetWarning, stacklevel=1)  # from here, however it came to be opened
