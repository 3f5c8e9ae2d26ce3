"""Which objective serves: as asked for, or by what is scored and what a network knows."""

from __future__ import annotations

import dataclasses

from rss_agents.algorithms.expert_iteration import ExpertIteration
from rss_agents.algorithms.objectives import (
    CellCrossEntropy,
    LinearRegression,
    MetricRegression,
    Objective,
    PolicyGradient,
)
from rss_agents.algorithms.rss_config import RSSConfig
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


def settle_objective(
    config: RSSConfig, env: RSSVectorEnv, *, starts_trained: bool, weighs_all: bool
) -> RSSConfig:
    """The configuration with an objective and an expert that are not left open.

    A trained network that gets scores of a formula that nobody has said learns its own best maps:
    beliefs that are far too sure of themselves are no ground to work out formulas on.

    Args:
        config: The hyper-parameters.
        env: Scores the maps.
        starts_trained: Whether the network begins as one that was trained on the same classes.
        weighs_all: Whether the highest score of an image says less than all of them together.
    """
    if config.expert == "auto":
        config = dataclasses.replace(config, expert="regions" if weighs_all else "best_map")
    if config.objective != "auto":
        return config
    formula_said = env.metric is not None or config.score_model != "auto" or bool(config.varied)
    remembers = not env.pixel_level and not env.augmentation.makes_new_images
    tunes = starts_trained and remembers and not formula_said
    objective = "expert_iteration" if tunes else "relative_regression"
    return dataclasses.replace(config, objective=objective)


def choose_objective(env: RSSVectorEnv, config: RSSConfig) -> type[Objective]:
    """The objective that a configuration asks for and an environment allows.

    Raises:
        InputError: If the metric model cannot serve what is scored, or varied maps have none.
    """
    plain = env.feedback.kind in ("exact", "rating") and not env.class_balanced
    fits = plain or not env.pixel_level
    chosen: type[Objective] = LinearRegression
    if config.objective == "policy_gradient":
        chosen = PolicyGradient
    elif config.objective == "expert_iteration":
        chosen = ExpertIteration
    elif config.score_model == "metric" and not fits:
        raise InputError(
            "score_model 'metric' needs, at the pixel level, plain rewards without noise; "
            "valid here: auto, linear"
        )
    elif fits and config.score_model != "linear":
        chosen = CellCrossEntropy if env.pixel_level else MetricRegression
    if config.varied and chosen in (LinearRegression, PolicyGradient, ExpertIteration):
        raise InputError(
            f"varied ({config.varied}) needs the regression with score_model 'metric', which "
            "knows how scores of regions vary together; valid here: 0"
        )
    return chosen
