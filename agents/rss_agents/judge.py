"""Fit a judge to scores that were given, and ask it: `rss-judge fit`, `rss-judge use`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from rss_agents.command_line import run_command
from rss_agents.files import write_json
from rss_agents.option_types import check_types
from rss_agents.outputs import check_folder, refuse_links, writing
from rss_agents.quality.fitting_config import FittingConfig
from rss_env.arguments import check_image_size
from rss_env.errors import InputError

REPORT_NAME = "judge.json"


@dataclass
class FitConfig:
    """Fit a judge to maps that were scored, and check it on images that it has not seen."""

    examples: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of ratings (of rss-rate), or tables (.csv) with the columns image, map, score."""
    out: Path
    """Folder for the judge; must hold none unless --overwrite."""
    classes: int
    """Number of classes of the maps."""
    image_size: tuple[int, ...] | None = None
    """Size that files of tables are resized to; by default that of the first map."""
    fitting: tyro.conf.OmitArgPrefixes[FittingConfig] = field(default_factory=FittingConfig)
    overwrite: bool = False
    """Replace the judge of the folder."""


@dataclass
class UseConfig:
    """Ask a judge for the scores of maps: a line of JSON for each, with how sure it is."""

    judge: tyro.conf.Positional[Path]
    """Folder that rss-judge fit wrote."""
    examples: tyro.conf.Positional[tuple[Path, ...]]
    """As for fit; the given scores are shown beside its own."""


JudgeConfig = (
    Annotated[FitConfig, tyro.conf.subcommand("fit")]
    | Annotated[UseConfig, tyro.conf.subcommand("use")]
)


def fit(config: FitConfig) -> None:
    """Fit a judge and tell how well it does.

    Raises:
        InputError: If an option is invalid or the examples cannot be used; nothing was written.
    """
    from rss_agents.quality.examples import read_examples
    from rss_agents.quality.fitting import fit_judge
    from rss_agents.quality.learned_judge import FILE_NAME

    check_types(config)
    _check_out(config)
    size = None if config.image_size is None else check_image_size(config.image_size)
    examples = read_examples(config.examples, size)
    judge, report = fit_judge(examples, config.classes, config.fitting)
    with writing(config.out / FILE_NAME):
        judge.save(config.out)
        write_json(config.out / REPORT_NAME, asdict(report) | asdict(config.fitting))
    sys.stdout.write(json.dumps(asdict(report)) + "\n")


def _check_out(config: FitConfig) -> None:
    """Refuse a folder in which something would be replaced that is no judge."""
    from rss_agents.quality.learned_judge import FILE_NAME, LearnedJudge

    check_folder(config.out)
    judge, report = config.out / FILE_NAME, config.out / REPORT_NAME
    refuse_links(config.out, (FILE_NAME, REPORT_NAME))
    if judge.exists():
        LearnedJudge.load(config.out)
        if not config.overwrite:
            raise InputError(
                f"{config.out} holds a judge already; give --overwrite or another --out"
            )
    elif report.exists():
        raise InputError(
            f"{report} is there already and of no judge ({config.out} has no {FILE_NAME}): it is "
            "never replaced; choose another --out"
        )


def use(config: UseConfig) -> None:
    """Tell what a judge says of maps.

    Raises:
        InputError: If there is no judge, or the examples cannot be used.
    """
    from rss_agents.quality.examples import read_examples
    from rss_agents.quality.learned_judge import LearnedJudge

    check_types(config)
    judge = LearnedJudge.load(config.judge)
    examples = read_examples(config.examples, judge.description.image_size)
    scores, doubt = judge.judge(examples.images[examples.index], examples.action_maps)
    for score, deviation, given in zip(scores, doubt, examples.scores, strict=True):
        line = {
            "score": round(float(score), 4),
            "deviation": round(float(deviation), 4),
            "unseen": bool(deviation > judge.description.most_doubt),
            "given": round(float(given), 4),
        }
        sys.stdout.write(json.dumps(line) + "\n")


def run(config: FitConfig | UseConfig) -> None:
    """Fit or use, as the configuration says."""
    if isinstance(config, FitConfig):
        fit(config)
    else:
        use(config)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-judge`."""
    run_command("rss-judge", JudgeConfig, run, arguments)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
