"""Set-up of a training run: data, environment, network and learner, opened and checked."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.incumbent import COMPARED_MAPS, Incumbent
from rss_agents.algorithms.labelled_and_scored import LabelledAndScoredLearner
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.registry import acts_at_one_scale, build_learner
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.supervised import CrossEntropyLearner
from rss_agents.distributed import rank, world_size
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, classes_of, start_from
from rss_agents.networks.segmentation_network import Predictor, SegmentationNetwork
from rss_agents.networks.trial import check_logits, check_training
from rss_agents.quality.learned_judge import JudgeScorer, LearnedJudge
from rss_agents.ratings.person import PersonScorer
from rss_agents.training.answers import AnswerScores, answer_scores_of
from rss_agents.training.capture import captures_updates
from rss_agents.training.config import TrainConfig
from rss_agents.training.device_adamw import DeviceAdamW
from rss_agents.training.guarded_scorer import GuardedScorer
from rss_agents.training.objects import NO_OBJECTS, RunObjects
from rss_agents.training.optimisation import Check, build_optimizer, update_once
from rss_agents.training.processes import distribute, own_images, stop_asked_for
from rss_agents.training.shape import note_shape
from rss_agents.training.sources import check_same_classes, open_validation, scored_files
from rss_env.arguments import check_device
from rss_env.captured_rounds import CapturedRounds
from rss_env.errors import InputError, warn_of
from rss_env.feedback import AnyScorer, Feedback, load_scorer
from rss_env.host_inputs import HostInputs
from rss_env.registration import environment_ids, parse_environment_id
from rss_env.scenes import Scenes, load_scenes
from rss_env.vector_env import RSSVectorEnv

Metrics = dict[str, torch.Tensor | float]
_TOLD = ("weight_decay", "initial_lr", "max_lr", "min_lr")  # of an optimiser, by the options
_LENGTH = ("total_steps", "_schedule_phases")  # of the schedule, by the options


class Run(ABC):
    """One process's part of a training, opened and checked: what the training loop drives.

    Attributes:
        network: Learns to predict the classes of images.
        description: Of the network, for checkpoints; None if it is not one of ours.
        validation: Images to validate on; None except in the first process.
        scorer: In place of labels; None for labels.
        answer_scores: Of answers for validation images without labels; None if nobody is asked.
        training_digest: Of the images and labels it is trained on.
        queries_per_update: Scores that this process asks for in one update.
        device: Where it is trained.
        objective: Of `rss`, as it was settled; None of other algorithms.
    """

    network: Predictor
    description: NetworkDescription | None
    validation: Scenes | None
    scorer: AnyScorer | None = None
    answer_scores: AnswerScores | None = None
    training_digest: Callable[[], str]
    queries_per_update: int
    device: torch.device
    objective: str | None = None

    @abstractmethod
    def update(self, progress: float, check: Check | None = None) -> Metrics:
        """Learn from a new batch, and return scalars to log; see `update_once`."""

    @property
    def answering(self) -> Predictor:
        """The network whose answers are validated and saved: the same, or a better one."""
        return self.network

    def queries_before(self, update: int) -> int:
        """Scores that this process asks for in the first `update` updates."""
        return update * self.queries_per_update

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """The state that decides what this process learns next; of the network, on rank 0 only."""

    @abstractmethod
    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Go on exactly from the state of rank 0 and that of this rank.

        Raises:
            InputError: If it does not fit the network, the optimiser or the learner.
        """

    def last_batch(self) -> Mapping[str, torch.Tensor]:
        """The batch of the last loss; see `Learner.last_batch`."""
        return {}

    def distribute(self) -> None:  # noqa: B027 (one process needs nothing)
        """Average gradients over the ranks from now on; to be called on all of them."""

    def save(self, folder: Path) -> None:  # noqa: B027 (most write nothing more)
        """Write what a checkpoint does not hold into the run's folder; nothing by default."""


