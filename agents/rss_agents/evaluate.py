"""Measure trained networks on a split: `rss-eval`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from rss_agents.command_line import DataConfig, run_command
from rss_agents.networks.tile_config import TileConfig
from rss_agents.networks.views_config import ViewsConfig
from rss_agents.option_types import check_types
from rss_agents.outputs import refuse_inside, refuse_to_replace, write_marked_picture, writing
from rss_agents.training.resume import read_config, unnamed_code
from rss_agents.training.run_files import CONFIG_NAME
from rss_env.arguments import check_device
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.base import ByteArray
from rss_env.datasets.own import names_code
from rss_env.datasets.paths import expanded, is_file, is_folder
from rss_env.errors import InputError, check_value, warn_of

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    import torch

    from rss_agents.evaluation_report import Evaluation
    from rss_agents.networks.evaluation import Answers

PROGRAM = "rss-eval"


@dataclass
class EvalConfig:
    """Measure trained networks on a split: by default a run on its own validation images."""

    checkpoint: tuple[Path, ...]
    """Folders that rss-train wrote, or files of weights in them; several are compared."""
    data: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    split: str | None = "val"
    """Name of a split, or a list file. Without --env, data and split are by default those that the
    (first) run was validated on; with it, nothing is taken from the run."""
    full_resolution: bool = False
    """Compare at each label's own size instead of the size trained at."""
    windows: tyro.conf.OmitArgPrefixes[TileConfig] = field(default_factory=TileConfig)
    views: tyro.conf.OmitArgPrefixes[ViewsConfig] = field(default_factory=ViewsConfig)
    out: Path | None = None
    """Folder for pictures: the confusion matrix, and the images with the lowest mIoU."""
    worst: int = 8
    """With --out: how many of the worst images are shown."""
    overwrite: bool = False
    """Replace pictures in --out that rss-eval wrote before; no other file is ever replaced."""
    json: bool = False
    """Print a line of JSON for each checkpoint instead of tables."""
    own_network: str | None = None
    """module:function that built the network of the checkpoint, if it is one of your own."""
    device: str = "cpu"
    """Device to run on: cpu, cuda, cuda:1, ..."""


def own_data(checkpoint: Path) -> tuple[DataConfig, str | None]:
    """The data of the run that a checkpoint lies in, and the split it was validated on.

    Raises:
        InputError: If it lies in no run, or the run names no images for validation, or code for
            its data: that has to be named by the caller.
    """
    options = _options_beside(checkpoint)
    if not is_file(options):
        raise InputError(
            f"no run of rss-train at {checkpoint}: there is no {options} to say what to "
            "evaluate on; give --env and where its files lie"
        )
    from rss_agents.training.sources import validation_files

    config = read_config(options.parent)
    if names_code(config.data.dataset_name):
        raise unnamed_code(options, "env", config.data.env)
    return validation_files(config)


def _options_beside(checkpoint: Path) -> Path:
    """Where the options of the run lie that a checkpoint, or the folder of one, is of."""
    run = checkpoint if is_folder(checkpoint) else checkpoint.parent
    return run / CONFIG_NAME


def evaluate_checkpoints(config: EvalConfig) -> list[Evaluation]:
    """Measure every checkpoint on the same split.

    Raises:
        InputError: If a checkpoint, the data, the windows, the views or the device cannot be used,
            or a checkpoint has other classes than the data.
    """
    from rss_agents.evaluation_report import PICTURES

    check_types(config)
    config.windows.check()
    config.views.check()
    check_value(config.worst >= 1, "worst", "at least 1", config.worst)
    check_value(len(config.checkpoint) > 0, "checkpoint", "one or more", config.checkpoint)
    if config.windows.tiles and not config.full_resolution:
        raise InputError("--tiles looks at images as large as they are: give --full-resolution too")
    device = check_device(config.device)
    dataset = config.data.open(config.split)
    if not dataset.has_labels:
        raise InputError("the data has no labels to evaluate against; give --labels")
    if config.out is not None:
        refuse_inside("--out", config.out, config.data.folders(dataset))
        pictures = [_picture(config.out, n, what) for n in _names(config) for what in PICTURES]
        refuse_to_replace(PROGRAM, pictures, overwrite=config.overwrite)
    return [_evaluate(config, checkpoint, dataset, device) for checkpoint in config.checkpoint]


