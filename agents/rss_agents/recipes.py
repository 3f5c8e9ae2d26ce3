"""Complete training runs as functions: each returns a full configuration.

Those at the size of published benchmarks are commands too: `rss-recipe voc --root ... --out ...`,
where every option of `rss-train` overrides what the recipe says. See docs/recipes.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from rss_agents.algorithms.names import Algorithm
from rss_agents.command_line import DataConfig, run_command
from rss_agents.networks.names import LITE0
from rss_agents.train import train
from rss_agents.training.config import TrainConfig


def shapes(out: Path, algo: Algorithm, seed: int = 0, updates: int = 600) -> TrainConfig:
    """The embedded Shapes scenes at 64 x 64, scored by one mIoU per map.

    Args:
        out: Folder for the results; a run already there is replaced.
        algo: `rss` or `psl`.
        seed: Of the weights, the images and the maps drawn.
        updates: Number of updates.
    """
    return TrainConfig(
        out=out,
        data=DataConfig("RSS/Shapes-ImageReward-v0"),
        algo=algo,
        seed=seed,
        updates=updates,
        overwrite=True,
    )


def photographs(
    out: Path, algo: Algorithm, env: str, root: str, seed: int = 0, updates: int = 6000
) -> TrainConfig:
    """Photographs in an official layout, from ImageNet weights (`rss-env[pretrained]`).

    Images are zoomed and recoloured at random, but for `rss`: it remembers the scores of an image
    and uses them when the image comes back as it was, or mirrored.

    Args:
        out: Folder for the results; must be new.
        algo: Any algorithm.
        env: Such as `RSS/VOC-ImageReward-v0`.
        root: Where the data set lies.
        seed: Of the weights, the images and the maps drawn.
        updates: Number of updates.
    """
    varies = algo != "rss"
    return TrainConfig(
        out=out,
        data=DataConfig(env=env, root=root),
        algo=algo,
        seed=seed,
        updates=updates,
        network=f"unet/{LITE0}",
        pretrained=True,
        learning_rate=1e-3,
        zoom=(0.5, 2.0) if varies else None,
        colour_jitter=0.3 if varies else 0.0,
        eval_every=500,
    )


def _at_scale(
    dataset: str, out: Path, algo: Algorithm, root: str | None, **options: Any
) -> TrainConfig:
    """The options that recipes at the size of published benchmarks have in common.

    Images are varied alike for every algorithm, as is common practice there. For `rss` that means
    no memory of scored maps: at these sizes it would hold a small part of the images only.
    """
    common: dict[str, Any] = {"scales": (32, 16, 8, 4), "pretrained": True, "zoom": (0.5, 2.0)}
    common |= {"colour_jitter": 0.3, "eval_every": 2000, "device": "cuda"}
    data = DataConfig(f"RSS/{dataset}-ImageReward-v0", root=root)
    return TrainConfig(out=out, data=data, algo=algo, **common, **options)


def voc(out: Path, algo: Algorithm = "rss", root: str | None = None) -> TrainConfig:
    """VOC's augmented set at 512 x 512: DeepLabV3+ on ResNet-50, 40,000 updates of 16 images.

    Args:
        out: Folder for the results; must be new.
        algo: `rss`, `psl`, or any other.
        root: Where the data set lies; None for `$RSS_DATA_ROOT/VOC`.
    """
    network: dict[str, Any] = {"network": "deeplabv3plus/resnet50@4", "image_size": (512, 512)}
    schedule = {"updates": 40_000, "num_images": 16, "learning_rate": 3e-4, "weight_decay": 1e-2}
    return _at_scale("VOC", out, algo, root, split="train_aug", **network, **schedule)


def pascal_context(out: Path, algo: Algorithm = "rss", root: str | None = None) -> TrainConfig:
    """Pascal Context's 59 classes at 512 x 512: UPerNet on ConvNeXt-T, 80,000 updates of 16 images.

    Arguments are those of `voc`.
    """
    network: dict[str, Any] = {"network": "upernet/tu-convnext_tiny@4", "image_size": (512, 512)}
    schedule = {"updates": 80_000, "num_images": 16, "learning_rate": 1e-4, "weight_decay": 5e-2}
    return _at_scale("PascalContext", out, algo, root, **network, **schedule)


def cityscapes(out: Path, algo: Algorithm = "rss", root: str | None = None) -> TrainConfig:
    """Cityscapes at 512 x 1024: DeepLabV3+ on ResNet-101, 80,000 updates of 8 images.

    Arguments are those of `voc`.
    """
    network: dict[str, Any] = {"network": "deeplabv3plus/resnet101@4", "image_size": (512, 1024)}
    schedule = {"updates": 80_000, "num_images": 8, "learning_rate": 3e-4, "weight_decay": 1e-2}
    return _at_scale("Cityscapes", out, algo, root, **network, **schedule)


RECIPES: dict[str, Callable[..., TrainConfig]] = {
    "voc": voc,
    "pascal-context": pascal_context,
    "cityscapes": cityscapes,
}


def recipe_commands() -> Any:
    """The recipes as subcommands for `run_command`; each has the options of `rss-train`."""
    defaults = {name: recipe(tyro.MISSING) for name, recipe in RECIPES.items()}
    summaries = {name: (recipe.__doc__ or "").split("\n")[0] for name, recipe in RECIPES.items()}
    return tyro.extras.subcommand_type_from_defaults(defaults, summaries, prefix_names=False)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-recipe`."""
    run_command(
        "rss-recipe", recipe_commands(), lambda config: print(json.dumps(train(config))), arguments
    )


if __name__ == "__main__":
    main()