@dataclass
class GradientRun(Run):
    """A run of one of our learners, with an optimiser and a schedule of its learning rate."""

    network: SegmentationNetwork  # pyright: ignore[reportIncompatibleVariableOverride]
    learner: Learner
    validation: Scenes | None
    description: NetworkDescription  # pyright: ignore[reportIncompatibleVariableOverride]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    training_digest: Callable[[], str]
    clip_gradient: float | None = None  # largest norm
    batches: int = 1  # of an update
    scorer: AnyScorer | None = None
    answer_scores: AnswerScores | None = None
    captures: bool = False  # whether updates are replayed, as on CUDA
    objective: str | None = None

    def __post_init__(self) -> None:
        self.queries_per_update = self.batches * self.learner.queries_per_update
        self.device = self.network.mean.device
        self._replayed: CapturedRounds[dict[str, torch.Tensor]] | None = None
        self._progress, self._check = 0.0, None
        self._begin_capture()

    def _begin_capture(self) -> None:
        """Make ready to replay updates, of tensors that stay where they are from now on."""
        if not self.captures:
            return
        self._inputs = HostInputs(self.device, keeps=True)
        self.learner.replace_inputs(self._inputs)
        if isinstance(self.optimizer, DeviceAdamW):
            self.optimizer.inputs = self._inputs
        self._replayed = CapturedRounds("the update", self._update, self._inputs)

    @property
    def answering(self) -> Predictor:
        """See `Run.answering`."""
        return self.learner.answering or self.network

    def update(self, progress: float, check: Check | None = None) -> Metrics:
        """See `Run.update`: the losses of new batches, a step for each, and the schedule's."""
        self._progress, self._check = progress, check
        metrics = self._update() if self._replayed is None else self._replayed()
        if "loss" in metrics:  # otherwise nothing was learned
            self.schedule.step()
        return {**metrics, "learning_rate": float(self.schedule.get_last_lr()[0])}

    def _update(self) -> dict[str, torch.Tensor]:
        """An update without what only the host has to do, and with no number of its own."""
        progress: Progress = self._progress
        if self._replayed is not None:
            progress = self._inputs.send(lambda: (np.array(self._progress),))[0]
        return update_once(
            self.learner,
            self.optimizer,
            progress,
            clip_gradient=self.clip_gradient,
            check=self._check,
            batches=self.batches,
        )

    def get_state(self) -> dict[str, Any]:
        """See `Run.get_state`."""
        own = {"learner": self.learner.get_state(), "random": random_state(self.device)}
        if rank() > 0:
            return own
        return own | {
            "network": values_of(self.network),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """See `Run.set_state`."""
        restore_values(self.network, shared["network"])
        # What the options say stays theirs: they may be allowed to be others than before.
        told = [{n: g[n] for n in _TOLD if n in g} for g in self.optimizer.param_groups]
        length = {n: v for n, v in self.schedule.state_dict().items() if n in _LENGTH}
        try:
            self.optimizer.load_state_dict(shared["optimizer"])
        except ValueError as error:
            raise InputError(f"the training state has another optimiser: {error}") from None
        for group, values in zip(self.optimizer.param_groups, told, strict=True):
            group.update(values)
        self.schedule.load_state_dict({**shared["schedule"], **length})
        self.learner.set_state(own["learner"])
        set_random_state(own["random"], self.device)
        self._begin_capture()  # parts of the state are in new tensors

    def queries_before(self, update: int) -> int:
        """See `Run.queries_before`."""
        return self.batches * self.learner.queries_before(update)

    def last_batch(self) -> Mapping[str, torch.Tensor]:
        """See `Learner.last_batch`."""
        return self.learner.last_batch()

    def distribute(self) -> None:
        """See `Run.distribute`."""
        self.learner.replace_network(distribute(self.network))


def values_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, also those that no checkpoint holds."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def restore_values(module: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Give a module's parameters and buffers the values they had.

    Raises:
        InputError: If they are not of this module.
    """
    values = values_of(module)
    if {name: value.shape for name, value in values.items()} != {
        name: value.shape for name, value in saved.items()
    }:
        raise InputError("the training state is of another network")
    for name, value in values.items():
        value.copy_(saved[name])


def random_state(device: torch.device) -> list[torch.Tensor]:
    """The state of torch's global generators, on the CPU and on a device."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(states: Sequence[torch.Tensor], device: torch.device) -> None:
    """Go on from a state of `random_state`."""
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)


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


