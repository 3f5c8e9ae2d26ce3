"""`rss-watch`: what it refuses."""

from __future__ import annotations

import sys

import pytest

from rss_agents.live.watch import main as watch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        ([".", "--port", "70000"], "port must be in 0..65535, got 70000"),
        ([".", "--host", "192.0.2.1"], "cannot listen at 192.0.2.1"),
    ],
)
def test_bad_arguments_are_told(arguments, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("nicegui")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        watch([*arguments, "--no-browser"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_nicegui_it_is_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(SystemExit):
        watch([str(tmp_path)])
    assert "pip install 'rss-env[live]'" in capsys.readouterr().err
