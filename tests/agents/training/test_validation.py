"""Validation: with few labels or none, before the first update, and when it ends a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.training.run_folder import RunFolder
from rss_env.feedback import ScoringContext
from rss_env.scenes import load_scenes
from training_runs import run, start, start_and_stop

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXTS: list[ScoringContext] = []
SHOWN: list[torch.Tensor] = []


def bright_trees(images, action_maps, context):
    """The share of bright pixels that are class 1, and of dark ones that are not."""
    CONTEXTS.append(context)
    SHOWN.append(images.clone())
    return agreement(images, action_maps)


def agreement(images, action_maps):
    bright = images.float().mean(3, keepdim=True).permute(0, 3, 1, 2) > 127
    return ((action_maps == 1) == bright).float().mean((2, 3))


def same_in_validation(images, action_maps, *, context):
    if context.is_validation:
        return torch.full(action_maps.shape[:2], 0.5)
    return (action_maps == 1).float().mean((2, 3))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


@pytest.fixture
def without_labels(folder_data) -> list[str]:
    """Options of a folder of five photographs without a label."""
    return [
        *("--env", "RSS/Folder-ImageReward-v0", "--images", folder_data["images"]),
        *("--classes", folder_data["classes"]),
    ]


SCORER = ("--scorer", "test_validation:bright_trees")


@pytest.fixture
def two_labels(tmp_path, folder_data) -> Path:
    """A folder of label files of two photographs alone."""
    labels = tmp_path / "two labels"
    labels.mkdir()
    for i in (3, 4):
        shutil.copy(Path(folder_data["labels"]) / f"photo {i}.png", labels)
    return labels


def test_images_without_labels_are_learned_from_and_a_few_with_labels_validate(
    tmp_path, without_labels, two_labels, folder_data, capsys
):
    (tmp_path / "val.txt").write_text("photo 3\nphoto 4\n")
    listed = ("--val-split", str(tmp_path / "val.txt"))
    first = run(tmp_path / "a", *without_labels, *SCORER, "--labels", str(two_labels), *listed)
    second = run(tmp_path / "b", *without_labels, *SCORER, "--val-labels", str(two_labels), *listed)
    apart = tmp_path / "validation photographs"
    apart.mkdir()
    for i in (3, 4):
        shutil.copy(Path(folder_data["images"]) / f"photo {i}.png", apart)
    folders = ("--val-images", str(apart), "--val-labels", str(two_labels))
    third = run(tmp_path / "c", *without_labels, *SCORER, *folders)
    assert 0 < first["miou"] == second["miou"] == third["miou"]
    assert first["best"]["by"] == "miou"
    assert first["validation_queries"] == 0
    with pytest.raises(SystemExit):
        run(tmp_path / "d", *without_labels, *SCORER, "--val-labels", str(two_labels))
    error = capsys.readouterr().err
    assert "Folder needs --val-split, a list file" in error
    assert "--val-images" in error
    assert not (tmp_path / "d").exists()


def test_folders_for_training_and_validation_need_no_list(tmp_path, folder_data, without_labels):
    labels = ("--labels", folder_data["labels"])
    result = run(tmp_path / "r", *without_labels, *labels, "--val-images", folder_data["images"])
    assert result["miou"] > 0


def test_without_labels_the_scorer_judges_the_answers(tmp_path, without_labels):
    result = run(tmp_path / "run", *without_labels, *SCORER)
    rows = rows_of(tmp_path / "run")
    assert [row["update"] for row in rows if "validation_score" in row] == [0, 2, 4]
    assert result["validation_queries"] == 3 * 5
    assert result["validation_score"] == rows[-1]["validation_score"]
    measured = {row["update"]: row["validation_score"] for row in (rows[2], rows[4])}
    best = max(measured, key=lambda update: measured[update])
    assert result["best"] == {
        "by": "validation_score", "value": measured[best], "update": best
    }  # fmt: skip
    network, description = load_checkpoint(tmp_path / "run/best.safetensors")
    images = [
        np.asarray(Image.open(path).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        for path in sorted(Path(without_labels[3]).glob("*.png"))
    ]
    shown = torch.from_numpy(np.stack(images))
    score = agreement(shown, network.predict(shown)[:, None]).mean()
    assert float(score) == pytest.approx(measured[best], abs=1e-6)
    assert description.class_names == ("ground", "tree", "house")


@pytest.mark.parametrize(
    ("options", "by", "asked"),
    [
        (("--val-scores", "2"), "validation_score", 3 * 2),
        (("--val-scores", "0"), "score", 0),
        (("--queries", "16"), "score", 0),
        (("--queries", "16", "--val-scores", "3"), "validation_score", 3 * 3),
    ],
)
def test_how_many_answers_are_judged_can_be_said(options, by, asked, tmp_path, without_labels):
    result = run(tmp_path / "run", *without_labels, *SCORER, *options)
    assert (result["best"]["by"], result["validation_queries"]) == (by, asked)


def test_answers_are_judged_by_a_scorer_alone(tmp_path, capsys):
    for options, message in (
        (("--val-scores", "4"), "val_scores are of a scorer that needs no person"),
        (("--val-scores", "-1"), "val_scores must be at least 0, got -1"),
        (("--patience", "0"), "patience must be at least 1, got 0"),
    ):
        with pytest.raises(SystemExit):
            run(tmp_path / "run", *options)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_ends_when_its_patience_does(tmp_path, without_labels):
    scorer = ("--scorer", "test_validation:same_in_validation", "--patience", "2")
    start(tmp_path / "run", *without_labels, *scorer, updates=20)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["updates"], result["stopped_early"]) == (6, True)
    assert result["best"] == {"by": "validation_score", "value": 0.5, "update": 2}
    assert json.loads((tmp_path / "run/progress.json").read_text())["state"] == "complete"
    assert not (tmp_path / "run/states").exists()


def test_patience_goes_on_with_a_run(tmp_path, monkeypatch, without_labels):
    scorer = ("--scorer", "test_validation:same_in_validation")
    options = (*without_labels, *scorer, "--patience", "2")
    start_and_stop(monkeypatch, tmp_path / "run", *options)
    train.main(["--resume", str(tmp_path / "run"), *scorer])
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["updates"], result["best"]["update"]) == (6, 2)
    assert result["validation_queries"] == 4 * 5  # at 0, 2, 4 and 6


def test_the_network_is_measured_before_it_learns_and_learns_the_same(tmp_path, monkeypatch):
    run(tmp_path / "with")
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "begin", lambda self: None)
        run(tmp_path / "without")
    weights, others = (load_file(tmp_path / r / "model.safetensors") for r in ("with", "without"))
    assert all(value.equal(others[name]) for name, value in weights.items())
    first, *rest = rows_of(tmp_path / "with")
    assert rest == rows_of(tmp_path / "without")
    assert (first["update"], first["score_queries"]) == (0, 0)
    assert 0 <= first["miou"] <= 1


def test_a_trained_start_may_stay_the_best(tmp_path):
    start(tmp_path / "first", "--algo", "psl", updates=12)
    spoil = ("--learning-rate", "10", "--algo", "psl", "--eval-every", "4")
    result = run(tmp_path / "second", *spoil, "--start-from", str(tmp_path / "first"))
    assert result["best"]["update"] == 0
    assert result["best"]["value"] == rows_of(tmp_path / "second")[0]["miou"] > result["miou"]
    weights = load_file(tmp_path / "second/best.safetensors")
    before = load_file(tmp_path / "first/model.safetensors")
    body = [name for name in weights if name.startswith("body.")]
    assert body
    assert all(weights[name].equal(before[name]) for name in body)


def test_a_scorer_may_ask_which_images_it_judges(tmp_path, without_labels, folder_data):
    CONTEXTS.clear()
    SHOWN.clear()
    run(tmp_path / "run", *without_labels, *SCORER)
    from rss_agents.command_line import DataConfig

    data = DataConfig("RSS/Folder-ImageReward-v0", images=folder_data["images"], classes="3")
    pixels = load_scenes(data.open(None), (16, 16)).images
    assert {c.scale for c in CONTEXTS if not c.is_validation} == {4, 1}
    assert {c.scale for c in CONTEXTS if c.is_validation} == {1}
    assert any(c.mirrored.any() for c in CONTEXTS)
    for context, images in zip(CONTEXTS, SHOWN, strict=True):
        expected = pixels[torch.from_numpy(context.index)]
        flip = torch.from_numpy(context.mirrored)[:, None, None, None]
        assert images.equal(torch.where(flip, expected.flip(2), expected))
        assert [Path(name).name for name in context.names] == [
            f"photo {number}.png" for number in context.index
        ]


def test_the_time_of_a_scorer_is_told(tmp_path, without_labels):
    result = run(tmp_path / "run", *without_labels, *SCORER)
    calls = 4 * 2 + 3  # updates and scales, and validations
    assert result["scorer_calls"] == calls
    assert 0 < result["scorer_seconds_per_call"] < 5
    progress = json.loads((tmp_path / "run/progress.json").read_text())
    assert progress["scorer_calls"] == calls
    assert not any("seconds" in name for row in rows_of(tmp_path / "run") for name in row)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    times = events.Scalars("scorer_seconds_per_call")
    assert [event.step for event in times] == [0, 1, 2, 3, 4]


def test_the_judge_of_an_environment_gives_its_context_too():
    import gymnasium as gym

    seen: list[ScoringContext] = []

    def scorer(images, action_maps, context):
        seen.append(context)
        return np.zeros(action_maps.shape[:2])

    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=4, group_size=2, scorer=scorer, image_size=16,
        scales=(8, 2), horizontal_flip=True,
    )  # fmt: skip
    env.reset(seed=0)
    index = env.unwrapped.image_index.tolist()  # type: ignore[attr-defined]
    env.step(env.action_space.sample())
    env.close()
    assert [context.scale for context in seen] == [8, 2]
    assert seen[0].names == tuple(map(str, index))
    assert seen[0].mirrored.dtype == np.bool_
