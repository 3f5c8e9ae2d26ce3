"""The policy of maps under Stable-Baselines3: ratios, saving, learning, callbacks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize, VecTransposeImage

from rss_agents.sb3 import (
    MapActorCriticPolicy,
    a2c_arguments,
    make_sb3_env,
    ppo_arguments,
)
from rss_env.errors import InputError
from sb3_singles import IMAGE, TINY, singles

pytestmark = pytest.mark.usefixtures("one_thread")


def model(env, algorithm=PPO, **options) -> Any:
    options |= ppo_arguments(env.num_envs) if algorithm is PPO else a2c_arguments()
    kwargs = {"scales": TINY["scales"]}
    return algorithm(MapActorCriticPolicy, env, seed=0, policy_kwargs=kwargs, **options)


def test_ratios_begin_at_one():
    """Drawing and learning see the same normalisation: PPO's first ratios are 1."""
    env = make_sb3_env(IMAGE, 8, group_size=2, **TINY)
    policy = model(env).policy
    images = torch.from_numpy(env.reset()).permute(0, 3, 1, 2)
    policy.set_training_mode(False)  # as SB3 does for rollouts
    with torch.no_grad():
        actions, values, drawn = policy(images)
    assert actions.shape == (8, 20)
    assert values.shape == (8, 1)
    assert not policy.network.training
    policy.set_training_mode(True)
    order = torch.randperm(8)
    found, learned, entropy = policy.evaluate_actions(images[order], actions[order].float())
    torch.testing.assert_close(learned, drawn[order])
    torch.testing.assert_close(found, values[order])
    assert (entropy > 0).all()


def test_an_image_of_a_group_passes_the_network_once():
    env = make_sb3_env(IMAGE, 6, group_size=3, **TINY)
    policy = model(env).policy
    images = torch.from_numpy(env.reset()).permute(0, 3, 1, 2)
    seen = []
    policy.network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    policy.eval()
    logits = policy._logits(images)
    assert seen == [2]
    torch.testing.assert_close(logits, policy.network(images.permute(0, 2, 3, 1)))


def test_one_image_drawn_twice_is_learned_from_where_two_are_needed():
    """Images are drawn with replacement; batch normalisation may need two of them."""
    env = make_sb3_env(IMAGE, 2, image_size=32, scales=(8,))
    policy: Any = PPO(
        MapActorCriticPolicy, env, seed=0, **ppo_arguments(2),
        policy_kwargs={"scales": (8,), "network": "unet/resnet18"},
    ).policy  # fmt: skip
    image = torch.from_numpy(env.reset()[:1]).permute(0, 3, 1, 2)
    policy.set_training_mode(True)
    twice = policy._logits(image.repeat(2, 1, 1, 1))
    assert twice.shape == (2, policy.geometry.num_classes, 32, 32)
    assert torch.equal(twice[0], twice[1])


def test_the_critic_does_not_teach_the_actor():
    env = make_sb3_env(IMAGE, 4, **TINY)
    policy = model(env).policy
    images = torch.from_numpy(env.reset()).permute(0, 3, 1, 2)
    policy.predict_values(images).sum().backward()
    assert all(parameter.grad is None for parameter in policy.network.parameters())
    assert all(parameter.grad is not None for parameter in policy.critic.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"scales \(8, 4, 2, 1\) have 340 cells and the actions 20: give policy_kwargs"),
        ({"log_probability": "max"}, "unknown log_probability 'max'; valid: mean, sum"),
        ({"scales": (8, 4), "network": "unet"}, "unknown network|cannot be built"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PPO(MapActorCriticPolicy, make_sb3_env(IMAGE, 2, **TINY), policy_kwargs=arguments)


def test_normalised_observations_are_refused():
    env = VecNormalize(make_sb3_env(IMAGE, 2, **TINY), norm_obs=True)
    with pytest.raises(InputError, match="images of uint8, got float32.*norm_obs=False"):
        model(env)
    model(VecNormalize(make_sb3_env(IMAGE, 2, **TINY), norm_obs=False)).learn(4)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_training_saving_loading_predicting(algorithm, tmp_path):
    env = make_sb3_env(IMAGE, 4, group_size=2, **TINY)
    trained = model(env, algorithm).learn(8)
    images = env.reset()
    actions, _ = trained.predict(images, deterministic=True)
    assert all(env.action_space.contains(action) for action in actions)
    assert np.array_equal(actions, trained.predict(images, deterministic=True)[0])
    trained.save(tmp_path / "model.zip")
    again = algorithm.load(tmp_path / "model.zip")
    assert np.array_equal(actions, again.predict(images, deterministic=True)[0])
    again.set_env(singles(IMAGE, 4, **TINY))  # of the same spaces: learning goes on there
    again.learn(4)
    single, _ = again.predict(images[0])
    assert env.action_space.contains(single)
    trained.policy.save(tmp_path / "policy.pt")
    policy = MapActorCriticPolicy.load(tmp_path / "policy.pt")
    assert np.array_equal(actions, policy.predict(images, deterministic=True)[0])


def test_same_seed_same_weights():
    weights = []
    for _ in range(2):
        trained = model(make_sb3_env(IMAGE, 4, **TINY)).learn(12)
        weights.append(torch.cat([p.flatten() for p in trained.policy.parameters()]))
    assert torch.equal(*weights)


def bright(images, action_maps):
    """The share of pixels that say whether they are bright (class 1) or dark (class 0)."""
    truth = images.mean(-1) > np.median(images.mean(-1), (1, 2), keepdims=True)
    return (action_maps == truth[:, None]).mean((2, 3), dtype=np.float32)


def test_ppo_learns():
    """More than any one class can have, which is half of the pixels."""
    env = make_sb3_env(IMAGE, 32, group_size=8, scorer=bright, **{**TINY, "scales": (4,)})
    arguments = ppo_arguments(32, group_size=8, peak=1e-2, entropy=0.0)
    kwargs = {"scales": (4,)}
    trained = PPO(MapActorCriticPolicy, env, seed=0, policy_kwargs=kwargs, **arguments)
    trained.learn(32 * 60)
    env.seed(1)
    actions, _ = trained.predict(env.reset(), deterministic=True)
    assert env.step(actions)[1].mean() > 0.56


def test_callbacks_progress_bar_and_tensorboard(tmp_path):
    env = make_sb3_env(IMAGE, 4, **TINY)
    trained = model(env, tensorboard_log=str(tmp_path / "board"))
    judge = VecTransposeImage(make_sb3_env(IMAGE, 2, split="val", **TINY))
    callbacks = [
        EvalCallback(
            judge,
            n_eval_episodes=4,
            eval_freq=2,
            log_path=str(tmp_path),
            best_model_save_path=str(tmp_path),
            verbose=0,
        ),
        CheckpointCallback(2, str(tmp_path / "checkpoints")),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # episodes are told as Monitor would
        trained.learn(16, callback=callbacks, progress_bar=True, log_interval=1)
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) == 2
    assert (tmp_path / "best_model.zip").exists()
    assert len(list((tmp_path / "checkpoints").glob("*.zip"))) == 2
    assert list((tmp_path / "board").rglob("events*"))
    assert len(trained.ep_info_buffer) == 16
    assert trained.ep_info_buffer[-1]["l"] == 1


def test_the_stock_policy_and_the_monitor_run():
    env = make_sb3_env(IMAGE, 4, image_size=40, scales=(8,), num_scenes=12)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        monitored = VecMonitor(env)
    PPO("CnnPolicy", monitored, n_steps=2, batch_size=8, n_epochs=1, seed=0).learn(8)
