"""Text for a terminal."""

from __future__ import annotations

import pytest

from rss_env.errors import DatasetError, InputError
from rss_env.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\r\tc\x00", "a\\nb\\r\\tc\\x00"),
        ("\x9b31m\x7f\udc9b", "\\x9b31m\\x7f\\udc9b"),
        ("\u202egnp.exe\u2069\u2028", "\\u202egnp.exe\\u2069\\u2028"),
    ],
)
def test_what_steers_a_terminal_is_escaped(text, shown):
    assert printable(text) == printable(shown) == shown
    for error in (InputError(text), DatasetError(text)):
        assert str(error) == shown


def test_what_can_be_read_is_left_alone():
    name = "Bäume/木 \u202f\u3000\u200d👩\u200d🌾 \udcff c:\\x1b [31m"
    assert printable(name) == name
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
