"""What a step makes of maps, and what it comes to before it is told in Gymnasium's way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Outcome:
    """What became of N sub-environments in a step; those of a group end together.

    Attributes:
        rewards: (N,) floats: an array on the CPU, elsewhere a tensor.
        terminated: (N,) bool, whose episodes are over by themselves.
        truncated: (N,) bool, whose episodes are over as their steps are used up.
        told: (N,) bool, which sub-environments the infos are about.
        infos: By name, (N, ...), arrays or tensors likewise; zeros where nothing is told.
        shown: What there is to draw: the scenes, and maps of them. None if nothing was judged.
    """

    rewards: Any
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    told: npt.NDArray[np.bool_]
    infos: dict[str, Any] = field(default_factory=dict)
    shown: Any = None


@dataclass(slots=True)
class Drawing:
    """Maps that some groups have after a step, before they are judged.

    Attributes:
        scale: Index of their scale.
        groups: (g,) int64, whose they are.
        maps: (g * K, cells) uint8 tensor, of that scale.
        stops: (N,) bool, of all sub-environments: whose map is not to be changed any more.
        kept: (N,) bool likewise: whose map this step has not touched, so that its score stays;
            None: nobody's.
    """

    scale: int
    groups: npt.NDArray[np.int64]
    maps: Any
    stops: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_] | None = None
