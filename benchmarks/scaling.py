"""What do two processes gain on a CPU, and what would many GPUs have to exchange?

    python -m benchmarks.scaling

Measures one and two gloo processes of one thread each on the same batches, in turn, and counts
what they exchange. Then works out, on paper, how many bytes each GPU would send in an update and
how long that takes at the least at the stated speeds of links: a computation, not a measurement.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import segmentation_models_pytorch as smp
import torch
import torch.distributed as dist
import tyro
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.networks.names import DEFAULT_NETWORK
from rss_agents.networks.tiny_unet import TinyUNet
from rss_agents.training.config import TrainConfig
from rss_agents.training.logging import versions
from rss_agents.training.optimisation import update_once
from rss_agents.training.processes import distribute
from rss_agents.training.setup import open_run

CLASSES = 21
GPUS_OF_A_NODE = 8
# In one direction, by GPU. Nominal figures of the makers' data sheets, not of a measurement.
NVLINK, NETWORK = 450e9, {"400 Gb/s a GPU": 50e9, "100 Gb/s a node": 100e9 / 8 / GPUS_OF_A_NODE}
HOP_LATENCY = 5e-6  # seconds that a message takes at the least; assumed
BIG_NETWORKS = (
    "deeplabv3plus/resnet50",
    "deeplabv3plus/resnet101",
    "upernet/resnet101",
    "upernet/tu-convnext_base",
)


@dataclass
class ScalingConfig:
    """Time one and two processes, and compute what many would exchange."""

    updates: int = 12
    """Timed updates in a round, after three to warm up."""
    rounds: int = 3
    """Rounds of each number of processes, in turn."""
    num_images: int = 16
    """Images per update, of all processes together."""
    only_compute: bool = False
    """Leave out the measurement."""


@dataclass
class Exchanges:
    """What a process has exchanged since it was last cleared.

    Attributes:
        gradients, statistics: Bytes handed to all-reduces of gradients, and to all others.
        calls: Number of the others.
        seconds: From the start of each exchange to its end, waiting for the other process included.
    """

    gradients: int = 0
    statistics: int = 0
    calls: int = 0
    seconds: float = 0.0

    def watch(self, network: DistributedDataParallel) -> None:
        """Count and time the all-reduces of a process from now on."""
        reduce = dist.all_reduce

        def counted(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            answer = reduce(tensor, *arguments, **options)
            self.seconds += time.perf_counter() - start
            self.statistics += tensor.nbytes
            self.calls += 1
            return answer

        def average(_, bucket):  # PyTorch checks annotations, and takes none in quotes
            start = time.perf_counter()
            buffer = bucket.buffer().div_(dist.get_world_size())
            self.gradients += buffer.nbytes
            work = reduce(buffer, async_op=True)
            assert work is not None

            def finish(future: torch.futures.Future[Any]) -> torch.Tensor:
                self.seconds += time.perf_counter() - start
                return future.value()[0]

            return work.get_future().then(finish)

        dist.all_reduce = counted
        network.register_comm_hook(None, average)


@dataclass
class Measured:
    """What the first of some processes measured."""

    seconds: list[float] = field(default_factory=list)
    exchanged: Exchanges = field(default_factory=Exchanges)
    buffers: int = 0


def _work(rank: int, processes: int, folder: str, train: TrainConfig, updates: int) -> None:
    """A process's part of a round."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    if processes > 1:
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=processes)
    run, measured = open_run(train), Measured()
    run.learner.network = network = distribute(run.network)
    if isinstance(network, DistributedDataParallel):
        measured.exchanged.watch(network)
        measured.buffers = sum(buffer.nbytes for buffer in run.network.buffers())
    for update in range(3 + updates):
        if update == 3:
            exchanged = measured.exchanged
            exchanged.gradients = exchanged.statistics = exchanged.calls = 0
            exchanged.seconds = 0.0
        start = time.perf_counter()
        update_once(run.learner, run.optimizer, update / (3 + updates))
        if update >= 3:
            measured.seconds.append(time.perf_counter() - start)
    if rank == 0:
        torch.save(vars(measured) | {"exchanged": vars(measured.exchanged)}, f"{folder}/measured")
    if processes > 1:
        dist.destroy_process_group()


