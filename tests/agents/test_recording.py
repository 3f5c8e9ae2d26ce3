"""`rss-data record`: what Minari gives back is what happened, with the probability it had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_sample
from safetensors.torch import load_file

from data_command import arguments_of, run
from rss_agents import interaction_writer
from rss_agents.command_line import DataConfig
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.recording import RecordConfig, record
from rss_env.errors import InputError

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("one_thread")

FOLDER, CLASSES = "RSS/Folder-ImageReward-v0", ("ground", "tree", "house")
SMALL = ["--image-size", "16", "--scales", "8", "4"]  # 4 cells and 16
EPISODES = 70  # more than are played at a time


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Minari's folder, empty."""
    folder = tmp_path / "minari"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network of the classes of `folder_data` that prefers one of them."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    network: Any = build_network("tiny-unet-silu", len(CLASSES), (16, 16)).eval()
    torch.nn.init.normal_(network.body.head.weight, std=300)
    with torch.no_grad():
        network.body.head.bias += torch.tensor([-1.0, 0.0, 6.0])
    colours = np.zeros((3, 3), np.uint8)
    description = NetworkDescription.of("tiny-unet-silu", (16, 16), CLASSES, colours)
    save_checkpoint(folder, network, description)
    return folder


def command(name: str, data: dict[str, str], *more: str) -> list[str]:
    return ["record", name, "--env", FOLDER, *arguments_of(data), *more]


def episodes_of(name: str) -> list[Any]:
    return list(minari.load_dataset(name).iterate_episodes())


