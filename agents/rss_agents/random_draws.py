"""Random numbers of a learner: the same of a seed on every device."""

from __future__ import annotations

from typing import Any

import torch

from rss_env.host_inputs import HostInputs


class RandomDraws:
    """Draws on the CPU, and takes what it has drawn to a device; alike on all ranks.

    Attributes:
        inputs: What takes numbers to the device; another one may take its place.
    """

    def __init__(self, generator: torch.Generator, device: torch.device | str = "cpu"):
        """Draw with a generator of the CPU, for a device."""
        self._generator, self.inputs = generator, HostInputs(device)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Whole numbers in [low, high), int64."""
        return self._sent(torch.randint, low, high, shape)

    def uniform(self, *shape: int) -> torch.Tensor:
        """Numbers in [0, 1), float32."""
        return self._sent(torch.rand, shape)

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal numbers, float32."""
        return self._sent(torch.randn, shape)

    def choose(self, among: torch.Tensor, count: int) -> torch.Tensor:
        """Choose from the places that are true in (M,) bool, on the CPU: (count,) int64.

        With replacement; `among` is read where it is, also in later rounds.
        """

        def draw(generator: torch.Generator) -> torch.Tensor:
            return torch.multinomial(among.float(), count, replacement=True, generator=generator)

        return self._sent(draw)

    def _sent(self, draw: Any, *arguments: Any) -> torch.Tensor:
        return self.inputs.send(lambda: (draw(*arguments, generator=self._generator),))[0]

    def get_state(self) -> torch.Tensor:
        """The random state."""
        return self._generator.get_state()

    def set_state(self, state: torch.Tensor) -> None:
        """Go on from a state of `get_state`."""
        self._generator.set_state(state)