def measure(processes: int, train: TrainConfig, updates: int) -> Measured:
    """One round of some processes."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (processes, folder, train, updates), nprocs=processes)
        saved = torch.load(f"{folder}/measured")
    return Measured(**saved | {"exchanged": Exchanges(**saved["exchanged"])})


def measure_all(config: ScalingConfig) -> None:
    """Print updates per second of one and of two processes, and what they exchange."""
    print(f"measured: {config.num_images} images an update, processes of one thread, gloo")
    print(
        f"{'':24}{'processes':>10}{'updates/s':>11}{'least':>8}{'most':>8}{'speed-up':>10}"
        f"{'exchanging':>12}{'gradients':>12}{'statistics':>22}{'buffers':>9}"
    )
    algorithms: list[tuple[Algorithm, RSSConfig]] = [
        ("psl", RSSConfig()),
        ("rss", RSSConfig()),
        ("rss", RSSConfig(objective="policy_gradient")),
    ]
    for algo, agent in algorithms:
        train = TrainConfig(Path("nowhere"), algo=algo, agent=agent, num_images=config.num_images)
        rounds: dict[int, list[Measured]] = {1: [], 2: []}
        for _ in range(config.rounds):
            for processes, done in rounds.items():
                done.append(measure(processes, train, config.updates))
        single = 1.0
        for processes, done in rounds.items():
            seconds = [second for part in done for second in part.seconds]
            rate = 1 / statistics.median(seconds)
            single = rate if processes == 1 else single
            exchanged, updates = done[-1].exchanged, config.updates
            share = sum(d.exchanged.seconds for d in done) / sum(seconds)
            each = f"{exchanged.statistics / updates:.0f} B in {exchanged.calls / updates:.0f}"
            print(
                f"{algo + ' ' + (agent.objective if algo == 'rss' else ''):24}{processes:10}"
                f"{rate:11.2f}{1 / max(seconds):8.2f}{1 / min(seconds):8.2f}{rate / single:10.2f}"
                f"{share:12.1%}{exchanged.gradients / updates:10,.0f} B{each:>22}"
                f"{done[-1].buffers:7} B"
            )
    print(
        "exchanging: share of the time from the start of an all-reduce to its end, which\n"
        "includes waiting for the other process; gradients, statistics: handed to all-reduces in\n"
        "an update, the statistics with the number of calls;\n"
        "buffers: broadcast before each forward pass"
    )


def count_parameters(name: str) -> int:
    """Parameters of a network; none is allocated."""
    with torch.device("meta"):
        if "/" not in name:
            network = TinyUNet(CLASSES)
        else:
            architecture, encoder = name.split("/")
            network = smp.create_model(architecture, encoder, encoder_weights=None, classes=CLASSES)
    return sum(parameter.numel() for parameter in network.parameters())


def sent_in_all_reduce(payload: float, members: int) -> float:
    """Bytes that each of some members sends to sum a payload: a ring's, which are the fewest.

    Source: Patarasuk and Yuan, Journal of Parallel and Distributed Computing, 2009.
    """
    return 2 * (members - 1) / members * payload


def compute_all() -> None:
    """Print, for large networks, what each GPU sends in an update, and how long at the least."""
    print(
        "\ncomputed, not measured: what a GPU sends of gradients in float32, summed within nodes\n"
        "of 8 GPUs and between nodes, an eighth by each GPU; the least times, of which the\n"
        f"backward pass can hide a part; NVLink {NVLINK / 1e9:.0f} GB/s a GPU and direction"
    )
    links = "".join(f"{name:>18}" for name in NETWORK)
    print(
        f"{'':28}{'parameters':>12}{'nodes':>7}{'in the node':>14}{'between':>12}"
        f"{'NVLink':>10}{links}"
    )
    for name in (DEFAULT_NETWORK, *BIG_NETWORKS):
        parameters = count_parameters(name)
        payload = 4.0 * parameters
        for nodes in (1, 64):
            within = sent_in_all_reduce(payload, GPUS_OF_A_NODE)
            between = sent_in_all_reduce(payload / GPUS_OF_A_NODE, nodes)
            times = [
                f"{1e3 * (within / NVLINK + between / speed):15.2f} ms"
                for speed in NETWORK.values()
            ]
            print(
                f"{name:28}{parameters / 1e6:10.2f} M{nodes:7}{within / 1e6:11.1f} MB"
                f"{between / 1e6:9.1f} MB{1e3 * within / NVLINK:7.2f} ms"
                + "".join(times if nodes > 1 else [])
            )
    for nodes in (1, 64):
        hops = 2 * (nodes * GPUS_OF_A_NODE - 1).bit_length()
        print(
            f"a sum of a few statistics over {nodes * GPUS_OF_A_NODE} GPUs: {hops} hops of a tree, "
            f"{1e6 * hops * HOP_LATENCY:.0f} us at {1e6 * HOP_LATENCY:.0f} us a hop (assumed)"
        )


def main() -> None:
    """Measure, compute and print."""
    config = tyro.cli(ScalingConfig)
    if not config.only_compute:
        measure_all(config)
    compute_all()
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"\n{platform.machine()}, {os.cpu_count()} cores; {known}")


if __name__ == "__main__":
    main()
