"""What a step comes to, before it is told in Gymnasium's way."""

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
