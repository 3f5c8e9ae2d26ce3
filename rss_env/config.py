"""The arguments of environments, each with its type, default and meaning.

Types are those that a command line reads; environments take more, such as an `image_size` of one
integer or a `scorer` that is a function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from rss_env.arguments import check_autoreset_mode, check_device, check_flag, check_whole_number
from rss_env.datasets import SegmentationDataset, arguments_of
from rss_env.datasets.resizing import RESIZES, Resize
from rss_env.errors import InputError, UnknownArgumentError, check_choice
from rss_env.rewards import METRICS

if TYPE_CHECKING:  # slow to import, and only for types
    import torch
    from gymnasium.vector import AutoresetMode

ARRAYS = ("numpy", "torch")
DataOn = Literal["auto", "device", "host"]
RENDER_MODES = ("rgb_array", "human")
EVALUATIONS = ("images", "dataset", "normalised")
_FLAGS = (
    *("horizontal_flip", "validate_actions", "class_balanced", "scale_scores", "class_scores"),
    "image_index",
)
VARYING = ("zoom", "colour_jitter", "crop_size")  # what makes another image of an image
ONE_STEP_LEVELS = ("PixelReward", "ImageReward")


@dataclass(kw_only=True)
class TaskConfig:
    """Images to be seen and scores of their maps: alike for environments and trainings."""

    split: str | None = None
    """Split of the data set: a name or a list file; None: its training split."""
    exclude: str | None = None
    """List file, as a split's, of images of the split to leave out."""
    image_size: tuple[int, ...] | None = None
    """One side, or height and width, in pixels; None: the data set's default."""
    resize: Resize = "stretch"
    """stretch: to that size; pad: into it, in the shape that images have, with void around them."""
    crop_size: tuple[int, ...] | None = None
    """Show a random window of this size, one side or height and width; None: whole images."""
    data_on: DataOn = "auto"
    """Where images and labels lie. device: all of them, beside the network; host: batches are
    streamed from there ahead of their use; auto: on the host if they would take more than a quarter
    of the free memory of a GPU."""
    scales: tuple[int, ...] | None = None
    """Cell sizes in pixels, coarse to fine; None: (8, 4, 2, 1) up to 64 pixels and (32, 16, 8, 4)
    above."""
    metric: str = "miou"
    """Metric that scores maps: miou, pixel_accuracy, mean_accuracy or dice."""
    class_balanced: bool = False
    """At pixel level, weight classes by inverse frequency."""
    feedback: str = "exact"
    """Feedback on a score: exact, rating[:stars], noisy[:deviation] or ranking."""
    scorer: str | None = None
    """Scores maps in place of labels: module:function, or in Python a callable."""
    horizontal_flip: bool = False
    """Mirror images at random."""
    zoom: tuple[float, float] | None = None
    """Enlarge images at random, by a factor between these two; None: never."""
    colour_jitter: float = 0.0
    """Change brightness, contrast and saturation of images at random, by up to this share."""
    num_views: int | None = None
    """In how many ways each image is varied by all of these, always the same ones: it comes back in
    each, so that scores can be remembered. None: in a new way each time."""
    group_size: int = 1
    """K, how many neighbouring sub-environments share an image."""

    @property
    def task_arguments(self) -> dict[str, Any]:
        """The arguments of an environment by name, without those of what is derived from this."""
        return {part.name: getattr(self, part.name) for part in fields(TaskConfig)}


