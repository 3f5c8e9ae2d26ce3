"""Expert iteration: what a trained network does with scores of unknown formula."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.algorithms.bias_search_config import BiasSearchConfig
from rss_agents.algorithms.expert_iteration import ExpertIteration
from rss_agents.algorithms.learned_views_config import LearnedViewsConfig
from rss_agents.algorithms.objectives import Beliefs, MetricRegression
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.replay.best_maps import BestMaps, JudgedMaps
from rss_agents.training.config import TrainConfig
from rss_agents.training.setup import open_run
from rss_env.errors import InputError
from rss_env.labels import VOID
from training_runs import TINY, assert_alike, prefer_houses, run, start, start_and_stop

SCORER = ("--scorer", "training_runs:prefer_houses")
SHOWN = 500  # images of Shapes
SIX = ("--group-size", "6", "--expert-maps", "6")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder: a few updates with labels."""
    out = tmp_path_factory.mktemp("first") / "run"
    train.main([*TINY, "--algo", "psl", "--updates", "2", "--out", str(out)])
    return str(out)


def opened(trained, tmp_path, **options):
    """A run that is opened, and not begun."""
    settings = {
        "out": tmp_path / "run",
        "image_size": (16, 16),
        "num_images": 2,
        "group_size": 6,
        "scorer": "training_runs:prefer_houses",
        "start_from": trained,
    }
    return open_run(TrainConfig(**(settings | options)))


def test_a_start_and_a_scorer_settle_the_objective(tmp_path, trained, monkeypatch):
    assert opened(trained, tmp_path).objective == "expert_iteration"
    for name, options in {
        "no start": {"start_from": None},
        "known formula": {"scorer": None},
        "said": {"agent": RSSConfig(objective="relative_regression")},
        "formula said": {"agent": RSSConfig(score_model="metric")},
        "new images": {"zoom": (0.5, 1.0)},
    }.items():
        assert opened(trained, tmp_path, **options).objective == "relative_regression", name
    monkeypatch.setattr("rss_agents.training.setup.is_whole_start", lambda *_: False)
    assert opened(trained, tmp_path).objective == "relative_regression"


def test_few_maps_of_an_image_are_scored_at_once(tmp_path, trained):
    """Where the best one is learned; the regression has all that are asked for."""
    for name, (settings, members) in {
        "default": ({}, 8),
        "a large budget": ({"queries": 32 * SHOWN, "updates": 4000}, 8),
        "a small one": ({"queries": 32 * SHOWN - 1, "updates": 4000}, 4),
        "fewer": ({"group_size": 2}, 2),
        "more": ({"agent": RSSConfig(expert_maps=5)}, 5),
        "regression": ({"agent": RSSConfig(objective="relative_regression")}, 9),
        "known formula": ({"scorer": None}, 9),
    }.items():
        learner = opened(trained, tmp_path, **{"group_size": 9, **settings}).learner
        assert isinstance(learner, RSSLearner)
        assert learner.env.group_size == members, name
        assert learner.queries_per_update == 2 * members * len(learner.env.geometry.scales), name


@pytest.mark.parametrize("ranked", [(), ("--feedback", "ranking")], ids=["scores", "orders"])
def test_what_is_scored_is_learned(ranked, tmp_path, trained, one_thread):
    """The share of one class: found by biases alone, and learned without a search as well."""
    none = ("--bias-search.scores", "0")  # region by region, which takes longer
    for name, search, updates in (("search", (), "40"), ("none", none, "80")):
        out = tmp_path / name
        many = ("--updates", updates, "--eval-every", updates, *SIX, "--num-images", "4")
        many += ("--views.zoom", "None", "--views.colour-jitter", "0")  # which learns faster
        begin = ("--start-from", trained, *SCORER, *ranked, *search, "--learning-rate", "0.01")
        train.main([*TINY, *many, *begin, "--out", str(out)])
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        scores = [row["score"] for row in rows if "score" in row]
        if not ranked:
            assert scores[-1] > scores[0] + 0.2, (name, scores)
        images = torch.zeros(4, 16, 16, 3, dtype=torch.uint8)
        drawn = load_checkpoint(out)[0].predict(images)
        before = load_checkpoint(trained)[0].predict(images)
        assert prefer_houses(None, drawn[None]).mean() > prefer_houses(None, before[None]).mean()


