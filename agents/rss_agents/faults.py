"""Faults of the machine that a program meets, told in a line: no disk, no memory, no permission."""

from __future__ import annotations

_SIGNS_OF_NO_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory", "Unable to allocate"),
    *("array is too big", "Maximum allowed dimension exceeded", "too large to convert to C"),
    *("Storage size calculation overflowed", "numel: integer multiplication"),
)


def is_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there is not so much memory; torch has no type for it."""
    said = isinstance(error, (RuntimeError, ValueError, OSError, OverflowError))
    return isinstance(error, MemoryError) or (
        said and any(sign in str(error) for sign in _SIGNS_OF_NO_MEMORY)
    )


def told(error: BaseException) -> str | None:
    """What to say of an error, in a line, if the machine causes it; None if a program may."""
    said = str(error).strip().split("\n")[0][:300] or type(error).__name__
    if is_of_memory(error):
        return f"no memory is left ({said})"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeError):
        return f"a name or a text cannot be written: {said}"
    return said if isinstance(error, OSError) else None
