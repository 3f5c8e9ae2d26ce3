"""The front doors of other libraries: how each opens an environment by itself, word by word."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rss_env.errors import InputError
from rss_env.wrappers import InfosAtReset

IMAGE, PIXEL = "RSS/Shapes-ImageReward-v0", "RSS/Shapes-PixelReward-v0"
SMALL = {"image_size": 16, "scales": (8, 4), "num_scenes": 4}

pytestmark = pytest.mark.usefixtures("one_thread")


# --- TorchRL ---


@pytest.mark.parametrize("num_envs", [0, 2])
def test_torchrl_opens_an_id(num_envs):
    pytest.importorskip("torchrl")
    from torchrl.envs.libs.gym import GymEnv

    env = GymEnv(f"rss_env:{IMAGE}", num_envs=num_envs, **SMALL)  # its processes import the module
    rollout = env.rollout(2, break_when_any_done=False)
    assert rollout["next", "reward"].shape == (*[2] * (num_envs > 0), 2, 1)
    assert rollout["next", "done"].all()
    env.close()


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_torchrl_reads_the_scores_of_scales(array):
    pytest.importorskip("torchrl")
    from torchrl.data import Unbounded
    from torchrl.envs import default_info_dict_reader
    from torchrl.envs.libs.gym import GymWrapper

    made = [
        gym.make_vec(IMAGE, 3, array=array, autoreset_mode="Disabled", **SMALL) for _ in range(2)
    ]
    env = GymWrapper(made[0])
    env.set_info_dict_reader(
        default_info_dict_reader(
            ["scale_scores"], [Unbounded(torch.Size([3, 2]), dtype=torch.float32)]
        )
    )
    env.set_seed(0)
    rollout = env.rollout(2, break_when_any_done=False)
    twin = made[1]
    twin.reset(seed=0)  # as `set_seed` does
    twin.reset()
    *_, infos = twin.step(rollout["action"][:, 0].numpy())
    scores = rollout["next", "scale_scores"]
    assert scores.shape == (3, 2, 2)
    torch.testing.assert_close(scores[:, 0], torch.as_tensor(infos["scale_scores"]))
    assert (scores > 0).sum() > 6  # of 12: random maps of some images score nothing


# --- Stable-Baselines3 and sb3-contrib ---


def test_sb3_makes_environments_of_an_id_in_processes():
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from rss_agents.sb3 import MapActorCriticPolicy, a2c_arguments

    env = make_vec_env(
        f"rss_env:{IMAGE}",
        2,
        vec_env_cls=SubprocVecEnv,
        env_kwargs=SMALL,
        vec_env_kwargs={"start_method": "spawn"},
    )
    kwargs = {"scales": (8, 4)}
    A2C(MapActorCriticPolicy, env, policy_kwargs=kwargs, **a2c_arguments()).learn(4)
    env.close()


@pytest.mark.parametrize("log_probability", ["mean", "sum"])
def test_trpo_moves_the_policy_of_maps(log_probability):
    sb3_contrib = pytest.importorskip("sb3_contrib")
    from rss_agents.sb3 import MapActorCriticPolicy, make_sb3_env

    kwargs = {"scales": (8, 4), "log_probability": log_probability}
    env = make_sb3_env(IMAGE, 8, seed=0, **SMALL)
    arguments = {"n_steps": 2, "batch_size": 16, "gamma": 0.0, "seed": 0}
    model = sb3_contrib.TRPO(MapActorCriticPolicy, env, policy_kwargs=kwargs, **arguments)
    before = torch.cat([p.detach().flatten() for p in model.policy.network.parameters()])
    model.learn(32)
    after = torch.cat([p.detach().flatten() for p in model.policy.network.parameters()])
    assert after.isfinite().all()
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    ("algorithm", "policy", "learns"),
    [("MaskablePPO", "CnnPolicy", {"use_masking": False}), ("RecurrentPPO", "CnnLstmPolicy", {})],
)
def test_sb3_contrib_runs_its_own_policies(algorithm, policy, learns):
    sb3_contrib = pytest.importorskip("sb3_contrib")
    from rss_agents.sb3 import make_sb3_env

    env = make_sb3_env(IMAGE, 2, image_size=40, scales=(8,), num_scenes=4)
    make = getattr(sb3_contrib, algorithm)
    make(policy, env, n_steps=4, batch_size=8, n_epochs=1).learn(8, **learns)


# --- CleanRL ---


def test_cleanrl_wraps_single_environments_in_a_sync_vector_environment():
    """The idiom of its scripts: a function for each, statistics around it, `SyncVectorEnv`."""

    def make_env(env_id, idx, capture_video, run_name):
        def thunk():
            if capture_video and idx == 0:
                env = gym.make(env_id, render_mode="rgb_array", **SMALL)
                env = gym.wrappers.RecordVideo(env, f"videos/{run_name}")
            else:
                env = gym.make(env_id, **SMALL)
            return gym.wrappers.RecordEpisodeStatistics(env)

        return thunk

    envs = gym.vector.SyncVectorEnv(
        [make_env(IMAGE, i, False, "run") for i in range(2)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    envs.reset(seed=1)
    for _ in range(2):
        _, rewards, terminated, _, infos = envs.step(envs.action_space.sample())
        assert terminated.all()
        np.testing.assert_allclose(infos["final_info"]["episode"]["r"], rewards, rtol=1e-6)


# --- Gymnasium ---


def test_gymnasium_wraps_vector_environments_as_it_makes_them():
    env = gym.make_vec(
        IMAGE,
        2,
        vectorization_mode="sync",
        wrappers=[lambda env: gym.wrappers.TransformReward(env, lambda reward: float(reward) - 1)],
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **SMALL,
    )
    env.reset(seed=0)
    assert (env.step(env.action_space.sample())[1] <= 0).all()


def test_observation_wrappers_of_vector_environments_refuse_same_step():
    """What the table of wrappers says of them."""
    wrapper = gym.wrappers.vector.GrayscaleObservation
    with pytest.raises(Exception, match="(?i)same_step"):
        wrapper(gym.make_vec(IMAGE, 2, **SMALL)).reset()
    env = wrapper(gym.make_vec(IMAGE, 2, autoreset_mode="NextStep", **SMALL))
    assert env.reset(seed=0)[0].shape == (2, 16, 16)


# --- Minari ---


@pytest.mark.parametrize(
    ("environment_id", "arguments", "infos"),
    [
        (IMAGE, {}, {"scale_scores": (2,)}),
        (IMAGE, {"class_scores": True}, {"scale_scores": (2,), "class_scores": (2, 6)}),
        (PIXEL, {}, {"pixel_rewards": (20,)}),
    ],
)
def test_infos_of_resets_are_as_those_of_steps(environment_id, arguments, infos):
    env = InfosAtReset(gym.make(environment_id, **SMALL, **arguments))
    _, at_reset = env.reset(seed=0)
    *_, of_step = env.step(env.action_space.sample())
    for info in (at_reset, of_step):
        assert {name: value.shape for name, value in info.items()} == infos
        assert {value.dtype for value in info.values()} == {np.dtype(np.float32)}
    assert all(np.isnan(value).all() for value in at_reset.values())
    assert np.isfinite(next(iter(of_step.values()))).all()
    with pytest.raises(InputError, match="InfosAtReset is for environments of rss-env, got"):
        InfosAtReset(gym.make("CartPole-v1"))


def test_minari_records_episodes_with_their_infos(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    pytest.importorskip("jax")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(InfosAtReset(gym.make(IMAGE, **SMALL)), record_infos=True)
    scores = []
    for seed in range(3):
        env.reset(seed=seed)
        scores.append(env.step(env.action_space.sample())[4]["scale_scores"])
    dataset = env.create_dataset("rss/shapes-v0", algorithm_name="random", author="a test")
    recorded = [episode.infos["scale_scores"] for episode in dataset.iterate_episodes()]
    for want, got in zip(scores, recorded, strict=True):
        np.testing.assert_array_equal(got[1], want)
        assert np.isnan(got[0]).all()
    loaded = minari.load_dataset("rss/shapes-v0").recover_environment()
    assert loaded.spec.kwargs["scales"] == [8, 4]
    env.close()
