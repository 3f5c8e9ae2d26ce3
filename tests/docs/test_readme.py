"""What the README says is so: its code runs, its file tree is the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tyro

from benchmarks.leaderboard.__main__ import LeaderboardConfig
from rss_agents import data
from rss_agents.evaluate import EvalConfig
from rss_agents.export import ExportConfig
from rss_agents.judge import JudgeConfig
from rss_agents.live.rate import RateConfig
from rss_agents.live.watch import WatchConfig
from rss_agents.predict import PredictConfig
from rss_agents.recipes import RECIPES, recipe_commands
from rss_agents.training.config import TrainConfig
from rss_env.datasets import DATASETS, default_image_size, open_dataset

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DATASETS_PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
RECIPES_PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_python_blocks_run():
    assert blocks("python")
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})


def test_commands_are_understood():
    configs: dict[str, Any] = {
        "rss-train": TrainConfig,
        "rss-eval": EvalConfig,
        "rss-predict": PredictConfig,
        "rss-data": data.Command,
        "rss-judge": JudgeConfig,
        "rss-recipe": recipe_commands(),
        "rss-export": ExportConfig,
        "rss-watch": WatchConfig,
        "rss-rate": RateConfig,
        "benchmarks.leaderboard": LeaderboardConfig,
    }
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    text = "\n".join([README, *pages]).replace("\\\n", " ")
    lines = [line.strip().removeprefix("python -m ") for line in text.splitlines()]
    commands = [
        shlex.split(line, comments=True)
        for line in lines
        if re.match(r"(rss-\w+|benchmarks\.leaderboard) ", line)
    ]
    assert {command[0] for command in commands} == set(configs)
    for program, *arguments in commands:
        config = tyro.cli(configs[program], args=arguments)
        named = getattr(config, "dataset", "folder") if program == "rss-data" else "folder"
        assert ":" in named or data.dataset_name(named) in DATASETS  # or one of one's own


def test_the_page_of_data_sets_is_true(data_options):
    """Its table gives every data set, with the classes and the default size of the code."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| (\d+)x(\d+) \|", DATASETS_PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == list(DATASETS)
    for name, classes, height, width in rows:
        assert default_image_size(name) == (int(height), int(width))
        counts = [int(number) for number in re.findall(r"\d+", classes)]
        if name == "PascalContext":
            found = [
                open_dataset(name, **data_options[name], classes=count).num_classes
                for count in counts
            ]
        else:
            found = [open_dataset(name, **data_options[name]).num_classes]
        assert name == "Folder" or found == counts


def test_the_page_of_recipes_is_true():
    rows = re.findall(
        r"^\| `([\w-]+)` \| `(\S+)` \| (\d+)x(\d+) \| ([\d,]+) \| (\d+) \| (\S+) \| (\S+) \|",
        RECIPES_PAGE,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == list(RECIPES)
    for name, network, height, width, updates, images, rate, decay in rows:
        recipe = RECIPES[name](Path("unused"))
        assert recipe.network == network
        assert recipe.image_size == (int(height), int(width))
        assert recipe.updates == int(updates.replace(",", ""))
        assert recipe.num_images == int(images)
        assert (recipe.learning_rate, recipe.weight_decay) == (float(rate), float(decay))


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make (\w+)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("package", ["rss_env", "agents/rss_agents"])
def test_the_map_of_the_house_names_every_floor(package):
    tree = CONTRIBUTING.split("## The house")[1]
    section = re.split(r"\n(?=\S)", tree.split(f"\n{package}/")[1])[0]
    named = set(re.findall(r"\b(\w+)/ ", section)) - {"triton"}
    there = {p.name for p in (ROOT / package).iterdir() if (p / "__init__.py").exists()}
    assert named == there


def test_the_paths_to_read_are_there():
    text = " ".join(CONTRIBUTING.split("Two paths to read.")[1].split("\n\n")[0].split())
    parts = text.split("to the reward")
    to_loss, to_reward = (re.findall(r"`([\w/]+\.py)`", part) for part in parts)
    assert len(to_loss) <= 6
    assert len(to_reward) <= 5
    for folder, names in (("agents/rss_agents", to_loss), ("rss_env", to_reward)):
        assert all((ROOT / folder / name).is_file() for name in names)


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert any(path.endswith(".png") for path in links)
    for path in links:
        assert (ROOT / path).exists(), path
