"""Prints the lowest versions that pyproject.toml allows, as constraints of pip: `make lowest`.

PyTorch and torchvision are left out: of them the versions of constraints.txt are taken, as each
release before comes as a download of several gigabytes.
"""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
LEFT_OUT = ("torch", "torchvision")


def lowest_versions(text: str) -> dict[str, str]:
    """Lower bounds of the dependencies by name, from the text of a pyproject.toml."""
    block = text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    return dict(re.findall(r'"([\w-]+)>=([\d.]+)"', block))


if __name__ == "__main__":
    for name, version in lowest_versions(PROJECT.read_text(encoding="utf-8")).items():
        if name not in LEFT_OUT:
            print(f"{name}=={version}.*")
