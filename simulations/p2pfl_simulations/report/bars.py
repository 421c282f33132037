"""Bar charts: what went wrong in each round, and where the peers ended."""

import math
from collections.abc import Callable, Sequence

from p2pfl_simulations.report.axes import Frame, Linear, nice_step, span
from p2pfl_simulations.report.lines import NARROW
from p2pfl_simulations.report.svg import element, number, picture, text, text_width, title
from p2pfl_simulations.report.timeline import legend

BARS_MAX = 150
HEIGHT = 300


def stacked_bars(
    description: str,
    layers: Sequence[tuple[str, str, Sequence[float]]],
    *,
    x_title: str,
    y_title: str,
    first: int,
) -> str:
    """Stack layers of (name, colour, value of each round); many rounds share a bar as a mean."""
    count = max((len(values) for _, _, values in layers), default=0)
    totals = [sum(values[index] for _, _, values in layers) for index in range(count)]
    if not any(totals):
        return ""
    group = math.ceil(count / BARS_MAX)
    bars = range(0, count, group)
    tops = [sum(totals[at : at + group]) / len(totals[at : at + group]) for at in bars]
    is_whole = group == 1 or max(tops) > 4  # A mean of small counts wants halves and quarters.
    step = nice_step(max(tops) / 4, whole=is_whole)
    high = math.ceil(max(tops) / step - 1e-9) * step
    left = 14 + max(24, text_width(f"{high:,.0f}"))
    x = Linear(first - 0.5, first + count - 0.5, left, NARROW - 16)
    y = Linear(0, high, HEIGHT - 46, 44)
    frame = Frame(
        x,
        y,
        x_title,
        y_title,
        lambda v: f"{v:,.0f}",
        lambda v: f"{v:,g}",
        x_whole=True,
        y_whole=is_whole,
    )
    parts = [frame.draw()]
    width = x(first + group) - x(first)
    for at, total in zip(bars, tops, strict=True):
        if not total:
            continue
        base = 0.0
        shown = []
        for name, colour, values in layers:
            part = values[at : at + group]
            value = sum(part) / len(part)
            if value:
                shown.append(f"{name} {value:g}" if group == 1 else f"{name} {value:.1f}")
                parts.append(
                    element(
                        "rect",
                        x=x(first + at - 0.5) + min(1, width * 0.1),
                        y=y(base + value),
                        width=max(0.8, width * min(1, len(part) / group) - min(2, width * 0.2)),
                        height=y(base) - y(base + value),
                        class_=f"gone c-{colour}",
                    )
                )
                base += value
        rounds = (
            f"round {first + at}"
            if group == 1
            else f"rounds {first + at} to {min(first + at + group, first + count) - 1}, mean"
        )
        parts.append(
            element(
                "rect",
                title(f"{rounds}: {', '.join(shown)}"),
                x=x(first + at - 0.5),
                y=y.end,
                width=width,
                height=y.start - y.end,
                class_="touch",
            )
        )
    present = {c: ("gone", name) for name, c, values in layers if any(values)}
    parts.append(legend(present, left + 4 + text_width(y_title), 16))
    return picture(NARROW, HEIGHT, description, *parts)


def histogram(
    description: str,
    values: Sequence[float],
    references: Sequence[tuple[str, str, float]],
    *,
    x_title: str,
    y_title: str,
    x_text: Callable[[float], str],
    x_tick: Callable[[float], str],
    floor: float | None,
    top: float | None,
) -> str:
    """Count values in bins, with vertical reference lines of (name, colour, value).

    `floor` and `top` are ends that the axis of values does not pass.
    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    references = [it for it in references if math.isfinite(it[2])]
    low, high = span([*finite, *(value for _, _, value in references)], floor=floor, top=top)
    step = nice_step((high - low) / 80)
    bins = max(1, round((high - low) / step))
    counts = [0] * bins
    for value in finite:
        counts[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
    x = Linear(low, high, 14 + max(24, text_width(f"{max(counts):,}")), NARROW - 24)
    rows = len(references)
    tall = nice_step(max(counts) / 4, whole=True)
    y = Linear(0, math.ceil(max(counts) / tall) * tall, HEIGHT - 46, 48 + 17 * rows)
    frame = Frame(x, y, x_title, "", x_tick, lambda v: f"{v:,.0f}", y_whole=True)
    parts = [frame.draw(), text(0, 30, y_title, class_="title")]
    width = (x.end - x.start) / bins
    for index, amount in enumerate(counts):
        if amount:
            start = low + index * (high - low) / bins
            end = start + (high - low) / bins
            parts.append(
                element(
                    "rect",
                    title(f"{x_text(start)} to {x_text(end)}: {amount:,} peers"),
                    x=x.start + index * width + 0.5,
                    y=y(amount),
                    width=max(1, width - 1),
                    height=y(0) - y(amount),
                    class_="gone c-gossip",
                )
            )
    parts.append(_references(references, x, y.start, x_text))
    return picture(NARROW, HEIGHT, description, *parts)


def _references(
    references: Sequence[tuple[str, str, float]],
    x: Linear,
    bottom: float,
    written: Callable[[float], str],
) -> str:
    """Draw vertical lines with their labels, each a row lower than the one before it.

    A label stands to the left of its line if it fits there. Those that do not come first, from
    the left; then the others, from the right: so labels and lines do not cross.
    """
    rightwards: list[tuple[str, str, float, bool]] = []
    leftwards: list[tuple[str, str, float, bool]] = []
    for name, colour, value in sorted(references, key=lambda entry: entry[2]):
        label = f"{name} {written(value)}"
        fits = x(value) - 6 - text_width(label, 12.5) >= 0
        (leftwards if fits else rightwards).append((label, colour, x(value), fits))
    parts = []
    for row, (label, colour, at, fits) in enumerate([*rightwards, *reversed(leftwards)]):
        top = 48 + 17 * row
        path = f"M{number(at)} {number(top - 2)}V{number(bottom)}"
        parts.append(element("path", d=path, class_=f"line dashed {colour}"))
        side, end = (at - 6, " end") if fits else (at + 6, "")
        parts.append(text(side, top + 6, label, class_=f"label {colour}{end}"))
    return "".join(parts)
