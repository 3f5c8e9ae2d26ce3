"""Expert iteration: what a trained network does with scores of unknown formula."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.algorithms.bias_search_config import BiasSearchConfig
from rss_agents.algorithms.expert_iteration import ExpertIteration
from rss_agents.algorithms.experts import BestMapExpert, RegionExpert
from rss_agents.algorithms.learned_views_config import LearnedViewsConfig
from rss_agents.algorithms.objectives import Beliefs, MetricRegression
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.losses.region_effects import RegionEffects
from rss_agents.losses.region_effects_config import RegionEffectsConfig
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.replay.image_memory import ImageKeys
from rss_agents.training.config import TrainConfig
from rss_agents.training.setup import open_run
from rss_env.errors import InputError
from rss_env.labels import VOID
from training_runs import TINY, assert_alike, prefer_houses, run, start, start_and_stop

SCORER = ("--scorer", "training_runs:prefer_houses")
SHOWN = 500  # images of Shapes
NO_VIEWS = LearnedViewsConfig(zoom=None, colour_jitter=0.0)
SIX = ("--group-size", "6", "--expert-maps", "6")
SEARCHED_LONG = ("--bias-search.scores", "36", "--bias-search.least-explained", "1")


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


@pytest.mark.parametrize(
    "expert",
    [("--expert", "regions", "--effects.weight", "10"), ("--expert", "best_map")],
    ids=["regions", "best map"],
)
@pytest.mark.parametrize("ranked", [(), ("--feedback", "ranking")], ids=["scores", "orders"])
def test_what_is_scored_is_learned(ranked, expert, tmp_path, trained, one_thread):
    """The share of one class: found by biases alone, and learned without a search as well.

    The start is sure of other classes; regions are told with a weight that outdoes it.
    """
    learner = opened(trained, tmp_path).learner
    assert isinstance(learner, RSSLearner)
    images = learner.env.images_of(torch.arange(16))
    for name, search in {"search": (), "none": ("--bias-search.scores", "0")}.items():
        out = tmp_path / name
        many = ("--updates", "40", "--eval-every", "40", *SIX, "--num-images", "4")
        many += ("--views.zoom", "None", "--views.colour-jitter", "0")  # which learns faster
        many += ("--learning-rate", "0.01")
        begin = ("--start-from", trained, *SCORER, *ranked, *expert, *search)
        train.main([*TINY, *many, *begin, "--out", str(out)])
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        scores = [row["score"] for row in rows if "score" in row]
        if not ranked:
            assert scores[-1] > scores[0] + 0.2, (name, scores)
        drawn = load_checkpoint(out)[0].predict(images)
        before = load_checkpoint(trained)[0].predict(images)
        assert prefer_houses(None, drawn[None]).mean() > prefer_houses(None, before[None]).mean()


@pytest.mark.parametrize(
    "others",
    [
        (),
        ("--queries", "96"),
        ("--feedback", "ranking"),
        ("--expert", "regions", "--feedback", "ranking"),
        ("--no-keep-answers",),
        ("--expert", "regions", "--no-keep-answers"),
        ("--queries", "96", *SEARCHED_LONG),
    ],
    ids=[
        *("scores", "few", "orders", "orders by regions", "no incumbent", "regions alone"),
        "in a long search",
    ],
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
    ("settings", "expert"),
    [
        ({}, "best_map"),
        ({"queries": 32 * SHOWN, "updates": 4000}, "best_map"),
        ({"queries": 32 * SHOWN - 1, "updates": 4000}, "regions"),
        ({"queries": 1000, "agent": RSSConfig(expert="best_map")}, "best_map"),
        ({"agent": RSSConfig(expert="regions")}, "regions"),
    ],
)
def test_few_scores_are_weighed_together(settings, expert, tmp_path, trained):
    learner = opened(trained, tmp_path, **settings).learner
    assert isinstance(learner, RSSLearner)
    objective = learner.objective
    assert isinstance(objective, ExpertIteration)
    kind = RegionExpert if expert == "regions" else BestMapExpert
    assert isinstance(objective.expert, kind)


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
    agent = RSSConfig(bias_search=search, expert_maps=6, expert="best_map")
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


@pytest.mark.parametrize(("explained", "batches"), [(0.06, 4), (0.04, 8)])
def test_few_scores_are_asked_for_biases_first_and_longer_if_regions_explain_nothing(
    explained, batches, tmp_path, trained, monkeypatch
):
    monkeypatch.setattr(RegionEffects, "explained", torch.tensor(explained))
    agent = RSSConfig(expert_maps=6)
    opening = opened(trained, tmp_path, queries=144, updates=40, agent=agent)
    learner = opening.learner
    assert isinstance(learner, RSSLearner)
    assert isinstance(learner.objective, ExpertIteration)
    for update in range(batches):  # of 12 scores each; a third of the twelve batches, or two thirds
        assert not learner.objective.learns
        assert "loss" not in opening.update(update / 40)
        assert learner.queries_before(update + 1) == 12 * (update + 1)
    for update in range(batches, 40):
        assert learner.objective.learns
        assert "loss" in opening.update(update / 40)
    asked = [learner.queries_before(update) for update in range(batches, 41)]
    assert asked[0] == 12 * batches
    assert asked[-1] == 144
    assert all(later - before in (0, 12) for before, later in itertools.pairwise(asked))


@pytest.mark.parametrize("members", [2, 6])  # of two, some batches compare answers alone
def test_a_search_leaves_scores_to_learn_from(members, tmp_path, trained):
    agent = RSSConfig(
        expert_maps=members, bias_search=BiasSearchConfig(budget_share=0.9, least_explained=1.0)
    )
    opening = opened(trained, tmp_path, queries=20 * members, updates=20, agent=agent)
    assert isinstance(opening.learner, RSSLearner)
    for update in range(9):
        assert not opening.learner.objective.learns
        opening.update(update / 20)
    assert opening.learner.objective.learns


def test_a_search_of_an_earlier_version_goes_on_as_it_was_planned(tmp_path, trained):
    settings = {"queries": 144, "updates": 60, "agent": RSSConfig(expert_maps=6)}
    first, second = (opened(trained, tmp_path, **settings).learner for _ in range(2))
    assert isinstance(first, RSSLearner)
    assert isinstance(second, RSSLearner)
    first.loss(0.0)
    state = first.get_state()
    del state["at_once"]
    second.set_state(state)
    asked = []
    for update in range(30, 60):
        asked.append(second.queries_before(update))
        second.loss(update / 60)
    assert second.queries_before(60) == 144
    assert asked[0] == 72
    assert second.objective.learns


def test_of_few_scores_other_answers_have_to_be_better_by_more(tmp_path, trained):
    few, told = {"queries": 1000}, RSSConfig(gain_errors=2.0)
    for settings, errors in (({}, 0.5), (few, 1.0), ({**few, "agent": told}, 2.0)):
        learner = opened(trained, tmp_path, **settings).learner
        assert isinstance(learner, RSSLearner)
        assert learner.incumbent is not None
        assert learner.incumbent.gain_errors == errors


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
    seen, flips, best = objective.view(images, mirrored, maps.flatten(1))
    assert flips is None  # maps stand as images do
    assert not any(one.equal(other) for one, other in zip(seen[:3], images, strict=False))
    assert seen[3].equal(images[3])
    values = seen.view(4, side, cell, side, cell, 3).float().mean((2, 4, 5)) / 40
    right = (values - best.view(4, side, side)).abs() < 0.3
    assert right.float().mean() > 0.6  # all but borders, which are blended
    assert objective.view(images, mirrored, torch.full((4, side**2), 255))[2].eq(255).all()


def test_without_views_images_are_learned_from_as_they_are(tmp_path, trained):
    agent = RSSConfig(views=NO_VIEWS)
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


@pytest.mark.parametrize("beside_labels", [False, True])
def test_beside_labels_best_maps_teach_what_they_changed(beside_labels, tmp_path, trained):
    """Elsewhere they are what the network believed before labels taught it."""
    agent = RSSConfig(bias_search=BiasSearchConfig(scores=0))
    opening = opened(trained, tmp_path, agent=agent, scales=(4,), group_size=4)
    assert isinstance(opening.learner, RSSLearner)
    objective = opening.learner.objective
    objective.beside_labels = beside_labels
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    keys = ImageKeys(torch.tensor([7, 8]), torch.zeros(2, dtype=torch.bool), images)
    answers = torch.ones(2, 2, 16, dtype=torch.uint8)
    varied = answers.clone()
    varied[0, 0, :3] = 2
    maps, scores = torch.cat([varied, answers], 1), torch.tensor([[0.6, 0.2, 0.4, 0.4]] * 2)
    policy, progress = torch.full((2, 6, 16), 1 / 6), 0.0
    scored = objective.remember(keys, maps, scores[..., None], policy, progress, 2)
    assert scored.equal(objective.recall(keys))
    kept = 1 if not beside_labels else VOID
    assert scored[0].tolist() == [2] * 3 + [kept] * 13
    assert scored[1].tolist() == [kept] * 16
    cells = torch.rand(2, 6, 16).softmax(1)
    logarithms = cells.log()
    total = -logarithms[0, 2, :3].sum()
    if not beside_labels:
        total = total - logarithms[0, 1, 3:].sum() - logarithms[1, 1].sum()
    loss = objective.loss(Beliefs(cells, cells), scored, progress)
    torch.testing.assert_close(loss, total / 32)


def told(opening, wanted: int = 3):
    """Images, and maps (B, cells) that are their answers but for some cells, which scores told of.

    Scores are the share of cells that are as wanted.
    """
    objective = opening.learner.objective
    keys = objective.memory.recognise(torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8))
    cells = believed(opening.network, objective, keys)
    best = cells.argmax(1)
    best[:, :wanted] = (best[:, :wanted] + 1) % 6
    members = objective.env.group_size
    for _ in range(2 + 56 // members):
        wrong = torch.rand(2, members, 16) < 0.5
        maps = ((best[:, None] + wrong) % 6).to(torch.uint8)
        scores = 1 - wrong.float().mean(2)
        objective.remember(keys, maps, scores[..., None], cells, 0.0, 2)
    return keys, best


@torch.no_grad()
def believed(network, objective, keys):
    """Probabilities (B, C, cells) of the classes, in evaluation."""
    network.eval()
    found = objective.policy(objective.beliefs(network(keys.images), keys.mirrored))
    network.train()
    return found


def disturb(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()


@pytest.mark.parametrize("beside_labels", [False, True])
def test_what_scores_say_is_learned_on_what_the_start_believed(beside_labels, tmp_path, trained):
    """Beside labels what they changed, as the start knew less than labels have taught since."""
    agent = RSSConfig(bias_search=BiasSearchConfig(scores=0), expert="regions")
    opening = opened(trained, tmp_path, agent=agent, scales=(4,), group_size=4)
    assert isinstance(opening.learner, RSSLearner)
    objective = opening.learner.objective
    objective.beside_labels = beside_labels
    torch.manual_seed(0)
    keys, best = told(opening)
    assert objective.numbers()["explained"] > 0.8
    disturb(opening.network)  # what learns has changed; what the start believed has not
    scored = objective.recall(keys)
    assert scored[:, :3].equal(best[:, :3].to(torch.uint8))
    rest = torch.full_like(best[:, 3:], VOID) if beside_labels else best[:, 3:]
    assert scored[:, 3:].equal(rest.to(torch.uint8))
    cells = torch.rand(2, 6, 16).softmax(1)
    total = -cells.log().gather(1, best[:, None])[:, 0, : 3 if beside_labels else None].sum()
    loss = objective.loss(Beliefs(cells, cells), scored, 0.0)
    torch.testing.assert_close(loss, total / 32)


@pytest.mark.parametrize("expert", ["regions", "best_map"])
def test_of_images_that_nothing_was_said_of_nothing_is_learned(expert, tmp_path, trained):
    agent = RSSConfig(bias_search=BiasSearchConfig(scores=0), expert=expert)
    opening = opened(trained, tmp_path, agent=agent, scales=(4,), group_size=4)
    assert isinstance(opening.learner, RSSLearner)
    objective = opening.learner.objective
    assert objective.memory is not None
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    assert (objective.recall(objective.memory.recognise(images)) == VOID).all()


@pytest.mark.parametrize(("members", "proposed"), [(2, 0), (4, 1), (6, 2), (8, 2)])
def test_what_scores_say_so_far_is_proposed(members, proposed, tmp_path, trained):
    """In half of the maps that are no answers at most; the others vary."""
    search = BiasSearchConfig(scores=0)
    effects = RegionEffectsConfig(proposed=(5.0, 9.0))
    agent = RSSConfig(bias_search=search, effects=effects, expert="regions")
    opening = opened(trained, tmp_path, agent=agent, scales=(4,), group_size=members)
    assert isinstance(opening.learner, RSSLearner)
    objective = opening.learner.objective
    torch.manual_seed(0)
    keys, best = told(opening)
    policy = torch.full((2, 6, 16), 1 / 6)  # of what learns, which knows nothing
    maps = objective.draw(policy, 0.0, keys)
    assert (maps[:, :proposed] == best[:, None]).all()
    assert maps.shape == (2, members, 16)
    assert not (maps[:, proposed:] == best[:, None]).all(2).any()
    assert objective.memory is not None
    others = objective.memory.recognise(255 - keys.images)
    assert not (objective.draw(policy, 0.0, others) == best[:, None]).all(2).any()


@pytest.mark.parametrize("flips", [False, True])
def test_labels_are_seen_as_best_maps_are(flips, tmp_path, trained):
    for views, zoom in ((LearnedViewsConfig(), (1.0, 1.67)), (NO_VIEWS, None)):
        agent = RSSConfig(views=views)
        opening = opened(trained, tmp_path, agent=agent, horizontal_flip=flips)
        assert isinstance(opening.learner, RSSLearner)
        augmentation = opening.learner.objective.augmentation
        assert augmentation.zoom == zoom
        assert augmentation.colour_jitter == views.colour_jitter
        assert augmentation.horizontal_flip == flips
