"""The image that the Dockerfile makes, where Docker can be used; what goes into it, everywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IMAGE = "rss-env-test"
TRAINING = (
    "rss-train --out run --updates 2 --eval-every 2 --num-images 2 --group-size 2 --image-size 16 "
    "--scales 8 4"
)


def has_docker() -> bool:
    """Tell whether there is Docker, and its daemon answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def test_what_is_copied_is_there_and_let_through():
    copied = [
        name
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    assert {"rss_env", "agents", "pyproject.toml"} <= set(copied)
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in let_through
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (extras,) = re.findall(r'"\.\[(.+)\]"', DOCKERFILE)
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


@pytest.mark.skipif(os.name == "nt", reason="the steps are for a POSIX shell")
def test_a_device_that_is_none_is_refused():
    step = re.search(r"^RUN (case .+? esac)$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert step is not None
    for device, code in (("cpu", 0), ("cudda", 2), ("", 2)):
        done = subprocess.run(
            ["sh", "-c", step[1]], env={**os.environ, "DEVICE": device}, capture_output=True
        )
        assert done.returncode == code
        assert (f"got '{device}'" in done.stderr.decode()) == (code == 2)


@pytest.mark.skipif(not has_docker(), reason="there is no Docker here")
@pytest.mark.timeout(3600)
def test_the_image_trains_as_a_user_without_a_home(tmp_path):
    subprocess.run(["docker", "build", "-t", IMAGE, ROOT], check=True)
    tmp_path.chmod(0o777)
    run = ("docker", "run", "--rm", "--user", "54321:54321", "--volume", f"{tmp_path}:/data", IMAGE)
    subprocess.run([*run, *TRAINING.split()], check=True)
    assert (tmp_path / "run/result.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert (tmp_path / "run/model.safetensors").stat().st_uid == 54321
