"""The options of score models, apart from them so that a command line loads no network library."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import check_value


@dataclass(frozen=True)
class MetricModelConfig:
    """The metric score model: the formula of the metric, on expected counts of the labels."""

    unexplained: float = 0.1
    """Variance of a score that the model does not explain, as a share of what it does explain."""
    common_error: float = 30.0
    """Under ratings, variance of an error that all maps of a group have in common, in the same
    unit. (Mostly one map of a group gets a star, and the others tell nothing.)"""
    covariance_cells: int = 192
    """Cells of a scale that covariances are taken of, at most; drawn anew each time."""
    regions: int = 4
    """Varied maps: regions along a side whose labels err together, where the grid allows."""
    region_error: float = 1.0
    """Varied maps: deviation of the error that logits of a region, or image, have in common."""
    uniform_share: float = 0.1
    """Share of the cells for covariances that is drawn from all alike, the others by importance."""
    presence_share: float = 0.005
    """A class not in the map counts as far as the label may have it: with the probability share /
    (share + this), where share is its expected share of the image."""
    decision_memory: float = 0.99
    """Decay, per batch, of the running mean that decisions for the metric rest on."""

    def check(self) -> None:
        """Refuse values that make no model, with an `InputError`."""
        for name, value in vars(self).items():
            called = f"metric_model {name}"
            if name in ("covariance_cells", "regions"):
                check_value(value >= 1, called, "at least 1", value)
            elif name in ("decision_memory", "uniform_share"):
                check_value(0 <= value < 1, called, "in 0..1 (below 1)", value)
            else:
                check_value(0 < value < float("inf"), called, "positive", value)


@dataclass(frozen=True)
class MixtureConfig:
    """The warped mixture of metrics that stands for an unknown formula."""

    first_share: float = 0.7
    """Share of mIoU in the mixture at the start; the other metrics have the rest alike."""
    first_noise: float = 0.1
    """Variance of the noise at the start, as a share of that of the scores within a group."""
    first_weight: float = 10.0
    """Ridge of the least squares that finds shares and size, towards mIoU's first share and the
    others': as many scores, each predicted to differ by as much as scores do, said so always."""
    forgetting_factor: float = 0.98
    """Decay, per batch, of what differences of scores have said of shares and size."""
    rate: float = 0.02
    """Learning rate of the logarithms of the numbers that are the most likely ones: the power and
    the variances; of ratings, all."""
    hold: float = 0.1
    """Pull of the power towards its start, in log-likelihoods of a group of scores; of ratings, of
    shares and size as well."""

    def check(self) -> None:
        """Refuse values that make no mixture, with an `InputError`."""
        check_value(0 < self.first_share < 1, "mixture first_share", "in 0..1", self.first_share)
        check_value(
            0 < self.first_weight < float("inf"),
            "mixture first_weight",
            "positive",
            self.first_weight,
        )
        factor = self.forgetting_factor
        check_value(0 <= factor < 1, "mixture forgetting_factor", "in 0..1 (below 1)", factor)
        for name in ("first_noise", "rate", "hold"):
            value = getattr(self, name)
            check_value(0 <= value < float("inf"), f"mixture {name}", "at least 0", value)
