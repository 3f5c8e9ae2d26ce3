"""The options of `rss-train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.reference_config import WEIGHING, BaselineConfig, SupervisedConfig
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.algorithms.sb3_config import SB3Config
from rss_agents.command_line import DataConfig
from rss_agents.extras import require
from rss_agents.folder_lock import check_unlocked
from rss_agents.networks.names import DEFAULT_NETWORK, Precision
from rss_agents.option_types import check_can_be_kept, check_types
from rss_agents.outputs import refuse_inside
from rss_agents.ratings.names import FOLDER_NAME as RATINGS_FOLDER
from rss_agents.training.run_files import check_run_folder, refuse_links_in_run
from rss_env.config import TaskConfig
from rss_env.datasets.paths import expanded
from rss_env.errors import InputError, check_choice, check_value
from rss_env.registration import LEVEL_NAMES, parse_environment_id
from rss_env.rewards import METRICS

_PERSON, _RATINGS, _JUDGE = "person", "ratings:", "judge:"
_ANSWERS_TO_SCORE = 64  # unless another number is asked for


def is_code(scorer: str) -> bool:
    """Tell whether a scorer is a function of a module, rather than somebody's ratings."""
    return scorer != _PERSON and not scorer.startswith((_RATINGS, _JUDGE))


@dataclass
class RunConfig:
    """The options that a command line shows first: what is trained on what, and where it goes."""

    out: Path
    """Folder for the results; must be new unless --overwrite."""
    data: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    algo: Algorithm = "rss"
    """From scores: rss, or plain reinforce, rloo, grpo, ppo, or Stable-Baselines3's sb3-ppo and
    sb3-a2c. From labels, for comparison: psl (cross-entropy), psl-metric, psl-dice,
    psl-multiscale; from image tags: wsss-cam."""


