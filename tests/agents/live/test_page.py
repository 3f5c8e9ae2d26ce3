"""The live page in a real browser: a curve moves while a run trains, and maps are rated."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rss_agents.live.charts import COLOURS
from watched_runs import train_briefly, write_run

ROOT = Path(__file__).parents[3]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
SMALL = ("--image-size", "16", "--scales", "8", "--num-images", "1", "--group-size", "3")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture
def programs() -> Iterator:
    """Starts commands of the project, and ends them with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(module: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        environment.pop("PYTEST_CURRENT_TEST", None)  # NiceGUI serves tests in a way of its own
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.communicate(timeout=60)


def address(process: subprocess.Popen[str]) -> str:
    """Where a page is served, as its command says."""
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/", said)
    assert found, said
    return found[0]


def status_of(url: str, host: str) -> int | None:
    """What a server answers to who calls it by a name; None before it listens."""
    try:
        request = urllib.request.Request(url, headers={"Host": host})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def wait_for(url: str) -> None:
    """Wait until a page is served."""
    for _ in range(400):
        if status_of(url, "127.0.0.1") == 200:
            return
        time.sleep(0.25)
    pytest.fail(f"nothing is served at {url}")


@pytest.fixture
def page():
    """An empty page of the browser, which may ask this machine alone."""
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        opened = browser.new_page(viewport={"width": 1280, "height": 1600})
        opened.set_default_timeout(120_000)
        opened.on("request", lambda request: asked.append(request.url))
        yield opened
        browser.close()
    assert asked
    outside = [
        url for url in asked if not re.match(r"(http|ws)://127\.0\.0\.1:\d+/|data:|blob:", url)
    ]
    assert not outside, "the page asks other machines"


def show(page, process: subprocess.Popen[str]) -> None:
    """Open the page that a command serves."""
    url = address(process)
    wait_for(url)
    page.goto(url)


@contextlib.contextmanager
def held_once_it_scored(training: subprocess.Popen[str], out: Path) -> Iterator[None]:
    """Hold a training that has written some scores, and let it go on afterwards."""
    while (
        not (out / "metrics.jsonl").exists() or (out / "metrics.jsonl").read_text().count("\n") < 3
    ):
        assert training.poll() is None, "the training ended before it was held"
        time.sleep(0.02)
    training.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        training.send_signal(signal.SIGCONT)


def pixels(element) -> np.ndarray:
    """What an element looks like, (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


def share_of(colour: str, picture: np.ndarray) -> float:
    """Share of the pixels that are nearly of a colour."""
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return float((abs(picture.astype(int) - wanted).max(2) < 24).mean())


@needs_browser
def test_a_curve_moves_during_a_live_run(tmp_path, programs, page):
    out = tmp_path / "runs" / "a<b>run"
    out.parent.mkdir()
    training = programs(
        "rss_agents.train", *SMALL, "--updates", "400", "--eval-every", "20", "--out", str(out)
    )
    line = f'[data-testid="score"] path[stroke="{COLOURS[0]}"][fill="none"]'
    with held_once_it_scored(training, out):  # or it may be over before a browser is ready
        show(
            page, programs("rss_agents.live.watch", str(out.parent), "--port", "0", "--no-browser")
        )
        page.wait_for_selector(line, state="attached")
        at_first = page.locator(line).first.get_attribute("d")
    page.wait_for_function(
        "([line, before]) => document.querySelector(line)?.getAttribute('d') != before",
        arg=[line, at_first],
    )
    assert page.get_by_test_id("problem").inner_text() == ""
    assert training.wait(240) == 0
    standing = page.get_by_test_id("standing")
    page.wait_for_function(
        "() => document.querySelector('[data-testid=standing]').innerText.startsWith('complete')"
    )
    assert re.match(r"complete: 400 of 400 updates, [\d.]+ updates/s, \d+", standing.inner_text())
    result = json.loads((out / "result.json").read_text())
    validation = json.loads((out / "validation.json").read_text())
    assert validation["miou"] == result["miou"]
    names = page.get_by_test_id("classes").inner_text()
    assert all(name in names for name, v in validation["class_iou"].items() if v is not None)
    assert "a<b>run" in page.get_by_test_id("score").inner_text()  # as text, not as an element
    assert "8x8" in page.get_by_test_id("spread").inner_text()
    for chart in ("miou", "score"):
        assert share_of(COLOURS[0], pixels(page.get_by_test_id(chart))) > 0.0005, chart
    page.wait_for_function(
        "() => document.querySelector('[data-testid=overlay] img')?.naturalWidth > 0"
    )
    shown, drawn = pixels(page.get_by_test_id("overlay")), Image.open(out / "overlay.png")
    assert shown.shape[0] / shown.shape[1] == pytest.approx(drawn.height / drawn.width, rel=0.02)
    likeness = np.corrcoef(
        np.asarray(drawn.convert("L").resize((48, 96)), float).ravel(),
        np.asarray(Image.fromarray(shown).convert("L").resize((48, 96)), float).ravel(),
    )
    assert likeness[0, 1] > 0.9
    page.get_by_text("score queries", exact=True).click()
    page.wait_for_function(
        "() => document.querySelector('[data-testid=miou]').innerText.includes('score queries')"
    )


@needs_browser
def test_the_page_opens_on_the_run_that_goes_on(tmp_path, programs, page):
    train_briefly(tmp_path / "runs/a")
    for number in range(17):
        shutil.copytree(tmp_path / "runs/a", tmp_path / f"runs/b{number}")
    progress = json.loads((tmp_path / "runs/a/progress.json").read_text())
    (tmp_path / "runs/b5/progress.json").write_text(json.dumps({**progress, "state": "running"}))
    (tmp_path / "runs/b7/progress.json").touch()
    folder = str(tmp_path / "runs")
    show(page, programs("rss_agents.live.watch", folder, "--port", "0", "--no-browser"))
    page.wait_for_function(
        "() => document.querySelector('[data-testid=standing]').innerText.startsWith('running')"
    )
    assert page.get_by_test_id("run").locator("input").input_value() == "b5"
    names = page.get_by_test_id("miou").inner_text()
    assert all(f"b{number}" in names for number in range(17))


@needs_browser
def test_three_maps_are_rated_and_the_ratings_are_on_the_disk(tmp_path, programs, page):
    out = tmp_path / "run"
    rating = programs(
        *("rss_agents.live.rate", *SMALL, "--updates", "2", "--eval-every", "1"),
        *("--out", str(out), "--port", "0", "--no-browser"),
    )
    show(page, rating)
    page.wait_for_selector('[data-testid="standing"]')
    assert page.get_by_test_id("problem").inner_text() == ""  # the folder is yet to be made
    page.wait_for_selector('[data-testid="map-3"]')
    first = page.get_by_test_id("map-1")
    assert "not rated" in first.inner_text()
    assert first.locator(".q-rating__icon").all_inner_texts() == ["star_border"] * 5
    file = out / "ratings" / "ratings.jsonl"
    button = page.get_by_test_id("next")
    assert button.is_disabled()
    for number, stars in enumerate((2, 5), 1):
        shown = page.get_by_test_id(f"map-{number}")
        shown.locator(".q-rating__icon-container").nth(stars - 1).click()
    assert not file.exists()
    page.get_by_label("map 3: no star").click()
    page.wait_for_function(
        "() => !document.querySelector('[data-testid=next]').hasAttribute('disabled')"
    )
    button.click()
    page.wait_for_function(
        "() => document.querySelector('[data-testid=ratings]').innerText.includes('3 ratings')"
    )
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["stars"] for row in rows] == [2, 5, 0]
    assert len({row["action_map"] for row in rows}) == 3
    assert len({row["image"] for row in rows}) == 1
    assert (out / "ratings/questions" / f"{rows[0]['question']}.safetensors").is_file()
    page.wait_for_selector('[data-testid="map-1"]')  # the agent has learned, and asks again
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    scored = next(row for row in logged if row["update"] == 1)
    assert scored["score"] == pytest.approx((2 + 5 + 0) / 15)
    assert rating.poll() is None


def test_an_error_of_the_training_ends_the_command(tmp_path, programs):
    pytest.importorskip("nicegui")
    arguments = ("--out", str(tmp_path / "run"), "--env", "RSS/Folder-ImageReward-v0")
    rating = programs("rss_agents.live.rate", *arguments, "--port", "0", "--no-browser")
    said = rating.communicate(timeout=120)[1]
    assert rating.returncode == 2
    assert "rss-rate: error: Folder needs" in said
    assert not (tmp_path / "run").exists()


def test_other_names_of_this_machine_are_refused(tmp_path, programs):
    pytest.importorskip("nicegui")
    url = address(programs("rss_agents.live.watch", str(tmp_path), "--port", "0", "--no-browser"))
    wait_for(url)
    assert status_of(url, "somewhere.example") == 400


def test_folders_from_anybody_are_shown_as_far_as_they_can_be(tmp_path, programs):
    """Pipes, links, damage: named on the page, which shows the other runs and ends when asked."""
    pytest.importorskip("nicegui")
    runs, secret = tmp_path / "runs", tmp_path / "secret"
    secret.write_text("the secret")
    write_run(runs / "e-good")
    for name in ("a-pipe", "b-link", "c-line", "d-config"):
        shutil.copytree(runs / "e-good", runs / name)
    (runs / "config.json").write_text('{"architectures": ["Bert"]}')
    (runs / "a-pipe/metrics.jsonl").unlink()
    os.mkfifo(runs / "a-pipe/metrics.jsonl")
    for name in ("overlay.png", "progress.json"):
        (runs / "b-link" / name).unlink()
        (runs / "b-link" / name).symlink_to(secret)
    (runs / "c-line/metrics.jsonl").write_text("nonsense\n")
    (runs / "d-config/config.json").write_text("{")
    watching = programs("rss_agents.live.watch", str(runs), "--port", "0", "--no-browser")
    url = address(watching)
    wait_for(url)
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    for said in (
        *("a-pipe/metrics.jsonl", "b-link/progress.json", "it is a link", "it is no regular file"),
        *("c-line/metrics.jsonl, line 1", "d-config/config.json does not hold options"),
    ):
        assert said in text, said
    assert 'e-good"' in text  # the name of a curve
    for hidden in (b"the secret", b64encode(b"the secret")[:-4], str(secret).encode()):
        assert hidden.decode() not in text
    shutil.rmtree(runs)
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert "no run yet in" in answer.read().decode()
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(60) == 0


@needs_browser
def test_two_maps_are_compared_and_an_image_is_good_enough(tmp_path, programs, page):
    out = tmp_path / "run"
    options = ("--image-size", "16", "--scales", "8", "--num-images", "3", "--group-size", "2")
    rating = programs(
        *("rss_agents.live.rate", *options, "--feedback", "ranking", "--updates", "2"),
        *("--eval-every", "1", "--out", str(out), "--port", "0", "--no-browser"),
    )
    show(page, rating)
    file = out / "ratings" / "ratings.jsonl"
    stands = "document.querySelector('[data-testid=ratings]').innerText"
    page.wait_for_selector('[data-testid="better-2"]')
    assert page.get_by_test_id("ratings").inner_text().startswith("Which map is better? 3 image(s)")
    assert not page.get_by_test_id("next").is_visible()
    page.get_by_test_id("better-2").click()
    page.wait_for_function(f"() => {stands}.includes('2 image(s)')")
    page.get_by_test_id("alike").click()
    page.wait_for_function(f"() => {stands}.includes('1 image(s)')")
    page.get_by_test_id("good-enough").click()
    page.wait_for_function(f"() => !{stands}.includes('1 image(s)')")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["stars"] for row in rows] == [0, 1, 0, 0, 1]
    assert [row["out_of"] for row in rows] == [1] * 5
    assert [bool(row["action_map"]) for row in rows] == [True] * 4 + [False]
