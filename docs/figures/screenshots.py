"""Takes the pictures of the live page. `python docs/figures/screenshots.py`; needs Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figure_style import IMAGES
from playwright.sync_api import Page, sync_playwright

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def served(*command: str) -> Iterator[str]:
    """Run a command of the live page, and yield its address once it answers."""
    arguments = [sys.executable, "-m", *command, "--port", "0", "--no-browser"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(found[0], timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield found[0]
    finally:
        process.terminate()
        process.communicate()


def take(page: Page, url: str, wait_for: str, path: Path) -> None:
    """Open an address, wait for an element, and write what is seen."""
    page.goto(url)
    page.wait_for_selector(wait_for)
    page.wait_for_timeout(4000)
    page.screenshot(path=path)


def main() -> None:
    """Train for some minutes, and write `watch.png` and `rate.png`."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(QUIET)
        )
        runs = Path(folder) / "runs"
        for algo in ("psl", "rss"):
            command = [
                sys.executable,
                "-m",
                "rss_agents.train",
                "--algo",
                algo,
                "--eval-every",
                "25",
            ]
            command += ["--updates", "300", "--out", str(runs / algo)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        page = browser.new_page(viewport={"width": 1180, "height": 1240})
        with served("rss_agents.live.watch", str(runs / "rss"), str(runs / "psl")) as url:
            take(page, url, '[data-testid="overlay"] img', IMAGES / "watch.png")
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        start = ("--start-from", str(runs / "rss"), "--num-images", "1", "--group-size", "3")
        with served("rss_agents.live.rate", *start, "--out", str(runs / "rated")) as url:
            take(page, url, '[data-testid="map-3"]', IMAGES / "rate.png")
        browser.close()


if __name__ == "__main__":
    main()
