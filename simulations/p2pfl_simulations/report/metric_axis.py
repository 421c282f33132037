"""How a metric is written on an axis: shares in percent, anything else in its own unit."""

from collections.abc import Callable
from dataclasses import dataclass

from p2pfl.cli.quantities import percent, scientific
from p2pfl.learner.metrics import PrimaryMetric


@dataclass(frozen=True, slots=True)
class MetricAxis:
    """An axis of a metric.

    Attributes:
        title: the metric, and its direction where it should fall.
        tick: writes a tick.
        readout: writes a figure.
        floor, top: ends that the axis does not pass.
    """

    title: str
    tick: Callable[[float], str]
    readout: Callable[[float | None], str]
    floor: float | None
    top: float | None


def metric_axis(primary: PrimaryMetric) -> MetricAxis:
    """Return how a metric's figures are drawn."""
    title = primary.title if primary.larger_is_better else f"{primary.title} (less is better)"
    if primary.is_percentage:
        return MetricAxis(title, whole_percent, percent, 0.0, 1.0)
    return MetricAxis(title, plain_number, scientific, None, None)


def whole_percent(share: float) -> str:
    """Write a tick: decimals only where ticks are closer than a point."""
    return f"{_minus(f'{100 * share:.4g}')} %"


def plain_number(value: float) -> str:
    """Write a tick of any size."""
    return _minus(f"{value:,.6g}" if 1e-4 <= abs(value) < 1e7 else f"{value:.4g}")


def gain_tick(primary: PrimaryMetric, gain: float) -> str:
    """Write a tick of a gain, with its sign: of a share in points, whose unit the title has."""
    value = 100 * gain if primary.is_percentage else gain
    return f"{'+' if value > 0 else ''}{plain_number(value)}"


def gain_unit(primary: PrimaryMetric) -> str:
    """Name the unit of a gain; empty where it is the metric's own."""
    return "points" if primary.is_percentage else ""


def _minus(written: str) -> str:
    """Write negative numbers with a minus sign, and nothing as 0."""
    return "0" if float(written.replace(",", "")) == 0 else written.replace("-", "−")
