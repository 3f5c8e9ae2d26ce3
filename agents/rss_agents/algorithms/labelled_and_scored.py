"""Some images with labels, the others with scores: both losses in every update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.supervised import CrossEntropyLearner
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.host_inputs import HostInputs


class LabelledAndScoredLearner(Learner):
    """Adds the cross-entropy of a batch with labels to the loss of a batch that is scored."""

    def __init__(self, scored: RSSLearner, labelled: CrossEntropyLearner, weight: float):
        """Bind two learners of one network.

        Args:
            scored: Learns from scores.
            labelled: Learns from labels.
            weight: Of its loss.
        """
        self.network = scored.network
        self._scored, self._labelled, self._weight = scored, labelled, weight
        self.queries_per_update = scored.queries_per_update
        scored.objective.beside_labels = True

    @property
    def answering(self) -> SegmentationNetwork | None:
        """See `Learner.answering`."""
        return self._scored.answering

    def replace_network(self, network: nn.Module) -> None:
        """See `Learner.replace_network`."""
        super().replace_network(network)
        self._scored.replace_network(network)
        self._labelled.replace_network(network)

    def replace_inputs(self, inputs: HostInputs) -> None:
        """See `Learner.replace_inputs`."""
        self._scored.replace_inputs(inputs)
        self._labelled.replace_inputs(inputs)

    def loss(self, progress: Progress = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See `Learner.loss`; `labelled_score` is the pixel accuracy on the images with labels."""
        loss, metrics = next(iter(self.losses(progress)))
        assert loss is not None
        return loss, metrics

    def losses(
        self, progress: Progress = 0.0
    ) -> Iterator[tuple[torch.Tensor | None, dict[str, torch.Tensor]]]:
        """See `Learner.losses`; of labels alone where scores say nothing."""
        for of_scores, metrics in self._scored.losses(progress):
            of_labels, about = self._labelled.loss(progress)
            loss = self._weight * of_labels
            yield (
                loss if of_scores is None else of_scores + loss,
                {**metrics, "labelled_score": about["score"]},
            )

    def queries_before(self, update: int) -> int:
        """See `Learner.queries_before`."""
        return self._scored.queries_before(update)

    def get_state(self) -> dict[str, Any]:
        """The states of both."""
        return {"scored": self._scored.get_state(), "labelled": self._labelled.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._scored.set_state(state["scored"])
        self._labelled.set_state(state["labelled"])

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The batch that was scored, and the one with labels."""
        labelled = self._labelled.last_batch()
        return self._scored.last_batch() | {f"labelled_{n}": v for n, v in labelled.items()}