def assert_same_episodes(first: list[Any], second: list[Any]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        assert one.infos.keys() == other.infos.keys()
        for key, values in one.infos.items():
            np.testing.assert_array_equal(values, other.infos[key])


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_recovered_environment_gives_every_episode_again(capsys, home, folder_data):
    name = "photos/uniform-v0"
    options = [*SMALL, "--episodes", str(EPISODES), "--seed", "5", "--feedback", "noisy:0.1"]
    code, output = run(capsys, *command(name, folder_data, *options))
    assert code == 0, output
    assert f"70 episodes of {FOLDER}: about 2 MB in {home / 'photos/uniform-v0'}" in output
    assert name in minari.list_local_datasets()
    loaded = minari.load_dataset(name)
    env = loaded.recover_environment()
    assert env.spec.id == FOLDER
    assert (env.spec.kwargs["scales"], env.spec.kwargs["feedback"]) == ([8, 4], "noisy:0.1")
    seeds = [m["seed"] for m in loaded.storage.get_episode_metadata(range(EPISODES))]
    assert seeds == list(range(5, 5 + EPISODES))
    episodes = episodes_of(name)
    for seed, episode in zip(seeds, episodes, strict=True):
        image, at_reset = env.reset(seed=seed)
        np.testing.assert_array_equal(episode.observations, [image, image])
        assert episode.infos["image_index"].tolist() == [at_reset["image_index"]] * 2
        (action,) = episode.actions
        assert env.action_space.contains(action.astype(np.int64))
        _, reward, terminated, truncated, told = env.step(action)
        assert (episode.rewards[0], terminated, truncated) == (reward, True, False)
        np.testing.assert_array_equal(episode.infos["scale_scores"][1], told["scale_scores"])
        assert np.isnan(episode.infos["scale_scores"][0]).all()
        by_scale = episode.infos["scale_log_propensities"]
        np.testing.assert_allclose(by_scale[1], [-4 * np.log(3), -16 * np.log(3)], rtol=1e-13)
        assert by_scale.dtype == np.float64
        assert episode.infos["log_propensity"][1] == by_scale[1].sum()
    assert {int(e.infos["image_index"][1]) for e in episodes} == set(range(5))
    drawn = np.stack([episode.actions[0] for episode in episodes])
    assert abs(np.bincount(drawn.ravel(), minlength=3) / drawn.size - 1 / 3).max() < 0.05
    size = sum(path.stat().st_size for path in (home / name).rglob("*") if path.is_file())
    assert 0.8 < size / (EPISODES * (31_000 + 2 * 768 + 20 + 2 * (4 * 22 + 8 * 4))) < 1.2


def test_an_episode_is_a_function_of_its_seed(home, folder_data):
    def recorded(name: str, episodes: int, seed: int) -> list[Any]:
        data = DataConfig(env=FOLDER, **folder_data)  # pyright: ignore[reportArgumentType]
        size: Any = {"image_size": (16,), "scales": (8, 4)}
        record(RecordConfig(name=name, data=data, episodes=episodes, seed=seed, **size))
        return episodes_of(name)

    all_of_them = recorded("all-v0", 70, 0)
    assert_same_episodes(recorded("again-v0", 70, 0), all_of_them)
    assert_same_episodes(recorded("few-v0", 3, 65), all_of_them[65:68])
    actions = np.stack([episode.actions[0] for episode in all_of_them])
    assert len(np.unique(actions, axis=0)) == 70


def test_propensities_of_a_network_are_those_it_draws_with(capsys, home, folder_data, checkpoint):
    options = ["--scales", "8", "4", "--policy", str(checkpoint), "--episodes", "400"]
    options += ["--temperature", "2", "--epsilon", "0.2"]
    code, output = run(capsys, *command("learned-v0", folder_data, *options))
    assert code == 0, output
    about = minari.load_dataset("learned-v0").storage.metadata["rss_env"]
    assert (about["policy"]["temperature"], about["policy"]["epsilon"]) == (2.0, 0.2)
    assert about["arguments"]["image_size"] == [16, 16]  # of the checkpoint
    network = build_network("tiny-unet-silu", 3, (16, 16)).eval()
    network.load_state_dict(load_file(checkpoint / "model.safetensors"))
    episodes = episodes_of("learned-v0")
    images = torch.from_numpy(np.stack([episode.observations[0] for episode in episodes]))
    with torch.no_grad():
        pixels = (network(images) / 2).softmax(1).double()
    cells = [torch.nn.functional.avg_pool2d(pixels, side).flatten(2) for side in (8, 4)]
    wanted = 0.8 * torch.cat(cells, 2).numpy() + 0.2 / 3  # (N, 3, 20)
    assert wanted.max() > 0.7
    assert wanted.std((0, 2)).min() > 0.005
    actions = np.stack([episode.actions[0] for episode in episodes])
    drawn = np.take_along_axis(wanted, actions[:, None], 1)[:, 0]
    told = np.stack([episode.infos["cell_log_propensities"][1] for episode in episodes])
    np.testing.assert_allclose(told, np.log(drawn), atol=1e-5)
    sums = [episode.infos["log_propensity"][1] for episode in episodes]
    np.testing.assert_allclose(sums, np.log(drawn).sum(1), atol=1e-5)
    for c in range(3):  # how often each class is drawn, within 4 deviations
        expected, variance = wanted[:, c].sum(), (wanted[:, c] * (1 - wanted[:, c])).sum()
        assert abs((actions == c).sum() - expected) < 4 * variance**0.5


def test_rewards_of_cells_are_recorded(home, folder_data):
    data = DataConfig(env="RSS/Folder-PixelReward-v0", **folder_data)
    size: Any = {"image_size": (16,), "scales": (4,)}
    record(RecordConfig(name="cells-v0", data=data, episodes=3, **size))
    env = minari.load_dataset("cells-v0").recover_environment()
    for seed, episode in enumerate(episodes_of("cells-v0")):
        env.reset(seed=seed)
        told = env.step(episode.actions[0])[4]
        np.testing.assert_array_equal(episode.infos["pixel_rewards"][1], told["pixel_rewards"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["no version"], "name must be an id of Minari"),
        (["../out-v0"], "name must be an id of Minari"),
        (["x-v0", "--env", "RSS/Shapes-Progressive-v0"], "unknown level of an episode of one step"),
        (["x-v0", "--feedback", "ranking"], "a recorded score has to stand by itself"),
        (["x-v0", "--temperature", "2"], "policy uniform takes no temperature"),
        (["x-v0", "--episodes", "0"], "episodes must be at least 1, got 0"),
        (["x-v0", "--seed", "-1"], "seed must be in 0.."),
        (["x-v0", "--policy", "RUN", "--epsilon", "1.5"], "epsilon must be in 0..1, got 1.5"),
        (["x-v0", "--policy", "RUN", "--temperature", "0"], "temperature must be positive"),
        (["x-v0", "--policy", "RUN"], "knows other classes, ground, tree, house, than the data"),
        (["x-v0", "--policy", "nowhere"], "no checkpoint at nowhere"),
        (["x-v0", "--image-size", "15"], "scales [8, 4, 2] do not divide the image size 15x15"),
    ],
)
def test_what_cannot_be_recorded_leaves_nothing(capsys, home, checkpoint, options, message):
    options = [str(checkpoint) if option == "RUN" else option for option in options]
    code, output = run(capsys, "record", *options)
    assert (code, message in output) == (2, True), output
    assert not home.exists() or not list(home.iterdir())


def test_without_minari_or_room_nothing_is_begun(capsys, home, monkeypatch):
    free = type("Usage", (), {"free": 10_000})
    with monkeypatch.context() as patch:
        patch.setattr(interaction_writer.shutil, "disk_usage", lambda path: free)
        code, output = run(capsys, "record", "x-v0", *SMALL)
    assert (code, "1,000 episodes take about 0.0 GB, and" in output) == (2, True), output
    assert not list(home.iterdir())
    monkeypatch.setitem(sys.modules, "minari", None)
    code, output = run(capsys, "record", "x-v0", *SMALL)
    assert (code, "pip install 'rss-env[minari]'" in output) == (2, True), output


