"""The table of environment ids: data set and level to `RSS/<Dataset>-<Level>-v0`.

Entry points are strings, so that registering imports nothing and specs survive JSON.
"""

from __future__ import annotations

import gymnasium as gym

from rss_env.errors import check_choice

# Named here too, so that `import rss_env` need not import torch; a test holds them equal.
DATASET_NAMES = ("Shapes", "VOC", "PascalContext", "Cityscapes", "Folder")
LEVEL_NAMES = ("PixelReward", "ImageReward")


def environment_ids() -> list[str]:
    """Every id this package registers."""
    return [f"RSS/{data}-{level}-v0" for data in DATASET_NAMES for level in LEVEL_NAMES]


def parse_environment_id(environment_id: str) -> tuple[str, str]:
    """The data set and the level that an id of this package names.

    The data set may be one of its user's: `RSS/my_package:MyData-PixelReward-v0`, or the same with
    the name that an installed package gives it; `my_package:MyData` alone is of level ImageReward.

    Raises:
        InputError: If there is no such id; the message lists those there are.
    """
    if environment_id not in environment_ids() and isinstance(environment_id, str):
        from rss_env.datasets.own import is_own, names_code  # heavy, and most runs do without

        if names_code(environment_id):
            return environment_id, "ImageReward"
        dataset, _, level = environment_id.removesuffix("-v0").rpartition("-")
        name = dataset.removeprefix("RSS/")
        if dataset != name and level in LEVEL_NAMES and is_own(name):
            return name, level
    check_choice("environment", environment_id, environment_ids())
    dataset, level = environment_id.removeprefix("RSS/").removesuffix("-v0").split("-")
    return dataset, level


def register_environments() -> None:
    """Make the ids known to Gymnasium; calling it again changes nothing."""
    for environment_id in environment_ids():
        dataset, level = parse_environment_id(environment_id)
        if environment_id not in gym.registry:
            gym.register(
                environment_id,
                entry_point="rss_env.single_env:RSSEnv",
                vector_entry_point="rss_env.vector_env:RSSVectorEnv",
                kwargs={"dataset": dataset, "level": level},
                # The environment itself refuses bad actions and steps before a reset.
                order_enforce=False,
                disable_env_checker=True,
            )
