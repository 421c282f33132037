"""What a random draw shows: each figure against the values that were drawn, and the best draws."""

from collections.abc import Callable, Sequence
from typing import Any

from p2pfl_simulations.report.axes import Frame, Linear, Log, Scale, log_span, span
from p2pfl_simulations.report.drawing import Cell, Drawing
from p2pfl_simulations.report.lines import WIDE
from p2pfl_simulations.report.metric_axis import MetricAxis, metric_axis, plain_number
from p2pfl_simulations.report.svg import element, number, picture, text_width, title
from p2pfl_simulations.results.repetitions import Interval
from p2pfl_simulations.studies.gathered import Results
from p2pfl_simulations.studies.plan import Condition, written
from p2pfl_simulations.studies.settings import Draw

BEST = 3
"""Draws that stand out in a chart."""

DRAWN = "drawn-"
"""How the names of these charts begin."""

HEIGHT = 320

Found = tuple[Condition, Interval]


def figure_of(results: Results) -> str:
    """Name the figure that draws are ranked by: of the peers' own rows, where all have it."""
    own = all(results.mean(it, "own_mean") is not None for it, _ in _runs(results))
    return "own_mean" if own else "common_mean"


def best_first(results: Results) -> list[Found]:
    """Return the draws that have runs, with their final figure, the best first."""
    figure = figure_of(results)
    found = [
        (condition, interval)
        for condition, _ in _runs(results)
        if (interval := results.mean(condition, figure)) is not None
    ]
    sign = -1 if results.primary.larger_is_better else 1
    return sorted(found, key=lambda it: sign * it[1].mean)


def drawn_charts(results: Results) -> list[tuple[Drawing, str]]:
    """Draw the final figure against each key that was drawn; each with a line on what it shows."""
    search = results.study.random
    assert search is not None
    found = best_first(results)
    told = "final mean over peers, by {}"
    return [
        (_scatter(f"{DRAWN}{place + 1}", key, draw, found, results), told.format(key))
        for place, (key, draw) in enumerate(search.set.items())
    ]


def _runs(results: Results) -> list[tuple[Condition, Any]]:
    return [(it, runs) for it in results.conditions if (runs := results.runs_of(it))]


def _scatter(name: str, key: str, draw: Draw, found: Sequence[Found], results: Results) -> Drawing:
    """One dot a draw, at its value, with the interval over its seeds."""
    axis = metric_axis(results.primary)
    ends = [end for _, it in found for end in (it.low, it.high)]
    low, high = span(ends, floor=axis.floor, top=axis.top)
    left = 14 + max(text_width(axis.tick(it)) for it in Linear(low, high, 0, 1).ticks(6))
    x, place_of, x_text = _across(key, draw, found, left)
    y = Linear(low, high, HEIGHT - 46, 44)
    is_whole = draw.integer or draw.choice is not None
    is_log = draw.log and isinstance(x, Log)
    frame = Frame(
        x, y, f"{key} (log scale)" if is_log else key, axis.title, x_text, axis.tick, is_whole
    )
    dots = [
        _dot(x(place_of(condition)), condition, interval, y, axis, is_best=rank < BEST)
        for rank, (condition, interval) in reversed(list(enumerate(found)))
    ]
    drawing = picture(
        WIDE, HEIGHT, f"{axis.title} of {len(found)} draws by {key}", frame.draw(), *dots
    )
    rows: list[tuple[Cell, ...]] = [
        (it.axes["name"], it.axes[key], seen.mean, seen.low, seen.high, seen.count)
        for it, seen in found
    ]
    return Drawing(name, drawing, ("draw", key, "mean", "low", "high", "seeds"), rows)


def _across(
    key: str, draw: Draw, found: Sequence[Found], left: float
) -> tuple[Scale, Callable[[Condition], float], Callable[[float], str]]:
    """Return the axis of a key, where a draw stands on it, and how it is written."""
    if draw.choice is not None:
        labels = list(dict.fromkeys(map(written, draw.choice)))

        def told(value: float) -> str:
            place = round(value)
            is_one = abs(value - place) < 1e-9 and 0 <= place < len(labels)
            return labels[place] if is_one else ""

        scale = Linear(-0.5, len(labels) - 0.5, left, WIDE - 24)
        return scale, lambda it: float(labels.index(it.axes[key])), told
    values = [float(it.changes[key]) for it, _ in found]
    if draw.log:
        ends = log_span(values)
        return Log(*ends, left, WIDE - 24), lambda it: float(it.changes[key]), plain_number
    ends = span(values)
    return Linear(*ends, left, WIDE - 24), lambda it: float(it.changes[key]), plain_number


def _dot(
    x: float, condition: Condition, interval: Interval, y: Scale, axis: MetricAxis, *, is_best: bool
) -> str:
    drawn = ", ".join(f"{key} {it}" for key, it in condition.axes.items() if key != "name")
    said = f"{condition.axes['name']}: {axis.readout(interval.mean)}; {drawn}"
    colour = "c-good" if is_best else "c-muted"
    whisker = f"M{number(x)} {number(y(interval.low))}V{number(y(interval.high))}"
    return element("path", d=whisker, class_=f"whisker {colour}") + element(
        "circle", title(said), cx=x, cy=y(interval.mean), r=4, class_=f"mark {colour}"
    )
