"""How long does an environment over image files take to open, and what memory do processes share?

    python -m benchmarks.opening

Writes images and labels in VOC layout, opens an environment over them without and with the cache,
each time in a fresh process, and then several at once. The time is that of `gym.make_vec`, without
the imports. Memory is the proportional share of each process (PSS, Linux), less what it held
before.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

import rss_env  # noqa: F401  (registers the ids)
from benchmarks.learning.report import machine


@dataclass
class OpeningConfig:
    """Time the opening of an environment over image files, and measure what processes share."""

    num_images: int = 1000
    """Images in the data set."""
    image_size: int = 256
    """Side of the images, in pixels."""
    processes: int = 4
    """Processes that open the data set at once, for the memory."""
    repeats: int = 5
    """Timed openings from the cache."""


def write_data(root: Path, config: OpeningConfig) -> None:
    """Blocky random images and labels in VOC layout."""
    folder, side = root / "VOCdevkit" / "VOC2012", config.image_size
    names = [f"{i:06d}" for i in range(config.num_images)]
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names))

    def write(index: int) -> None:
        blocks = np.random.default_rng(index).integers(0, 21, (8, 8), dtype=np.uint8)
        labels = Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)
        colours = Image.fromarray(np.stack([blocks * 12] * 3, -1))
        labels.save(folder / "SegmentationClass" / f"{names[index]}.png")
        colours.resize((side, side)).save(folder / "JPEGImages" / f"{names[index]}.jpg")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(config.num_images)))


def _share_of_memory() -> int:
    """Bytes of this process, pages that n processes hold counted as a share of 1/n."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _open(root: str, size: int, cache: str, barrier: Barrier, results: multiprocessing.Queue):
    os.environ["RSS_CACHE_DIR"] = cache
    gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=8, num_scenes=8)  # compiles what it needs
    before = _share_of_memory()
    start = time.perf_counter()
    env = gym.make_vec("RSS/VOC-ImageReward-v0", num_envs=8, root=root, image_size=size)
    seconds = time.perf_counter() - start
    env.reset(seed=0)
    for _ in range(200):  # brings what is mapped into memory
        env.step(env.action_space.sample())
    barrier.wait()  # everyone holds its environment
    share = _share_of_memory() - before
    barrier.wait()
    results.put((seconds, share))


def open_in_processes(root: Path, size: int, cache: Path | None, count: int) -> list[tuple]:
    """Seconds and bytes of each of so many fresh processes that open the data set at once."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    arguments = (str(root), size, "" if cache is None else str(cache), barrier, results)
    started = [context.Process(target=_open, args=arguments) for _ in range(count)]
    for process in started:
        process.start()
    found = [results.get(timeout=600) for _ in started]
    for process in started:
        process.join()
    return found


def measure(config: OpeningConfig) -> None:
    """Measure, and print a Markdown table."""
    print(f"{config.num_images} images of {config.image_size}x{config.image_size}, {machine()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        root, cache = Path(temporary) / "data", Path(temporary) / "cache"
        write_data(root, config)

        def seconds(cache: Path | None, repeats: int) -> str:
            times = [
                open_in_processes(root, config.image_size, cache, 1)[0][0] for _ in range(repeats)
            ]
            spread = f", {min(times):.2f} to {max(times):.2f}" if repeats > 1 else ""
            return f"{statistics.median(times):.2f} s{spread}"

        print("| opening | |\n|---|---|")
        print(f"| without a cache | {seconds(None, 2)} |")
        print(f"| the first time with one | {seconds(cache, 1)} |")
        print(f"| from the cache, median of {config.repeats} | {seconds(cache, config.repeats)} |")
        size = sum(path.stat().st_size for path in cache.glob("*.npy"))
        print(f"| size of the cache | {size / 2**20:.0f} MiB |")
        for name, where in (("without a cache", None), ("from the cache", cache)):
            found = open_in_processes(root, config.image_size, where, config.processes)
            total = sum(share for _, share in found) / 2**20
            print(f"| memory of {config.processes} processes, {name} | {total:.0f} MiB |")


if __name__ == "__main__":
    measure(tyro.cli(OpeningConfig))
