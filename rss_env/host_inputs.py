"""What a host tells its device in each round of the same work: images' numbers, random numbers.

Work that is replayed by a device, as a CUDA graph is, reads the same memory each time. So its
inputs are written there before, and how the host comes by them is noted when they are first asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rss_env.arrays import on_host, to_device

Parts = Sequence[Any]  # arrays, or None for what there is not


class HostInputs:
    """Takes arrays of the host to a device: new tensors each time, or always the same ones.

    Attributes:
        device: Where they are taken.
        keeps: Whether the tensors stay where they are. What is done is then noted in the first
            round, and done again before each further one, by `refill`; so it must not depend on
            what the device does, and read what changes from where it is kept.
    """

    def __init__(self, device: torch.device | str, *, keeps: bool = False):
        """Begin without anything noted."""
        self.device, self.keeps = torch.device(device), keeps
        self._noted: list[tuple[Callable[[], Any], list[torch.Tensor | None] | None]] = []
        self._sent: list[list[torch.Tensor | None]] = []
        self._next = -1  # of those sent, in a round that was refilled; below 0 in the first one

    def do(self, action: Callable[[], object]) -> None:
        """Do something on the host: at this place in the order of all that is done there."""
        if self._next >= 0:
            return
        action()
        if self.keeps:
            self._noted.append((action, None))

    def send(self, make: Callable[[], Parts]) -> list[Any]:
        """Take arrays that `make` gives to the device; None stays None.

        Args:
            make: Gives arrays, or tensors on the CPU: in each round of the same shapes and types.
        """
        if self._next >= 0:
            self._next += 1
            return list(self._sent[self._next - 1])
        tensors = [None if part is None else to_device(part, self.device) for part in make()]
        if self.keeps:
            tensors = [None if tensor is None else tensor.clone() for tensor in tensors]
            self._noted.append((make, tensors))
            self._sent.append(tensors)
        return list(tensors)

    def refill(self) -> None:
        """Do all that was noted once more, in its order, and write the arrays where they belong."""
        for action, tensors in self._noted:
            parts = action()
            for tensor, part in zip(tensors or (), parts if tensors else (), strict=True):
                if tensor is not None:
                    tensor.copy_(on_host(part, self.device), non_blocking=True)
        self.rewind()

    def rewind(self) -> None:
        """Begin the round's work again, of the same inputs."""
        self._next = 0
