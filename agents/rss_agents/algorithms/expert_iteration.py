"""Expert iteration: a trained network learns the maps that scores of its variations make the best.

For scores of any formula, on top of what a network already knows. First the biases of its classes
are searched. Then variations of its answers are scored, and of each image the best map so far, as
an expert tells it (`experts`), is learned as if it were the label, in other views of the image:
what is learned by heart in one would teach little of other images.

Source: expert iteration (Anthony et al., arXiv 1705.08439), with best-of-K or a linear model of
scores for the expert.
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
from rss_agents.algorithms.experts import BestMapExpert, RegionExpert
from rss_agents.algorithms.objectives import Beliefs, Objective
from rss_agents.algorithms.sampling import sample_varied_maps
from rss_agents.distributed import own_rows, world_size
from rss_agents.networks.head import head_bias
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.replay.best_maps import BestMaps
from rss_agents.replay.image_memory import ImageKeys
from rss_agents.replay.region_memory import RegionMemory
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
        self._views = self.config.views.augmentation()
        self.varies_views = self._views.varies_images
        self._search: BiasSearch | None = None  # until it is over
        self._lengths = 0, 0  # batches of it: if regions explain scores; if not
        self._network: SegmentationNetwork | None = None  # what is taught

    def _make_memory(self, *, with_uncounted: bool) -> BestMaps | RegionMemory:
        """Of the expert."""
        env = self.env
        if env.pixel_level or env.augmentation.makes_new_images or len(env.geometry.scales) > 1:
            raise InputError(
                "objective 'expert_iteration' remembers the maps of an image: it needs an "
                "ImageReward environment at one scale, and none of --zoom, --colour-jitter and "
                "--crop-size, but with --num-views"
            )
        by_regions = self.config.weighs_regions
        self.expert = RegionExpert(env, self.config) if by_regions else BestMapExpert(env)
        return self.expert.memory

    @property
    def augmentation(self) -> Augmentation:
        """See `Objective.augmentation`; as best maps are seen."""
        shown = self.env.augmentation
        if shown.varies_images or not self.varies_views:
            return shown
        return dataclasses.replace(self._views, horizontal_flip=shown.horizontal_flip)

    def prepare(self, network: SegmentationNetwork, batches: int | None) -> None:
        """Begin the search for biases, or note what is believed without one."""
        env = self.env
        config = self.config.bias_search.settled(few_scores=self.config.weighs_regions)
        self._network = network
        wanted = -(-config.scores // (env.num_envs * world_size()))
        if batches is not None:
            wanted = min(wanted, math.ceil(config.budget_share * batches))
        bias = None
        if wanted:
            bias = head_bias(network, env.geometry.num_classes, env.geometry.image_size)
            if bias is None:
                warn_of(
                    "the network's last layer has no bias: the classes' biases are not searched"
                )
        if bias is None:
            self._begin_to_learn()
        else:
            self._search = BiasSearch(bias, wanted, config)
            twice = 2 * wanted if batches is None else min(2 * wanted, batches - 1)
            self._lengths = wanted, max(wanted, twice)

    @property
    def learns(self) -> bool:
        """See `Objective.learns`; not before the search is over."""
        return self._search is None

    @property
    def asks_at_once(self) -> bool:
        """See `Objective.asks_at_once`; few scores are asked for at once, as long as they search.

        All other updates learn.
        """
        return self._search is not None and self.config.weighs_regions

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
        self, policy: torch.Tensor, exploration: float | torch.Tensor, keys: ImageKeys | None
    ) -> torch.Tensor:
        """Variations of the answers, and what the expert proposes."""
        config, count = self.config, self.env.group_size
        if self._search is not None:
            return self._search.draw(policy, count, self.draws)
        assert keys is not None
        grid = self.geometry.grids[0]
        certain = policy.clamp(min=1e-8)
        maps = sample_varied_maps(certain, count, grid, self.draws, config.proposals)
        self.expert.propose(keys, maps)
        return maps

    def _policy_of(self, network: SegmentationNetwork, keys: ImageKeys) -> torch.Tensor:
        """Probabilities (B, C, cells) of a network, of images as they are remembered."""
        return self.policy(self.beliefs(network(keys.images), keys.mirrored))

    def remember(
        self,
        keys: ImageKeys | None,
        maps: torch.Tensor,
        scores: torch.Tensor,
        policy: torch.Tensor,
        progress: Progress,
        uncounted: int | None = None,
    ) -> torch.Tensor:
        """Move the biases, as long as they are searched; return the best maps (B, cells)."""
        assert keys is not None
        scores = scores[..., 0]
        drawn = maps.shape[1] - (uncounted or 0)
        if self._search is not None:
            self._search.step(scores[:, : drawn - drawn % 2])
        best = self.expert.learn(keys, maps, scores, drawn, changes=self.beside_labels)
        if self._search is not None:
            self._search.batches = self._lengths[self._explains_little()]
            if self._search.is_over:
                self._begin_to_learn()
        return best

    def _explains_little(self) -> bool:
        """Whether most scores would be of no use to the expert yet."""
        explained = self.expert.explained
        return explained is not None and bool(explained < self.config.bias_search.least_explained)

    def _begin_to_learn(self) -> None:
        """End the search, if there is one, and note what is believed now."""
        assert self._network is not None
        self._search = None
        self.expert.begin(self._network, self._policy_of)

    def recall(self, keys: ImageKeys) -> torch.Tensor:
        """See `Objective.recall`; the best maps (B, cells); beside labels, what they changed.

        Elsewhere a best map is what the network believed when it was scored, and would hold back
        what labels teach since.
        """
        return self.expert.best(keys, changes=self.beside_labels)

    def view(
        self, images: torch.Tensor, mirrored: torch.Tensor | None, scored: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """See `Objective.view`; windows on some images and best maps, in other colours."""
        total = len(images) * world_size()
        draws = own_rows(self.draws.uniform(total, NUM_DRAWS))
        variation = self._views.variation_of(self._views.changes(draws))
        if variation is None:
            return images, mirrored, scored
        if mirrored is not None:
            scored = self.geometry.mirror(scored, mirrored)
        scale, (_, columns) = self.geometry.scales[0], self.geometry.grids[0]
        maps = variation.of_labels(DrawnMaps(scored, columns, scale).painted())
        centres = slice(scale // 2, None, scale)  # of cells
        varied = variation.of_images(images), maps[:, centres, centres].flatten(1)
        places = torch.arange(total, device=images.device)
        is_varied = own_rows(places < round(self.config.views.share * total))
        return (
            torch.where(is_varied[:, None, None, None], varied[0], images),
            None,
            torch.where(is_varied[:, None], varied[1], scored),
        )

    def loss(self, beliefs: Beliefs, scored: torch.Tensor, progress: Progress) -> torch.Tensor:
        """Cross-entropy of the cells' classes with those of the best maps, of those known.

        Beside labels it is the mean of all cells, as what best maps changed is but a few of them.
        """
        logarithms = beliefs.cells.clamp(min=1e-8).log()
        total = F.nll_loss(logarithms, scored.long(), ignore_index=VOID, reduction="sum")
        if self.beside_labels:
            return total / scored.numel()
        return total / (scored != VOID).sum().clamp(min=1)

    def numbers(self) -> dict[str, torch.Tensor]:
        """See `Objective.numbers`; the expert's."""
        return self.expert.numbers()

    def get_state(self) -> dict[str, Any]:
        """See `Objective.get_state`; with the search and the expert."""
        search = None if self._search is None else self._search.get_state()
        return super().get_state() | {"search": search, "expert": self.expert.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Objective.set_state`."""
        super().set_state(state)
        if state["search"] is None:
            self._begin_to_learn()
        elif self._search is not None:
            self._search.set_state(state["search"])
        self.expert.set_state(state.get("expert", {}))  # there is none of an earlier version
