"""Train with Stable-Baselines3 under `rss-train`: the same folder, the same `result.json`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn

from rss_agents.files import replace_file
from rss_agents.networks.checkpoint import NetworkDescription, start_from
from rss_agents.sb3.arguments import a2c_arguments, ppo_arguments
from rss_agents.sb3.policy import MapActorCriticPolicy
from rss_agents.sb3.state import SB3State
from rss_agents.sb3.vec_env import RSSVecEnv, make_sb3_env
from rss_agents.training.config import TrainConfig
from rss_agents.training.loop import told_what_is_left
from rss_agents.training.numerics import NotFiniteError
from rss_agents.training.processes import stop_signal
from rss_agents.training.run_folder import RunFolder
from rss_agents.training.setup import DEFAULT_VAL_SPLIT
from rss_env.action_maps import ActionMapGeometry
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.scenes import Scenes, load_scenes

SB3_FILE = "sb3.zip"


class StoppedError(Exception):
    """A signal has asked the run to stop; its name."""


StopSignal = Callable[[], str | None]

_OPTIONS = ("split", "image_size", "scales", "metric", "feedback", "scorer")
_VARIATIONS = ("horizontal_flip", "zoom", "colour_jitter")
_LEAST_SIDE = 36  # of the images that SB3's own convolutions take


class CellAnswers(nn.Module):
    """Any SB3 policy as a network: its most likely classes of the finest scale, as logits."""

    def __init__(self, policy: Any, geometry: ActionMapGeometry):
        """Bind a policy to the grids it acts on."""
        super().__init__()
        self.policy, self.geometry = policy, geometry

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """One-hot classes (B, C, H, W) float32 of images (B, H, W, 3) uint8."""
        actions = self.policy._predict(images.permute(0, 3, 1, 2), deterministic=True)
        finest = len(self.geometry.scales) - 1
        maps = self.geometry.upsample(self.geometry.split(actions)[finest], finest)
        return F.one_hot(maps, self.geometry.num_classes).permute(0, 3, 1, 2).float()


class _Progress(BaseCallback):
    """Validates, saves and logs after every update, as `rss-train` does for every algorithm.

    An update is complete when the next rollout starts: there the run may stop, and a state holds
    everything that decides what comes next.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        state: SB3State,
        update: int,
        asked_to_stop: StopSignal,
    ):
        super().__init__()
        self.config, self.folder, self.state = config, folder, state
        self.asked_to_stop = asked_to_stop
        self.update, self.told, self.score = update, update, 0.0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.update += 1
        self.score = float(self.locals["rewards"].mean())

    def _on_rollout_start(self) -> None:
        self._tell()
        if signal_name := self.asked_to_stop():
            self.save()
            self.state.write(self.update, self.folder.get_state())
            raise StoppedError(signal_name)

    def _on_training_end(self) -> None:
        self._tell()

    def save(self) -> None:
        """Write the checkpoint: SB3's own, and that of the network where it is one of ours."""
        self.folder.save()
        path = self.config.out / SB3_FILE
        replace_file(path, self._save_as)

    def _save_as(self, path: Path) -> None:
        with path.open("wb") as file:
            self.model.save(file)

    def _tell(self) -> None:
        """Log the update that was just learned from, if it is time to."""
        config = self.config
        if self.update == self.told:
            return
        self.told = self.update
        self.folder.count()
        validates = self.update % config.eval_every == 0 or self.update == config.updates
        if validates or self.update % max(1, config.eval_every // 10) == 0:
            learned = self.model.logger.name_to_value
            values = {"score": self.score} | {
                name.removeprefix("train/"): float(value)
                for name, value in learned.items()
                if name.startswith("train/")
            }
            if not math.isfinite(values.get("loss", 0.0)):
                raise NotFiniteError(f"update {self.update}: loss {values['loss']}")
            if validates:
                values |= self.folder.validate(self.update)
                self.save()
            self.folder.add(self.update, values)
        is_due = self.update % (config.save_every or config.eval_every) == 0
        if is_due and self.update < config.updates:  # a run that is complete keeps none
            self.state.write(self.update, self.folder.get_state())


def _open(config: TrainConfig) -> tuple[OnPolicyAlgorithm, RSSVecEnv, Scenes]:
    """The model, its environment and the validation scenes.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    config.check()
    config.sb3.check()
    device = check_device(config.device)
    options = {name: getattr(config, name) for name in (*_OPTIONS, *_VARIATIONS)}
    num_envs = config.num_images * config.group_size
    if num_envs < 2:
        raise InputError("SB3 compares maps of a batch: num_images * group_size must be over 1")
    env = make_sb3_env(
        config.data.env,
        num_envs,
        group_size=config.group_size,
        **options,
        **config.data.options,
    )
    val_split = config.val_split or DEFAULT_VAL_SPLIT.get(config.data.dataset_name, "val")
    if val_split is None and config.data.labels is not None:
        raise InputError("Folder needs --val-split, a list file of the validation images")
    geometry = env.env.geometry
    if config.sb3.policy == "cnn" and min(geometry.image_size) < _LEAST_SIDE:
        raise InputError(
            f"SB3's CnnPolicy takes images from {_LEAST_SIDE}x{_LEAST_SIDE}, got "
            f"{geometry.image_size[0]}x{geometry.image_size[1]}"
        )
    validation = load_scenes(config.data.open(val_split), geometry.image_size, device)
    policy: Any = "CnnPolicy"
    policy_kwargs: dict[str, Any] = {}
    if config.sb3.policy == "maps":
        policy = MapActorCriticPolicy
        policy_kwargs = {
            "network": config.network,
            "pretrained": config.pretrained,
            "scales": geometry.scales,
        }
    common = {"seed": config.seed % 2**32, "device": device, "policy_kwargs": policy_kwargs}
    learning: dict[str, Any] = {
        "group_size": config.group_size,
        "peak": config.learning_rate,
        "entropy": config.sb3.entropy,
    }
    if config.algo == "sb3-ppo":
        arguments = ppo_arguments(num_envs, epochs=config.sb3.epochs, **learning)
        return PPO(policy, env, **arguments, **common), env, validation
    return A2C(policy, env, **a2c_arguments(**learning), **common), env, validation


def train_with_sb3(config: TrainConfig) -> dict[str, Any]:
    """Run a training of SB3 and write its folder, `sb3.zip` beside the usual files.

    With `--sb3.policy cnn` there is no `model.safetensors`: the network is not one of ours.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: If anything in the configuration is invalid, or cannot be resumed; nothing has
            been written.
        TrainingError: If it could not go on, for want of memory, disk or finite numbers.
    """
    model, env, validation = _open(config)
    policy: Any = model.policy
    geometry = env.env.geometry
    network = policy.network if config.sb3.policy == "maps" else CellAnswers(policy, geometry)
    description = NetworkDescription.of(
        config.network, geometry.image_size, env.env.class_names, env.env.palette
    )
    own = description if config.sb3.policy == "maps" else None
    if config.start_from is not None and config.resume is None:
        if own is None:
            raise InputError("--start-from needs --sb3.policy maps: CnnPolicy has other layers")
        start_from(policy.network, own, Path(config.start_from))
    state = SB3State(config, model, env, validation)
    update, saved = (0, None) if config.resume is None else state.read()
    folder = RunFolder(
        config, network, own, validation, env.num_envs * len(geometry.scales), saved=saved
    )
    if saved is None:
        (config.out / SB3_FILE).unlink(missing_ok=True)
    model.set_logger(Logger(folder=None, output_formats=[]))
    stopped = None
    with told_what_is_left(config, state.states.last), stop_signal() as asked_to_stop:
        progress = _Progress(config, folder, state, update, asked_to_stop)
        try:
            model.learn(
                (config.updates - update) * env.num_envs,
                callback=progress,  # type: ignore[arg-type]
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=saved is None,
            )
        except StoppedError as stop:
            stopped = str(stop)
        folder.close()
        if stopped:
            folder.say_stopped(stopped, progress.update)
            sys.exit(130)
        result = folder.write_result(progress.update)
        state.states.remove()
    return result
