"""The worth of a network's answers where no label tells it: what the scorer says of them."""

from __future__ import annotations

import torch

from rss_agents.networks.segmentation_network import Predictor, evaluating
from rss_agents.training.config import TrainConfig
from rss_env.feedback import AnyScorer, call_scorer, takes_context
from rss_env.scene_stream import SceneBatch
from rss_env.scenes import Scenes

_BATCH = 32


def answer_scores_of(
    config: TrainConfig, scorer: AnyScorer | None, validation: Scenes | None
) -> AnswerScores | None:
    """What a run asks its scorer about its answers, where labels do not tell; None for nothing."""
    if scorer is None or validation is None or validation.labels is not None:
        return None
    most = config.answers_to_score
    return AnswerScores(scorer, validation, most) if most else None


class AnswerScores:
    """Asks a scorer about a network's answers for images spread evenly over a split.

    Attributes:
        count: Images that are asked about each time.
    """

    def __init__(self, scorer: AnyScorer, scenes: Scenes, most: int):
        """Bind a scorer, the scenes of a split, and the most of them that are asked about."""
        self._scorer, self._scenes = scorer, scenes
        self._gives_context = takes_context(scorer)
        self.count = min(most, len(scenes))
        self._index = torch.linspace(0, len(scenes) - 1, self.count).round().long()

    @torch.no_grad()
    def __call__(self, network: Predictor) -> float:
        """The mean score, in 0..1, of the network's answers; its mode is restored.

        Raises:
            InputError: If what the scorer returns is no scores.
            ScorerFailedError: Of a guarded scorer, if it fails.
        """
        places = self._index.to(self._scenes.device).split(_BATCH)
        with evaluating(network):
            return float(torch.cat([self._scores(network, index) for index in places]).mean())

    def _scores(self, network: Predictor, index: torch.Tensor) -> torch.Tensor:
        """Scores (B, 1) of the answers for scenes with numbers (B,)."""
        batch = SceneBatch.unvaried(index)
        images = self._scenes.observe(batch)
        context = None
        if self._gives_context:
            context = self._scenes.context_of(batch, is_validation=True)
        maps = network.predict(images)[:, None]
        return call_scorer(self._scorer, images, maps, numpy=False, context=context)
