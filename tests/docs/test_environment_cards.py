"""The environments' cards say what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from rss_env.registration import DATASET_NAMES, LEVEL_NAMES, SEQUENCE_NAMES

FOLDER = Path(__file__).parents[2] / "docs" / "environments"
_SPEC = importlib.util.spec_from_file_location("generate_cards", FOLDER / "generate.py")
assert _SPEC is not None
assert _SPEC.loader is not None
generate: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)


def test_the_cards_on_disk_are_those_of_the_code():
    expected = generate.pages()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    assert found.keys() == expected.keys()
    for name, text in expected.items():
        assert found[name] == text, f"{name} is out of date: python docs/environments/generate.py"


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_a_card_describes_the_environment_that_is_made(name, data_options):
    card = generate.card(name)
    for level in LEVEL_NAMES:
        assert f"RSS/{name}-{level}-v0" in card
        env: Any = gym.make(f"RSS/{name}-{level}-v0", **data_options[name]).unwrapped
        cells, classes = env.action_space.shape[0], env.action_space.nvec[0]
        count = "C" if name == "Folder" else classes
        assert f"| Action space | `MultiDiscrete([{count}] * {cells})` |" in card
        assert f"| Observation space | `{env.observation_space}` |" in card
        env.reset(seed=0)
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert (terminated, truncated) == (True, False)
        assert set(info) <= set(re.findall(r"^\| `(\w+)` \| (?:Image|Pixel)", card, re.MULTILINE))
        if name != "Folder":
            names = re.search(r"^Classes \((\d+)\): (.*)$", card, re.MULTILINE)
            assert names is not None
            assert int(names[1]) == classes == len(names[2].split(", "))
        env.close()


@pytest.mark.parametrize("name", DATASET_NAMES)
def test_a_card_describes_sequences(name, data_options):
    rows = dict(
        re.findall(r"^\| (\w+) \| (`MultiDiscrete.*) \|$", generate.card(name), re.MULTILINE)
    )
    assert set(rows) == set(SEQUENCE_NAMES)
    for sequence, row in rows.items():
        env: Any = gym.make(f"RSS/{name}-{sequence}-v0", **data_options[name]).unwrapped
        sizes = env.action_space.nvec.tolist()
        classes = "C" if name == "Folder" else str(env.geometry.num_classes)
        if sequence == "Progressive":
            space = f"MultiDiscrete([{classes}] * {len(sizes)})"
        else:
            keep = "C + 1" if classes == "C" else str(sizes[-1])
            space = f"MultiDiscrete([{sizes[0]}] + [{keep}] * {len(sizes) - 1})"
        assert row.startswith(f"`{space}` | ")
        assert row.endswith(f" | {env.max_steps}")
        env.close()
