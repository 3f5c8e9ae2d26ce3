"""Lists as editors and shells save them: read, or told how to save them."""

from __future__ import annotations

import pytest

from rss_env.datasets.base import read_split
from rss_env.datasets.class_file import read_classes
from rss_env.datasets.text_files import read_text
from rss_env.errors import DatasetError

LINES = "čeština/kůň\nété\n中文\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marked_encodings_are_read(tmp_path, encoding, end):
    path = tmp_path / "list.txt"
    path.write_bytes(LINES.replace("\n", end).encode(encoding))
    assert read_split(path) == LINES.split()
    assert read_classes(str(path)).names == LINES.split()


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_big_and_little_end(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes(("\ufeff" + LINES).encode(encoding))
    assert read_text(path) == LINES


def test_a_list_of_a_windows_code_page_says_how_to_save_it(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("plain\nété 1\n".encode("cp1252"))
    message = r"list.txt: it is not UTF-8; line 2 may read 'été 1'; save it as UTF-8 .* iconv -f"
    with pytest.raises(DatasetError, match=message):
        read_split(path)


def test_utf_16_without_a_mark_says_how_to_save_it(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("plain\n".encode("utf-16-le"))
    with pytest.raises(DatasetError, match=r"list.txt: it holds NUL .* save it as UTF-8"):
        read_split(path)


def test_half_a_character_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(LINES.encode("utf-16")[:-1])
    with pytest.raises(DatasetError, match=r"list.txt: it is not UTF-16; .* save it as UTF-8"):
        read_split(path)
