"""Trained networks as programs, which need neither this package nor the network's code.

A program takes uint8 images (B, H, W, 3) in RGB, of the size trained at and as many as one likes,
and gives (B, C, H, W) float32, whose largest is the answer: logits, or, after training on scores of
a known metric, what each class is worth there.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from rss_agents.extras import require
from rss_agents.files import write_bytes
from rss_agents.networks.checkpoint import NetworkDescription
from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_env.errors import InputError

_INPUT, _OUTPUT = "images", "values"
_DESCRIPTION = "description"
_ONNX_LIMIT = 2**31  # bytes of one file, which are a message of protobuf


class PixelValues(nn.Module):
    """Answers of a network for pixels, in evaluation mode, without a branch that data decide."""

    def __init__(self, network: SegmentationNetwork):
        """Wrap a trained network."""
        super().__init__()
        self.network = network.eval()
        self.decides = network.decide.has_observed

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits or worths (B, C, H, W) float32 of images (B, H, W, 3) uint8."""
        logits = upsample(self.network(images), images.shape[1:3])
        return self.network.decide.values(logits) if self.decides else logits


def program_of(network: SegmentationNetwork, description: NetworkDescription) -> ExportedProgram:
    """A trained network, on the CPU in float32, as a program of PyTorch for any number of images.

    Raises:
        InputError: If the network cannot be traced, as a network of one's own may be.
    """
    module = PixelValues(network)
    example = torch.zeros(2, *description.image_size, 3, dtype=torch.uint8)
    try:
        with torch.no_grad():
            program = torch.export.export(
                module, (example,), dynamic_shapes={_INPUT: {0: Dim("batch", min=1)}}
            )
    except Exception as error:  # of whatever the tracer and the network's own code raise
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"network {description.network!r} cannot be traced by torch.export: {reason:.300}"
        ) from error
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # it has the paths of this machine
    return program


def about_program(network: SegmentationNetwork, description: NetworkDescription) -> dict[str, Any]:
    """The description of a program's network, and `output`.

    `output` is `logits`, or `worths` if the largest is not always the most likely class.
    """
    output = "worths" if network.decide.has_observed else "logits"
    return {**asdict(description), "output": output}


def write_program(path: Path, program: ExportedProgram, about: dict[str, Any]) -> None:
    """Write a program for `torch.export.load`, its description in `description.json`.

    Raises:
        OSError: If it cannot be written.
    """
    content = io.BytesIO()  # torch's own writer ends the process where the disk is full
    torch.export.save(program, content, extra_files={f"{_DESCRIPTION}.json": json.dumps(about)})
    write_bytes(path, content.getvalue())


def require_onnx() -> None:
    """Make sure that what writes ONNX files is there.

    Raises:
        InputError: If it is not; the message says how to get it.
    """
    for package in ("onnx", "onnxscript"):
        require(package, package, "onnx")


def onnx_of(program: ExportedProgram, about: dict[str, Any]) -> bytes:
    """The content of an ONNX file, its description in the metadata `description`.

    Raises:
        InputError: If onnx is missing, or the network cannot be converted to it or held by it.
    """
    require_onnx()
    import onnx

    size = sum(value.nbytes for value in program.state_dict.values())
    if size >= _ONNX_LIMIT:
        raise InputError(f"a file of ONNX holds less than 2 GiB, the network has {size} bytes")
    try:
        converted: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_shapes={_INPUT: {0: "batch"}},
            verbose=False,
        )
    except Exception as error:  # of whatever the converter raises
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"network {about['network']!r} cannot be told in ONNX: {reason:.300}"
        ) from error
    model = converted.model_proto
    onnx.helper.set_model_props(model, {_DESCRIPTION: json.dumps(about)})
    return model.SerializeToString()
