"""Maps and their scores as a data set of Minari, to learn from off-line: a part of `rss-data`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from rss_agents.command_line import DataConfig
from rss_agents.interaction_writer import check_room, place_of, replacing, write_dataset
from rss_agents.networks.names import FILE_NAME
from rss_agents.option_types import check_types
from rss_env.arguments import check_device
from rss_env.config import VARYING, TaskConfig
from rss_env.datasets.base import is_list_file
from rss_env.datasets.paths import expanded, is_file, is_folder
from rss_env.digests import file_digest
from rss_env.errors import InputError, check_choice, check_value
from rss_env.registration import LEVEL_NAMES, environment_ids, parse_environment_id
from rss_env.version import __version__

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    import torch
    from gymnasium.envs.registration import EnvSpec
    from minari.data_collector import EpisodeBuffer

    from rss_agents.networks.behaviour import BehaviourPolicy
    from rss_env.vector_env import RSSVectorEnv

UNIFORM = "uniform"
_EPSILON = 0.1
_BATCH = 64  # episodes at a time; what a network says may depend on it in the last digit
# What would show an image otherwise than its number says, or score a map by others.
_LEFT_OUT = ("horizontal_flip", *VARYING, "num_views", "group_size")


@dataclass(kw_only=True)
class RecordConfig(TaskConfig):
    """Draw maps, have them scored, and write a data set of Minari to learn from off-line."""

    name: tyro.conf.Positional[str]
    """Minari's id for the data set, like shapes/uniform-v0. It is written where Minari keeps
    its data sets: MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    data: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    policy: str = UNIFORM
    """Who draws the maps: uniform, or the folder of a run of rss-train. Images are then resized as
    they were for it, unless other options say how."""
    temperature: float | None = None
    """What the logits of a trained network are divided by; by default 1."""
    epsilon: float | None = None
    """Share of a trained network's classes that are drawn uniformly; by default 0.1."""
    own_network: str | None = None
    """module:function that built the network of the policy, if it is one of your own."""
    episodes: int = 1000
    """Maps to draw; the image of each is drawn with replacement."""
    seed: int = 0
    """Of the first episode; each has the next."""
    overwrite: bool = False
    """Replace a data set that rss-data record wrote before; no other is ever replaced."""
    device: str = "cpu"
    """Device of the network and of the scores: cpu, cuda, cuda:1, ..."""
    horizontal_flip: tyro.conf.Suppress[bool] = False
    zoom: tyro.conf.Suppress[tuple[float, float] | None] = None
    colour_jitter: tyro.conf.Suppress[float] = 0.0
    num_views: tyro.conf.Suppress[int | None] = None
    crop_size: tyro.conf.Suppress[tuple[int, ...] | None] = None
    group_size: tyro.conf.Suppress[int] = 1

    def check(self) -> None:
        """Check what can be checked without the data.

        Raises:
            InputError: If an option is invalid.
        """
        check_types(self)
        check_choice("level of an episode of one step", self.level, LEVEL_NAMES)
        check_value(self.episodes >= 1, "episodes", "at least 1", self.episodes)
        last = 2**63 - self.episodes
        check_value(0 <= self.seed <= last, "seed", f"in 0..{last}", self.seed)
        changed = [name for name in _LEFT_OUT if getattr(self, name) != getattr(TaskConfig, name)]
        if changed:
            raise InputError(f"images are recorded as they are, one map each: no {changed[0]}")
        if self.feedback.partition(":")[0] == "ranking":
            raise InputError(
                "feedback 'ranking' compares maps of a group, but a recorded score has to stand by "
                "itself; valid: exact, rating, noisy"
            )
        of_networks = ("temperature", "epsilon", "own_network")
        given = [name for name in of_networks if getattr(self, name) is not None]
        if self.policy == UNIFORM and given:
            raise InputError(f"policy uniform takes no {given[0]}: that is of trained networks")
        if (temperature := self.temperature) is not None:
            check_value(0 < temperature <= 1e6, "temperature", "positive, to 1e6", temperature)
        if (epsilon := self.epsilon) is not None:
            check_value(0 <= epsilon <= 1, "epsilon", "in 0..1", epsilon)

    @property
    def level(self) -> str:
        """The level of the environment id."""
        return parse_environment_id(self.data.env)[1]

    def arguments(self) -> dict[str, Any]:
        """Arguments of the environment, JSON-able, with absolute paths; without those not given."""
        given = {
            name: value
            for name, value in {**self.task_arguments, **self.data.options}.items()
            if value is not None and name not in _LEFT_OUT
        }
        for name in ("root", "images", "labels", "split", "exclude", "classes"):
            value = given.get(name)
            if isinstance(value, str):
                is_name = name in ("split", "exclude") and not is_list_file(value)
                is_count = name == "classes" and not is_file(expanded(value))
                given[name] = value if is_name or is_count else os.path.abspath(expanded(value))
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        return arguments | {"image_index": True}


