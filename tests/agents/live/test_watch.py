"""`rss-watch`: what it refuses."""

from __future__ import annotations

import sys

import pytest

from rss_agents.live.page import folders_of_ratings
from rss_agents.live.watch import main as watch
from watched_runs import write_run


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


def test_a_linked_folder_of_ratings_is_not_shown(tmp_path):
    """What is answered would be written to where the link leads."""
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name)
    (tmp_path / "runs/a/ratings").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs/b/ratings").symlink_to(tmp_path / "elsewhere")
    found = folders_of_ratings([tmp_path / "runs"])
    assert found == {"a": tmp_path / "runs/a/ratings"}
    assert folders_of_ratings([tmp_path / "nowhere"]) == {}


def test_without_nicegui_it_is_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "nicegui", None)
    with pytest.raises(SystemExit):
        watch([str(tmp_path)])
    assert "pip install 'rss-env[live]'" in capsys.readouterr().err
