"""Line charts with direct labels, and a readout under the pointer that needs no script."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate, pairwise
from typing import TypeVar

from p2pfl_simulations.report.axes import Frame, Linear, Log, TimeAxis, keep_apart, log_span, span
from p2pfl_simulations.report.svg import element, number, picture, text, text_width

POINTS_MAX = 600  # Drawn of one line: more than a chart has pixels for.
COLUMNS_MAX = 150  # Places where the pointer finds a readout.
NARROW, WIDE = 500, 1040  # Two narrow charts stand side by side.

Point = tuple[float, float]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: its direct label, and its name in the readout.
        colour: a colour class of the page's style sheet.
        points: (x, y), x ascending.
        style: further classes: ``thin``, ``dashed``, ``steps``.
        label: whether the line is labelled where it ends.
        down_to: a line whose area between is shaded, by its index in the chart.
        band: (x, low, high) of an interval about the line, shaded; x ascending.
    """

    name: str
    colour: str
    points: Sequence[Point]
    style: str = ""
    label: bool = True
    down_to: int | None = None
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """What a line chart shows, and how its axes are written."""

    description: str
    lines: Sequence[Line]
    x_title: str
    y_title: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]
    width: int = WIDE
    height: int = 340
    x_whole: bool = False
    y_whole: bool = False
    log: bool = False
    clock: bool = False
    floor: float | None = None
    top: float | None = None
    x_readout: Callable[[float], str] | None = None
    y_readout: Callable[[float], str] | None = None
    label_values: bool = True

    def draw(self) -> str:
        """Draw the chart, or return nothing where there is nothing to show."""
        lines = [self._drawable(line) for line in self.lines]
        values = [y for line in lines for _, y in line.points]
        values += [end for line in lines for _, *ends in line.band for end in ends]
        xs = [x for line in lines for x, _ in line.points]
        if not values:
            return ""
        labels = {
            index: self._label(line)
            for index, line in enumerate(lines)
            if line.label and line.points
        }
        right = max([text_width("".join(label), 12.5) for label in labels.values()], default=0)
        low, high = log_span(values) if self.log else span(values, floor=self.floor, top=self.top)
        x_low, x_high = min(xs), max(xs)
        left = 14 + max(
            text_width(self.y_text(value), 12) for value in (low, high, (low + high) / 2)
        )
        if x_low == x_high:
            x_low = min(0.0, x_high - 1) if x_high <= 0 else 0.0
        margin = max(right + 18, text_width(self.x_text(x_high)) / 2 + 4, 16)
        x = (TimeAxis if self.clock else Linear)(x_low, x_high, left, self.width - margin)
        y_ends = self.height - 46, 44
        y = Log(low, high, *y_ends) if self.log else Linear(low, high, *y_ends)
        frame = Frame(
            x, y, self.x_title, self.y_title, self.x_text, self.y_text, self.x_whole, self.y_whole
        )
        parts = [frame.draw()]
        parts += [
            self._area(line, lines[line.down_to], frame)
            for line in lines
            if line.down_to is not None
        ]
        parts += [_band(line, frame) for line in lines if len(line.band) > 1]
        parts += [self._line(line, frame) for line in lines]
        parts.append(self._labels(lines, labels, frame))
        parts.append(self._readout(lines, frame))
        return picture(self.width, self.height, self.description, *parts)

    def _drawable(self, line: Line) -> Line:
        floor = -math.inf if self.floor is None else self.floor
        top = math.inf if self.top is None else self.top
        points = [(x, y) for x, y in line.points if math.isfinite(y) and (y > 0 or not self.log)]
        if self.log:  # An interval may reach below 0, where such an axis has no place.
            floor = min((y for _, y in points), default=1.0) / 2
        band = [
            (x, min(max(low, floor), top), min(max(high, floor), top))
            for x, low, high in line.band
            if math.isfinite(low) and math.isfinite(high)
        ]
        return replace(line, points=thin_out(points), band=sparse(band, POINTS_MAX))

    def _label(self, line: Line) -> tuple[str, str]:
        written = self.y_readout or self.y_text
        return line.name, f" {written(line.points[-1][1])}" if self.label_values else ""

    def _line(self, line: Line, frame: Frame) -> str:
        if not line.points:
            return ""
        classes = f"line {line.colour} {line.style}".strip()
        if len(line.points) == 1:
            x, y = line.points[0]
            return element(
                "circle", cx=frame.x(x), cy=frame.y(y), r=4, class_=f"mark {line.colour}"
            )
        return element("path", d=_path(line, frame), class_=classes)

    @staticmethod
    def _area(line: Line, other: Line, frame: Frame) -> str:
        if len(line.points) < 2 or len(other.points) < 2:
            return ""
        back = "".join(
            f"L{number(frame.x(x))} {number(frame.y(y))}" for x, y in reversed(other.points)
        )
        return element("path", d=f"{_path(line, frame)}{back}Z", class_=f"area {line.colour}")

    @staticmethod
    def _labels(lines: Sequence[Line], labels: dict[int, tuple[str, str]], frame: Frame) -> str:
        """Label each line where it ends; labels that would overlap keep apart, on leaders."""
        parts = []
        wanted = [frame.y(lines[index].points[-1][1]) for index in labels]
        placed = keep_apart(wanted, frame.y.end, frame.y.start)
        for (index, (name, value)), at, y in zip(labels.items(), wanted, placed, strict=True):
            line = lines[index]
            end = frame.x(line.points[-1][0])
            parts.append(
                element(
                    "path",
                    d=f"M{number(end + 2)} {number(at)}L{number(frame.x.end + 9)} {number(y)}",
                    class_=f"leader {line.colour}",
                )
            )
            parts.append(
                element(
                    "text",
                    escape(name),
                    element("tspan", escape(value), class_="value") if value else "",
                    x=frame.x.end + 13,
                    y=y + 4,
                    class_=f"label {line.colour}",
                )
            )
        return "".join(parts)

    def _readout(self, lines: Sequence[Line], frame: Frame) -> str:
        """Show every line's value at the pointer: each place is a group that CSS reveals."""
        places = sparse(sorted({x for line in lines for x, _ in line.points}))
        edges = [(a + b) / 2 for a, b in pairwise(places)]
        ends = [frame.x.low, *edges, frame.x.high]
        top, bottom = frame.y.end, frame.y.start
        parts = []
        for place, start, end in zip(places, ends, ends[1:], strict=False):
            x = frame.x(place)
            shown = [(line, y) for line in lines if (y := _at(line.points, place)) is not None]
            written = self.y_readout or self.y_text
            readout = f"{(self.x_readout or self.x_text)(place)}: " + " · ".join(
                f"{line.name} {written(y)}" for line, y in shown
            )
            while text_width(readout) > self.width and " · " in readout:
                readout = readout.rpartition(" · ")[0]
            marks = "".join(
                element("circle", cx=x, cy=frame.y(y), r=3.5, class_=f"mark {line.colour}")
                for line, y in shown
            )
            parts.append(
                element(
                    "g",
                    element(
                        "rect",
                        x=frame.x(start),
                        y=top,
                        width=max(1, frame.x(end) - frame.x(start)),
                        height=bottom - top,
                    ),
                    element("path", d=f"M{number(x)} {number(top)}V{number(bottom)}"),
                    marks,
                    text(self.width, 12, readout, class_="readout end"),
                    class_="spot",
                )
            )
        return "".join(parts)


