"""Run the parts that need a GPU, one after the other, and write one folder of plain files.

    benchmarks/gpu/run.sh                        # on the GPU, into runs/gpu
    benchmarks/gpu/run.sh --device cpu --quick   # the same parts, tiny, on the CPU

Tests come first, then timings with nothing else running, then learning. A part that fails, or takes
longer than it may, stops none of the others; the last lines say which did, and so does the exit
status. All parts together take 8 minutes at most.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from benchmarks.learning.evidence import commit
from benchmarks.timing import markdown_table
from rss_agents.training.logging import versions

ROOT = Path(__file__).parents[2]
# Those that have tests marked `cuda`, which need a device; the others of a file are left out.
CUDA_TESTS = (
    "tests/agents/kernels/test_triton.py",
    "tests/agents/training/test_capture.py",
    "tests/rss_env/test_captured_step.py",
    "tests/rss_env/test_registration.py",
    "tests/rss_env/testing/test_checker.py",
)


@dataclass
class GpuConfig:
    """Tests, timings and learning on one GPU: a table, CSV, logs, versions and the card."""

    device: str = "cuda"
    """What is tested and timed: cuda, cuda:1, ...; or cpu, to try the script."""
    quick: bool = False
    """As little of everything as shows that it runs."""
    out: Path = Path("runs/gpu")
    """Folder to write; one that is there is replaced if it is of an earlier run."""


@dataclass(frozen=True)
class Part:
    """One part of the run.

    Attributes:
        name: Of its files.
        command: What runs it.
        seconds: How long it may take.
    """

    name: str
    command: tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class Outcome:
    """How a part ended: `reason` is empty if all went well."""

    part: Part
    seconds: float
    reason: str


def parts_of(config: GpuConfig, out: Path) -> list[Part]:
    """The parts in their order; 8 minutes at most."""
    quick = ("--quick",) if config.quick else ()
    common = ("--device", config.device, *quick, "--out", str(out))
    python = sys.executable
    pytest = (python, "-m", "pytest", "-m", "cuda", "-p", "no:cacheprovider", "-vv")
    parts = [
        Part("tests", (*pytest, *CUDA_TESTS), 170),
        Part("timings", (python, "-m", "benchmarks.gpu.timings", *common), 170),
        Part("learning", (python, "-m", "benchmarks.gpu.learning", *common), 130),
    ]
    if config.quick:  # a try is no measurement, and may run on a machine that does much else
        return [replace(part, seconds=600) for part in parts]
    return parts


def run_part(part: Part, out: Path) -> Outcome:
    """Run a part in processes of its own; what it says goes to a log."""
    started, log = time.monotonic(), out / f"{part.name}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts ends with it
        )
        try:
            code = process.wait(part.seconds)
            reason = "" if code == 0 else f"exit status {code}, see {log.name}"
        except subprocess.TimeoutExpired:
            reason = f"not done after {part.seconds} s, see {log.name}"
        finally:
            _end(process)
    return Outcome(part, time.monotonic() - started, reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write_setting(config: GpuConfig, out: Path) -> str:
    """Write what it ran on, `card.txt` and `versions.txt`; the lines that head the table."""
    card = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if torch.device(config.device).type == "cuda":
        card = f"{torch.cuda.get_device_name(config.device)}, {os.cpu_count()} cores"
    lines = [card]
    if shutil.which("nvidia-smi") is not None:
        lines.append(subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout)
    (out / "card.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    known = {
        **versions(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "cuDNN": str(torch.backends.cudnn.version()),
        "commit": commit(),
    }
    text = "\n".join(f"{name} {version}" for name, version in known.items())
    (out / "versions.txt").write_text(text + "\n", encoding="utf-8")
    return f"{card}; {', '.join(text.splitlines())}\n"


def write_table(outcomes: Sequence[Outcome], setting: str, out: Path) -> None:
    """Write `results.md`: what became of the parts, and the tables of those that made some."""
    rows = [(o.part.name, o.reason or "done", f"{o.seconds:.0f}") for o in outcomes]
    text = ["# On one GPU\n", setting, markdown_table(("part", "outcome", "seconds"), rows)]
    text += [path.read_text(encoding="utf-8") for path in sorted(out.glob("table-*.md"))]
    (out / "results.md").write_text("\n".join(text), encoding="utf-8")


def main(config: GpuConfig) -> int:
    """Run all parts; 0 if none failed."""
    out = config.out.resolve()
    is_ours = (out / "versions.txt").exists()
    if out.exists() and any(out.iterdir()) and not is_ours:
        sys.exit(f"benchmarks.gpu: error: --out {config.out} holds other files; name a new folder")
    if torch.device(config.device).type == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: error: no CUDA device; --device cpu --quick tries the script")
    if is_ours:
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    setting = _write_setting(config, out)
    outcomes: list[Outcome] = []
    for part in parts_of(config, out):
        print(f"{part.name}, up to {part.seconds} s ...", flush=True)
        outcomes.append(run_part(part, out))
        write_table(outcomes, setting, out)  # whatever comes after it
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        print(f"FAILED {outcome.part.name}: {outcome.reason}")
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} parts done; {out / 'results.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(GpuConfig, prog="benchmarks/gpu/run.sh")))
