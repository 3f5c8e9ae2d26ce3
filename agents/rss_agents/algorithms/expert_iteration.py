"""Expert iteration: a trained network learns the best maps that its own variations came upon.

For scores of any formula, on top of what a network already knows. First the biases of its classes
are searched. Then variations of the best map of each image so far are scored, in one region each,
and the best one is remembered, and learned as if it were the label, in other views of the image:
what is learned by heart in one would teach little of other images. Cells of which scores have
spoken count more. Nothing is asked of scores but which are higher.

Source: expert iteration (Anthony et al., arXiv 1705.08439), with best-of-K for the expert.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from rss_agents.algorithms.base import Progress
from rss_agents.algorithms.bias_search import BiasSearch
from rss_agents.algorithms.incumbent import Answers
from rss_agents.algorithms.objectives import Beliefs, Objective
from rss_agents.algorithms.region_flips import flip_regions
from rss_agents.algorithms.sampling import sample_varied_maps
from rss_agents.distributed import own_rows, world_size
from rss_agents.networks.head import head_bias
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.replay.best_maps import BestMaps, JudgedMaps
from rss_agents.replay.image_memory import ImageKeys
from rss_env.augmentation import NUM_DRAWS, Augmentation
from rss_env.drawn_maps import DrawnMaps
from rss_env.errors import InputError, warn_of
from rss_env.labels import VOID


class ExpertIteration(Objective):
    """Cross-entropy with the best map of each image, once the biases of the classes are found."""

    compares_answers = True

    def __init__(self, *arguments: Any, **options: Any):
        """See `Objective`.

        Raises:
            InputError: If rewards are of cells, or images are new each time.
        """
        super().__init__(*arguments, **options)
        self._compares_all = self.env.feedback.kind != "ranking"  # scores of several groups
        has_room = bool(options.get("with_uncounted")) and self.env.group_size >= 4
        self._flips = self.config.flip_regions and self._compares_all and has_room
        self._augmentation = self.config.views.augmentation()
        self.varies_views = self._augmentation.varies_images
        self._search: BiasSearch | None = None  # until it is over
        # Whose regions maps change, and (B, K) which of them change one.
        self._flipped: tuple[JudgedMaps, torch.Tensor] | None = None

    def _make_memory(self, *, with_uncounted: bool) -> BestMaps:
        """Of the best map of each image."""
        env = self.env
        if env.pixel_level or env.augmentation.makes_new_images or len(env.geometry.scales) > 1:
            raise InputError(
                "objective 'expert_iteration' remembers the best map of an image: it needs an "
                "ImageReward environment at one scale, and none of --zoom, --colour-jitter and "
                "--crop-size, but with --num-views"
            )
        return BestMaps(env.geometry, env.num_shown, device=env.device)

    @property
    def _best(self) -> BestMaps:
        """The memory."""
        assert isinstance(self.memory, BestMaps)
        return self.memory

    @property
    def augmentation(self) -> Augmentation:
        """See `Objective.augmentation`; as best maps are seen."""
        shown = self.env.augmentation
        if shown.varies_images or not self.varies_views:
            return shown
        return dataclasses.replace(self._augmentation, horizontal_flip=shown.horizontal_flip)

    def prepare(self, network: SegmentationNetwork, batches: int | None) -> None:
        """Begin the search for biases."""
        config, env = self.config.bias_search, self.env
        wanted = -(-config.scores // (env.num_envs * world_size()))
        if batches is not None:
            wanted = min(wanted, math.ceil(config.budget_share * batches))
        if not wanted:
            return
        bias = head_bias(network, env.geometry.num_classes, env.geometry.image_size)
        if bias is None:
            warn_of("the network's last layer has no bias: the classes' biases are not searched")
        else:
            self._search = BiasSearch(bias, wanted, config)

    @property
    def learns(self) -> bool:
        """See `Objective.learns`; not before the search is over."""
        return self._search is None

    @property
    def compared_every(self) -> int:
        """See `Objective.compared_every`.

        Each time, where other maps have room beside answers; but not while biases are searched,
        which change little, and by all maps that are no answers.
        """
        if self._search is not None or self.env.group_size < 4:
            return super().compared_every
        return 1

    def draw(
        self,
        policy: torch.Tensor,
        exploration: float | torch.Tensor,
        keys: ImageKeys | None,
        answers: Answers | None = None,
    ) -> torch.Tensor:
        """Variations of the best maps so far, or of the answers.

        Where answers are compared, other maps change one region each, as long as there are any.
        Otherwise, as where only orders are told, all of a map varies; and then the best map is one
        of those that are told.
        """
        config, count, grid = self.config, self.env.group_size, self.geometry.grids[0]
        self._flipped = None
        if self._search is not None:
            return self._search.draw(policy, count, self.draws)
        assert keys is not None
        best = self._best.recall(keys.keys)
        certain = policy.clamp(min=1e-8)
        maps = sample_varied_maps(certain, count, grid, self.draws, config.proposals)
        if not self._compares_all:
            maps[:, 0] = torch.where(best.known[:, None], best.classes, maps[:, 0])
        elif self._flips and answers is not None:
            known, others = best.known[:, None], count - answers.maps.shape[1]
            classes = torch.where(known, best.classes, answers.maps[:, 0])
            flips = flip_regions(answers.beliefs, classes, best.refused, others, grid)
            is_flip = (flips != classes[:, None]).any(2)
            self._flipped = dataclasses.replace(best, classes=classes), is_flip
            maps[:, :others] = torch.where(is_flip[..., None], flips, maps[:, :others])
        return maps

    def remember(
        self,
        keys: ImageKeys | None,
        maps: torch.Tensor,
        scores: torch.Tensor,
        policy: torch.Tensor,
        progress: Progress,
        uncounted: int | None = None,
    ) -> JudgedMaps:
        """Move the biases, as long as they are searched; return the best maps."""
        assert keys is not None
        scores = scores[..., 0]
        drawn = maps.shape[1] - (uncounted or 0)
        if self._search is not None and drawn >= 2:
            self._search.step(scores[:, : drawn - drawn % 2])
            if self._search.is_over:
                self._search = None
        if not self._compares_all and not drawn:  # answers alone, and not the best map so far
            maps, scores = maps[:, :0], scores[:, :0]
        if self._compares_all:  # of equal scores, that of an answer is taken
            maps, scores = maps.roll(-drawn, 1), scores.roll(-drawn, 1)
        best = self._best.add(keys.keys, maps, scores, anew=not self._compares_all)
        if self._flipped is not None:
            self._best.refuse(keys.keys, self._refused(maps, scores, best, *self._flipped))
        return self._best.recall(keys.keys)

    @staticmethod
    def _refused(
        maps: torch.Tensor,
        scores: torch.Tensor,
        best: torch.Tensor,
        before: JudgedMaps,
        is_flip: torch.Tensor,
    ) -> torch.Tensor:
        """The classes (B, cells) that scored no higher in their cells' places.

        Args:
            maps: (B, K, cells), answers first, the incumbent's before others, then what was varied.
            scores: (B, K).
            best: (B, cells) best maps now.
            before: What was varied: best maps before, the incumbent's answer of images unknown.
            is_flip: (B, V) which of the last V maps are `before` but for one region.
        """
        bar = torch.where(before.known, before.scores, scores[:, 0])
        refused = before.refused
        first = maps.shape[1] - is_flip.shape[1]
        for k in range(is_flip.shape[1]):
            flipped, score = maps[:, first + k], scores[:, first + k]
            lost = (flipped != before.classes) & (is_flip[:, k] & (score <= bar))[:, None]
            refused = torch.where(lost, flipped, refused)
        return torch.where(best != before.classes, before.classes, refused)

    def recall(self, keys: ImageKeys) -> JudgedMaps:
        """See `Objective.recall`; the best maps."""
        return self._best.recall(keys.keys)

    def view(
        self, images: torch.Tensor, mirrored: torch.Tensor | None, scored: JudgedMaps
    ) -> tuple[torch.Tensor, torch.Tensor | None, JudgedMaps]:
        """See `Objective.view`; windows on some images and best maps, in other colours."""
        total = len(images) * world_size()
        draws = own_rows(self.draws.uniform(total, NUM_DRAWS))
        variation = self._augmentation.variation_of(self._augmentation.changes(draws))
        if variation is None:
            return images, mirrored, scored
        places = torch.arange(total, device=images.device)
        is_varied = own_rows(places < round(self.config.views.share * total))
        scale, (_, columns) = self.geometry.scales[0], self.geometry.grids[0]
        centres = slice(scale // 2, None, scale)  # of cells

        def seen(cells: torch.Tensor) -> torch.Tensor:
            if mirrored is not None:
                cells = self.geometry.mirror(cells, mirrored)
            painted = variation.of_labels(DrawnMaps(cells, columns, scale).painted())
            varied = painted[:, centres, centres].flatten(1)
            return torch.where(is_varied[:, None], varied, cells)

        images = torch.where(is_varied[:, None, None, None], variation.of_images(images), images)
        classes, refused = seen(scored.classes), seen(scored.refused)
        return images, None, JudgedMaps(classes, refused, scored.scores)

    def loss(self, beliefs: Beliefs, scored: JudgedMaps, progress: Progress) -> torch.Tensor:
        """Cross-entropy of the cells' classes with those of the best maps, of those known.

        Beside labels only where scores have spoken, if they speak of regions: elsewhere a best map
        is what the network believed when it was scored, and holds back what labels teach since.
        """
        logarithms = beliefs.cells.clamp(min=1e-8).log()
        losses = F.nll_loss(logarithms, scored.classes.long(), ignore_index=VOID, reduction="none")
        weights = torch.where(scored.refused != VOID, self.config.judged_weight, 1.0)
        weights = weights * (scored.classes != VOID)
        if self.beside_labels and self._flips:
            return (weights * losses * (scored.refused != VOID)).sum() / losses.numel()
        return (weights * losses).sum() / weights.sum().clamp(min=1)

    def get_state(self) -> dict[str, Any]:
        """See `Objective.get_state`; with the search."""
        search = None if self._search is None else self._search.get_state()
        return super().get_state() | {"search": search}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Objective.set_state`."""
        super().set_state(state)
        if state["search"] is None:
            self._search = None
        elif self._search is not None:
            self._search.set_state(state["search"])
