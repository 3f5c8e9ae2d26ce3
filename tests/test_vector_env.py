"""The dynamics: equal to a loop over single environments, in every mode, and well behaved."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode

from rss_env import RSSVectorEnv, environment_ids
from rss_env.errors import ActionError, InputError
from rss_env.registration import parse_environment_id

SMALL = {"image_size": (16, 24), "scales": (8, 4, 1)}
MODES = ["SameStep", "NextStep", "Disabled"]


def make(environment_id: str = "RSS/Shapes-ImageReward-v0", num_envs: int = 4, **options) -> Any:
    options = {**SMALL, "num_scenes": 12, **options}
    return gym.make_vec(environment_id, num_envs=num_envs, **options)


def actions_for(env, seed: int):
    """Random actions; the batched space cannot be sampled in torch mode."""
    shape = (env.unwrapped.num_envs, env.unwrapped.geometry.num_cells)
    return np.random.default_rng(seed).integers(0, env.unwrapped.geometry.num_classes, shape)


def assert_same(a, b, where: str = "") -> None:
    """Deep equality of observations and infos, with dense and object arrays alike."""
    if isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        a, b = np.asarray(a), np.asarray(b)
        if b.dtype == object:
            b = np.stack(list(b))
        assert a.dtype == b.dtype, where
        assert np.array_equal(a, b), where


@pytest.mark.parametrize("action_format", ["flat", "maps"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("environment_id", environment_ids())
def test_native_equals_sync_vector_env(environment_id, mode, action_format, data_options):
    options = {
        **SMALL,
        **data_options[parse_environment_id(environment_id)[0]],
        "action_format": action_format,
        "horizontal_flip": True,
        "feedback": "noisy:0.1",
    }
    native: Any = gym.make_vec(environment_id, num_envs=3, autoreset_mode=mode, **options)
    sync: Any = gym.make_vec(
        environment_id,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **options,
    )
    assert native.single_action_space == sync.single_action_space
    assert native.action_space == sync.action_space
    assert native.observation_space == sync.observation_space
    observations, infos = native.reset(seed=7)
    expected, expected_infos = sync.reset(seed=7)
    assert_same(observations, expected)
    assert_same(infos, expected_infos)
    sync.action_space.seed(0)
    for step in range(6):
        actions = sync.action_space.sample()
        results, expected_results = native.step(actions), sync.step(actions)
        for got, want in zip(results, expected_results, strict=True):
            assert_same(got, want, f"step {step}")
        if mode == "Disabled":
            for mask in ([True, False, True], [False, True, False]):
                seed = [5, None, 11] if step == 2 else None
                got = native.reset(seed=seed, options={"reset_mask": np.array(mask)})
                want = sync.reset(seed=seed, options={"reset_mask": np.array(mask)})
                assert_same(got[0], want[0], f"reset after step {step}")
                assert_same(got[1], want[1])
    native.close()
    sync.close()


@pytest.mark.parametrize("mode", MODES)
def test_declares_its_autoreset_mode(mode):
    for spelling in (mode, mode.lower(), AutoresetMode(mode)):
        env = make(autoreset_mode=spelling)
        assert env.metadata["autoreset_mode"] is AutoresetMode(mode)
        assert env.autoreset_mode is AutoresetMode(mode)
    assert RSSVectorEnv.metadata.get("autoreset_mode") is None  # not shared between instances


def test_episodes_terminate_after_one_step():
    env = make()
    env.reset(seed=0)
    for step in range(3):
        _, rewards, terminated, truncated, infos = env.step(actions_for(env, step))
        assert rewards.dtype == np.float64
        assert terminated.all()
        assert not truncated.any()
        assert infos["_final_obs"].all()
        assert infos["final_obs"].shape == (4, 16, 24, 3)
        scores = infos["final_info"]["scale_scores"]
        assert scores.shape == (4, 3)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(rewards, scores.mean(1), rtol=1e-6)


def test_next_step_mode_has_a_dead_step():
    env = make(autoreset_mode="NextStep")
    first, _ = env.reset(seed=0)
    observations, rewards, terminated, _, infos = env.step(actions_for(env, 0))
    assert terminated.all()
    assert (rewards > 0).any()
    assert infos["_scale_scores"].all()
    np.testing.assert_array_equal(observations, first)
    observations, rewards, terminated, _, infos = env.step(actions_for(env, 1))
    assert not terminated.any()
    assert (rewards == 0).all()
    assert infos == {}
    assert (observations != first).any()


def test_disabled_mode_insists_on_a_reset():
    env = make(autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="call reset before step"):
        env.step(actions_for(env, 0))
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    with pytest.raises(ResetNeeded, match=r"sub-environments \[0, 1, 2, 3\] are over"):
        env.step(actions_for(env, 0))
    env.reset(options={"reset_mask": np.array([True, True, False, True])})
    with pytest.raises(ResetNeeded, match=r"\[2\] are over"):
        env.step(actions_for(env, 0))
    env.reset(options={"reset_mask": np.array([False, False, True, False])})
    env.step(actions_for(env, 0))


@pytest.mark.parametrize("array", ["numpy", "torch"])
@pytest.mark.parametrize("mode", MODES)
def test_returned_data_are_never_written_again(array, mode):
    env = make(array=array, autoreset_mode=mode)
    kept = [env.reset(seed=0)]
    copies = copy.deepcopy(kept)
    for step in range(4):
        kept.append(env.step(actions_for(env, step)))
        copies.append(copy.deepcopy(kept[-1]))
        if mode == "Disabled":
            env.reset()
    assert_same(kept, copies)


def test_results_do_not_share_memory():
    env = make(array="torch")
    observations, _ = env.reset(seed=0)
    results = env.step(actions_for(env, 0))
    infos = results[4]
    tensors = [
        observations, *results[:4], infos["final_obs"], infos["_final_obs"], infos["_final_info"],
        *infos["final_info"].values(), env.reset()[0],
    ]  # fmt: skip
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)


def test_torch_mode_equals_numpy_mode():
    numpy_env, torch_env = make(), make(array="torch")
    np.testing.assert_array_equal(numpy_env.reset(seed=3)[0], torch_env.reset(seed=3)[0].numpy())
    actions = actions_for(numpy_env, 0)
    want, got = numpy_env.step(actions), torch_env.step(torch.from_numpy(actions))
    assert got[1].dtype == torch.float32
    for a, b in zip(got[:4], want[:4], strict=True):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.numpy(), b)
    np.testing.assert_array_equal(
        got[4]["final_info"]["scale_scores"].numpy(), want[4]["final_info"]["scale_scores"]
    )


def trajectory(env, steps: int = 4, seed=0, rows=slice(None)):
    seen = [env.reset(seed=seed)[0][rows]]
    for step in range(steps):
        observations, rewards, *_ = env.step(actions_for(env, step))
        seen += [observations[rows], rewards[rows]]
    return seen


def test_same_seed_same_run_and_everything_else_differs():
    first, again = trajectory(make()), trajectory(make())
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    observations = [o for o in first if o.ndim == 4]
    other = [o for o in trajectory(make(), seed=1000) if o.ndim == 4]
    assert any((a != b).any() for a, b in zip(observations, other, strict=True))
    flat = np.concatenate(observations)
    assert len({o.tobytes() for o in flat}) > 5  # of 12 scenes: sub-envs and episodes differ


def test_reset_continues_the_stream():
    env = make(num_envs=1)
    images = [env.reset(seed=0)[0]] + [env.reset()[0] for _ in range(8)]
    assert len({i.tobytes() for i in images}) > 2
    stepped = make(num_envs=1)
    stepped.reset(seed=0)
    for image in images[1:]:
        np.testing.assert_array_equal(stepped.step(actions_for(stepped, 0))[0], image)


def test_unseeded_environments_differ():
    states = {json.dumps(make().unwrapped.get_state()) for _ in range(3)}
    assert len(states) == 3


def test_seed_list_equals_its_range():
    listed, ranged = make(), make()
    np.testing.assert_array_equal(listed.reset(seed=[5, 6, 7, 8])[0], ranged.reset(seed=5)[0])
    kept = listed.unwrapped.get_state()
    listed.reset(seed=[None, 9, None, None])
    state = listed.unwrapped.get_state()
    assert state["seeds"] == [5, 9, 7, 8]
    assert state["episodes"] == [1, 0, 1, 1]
    assert kept["episodes"] == [0, 0, 0, 0]


def test_sub_environments_do_not_depend_on_each_other():
    small, large = make(num_envs=2), make(num_envs=8)
    np.testing.assert_array_equal(small.reset(seed=4)[0], large.reset(seed=4)[0][:2])
    for step in range(3):
        actions = actions_for(large, step)
        a, b = small.step(actions[:2]), large.step(actions)
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y[:2])


def test_groups_share_an_image_and_are_scored_alike():
    grouped = make(num_envs=6, group_size=3)
    observations, _ = grouped.reset(seed=4)
    for group in (observations[:3], observations[3:]):
        assert (group == group[:1]).all()
    assert (observations[0] != observations[3]).any()
    single = make(num_envs=2)
    np.testing.assert_array_equal(single.reset(seed=4)[0], observations[::3])
    actions = actions_for(single, 0)
    want = single.step(actions)[1]
    got = grouped.step(actions.repeat(3, 0))[1]
    np.testing.assert_array_equal(got, want.repeat(3))


def test_flips_mirror_image_and_label_together():
    env = make(num_envs=16, horizontal_flip=True, scales=(1,), array="torch").unwrapped
    env.reset(seed=0)
    batch = env._batch
    assert batch.mirrored.any()
    assert not batch.mirrored.all()
    labels = env._scenes.labels_of(batch).flatten(1)
    _, rewards, *_ = env.step(labels)
    torch.testing.assert_close(rewards, torch.ones(16))


def test_true_labels_score_one_at_every_level():
    for level in ("ImageReward", "PixelReward"):
        env = make(f"RSS/Shapes-{level}-v0", scales=(1,), array="torch").unwrapped
        env.reset(seed=0)
        labels = env._scenes.labels_of(env._batch).flatten(1)
        torch.testing.assert_close(env.step(labels)[1], torch.ones(4))


def test_pixel_reward_is_the_mean_of_its_cells():
    env = make("RSS/Shapes-PixelReward-v0", scale_weights=[2, 1, 1])
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(actions_for(env, 0))
    cells = infos["final_info"]["pixel_rewards"]
    assert cells.shape == (4, 6 + 24 + 384)
    parts = [cells[:, :6].mean(1), cells[:, 6:30].mean(1), cells[:, 30:].mean(1)]
    np.testing.assert_allclose(
        rewards, 0.5 * parts[0] + 0.25 * parts[1] + 0.25 * parts[2], rtol=1e-5
    )
    assert "scale_scores" not in infos["final_info"]


def test_class_balanced_rewards_weigh_rare_classes_up():
    env = make(
        "RSS/Shapes-PixelReward-v0", class_balanced=True, array="torch", scales=(1,)
    ).unwrapped
    env.reset(seed=0)
    labels = env._scenes.labels_of(env._batch).flatten(1)
    rewards = env.step(labels)[4]["final_info"]["pixel_rewards"]
    frequencies = env._scenes.class_frequencies()
    for c in labels.unique().tolist():
        expected = 1 / (frequencies > 0).sum() / frequencies[c]
        torch.testing.assert_close(
            rewards[labels == c], torch.full_like(rewards[labels == c], expected)
        )


def test_scale_weights_weigh_the_scores():
    env = make(scale_weights=[0, 1, 3])
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(actions_for(env, 0))
    scores = infos["final_info"]["scale_scores"]
    np.testing.assert_allclose(rewards, 0.25 * scores[:, 1] + 0.75 * scores[:, 2], rtol=1e-6)


def test_feedback_is_all_that_is_seen():
    exact, rated = make(), make(feedback="rating:4")
    ranked = make(feedback="ranking", group_size=4)
    for env in (exact, rated, ranked):
        env.reset(seed=0)
    actions = actions_for(exact, 0)
    truth = exact.step(actions)[4]["final_info"]["scale_scores"]
    seen = rated.step(actions)[4]["final_info"]["scale_scores"]
    np.testing.assert_allclose(seen, np.round(truth * 4) / 4)
    _, rewards, _, _, infos = ranked.step(actions)
    ranks = infos["final_info"]["scale_scores"]
    np.testing.assert_allclose(np.sort(ranks[:, 0]), [0, 1 / 3, 2 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(rewards, ranks.mean(1), rtol=1e-6)


def share_of_class_one(images, action_maps):
    """A scorer without labels."""
    assert images.shape[0] == action_maps.shape[0]
    return (action_maps == 1).mean((2, 3))


def test_a_scorer_replaces_labels(folder_data):
    unlabelled = {key: value for key, value in folder_data.items() if key != "labels"}
    with pytest.raises(InputError, match=r"give labels=... or scorer=..."):
        gym.make_vec("RSS/Folder-ImageReward-v0", num_envs=2, **SMALL, **unlabelled)
    for scorer in (share_of_class_one, "test_vector_env:share_of_class_one"):
        env: Any = gym.make_vec(
            "RSS/Folder-ImageReward-v0", num_envs=4, group_size=2, scorer=scorer, **SMALL,
            **unlabelled,
        )  # fmt: skip
        env.reset(seed=0)
        actions = np.zeros((4, env.unwrapped.geometry.num_cells), np.int64)
        actions[1] = 1
        assert env.step(actions)[1].tolist() == [0, 1, 0, 0]


def test_labels_never_leak():
    """Observations and infos are the same whatever the labels, but for the scores."""
    env = make(num_envs=4, group_size=2, array="torch", render_mode="rgb_array").unwrapped
    blind = make(num_envs=4, group_size=2, array="torch", render_mode="rgb_array").unwrapped
    scenes = copy.copy(blind._scenes)
    scenes.labels, scenes._tables = 5 - scenes.labels.clamp(max=5), {}
    scenes.class_pixels = scenes.class_pixels.flip(1)
    blind._scenes = scenes
    blind._judge._scenes = scenes
    assert_same(env.reset(seed=0)[0], blind.reset(seed=0)[0])
    for step in range(3):
        actions = torch.from_numpy(actions_for(env, step))
        got, want = env.step(actions), blind.step(actions)
        for i in (0, 2, 3):
            assert_same(got[i], want[i])
        assert (got[1] != want[1]).any()
        infos, others = got[4], want[4]
        assert set(infos) == {"final_obs", "_final_obs", "final_info", "_final_info"}
        assert set(infos["final_info"]) == {"scale_scores", "_scale_scores"}
        assert_same(infos["final_obs"], others["final_obs"])
        for a, b in zip(env.render(), blind.render(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["shape", "dtype", "range", "nan"])
def test_bad_actions_change_nothing(kind):
    env, witness = make(), make()
    env.reset(seed=0)
    witness.reset(seed=0)
    good = actions_for(env, 0)
    bad = {
        "shape": good[:, :-1],
        "dtype": good.astype(float),
        "range": good + 6,
        "nan": np.full(good.shape, np.nan),
    }[kind]
    with pytest.raises(ActionError):
        env.step(bad)
    for got, want in zip(env.step(good), witness.step(good), strict=True):
        assert_same(got, want)


def test_state_continues_exactly():
    env = make(horizontal_flip=True, autoreset_mode="NextStep")
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    state = json.loads(json.dumps(env.unwrapped.get_state()))
    expected = [env.step(actions_for(env, s)) for s in range(1, 5)]
    fresh = make(horizontal_flip=True, autoreset_mode="NextStep")
    fresh.unwrapped.set_state(state)
    for step, want in enumerate(expected, start=1):
        for a, b in zip(fresh.step(actions_for(env, step)), want, strict=True):
            assert_same(a, b)
    with pytest.raises(InputError, match="state is for 4 groups, this has 2"):
        make(num_envs=2).unwrapped.set_state(state)


def test_pickling_keeps_state_and_arguments():
    env = make(group_size=2, feedback="rating")
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    twin = pickle.loads(pickle.dumps(env))
    assert twin.spec == env.spec
    np.testing.assert_array_equal(twin.unwrapped.observe(), env.unwrapped.observe())
    for got, want in zip(
        twin.step(actions_for(env, 1)), env.step(actions_for(env, 1)), strict=True
    ):
        assert_same(got, want)


def test_closing_twice_and_using_a_closed_environment():
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()
    for use in (lambda: env.step(actions_for(env, 0)), env.reset, env.render):
        with pytest.raises(ClosedEnvironmentError):
            use()


def test_rendering_shows_the_last_map():
    env = make(render_mode="rgb_array")
    observations, _ = env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 4
    np.testing.assert_array_equal(np.stack(frames), observations)
    _, _, _, _, infos = env.step(np.zeros_like(actions_for(env, 0)))
    for frame, image in zip(env.render(), infos["final_obs"], strict=True):
        np.testing.assert_array_equal(frame, (0.4 * image).astype(np.uint8))  # class 0 is black
    assert make().render() is None


BAD_ARGUMENTS = [
    ({"num_envs": 5, "group_size": 2}, "multiple of group_size=2, got 5"),
    ({"num_envs": 0}, "num_envs must be a whole number of at least 1, got 0"),
    ({"group_size": 0}, "group_size must be a whole number of at least 1, got 0"),
    ({"array": "jax"}, "unknown array 'jax'; valid: numpy, torch"),
    ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
    ({"device": "abacus"}, "device 'abacus' cannot be used"),
    ({"autoreset_mode": "never"}, "valid: NextStep, SameStep, Disabled"),
    ({"metric": "iou"}, "unknown metric 'iou'"),
    ({"feedback": "five stars"}, "unknown feedback"),
    ({"feedback": "ranking"}, "group_size > 1"),
    ({"action_format": "grid"}, "unknown action_format 'grid'; valid: flat, maps"),
    ({"render_mode": "human"}, "unknown render_mode"),
    ({"scales": (5,)}, "do not divide the image size 16x24"),
    ({"scale_weights": (1.0,)}, "scale_weights must be 3"),
    ({"scale_weights": (0, 0, 0)}, "positive sum"),
    ({"scale_weights": (1, -1, 1)}, "non-negative"),
    ({"image_size": 0}, "image_size must be"),
    ({"image_size": (1, 2, 3)}, "image_size must be"),
    ({"class_balanced": True}, "PixelReward level"),
    ({"roots": "x"}, "Shapes takes no argument 'roots'"),
    ({"scorer": 5}, "scorer must be callable"),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_contradicting_arguments_are_refused():
    with pytest.raises(InputError, match="ImageReward level"):
        make("RSS/Shapes-PixelReward-v0", scorer=share_of_class_one)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "0..2"),
        (2**63, "0..2"),
        ([1, 2], "4 entries"),
        ([1, 2, 3, "x"], "got 'x'"),
        ([True, 1, 2, 3], "got True"),
    ],
)
def test_bad_seeds_are_refused(seed, message):
    env = make()
    before = env.unwrapped.get_state()
    with pytest.raises(InputError, match=message):
        env.reset(seed=seed)
    assert env.unwrapped.get_state() == before


def test_seeds_within_a_group_must_agree():
    env = make(group_size=2)
    env.reset(seed=[3, 3, 9, 9])
    assert env.unwrapped.get_state()["seeds"] == [3, 9]
    with pytest.raises(InputError, match="alike within a group"):
        env.reset(seed=[3, 4, 9, 9])


@pytest.mark.parametrize(
    "mask",
    [
        [True] * 4,
        np.array([True] * 3),
        np.array([1, 1, 1, 1]),
        np.array([False] * 4),
        np.array([True, False, True, True]),
    ],
)
def test_bad_reset_masks_are_refused(mask):
    env = make(group_size=2, autoreset_mode="Disabled")
    env.reset(seed=0)
    with pytest.raises(InputError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_first_reset_must_be_whole():
    with pytest.raises(ResetNeeded, match="every sub-environment"):
        make().reset(options={"reset_mask": np.array([True, False, False, False])})


def test_void_only_image_scores_zero(folder_data):
    env: Any = gym.make_vec(
        "RSS/Folder-ImageReward-v0", num_envs=2, **SMALL, **folder_data, array="torch"
    )
    env = env.unwrapped
    env._scenes.class_pixels[:] = 0
    for table in env._scenes._tables.values():
        table[:] = 0 if table.ndim == 3 else 255
    env.reset(seed=0)
    assert env.step(torch.zeros(2, env.geometry.num_cells, dtype=torch.uint8))[1].tolist() == [0, 0]


def test_importing_the_package_is_light_and_needs_no_sb3():
    code = (
        "import sys; sys.modules['stable_baselines3'] = None; import gymnasium, rss_env; "
        "assert 'torch' not in sys.modules; assert 'numba' not in sys.modules; "
        "gymnasium.make('RSS/Shapes-ImageReward-v0', num_scenes=2).reset(seed=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
