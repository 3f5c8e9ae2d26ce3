"""Give trained weights back to the libraries their networks come from: `rss-export`.

The files hold plain state dicts under the library's own names, so that they load without rss-env:
an encoder into timm or `segmentation_models_pytorch.encoders.get_encoder`, a whole network into
`segmentation_models_pytorch.create_model`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from agents.checkpoint import NetworkDescription, load_checkpoint
from agents.command_line import run_command
from agents.files import write_tensors
from agents.policies import SegmentationNetwork, split_name
from rss_env.errors import InputError


@dataclass
class ExportConfig:
    """Write trained weights as safetensors that segmentation-models-pytorch and timm can load."""

    checkpoint: Path
    """Folder that rss-train wrote."""
    encoder: Path | None = None
    """New file for the weights of the encoder."""
    network: Path | None = None
    """New file for the weights of the whole network."""


def _inputs(network: SegmentationNetwork) -> dict[str, Any]:
    """What is subtracted from RGB in 0..1, and what the rest is divided by."""
    values = {"mean": network.mean, "std": network.std}
    return {name: [round(v, 6) for v in value.flatten().tolist()] for name, value in values.items()}


def encoder_weights(
    network: SegmentationNetwork, description: NetworkDescription
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The encoder's state dict under its library's names, and what to load it into.

    Args:
        network: Of segmentation-models-pytorch.
        description: Of the network.

    Returns:
        The tensors. And `library` (`timm` for `tu-` encoders, whose names are those of a model of
        `features_only=True`), its `version`, the `model`'s name there, the `output_stride` the
        encoder had, and `mean` and `std` of its inputs.
    """
    from segmentation_models_pytorch.encoders.timm_universal import TimmUniversalEncoder

    body: Any = network.body
    encoder = body.encoder
    library, model = "segmentation-models-pytorch", split_name(description.network)[1]
    weights = encoder.state_dict()
    if isinstance(encoder, TimmUniversalEncoder):
        library, model, weights = "timm", encoder.name, encoder.model.state_dict()
    return weights, {
        "library": library,
        "version": version(library),
        "model": model,
        "output_stride": encoder.output_stride,
        **_inputs(network),
    }


def network_weights(
    network: SegmentationNetwork, description: NetworkDescription
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The network's state dict under its library's names, and what to load it into.

    Args:
        network: Of segmentation-models-pytorch.
        description: Of the network.

    Returns:
        The tensors. And `library`, its `version`, the arguments of `create_model` (`arch`,
        `encoder_name`, `classes`), `class_names`, `image_size`, and `mean` and `std` of the inputs.
    """
    architecture, encoder, _ = split_name(description.network)
    library = "segmentation-models-pytorch"
    return network.body.state_dict(), {
        "library": library,
        "version": version(library),
        "arch": architecture.lower(),
        "encoder_name": encoder,
        "classes": len(description.class_names),
        "class_names": description.class_names,
        "image_size": description.image_size,
        **_inputs(network),
    }


def export(config: ExportConfig) -> list[Path]:
    """Write what is asked for; returns the files.

    Each file's metadata has one entry, `description`, a JSON object.

    Raises:
        InputError: If nothing is asked for, a file is there already, or the checkpoint cannot be
            used or has no network of a library. Nothing has been written then.
    """
    asked = [
        (path, part)
        for path, part in ((config.encoder, encoder_weights), (config.network, network_weights))
        if path is not None
    ]
    if not asked:
        raise InputError("nothing to export; give --encoder FILE, --network FILE or both")
    for path, _ in asked:
        if path.exists():
            raise InputError(f"{path} is there already; choose another name")
    if config.encoder == config.network:
        raise InputError(f"--encoder and --network name the same file, {config.encoder}")
    network, description = load_checkpoint(config.checkpoint)
    if not split_name(description.network)[1]:
        raise InputError(
            f"{config.checkpoint} holds a {description.network}, which no library has; valid: "
            "networks named <architecture>/<encoder>"
        )
    for path, part in asked:
        weights, about = part(network, description)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, weights, {"description": json.dumps(about)})
    return [path for path, _ in asked]


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-export`."""
    run_command("rss-export", ExportConfig, export, arguments)


if __name__ == "__main__":
    main()
