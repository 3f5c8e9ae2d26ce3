"""Give up on what does not come back: an environment that deadlocks would hang its check."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class DidNotReturn(Exception):  # noqa: N818  (an outcome to be told)
    """Something took longer than it may; the message says where it is."""


def within(seconds: float | None, function: Callable[[], Result]) -> Result:
    """Call a function, and give up waiting for it after a time.

    It runs in a thread of its own, which cannot be stopped: where it is stuck, it stays, and ends
    with the process.

    Args:
        seconds: How long to wait; None for ever, in the thread of the caller.
        function: What to call.

    Raises:
        DidNotReturn: If it has not come back; anything that it raised itself.
    """
    if seconds is None:
        return function()
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = function()
        except BaseException as error:  # handed to the caller
            outcome["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DidNotReturn(f"did not come back within {seconds:g} s: {_place_of(thread)}")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def _place_of(thread: threading.Thread) -> str:
    """The innermost calls that a thread is in, the last one last."""
    frame = sys._current_frames().get(thread.ident or 0)
    calls = traceback.extract_stack(frame)[-3:] if frame else []
    return "; ".join(f"{call.filename}:{call.lineno} in {call.name}" for call in calls)
