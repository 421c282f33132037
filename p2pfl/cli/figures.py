"""Figures of models as people read them: in percent or in their own unit, gains with their sign."""

from p2pfl.cli.quantities import percent, points, scientific
from p2pfl.learner.metrics import PrimaryMetric


def told_figure(primary: PrimaryMetric, value: float | None) -> str:
    """Write a primary figure: as a percentage, or in its own unit."""
    return percent(value) if primary.is_percentage else scientific(value)


def told_gain(primary: PrimaryMetric, gain: float | None) -> str:
    """Write a gain: above 0 is better, whichever direction the metric has."""
    if primary.is_percentage or gain is None:
        return points(gain)
    sign = "+" if gain > 0 else "−" if gain < 0 else ""
    return f"{sign}{scientific(abs(gain))}"


def told_interval(primary: PrimaryMetric, low: float | None, high: float | None) -> str:
    """Write an interval of gains; a dash where there is none."""
    if low is None or high is None:
        return "–"
    return f"{_bare(primary, low)} to {_bare(primary, high)}"


def _bare(primary: PrimaryMetric, gain: float) -> str:
    return told_gain(primary, gain).removesuffix(" points")