def test_images_are_recorded_as_they_are(home):
    changes: list[dict[str, Any]]
    changes = [{"horizontal_flip": True}, {"crop_size": (8,)}, {"group_size": 2}]
    for change in changes:
        with pytest.raises(InputError, match=f"as they are, one map each: no {next(iter(change))}"):
            record(RecordConfig(name="x-v0", **change))


def test_only_what_it_wrote_is_replaced_and_only_if_it_is_told(capsys, home):
    new = ["record", "aa/b-v0", *SMALL, "--episodes", "2", "--seed", "1"]
    assert run(capsys, *new)[0] == 0
    before = episodes_of("aa/b-v0")
    code, output = run(capsys, *new)
    assert (code, "give --overwrite to replace it" in output) == (2, True), output
    assert_same_episodes(episodes_of("aa/b-v0"), before)
    code, output = run(capsys, *new, "--seed", "2", "--overwrite")
    assert code == 0, output
    after = episodes_of("aa/b-v0")
    assert_same_episodes(after[:1], before[1:])
    metadata = home / "aa/b-v0/data/metadata.json"
    said = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({k: v for k, v in said.items() if k != "rss_env"}))
    code, output = run(capsys, *new, "--overwrite")
    assert (code, "did not write it: it is never replaced" in output) == (2, True), output
    assert_same_episodes(episodes_of("aa/b-v0"), after)
    (home / "aa/link-v0").symlink_to(home / "aa/b-v0")
    code, output = run(capsys, "record", "aa/link-v0", *SMALL, "--overwrite")
    assert (code, "never replaced" in output) == (2, True), output
    expected = {"b-v0/data/main_data.hdf5", "b-v0/data/metadata.json", "namespace_metadata.json"}
    assert files_in(home / "aa") == expected


@pytest.mark.parametrize(("fault", "code"), [("KeyboardInterrupt()", 130), ("OSError(28, 'x')", 1)])
def test_a_recording_that_stops_leaves_what_was_there(
    capsys, home, folder_data, tmp_path, monkeypatch, fault, code
):
    (tmp_path / f"stops_{code}.py").write_text(
        "calls = []\n"
        "def score(images, maps):\n"
        "    calls.append(1)\n"
        f"    if len(calls) > 2: raise {fault}\n"
        "    return (maps == 2).float().mean((2, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = {"images": folder_data["images"], "classes": "3"}
    options = ["--image-size", "16", "--scales", "4", "--scorer", f"stops_{code}:score"]
    assert run(capsys, *command("s-v0", data, *options, "--episodes", "64"))[0] == 0
    before, names = episodes_of("s-v0"), files_in(home)
    options += ["--episodes", "200"]
    assert run(capsys, *command("s-v0", data, *options, "--overwrite"))[0] == code
    assert run(capsys, *command("other/s-v0", data, *options))[0] == code
    assert files_in(home) == names
    assert not (home / "other").exists()
    assert_same_episodes(episodes_of("s-v0"), before)


def test_what_was_killed_while_it_was_replaced_is_put_back(capsys, home):
    new = ["record", "k-v0", *SMALL, "--episodes", "2"]
    assert run(capsys, *new)[0] == 0
    before = episodes_of("k-v0")
    work = home / ".k-v0.tmp"
    (work / "data").mkdir(parents=True)
    (home / "k-v0/data").rename(work / "replaced")
    code, output = run(capsys, *new)
    assert (code, "give --overwrite" in output) == (2, True), output
    assert_same_episodes(episodes_of("k-v0"), before)
    assert run(capsys, *new, "--overwrite")[0] == 0


def test_a_data_set_of_ones_own_is_recovered_by_minari(home, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_photos.py").write_text(
        "from rss_env.datasets import Folder\n"
        "def photos(split=None):\n"
        f"    images, labels = {str(tmp_path / 'i')!r}, {str(tmp_path / 'l')!r}\n"
        "    return Folder(images=images, labels=labels, classes=2)\n"
    )
    write_sample(tmp_path / "i/a.png", tmp_path / "l/a.png", np.eye(16, dtype=np.uint8))
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--env", "own_photos:photos", "--image-size", "16", "--scales", "4"]
    code, output = run(capsys, "record", "own-v0", *options, "--episodes", "2")
    assert code == 0, output
    env = minari.load_dataset("own-v0").recover_environment()
    (first, _) = episodes_of("own-v0")
    env.reset(seed=0)
    assert env.step(first.actions[0])[1] == first.rewards[0]