def record(config: RecordConfig) -> Path:
    """Record a data set; what is there stays as it is until the new one is whole.

    Returns:
        The folder of the data set.

    Raises:
        InputError: If an option is invalid, Minari is missing, the data or the network cannot be
            used, there is a data set of that name, or the disk has no room; nothing is written
            then.
    """
    from tqdm import tqdm

    from rss_env.interaction_format import METADATA_KEY, Recording, require_minari

    require_minari()
    config.check()
    device, place = check_device(config.device), place_of(config.name)
    with replacing(place, config.name, overwrite=config.overwrite) as folder:
        policy, env, spec, said = _set_up(config, device)
        recording = Recording(
            config.data.env, _recorded(spec), said, config.seed, env.content_digest()
        )
        size = check_room(place, _episode_bytes(env), config.episodes)
        print(f"{config.episodes:,} episodes of {spec.id}: about {size / 1e6:,.0f} MB in {place}")
        metadata = {
            "dataset_id": config.name,
            "algorithm_name": config.policy,
            "description": f"Action maps of {spec.id}, their scores and their propensities.",
            "requirements": [f"rss-env>={__version__}"],
            METADATA_KEY: asdict(recording),
        }
        episodes = _episodes(config, env, spec, policy)
        episodes = tqdm(episodes, "recording", config.episodes, unit="map")
        env_spaces = (env.single_observation_space, env.single_action_space)
        write_dataset(folder, metadata, spec, env_spaces, episodes)
    return place


def run_record(config: RecordConfig) -> None:
    """Record a data set, and say how to read it."""
    record(config)
    print(f"wrote {config.name}: rss_env.interactions.load_interactions({config.name!r}) reads it")


def _set_up(
    config: RecordConfig, device: torch.device
) -> tuple[BehaviourPolicy, RSSVectorEnv, EnvSpec, dict[str, Any]]:
    """Who draws, the environment, its specification for a single one, and what is said of who.

    Raises:
        InputError: If the data or the network cannot be used.
    """
    from rss_agents.networks.behaviour import BehaviourPolicy
    from rss_agents.networks.checkpoint import load_checkpoint
    from rss_agents.networks.trial import check_logits

    arguments, run = config.arguments(), expanded(config.policy)
    network = description = None
    if config.policy != UNIFORM:
        network, description = load_checkpoint(run, device, config.own_network)
        arguments.setdefault("image_size", list(description.image_size))
        if config.resize == TaskConfig.resize:
            arguments["resize"] = description.resize
    spec = _spec_of(config, arguments)
    env = _environment_of(spec, min(_BATCH, config.episodes), device)
    # Said in full: another version may have other defaults.
    spec.kwargs |= {"image_size": list(env.image_size), "scales": list(env.geometry.scales)}
    if network is None or description is None:
        return BehaviourPolicy(env.geometry), env, spec, {"name": UNIFORM}
    if description.class_names != env.class_names:
        raise InputError(
            f"policy {config.policy} knows other classes, {', '.join(description.class_names)}, "
            f"than the data, {', '.join(env.class_names)}"
        )
    network.check_scales(env.geometry.scales)
    check_logits(network, description.network, env.geometry.num_classes, env.image_size)
    temperature = 1.0 if config.temperature is None else config.temperature
    epsilon = _EPSILON if config.epsilon is None else config.epsilon
    file = run / FILE_NAME if is_folder(run) else run
    said = {
        "name": str(config.policy),
        "sha256": file_digest(file).hex(),
        "temperature": temperature,
        "epsilon": epsilon,
    }
    return BehaviourPolicy(env.geometry, network, temperature, epsilon), env, spec, said


def _spec_of(config: RecordConfig, arguments: dict[str, Any]) -> EnvSpec:
    """What Gymnasium, and so Minari, makes a single environment from."""
    import gymnasium as gym

    dataset, level = parse_environment_id(config.data.env)
    known = gym.spec(environment_ids()[0])  # which Gymnasium may not know by that id: code
    return replace(
        known,
        id=f"RSS/{dataset}-{level}-v0",
        kwargs={"dataset": dataset, "level": level, **arguments},
    )


def _environment_of(spec: EnvSpec, count: int, device: torch.device) -> RSSVectorEnv:
    from rss_env.vector_env import RSSVectorEnv

    own = {"autoreset_mode": "Disabled", "array": "torch", "device": device}
    return RSSVectorEnv(count, **spec.kwargs, **own)


def _recorded(spec: EnvSpec) -> dict[str, Any]:
    """The arguments of the environment that its id does not say."""
    return {name: v for name, v in spec.kwargs.items() if name not in ("dataset", "level")}


def _episode_bytes(env: RSSVectorEnv) -> int:
    """Bytes of the arrays of an episode: two images, a map, and two rows of each info."""
    numbers = sum(prod(shape) for shape in env.info_shapes.values())
    cells, scales = env.geometry.num_cells, len(env.geometry.scales)
    return 2 * 3 * prod(env.image_size) + cells + 2 * (4 * (numbers + cells) + 8 * (scales + 2))


def _episodes(
    config: RecordConfig, env: RSSVectorEnv, spec: EnvSpec, policy: BehaviourPolicy
) -> Iterator[EpisodeBuffer]:
    """Play the episodes, a batch at a time; each is a function of its seed and of the policy.

    Raises:
        InputError: If a scorer does not give scores.
    """
    import numpy as np

    from rss_env.interaction_format import INDEX, as_episode

    for first in range(0, config.episodes, env.num_envs):
        count = min(env.num_envs, config.episodes - first)
        if count < env.num_envs:  # a score that nobody keeps may cost something
            env = _environment_of(spec, count, env.device)
        seeds = config.seed + first + np.arange(count)
        images, _ = env.reset(seed=seeds.tolist())
        maps, propensities = policy.draw(images, seeds)
        _, scores, _, _, infos = env.step(maps)
        told_of = (*env.info_shapes, INDEX)
        columns = [images, maps, scores, propensities, *(infos[name] for name in told_of)]
        for seed, *row in zip(seeds.tolist(), *(c.cpu().numpy() for c in columns), strict=True):
            image, action, score, drawn, *told = row
            known = dict(zip(told_of, told, strict=True))
            yield as_episode(seed, image, action, float(score), known, drawn, env.geometry)
