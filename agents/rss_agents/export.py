"""Take a trained network elsewhere: `rss-export`.

Weights go back to the libraries their networks come from, as plain state dicts under the library's
own names: an encoder into timm or `segmentation_models_pytorch.encoders.get_encoder`, a whole
network into `segmentation_models_pytorch.create_model`. And any network is written as a program, in
ONNX or of `torch.export` (see `rss_agents.networks.programs`). Neither needs rss-env to be loaded.

Beside each file lies its SHA-256 in `FILE.sha256`, which `sha256sum --check` reads: what loads
these files elsewhere looks for no damage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rss_agents.command_line import run_command
from rss_agents.extras import installed_version
from rss_agents.files import write_bytes, write_tensors
from rss_agents.folder_lock import locked_folder
from rss_agents.option_types import check_types
from rss_agents.outputs import check_folder, check_names, writing
from rss_agents.training.run_files import run_above
from rss_env.digests import file_digest
from rss_env.errors import InputError

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    import torch

    from rss_agents.networks.checkpoint import NetworkDescription
    from rss_agents.networks.segmentation_network import SegmentationNetwork


@dataclass
class ExportConfig:
    """Write a trained network as files that load without this package.

    Its weights as safetensors for segmentation-models-pytorch and timm; or all of it as a program.
    """

    checkpoint: Path
    """Folder that rss-train wrote."""
    encoder: Path | None = None
    """New file for the weights of the encoder."""
    network: Path | None = None
    """New file for the weights of the whole network."""
    onnx: Path | None = None
    """New file for the network as a program in ONNX (needs rss-env[onnx])."""
    program: Path | None = None
    """New file for the network as a program that torch.export.load reads, NAME.pt2."""
    own_network: str | None = None
    """module:function that built the network of the checkpoint, if it is one of your own."""


def _about(network: SegmentationNetwork, library: str, **facts: Any) -> dict[str, Any]:
    """The description of weights: their library, facts, and `mean` and `std` of the inputs."""
    mean, std = (
        [round(value, 6) for value in values.flatten().tolist()]
        for values in (network.mean, network.std)
    )
    return {
        "library": library,
        "version": installed_version(library),
        **facts,
        "mean": mean,
        "std": std,
    }


def encoder_weights(
    network: SegmentationNetwork, description: NetworkDescription
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The encoder's state dict under its library's names, and what to load it into.

    The network must be of segmentation-models-pytorch.

    Returns:
        The tensors. And `library` (`timm` for `tu-` encoders, whose names are those of a model of
        `features_only=True`), its `version`, the `model`'s name there, the `output_stride` the
        encoder had, and `mean` and `std` of its inputs.
    """
    from segmentation_models_pytorch.encoders.timm_universal import TimmUniversalEncoder

    from rss_agents.networks.build import split_name

    body: Any = network.body
    encoder = body.encoder
    library, model = "segmentation-models-pytorch", split_name(description.network)[1]
    weights = encoder.state_dict()
    if isinstance(encoder, TimmUniversalEncoder):
        library, model, weights = "timm", encoder.name, encoder.model.state_dict()
    return weights, _about(network, library, model=model, output_stride=encoder.output_stride)


def network_weights(
    network: SegmentationNetwork, description: NetworkDescription
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The network's state dict under its library's names, and what to load it into.

    The network must be of segmentation-models-pytorch.

    Returns:
        The tensors. And `library`, its `version`, the arguments of `create_model` (`arch`,
        `encoder_name`, `classes`), `class_names`, `image_size`, and `mean` and `std` of the inputs.
    """
    from rss_agents.networks.build import split_name

    architecture, encoder, _ = split_name(description.network)
    return network.body.state_dict(), _about(
        network,
        "segmentation-models-pytorch",
        arch=architecture.lower(),
        encoder_name=encoder,
        classes=len(description.class_names),
        class_names=description.class_names,
        image_size=description.image_size,
    )


def _asked(config: ExportConfig) -> dict[str, Path]:
    """The files that are asked for, by option; none of them, nor its digest, is there yet."""
    files = {name: getattr(config, name) for name in ("encoder", "network", "onnx", "program")}
    asked = {name: path for name, path in files.items() if path is not None}
    if not asked:
        valid = ", ".join(f"--{name} FILE" for name in files)
        raise InputError(f"nothing to export; give one or more of {valid}")
    meant: dict[Path, str] = {}
    for name, path in asked.items():
        check_names(_digest_file(path))
        check_folder(path.parent)
        for place in (path, _digest_file(path)):
            if os.path.lexists(place):
                raise InputError(f"{place} is there already; choose another name")
            first = meant.setdefault(place.resolve(), name)
            if first != name:
                raise InputError(f"--{first} and --{name} name the same file, {place}")
    return asked


def _digest_file(path: Path) -> Path:
    """Where the SHA-256 of a file is written."""
    return path.with_name(f"{path.name}.sha256")


def _write_digest(path: Path) -> None:
    """Write the SHA-256 of a file beside it, in the format of `sha256sum`."""
    line = os.fsencode(f"{file_digest(path).hex()} *{path.name}\n")
    write_bytes(_digest_file(path), line)


def export(config: ExportConfig) -> list[Path]:
    """Write what is asked for; returns the files, without the digests beside them.

    Each file's metadata has an entry `description`, a JSON object.

    Raises:
        InputError: If nothing is asked for, a file is there already, the checkpoint cannot be
            used, has no network of a library, or one that makes no program; or a file is to lie in
            a run that another process writes to. Nothing has been written then.
    """
    from rss_agents.networks.build import split_name
    from rss_agents.networks.checkpoint import load_checkpoint
    from rss_agents.networks.programs import (
        about_program,
        onnx_of,
        program_of,
        require_onnx,
        write_program,
    )

    check_types(config)
    asked = _asked(config)
    if "onnx" in asked:
        require_onnx()
    network, description = load_checkpoint(config.checkpoint, own_network=config.own_network)
    writers: dict[str, Callable[[Path], None]] = {}
    if asked.keys() & {"encoder", "network"}:
        if not split_name(description.network)[1]:
            raise InputError(
                f"{config.checkpoint} holds a {description.network}, which no library has; valid "
                "with --encoder and --network: networks named <architecture>/<encoder>"
            )
        for name, part in (("encoder", encoder_weights), ("network", network_weights)):
            weights, about = part(network, description)
            metadata = {"description": json.dumps(about)}
            writers[name] = partial(write_tensors, tensors=weights, metadata=metadata)
    if asked.keys() & {"onnx", "program"}:
        program, about = program_of(network, description), about_program(network, description)
        writers["program"] = partial(write_program, program=program, about=about)
        if "onnx" in asked:
            writers["onnx"] = partial(write_bytes, content=onnx_of(program, about))
    with ExitStack() as held:
        for run in {run for path in asked.values() if (run := run_above(path)) is not None}:
            held.enter_context(locked_folder(run))
        for name, path in asked.items():
            with writing(path):
                writers[name](path)
                _write_digest(path)
    return list(asked.values())


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-export`."""
    run_command("rss-export", ExportConfig, export, arguments)


if __name__ == "__main__":
    main()
