"""The optimiser of a run: rates of its parts, the rise of the schedule, gradients of batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rss_agents import train
from rss_agents.training.config import TrainConfig
from rss_agents.training.optimisation import build_optimizer, update_once
from rss_agents.training.setup import open_run
from rss_env.errors import InputError

SMALL = TrainConfig(
    Path("nowhere"), algo="psl", network="tiny-unet-group", image_size=(16,), scales=(4,),
    num_images=2, group_size=2, updates=20,
)  # fmt: skip


def rates(config: TrainConfig) -> list[float]:
    """The learning rate of each update."""
    optimizer, schedule = build_optimizer(config, open_run(config).network)
    found = []
    for _ in range(config.updates):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def test_the_encoder_has_a_rate_of_its_own():
    config = replace(SMALL, network="unet/resnet18", image_size=(32,), encoder_rate=0.1)
    run = open_run(config)
    others, encoder = run.optimizer.param_groups
    assert {id(p) for p in encoder["params"]} == {
        id(p)
        for p in run.network.body.encoder.parameters()  # pyright: ignore
    }
    assert len(others["params"]) + len(encoder["params"]) == len(list(run.network.parameters()))
    for update in range(5):
        assert encoder["lr"] == pytest.approx(0.1 * others["lr"])
        assert run.update(update / 20)["learning_rate"] == pytest.approx(others["lr"])


def test_a_rate_of_0_leaves_the_encoder_as_it_is():
    run = open_run(replace(SMALL, encoder_rate=0.0))
    before = {name: value.clone() for name, value in run.network.body.named_parameters()}
    run.update(0.0)
    run.update(0.1)
    for name, value in run.network.body.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith("down.")


def test_a_network_without_an_encoder_is_named():
    network = "network_of_the_old_runs:build"
    config = replace(SMALL, network=network, encoder_rate=0.5)
    with pytest.raises(InputError, match=f"{network} has no part called encoder or backbone"):
        open_run(config)


@pytest.mark.parametrize("rise", [0, 1, 7, 19])
def test_the_rate_rises_for_so_many_updates(rise):
    found = rates(replace(SMALL, warm_up_updates=rise))
    assert found.index(max(found)) == rise
    assert max(found) == pytest.approx(SMALL.learning_rate, rel=0.02)


def test_batches_of_one_step_have_the_mean_of_their_gradients():
    run, single = (open_run(SMALL) for _ in range(2))
    gradients = []
    for _ in range(3):
        loss, _ = single.learner.loss()
        gradients.append(torch.autograd.grad(loss, list(single.network.parameters())))
    steps: list[list[torch.Tensor]] = []
    step = run.optimizer.step

    def note_and_step(*arguments, **options):
        found = [p.grad for p in run.network.parameters()]
        steps.append([grad for grad in found if grad is not None])
        return step(*arguments, **options)

    run.optimizer.step = note_and_step
    metrics = update_once(run.learner, run.optimizer, 0.0, batches=3)
    assert len(steps) == 1
    for value, parts in zip(steps[0], zip(*gradients, strict=True), strict=True):
        torch.testing.assert_close(value, torch.stack(parts).mean(0))
    assert 0 <= float(metrics["score"]) <= 1


def test_several_batches_of_ppo_take_its_steps_together():
    run = open_run(replace(SMALL, algo="ppo", accumulate=2))
    count = 0
    step = run.optimizer.step

    def count_and_step(*arguments, **options):
        nonlocal count
        count += 1
        return step(*arguments, **options)

    run.optimizer.step = count_and_step
    run.update(0.0)
    assert count == TrainConfig(Path("x")).baseline.epochs


@pytest.mark.usefixtures("one_thread")
def test_every_batch_s_scores_are_counted(tmp_path):
    small = "--updates 2 --num-images 2 --group-size 2 --image-size 8 --scales 4 --accumulate 3"
    config = ["--out", str(tmp_path / "run"), *small.split()]
    train.main(config)
    run = open_run(replace(SMALL, algo="rss", accumulate=3, queries=2 * 2 * 3, updates=4))
    assert [run.queries_before(update) for update in (0, 1, 4)] == [0, 12, 12]
    assert '"score_queries": 24' in (tmp_path / "run/result.json").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--accumulate 0", "accumulate must be at least 1, got 0"),
        ("--encoder-rate -1", "encoder_rate must be in 0..1e6, got -1"),
        ("--learning-rate 1e300", "learning_rate must be in 0..1e6, got 1e+300"),
        ("--warm-up-updates 600", "warm_up_updates must be in 0..599, fewer than the updates"),
        ("--algo sb3-ppo --accumulate 2", "sb3-ppo is trained by Stable-Baselines3, without accum"),
    ],
)
def test_what_makes_no_step_is_refused(options, words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["--out", str(tmp_path / "run"), *options.split()])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("one_thread")
def test_the_short_name_of_the_learning_rate(tmp_path):
    small = "--updates 1 --num-images 2 --group-size 2 --image-size 8 --scales 4 --lr 0.25"
    train.main(["--out", str(tmp_path), *small.split()])
    assert '"learning_rate": 0.25' in (tmp_path / "config.json").read_text()
