"""Data sets of interaction are read back as they were recorded, and nothing else is believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rss_agents.command_line import DataConfig
from rss_agents.recording import RecordConfig, record
from rss_env import DatasetError, InputError
from rss_env.interactions import load_interactions

minari = pytest.importorskip("minari")
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "photos/uniform-v0"


@pytest.fixture
def recorded(tmp_path, monkeypatch, folder_data) -> dict[str, str]:
    """A data set of 6 episodes, and a copy of the images and labels that it is of."""
    for kind in ("images", "labels"):
        shutil.copytree(folder_data[kind], tmp_path / kind)
    shutil.copy(folder_data["classes"], tmp_path / "classes.txt")
    monkeypatch.chdir(tmp_path)  # relative paths are not what is recorded
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    data = DataConfig(
        env="RSS/Folder-ImageReward-v0", images="images", labels="labels", classes="classes.txt"
    )
    record(RecordConfig(name=NAME, data=data, image_size=(16,), scales=(8, 4), episodes=6))
    monkeypatch.chdir(tmp_path.parent)
    return {k: str(tmp_path / n) for k, n in (("images", "images"), ("labels", "labels"))}


def test_arrays_are_those_of_the_episodes(recorded):
    found = load_interactions(NAME)
    episodes = list(minari.load_dataset(NAME).iterate_episodes())
    assert len(found) == len(episodes) == 6
    for number, episode in enumerate(episodes):
        index = torch.from_numpy(found.image_index[number : number + 1])
        (image,) = found.environment.images_of(index).numpy()
        np.testing.assert_array_equal(image, episode.observations[0])
        np.testing.assert_array_equal(found.actions[number], episode.actions[0])
        assert found.scores[number] == episode.rewards[0]
        np.testing.assert_array_equal(
            found.infos["scale_scores"][number], episode.infos["scale_scores"][1]
        )
    kinds = {
        "seeds": ((6,), np.int64),
        "image_index": ((6,), np.int64),
        "actions": ((6, 20), np.uint8),
        "scores": ((6,), np.float64),
        "log_propensities": ((6,), np.float64),
        "scale_log_propensities": ((6, 2), np.float64),
        "cell_log_propensities": ((6, 20), np.float32),
    }
    for name, (shape, dtype) in kinds.items():
        assert (getattr(found, name).shape, getattr(found, name).dtype) == (shape, dtype)
    np.testing.assert_allclose(found.log_propensities, -20 * np.log(3))
    image, told = found.environment.reset(seed=int(found.seeds[4]))
    assert told["image_index"] == found.image_index[4]
    assert found.environment.step(found.actions[4])[1] == found.scores[4]
    assert found.recording.policy == {"name": "uniform"}


def test_a_part_of_a_data_set_is_read_as_well(recorded):
    whole = load_interactions(NAME)
    first, second = minari.split_dataset(minari.load_dataset(NAME), [4, 2], seed=0)
    parts = [load_interactions(part) for part in (first, second)]
    assert [len(part) for part in parts] == [4, 2]
    seeds = np.concatenate([part.seeds for part in parts])
    assert sorted(seeds) == list(range(6))
    actions = np.concatenate([part.actions for part in parts])
    np.testing.assert_array_equal(actions, whole.actions[seeds])


def test_data_that_have_moved_are_named(recorded, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).rename(tmp_path / f"moved-{kind}")
    with pytest.raises(DatasetError, match=r"images folder .* does not exist"):
        load_interactions(NAME)
    moved = {kind: str(tmp_path / f"moved-{kind}") for kind in ("images", "labels")}
    assert len(load_interactions(NAME, **moved)) == 6
    with pytest.raises(InputError, match="unknown argument of load_interactions 'metric'; valid: "):
        load_interactions(NAME, metric="dice")


def test_other_data_are_refused(recorded):
    path = sorted(Path(recorded["labels"]).iterdir())[0]
    with Image.open(path) as picture:
        values, palette = np.array(picture), picture.getpalette()
    values[0, 0] = 1 if values[0, 0] == 0 else 0
    changed = Image.fromarray(values)
    changed.putpalette(palette or [])
    changed.save(path)
    with pytest.raises(DatasetError, match="was recorded with other data than there are now"):
        load_interactions(NAME)


def test_names_of_no_data_set_are_refused(recorded, tmp_path):
    with pytest.raises(DatasetError, match=rf"no data set 'photos/x-v0' of Minari .*: {NAME}"):
        load_interactions("photos/x-v0")
    metadata = tmp_path / "minari" / NAME / "data/metadata.json"
    metadata.write_text(metadata.read_text()[:-9])
    with pytest.raises(DatasetError, match="is damaged: its metadata cannot be read"):
        load_interactions(NAME)


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    said = json.loads((folder / "metadata.json").read_text())
    edit(said)
    (folder / "metadata.json").write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda said: said.pop("rss_env"), "no data set that rss-data record wrote"),
        (lambda said: said.pop("action_space"), "no data set that rss-data record wrote"),
        (lambda said: said["rss_env"].update(seed="1"), "damaged: its seed is '1'"),
        (lambda said: said["rss_env"].update(environment="CartPole-v1"), "unknown environment"),
        (lambda said: said["rss_env"]["arguments"].update(x=1), "argument 'x'"),
        (lambda said: said.update(minari_version="9.9"), "is damaged: The installed Minari"),
        (
            lambda said: said["rss_env"].update(environment="trap:Data"),
            "dataset 'trap:Data', which",
        ),
        (
            lambda said: said["rss_env"]["arguments"].update(scorer="trap:f"),
            "scorer 'trap:f', which",
        ),
    ],
)
def test_metadata_are_not_believed(recorded, tmp_path, monkeypatch, edit, message):
    """No code that a file names is run, however the file names it."""
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def with_trap(said: dict[str, Any]) -> None:
        spec = json.loads(said["env_spec"])
        said["env_spec"] = json.dumps(spec | {"entry_point": "trap:Env"})
        edit(said)

    change(tmp_path / "minari" / NAME / "data", with_trap)
    with pytest.raises(InputError, match=message):
        load_interactions(NAME)
    assert not (tmp_path / "ran").exists()


def test_a_scorer_is_read_with_if_the_caller_names_it(recorded, tmp_path, monkeypatch):
    (tmp_path / "house_scorer.py").write_text(
        "def score(images, maps):\n    return (maps == 2).float().mean((2, 3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = DataConfig(env="RSS/Folder-ImageReward-v0", images=recorded["images"], classes="3")
    options: dict[str, Any] = {"image_size": (16,), "scales": (4,), "episodes": 2}
    record(RecordConfig(name="s-v0", data=data, scorer="house_scorer:score", **options))
    with pytest.raises(InputError, match="is code and is not run on a file's word"):
        load_interactions("s-v0")
    found = load_interactions("s-v0", scorer="house_scorer:score")
    np.testing.assert_allclose(found.scores, (found.actions == 2).mean(1), atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("actions", 3, "no recording has such actions"),
        ("infos/image_index", 5, "no recording has such image_index"),
        ("infos/cell_log_propensities", 0.5, "no recording has such propensities"),
        ("infos/scale_log_propensities", np.nan, "no recording has such propensities"),
        ("rewards", np.inf, "no recording has such scores"),
        ("infos/image_index", None, "is damaged: 'image_index'"),
        ("actions", None, "is damaged"),
    ],
)
def test_damaged_episodes_are_refused(recorded, tmp_path, key, value, message):
    with h5py.File(tmp_path / "minari" / NAME / "data/main_data.hdf5", "r+") as file:
        if value is None:
            del file[f"episode_3/{key}"]
        else:
            file[f"episode_3/{key}"][...] = value
    with pytest.raises(DatasetError, match=message):
        load_interactions(NAME)


def test_a_torn_file_is_refused(recorded, tmp_path):
    path = tmp_path / "minari" / NAME / "data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match="is damaged"):
        load_interactions(NAME)