def _plan_of(config: TrainConfig, env: RSSVectorEnv) -> QueryPlan | None:
    """When scores are asked for; None for always."""
    if config.queries is None:
        return None
    per_batch = env.num_envs * len(env.geometry.scales) * world_size() * config.accumulate
    return QueryPlan.of_budget(config.queries, per_batch, config.updates)


def start(config: TrainConfig, network: SegmentationNetwork, own: NetworkDescription) -> bool:
    """Give a network the weights that it is to start from, and say so if its classes are others.

    A run that is resumed has its weights from its own state.

    Returns:
        Whether the network has the answers of a trained one: all of its weights.

    Raises:
        InputError: If it cannot start from there.
    """
    if config.start_from is None:
        return False
    source = Path(config.start_from)
    if config.resume is not None:
        return _knows_classes(config, source, own.class_names)
    head = start_from(network, own, source)
    if head:
        warn_of(
            f"{source} has other classes: its weights are kept but for those of the head, which "
            f"starts anew for {', '.join(own.class_names)[:200]} ({', '.join(head)})"
        )
    return not head


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
    return Incumbent(network)


def _settled(config: TrainConfig, env: RSSVectorEnv) -> TrainConfig:
    """The options with an objective that is not left open.

    A trained network that gets scores of a formula that nobody has said learns its own best maps:
    beliefs that are far too sure of themselves are no ground to work out formulas on.
    """
    if config.agent.objective != "auto":
        return config
    said = config.agent.score_model != "auto" or bool(config.agent.varied)
    formula_unknown = env.metric is None and not env.pixel_level and not said
    remembers = not env.augmentation.makes_new_images
    tunes = (
        config.algo == "rss"
        and formula_unknown
        and remembers
        and config.start_from is not None
        and _knows_classes(config, Path(config.start_from), env.class_names)
    )
    objective = "expert_iteration" if tunes else "relative_regression"
    return dataclasses.replace(config, agent=dataclasses.replace(config.agent, objective=objective))


def _knows_classes(config: TrainConfig, source: Path, class_names: tuple[str, ...]) -> bool:
    """Whether a network to start from was trained on these classes.

    Of a run that is resumed it need not be there any more: it was, and what is not ours is refused
    where it is started from.
    """
    try:
        return classes_of(source) == class_names
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
    scenes = load_scenes(data, env.image_size, env.device, config.resize)
    labelled = CrossEntropyLearner(
        network,
        scenes,
        own_images(config.num_images),
        config.seed,
        augmentation=env.augmentation,
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
    geometry, config = env.geometry, _settled(config, env)
    if acts_at_one_scale(config.algo, config.agent) and len(geometry.scales) > 1:
        env.close()
        env = _make_env(dataclasses.replace(config, scales=geometry.scales[-1:]), scorer, objects)
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
    # What starts with all of a trained network's weights has answers to be kept.
    has_answers = start(config, network, description)
    incumbent = _incumbent_of(config, network, env) if has_answers else None
    learner = build_learner(
        config.algo,
        network,
        env,
        lambda: load_scenes(
            objects.data or config.data.open(config.split, config.exclude),
            env.image_size,
            device,
            config.resize,
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
        captures=captures_updates(config, device.type, compares_answers=incumbent is not None),
        objective=config.agent.objective if config.algo == "rss" else None,
    )
