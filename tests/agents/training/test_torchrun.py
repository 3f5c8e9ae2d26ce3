"""`torchrun -m rss_agents.train`: one folder, one answer, and no process that stays behind."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.networks.names import FILE_NAME

COMMAND = [
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
    "-m", "rss_agents.train", "--image-size", "16", "--scales", "4", "1", "--num-images", "4",
    "--group-size", "2", "--eval-every", "2",
]  # fmt: skip


def launch(*command: str, **environment: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    paths = os.pathsep.join(map(str, (root, root / "agents", Path(__file__).parent)))
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment},
    )  # fmt: skip


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    return launch(*COMMAND, "--out", str(out), *arguments)


_calls = 0


def _signal_the_second_process(call: int, number: signal.Signals) -> None:
    """Send a signal to the second process in the call of that number."""
    global _calls
    _calls += 1
    if os.environ["RANK"] == "1" and _calls == call:
        os.kill(os.getpid(), number)


def scorer_that_kills_the_second_process(images, action_maps):
    """The share of class 1, until the second process has met ten updates of two scales."""
    _signal_the_second_process(20, signal.SIGKILL)
    return scorer(images, action_maps)


def scorer(images, action_maps):
    """The share of class 1."""
    return (action_maps == 1).float().mean((2, 3))


def scorer_that_notes_threads_at_the_end(images, action_maps):
    """The share of class 1; the names of the threads that outlive the run go to a file."""
    if not (noted := Path(os.environ["THREADS"]) / os.environ["RANK"]).exists():
        noted.touch()
        names = Path("/proc/self/task").glob("*/comm")
        atexit.register(lambda: noted.write_text("".join(name.read_text() for name in names)))
    return scorer(images, action_maps)


def test_two_processes_write_one_folder(tmp_path):
    process = start(tmp_path / "run", "--updates", "4")
    printed, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert json.loads(printed) == result  # one process alone speaks
    assert result["processes"] == 2
    assert result["score_queries"] == 4 * 4 * 2 * 2  # updates, images of both, maps, scales
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[-1]["miou"] == result["miou"]
    load_checkpoint(tmp_path / "run")


def test_a_process_that_dies_ends_the_run(tmp_path):
    scorer = "test_torchrun:scorer_that_kills_the_second_process"
    process = start(tmp_path / "run", "--updates", "100000", "--scorer", scorer)
    _, error = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "another process of this run has ended, so process 0 of 2 stops too" in error
    assert f"go on from update 8 with --resume {tmp_path / 'run'}" in error
    assert not (tmp_path / "run/result.json").exists()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert rows[-1]["update"] == 9  # the tenth never ended
    network, _ = load_checkpoint(tmp_path / "run")
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_two_processes_go_on_bit_for_bit(tmp_path):
    """The second process is killed at update 10 of 14, and the run goes on from update 8."""
    killer = "test_torchrun:scorer_that_kills_the_second_process"
    for name, scorer in (("whole", "test_torchrun:scorer"), ("killed", killer)):
        process = start(tmp_path / name, "--updates", "14", "--scorer", scorer)
        _, error = process.communicate(timeout=300)
        assert (process.returncode == 0) == (name == "whole"), error
    process = start(tmp_path / "killed", "--resume", str(tmp_path / "killed"), "--scorer", killer)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    weights = [load_file(tmp_path / name / FILE_NAME) for name in ("whole", "killed")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0)
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert rows[0] == rows[1]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have no names here")
def test_no_thread_of_the_group_outlives_the_run(tmp_path):
    """One that holds tensors aborts a process whose interpreter ends meanwhile."""
    process = launch(
        *COMMAND, "--out", str(tmp_path / "run"), "--updates", "2",
        "--scorer", "test_torchrun:scorer_that_notes_threads_at_the_end", THREADS=str(tmp_path),
    )  # fmt: skip
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    for rank in "01":
        assert "python" in (names := (tmp_path / rank).read_text())
        assert "gloo" not in names


def scorer_that_hangs_in_the_second_process(images, action_maps):
    """The share of class 1, until the second process has met two updates of two scales."""
    _signal_the_second_process(5, signal.SIGSTOP)
    return scorer(images, action_maps)


def test_a_process_that_hangs_ends_the_run(tmp_path):
    """Without torchrun, which would give the one that hangs half a minute to end by itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    module = sys.executable, *COMMAND[COMMAND.index("-m", 3) :]
    scorer = ("--scorer", "test_torchrun:scorer_that_hangs_in_the_second_process")
    processes = [
        launch(
            *(*module, "--out", str(tmp_path / "run"), "--updates", "100000", *scorer),
            *("--process-timeout", "8"),
            RANK=number, WORLD_SIZE="2", LOCAL_RANK=number, MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for number in "01"
    ]  # fmt: skip
    try:
        _, error = processes[0].communicate(timeout=300)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1, error
    silent = "another process of this run has not answered for 8 seconds (--process-timeout), so"
    assert f"{silent} process 0 of 2 stops too" in error
    assert "Traceback" not in error


def test_a_signal_to_torchrun_stops_all_after_the_same_update(tmp_path):
    process = start(tmp_path / "run", "--updates", "100000")
    deadline = time.time() + 200
    while not (tmp_path / "run" / FILE_NAME).exists() and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "stopped by SIGTERM after update" in error
    assert "another process" not in error
    assert not (tmp_path / "run/result.json").exists()
    load_checkpoint(tmp_path / "run")
    assert (tmp_path / "run/overlay.png").exists()


def test_a_share_of_one_image_that_cannot_be_learned_from_is_refused(tmp_path):
    """Four images are enough for one process, and for two; two are not for two."""
    of_one = ("--num-images", "2", "--network", "unet/resnet18", "--image-size", "32")
    process = start(tmp_path / "run", *of_one)
    _, error = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "cannot be trained on 1 image of 32x32 at a time" in error
    assert "it needs two or more a process: give --num-images 4" in error
    assert not (tmp_path / "run").exists()
