"""Text that can be shown on a terminal: names come from files, and may hold what steers one."""

from __future__ import annotations

import re

# Control characters, ends of lines that only Unicode knows, bytes that are control characters in
# 8-bit codes (of names that are not UTF-8), and what changes the direction of writing.
_STEERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]"
)


def printable(text: str, keep: str = "") -> str:
    r"""The text with escapes, such as `\x1b`, for characters that steer a terminal.

    Args:
        text: The text.
        keep: Characters among these that are left as they are.
    """

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return _STEERS.sub(escaped, text)
