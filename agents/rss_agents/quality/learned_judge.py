"""A learned judge: several networks that were fitted apart, and a scorer that heeds their doubts.

A judge errs, and an agent finds out where: it draws what is scored too high. There the networks,
which have seen nothing like it, disagree. So a score is their mean less their deviation, and what
they have never agreed so little on is counted as unseen.

Source: ensembles against over-optimisation of a learned reward (Coste et al., "Reward model
ensembles help mitigate overoptimization", ICLR 2024).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError

from rss_agents.files import DamagedError, read_tensors, write_tensors
from rss_agents.quality.network import QualityNetwork
from rss_env.arrays import as_tensor
from rss_env.datasets.paths import expanded
from rss_env.errors import InputError

FILE_NAME = "judge.safetensors"
_BATCH = 256  # maps judged at a time
_MOSTLY = 0.5  # share of unseen maps of a batch that is worth a warning


@dataclass(frozen=True)
class JudgeDescription:
    """Facts that it takes to build a judge again and to read its scores.

    Attributes:
        num_classes: C.
        image_size: (H, W) of the images it was fitted to.
        members: Number of networks.
        slope, intercept: From the networks' mean to a score, fitted on images that were held out.
        most_doubt: Deviation among the networks beyond which a map counts as unseen: that of one
            held-out map in twenty.
    """

    num_classes: int
    image_size: tuple[int, int]
    members: int
    slope: float = 1.0
    intercept: float = 0.0
    most_doubt: float = float("inf")


class LearnedJudge:
    """Networks fitted apart, and what their agreement is worth."""

    def __init__(self, networks: Sequence[QualityNetwork], description: JudgeDescription):
        """Bind networks to their description."""
        self.networks = [network.eval() for network in networks]
        self.description = description

    @torch.no_grad()
    def judge(
        self, images: torch.Tensor, action_maps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of maps, and how far the networks are apart about them.

        Args:
            images: (N, H, W, 3) uint8.
            action_maps: (N, H, W) uint8, a map of each image.

        Returns:
            Scores in [0, 1], and deviations among the networks in the same unit: (N,) float32.

        Raises:
            InputError: If the maps are of another size or of other classes than it has seen.
        """
        known = self.description
        size = (int(images.shape[1]), int(images.shape[2]))
        if size != known.image_size:
            raise InputError(
                f"the judge has seen images of {known.image_size[0]}x{known.image_size[1]} pixels, "
                f"not of {size[0]}x{size[1]}"
            )
        if action_maps.numel() and int(action_maps.max()) >= known.num_classes:
            raise InputError(
                f"the judge knows {known.num_classes} classes, a map has class "
                f"{int(action_maps.max())}"
            )
        parts = zip(images.split(_BATCH), action_maps.split(_BATCH), strict=True)
        told = torch.cat(
            [torch.stack([net(*part).sigmoid() for net in self.networks]) for part in parts], 1
        )
        doubt = told.std(0, correction=0) * abs(known.slope)
        return (known.slope * told.mean(0) + known.intercept).clamp(0, 1), doubt

    def save(self, folder: Path) -> None:
        """Write the judge into a folder, in one move.

        Raises:
            OSError: If it cannot be written.
        """
        tensors = {
            f"{number}.{name}": value
            for number, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"description": json.dumps(asdict(self.description))}
        write_tensors(folder / FILE_NAME, tensors, metadata)

    @classmethod
    def load(cls, folder: Path) -> LearnedJudge:
        """Read a judge from the folder that `rss-judge fit` wrote.

        Raises:
            InputError: If there is none, or its file is damaged or not one of ours.
        """
        path = expanded(folder) / FILE_NAME
        if not path.is_file():
            raise InputError(f"no judge at {path}; expected a folder that rss-judge fit wrote")
        try:
            tensors, metadata = read_tensors(path)
            text = metadata["description"]
            known = TypeAdapter(JudgeDescription).validate_json(text, strict=True)
            networks = []
            for number in range(known.members):
                network, prefix = QualityNetwork(known.num_classes), f"{number}."
                network.load_state_dict(
                    {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
                )
                networks.append(network)
        except DamagedError:
            raise
        except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path} is not a judge of rss-judge: {reason}") from None
        return cls(networks, known)


class JudgeScorer:
    """A learned judge as the scorer of an environment; see `rss_env.feedback.Scorer`."""

    def __init__(self, judge: LearnedJudge, caution: float = 1.0):
        """Bind a judge.

        Args:
            judge: Scores the maps.
            caution: How many deviations among its networks a score is lowered by.
        """
        self._judge, self._caution, self._has_warned = judge, caution, False

    def __call__(self, images: Any, action_maps: Any) -> torch.Tensor:
        """Scores (G, K) of maps (G, K, H, W) of images (G, H, W, 3)."""
        shown, maps = as_tensor(images).cpu(), as_tensor(action_maps).cpu()
        repeated = shown.repeat_interleave(maps.shape[1], 0)
        scores, doubt = self._judge.judge(repeated, maps.flatten(0, 1))
        unseen = float((doubt > self._judge.description.most_doubt).float().mean())
        if unseen > _MOSTLY and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the judge has seen nothing like {unseen:.0%} of the maps it is asked about: its "
                "networks disagree, and their scores are lowered; rate such maps and fit again",
                stacklevel=2,
            )
        return (scores - self._caution * doubt).clamp(0, 1).view(maps.shape[:2])
