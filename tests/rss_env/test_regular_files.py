"""Files that are opened only if they are regular."""

from __future__ import annotations

import os

import pytest

from rss_env.regular_files import open_regular, open_to_append

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of POSIX")


def test_a_regular_file_is_read_and_added_to(tmp_path):
    path = tmp_path / "lines"
    for text in (b"one\n", b"two\n"):
        with open_to_append(path) as file:
            file.seek(0)
            file.write(text)
    with open_regular(path) as file:
        assert file.read() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_a_link_is_not_followed(tmp_path):
    target, link = tmp_path / "precious", tmp_path / "link"
    target.write_text("mine")
    link.symlink_to(target)
    for use in (open_regular, open_to_append):
        with pytest.raises(OSError, match="it is a link, which is not followed"):
            use(link)
    with open_regular(link, follow_links=True) as file:
        assert file.read() == b"mine"
    target.unlink()
    with pytest.raises(OSError, match="it is a link"):
        open_to_append(link)
    assert not target.exists()


def test_what_would_be_waited_for_is_not_opened(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for use in (open_regular, open_to_append, lambda path: open_regular(path, follow_links=True)):
        for path in (pipe, tmp_path):
            with pytest.raises(OSError, match="it is no regular file"):
                use(path)
    with pytest.raises(OSError, match="it is no regular file"):
        open_regular(link, follow_links=True)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nowhere")
