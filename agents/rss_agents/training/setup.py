"""Set-up of a training run: data, environment, network and learner, opened and checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import torch
from torch import nn

from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.incumbent import COMPARED_MAPS, Incumbent
from rss_agents.algorithms.labelled_and_scored import LabelledAndScoredLearner
from rss_agents.algorithms.objective_choice import settle_objective
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.registry import acts_at_one_scale, build_learner
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.supervised import CrossEntropyLearner
from rss_agents.distributed import rank, world_size
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import (
    NetworkDescription,
    is_whole_start,
    note_of_start,
    start_from,
)
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.networks.trial import check_logits, check_training
from rss_agents.quality.learned_judge import JudgeScorer, LearnedJudge
from rss_agents.ratings.person import PersonScorer
from rss_agents.training.answers import answer_scores_of
from rss_agents.training.capture import captures_updates
from rss_agents.training.config import TrainConfig
from rss_agents.training.guarded_scorer import GuardedScorer
from rss_agents.training.objects import NO_OBJECTS, RunObjects
from rss_agents.training.optimisation import build_optimizer
from rss_agents.training.processes import own_images, stop_asked_for
from rss_agents.training.run import GradientRun
from rss_agents.training.shape import note_shape
from rss_agents.training.sources import check_same_classes, open_validation, scored_files
from rss_env.arguments import check_device
from rss_env.errors import InputError, warn_of
from rss_env.feedback import AnyScorer, Feedback, load_scorer
from rss_env.registration import environment_ids, parse_environment_id
from rss_env.scenes import Scenes, load_scenes
from rss_env.vector_env import RSSVectorEnv


def scorer_of(config: TrainConfig, objects: RunObjects = NO_OBJECTS) -> AnyScorer | None:
    """The scorer in place of labels; None for none.

    Raises:
        InputError: If there is no such function, judge or folder of ratings.
    """
    if config.scorer is None:
        return None
    if config.ratings is None:
        if config.judge is not None:
            scorer: AnyScorer | None = JudgeScorer(LearnedJudge.load(config.judge))
        else:
            scorer = load_scorer(config.scorer if objects.scorer is None else objects.scorer)
        assert scorer is not None
        return GuardedScorer(scorer, config.scorer, config.scorer_timeout)
    feedback = Feedback.parse(config.feedback, config.group_size)
    data = scored_files(config).open(config.split)
    return PersonScorer(
        config.ratings,
        stars=int(feedback.amount) if feedback.kind == "rating" else 5,
        pairs=feedback.kind == "ranking" and config.group_size == 2,
        class_names=data.class_names,
        palette=data.palette,
        asks=config.asks_a_person,
        should_stop=stop_asked_for,
    )


def _make_env(
    config: TrainConfig, scorer: AnyScorer | None, objects: RunObjects = NO_OBJECTS
) -> RSSVectorEnv:
    arguments: dict[str, Any] = config.task_arguments | scored_files(config).options
    if config.labelled is not None:
        arguments["exclude"] = config.labelled
    arguments |= {"scorer": scorer, "array": "torch", "device": config.device}
    num_envs = own_images(config.num_images) * config.group_size
    if config.data.env not in environment_ids():  # Gymnasium does not know it
        dataset, level = parse_environment_id(config.data.env)
        dataset = dataset if objects.data is None else objects.data
        return RSSVectorEnv(num_envs, dataset=dataset, level=level, **arguments)
    return cast(
        RSSVectorEnv, gym.make_vec(config.data.env, num_envs=num_envs, **arguments).unwrapped
    )


def _fitting_task(config: TrainConfig, env: RSSVectorEnv) -> TrainConfig:
    """The same training with the scales and the maps of an image that its algorithm asks for."""
    scales, group_size = config.scales, config.group_size
    if acts_at_one_scale(config.algo, config.agent) and len(env.geometry.scales) > 1:
        scales = env.geometry.scales[-1:]
    if config.algo == "rss" and config.agent.objective == "expert_iteration":
        maps = 4 if _has_few_scores(config, env) else 8
        group_size = min(group_size, config.agent.expert_maps or maps)
    return dataclasses.replace(config, scales=scales, group_size=group_size)


def _has_few_scores(config: TrainConfig, env: RSSVectorEnv) -> bool:
    """Whether a budget has few scores for each image."""
    return config.queries is not None and config.queries < 32 * env.num_shown


def _plan_of(config: TrainConfig, env: RSSVectorEnv) -> QueryPlan | None:
    """When scores are asked for; None for always."""
    if config.queries is None:
        return None
    per_batch = env.num_envs * len(env.geometry.scales) * world_size() * config.accumulate
    return QueryPlan.of_budget(config.queries, per_batch, config.updates)


def start(config: TrainConfig, network: SegmentationNetwork, own: NetworkDescription) -> None:
    """Give a network the weights that it is to start from, and say so if they are not all of them.

    A run that is resumed has its weights from its own state.

    Raises:
        InputError: If it cannot start from there.
    """
    if config.start_from is None or config.resume is not None:
        return
    source = Path(config.start_from)
    note = note_of_start(source, own.class_names, start_from(network, own, source))
    if note is not None:
        warn_of(note)


def _incumbent_of(
    config: TrainConfig, network: SegmentationNetwork, env: RSSVectorEnv
) -> Incumbent | None:
    """Who answers until the network scores better: the trained one that it starts from, if any.

    There is none where a group has no room for the maps that are compared.
    """
    compares = config.agent.keep_answers and not env.pixel_level
    least = 2 if config.agent.objective == "expert_iteration" else 2 * COMPARED_MAPS
    if not compares or env.group_size < least:
        return None
    errors = config.agent.gain_errors
    if errors is None:
        errors = 1.0 if config.agent.weighs_regions else 0.5
    return Incumbent(network, config.agent.least_gain, errors)


def _starts_trained(config: TrainConfig, env: RSSVectorEnv, body: nn.Module | None) -> bool:
    """Tell whether the network has the answers of a trained one: all of its weights.

    What a run that is resumed started from need not be there any more: it was, and what is not
    ours is refused where it is started from.
    """
    if config.start_from is None:
        return False
    names, size = env.class_names, env.image_size
    try:
        return is_whole_start(config.start_from, config.network, size, names, body)
    except InputError:
        return config.resume is not None


def _with_labels(
    config: TrainConfig, learner: Learner, network: SegmentationNetwork, env: RSSVectorEnv
) -> tuple[Learner, Scenes]:
    """The same learner, which also learns from the labels of some images; and these images.

    Raises:
        InputError: If the labels cannot be used.
    """
    assert isinstance(learner, RSSLearner)
    assert config.labelled is not None
    data = config.data.open(config.labelled)
    if not data.has_labels:
        raise InputError(f"labelled {config.labelled}: the data is given without labels")
    scenes = load_scenes(data, env.image_size, env.device, config.resize, config.data_on)
    labelled = CrossEntropyLearner(
        network,
        scenes,
        own_images(config.num_images),
        config.seed,
        augmentation=learner.objective.augmentation,
        supervised=config.supervised,
    )
    return LabelledAndScoredLearner(learner, labelled, config.labelled_weight), scenes


def open_run(config: TrainConfig, objects: RunObjects = NO_OBJECTS) -> GradientRun:
    """Open the data, the environment and the network of a run, or of this process's part of it.

    Args:
        config: The options.
        objects: That stand in place of what they name.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    config.check()
    objects.check(config)
    device = check_device(config.device)
    scorer = scorer_of(config, objects)
    env = _make_env(config, scorer, objects)
    geometry = env.geometry
    starts_trained = _starts_trained(config, env, objects.network)
    agent = settle_objective(
        config.agent,
        env,
        starts_trained=starts_trained,
        weighs_all=_has_few_scores(config, env) and config.labelled is None,
    )
    config = dataclasses.replace(config, agent=agent)
    fitting = _fitting_task(config, env)
    if fitting != config:
        env.close()
        env = _make_env(fitting, scorer, objects)
    validation = open_validation(config, env.image_size, device, objects)
    check_same_classes(env.class_names, validation)
    note_shape(config, env)
    torch.manual_seed(config.seed)
    network = build_network(
        config.network,
        geometry.num_classes,
        env.image_size,
        pretrained=config.loads_pretrained,
        device=device,
        body=objects.network,
    )
    network.accelerate(config.precision, compiled=config.compile)
    if env.image_size != geometry.image_size:  # it sees parts of images in training
        check_logits(network, config.network, geometry.num_classes, geometry.image_size)
        network.train()
    check_training(network, config.network, own_images(config.num_images), geometry.image_size)
    description = NetworkDescription.of(
        config.network, env.image_size, env.class_names, env.palette, config.resize
    )
    start(config, network, description)
    # What starts with all of a trained network's weights has answers to be kept.
    incumbent = _incumbent_of(config, network, env) if starts_trained else None
    learner = build_learner(
        config.algo,
        network,
        env,
        lambda: load_scenes(
            objects.data or config.data.open(config.split, config.exclude),
            env.image_size,
            device,
            config.resize,
            config.data_on,
        ),
        agent=config.agent,
        baseline=config.baseline,
        supervised=config.supervised,
        seed=config.seed,
        plan=_plan_of(config, env),
        incumbent=incumbent,
    )
    digests = [env.content_digest]
    if config.labelled is not None:
        learner, labelled = _with_labels(config, learner, network, env)
        digests.append(labelled.content_digest)
    optimizer, schedule = build_optimizer(config, network)
    if rank() > 0:  # what a network draws, such as dropout, is to differ from rank to rank
        torch.manual_seed(config.seed + rank())
    return GradientRun(
        network=network,
        learner=learner,
        validation=validation,
        description=description,
        optimizer=optimizer,
        schedule=schedule,
        training_digest=lambda: " ".join(digest() for digest in digests),
        clip_gradient=config.clip_gradient,
        batches=config.accumulate,
        scorer=scorer,
        answer_scores=answer_scores_of(config, scorer, validation),
        streamed=env.streamed,
        captures=captures_updates(config, device.type, compares_answers=incumbent is not None),
        objective=config.agent.objective if config.algo == "rss" else None,
    )
