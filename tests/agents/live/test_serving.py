"""Where a page is served."""

from __future__ import annotations

import socket

import pytest

from rss_agents.live.serving import PageConfig, free_port
from rss_env.errors import InputError


def test_a_port_that_is_taken_is_named():
    port = free_port(PageConfig(port=0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}"):
            free_port(PageConfig(port=port))
