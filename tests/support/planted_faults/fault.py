"""What a planted fault is: a broken environment and the rules that must find it."""

from __future__ import annotations

from dataclasses import dataclass

from gymnasium.vector import AutoresetMode

from toy_vector_env import ToyVectorEnv

SAME, NEXT, DISABLED = (
    AutoresetMode.SAME_STEP,
    AutoresetMode.NEXT_STEP,
    AutoresetMode.DISABLED,
)


@dataclass(frozen=True)
class Fault:
    """A broken environment, the mode to run it in, and the rules it breaks."""

    broken: type[ToyVectorEnv]
    rules: frozenset[str]
    mode: AutoresetMode
    one_step: bool
    torch_arrays: bool
    knows_single: bool


FAULTS: list[Fault] = []


def breaks(
    *rules: str,
    mode: AutoresetMode = SAME,
    one_step: bool = False,
    torch: bool = False,
    single: bool = False,
):
    """Class decorator: the rules that must find this fault; every other must find nothing."""

    def plant(broken: type[ToyVectorEnv]) -> type[ToyVectorEnv]:
        FAULTS.append(Fault(broken, frozenset(rules), mode, one_step, torch, single))
        return broken

    return plant
