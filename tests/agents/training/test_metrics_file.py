"""`metrics.jsonl`: what a state is saved with is what a run goes on from, or is told to differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rss_agents.training.metrics_file import MetricsFile, check_metrics
from rss_agents.training.run_files import ForeignWriteError
from rss_env.errors import DatasetWarning, InputError

ROWS = [{"update": float(number), "score": number / 7} for number in range(4)]


@pytest.fixture
def saved(tmp_path) -> dict[str, Any]:
    """The state of a file of three rows, in whose folder a fourth has been written since."""
    file = MetricsFile(tmp_path)
    for row in ROWS[:3]:
        file.add(row)
    state = json.loads(json.dumps(file.get_state()))
    file.add(ROWS[3])
    file.close()
    return state


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_file_goes_on_behind_its_state(tmp_path, saved, recwarn):
    check_metrics(tmp_path, saved, "")
    assert rows_of(tmp_path) == ROWS  # looking changes nothing
    file = MetricsFile(tmp_path, saved)
    assert file.rows == ROWS[:3]
    file.add(ROWS[3])
    assert rows_of(tmp_path) == file.rows == ROWS
    assert not recwarn.list


def cut(content: bytes, position: int) -> bytes:
    return content[: position - 9]


def zeros(content: bytes, position: int) -> bytes:
    """What a power cut may leave of a line that was never put on the disk."""
    return content[: position - 20] + b"\0" * 20 + content[position:]


@pytest.mark.parametrize("tear", [cut, zeros])
def test_a_torn_last_line_is_put_back(tmp_path, saved, tear):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(tear(path.read_bytes(), saved["position"]))
    with pytest.warns(DatasetWarning, match=r"metrics\.jsonl: its last line was torn, and is put"):
        file = MetricsFile(tmp_path, saved)
    assert file.rows == rows_of(tmp_path) == ROWS[:3]


def test_a_torn_line_behind_the_state_is_cut_off(tmp_path, saved):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(DatasetWarning, match="its last line was torn, and is cut off"):
        MetricsFile(tmp_path, saved)
    assert rows_of(tmp_path) == ROWS[:3]


def garbled(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return lines[0] + lines[1].replace(b":", b"\x1b") + b"".join(lines[2:])


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a line in the middle": (garbled, "line 2 is damaged: '"),
    "rows are gone": (lambda content: content[: content.index(b"\n") + 1], "of the .* bytes that"),
    "all are gone": (lambda content: b"", "it has 0 of the"),
    "another run's": (lambda content: content.replace(b"0.14", b"0.15"), "it is another run's, or"),
    "no rows": (lambda content: b"[1]\n" + content, r"line 1 is damaged: '\[1\]'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_other_damage_is_named_with_what_to_do(tmp_path, saved, damage):
    path, (spoil, message) = tmp_path / "metrics.jsonl", DAMAGE[damage]
    path.write_bytes(spoiled := spoil(path.read_bytes()))
    with pytest.raises(
        InputError, match=f"metrics.jsonl cannot be continued: .*{message}"
    ) as error:
        check_metrics(tmp_path, saved, "start again")
    assert str(error.value).endswith("; start again")
    assert "\x1b" not in str(error.value)
    assert path.read_bytes() == spoiled


def test_a_file_that_is_gone_is_named(tmp_path, saved):
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="No such file or directory; start again"):
        check_metrics(tmp_path, saved, "start again")


def test_states_of_before_have_a_position_alone(tmp_path, saved):
    file = MetricsFile(tmp_path, {"position": saved["position"]})
    assert file.rows == ROWS[:3]
    file.add({"update": 9.0})
    file.check()


@pytest.mark.parametrize("act", ["append", "replace", "remove"])
def test_what_others_write_is_noticed(tmp_path, act):
    file, path = MetricsFile(tmp_path), tmp_path / "metrics.jsonl"
    file.add(ROWS[0])
    file.check()
    if act == "append":
        with path.open("a") as other:
            other.write('{"upd')
    elif act == "replace":
        path.write_bytes(b"\0" * len(path.read_bytes()))
    else:
        path.unlink()
    for notice in (file.check, file.get_state):
        with pytest.raises(ForeignWriteError, match=r"something else .*metrics\.jsonl"):
            notice()


def test_a_link_of_before_is_not_written_through(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    MetricsFile(tmp_path).add(ROWS[0])
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert rows_of(tmp_path) == ROWS[:1]
