"""A learned judge: fitted, checked on other images, asked, and doubtful where it should be."""

from __future__ import annotations

import copy
import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rss_agents import judge as command
from rss_agents import train
from rss_agents.quality.examples import Examples, read_examples
from rss_agents.quality.fitting import fit_judge
from rss_agents.quality.fitting_config import FittingConfig
from rss_agents.quality.learned_judge import FILE_NAME, JudgeScorer, LearnedJudge
from rss_agents.ratings.store import Question, RatingBook
from rss_env.errors import InputError
from training_runs import TINY

SIZE, CLASSES = 16, 3
QUICK = ["--steps", "30", "--members", "2", "--batch", "16"]


def scored_maps(images: int, maps: int, seed: int = 0) -> Examples:
    """Bright pixels are of class 2, dark ones of class 0; the score is the share that is right."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 2, (images, 4, 4), generator=generator)
    bright = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    noise = torch.randint(0, 60, (images, SIZE, SIZE, 3), generator=generator)
    shown = (bright[..., None] * 180 + noise).to(torch.uint8)
    truth = (bright * 2).to(torch.uint8).repeat_interleave(maps, 0)
    share = torch.rand(len(truth), 1, 1, generator=generator)
    wrong = torch.rand(truth.shape, generator=generator) < share
    drawn = torch.randint(0, CLASSES, truth.shape, generator=generator, dtype=torch.uint8)
    maps_drawn = torch.where(wrong, drawn, truth)
    scores = (maps_drawn == truth).float().mean((1, 2))
    return Examples(shown, torch.arange(images).repeat_interleave(maps), maps_drawn, scores)


@pytest.fixture(scope="module")
def fitted():
    torch.set_num_threads(1)
    return fit_judge(scored_maps(24, 12), CLASSES, FittingConfig(members=3, steps=250))


def test_a_judge_predicts_scores_of_images_it_has_not_seen(fitted):
    judge, report = fitted
    assert (report.maps, report.images, report.held_out_maps) == (288, 24, 60)
    other = scored_maps(10, 10, seed=9)
    scores, doubt = judge.judge(other.images[other.index], other.action_maps)
    error = (scores - other.scores).square().mean().sqrt()
    assert error < 0.5 * other.scores.std()
    assert abs(float((scores - other.scores).mean())) < 0.05
    assert float(torch.corrcoef(torch.stack([scores, other.scores]))[0, 1]) > 0.8
    assert report.correlation > 0.8
    assert report.rank_correlation > 0.8
    assert report.error < report.spread
    assert (doubt >= 0).all()
    assert float((doubt > judge.description.most_doubt).float().mean()) < 0.3


def test_what_it_has_not_seen_is_doubted_and_scored_lower(fitted):
    judge = copy.deepcopy(fitted[0])
    with torch.no_grad():  # one network takes class 1 for good, of which there is never much
        judge.networks[0].head.weight[0, -2] += 20
    strange = scored_maps(4, 1).images
    maps = torch.ones(4, 5, SIZE, SIZE, dtype=torch.uint8)
    score = JudgeScorer(judge)
    with pytest.warns(UserWarning, match=r"the judge has seen nothing like \d+% of the maps"):
        lowered = score(strange, maps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert score(strange, maps).equal(lowered)
    plain = JudgeScorer(judge, caution=0.0)
    with pytest.warns(UserWarning, match="nothing like"):
        assert (plain(strange, maps) >= lowered).all()
    known = scored_maps(6, 5, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = JudgeScorer(fitted[0])(known.images, known.action_maps.unflatten(0, (6, 5)))
    assert scores.shape == (6, 5)
    assert (scores >= 0).all()
    assert (scores <= 1).all()


def test_a_judge_is_read_as_it_was_written(fitted, tmp_path):
    judge, _ = fitted
    judge.save(tmp_path)
    other, examples = LearnedJudge.load(tmp_path), scored_maps(3, 2, seed=5)
    assert other.description == judge.description
    asked = (examples.images[examples.index], examples.action_maps)
    for ours, theirs in zip(judge.judge(*asked), other.judge(*asked), strict=True):
        assert ours.equal(theirs)
    with pytest.raises(InputError, match="has seen images of 16x16 pixels, not of 8x8"):
        other.judge(asked[0][:, :8, :8], asked[1][:, :8, :8])
    with pytest.raises(InputError, match="knows 3 classes, a map has class 7"):
        other.judge(asked[0], torch.full_like(asked[1], 7))


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b'{"a": 1}'])
def test_other_files_are_no_judge(content, tmp_path):
    with pytest.raises(InputError, match=r"no judge at .*; expected a folder that rss-judge fit"):
        LearnedJudge.load(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(InputError, match="is not a judge of rss-judge"):
        LearnedJudge.load(tmp_path)


def write_table(folder: Path, examples: Examples) -> Path:
    folder.mkdir(parents=True)
    rows = []
    for i, image in enumerate(examples.images):
        Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    for n, (i, drawn, score) in enumerate(
        zip(examples.index.tolist(), examples.action_maps, examples.scores.tolist(), strict=True)
    ):
        Image.fromarray(drawn.numpy()).save(folder / f"map{n}.png")
        rows.append((f"{i}.png", f"map{n}.png", score))
    with (folder / "scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "map", "score"), *rows])
    return folder / "scores.csv"


def write_ratings(folder: Path, examples: Examples, images: int, maps: int) -> None:
    book = RatingBook(folder)
    question = Question(
        examples.images.numpy(),
        examples.action_maps.unflatten(0, (images, maps)).numpy(),
        5,
        (),
        np.zeros((CLASSES, 3), np.uint8),
    )
    book.ask(question)
    stars = (examples.scores * 5).round().int().view(images, maps).tolist()
    book.add(question, {(g, k): stars[g][k] for g in range(images) for k in range(maps - 1)})
    book.close()


def test_tables_and_ratings_are_read_alike(tmp_path):
    examples = scored_maps(5, 4)
    table = write_table(tmp_path / "table", examples)
    found = read_examples([table], None)
    assert found.images.equal(examples.images)
    assert found.action_maps.equal(examples.action_maps)
    torch.testing.assert_close(found.scores, examples.scores)
    assert found.index.equal(examples.index)
    write_ratings(tmp_path / "ratings", examples, 5, 4)
    for source in (tmp_path / "ratings", tmp_path / "ratings/ratings.jsonl"):
        rated = read_examples([source], None)
        assert len(rated) == 5 * 3  # the last map of each image was not rated
        kept = torch.arange(20).view(5, 4)[:, :3].flatten()
        assert rated.action_maps.equal(examples.action_maps[kept])
        torch.testing.assert_close(rated.scores, (examples.scores[kept] * 5).round() / 5)
    both = read_examples([table, tmp_path / "ratings"], None)
    assert (len(both), len(both.images)) == (35, 5)


def test_fit_and_use(tmp_path, capsys):
    table = str(write_table(tmp_path / "table", scored_maps(8, 4)))
    fit = ["fit", table, "--classes", "3", "--out", str(tmp_path / "judge"), *QUICK]
    command.main(fit)
    report = json.loads(capsys.readouterr().out)
    assert report["maps"] == 32
    assert (
        json.loads((tmp_path / "judge/judge.json").read_text())["correlation"]
        == (report["correlation"])
    )
    with pytest.raises(SystemExit) as stop:
        command.main(fit)
    assert stop.value.code == 2
    assert "holds a judge already; give --overwrite" in capsys.readouterr().err
    command.main([*fit, "--overwrite"])
    capsys.readouterr()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name, message in (
        ("judge.json", "is there already and of no judge"),
        ("judge.safetensors", "is not a judge of rss-judge"),
    ):
        (foreign / name).write_text("mine")
        with pytest.raises(SystemExit):
            command.main([*fit, "--out", str(foreign), "--overwrite"])
        assert message in capsys.readouterr().err
        assert [path.read_text() for path in foreign.iterdir()] == ["mine"]
        (foreign / name).unlink()
    command.main(["use", str(tmp_path / "judge"), table])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 32
    assert all(0 <= line["score"] <= 1 and line["deviation"] >= 0 for line in lines)
    assert {line["unseen"] for line in lines} <= {True, False}


def test_a_judge_scores_a_training(tmp_path, folder_data):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 16, 16, 3), generator=generator).to(torch.uint8)
    maps = torch.randint(0, 3, (24, 16, 16), generator=generator).to(torch.uint8)
    scores = (maps == 2).float().mean((1, 2))
    examples = Examples(images, torch.arange(6).repeat_interleave(4), maps, scores)
    judge, _ = fit_judge(examples, 3, FittingConfig(members=2, steps=5))
    judge.save(tmp_path / "judge")
    data = ["--env", "RSS/Folder-ImageReward-v0", "--images", folder_data["images"]]
    options = [*TINY, *data, "--classes", folder_data["classes"], "--updates", "2"]
    (tmp_path / "val.txt").write_text("photo 0\n")
    options += ["--val-split", str(tmp_path / "val.txt"), "--out", str(tmp_path / "run")]
    train.main([*options, "--scorer", f"judge:{tmp_path / 'judge'}"])
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["miou"] is None
    assert result["best"]["by"] == "validation_score"
    assert 0 < result["best"]["value"] <= 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding):
    """A byte order mark, and an accent encoded otherwise than in the file's name."""
    write_table(tmp_path / "table", scored_maps(1, 1))
    (tmp_path / "table/0.png").rename(tmp_path / "table/e\u0301.png")
    table = tmp_path / "table/scores.csv"
    table.write_text("image,map,score\n\u00e9.png,map0.png,0.5\n", encoding=encoding)
    assert len(read_examples([table], None)) == 1