def _evaluate(
    config: EvalConfig, checkpoint: Path, dataset: SegmentationDataset, device: torch.device
) -> Evaluation:
    """Measure one checkpoint."""
    import torch

    from rss_agents.evaluation_report import Evaluation
    from rss_agents.networks.checkpoint import load_checkpoint
    from rss_agents.networks.class_order import class_order
    from rss_agents.networks.evaluation import (
        count_answers,
        full_resolution_answers,
        scene_answers,
    )
    from rss_agents.networks.views import SeveralViews
    from rss_env.scenes import SceneBatch, load_scenes

    network, description = load_checkpoint(checkpoint, device, config.own_network)
    order = class_order(description.class_names, dataset.class_names)
    if order is not None:
        warn_of(
            f"the classes of {checkpoint} have another order than the data's and are matched by "
            f"name: {', '.join(description.class_names)} against {', '.join(dataset.class_names)}"
        )
    size, resize = description.image_size, description.resize
    if config.views.several:
        network = SeveralViews(network, size, config.views)

    def in_order(answers: Answers) -> Answers:
        for maps, labels in answers:
            yield (maps if order is None else order.to(maps.device)[maps.long()].byte()), labels

    if config.full_resolution:

        def answers_of(indices: Iterable[int] | None = None) -> Answers:
            how = (device, config.windows, resize, indices)
            return in_order(full_resolution_answers(network, dataset, size, *how))

        def image_of(index: int) -> ByteArray:
            return dataset.read(index, size)[0]

        counts = count_answers(answers_of(), dataset.num_classes)
        dataset.doubts(counts.labelled.numpy(), counts.void.numpy()).tell()
    else:
        scenes = load_scenes(dataset, size, device, resize)

        def image_of(index: int) -> ByteArray:
            return scenes.images[index].cpu().numpy()

        def answers_of(indices: Iterable[int] | None = None) -> Answers:
            for index in indices or ():
                batch = SceneBatch.unvaried(torch.tensor([index], device=device))
                pair = network.predict(scenes.observe(batch)), scenes.labels_of(batch)
                yield from in_order(iter([pair]))

        counts = count_answers(
            in_order(scene_answers(scenes, network.predict)), len(dataset.class_names)
        )
    metrics = counts.metrics()
    return Evaluation(checkpoint, size, dataset, counts, metrics, answers_of, image_of)


def _names(config: EvalConfig) -> list[str]:
    """A name for each checkpoint, that no other has and that a file can have."""
    names = [path.resolve().name.removesuffix(".safetensors") for path in config.checkpoint]
    if len(set(names)) < len(names):
        names = [str(path) for path in config.checkpoint]
    names = [re.sub(r"[^\w.-]+", "_", name).strip("._") or "run" for name in names]
    return [n if names.count(n) == 1 else f"{n}-{i}" for i, n in enumerate(names, 1)]


def _picture(folder: Path, name: str, what: str) -> Path:
    return folder / f"{name}-{what}.png"


def report(config: EvalConfig, evaluation: Evaluation) -> dict[str, Any]:
    """What `rss-eval --json` prints of a checkpoint."""
    names = evaluation.dataset.class_names
    return {
        "checkpoint": str(evaluation.checkpoint),
        "env": config.data.env,
        "split": config.split,
        "images": len(evaluation.dataset),
        **evaluation.metrics.report(names),
        **evaluation.metrics.report_of_classes(names),
    }


def run(config: EvalConfig) -> None:
    """Evaluate, print, and write the pictures that are asked for.

    Raises:
        InputError: As `evaluate_checkpoints`.
    """
    from rss_agents.evaluation_report import pictures_of, text_of_one, text_side_by_side

    evaluations, names = evaluate_checkpoints(config), _names(config)
    files: list[Path] = []
    if config.out is not None:
        for evaluation, name in zip(evaluations, names, strict=True):
            for what, picture in pictures_of(evaluation, config.worst).items():
                files.append(_picture(config.out, name, what))
                with writing(files[-1]):
                    write_marked_picture(files[-1], picture, PROGRAM)
    if config.json:
        for evaluation in evaluations:
            print(json.dumps(report(config, evaluation)))
        return
    sizes = {"x".join(map(str, evaluation.image_size)) for evaluation in evaluations}
    compared = "at each label's own size" if config.full_resolution else f"at {', '.join(sizes)}"
    split = "every image" if config.split is None else f"split {config.split}"
    count = len(evaluations[0].dataset)
    print(f"{config.data.env}, {split}: {count} images, compared {compared}")
    if len(evaluations) > 1:
        print(text_side_by_side(evaluations, names))
    else:
        print(config.checkpoint[0])
        print(text_of_one(evaluations[0]))
    for file in files:
        print(f"wrote {file}")


def _of_the_run(arguments: list[str] | None) -> EvalConfig | None:
    """The data of the first checkpoint's run; None if the command line names an environment."""
    given = sys.argv[1:] if arguments is None else arguments
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--checkpoint", nargs="*", type=expanded, default=[])
    reader.add_argument("--env", nargs="?", const="")
    known, _ = reader.parse_known_args(given)
    if not known.checkpoint or known.env is not None or {"-h", "--help"} & set(given):
        return None
    data, split = own_data(known.checkpoint[0])
    for other in known.checkpoint[1:]:
        if is_file(_options_beside(other)) and own_data(other) != (data, split):
            warn_of(
                f"{other} was validated on other data than {known.checkpoint[0]}, whose data all "
                "are compared on"
            )
    return EvalConfig(tuple(known.checkpoint), data, split)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-eval`."""
    run_command(PROGRAM, EvalConfig, run, arguments, default=_of_the_run)


if __name__ == "__main__":
    main()
