"""Train a segmentation network from scores, or from labels for comparison: `rss-train`.

Everything is opened and checked before the output folder is made, so a bad argument leaves nothing
behind. Ctrl-C ends the run after the current update, with a usable checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import gymnasium as gym
import torch
import tyro
from tqdm import tqdm

from agents.algorithms import Algorithm, acts_at_one_scale, build_learner
from agents.baselines import BaselineConfig
from agents.checkpoint import NetworkDescription, save_checkpoint
from agents.command_line import DataConfig, run_command
from agents.evaluate import SplitMetrics, evaluate
from agents.learner import Learner
from agents.policies import SegmentationNetwork, build_network
from agents.report import MetricsLog, ValidationPictures, draw_curve, versions, write_json
from agents.rss import RSSConfig
from agents.sb3 import require_sb3
from agents.sb3.config import ALGORITHMS as SB3_ALGORITHMS
from agents.sb3.config import SB3Config
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.scenes import Scenes, load_scenes
from rss_env.vector_env import RSSVectorEnv

DEFAULT_VAL_SPLIT = {"Folder": None}  # every other data set calls it "val"


@dataclass
class TrainConfig:
    """Train a segmentation network from scores of its output."""

    out: Path
    """Folder for the results; must be new unless --overwrite."""
    data: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    algo: Algorithm = "rss"
    """From scores: rss, or plain reinforce, rloo, grpo, ppo, or Stable-Baselines3's sb3-ppo and
    sb3-a2c. From labels, for comparison: psl (cross-entropy), psl-metric, psl-dice,
    psl-multiscale; from image tags: wsss-cam."""
    agent: tyro.conf.OmitArgPrefixes[RSSConfig] = field(default_factory=RSSConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    sb3: SB3Config = field(default_factory=SB3Config)
    updates: int = 600
    """Number of updates."""
    seed: int = 0
    """Of the weights, the images and the maps drawn."""
    num_images: int = 16
    """Images per update."""
    group_size: int = 8
    """Maps scored per image and scale."""
    split: str | None = None
    """Training split: a name or a list file."""
    val_split: str | None = None
    """Validation split: a name or a list file."""
    image_size: tuple[int, ...] | None = None
    """One side, or height and width, in pixels."""
    scales: tuple[int, ...] | None = None
    """Cell sizes in pixels, coarse to fine."""
    metric: Literal["miou", "pixel_accuracy", "mean_accuracy", "dice"] = "miou"
    """What the score measures."""
    feedback: str = "exact"
    """exact, rating[:stars], noisy[:deviation], ranking."""
    scorer: str | None = None
    """module:function that scores maps in place of labels."""
    horizontal_flip: bool = True
    """Mirror training images at random."""
    zoom: tuple[float, float] | None = None
    """Enlarge training images at random, by a factor between these two."""
    colour_jitter: float = 0.0
    """Change brightness, contrast and saturation of training images by up to this share."""
    network: str = "tiny-unet"
    """tiny-unet, or <architecture>/<encoder> of segmentation-models-pytorch."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights, downloaded once; those of EfficientNet-Lite0 come
    with the extra rss-env[pretrained]."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    eval_every: int = 100
    """Updates between validations."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, ..."""
    overwrite: bool = False
    """Write into a folder that already holds a run."""


@dataclass
class Run:
    """Everything a training run needs, opened and checked."""

    network: SegmentationNetwork
    learner: Learner
    validation: Scenes
    description: NetworkDescription

    @property
    def can_validate(self) -> bool:
        """Whether the validation images have labels."""
        return self.validation.labels is not None


def check_counts(config: TrainConfig) -> None:
    """Refuse numbers that make no sense, and a folder that cannot be written.

    Raises:
        InputError: Naming what is wrong.
    """
    for name in ("updates", "num_images", "group_size", "eval_every"):
        if getattr(config, name) < 1:
            raise InputError(f"{name} must be at least 1, got {getattr(config, name)}")
    if not 0 <= config.seed < 2**62:
        raise InputError(f"seed must be in 0..2**62 - 1, got {config.seed}")
    for name in ("learning_rate", "weight_decay"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise InputError(f"{name} must be finite and at least 0, got {getattr(config, name)}")
    if (config.out / "config.json").exists() and not config.overwrite:
        raise InputError(f"{config.out} already holds a run; choose another --out, or --overwrite")
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"{config.out} is not a folder")


def _make_env(config: TrainConfig) -> RSSVectorEnv:
    env = gym.make_vec(
        config.data.env,
        num_envs=config.num_images * config.group_size,
        group_size=config.group_size,
        split=config.split,
        image_size=config.image_size,
        scales=config.scales,
        metric=config.metric,
        feedback=config.feedback,
        scorer=config.scorer,
        horizontal_flip=config.horizontal_flip,
        zoom=config.zoom,
        colour_jitter=config.colour_jitter,
        array="torch",
        device=config.device,
        **cast(dict[str, Any], config.data.options),
    )
    return cast(RSSVectorEnv, env.unwrapped)


