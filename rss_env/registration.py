"""The table of environment ids: data set and level to `RSS/<Dataset>-<Level>-v0`.

Entry points are strings, so that registering imports nothing and specs survive JSON. Gymnasium is
told when it is imported, before `rss_env` or after: what makes no environment need not wait for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from rss_env.errors import check_choice

# Named here too, so that `import rss_env` need not import torch; a test holds them equal.
DATASET_NAMES = ("Shapes", "VOC", "PascalContext", "Cityscapes", "Folder")
LEVEL_NAMES = ("PixelReward", "ImageReward")  # of episodes of one step
SEQUENCE_NAMES = ("Progressive", "Refine")  # of several
_CLASSES = {
    **dict.fromkeys(LEVEL_NAMES, ("rss_env.single_env:RSSEnv", "rss_env.vector_env:RSSVectorEnv")),
    **{
        name: (f"rss_env.{name.lower()}:{name}Env", f"rss_env.{name.lower()}:{name}VectorEnv")
        for name in SEQUENCE_NAMES
    },
}


def environment_ids(names: Sequence[str] = (*LEVEL_NAMES, *SEQUENCE_NAMES)) -> list[str]:
    """Every id this package registers, or those of some levels and sequences."""
    return [f"RSS/{data}-{name}-v0" for data in DATASET_NAMES for name in names]


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
    import gymnasium as gym

    for environment_id in environment_ids():
        dataset, level = parse_environment_id(environment_id)
        if environment_id not in gym.registry:
            single, vector = _CLASSES[level]
            gym.register(
                environment_id,
                entry_point=single,
                vector_entry_point=vector,
                kwargs={"dataset": dataset, "level": level},
                # The environment itself refuses bad actions and steps before a reset.
                order_enforce=False,
                disable_env_checker=True,
            )


def register_on_import() -> None:
    """Make the ids known to Gymnasium now if it has been imported, or else as soon as it is."""
    if "gymnasium" in sys.modules:
        register_environments()
    else:
        sys.meta_path.insert(0, _AfterGymnasium())


class _AfterGymnasium(MetaPathFinder):
    """Finds Gymnasium as the other finders do, and registers behind its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gymnasium":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                register_environments()

            loader.exec_module = exec_module
        return spec