@pytest.mark.parametrize(
    "others",
    [(), ("--queries", "96"), ("--feedback", "ranking"), ("--no-keep-answers",)],
    ids=["scores", "few", "orders", "no incumbent"],
)
def test_it_goes_on_bit_for_bit(others, tmp_path, trained, monkeypatch, one_thread):
    begin = ("--start-from", trained, *SCORER, *SIX, "--bias-search.scores", "24", *others)
    start(tmp_path / "whole", *begin, updates=10)
    start_and_stop(monkeypatch, tmp_path / "stopped", *begin, "--updates", "10")
    monkeypatch.setattr("rss_agents.training.setup.is_whole_start", _gone)
    train.main(["--resume", str(tmp_path / "stopped"), *SCORER])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")


def _gone(folder, *_):
    raise InputError(f"no checkpoint at {folder}")


@pytest.mark.parametrize(
    ("search", "feedback", "batches"),
    [
        (BiasSearchConfig(scores=60, budget_share=1.0), "exact", 5),  # of 12 scores each
        (BiasSearchConfig(scores=2000), "exact", 4),  # a third of the ten, rounded up
        (BiasSearchConfig(scores=2000), "ranking", 4),
        (BiasSearchConfig(scores=0), "exact", 0),
    ],
)
def test_nothing_but_biases_changes_while_they_are_searched(
    search, feedback, batches, tmp_path, trained
):
    agent = RSSConfig(bias_search=search, expert_maps=6)
    opening = opened(trained, tmp_path, queries=120, updates=20, agent=agent, feedback=feedback)
    assert isinstance(opening.learner, RSSLearner)
    assert isinstance(opening.learner.objective, ExpertIteration)
    before = {n: v.clone() for n, v in opening.network.body.named_parameters()}
    learned = max(2 * batches - 1, 0)  # every other update asks, and the first does
    for update in range(learned):
        assert opening.learner.objective.compared_every == 3  # its maps are needed more
        assert "loss" not in opening.update(update / 20)
    assert opening.learner.objective.compared_every == 1
    after = dict(opening.network.body.named_parameters())
    changed = {n for n in before if not before[n].equal(after[n])}
    assert changed == ({"head.bias"} if batches else set())
    assert "loss" in opening.update(learned / 20)


def test_cells_are_not_rewarded_one_by_one(tmp_path, trained):
    asked = {"agent": RSSConfig(objective="expert_iteration"), "scorer": None}
    data = DataConfig(env="RSS/Shapes-PixelReward-v0")
    with pytest.raises(InputError, match=r"expert_iteration.*ImageReward"):
        opened(trained, tmp_path, data=data, **asked)


def test_known_formulas_are_regressed_on(tmp_path, trained):
    learner = opened(trained, tmp_path, scorer=None).learner
    assert isinstance(learner, RSSLearner)
    assert isinstance(learner.objective, MetricRegression)


def test_the_start_is_left_as_it_is(tmp_path, trained):
    file = Path(trained) / "model.safetensors"
    before = load_file(file)
    run(tmp_path / "run", "--start-from", trained, *SCORER)
    assert all(value.equal(before[name]) for name, value in load_file(file).items())


@pytest.mark.parametrize("cell", [1, 2])
def test_best_maps_are_seen_as_their_images_are(cell, tmp_path, trained):
    """Images show the class of each cell; half of them are mirrored, and remembered unmirrored."""
    agent = RSSConfig(views=LearnedViewsConfig(zoom=(1.0, 2.0), colour_jitter=0.0, share=0.75))
    opening = opened(trained, tmp_path, agent=agent, scales=(cell,))
    assert isinstance(opening.learner, RSSLearner)
    objective = opening.learner.objective
    side = 16 // cell
    maps = torch.arange(6).repeat(6).view(6, 6).repeat_interleave(3, 1)[:, :side]
    maps = maps.repeat_interleave(3, 0)[:side].expand(4, -1, -1).to(torch.uint8)
    mirrored = torch.tensor([False, True, False, True])
    shown = torch.where(mirrored[:, None, None], maps.flip(2), maps)
    shown = shown.repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    images = (40 * shown)[..., None].expand(-1, -1, -1, 3).contiguous()
    refused = (maps.flatten(1) + 1) % 6
    judged = JudgedMaps(maps.flatten(1), refused, torch.ones(4))
    seen, flips, found = objective.view(images, mirrored, judged)
    best = found.classes
    assert flips is None  # maps stand as images do
    assert found.refused.equal((best + 1) % 6)  # as maps do
    assert not any(one.equal(other) for one, other in zip(seen[:3], images, strict=False))
    assert seen[3].equal(images[3])
    values = seen.view(4, side, cell, side, cell, 3).float().mean((2, 4, 5)) / 40
    right = (values - best.view(4, side, side)).abs() < 0.3
    assert right.float().mean() > 0.6  # all but borders, which are blended
    void = torch.full((4, side**2), 255, dtype=torch.uint8)
    unknown = objective.view(images, mirrored, JudgedMaps(void, void, torch.ones(4)))[2]
    assert unknown.classes.eq(255).all()
    assert unknown.refused.eq(255).all()