@dataclass(kw_only=True)
class EnvironmentConfig(TaskConfig):
    """All arguments of an environment: the task, and how it is presented."""

    dataset: str | SegmentationDataset
    """Shapes, VOC, PascalContext, Cityscapes or Folder; module:Class of one's own; or a data set
    that is open."""
    level: str
    """ImageReward, one score per map; PixelReward, one reward per cell."""
    scale_weights: Sequence[float] | None = None
    """Weight of each scale in the reward; None: equal."""
    action_format: str = "flat"
    """flat, one MultiDiscrete; maps, a Dict of one grid per scale."""
    scale_scores: bool = True
    """At image level, give the score of each scale beside the reward."""
    class_scores: bool = False
    """At image level, also give the score of each class, as far as the feedback shows scores."""
    image_index: bool = False
    """Also give the number of the image in the data set, at each reset and each step."""
    evaluation: str | None = None
    """Show each image of the split once, in order, and then again, and tell the metric of all of
    them so far. images: each is rewarded by its own score; dataset: the mean of the rewards is the
    metric of the split; normalised: the same from 0, the most frequent class, to 1, the best maps
    of these scales. None: images at random."""
    query_budget: int | None = None
    """Scores (of a map at a scale) that may be asked for in all; a step that asks for more is
    refused. None: any number."""
    autoreset_mode: str | AutoresetMode = "SameStep"
    """Of `make_vec` alone: SameStep, NextStep or Disabled, in any case."""
    array: str = "numpy"
    """numpy or torch: what comes back."""
    device: str | torch.device = "cpu"
    """Device of the tensors."""
    validate_actions: bool = True
    """Check the range of actions."""
    render_mode: str | None = None
    """None; rgb_array, frames from `render`; or human, a window that each step draws in (needs
    `rss-env[window]`)."""
    dataset_options: dict[str, Any] = field(default_factory=dict)
    """`root`, or the data set's own arguments."""

    levels: ClassVar[tuple[str, ...]] = ONE_STEP_LEVELS

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> EnvironmentConfig:
        """Take arguments by name; those that no environment has are options of the data set.

        Raises:
            InputError: If one is invalid by itself. What depends on the data is checked later.
        """
        own = cls._names()
        options = {name: value for name, value in arguments.items() if name not in own}
        known = {name: value for name, value in arguments.items() if name in own}
        config = cls(**known, dataset_options=options)
        config.check()
        return config

    def check(self) -> None:
        """Check what can be checked without the data.

        Raises:
            InputError: If an argument is invalid.
        """
        self._check_dataset_options()
        check_whole_number("group_size", self.group_size, 1)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        if self.query_budget is not None:
            check_whole_number("query_budget", self.query_budget, 0)
        self._check_views()
        self._check_evaluation()
        check_choice("array", self.array, ARRAYS)
        check_choice("metric", self.metric, METRICS)
        check_choice("resize", self.resize, RESIZES)
        check_choice("data_on", self.data_on, get_args(DataOn))
        if self.render_mode is not None:
            check_choice("render_mode", self.render_mode, RENDER_MODES)
        check_autoreset_mode(self.autoreset_mode)
        if check_device(self.device).type != "cpu" and self.array == "numpy":
            device = self.device
            raise InputError(f"array='numpy' lives on the CPU; use array='torch' with {device!r}")

    def _check_views(self) -> None:
        if self.num_views is None:
            return
        check_whole_number("num_views", self.num_views, 1)
        if not any(getattr(self, name) for name in VARYING):
            raise InputError(
                f"num_views={self.num_views} is for images that are varied; give "
                f"{', '.join(VARYING[:-1])} or {VARYING[-1]}"
            )

    def _check_evaluation(self) -> None:
        if self.evaluation is None:
            return
        check_choice("evaluation", self.evaluation, EVALUATIONS)
        varied = [name for name in ("horizontal_flip", *VARYING) if getattr(self, name)]
        if varied:
            raise InputError(f"evaluation shows images as they are: leave out {', '.join(varied)}")
        if self.group_size != 1:
            raise InputError(
                f"evaluation shows each image once: group_size must be 1, got {self.group_size}"
            )
        if self.scorer is not None and self.evaluation != "images":
            raise InputError(
                f"evaluation {self.evaluation!r} needs labels, and no scorer; valid: images"
            )

    @property
    def dataset_name(self) -> str:
        """The data set's name, for messages."""
        return self.dataset if isinstance(self.dataset, str) else type(self.dataset).__name__

    @classmethod
    def _names(cls) -> list[str]:
        """Names of the arguments that every environment takes."""
        return [part.name for part in fields(cls) if part.name != "dataset_options"]

    def _check_dataset_options(self) -> None:
        of_the_data = arguments_of(self.dataset)
        of_the_id = ("dataset", "level")
        for name, value in self.dataset_options.items():
            if name not in of_the_data and value is not None:
                others = [own for own in self._names() if own not in (*of_the_data, *of_the_id)]
                what = f"environment of {self.dataset_name}"
                raise UnknownArgumentError.of(what, name, [*of_the_data, *others])
