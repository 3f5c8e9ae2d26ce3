"""What is compared: data sets by name, and ways to learn by name, as arguments of `rss-train`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.command_line import DataConfig
from rss_agents.networks.names import LITE0
from rss_env.errors import InputError, check_choice
from rss_env.scenes import Scenes, load_scenes


@dataclass(frozen=True)
class Suite:
    """A data set at a size.

    Attributes:
        dataset: As in environment ids.
        folder: Under the data root; None for data that is generated.
        image_size: Height and width in pixels, or one number for both.
        arguments: Further ones of `rss-train`.
        updates: Number of updates of a run, unless another is asked for.
    """

    dataset: str
    folder: str | None = None
    image_size: int | tuple[int, int] = 64
    arguments: tuple[str, ...] = ()
    updates: int = 600

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        size = self.image_size
        return size if isinstance(size, tuple) else (size, size)

    def data(self, data_root: Path | None, level: str = "Image") -> DataConfig:
        """The data arguments.

        Raises:
            InputError: If the suite needs files and no data root is known.
        """
        env = f"RSS/{self.dataset}-{level}Reward-v0"
        place = self._place(data_root)
        if place is None:
            return DataConfig(env)
        if self.dataset != "Folder":
            return DataConfig(env, root=str(place))
        images, labels, classes = (str(place / n) for n in ("images", "labels", "classes.txt"))
        return DataConfig(env, images=images, labels=labels, classes=classes)

    def splits(self, data_root: Path | None) -> tuple[str | None, str]:
        """The training and the validation split, as `rss-train` takes them.

        Raises:
            InputError: If the suite needs files and no data root is known.
        """
        place = self._place(data_root)
        if place is None or self.dataset != "Folder":
            return None, "val"
        return str(place / "train.txt"), str(place / "val.txt")

    def scenes(self, data_root: Path | None) -> tuple[Scenes, Scenes]:
        """The training and the validation scenes.

        Raises:
            InputError: If the suite needs files and no data root is known, or they cannot be used.
        """
        data, size = self.data(data_root), self.size
        training, validation = (
            load_scenes(data.open(split), size) for split in self.splits(data_root)
        )
        return training, validation

    def _place(self, data_root: Path | None) -> Path | None:
        """The folder of its files; None if it has none."""
        if self.folder is None:
            return None
        root = data_root or os.environ.get("RSS_DATA_ROOT")
        if root is None:
            raise InputError(f"{self.folder} is needed: give --data-root, or set RSS_DATA_ROOT")
        return Path(root) / self.folder


_FROM_SCRATCH = {
    "shapes": Suite("Shapes"),
    "horses": Suite("VOC", "weizmann-horses-voc"),
    "coco128": Suite("VOC", "coco128-voc21"),
    "camvid": Suite("Cityscapes", "camvid-cityscapes"),
    "camvid-11": Suite("Folder", "camvid-360"),  # no class without a label in the network's head
}
_PRETRAINED = ("--network", f"unet/{LITE0}", "--pretrained")

SUITES = _FROM_SCRATCH | {
    f"{name}-pretrained": replace(_FROM_SCRATCH[name], image_size=128, arguments=_PRETRAINED)
    for name in ("horses", "camvid")
}
# Close to the size that others report CamVid at, 360x480: sides that are whole cells of 32 pixels.
SUITES |= {
    name: Suite(
        "Folder",
        "camvid-360",
        (352, 480),
        ("--network", f"{architecture}/{LITE0}", "--pretrained", "--learning-rate", "1e-3"),
        updates=1500,
    )
    for name, architecture in (("camvid-360", "unet"), ("camvid-360-fpn", "fpn"))
}


@dataclass(frozen=True)
class Variant:
    """A way to learn.

    Attributes:
        arguments: Of `rss-train`, beside the data, the seed and the number of updates.
        level: Whether the environment scores whole maps or their cells.
        scorer: Kind of `benchmarks.scorers.zoo` that scores instead of the metric.
    """

    arguments: tuple[str, ...] = ()
    level: Literal["Image", "Pixel"] = "Image"
    scorer: str | None = None

    def scorer_arguments(self, suite: str) -> tuple[str, ...]:
        """The argument that names the scorer of a suite, if there is one."""
        if self.scorer is None:
            return ()
        return ("--scorer", f"benchmarks.scorers:{suite.replace('-', '_')}_{self.scorer}")


SCORERS = (  # kinds of `benchmarks.scorers.zoo` that score by themselves
    *("miou", "dice_squared", "boundary_f", "accuracy_boundary", "teacher", "person", "judge"),
    "rule",
)
_POLICY_GRADIENT = ("--objective", "policy_gradient")
_PARTS = ("psr", "psd", "syncan")
_CLIPPED = {
    "entropy-0.02": ("--baseline.entropy", "0.02"),
    "entropy-0.2": ("--baseline.entropy", "0.2"),
    "epochs-2": ("--baseline.epochs", "2"),
}
_UNCLIPPED = {
    "entropy-0.15": ("--baseline.entropy", "0.15"),
    "entropy-1.5": ("--baseline.entropy", "1.5"),
    "exploration-0.1": ("--baseline.exploration", "0.1"),
}
_SLOWER = {"rate-1e-3": ("--learning-rate", "1e-3")}
# What the plain policy gradients were tuned over, beside the settings they ship with.
_TUNING = {
    f"{name}-{setting}": Variant(("--algo", name, *arguments))
    for names, settings in ((("reinforce", "rloo"), _UNCLIPPED), (("grpo", "ppo"), _CLIPPED))
    for name in names
    for setting, arguments in (settings | _SLOWER).items()
}
# SB3's own policy has a distribution and 512 x C weights for every cell: few cells, a low rate.
_STOCK = (
    *("--sb3.policy", "cnn", "--sb3.entropy", "0", "--learning-rate", "3e-4"),
    *("--num-images", "8", "--scales", "8"),
)

VARIANTS = {
    "rss": Variant(),
    "rss-pixel": Variant(level="Pixel"),
    "rss-policy-gradient": Variant(_POLICY_GRADIENT),
    "rss-linear": Variant(("--score-model", "linear")),
    "rss-no-replay": Variant(("--replay", "0")),
    "rss-no-decisions": Variant(("--no-metric-decisions",)),
    **{f"rss-no-{part}": Variant((f"--no-{part}",)) for part in _PARTS},
    **{
        f"rss-policy-gradient-no-{part}": Variant((*_POLICY_GRADIENT, f"--no-{part}"))
        for part in _PARTS
    },
    **{f"rss-k{members}": Variant(("--group-size", str(members))) for members in (2, 4, 16)},
    "rss-rating-5": Variant(("--feedback", "rating:5")),
    "rss-ranking": Variant(("--feedback", "ranking")),
    "rss-noisy-0.05": Variant(("--feedback", "noisy:0.05")),
    "rss-noisy-0.1": Variant(("--feedback", "noisy:0.1")),
    **{f"rss-of-{kind}": Variant(scorer=kind) for kind in SCORERS},
    **{f"rss-policy-gradient-of-{k}": Variant(_POLICY_GRADIENT, scorer=k) for k in SCORERS},
    "rss-of-preference": Variant(
        ("--feedback", "ranking", "--group-size", "2"), scorer="preference"
    ),
    **{
        name: Variant(("--algo", name))
        for name in get_args(Algorithm)
        if name != "rss" and name not in SB3_ALGORITHMS
    },
    **_TUNING,
    "sb3-ppo": Variant(("--algo", "sb3-ppo", "--num-images", "8")),
    "sb3-a2c": Variant(("--algo", "sb3-a2c", "--num-images", "8")),
    "sb3-ppo-cnn": Variant(("--algo", "sb3-ppo", *_STOCK)),
    "sb3-a2c-cnn": Variant(("--algo", "sb3-a2c", *_STOCK)),
}

GROUPS = {
    "headline": ["psl", "rss", "rss-pixel"],
    "supervised": ["psl", "psl-metric", "psl-dice", "psl-multiscale"],
    "plain": ["reinforce", "rloo", "grpo", "ppo"],
    "plain-tuning": list(_TUNING),
    "sb3": ["sb3-ppo", "sb3-a2c", "sb3-ppo-cnn", "sb3-a2c-cnn"],
    "feedback": ["rss-rating-5", "rss-ranking", "rss-noisy-0.05", "rss-noisy-0.1"],
    "scorers": [*(f"rss-of-{kind}" for kind in SCORERS), "rss-of-preference"],
    "ablations": [n for n, v in VARIANTS.items() if n.startswith("rss") and v.scorer is None],
    "camvid-360": ["psl", "psl-dice", "psl-metric", "rss", "rss-policy-gradient", "wsss-cam"],
    "all": list(VARIANTS),
}


def expand(names: tuple[str, ...]) -> list[str]:
    """Names of variants, with groups replaced by their members; each once, in order.

    Raises:
        InputError: If a name is neither.
    """
    found: dict[str, None] = {}
    for name in names:
        check_choice("algos", name, [*VARIANTS, *GROUPS])
        found |= dict.fromkeys(GROUPS.get(name, [name]))
    return list(found)
