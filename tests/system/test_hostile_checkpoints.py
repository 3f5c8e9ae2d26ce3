"""Checkpoints from anywhere: a network that works, or one clear error; never code that runs."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save, save_file

from fuzzing import Planted, fuzz, harmless, memory_limit, mutated, refused
from rss_agents import predict
from rss_agents.networks.build import build_network, split_name
from rss_agents.networks.checkpoint import (
    FILE_NAME,
    NetworkDescription,
    load_checkpoint,
    save_checkpoint,
)
from rss_env.datasets.base import voc_palette

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = ("ground", "tree", "house")
VALID: dict[str, Any] = {
    "network": "tiny-unet",
    "image_size": [16, 24],
    "class_names": list(CLASSES),
    "palette": voc_palette(3).tolist(),
}


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    with memory_limit():
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = build_network("tiny-unet", 3, (16, 24)).state_dict()
    folder = tmp_path_factory.mktemp("first")
    write(folder, weights, VALID)
    load(folder)  # imports what it needs, and so does this
    build_network("unet/resnet18", 2, (32, 32))
    return weights


@pytest.fixture
def run_folder(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def write(folder: Path, weights: dict[str, torch.Tensor], description: Any) -> None:
    text = description if isinstance(description, str) else json.dumps(description)
    save_file(weights, folder / FILE_NAME, {"description": text})


def load(folder: Path) -> None:
    """Load a checkpoint, and use it as `rss-predict` does."""
    network, description = load_checkpoint(folder)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8))
    classes = predict.predict(network, image, description.image_size)
    assert classes.shape == (9, 7)
    assert classes.max() < len(description.class_names) <= 255
    assert description.palette_array.shape == (len(description.class_names), 3)
    assert all(isinstance(name, str) for name in description.class_names)


def test_an_honest_checkpoint_is_loaded(run_folder, weights):
    write(run_folder, weights, VALID)
    load(run_folder)


NESTED = "[" * 100_000 + "]" * 100_000
DESCRIPTIONS = [
    "", "null", "[]", "3", NESTED, '{"network": ' + NESTED + "}", "9" * 5000, "NaN",
    json.dumps(VALID)[:-1], json.dumps(VALID).replace("16", "1" * 5000),
]  # fmt: skip
CHANGES = [
    {"network": "tiny"}, {"network": 5}, {"network": None}, {"network": ["tiny-unet"]},
    {"network": {}}, {"network": "tiny-unet\0"}, {"network": "x" * 100_000},
    {"network": "unet/resnet18@" + "9" * 5000},
    {"network": "tiny-unet-group"}, {"image_size": [2**62, 2**62]}, {"image_size": [10**6, 10**6]},
    {"image_size": [10**5, 10**5]}, {"image_size": [1, 2**40]}, {"image_size": [0, 16]},
    {"image_size": [-16, -16]}, {"image_size": "big"}, {"image_size": None},
    {"image_size": {"0": 16}}, {"image_size": [float("nan"), 16]}, {"class_names": []},
    {"class_names": ["a"] * 10**6}, {"class_names": ["a", "b"]}, {"class_names": None},
    {"class_names": 3}, {"palette": None}, {"palette": 7}, {"palette": [1, 2, 3]},
]  # fmt: skip
OTHER_KINDS = [
    {"image_size": []}, {"image_size": [16]}, {"image_size": [float("inf"), 16]},
    {"image_size": [16, 24, 3]}, {"image_size": [16.5, 24]}, {"image_size": ["16", "24"]},
    {"class_names": "abc"}, {"class_names": [1, 2, 3]},
    {"class_names": [{}, [], None]}, {"class_names": ["a", "a", "a"]}, {"palette": []},
    {"palette": [[0, 0, 0]]}, {"palette": [[0, 0, 256]] * 3}, {"palette": [[0, 0, -1]] * 3},
    {"palette": [[0.5, 0, 0]] * 3}, {"palette": [[0, 0]] * 3}, {"palette": ["red"] * 3},
    {"palette": [[0, 0, 0]] * 300}, {"palette": [[0, 0, [0]]] * 3},
]  # fmt: skip


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=lambda text: text[:12])
def test_broken_descriptions(run_folder, weights, tally, description):
    write(run_folder, weights, description)
    tally("checkpoints tried")
    with harmless():
        assert refused(partial(load_checkpoint, run_folder))


@pytest.mark.parametrize(
    "change",
    [*CHANGES, *OTHER_KINDS],
    ids=lambda change: str(change)[:40],
)
def test_descriptions_that_lie(run_folder, weights, tally, change):
    """Sizes of terabytes and fields of another type are refused when the file is loaded."""
    write(run_folder, weights, {**VALID, **change})
    tally("checkpoints tried")
    with harmless():
        assert refused(partial(load_checkpoint, run_folder))


def test_a_field_that_is_missing(run_folder, weights):
    for field in VALID:
        write(run_folder, weights, {key: value for key, value in VALID.items() if key != field})
        assert refused(partial(load_checkpoint, run_folder))


numbers = st.integers(-3, 40) | st.integers() | st.floats() | st.booleans()
json_values = st.recursive(
    st.none() | numbers | st.text(max_size=4) | st.sampled_from(CLASSES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def test_hostile_descriptions(run_folder, weights, tally):
    @fuzz(tally, "checkpoints tried", 80, st.sampled_from(sorted(VALID)), json_values)
    def _(field: str, value: Any) -> None:
        write(run_folder, weights, {**VALID, field: value})
        with harmless():
            refused(partial(load, run_folder))


def with_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(64)


def entry(**changes: Any) -> bytes:
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}
    return json.dumps({"__metadata__": {"description": json.dumps(VALID)}, "t": tensor}).encode()


HEADERS = [
    with_header(b"{}", 2**63), with_header(b"{}", 2**64 - 1), with_header(b"{}", 99_000_000),
    with_header(b"{" + b'"a":{' * 50_000), with_header(b"[" * 200_000), with_header(b""),
    with_header(b'{"__metadata__": {"description": 5}}'), with_header(b"\xff" * 30),
    *(with_header(entry(dtype=d)) for d in ("F8_E8M0", "F4", "C64", "F6_E2M3", "BOOL", "U128", "")),
    *(with_header(entry(shape=s)) for s in ([2**63], [2**32, 2**32], [-4], [0], [1] * 1000, "4")),
    *(
        with_header(entry(data_offsets=o))
        for o in ([0, 2**62], [16, 0], [-16, 0], [0, 17], [2**64 - 1, 15], [])
    ),
]  # fmt: skip


def test_hostile_files(run_folder, weights, tally):
    path, small = run_folder / FILE_NAME, {"t": torch.arange(4.0), "u": torch.ones(2, 2)}
    honest = save(dict(weights), {"description": json.dumps(VALID)})
    originals = [honest, honest, save(small, {"description": json.dumps(VALID)}), save(small)]
    files = mutated(originals) | st.sampled_from(HEADERS) | st.binary(max_size=200)

    @fuzz(tally, "checkpoints tried", 150, files)
    def _(content: bytes) -> None:
        path.unlink(missing_ok=True)  # tensors of the one before may be mapped
        path.write_bytes(content)
        with harmless():
            refused(partial(load, run_folder))


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch, old", "pickle in a tensor's place"])
def test_pickles_are_never_followed(run_folder, tmp_path, tally, kind):
    """The same content makes a file when it is unpickled: that is tried as well."""
    target, path = tmp_path / "planted", run_folder / FILE_NAME
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": Planted(target)}))
    elif kind.startswith("torch"):
        torch.save({"model": Planted(target)}, path, _use_new_zipfile_serialization=kind == "torch")
    else:
        content = pickle.dumps(Planted(target))
        stored = torch.tensor(list(content), dtype=torch.uint8)
        write(run_folder, {"body.head.weight": stored}, VALID)
    tally("checkpoints tried")
    with harmless():
        message = refused(partial(load_checkpoint, run_folder))
    assert message is not None
    assert "is not a checkpoint" in message
    assert not target.exists()
    if kind.startswith("torch"):
        torch.load(path.rename(tmp_path / "model.pt"), weights_only=False)
        assert target.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38, 0.0])
def test_extreme_weights(run_folder, weights, tally, value):
    """They predict a class that exists, or are refused."""
    extreme = {name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
               for name, tensor in weights.items()}  # fmt: skip
    write(run_folder, extreme, VALID)
    tally("checkpoints tried")
    refused(partial(load, run_folder))


def test_weights_of_another_type_or_shape(run_folder, weights, tally):
    dtypes = [torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]
    changes = [lambda t, d=dtype: t.to(d) for dtype in dtypes]
    changes += [
        lambda t: t[None].clone(),
        lambda t: t.flatten()[:0].clone(),
        lambda t: t[..., None],
    ]
    for change in changes:
        write(run_folder, {name: change(tensor) for name, tensor in weights.items()}, VALID)
        tally("checkpoints tried")
        refused(partial(load, run_folder))
    write(run_folder, {**weights, "body.extra": torch.ones(3)}, VALID)
    assert refused(partial(load, run_folder))


NAMES = [
    "unet/tu-hf_hub:someone/model", "unet/tu-hf-hub:someone/model", "unet/tu-local-dir:/tmp",
    "unet/tu-file:///etc/passwd", "unet/os:system", "os/system", "unet/../resnet18", "unet/",
    "unet/tu-", "__import__('os')/x", "unet/tu-https://example.com/a.pth", "unet/\0", "@4", "/",
    "os:system", "os:_exit@4", "antigravity:geohash", "this:d", "ctypes:string_at",
    "a:" + "b" * 10**5,
]  # fmt: skip


def test_names_of_networks_reach_nothing(run_folder, weights, tally):
    for name in NAMES:
        tally("checkpoints tried")
        write(run_folder, weights, {**VALID, "network": name})
        with harmless():
            message = refused(partial(load_checkpoint, run_folder))
        assert message is not None, name
        assert "network" in message
    assert not {"antigravity", "this"} & sys.modules.keys()  # named, and not even imported

    @fuzz(tally, "network names tried", 100, st.text(max_size=12) | st.text("@/49²", max_size=6))
    def _(name: str) -> None:
        refused(partial(split_name, name))


def test_predictions_stay_in_their_folder(run_folder, weights, tmp_path):
    """Links in the output folder are neither written through nor replaced."""
    write(run_folder, weights, VALID)
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    out.mkdir()
    for name in ("a", "b..", "c\n"):
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(images / f"{name}.png")
    (tmp_path / "precious").write_text("mine")
    for name in ("a.png", "a_overlay.png"):
        (out / name).symlink_to(tmp_path / "precious")
    command = ["--checkpoint", str(run_folder), "--images", str(images), "--out", str(out)]
    for overwrite in ([], ["--overwrite"]):
        with pytest.raises(SystemExit), harmless(out):
            predict.main([*command, *overwrite])
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "a_overlay.png"]
    for path in out.iterdir():
        assert path.is_symlink()
        path.unlink()
    with harmless(out):
        predict.main(command)
    assert len(list(out.iterdir())) == 6


def test_no_damage_goes_unnoticed(run_folder, tally):
    """What this version wrote is read as it was written, or not at all."""
    network = build_network("tiny-unet", 3, (16, 24))
    description = NetworkDescription.of("tiny-unet", (16, 24), CLASSES, voc_palette(3))
    save_checkpoint(run_folder, network, description)
    path = run_folder / FILE_NAME
    original, written = path.read_bytes(), network.state_dict()
    outcomes = {"as it was": 0, "damaged": 0, "refused": 0}

    @fuzz(tally, "checkpoints tried", 100, flipped(original) | mutated([original]))
    def _(content: bytes) -> None:
        path.unlink()  # tensors of the one before may be mapped
        path.write_bytes(content)
        found: list[Any] = []
        with harmless():
            message = refused(lambda: found.append(load_checkpoint(run_folder)))
        if message is not None:
            outcomes["damaged" if "is damaged" in message else "refused"] += 1
            return
        outcomes["as it was"] += 1
        ((loaded, about),) = found
        assert about == description
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, written[name])

    assert min(outcomes["damaged"], outcomes["refused"]) > 5, outcomes


def flipped(original: bytes) -> st.SearchStrategy[bytes]:
    """A file of which one bit is another."""

    def flip(bit: int) -> bytes:
        content = bytearray(original)
        content[bit // 8] ^= 1 << bit % 8
        return bytes(content)

    return st.integers(0, 8 * len(original) - 1).map(flip)


def test_description_of_a_real_network_is_what_is_checked(run_folder):
    network = build_network("tiny-unet", 3, (16, 24))
    description = NetworkDescription.of("tiny-unet", (16, 24), CLASSES, voc_palette(3))
    save_checkpoint(run_folder, network, description)
    assert load_checkpoint(run_folder)[1] == description
    load(run_folder)
