"""Exported weights load into plain segmentation-models-pytorch and timm, with equal outputs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from rss_agents.export import ExportConfig, export, main
from rss_agents.files import read_tensors
from rss_agents.networks.names import LITE0
from rss_agents.networks.pretrained import packaged_weights
from rss_env.errors import InputError
from trained_networks import CLASSES, SIZE, trained

NETWORKS = ["deeplabv3plus/resnet18@4", "fpn/tu-convnext_atto@4"]


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8, generator=generator)


def about(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["description"])


def normalised(images: torch.Tensor, description: dict[str, Any]) -> torch.Tensor:
    """What a user of the file makes of images, by its description alone."""
    mean, std = (torch.tensor(description[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (images.permute(0, 3, 1, 2).float() / 255.0 - mean) / std


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_encoder_and_network_give_what_they_gave(name, images, tmp_path):
    with torch.enable_grad():
        network = trained(name, images, tmp_path / "run")
    files = ExportConfig(tmp_path / "run", tmp_path / "e.safetensors", tmp_path / "n.safetensors")
    assert files.encoder is not None
    assert files.network is not None
    export(files)

    description = about(files.encoder)
    inputs = normalised(images, description)
    expected = network.body.encoder(inputs)
    encoder_name, stride = name.partition("/")[2].partition("@")[0], description["output_stride"]
    encoder = smp.encoders.get_encoder(encoder_name, weights=None, output_stride=stride)
    if encoder_name.startswith("tu-"):
        assert (description["library"], f"tu-{description['model']}") == ("timm", encoder_name)
        encoder.model.load_state_dict(load_file(files.encoder))
        plain = timm.create_model(description["model"], features_only=True)
        plain.load_state_dict(load_file(files.encoder))
        features = plain.eval()(inputs)
        for own, found in zip(expected[-len(features) :], features, strict=True):
            assert torch.equal(own, found)
    else:
        assert description["library"] == "segmentation-models-pytorch"
        encoder.load_state_dict(load_file(files.encoder))
    for own, found in zip(expected, encoder.eval()(inputs), strict=True):
        assert torch.equal(own, found)

    description = about(files.network)
    assert description["class_names"] == list(CLASSES)
    arguments: dict[str, Any] = {
        key: description[key] for key in ("arch", "encoder_name", "classes")
    }
    if "@" in name:
        arguments["upsampling"] = 1  # to compare before anything is upsampled
    plain = smp.create_model(**arguments, encoder_weights=None)
    plain.load_state_dict(load_file(files.network))
    logits = plain.eval()(normalised(images, description))
    assert torch.equal(logits, network(images))


def test_weights_of_an_undilated_resnet_load_into_timm_too(images, tmp_path):
    network = trained("fpn/resnet18@4", images, tmp_path / "run")
    (file,) = export(ExportConfig(tmp_path / "run", tmp_path / "deep" / "encoder.safetensors"))
    plain = timm.create_model("resnet18", features_only=True)
    plain.load_state_dict(load_file(file))
    inputs = normalised(images, about(file))
    with torch.no_grad():
        expected, features = network.body.encoder(inputs)[1:], plain.eval()(inputs)
    for own, found in zip(expected, features, strict=True):
        assert torch.equal(own, found)


def test_an_encoder_from_packaged_weights(images, tmp_path):
    if packaged_weights() is None:
        pytest.skip("needs the extra rss-env[pretrained]")
    network = trained(f"unet/{LITE0}", images, tmp_path / "run", pretrained=True)
    (file,) = export(ExportConfig(tmp_path / "run", tmp_path / "encoder.safetensors"))
    assert about(file)["mean"] == [0.5, 0.5, 0.5]  # of these weights, not of most others
    plain = timm.create_model("tf_efficientnet_lite0", features_only=True)
    plain.load_state_dict(load_file(file))
    with torch.no_grad():
        inputs = normalised(images, about(file))
        assert torch.equal(plain.eval()(inputs)[-1], network.body.encoder(inputs)[-1])


def test_what_cannot_be_exported_is_refused_and_nothing_written(images, tmp_path, capsys):
    trained("tiny-unet", images, tmp_path / "tiny")
    trained("fpn/tu-mobilenetv3_small_050", images, tmp_path / "run")
    (tmp_path / "there").write_text("kept")
    new = tmp_path / "new.safetensors"
    cases = {
        "holds a tiny-unet, which no library has": ExportConfig(tmp_path / "tiny", new),
        "no checkpoint at": ExportConfig(tmp_path / "nowhere", new),
        "give one or more of --encoder FILE, .*, --program FILE": ExportConfig(tmp_path / "run"),
        "is there already": ExportConfig(tmp_path / "run", new, tmp_path / "there"),
        "name the same file": ExportConfig(tmp_path / "run", new, new),
        "name the same file, .*/run/../new": ExportConfig(
            tmp_path / "run", new, tmp_path / "run/../new.safetensors"
        ),
        "link is there already": ExportConfig(tmp_path / "run", tmp_path / "link"),
        "there is not a folder": ExportConfig(tmp_path / "run", tmp_path / "there/new"),
    }
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for message, config in cases.items():
        with pytest.raises(InputError, match=message):
            export(config)
    assert not new.exists()
    assert (tmp_path / "there").read_text() == "kept"
    with pytest.raises(SystemExit):
        main(["--checkpoint", str(tmp_path / "tiny"), "--encoder", str(new)])
    assert "rss-export: error:" in capsys.readouterr().err


def test_a_library_of_which_only_the_code_is_there_is_named_without_a_version(
    images, tmp_path, monkeypatch
):
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    trained("unet/resnet18", images, tmp_path / "run")
    monkeypatch.setattr(importlib.metadata, "version", missing)
    export(ExportConfig(tmp_path / "run", network=tmp_path / "network.safetensors"))
    assert about(tmp_path / "network.safetensors")["version"] == "not installed"


def test_a_digest_lies_beside_each_file(images, tmp_path):
    trained("fpn/resnet18@4", images, tmp_path / "run")
    out = tmp_path / "out"
    asked = ExportConfig(tmp_path / "run", out / "e.safetensors", program=out / "n.pt2")
    assert export(asked) == [out / "e.safetensors", out / "n.pt2"]
    for name in ("e.safetensors", "n.pt2"):
        digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert (out / f"{name}.sha256").read_text() == f"{digest} *{name}\n"
    assert set(read_tensors(out / "e.safetensors")[1]) == {"description"}  # by its own digest
    with safe_open(out / "e.safetensors", "pt") as file:
        assert "digest" in file.metadata()
    for file, message in (
        (out / "n.pt2.sha256", "n.pt2.sha256 is there already"),
        (out / "new.pt2", "new.pt2.sha256 is there already"),
    ):
        (out / "new.pt2.sha256").write_text("mine")
        with pytest.raises(InputError, match=message):
            export(ExportConfig(tmp_path / "run", encoder=file))
    assert (out / "new.pt2.sha256").read_text() == "mine"
    one, other = tmp_path / "a", tmp_path / "a.sha256"
    with pytest.raises(InputError, match="--encoder and --network name the same file, .*a.sha256"):
        export(ExportConfig(tmp_path / "run", one, other))
