"""Images varied at random: labels follow, and everything is a function of the counters."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.reference_config import BaselineConfig, SupervisedConfig
from rss_agents.algorithms.registry import build_learner
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.networks.build import build_network
from rss_env.augmentation import Augmentation, Variation
from rss_env.errors import InputError
from rss_env.scenes import SceneBatch, count_classes

SMALL: dict[str, Any] = {"num_scenes": 12, "image_size": (16, 24), "scales": (8, 4, 1)}
VARIED: dict[str, Any] = {"horizontal_flip": True, "zoom": (0.6, 2.5), "colour_jitter": 0.3}


def make(level: str = "Image", num_envs: int = 8, **options) -> Any:
    return gym.make_vec(
        f"RSS/Shapes-{level}Reward-v0", num_envs=num_envs, **(SMALL | VARIED | options)
    ).unwrapped


def pictures(seed: int = 0, count: int = 3, sides=(16, 24)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *sides, 3), dtype=torch.uint8, generator=generator)


def window(*values: tuple[float, float, float]) -> Variation:
    return Variation(torch.tensor(values), None)


def test_doing_nothing_changes_nothing():
    images, labels = pictures(), pictures()[..., 0]
    nothing = Variation(torch.tensor([[1.0, 0.0, 0.0]] * 3), torch.ones(3, 3))
    assert nothing.of_images(images).equal(images)
    assert nothing.of_labels(labels).equal(labels)


def test_zooming_in_shows_a_window():
    """Twice as large, at three corners and sides: each pixel of a quarter becomes four."""
    labels = pictures()[..., 0]
    seen = window((2.0, -0.5, -0.5), (2.0, 0.5, -0.5), (2.0, 0.5, 0.5)).of_labels(labels)
    quarters = [labels[0, :8, :12], labels[1, :8, 12:], labels[2, 8:, 12:]]
    for got, quarter in zip(seen, quarters, strict=True):
        assert got.equal(quarter.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_zooming_out_leaves_black_and_void():
    images, labels = pictures(count=1).clamp(min=1), pictures(count=1)[..., 0].clamp(max=5)
    half = window((0.5, 0.0, 0.0))
    seen, told = half.of_images(images), half.of_labels(labels)
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[4:12, 6:18] = True
    assert (told[0] != 255).equal(inside)
    assert (seen[0] > 0).any(-1).equal(inside)
    # A pixel of the small image is the mean of four of the large one.
    expected = images[0].double().view(8, 2, 12, 2, 3).mean((1, 3))
    assert (seen[0, 4:12, 6:18].double() - expected).abs().max() <= 0.51


@pytest.mark.parametrize("zoom", [0.7, 1.6, 3.0])
def test_labels_follow_images(zoom):
    """An image painted in the colours of its labels still is, but for blends at the borders."""
    blocks = torch.randint(0, 5, (4, 2, 3), generator=torch.Generator().manual_seed(1))
    labels = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2).to(torch.uint8)
    images = (labels[..., None] * 40 + 20).expand(-1, -1, -1, 3).contiguous()
    edge = 1 - 1 / zoom
    variation = window(
        *[(zoom, edge * x, edge * y) for x, y in [(-1, 1), (0.3, 0), (1, 1), (0, 0)]]
    )
    seen, told = variation.of_images(images)[..., 0], variation.of_labels(labels)
    valid = told != 255
    painted = torch.where(valid, told * 40 + 20, 0)
    assert (seen == painted).float().mean() > 0.7
    assert ((seen.int() - painted.int()).abs() <= 160).all()


def test_colours_change_as_in_torchvision():
    images = pictures(sides=(9, 7))
    factors = torch.tensor([[0.7, 1.3, 0.8], [1.2, 0.7, 1.3], [1.0, 1.0, 0.0]])
    seen = Variation(None, factors).of_images(images)
    for image, got, (brightness, contrast, saturation) in zip(images, seen, factors, strict=True):
        expected = image.permute(2, 0, 1).float() / 255
        expected = functional.adjust_brightness(expected, float(brightness))
        expected = functional.adjust_contrast(expected, float(contrast))
        expected = functional.adjust_saturation(expected, float(saturation))
        difference = got.permute(2, 0, 1).float() - expected * 255
        assert difference.abs().max() < 0.6
    assert Variation(None, factors).of_labels(images[..., 0]).equal(images[..., 0])


def test_windows_stay_on_the_image():
    seeds, episodes = np.arange(500), np.arange(500) % 7
    augmentation = Augmentation(zoom=(0.5, 4.0))
    _, *changes = augmentation.draw(seeds, episodes, np.zeros(500, np.int64))
    variation = augmentation.variation_of(
        [None if c is None else torch.as_tensor(c) for c in changes]
    )
    assert variation is not None
    assert variation.colours is None
    assert variation.window is not None
    zoom, x, y = variation.window.unbind(1)
    assert 0.5 <= zoom.min() < 0.55
    assert 3.7 < zoom.max() <= 4.0
    assert ((zoom > 1.41).sum() / 500).item() == pytest.approx(0.5, abs=0.07)  # log-uniform
    for centre in (x, y):
        assert (centre.abs() <= (1 - 1 / zoom).abs() + 1e-6).all()
        assert centre.min() < 0 < centre.max()


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_what_happens_is_a_function_of_seed_and_episode(array):
    few, many = make(num_envs=2, array=array), make(num_envs=8, array=array)
    few.reset(seed=5)
    many.reset(seed=5)
    shown = []
    for _ in range(3):
        a, b = np.asarray(few.observe()), np.asarray(many.observe())
        np.testing.assert_array_equal(a, b[:2])
        shown.append(a)
        few.step(few.action_space.sample())
        many.step(many.action_space.sample())
    assert (shown[0] != shown[1]).any()


@pytest.mark.parametrize("level", ["Image", "Pixel"])
@pytest.mark.parametrize("zoom", [None, (0.6, 2.5), (1.0, 1.0)])
@pytest.mark.parametrize("crop_size", [None, (8, 16)])
def test_the_label_as_seen_is_the_best_answer(level, zoom, crop_size):
    env = make(level, zoom=zoom, scales=(1,), crop_size=crop_size)
    env.reset(seed=3)
    for _ in range(4):
        labels = env._scenes.labels_of(env._batch).flatten(1)
        actions = torch.where(labels == 255, 0, labels).numpy().astype(np.int64)
        _, rewards, _, _, infos = env.step(actions)
        if level == "Image":
            assert rewards.tolist() == [1.0] * 8
        else:
            right = infos["final_info"]["pixel_rewards"]
            np.testing.assert_array_equal(right, (labels != 255).numpy())


def test_scores_of_all_scales_are_those_of_the_label_as_seen():
    """The same as a data set that holds the varied images and labels."""
    env, plain = make(num_envs=4), make(num_envs=4, zoom=None, colour_jitter=0.0)
    env.reset(seed=3)
    plain.reset(seed=3)
    scenes = copy.copy(plain._scenes)
    scenes.labels = env._scenes.labels_of(env._batch)
    scenes._tables, scenes._known = {}, {}
    scenes.class_pixels = count_classes(scenes.labels, 6)
    plain._judge._scenes = scenes
    plain._current = SceneBatch(np.arange(4), np.zeros(4, np.bool_))
    actions = env.action_space.sample()
    got, want = (e.step(actions)[4]["final_info"]["scale_scores"] for e in (env, plain))
    np.testing.assert_array_equal(got, want)


def test_a_group_sees_one_image():
    env = make(group_size=4)
    observations, _ = env.reset(seed=0)
    groups = observations.reshape(2, 4, *observations.shape[1:])
    assert (groups == groups[:, :1]).all()
    assert (groups[0] != groups[1]).any()


def test_native_equals_sync_vector_env():
    options: dict[str, Any] = SMALL | VARIED
    native = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=3, autoreset_mode="NextStep", **options
    )
    sync = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=3, vectorization_mode="sync", **options
    )
    np.testing.assert_array_equal(native.reset(seed=7)[0], sync.reset(seed=7)[0])
    for _ in range(4):
        actions = native.action_space.sample()
        got, want = native.step(actions), sync.step(actions)
        for i in range(4):
            np.testing.assert_array_equal(got[i], want[i])


def test_the_label_of_the_references_is_that_of_the_environment():
    """Same seed, same varied images, whichever way they are drawn; and no memory is kept."""
    env = make(num_envs=4, group_size=2, array="torch")
    network = build_network("tiny-unet", 6, (16, 24))
    settings: dict[str, Any] = {
        "agent": RSSConfig(), "baseline": BaselineConfig(), "supervised": SupervisedConfig(),
        "seed": 9,
    }  # fmt: skip
    psl: Any = build_learner("psl", network, env, lambda: env._scenes, **settings)
    rss: Any = build_learner("rss", network, env, lambda: env._scenes, **settings)
    assert rss.objective.memory is None
    psl.stream.advance(psl.stream.episodes >= -1)
    images = psl.scenes.observe(psl.stream.batch())
    torch.testing.assert_close(images, env.observe()[::2], rtol=0, atol=0)
    for learner in (psl, rss):
        loss, _ = learner.loss()
        assert loss.isfinite()


@pytest.mark.parametrize("varied", [VARIED, {"zoom": None}, {"crop_size": (8, 8)}])
def test_each_image_comes_back_in_so_many_views(varied):
    """Whoever sees it, and whatever the seed; with the same labels each time."""
    shown: dict[int, set[bytes]] = {}
    told: dict[bytes, bytes] = {}
    for seed in (0, 1):
        env = make(num_envs=16, num_views=3, num_scenes=4, **varied)
        env.reset(seed=seed)
        for _ in range(12):
            labels = env._scenes.labels_of(env._batch)
            images, numbers = env.observe(), env.image_index.tolist()
            for number, image, label in zip(numbers, images, labels, strict=True):
                shown.setdefault(number, set()).add(image.tobytes())
                assert told.setdefault(image.tobytes(), label.numpy().tobytes()) == (
                    label.numpy().tobytes()
                )
            env.step(env.action_space.sample())
    assert [len(views) for views in shown.values()] == [3] * 4
    assert env.num_shown == 12


def test_scores_of_views_are_remembered():
    env = make(num_envs=4, group_size=2, array="torch", num_views=2)
    network = build_network("tiny-unet", 6, (16, 24))
    rss = RSSLearner(network, env, RSSConfig(), seed=3)
    memory = rss.objective.memory
    assert memory is not None
    for _ in range(40):
        rss.loss()
    assert 12 < len(memory) <= memory.capacity == env.num_shown == 24
    with pytest.raises(InputError, match="a budget of queries needs .* none of --zoom"):
        RSSLearner(network, env, RSSConfig(), seed=3, plan=QueryPlan(2, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 0}, "num_views must be a whole number of at least 1, got 0"),
        ({"num_views": 2.0}, "num_views must be"),
        (
            {"num_views": 2, "zoom": None, "colour_jitter": 0.0},
            "num_views=2 is for images that are varied; give zoom, colour_jitter or crop_size",
        ),
        ({"zoom": (2.0, 1.0)}, r"two positive factors, lowest and highest, got \(2.0, 1.0\)"),
        ({"zoom": (0.0, 1.0)}, "two positive factors"),
        ({"zoom": 1.5}, "two positive factors, lowest and highest, got 1.5"),
        ({"zoom": (1.0, float("inf"))}, "two positive factors"),
        ({"zoom": (1.0, 2.0, 3.0)}, "two positive factors"),
        ({"zoom": "12"}, "two positive factors"),
        ({"colour_jitter": 1.0}, r"colour_jitter must be in 0..1 \(below 1\), got 1.0"),
        ({"colour_jitter": float("nan")}, "colour_jitter must be"),
        ({"colour_jitter": "0.1"}, "colour_jitter must be"),
        ({"crop_size": (17, 8)}, "crop_size must be at most image_size, 16x24, got 17x8"),
        ({"crop_size": 0}, r"crop_size must be a side or \(height, width\), got 0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_parts_of_images_are_cut_out_whole():
    """Each is found in its image, places go from edge to edge, and labels are cut alike."""
    env = make(
        num_envs=64, zoom=None, colour_jitter=0.0, horizontal_flip=False, crop_size=(8, 12),
        scales=(4,),
    )  # fmt: skip
    assert env.single_observation_space.shape == (8, 12, 3)
    observed, _ = env.reset(seed=1)
    labels = env._scenes.labels_of(env._batch).numpy()
    places = set()
    for n, index in enumerate(env.image_index.tolist()):
        image, label = env._scenes.images[index].numpy(), env._scenes.labels[index].numpy()
        found = [
            (y, x)
            for y in range(9)
            for x in range(13)
            if np.array_equal(image[y : y + 8, x : x + 12], observed[n])
            and np.array_equal(label[y : y + 8, x : x + 12], labels[n])
        ]
        assert found
        places |= set(found)
    assert {y for y, _ in places} == set(range(9))
    assert {x for _, x in places} == set(range(13))


def test_a_cut_leaves_other_draws_as_they_are():
    plain, cut = make(), make(crop_size=(8, 16))
    plain.reset(seed=2)
    cut.reset(seed=2)
    for name in ("window", "colours"):
        assert getattr(plain._batch.variation, name).equal(getattr(cut._batch.variation, name))


def test_counted_classes():
    labels = torch.randint(0, 7, (70, 5, 6), dtype=torch.uint8)  # more than are counted at a time
    labels[3] = 255
    counts = count_classes(labels, 6)
    assert counts.shape == (70, 6)
    for c in range(6):
        assert counts[:, c].tolist() == (labels == c).sum((1, 2)).tolist()


def test_tables_of_labels_are_built_at_once_and_only_where_they_are_read():
    def make(num_scenes: int, **options: Any) -> Any:  # (equal scenes are shared)
        options |= {"num_envs": 2, "num_scenes": num_scenes}
        return gym.make_vec("RSS/Shapes-ImageReward-v0", **options).unwrapped

    assert set(make(11)._scenes._tables) == {8, 4, 2, 1}
    zoomed = make(12, zoom=(0.5, 2.0))
    zoomed.reset(seed=0)
    zoomed.step(np.zeros((2, 5440), np.uint8))
    assert not zoomed._scenes._tables
