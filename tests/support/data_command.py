"""The command rss-data, and what it prints."""

from __future__ import annotations

from rss_agents import data


def run(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and output of rss-data."""
    code = 0
    try:
        data.main(list(arguments))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if isinstance(stop.code, str):
            print(stop.code)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def arguments_of(options: dict[str, str]) -> list[str]:
    return [part for key, value in options.items() for part in (f"--{key}", value)]