@dataclass
class TrainConfig(TaskConfig, RunConfig):
    """Train a segmentation network from scores of its output."""

    agent: Annotated[RSSConfig, tyro.conf.arg(name="")] = field(default_factory=RSSConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    supervised: SupervisedConfig = field(default_factory=SupervisedConfig)
    sb3: SB3Config = field(default_factory=SB3Config)
    updates: int = 600
    """Number of updates."""
    queries: int | None = None
    """rss: scores that may be asked for in all (images x maps x scales), spread over the updates;
    those in between learn from remembered scores. None: every update asks."""
    seed: int = 0
    """Seed of the weights, the images and the maps drawn."""
    num_images: int = 16
    """Images per update, of all processes together."""
    group_size: int = field(default=8, kw_only=True)
    """Maps scored per image and scale."""
    val_split: str | None = None
    """Validation split: a name or a list file."""
    val_images: str | None = None
    """Folder: images to validate on, where they are not among those of --images."""
    val_labels: str | None = None
    """Folder: their label files, where they are not among those of --labels."""
    val_scores: int | None = None
    """Where validation images have no labels: how many of them, spread evenly, the scorer judges
    at a validation. None: 64, but 0 with --queries, which are for learning, or where a person
    rates. 0: the training's own scores choose best.safetensors."""
    labelled: str | None = None
    """rss: list file of training images with labels to be learned from, and not scored."""
    labelled_weight: float = 1.0
    """Weight of their cross-entropy beside the loss of the scores."""
    scorer: str | None = field(default=None, kw_only=True)
    """Scores maps in place of labels: module:function; `person`, who is asked on the page of
    rss-rate or rss-watch; ratings:FOLDER, those given in an earlier run; or judge:FOLDER, a judge
    of rss-judge."""
    scorer_timeout: float = field(default=600.0, kw_only=True)
    """Seconds that a scorer of module:function may take to score a batch of maps; inf for any."""
    horizontal_flip: bool = field(default=True, kw_only=True)
    """Mirror training images at random."""
    network: str = DEFAULT_NETWORK
    """tiny-unet-silu, tiny-unet (with ReLU), tiny-unet-group (ReLU and group normalisation),
    <architecture>/<encoder> of segmentation-models-pytorch, or module:function that builds one of
    your own."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights, downloaded once; those of EfficientNet-Lite0 come
    with the extra rss-env[pretrained]."""
    start_from: str | None = None
    """Start from the weights of a run's folder, or of a checkpoint, of the same network. If its
    classes are others, what gives logits starts anew. Or from a file of weights that another
    program saved (.safetensors, .pth), of the network or of its encoder."""
    learning_rate: Annotated[float, tyro.conf.arg(aliases=("--lr",))] = 3e-3
    """Peak of the one-cycle schedule."""
    encoder_rate: float = 1.0
    """Learning rate of the encoder, as a share of that of the other parts."""
    warm_up: float = 0.3
    """Share of the training in which the learning rate rises to its peak."""
    warm_up_updates: int | None = None
    """Updates in which it rises, in place of a share; 0: it starts at its peak."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    accumulate: int = 1
    """Batches of --num-images in an update, whose gradients are averaged for one step."""
    eval_every: int = 100
    """Updates between validations; there is also one before the first update."""
    patience: int | None = None
    """Stop after so many validations in a row of which none was the best; None: never."""
    device: str = "cpu"
    """Device to train on: cpu, cuda, cuda:1, ..."""
    precision: Precision = "float32"
    """Type of the arithmetic. bfloat16: mixed; float64: to compare runs to the last digit."""
    capture: bool = True
    """On CUDA: replay every update as one CUDA graph, where nothing forbids it; with the same
    results, and less waiting for the host."""
    compile: bool = False
    """Compile the network first, which takes a minute or more."""
    clip_gradient: float | None = None
    """Largest norm of the gradient, which is scaled down to it; None: any."""
    wandb: str | None = None
    """Project of Weights & Biases that gets what TensorBoard gets."""
    overwrite: bool = False
    """Write into a folder that already holds a run."""
    config: Path | None = None
    """On a command line: start from the options of a config.json, or of a run's folder; those that
    are given beside it count more."""
    resume: Path | None = None
    """Go on with a run that was stopped: its folder, or one of the files in its folder `states`.
    All other options are then those it was started with."""
    allow_changes: bool = False
    """With --resume: go on although options, data or versions have changed."""
    process_timeout: float = 3600.0
    """Of several processes: seconds that one waits for another, which may be validating, before the
    run ends as if that had died."""
    save_every: int | None = None
    """Updates from one training state to the next; None: at every validation."""
    keep_states: int = 2
    """Training states kept until the run is complete; the last ones."""

    @property
    def answers_to_score(self) -> int:
        """Most validation images without labels whose answers the scorer judges; see above."""
        if self.val_scores is not None:
            return self.val_scores
        judges = self.scorer is not None and self.ratings is None and self.queries is None
        return _ANSWERS_TO_SCORE if judges else 0

    @property
    def loads_pretrained(self) -> bool:
        """Tell whether pretrained weights are needed: a run that goes on has those of its state."""
        return self.pretrained and self.resume is None

    @property
    def asks_a_person(self) -> bool:
        """Tell whether somebody is asked for ratings."""
        return self.scorer == _PERSON

    @property
    def judge(self) -> Path | None:
        """The folder of the learned judge; None for another scorer, or none."""
        if self.scorer is None or not self.scorer.startswith(_JUDGE):
            return None
        return Path(self.scorer.removeprefix(_JUDGE))

    @property
    def ratings(self) -> Path | None:
        """The folder of the ratings that are learned from; None for another scorer, or none."""
        if self.scorer is None or is_code(self.scorer) or self.judge is not None:
            return None
        if self.asks_a_person:
            return self.out / RATINGS_FOLDER
        return expanded(self.scorer.removeprefix(_RATINGS))

    def check(self) -> None:
        """Refuse numbers that make no training and folders it cannot use, with an `InputError`."""
        check_types(self)
        check_can_be_kept(self)
        _, level = parse_environment_id(self.data.env)
        if level not in LEVEL_NAMES:
            raise InputError(
                f"trainings are of one-step episodes, {' or '.join(LEVEL_NAMES)}, got "
                f"{self.data.env}; for {level} bring an algorithm (docs/other-libraries.md)"
            )
        check_choice("metric", self.metric, METRICS)
        for part in (self.agent, self.baseline, self.supervised, self.sb3):
            part.check()
        for name in ("updates", "num_images", "group_size", "eval_every", "accumulate"):
            check_value(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        if self.patience is not None:
            check_value(self.patience >= 1, "patience", "at least 1", self.patience)
        if self.val_scores is not None:
            check_value(self.val_scores >= 0, "val_scores", "at least 0", self.val_scores)
            if self.val_scores and (self.scorer is None or self.ratings is not None):
                raise InputError(
                    "val_scores are of a scorer that needs no person: give --scorer "
                    f"module:function or judge:FOLDER, got {self.scorer!r}"
                )
        check_value(0 <= self.seed < 2**62, "seed", "in 0..2**62 - 1", self.seed)
        for name in ("learning_rate", "encoder_rate", "weight_decay"):
            value = getattr(self, name)
            check_value(0 <= value <= 1e6, name, "in 0..1e6", value)
        for name in ("queries", "labelled"):
            if getattr(self, name) is not None and self.algo != "rss":
                raise InputError(f"{name} is of --algo rss; got --algo {self.algo}")
        weight = self.labelled_weight
        check_value(0 < weight < float("inf"), "labelled_weight", "positive", weight)
        if self.labelled is not None and self.exclude is not None:
            raise InputError("give --labelled or --exclude: images with labels are left out anyway")
        check_value(self.scorer_timeout > 0, "scorer_timeout", "positive", self.scorer_timeout)
        check_value(0 < self.warm_up < 1, "warm_up", "between 0 and 1", self.warm_up)
        if (rise := self.warm_up_updates) is not None:
            valid = f"in 0..{self.updates - 1}, fewer than the updates"
            check_value(0 <= rise < self.updates, "warm_up_updates", valid, rise)
        self._check_kind()
        if (clip := self.clip_gradient) is not None:
            check_value(clip > 0, "clip_gradient", "positive", clip)
        if (often := self.save_every) is not None:
            check_value(often >= 1, "save_every", "at least 1", often)
        check_value(self.keep_states >= 2, "keep_states", "at least 2", self.keep_states)
        from rss_agents.distributed import world_size

        if self.ratings is not None and (world_size() > 1 or self.algo in SB3_ALGORITHMS):
            raise InputError(
                f"scorer {self.scorer!r} is for one process and for algorithms that are not "
                f"Stable-Baselines3's, got {world_size()} process(es) and {self.algo}"
            )
        if self.start_from is not None and self.pretrained:
            raise InputError("a network has one start: give --pretrained or --start-from, not both")
        if self.config is not None:
            raise InputError(
                "config is for command lines; in Python, take rss_agents.training.resume."
                "read_config(folder) and dataclasses.replace"
            )
        if self.wandb is not None:
            require("wandb", "Weights & Biases", "wandb")
        self._check_out()

    def _check_kind(self) -> None:
        """Refuse options that the algorithm has no use for."""
        own = ("encoder_rate", "warm_up_updates", "accumulate", "crop_size")
        changed = [name for name in own if getattr(self, name) != getattr(TrainConfig, name)]
        if changed and self.algo in SB3_ALGORITHMS:
            raise InputError(f"{self.algo} is trained by Stable-Baselines3, without {changed[0]}")
        weighs = self.supervised.weighs_pixels
        if weighs and self.algo not in WEIGHING and self.labelled is None:
            raise InputError(
                "class_weights and focal_gamma are of the cross-entropy of labels: of --algo "
                f"{', '.join(WEIGHING)}, and of rss with --labelled; got --algo {self.algo}"
            )

    def _check_out(self) -> None:
        from rss_agents.distributed import rank

        if rank() == 0:  # which takes the lock; several that look would see each other
            check_unlocked(self.out)
        if self.resume is not None:
            refuse_links_in_run(self.out)
            return
        refuse_inside("--out", self.out, self.data.folders())
        if self.start_from is not None:
            source = Path(self.start_from).resolve()
            if self.out.resolve() in (source, source.parent):
                raise InputError(
                    f"--out {self.out} is where --start-from {self.start_from} lies, which would "
                    "be replaced; choose another --out"
                )
        check_run_folder(self.out, overwrite=self.overwrite)
