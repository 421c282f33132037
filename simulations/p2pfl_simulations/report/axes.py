"""Axes: scales, round tick values, the frame of a plot, and labels that keep apart."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pfl_simulations.report.svg import element, text, text_width

TICK_GAP = 14  # Between two tick labels, in units of the drawing.
CLOCK_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
SAME = 1e-9  # Relative: what differs by less is one value, such as a mean of equal figures.
LABEL_HEIGHT = 16  # Of one direct label, with the room that keeps it apart from the next.


@dataclass(frozen=True, slots=True)
class Linear:
    """Maps values between `low` and `high` to positions between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, wanted: int, *, whole: bool = False) -> list[float]:
        """Return round values within the scale, about as many as wanted."""
        step = nice_step((self.high - self.low) / max(1, wanted), whole=whole)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Log:
    """Maps positive values by their logarithm."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value; what is below the scale lies at its start."""
        low, high = math.log10(self.low), math.log10(self.high)
        share = (math.log10(max(value, self.low)) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int, *, whole: bool = False) -> list[float]:
        """Return powers of ten; with 2 and 5 between them where there are few."""
        del whole
        low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        stride = max(1, math.ceil((high - low) / max(1, wanted)))
        leads = (1, 2, 5) if math.log10(self.high / self.low) <= 2.2 else (1,)
        values = [lead * 10.0**power for power in range(low, high + 1, stride) for lead in leads]
        return [v for v in values if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


@dataclass(frozen=True, slots=True)
class TimeAxis(Linear):
    """Maps seconds; its ticks are whole minutes, hours or days where it spans several."""

    def ticks(self, wanted: int, *, whole: bool = False) -> list[float]:
        """Return times as people count them, about as many as wanted."""
        rough = (self.high - self.low) / max(1, wanted)
        step = next((step for step in CLOCK_STEPS_S if step >= rough), None)
        if self.high < 120 or step is None:
            return Linear.ticks(self, wanted, whole=whole)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, int(self.high / step + 1e-9) + 1)]


Scale = Linear | Log


def nice_step(step: float, *, whole: bool = False) -> float:
    """Return the next of 1, 2, 2.5, 5 times a power of ten that is no smaller."""
    if whole and step <= 1:
        return 1
    power = 10.0 ** math.floor(math.log10(step))
    leads = (1, 2, 5, 10) if whole and power < 10 else (1, 2, 2.5, 5, 10)
    return next(power * lead for lead in leads if power * lead >= step * (1 - 1e-9))


def span(
    values: Sequence[float], *, floor: float | None = None, top: float | None = None
) -> tuple[float, float]:
    """Return round ends of an axis that holds all values, and no more than needed.

    Args:
        values: at least one.
        floor: an end that the axis does not pass below, such as 0 of a share.
        top: the same above, such as 1.
    """
    low, high = min(values), max(values)
    if high - low <= SAME * max(abs(low), abs(high)):
        high = low
    room = (high - low) * 0.04 or abs(high) * 0.05 or 0.5
    step = nice_step((high - low + 2 * room) / 5)
    low, high = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    if floor is not None:
        low = max(low, floor)
    if top is not None:
        high = min(high, top)
    return (low, high) if high > low else (low, low + step)


def log_span(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis: whole powers of ten, or thirds of one if near."""
    low, high = math.log10(min(values)), math.log10(max(values))
    if high - low < 1:
        return 10 ** (low - 0.1 * (high - low + 0.5)), 10 ** (high + 0.1 * (high - low + 0.5))
    return 10 ** (math.floor(low * 3) / 3), 10 ** (math.ceil(high * 3) / 3)


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a plot: its scales and what its axes are called."""

    x: Scale
    y: Scale
    x_title: str
    y_title: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]
    x_whole: bool = False
    y_whole: bool = False

    def draw(self) -> str:
        """Draw grid, ticks and titles; the unit stands in the ticks or in the title."""
        left, right = self.x.start, self.x.end
        bottom, top = self.y.start, self.y.end
        parts = []
        for value in self.y.ticks(max(2, int((bottom - top) / 48)), whole=self.y_whole):
            at = self.y(value)
            parts.append(element("path", d=f"M{left:.0f} {at:.1f}H{right:.0f}", class_="grid"))
            parts.append(text(left - 8, at + 4, self.y_text(value), class_="tick end"))
        for value in self._x_ticks():
            at = self.x(value)
            parts.append(element("path", d=f"M{at:.1f} {bottom:.0f}v5", class_="axis"))
            parts.append(text(at, bottom + 19, self.x_text(value), class_="tick mid"))
        parts.append(element("path", d=f"M{left:.0f} {bottom:.0f}H{right:.0f}", class_="axis"))
        parts.append(text(right, bottom + 37, self.x_title, class_="title end"))
        parts.append(text(0, top - 14, self.y_title, class_="title"))
        return "".join(parts)

    def _x_ticks(self) -> list[float]:
        """Take as many ticks as fit: no two labels touch, none leaves the drawing."""
        for wanted in range(10, 1, -1):
            ticks = self.x.ticks(wanted, whole=self.x_whole)
            widths = [text_width(self.x_text(value)) for value in ticks]
            gaps = [
                self.x(b) - self.x(a) - (wa + wb) / 2
                for a, b, wa, wb in zip(ticks, ticks[1:], widths, widths[1:], strict=False)
            ]
            if all(gap >= TICK_GAP for gap in gaps):
                return ticks
        return self.x.ticks(1, whole=self.x_whole)[:1]


def keep_apart(
    wanted: Sequence[float], low: float, high: float, gap: float = LABEL_HEIGHT
) -> list[float]:
    """Move positions as little as needed so that all are `gap` apart and within the bounds.

    Labels that would overlap are pooled, and each pool is centred on its labels' mean (pool
    adjacent violators, the least-squares solution).
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Without the gaps the condition is that positions do not decrease.
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        pools.append((wanted[index] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean_b, size_b), (mean_a, size_a) = pools.pop(), pools.pop()
            size = size_a + size_b
            pools.append(((mean_a * size_a + mean_b * size_b) / size, size))
    room = max(low, high - (len(wanted) - 1) * gap)
    flat = [min(max(mean, low), room) for mean, size in pools for _ in range(size)]
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed
