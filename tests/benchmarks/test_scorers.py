"""The zoo of scorers: each scores what it says, of images as they are shown."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import pytest
import torch

import benchmarks.scorers
from benchmarks.learning.suites import GROUPS, SUITES, VARIANTS
from benchmarks.scorers.pixel_counts import outline_f_score
from benchmarks.scorers.zoo import TEACHERS, ZOO, Judge
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.quality.fitting_config import FittingConfig
from rss_env.errors import InputError
from rss_env.feedback import load_scorer
from rss_env.labels import VOID
from rss_env.scenes import Scenes, load_scenes

SHAPES = SUITES["shapes"]


def scorer(kind: str) -> Any:
    found = load_scorer(f"benchmarks.scorers:shapes_{kind}")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return load_scenes(SHAPES.data(None).open(None), (64, 64))


@pytest.fixture(scope="module")
def shown(scenes) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, every other one mirrored, and maps: the label, and ever worse ones."""
    generator = torch.Generator().manual_seed(0)
    images, labels = scenes.images[:6].clone(), scenes.labels[:6].clone()
    images[::2], labels[::2] = images[::2].flip(2), labels[::2].flip(2)
    maps = labels[:, None].repeat(1, 4, 1, 1)
    for k, share in enumerate((0.0, 0.05, 0.2, 0.7)):
        wrong = torch.rand(labels.shape, generator=generator) < share
        noise = torch.randint(0, 6, labels.shape, generator=generator, dtype=torch.uint8)
        maps[:, k] = torch.where(wrong, noise, labels)
    return images, maps


def environment(**arguments: Any) -> Any:
    return gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=16, group_size=4, array="torch",
        horizontal_flip=True, **arguments,
    ).unwrapped  # fmt: skip


def test_miou_behind_the_interface_is_the_environments_own():
    known, unknown = environment(), environment(scorer=scorer("miou"))
    generator = torch.Generator().manual_seed(0)
    for env in (known, unknown):
        env.reset(seed=3)
    for _ in range(3):
        actions = torch.randint(0, 6, (16, known.geometry.num_cells), generator=generator)
        found = [env.step(actions.to(torch.uint8)) for env in (known, unknown)]
        torch.testing.assert_close(found[0][1], found[1][1])
        assert found[0][0].equal(found[1][0])


@pytest.mark.parametrize("kind", ["miou", "dice_squared", "boundary_f", "accuracy_boundary"])
def test_label_scorers_prefer_better_maps(kind, shown):
    scores = scorer(kind)(*shown)
    assert scores.shape == (6, 4)
    assert (scores[:, 0] == 1).all()
    assert (scores.diff(dim=1) < 0).all()
    assert (scores >= 0).all()


def test_a_judge_has_learned_what_it_scores(monkeypatch, shown):
    """And errs: a label is not worth 1 to it."""
    monkeypatch.setattr(Judge, "fitting", FittingConfig(members=2, steps=30))
    monkeypatch.setattr(Judge, "every", 32)
    judge = Judge(SHAPES)
    scores = judge(*shown)
    assert scores.shape == (6, 4)
    means = scores.mean(0)
    assert means[0] > means[2] > means[3]
    assert not torch.allclose(scores[:, 0], torch.ones(6))
    assert judge(*shown).equal(scores)
    assert Judge(SHAPES)(*shown).equal(scores)  # every run is judged alike


def test_an_image_of_another_set_is_refused():
    other = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with pytest.raises(InputError, match="an image is shown that the scorer's suite does not have"):
        scorer("miou")(other, torch.zeros(1, 2, 64, 64, dtype=torch.uint8))


def f_score_by_hand(drawn, label, num_classes, distance):
    """The boundary F-score of one map, pixel by pixel."""
    height, width = label.shape

    def outline(classes, c):
        found = []
        for y, x in itertools.product(range(height), range(width)):
            if classes[y, x] != c or label[y, x] == VOID:
                continue
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and label[v, u] != VOID and classes[v, u] != c:
                    found.append((y, x))
                    break
        return found

    def share(pixels, others):
        near = [any(max(abs(y - v), abs(x - u)) <= distance for v, u in others) for y, x in pixels]
        return sum(near) / max(len(near), 1)

    values = []
    for c in range(num_classes):
        ours, theirs = outline(drawn, c), outline(label, c)
        if ours or theirs:
            precision, recall = share(ours, theirs), share(theirs, ours)
            values.append(2 * precision * recall / max(precision + recall, 1e-12))
    return sum(values) / len(values) if values else 1.0