def open_run(config: TrainConfig) -> Run:
    """Open the data, the environment and the network of a run.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    check_counts(config)
    name = config.data.dataset_name
    config.agent.check()
    device = check_device(config.device)
    env = _make_env(config)
    geometry = env.geometry
    if acts_at_one_scale(config.algo, config.agent) and len(geometry.scales) > 1:
        env.close()
        env = _make_env(dataclasses.replace(config, scales=geometry.scales[-1:]))
    val_split = config.val_split or DEFAULT_VAL_SPLIT.get(name, "val")
    if val_split is None and config.data.labels is not None:
        raise InputError(f"{name} needs --val-split, a list file of the validation images")
    validation_data = config.data.open(val_split)
    validation = load_scenes(validation_data, geometry.image_size, device)
    torch.manual_seed(config.seed)
    network = build_network(
        config.network,
        geometry.num_classes,
        geometry.image_size,
        pretrained=config.pretrained,
        device=device,
    )
    learner = build_learner(
        config.algo,
        network,
        env,
        lambda: load_scenes(config.data.open(config.split), geometry.image_size, device),
        agent=config.agent,
        baseline=config.baseline,
        num_images=config.num_images,
        seed=config.seed,
        augmentation=env.augmentation,
    )
    description = NetworkDescription.of(
        config.network, geometry.image_size, env.class_names, env.palette
    )
    return Run(network, learner, validation, description)


@contextmanager
def stop_signal() -> Iterator[list[str]]:
    """Collect the names of interrupts instead of dying of the first; a second one is final."""
    received: list[str] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    previous = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _update(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    progress: float,
) -> dict[str, torch.Tensor]:
    logged: dict[str, torch.Tensor] = {}
    for loss, metrics in learner.losses(progress):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        logged = {"loss": loss.detach(), **metrics}
    schedule.step()
    return logged


def train(config: TrainConfig) -> dict[str, Any]:
    """Run a training and write its folder.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    if config.algo in SB3_ALGORITHMS:
        require_sb3()
        from agents.sb3.training import train_with_sb3

        return train_with_sb3(config)
    run = open_run(config)
    learner, network = run.learner, run.network
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    # Two steps more than needed: the cycle has to be longer than its two phases.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.updates + 2
    )
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "result.json").unlink(missing_ok=True)
    shutil.rmtree(config.out / "tensorboard", ignore_errors=True)
    write_json(config.out / "config.json", dataclasses.asdict(config) | {"out": str(config.out)})
    log, pictures = MetricsLog(config.out), ValidationPictures(run.validation)
    start, update, validated = time.perf_counter(), 0, None
    log_every = max(1, config.eval_every // 10)
    bar, shown = tqdm(total=config.updates, desc=config.algo, unit="update"), {}
    with stop_signal() as stop:
        while update < config.updates and not stop:
            metrics = _update(learner, optimizer, schedule, update / config.updates)
            update += 1
            bar.update()
            validates = update % config.eval_every == 0 or update == config.updates
            if not (validates or update % log_every == 0):
                continue
            values = {name: float(value) for name, value in metrics.items()}
            values["learning_rate"] = float(schedule.get_last_lr()[0])
            if validates:
                if run.can_validate:
                    validated = evaluate(network, run.validation)
                    values["miou"] = validated.miou
                    values["pixel_accuracy"] = validated.pixel_accuracy
                save_checkpoint(config.out, network, run.description)
                pictures.add(network)
            log.add(update, update * learner.queries_per_update, values)
            shown |= {name: f"{values[name]:.3f}" for name in ("score", "miou") if name in values}
            bar.set_postfix(shown)
        if stop:
            save_checkpoint(config.out, network, run.description)
    bar.close()
    log.close()
    pictures.save(config.out, network)
    draw_curve(log.rows, config.out / "curve.png", f"{config.algo} on {config.data.env}")
    if stop:
        sys.stderr.write(
            f"stopped by {stop[0]} after update {update}; the checkpoint is in {config.out}\n"
        )
        sys.exit(130)
    seconds = time.perf_counter() - start
    result = result_of(config, update, seconds, learner.queries_per_update, validated)
    write_json(config.out / "result.json", result)
    return result


def result_of(
    config: TrainConfig,
    updates: int,
    seconds: float,
    queries_per_update: int,
    validated: SplitMetrics | None,
) -> dict[str, Any]:
    """The content of `result.json`."""
    return {
        "env": config.data.env,
        "algo": config.algo,
        "objective": config.agent.objective if config.algo == "rss" else None,
        "seed": config.seed,
        "updates": updates,
        "seconds": round(seconds, 2),
        "score_queries": updates * queries_per_update,
        "miou": None if validated is None else validated.miou,
        "pixel_accuracy": None if validated is None else validated.pixel_accuracy,
        "versions": versions(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-train`."""
    run_command(
        "rss-train", TrainConfig, lambda config: print(json.dumps(train(config))), arguments
    )


if __name__ == "__main__":
    main()