def ascending(points: Sequence[Point]) -> list[Point]:
    """Hold x where it would go back: a laggard may end a round after others ended the next."""
    furthest = accumulate((x for x, _ in points), max)
    return [(x, y) for x, (_, y) in zip(furthest, points, strict=True)]


def thin_out(points: Sequence[Point], most: int = POINTS_MAX) -> list[Point]:
    """Keep the lowest and highest point of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    stretch = math.ceil(2 * len(points) / most)
    kept = [points[0]]
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    kept.append(points[-1])
    return [
        point for index, point in enumerate(kept) if index == 0 or point[0] > kept[index - 1][0]
    ]


def sparse(places: Sequence[Item], most: int = COLUMNS_MAX) -> list[Item]:
    """Keep evenly spread places, the last one among them."""
    if len(places) <= most:
        return list(places)
    return [places[round(index * (len(places) - 1) / (most - 1))] for index in range(most)]


def _band(line: Line, frame: Frame) -> str:
    """Shade the interval about a line."""
    there = "L".join(f"{number(frame.x(x))} {number(frame.y(high))}" for x, _, high in line.band)
    back = "L".join(
        f"{number(frame.x(x))} {number(frame.y(low))}" for x, low, _ in reversed(line.band)
    )
    return element("path", d=f"M{there}L{back}Z", class_=f"area {line.colour}")


def _path(line: Line, frame: Frame) -> str:
    steps = "steps" in line.style
    parts: list[str] = []
    for x, y in line.points:
        px, py = number(frame.x(x)), number(frame.y(y))
        if not parts:
            parts.append(f"M{px} {py}")
        else:
            parts.append(f"H{px}V{py}" if steps else f"L{px} {py}")
    return "".join(parts)


def _at(points: Sequence[Point], x: float) -> float | None:
    """Return the last value at or before x; None before the first."""
    index = bisect.bisect_right(points, x, key=lambda point: point[0])
    return points[index - 1][1] if index else None
