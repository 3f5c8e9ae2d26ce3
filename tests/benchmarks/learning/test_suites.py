"""Names of variants and of groups of them."""

from __future__ import annotations

import numpy as np
import pytest
import tyro
from conftest import REAL_DATA

from benchmarks.learning.runs import Run
from benchmarks.learning.suites import GROUPS, SUITES, VARIANTS, expand
from rss_agents.networks.build import build_network
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError


def test_groups_are_expanded_once_and_in_order():
    assert expand(("rss", "headline")) == ["rss", "psl", "rss-pixel"]
    assert set(expand(tuple(GROUPS))) == set(VARIANTS)
    with pytest.raises(InputError, match="rss-pixle"):
        expand(("rss-pixle",))


CAMVID = ("camvid-360", "camvid-360-fpn")
NEEDS_CAMVID = pytest.mark.skipif(
    not (REAL_DATA / "camvid-360").is_dir(), reason="needs the photographs of camvid-360"
)


@pytest.mark.parametrize("suite", CAMVID)
def test_runs_of_real_size_are_those_of_the_suite(suite, tmp_path):
    algos = []
    for name in GROUPS["camvid-360"]:
        run = Run(suite, name, 100, SUITES[suite].updates, tmp_path, tmp_path / "data")
        config = tyro.cli(TrainConfig, args=[*run.arguments, "--out", str(run.folder)])
        config.check()
        assert config.image_size == (352, 480)
        assert (config.updates, config.pretrained, config.seed) == (1500, True, 100)
        assert config.network.startswith({"camvid-360": "unet/"}.get(suite, "fpn/"))
        algos.append(config.algo)
    assert algos == ["psl", "psl-dice", "psl-metric", "rss", "rss", "wsss-cam"]


@pytest.mark.parametrize("suite", CAMVID)
def test_its_networks_take_its_images(suite):
    network, size = SUITES[suite].arguments[1], SUITES[suite].size
    assert build_network(network, 11, size).stride == 1


def test_without_its_photographs_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="camvid-360"):
        SUITES["camvid-360"].scenes(tmp_path)


@NEEDS_CAMVID
def test_its_photographs_are_read():
    data = SUITES["camvid-360"].data(REAL_DATA)
    for split, count in zip(SUITES["camvid-360"].splits(REAL_DATA), (367, 101), strict=True):
        opened = data.open(split)
        assert (len(opened), opened.num_classes) == (count, 11)
        image, label = opened.read(0)
        assert image.shape[:2] == (360, 480)
        assert label is not None
        assert set(np.unique(label)) <= {*range(11), 255}