def test_without_views_images_are_learned_from_as_they_are(tmp_path, trained):
    agent = RSSConfig(views=LearnedViewsConfig(zoom=None, colour_jitter=0.0))
    opening = opened(trained, tmp_path, agent=agent)
    assert isinstance(opening.learner, RSSLearner)
    given = torch.zeros(2, 16, 16, 3, dtype=torch.uint8), torch.ones(2).bool(), torch.ones(2, 256)
    assert opening.learner.objective.view(*given) == given
    assert not opening.learner.objective.varies_views


def test_views_that_are_none_are_refused(tmp_path, trained):
    for views, message in {
        LearnedViewsConfig(zoom=(2.0, 1.0)): "zoom must be two positive factors",
        LearnedViewsConfig(colour_jitter=1.5): "colour_jitter must be in 0..1",
        LearnedViewsConfig(share=1.5): "views share must be in 0..1",
    }.items():
        with pytest.raises(InputError, match=message):
            opened(trained, tmp_path, agent=RSSConfig(views=views))


def test_what_scored_no_higher_is_refused():
    """Of three images of two cells: new, known and improved, known and not improved."""
    void, nothing = VOID, float("-inf")
    before = JudgedMaps(
        torch.tensor([[0, 0], [0, 0], [0, 0]], dtype=torch.uint8),
        torch.tensor([[void, void], [void, 3], [3, void]], dtype=torch.uint8),
        torch.tensor([nothing, 0.5, 0.5]),
    )
    answers = torch.tensor([[[0, 0], [2, 2]]] * 3, dtype=torch.uint8)
    varied = torch.tensor([[[1, 0], [0, 1]]] * 3, dtype=torch.uint8)
    scores = torch.tensor([[0.4, 0.1, 0.4, 0.3], [0.3, 0.1, 0.6, 0.2], [0.3, 0.1, 0.4, 0.5]])
    best = torch.tensor([[0, 0], [1, 0], [0, 0]], dtype=torch.uint8)
    is_flip = torch.tensor([[True, True], [True, True], [True, False]])
    maps = torch.cat([answers, varied], 1)
    refused = ExpertIteration._refused(maps, scores, best, before, is_flip)
    # The second image has a new class, and its old one was refused for it.
    assert refused.tolist() == [[1, 1], [0, 1], [1, void]]


@pytest.mark.parametrize(
    ("beside_labels", "feedback"), [(False, "exact"), (True, "exact"), (True, "ranking")]
)
def test_cells_of_which_scores_have_spoken_count_more(beside_labels, feedback, tmp_path, trained):
    """And beside labels, they alone count, if not only orders are told."""
    agent = RSSConfig(judged_weight=3.0)
    opening = opened(trained, tmp_path, agent=agent, scales=(4,), feedback=feedback)
    assert isinstance(opening.learner, RSSLearner)
    cells = torch.rand(2, 6, 16).softmax(1)
    classes = torch.randint(6, (2, 16), dtype=torch.uint8)
    classes[0, :5] = VOID
    refused = torch.where(torch.rand(2, 16) < 0.5, classes, VOID)
    judged = JudgedMaps(classes, refused, torch.ones(2))
    opening.learner.objective.beside_labels = beside_labels
    loss = opening.learner.objective.loss(Beliefs(cells, cells), judged, 0.0)
    alone = beside_labels and feedback == "exact"
    total, weights = 0.0, 0.0
    for image in range(2):
        for cell in range(16):
            if classes[image, cell] != VOID:
                weight = float(not alone) if refused[image, cell] == VOID else 3.0
                total -= weight * cells[image, int(classes[image, cell]), cell].log()
                weights += weight
    torch.testing.assert_close(loss, total / (32 if alone else weights))


def test_maps_are_varied_region_by_region_once_biases_are_found(tmp_path, trained):
    """Beside answers, and unless that is turned off."""
    for flips in (True, False):
        agent = RSSConfig(bias_search=BiasSearchConfig(scores=0), flip_regions=flips)
        opening = opened(trained, tmp_path, agent=agent)
        for update in range(3):
            opening.update(update / 3)
        assert isinstance(opening.learner, RSSLearner)
        memory = opening.learner.objective.memory
        assert isinstance(memory, BestMaps)
        keys = memory.recognise(opening.learner.last_batch()["images"])
        assert bool((memory.recall(keys.keys).refused != VOID).any()) == flips