@pytest.mark.parametrize("distance", [1, 2])
def test_the_boundary_f_score_by_hand(distance):
    generator = torch.Generator().manual_seed(distance)
    labels = torch.randint(0, 3, (2, 3, 4), generator=generator).to(torch.uint8)
    labels = labels.repeat_interleave(3, 1).repeat_interleave(3, 2)
    labels[0, :3, :4] = VOID
    maps = torch.randint(0, 3, (2, 2, 3, 3), generator=generator).to(torch.uint8)
    maps = maps.repeat_interleave(3, 2).repeat_interleave(4, 3)
    found = outline_f_score(maps, labels, 3, distance)
    for g, k in itertools.product(range(2), range(2)):
        expected = f_score_by_hand(maps[g, k], labels[g], 3, distance)
        assert found[g, k] == pytest.approx(expected, abs=1e-6)


def test_a_map_of_one_class_has_no_outline():
    nothing = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    assert outline_f_score(nothing, nothing[0], 3).tolist() == [[1.0]]


def test_a_person_gives_stars_and_keeps_to_them(shown):
    rate = scorer("person")
    ratings = rate(*shown)
    assert ((ratings * 5).round() / 5).equal(ratings)
    assert ratings.equal(rate(*shown))
    assert (ratings[:, 0] > ratings[:, 3]).all()
    assert len(ratings.unique()) > 3


def test_one_preference_in_ten_is_wrong(scenes):
    generator = torch.Generator().manual_seed(0)
    images = scenes.images[:40]
    right = scenes.labels[:40, None].repeat(1, 8, 1, 1)
    noise = torch.randint(0, 6, right.shape, generator=generator, dtype=torch.uint8)
    worse = torch.where(torch.rand(right.shape, generator=generator) < 0.1, noise, right)
    pairs = torch.stack([right, worse], 2).flatten(1, 2)
    answers = scorer("preference")(images, pairs).unflatten(1, (8, 2))
    assert (answers.sum(2) == 1).all()
    assert 0.05 < float((answers[:, :, 0] == 0).float().mean()) < 0.15
    with pytest.raises(InputError, match="group_size must be even to prefer in pairs, got 3"):
        scorer("preference")(images[:1], pairs[:1, :3])


def test_the_rule_likes_calm_maps_with_borders_on_edges(shown):
    scores = scorer("rule")(*shown)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert (scores.diff(dim=1) < 0).all()


def test_a_teacher_scores_agreement_with_its_own_maps(shown, tmp_path, monkeypatch):
    monkeypatch.delenv(TEACHERS, raising=False)
    with pytest.raises(InputError, match=f"^a teacher is needed: set {TEACHERS}"):
        scorer("teacher")
    torch.manual_seed(0)
    network = build_network("tiny-unet", 6, (64, 64)).eval()
    data = SHAPES.data(None).open(None)
    description = NetworkDescription.of("tiny-unet", (64, 64), data.class_names, data.palette)
    (tmp_path / "Shapes").mkdir()
    save_checkpoint(tmp_path / "Shapes", network, description)
    monkeypatch.setenv(TEACHERS, str(tmp_path))
    images, maps = shown
    own = network.predict(images)
    maps = torch.stack([own, (own + 1) % 6], 1)
    maps[:, 1, :16] = own[:, :16]
    assert scorer("teacher")(images, maps).tolist() == [[1.0, 0.25]] * 6


def test_scorers_go_by_suite_and_kind():
    with pytest.raises(InputError, match="valid: <suite>_<kind>, with a suite of shapes, "):
        load_scorer("benchmarks.scorers:shapes_beauty")
    assert not hasattr(benchmarks.scorers, "no_suite_miou")
    assert {VARIANTS[name].scorer for name in GROUPS["scorers"]} == set(ZOO)
    assert VARIANTS["rss-of-miou"].scorer_arguments("camvid-11") == (
        "--scorer",
        "benchmarks.scorers:camvid_11_miou",
    )