BAD_EXAMPLES = {
    "no table": ("nothing.csv", None, "there is no such file"),
    "no ratings": ("ratings", None, "there are no ratings at"),
    "columns": ("a.csv", "image,score\n", "needed: image, map, score"),
    "score": ("a.csv", "image,map,score\n0.png,map0.png,7\n", "line 2: score must be a number in"),
    "no score": ("a.csv", "image,map,score\n0.png,map0.png\n", "line 2: score must be a number in"),
    "no map": ("a.csv", "image,map,score\n0.png,no.png,0.5\n", "cannot read label"),
    "void": ("a.csv", "image,map,score\n0.png,void.png,0.5\n", "a map has no void pixels"),
    "empty": ("a.csv", "image,map,score\n", "there is no scored map in"),
    "few": ("a.csv", "image,map,score\n0.png,map0.png,0.5\n", "at least 4 images, got 1"),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_bad_examples_are_one_clear_error(name, tmp_path, capsys):
    write_table(tmp_path / "table", scored_maps(1, 1))
    file, content, message = BAD_EXAMPLES[name]
    void = np.full((SIZE, SIZE), 255, np.uint8)
    Image.fromarray(void).save(tmp_path / "table/void.png")
    if content is not None:
        (tmp_path / "table" / file).write_text(content)
    arguments = ["fit", str(tmp_path / "table" / file), "--classes", "3"]
    with pytest.raises(SystemExit) as stop:
        command.main([*arguments, "--out", str(tmp_path / "judge")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("rss-judge: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "judge").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 1}, "members must be at least 2"),
        ({"held_out": 1.0}, "held_out must be between 0 and 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fit_judge(scored_maps(4, 2), 3, FittingConfig(**changes))


def test_what_cannot_be_learned_is_refused():
    examples = scored_maps(5, 2)
    with pytest.raises(InputError, match="a map has class 2, there are 2 classes"):
        fit_judge(examples, 2, FittingConfig())
    alike = Examples(examples.images, examples.index, examples.action_maps, torch.full((10,), 0.25))
    with pytest.raises(InputError, match="all scores are 0.25: there is nothing to learn"):
        fit_judge(alike, 3, FittingConfig())
