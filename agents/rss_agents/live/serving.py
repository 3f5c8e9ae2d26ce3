"""Serving a page to one machine, or to those that are told its address."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # of the extra rss-env[live]
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rss_agents.extras import require
from rss_env.errors import InputError


@dataclass
class PageConfig:
    """Options of serving the page."""

    host: str = "127.0.0.1"
    """Address to listen at. By default only this machine sees the page; 0.0.0.0 shows it to
    everybody who can reach the machine, without a password."""
    port: int = 8050
    """Port to listen at; 0: any that is free."""
    browser: bool = True
    """Open the page in a browser."""


def free_port(config: PageConfig) -> int:
    """The port to listen at, or one that is free if it is 0.

    Raises:
        InputError: If it cannot be listened at.
    """
    if not 0 <= config.port < 2**16:
        raise InputError(f"port must be in 0..65535, got {config.port}")
    try:
        family = socket.getaddrinfo(config.host, None)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((config.host, config.port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InputError(
            f"cannot listen at {config.host}, port {config.port}: {error.strerror or error}; "
            "choose another --port or --host"
        ) from None


class _NoFrames:
    """Lets no page of somebody else's show this one in a frame, where clicks could be led."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", b"frame-ancestors 'none'")
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    config: PageConfig,
    title: str,
    build: Callable[[], None],
    *,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Serve a page, which `build` lays out anew for every visitor.

    It ends with Ctrl-C, with SIGTERM, or when `until`, which is asked again and again, says so.

    Raises:
        InputError: If NiceGUI is missing, or the address cannot be listened at.
    """
    require("nicegui", "NiceGUI", "live")
    from nicegui import app, ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    port = free_port(config)
    if _is_loopback(config.host):
        # A site elsewhere may give its name this machine's address, and then ask in our name.
        allowed = ["localhost", "127.0.0.1", "[::1]", config.host]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed)
    app.add_middleware(_NoFrames)
    sys.stderr.write(f"{title}: http://{config.host}:{port}/ (Ctrl-C ends it)\n")
    app.timer(0.5, lambda: app.shutdown() if until() else None)
    # Uvicorn passes on what has ended it: SIGTERM is to end this function, not the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        ui.run(
            build,
            host=config.host,
            port=port,
            title=title,
            show=config.browser,
            reload=False,
            dark=None,
            show_welcome_message=False,
            favicon="🧩",
        )
