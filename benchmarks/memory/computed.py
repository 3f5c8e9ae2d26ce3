"""Computed: networks on tensors with shapes and devices but no memory (PyTorch's fake tensors)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed._tools.mem_tracker import MemTracker

from rss_agents.networks.build import build_network
from rss_agents.networks.segmentation_network import SegmentationNetwork


@dataclass(frozen=True)
class Footprint:
    """Bytes of a network and its training.

    Attributes:
        parameters: Of the weights; as much again for gradients, and twice for AdamW.
        kept: What the forward pass keeps for the backward pass.
        peak: The most that is alive at once in an update, all of the above included.
    """

    parameters: int
    kept: int
    peak: int


def update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype,
) -> None:
    """One step of cross-entropy at the network's stride, in the order of `rss_agents.train`."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = network(images)
    loss = F.cross_entropy(logits.float(), labels)
    del logits
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def batch(network: SegmentationNetwork, images: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """Black images, and labels of class 0 at the stride of the network."""
    stride = network.stride
    labels = torch.zeros(images, size[0] // stride, size[1] // stride, dtype=torch.int64)
    return [torch.zeros(images, *size, 3, dtype=torch.uint8), labels]


def kept_for_backward(
    network: SegmentationNetwork, images: int, size: tuple[int, int], dtype: torch.dtype
) -> int:
    """Bytes that a forward pass on CUDA keeps, from the tensors that autograd saves."""
    # `torch.autocast` does nothing for CUDA where there is no GPU; these switches do.
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", dtype == torch.bfloat16)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            on_cuda = network.to_empty(device="cuda")
            own = {id_of(tensor) for tensor in [*on_cuda.parameters(), *on_cuda.buffers()]}
            saved: dict[int, torch.UntypedStorage] = {}

            def note(tensor: torch.Tensor) -> torch.Tensor:
                if id_of(tensor) not in own:
                    saved[id_of(tensor)] = tensor.untyped_storage()
                return tensor

            with saved_tensors_hooks(note, lambda tensor: tensor):
                on_cuda(torch.zeros(images, *size, 3, dtype=torch.uint8, device="cuda"))
            return sum(storage.nbytes() for storage in saved.values())
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()


def id_of(tensor: torch.Tensor) -> int:
    """What tells the memory of a tensor from that of others."""
    return tensor.untyped_storage()._cdata


def computed_peak(
    network: SegmentationNetwork, images: int, size: tuple[int, int], dtype: torch.dtype
) -> int:
    """The most bytes alive in the second update, from a ledger of the allocations."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        on_cpu = network.to_empty(device="cpu")
        optimizer = torch.optim.AdamW(on_cpu.parameters())
        data = batch(on_cpu, images, size)
        ledger = MemTracker()
        ledger.track_external(on_cpu, optimizer, *data)
        with ledger:
            for _ in range(2):  # the optimiser's state is there from the second on
                ledger.reset_mod_stats()
                update(on_cpu, optimizer, data[0], data[1], dtype)
    return sum(device["Total"] for device in ledger.get_tracker_snapshot("peak").values())


def footprint(
    name: str, classes: int, images: int, size: tuple[int, int], dtype: torch.dtype
) -> Footprint:
    """What a network takes to train, computed."""

    def network() -> SegmentationNetwork:
        return build_network(name, classes, size, device="meta")

    parameters = sum(tensor.nbytes for tensor in network().parameters())
    return Footprint(
        parameters,
        kept_for_backward(network(), images, size, dtype),
        computed_peak(network(), images, size, dtype),
    )
