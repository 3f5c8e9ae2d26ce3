"""Train with Stable-Baselines3 under `rss-train`: the same folder, the same `result.json`."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn
from tqdm import tqdm

from agents.checkpoint import NetworkDescription, save_checkpoint
from agents.evaluate import SplitMetrics, evaluate
from agents.policies import SegmentationNetwork
from agents.report import MetricsLog, ValidationPictures, draw_curve, write_json
from agents.sb3.arguments import a2c_arguments, ppo_arguments
from agents.sb3.policy import MapActorCriticPolicy
from agents.sb3.vec_env import RSSVecEnv, make_sb3_env
from agents.train import (
    DEFAULT_VAL_SPLIT,
    TrainConfig,
    check_counts,
    result_of,
    stop_signal,
)
from rss_env.action_maps import ActionMapGeometry
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.scenes import Scenes, load_scenes

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
    """Validates, saves and logs after every update, as `rss-train` does for every algorithm."""

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        description: NetworkDescription,
        validation: Scenes,
        stop: list[str],
    ):
        super().__init__()
        self.config, self.network, self.description = config, network, description
        self.validation, self.stop = validation, stop
        self.log = MetricsLog(config.out)
        self.pictures = ValidationPictures(validation)
        self.bar = tqdm(total=config.updates, desc=config.algo, unit="update")
        self.update, self.told = 0, 0
        self.validated: SplitMetrics | None = None
        self.queries_per_update = 0
        self.shown: dict[str, str] = {}
        self.score = 0.0

    def _on_step(self) -> bool:
        return not self.stop

    def _on_rollout_end(self) -> None:
        self.update += 1
        self.score = float(self.locals["rewards"].mean())

    def _on_rollout_start(self) -> None:
        self._tell()

    def _on_training_end(self) -> None:
        self._tell()
        if self.stop:
            self.save()
        self.bar.close()
        self.log.close()

    def save(self) -> None:
        """Write the checkpoint: SB3's own, and that of the network where it is one of ours."""
        if isinstance(self.network, SegmentationNetwork):
            save_checkpoint(self.config.out, self.network, self.description)
        self.model.save(self.config.out / "sb3.zip")

    def _tell(self) -> None:
        """Log the update that was just learned from, if it is time to."""
        config = self.config
        if self.update == self.told:
            return
        self.told = self.update
        self.bar.update()
        validates = self.update % config.eval_every == 0 or self.update == config.updates
        if not (validates or self.update % max(1, config.eval_every // 10) == 0):
            return
        learned = self.model.logger.name_to_value
        values = {"score": self.score} | {
            name.removeprefix("train/"): float(value)
            for name, value in learned.items()
            if name.startswith("train/")
        }
        if validates:
            if self.validation.labels is not None:
                self.validated = evaluate(self.network, self.validation)
                values["miou"] = self.validated.miou
                values["pixel_accuracy"] = self.validated.pixel_accuracy
            self.save()
            self.pictures.add(self.network)
        self.log.add(self.update, self.update * self.queries_per_update, values)
        self.shown |= {name: f"{values[name]:.3f}" for name in ("score", "miou") if name in values}
        self.bar.set_postfix(self.shown)


def _open(config: TrainConfig) -> tuple[OnPolicyAlgorithm, RSSVecEnv, Scenes]:
    """The model, its environment and the validation scenes.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    check_counts(config)
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
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    model, env, validation = _open(config)
    policy: Any = model.policy
    geometry = env.env.geometry
    network = policy.network if config.sb3.policy == "maps" else CellAnswers(policy, geometry)
    description = NetworkDescription.of(
        config.network, geometry.image_size, env.env.class_names, env.env.palette
    )
    _prepare(config.out)
    write_json(config.out / "config.json", dataclasses.asdict(config) | {"out": str(config.out)})
    model.set_logger(Logger(folder=None, output_formats=[]))
    start = time.perf_counter()
    with stop_signal() as stop:
        progress = _Progress(config, network, description, validation, stop)
        progress.queries_per_update = env.num_envs * len(geometry.scales)
        model.learn(config.updates * env.num_envs, callback=progress, log_interval=None)  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    progress.pictures.save(config.out, network)
    draw_curve(progress.log.rows, config.out / "curve.png", f"{config.algo} on {config.data.env}")
    if stop:
        sys.stderr.write(
            f"stopped by {stop[0]} after update {progress.update}; "
            f"the checkpoint is in {config.out}\n"
        )
        sys.exit(130)
    result = result_of(
        config, progress.update, seconds, progress.queries_per_update, progress.validated
    )
    write_json(config.out / "result.json", result)
    return result


def _prepare(folder: Path) -> None:
    """Make the folder of a run, without what an earlier run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "model.safetensors", "sb3.zip"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
