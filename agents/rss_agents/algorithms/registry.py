"""Every way to train that the commands know, by name: ours and its references, one flag apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.incumbent import Incumbent
from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.policy_gradients import METHODS, BaselineLearner
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.reference_config import BaselineConfig, SupervisedConfig
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.algorithms.supervised import (
    CrossEntropyLearner,
    DiceLearner,
    ImageTagLearner,
    MetricDecisionLearner,
    MultiScaleLearner,
)
from rss_agents.distributed import world_size
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.errors import InputError
from rss_env.scenes import Scenes
from rss_env.vector_env import RSSVectorEnv


def acts_at_one_scale(algo: Algorithm, agent: RSSConfig) -> bool:
    """Tell whether the algorithm's maps are of the finest scale alone."""
    alone = not agent.psr or agent.objective == "expert_iteration"
    return algo in METHODS or (algo == "rss" and alone)


def build_learner(
    algo: Algorithm,
    network: SegmentationNetwork,
    env: RSSVectorEnv,
    open_training: Callable[[], Scenes],
    *,
    agent: RSSConfig,
    baseline: BaselineConfig,
    supervised: SupervisedConfig,
    seed: int,
    plan: QueryPlan | None = None,
    incumbent: Incumbent | None = None,
) -> Learner:
    """Bind a network to what the algorithm learns from.

    Args:
        algo: Its name.
        network: What learns.
        env: Scores of maps; the references with labels take images as it does, B at a time.
        open_training: Opens the images with labels; called by these references alone.
        agent: Configures `rss`.
        baseline: Configures the plain policy gradients.
        supervised: Configures the references with labels.
        seed: Of the images and of the maps drawn.
        plan: Which updates of `rss` ask for scores; None: all of them.
        incumbent: Answers for `rss` until its network's own answers score better; None for none.

    Raises:
        InputError: If the environment or a configuration does not fit.
    """
    if algo == "rss" or algo in METHODS:
        network.check_scales(env.geometry.scales)
    if algo == "rss":
        return RSSLearner(network, env, agent, seed, plan, incumbent)
    if algo in SB3_ALGORITHMS:
        raise InputError(f"{algo} brings an optimiser of its own: use rss_agents.train.train")
    if algo in METHODS:
        return BaselineLearner(algo, network, env, baseline, seed)
    if algo == "psl-dice" and world_size() > 1:
        raise InputError("psl-dice has a loss that takes a whole batch: use one process")
    bind: Callable[..., Learner] = partial(CrossEntropyLearner, supervised=supervised)
    if algo == "psl-dice":
        bind = partial(DiceLearner, supervised=supervised)
    elif algo == "psl-metric":
        if env.metric is None:
            raise InputError("psl-metric decides for a metric: give --metric, and no --scorer")
        bind = partial(
            MetricDecisionLearner,
            metric=env.metric,
            model=agent.metric_model,
            supervised=supervised,
        )
    elif algo == "psl-multiscale":
        bind = partial(MultiScaleLearner, geometry=env.geometry)
    elif algo == "wsss-cam":
        bind = partial(ImageTagLearner, sharpness=supervised.tag_sharpness)
    num_images = env.num_envs // env.group_size
    return bind(network, open_training(), num_images, seed, augmentation=env.augmentation)
