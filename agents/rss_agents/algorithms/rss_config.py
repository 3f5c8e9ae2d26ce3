"""The hyper-parameters of the agent, each with its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rss_agents.algorithms.bias_search_config import BiasSearchConfig
from rss_agents.algorithms.learned_views_config import LearnedViewsConfig
from rss_agents.algorithms.varied_maps_config import VariedMapsConfig
from rss_agents.losses.region_effects_config import RegionEffectsConfig
from rss_agents.losses.score_model_config import MetricModelConfig, MixtureConfig
from rss_env.errors import InputError, check_value

if TYPE_CHECKING:  # torch, which a command that shows its options need not wait for
    import torch

    from rss_agents.algorithms.base import Progress


@dataclass(frozen=True)
class RSSConfig:
    """The agent's hyper-parameters; each part can be switched off for an ablation."""

    objective: Literal["auto", "relative_regression", "policy_gradient", "expert_iteration"] = (
        "auto"
    )
    """Regression of scores on predicted ones, the score-function gradient, or, of each image, the
    map that its scores so far make the best, learned as its label. auto: the last where a trained
    network (--start-from) gets scores of a formula that nobody has said (--scorer); otherwise the
    regression."""
    score_model: Literal["auto", "metric", "linear"] = "auto"
    """Regression: predicts scores of maps. metric: by the formula of --metric, with the network's
    probabilities for the label; linear: each cell adds its logit. auto: metric, for scorers with a
    formula that is fitted to the scores that come; but linear for pixel rewards that are noisy,
    ranked or class-balanced."""
    psr: bool = True
    """Act and be scored at several scales; otherwise at the finest only."""
    psd: bool = True
    """Compare maps in pairs, cell by cell where they differ."""
    syncan: bool = True
    """Measure advantages of the policy gradient in their deviation over all scales of the first
    batch, and differences under the linear model in that of a scale and batch; on all ranks. (The
    metric model knows the deviations of its predictions, image by image.)"""
    replay: int = 56
    """Image scores: scored maps remembered of each image and learned from again, in whole groups;
    none with --zoom and --colour-jitter, which make it another image each time."""
    temperature: float | None = None
    """Temperature of the policy; None: 1, or 0.05 for the linear model, in units of reward."""
    exploration: float = 0.2
    """Share of uniformly random classes at the start."""
    final_exploration: float = 0.02
    """The same at the end; in between it falls linearly."""
    keep_answers: bool = True
    """With --start-from and at least 6 maps an image: three of them are answers, those of the
    start among them, and it is the start that is validated and saved until others score better."""
    least_gain: float = 0.005
    """With --keep-answers: by which share of the start's score others have to score better, beside
    chance. Less than that is not worth a change: it may as well be an error of what scores."""
    gain_errors: float | None = None
    """By how many standard errors as well, as scores are few and noisy; None: 1 under expert
    regions, otherwise 0.5."""
    metric_decisions: bool = True
    """Metric model: answer with the class that adds most to the expected metric, instead of the
    most likely one."""
    varied: float | None = None
    """Share of the maps that differ in whole regions and classes; None: half of them under ratings
    and noise, which hide small differences, and otherwise none."""
    entropy: float = 0.5
    """Policy gradient: coefficient of the entropy at the start, in reward per cell."""
    final_entropy: float = 0.05
    """The same at the end; in between it falls by the same factor with each update."""
    most_importance: float = 2.0
    """Policy gradient: largest weight of a cell of a remembered map, by how much more likely its
    class is now than when it was drawn."""
    metric_model: MetricModelConfig = field(default_factory=MetricModelConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    varied_maps: VariedMapsConfig = field(default_factory=VariedMapsConfig)
    expert_maps: int | None = None
    """Expert iteration: maps of an image that are scored at once, if --group-size is not less.
    None: 8; but 4 where a budget (--queries) has less than 32 scores for each image, as it goes
    round more of them then."""
    expert: Literal["auto", "regions", "best_map"] = "auto"
    """Expert iteration: what the best map of an image is told by. regions: all its scores together,
    region by region, on what the start believed; best_map: the highest. auto: regions where a
    budget (--queries) has less than 32 scores for each image and none has labels (--labelled), and
    otherwise best_map."""
    proposals: VariedMapsConfig = field(
        default_factory=lambda: VariedMapsConfig(weakest=0.33, strongest=1.33)
    )
    """Expert iteration: how maps vary around the network's answers."""
    effects: RegionEffectsConfig = field(default_factory=RegionEffectsConfig)
    bias_search: BiasSearchConfig = field(default_factory=BiasSearchConfig)
    views: LearnedViewsConfig = field(default_factory=LearnedViewsConfig)

    @property
    def weighs_regions(self) -> bool:
        """Whether all scores of an image are weighed together; only where that is settled."""
        return self.objective == "expert_iteration" and self.expert == "regions"

    def exploration_at(self, progress: Progress) -> float | torch.Tensor:
        """Share of uniformly random classes when a share 0..1 of the training is done."""
        return self.exploration + progress * (self.final_exploration - self.exploration)

    def entropy_at(self, progress: Progress) -> float | torch.Tensor:
        """Coefficient of the entropy when a share 0..1 of the training is done."""
        return self.entropy ** (1 - progress) * self.final_entropy**progress

    def check(self) -> None:
        """Refuse values that make no policy, with an `InputError`."""
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature must be positive, got {self.temperature}")
        for name in ("exploration", "final_exploration"):
            check_value(
                0 <= getattr(self, name) < 1, f"{name}", "in 0..1 (below 1)", getattr(self, name)
            )
        for name in ("entropy", "final_entropy"):
            check_value(
                0 <= getattr(self, name) < float("inf"),
                f"{name}",
                "at least 0",
                getattr(self, name),
            )
        if self.varied is not None and not 0 <= self.varied <= 1:
            raise InputError(f"varied must be in 0..1, got {self.varied}")
        check_value(0 <= self.least_gain < 1, "least_gain", "in 0..1 (below 1)", self.least_gain)
        if self.gain_errors is not None:
            finite = 0 <= self.gain_errors < float("inf")
            check_value(finite, "gain_errors", "at least 0", self.gain_errors)
        check_value(self.replay >= 0, "replay", "at least 0", self.replay)
        check_value(self.most_importance > 0, "most_importance", "positive", self.most_importance)
        self.metric_model.check()
        self.mixture.check()
        self.varied_maps.check()
        self.views.check()
        if self.expert_maps is not None:
            check_value(self.expert_maps >= 2, "expert_maps", "at least 2", self.expert_maps)
        self.proposals.check()
        self.effects.check()
        self.bias_search.check()
