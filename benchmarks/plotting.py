"""Draws curves as SVG that reads well on light and dark ground."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 176, 64, 46
LABEL_GAP = 16
FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Curve:
    """A line with a band below it.

    Attributes:
        label: stands at its end.
        light, dark: its colour on light and on dark ground.
        points: x, value, and the lower edge of the band; values are shares of one.
    """

    label: str
    light: str
    dark: str
    points: list[tuple[float, float, float]]


@dataclass(frozen=True)
class Growth:
    """A line through measured points, on logarithmic scales.

    Attributes:
        label: stands at its end.
        light, dark: its colour on light and on dark ground.
        points: x and value, both positive.
    """

    label: str
    light: str
    dark: str
    points: list[tuple[float, float]]


def draw(curves: list[Curve], *, title: str, subtitle: str, x_label: str) -> str:
    """Return the SVG text."""
    x_max = max(point[0] for curve in curves for point in curve.points)

    def x(value: float) -> float:
        return LEFT + value / x_max * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = _head(title, subtitle, [(curve.light, curve.dark) for curve in curves])
    for tenth in range(0, 11, 2):
        height = y(tenth / 10)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}"'
            f' y2="{height:.1f}"/><text x="{LEFT - 8}" y="{height + 4:.1f}"'
            f' text-anchor="end">{tenth * 10}%</text>'
        )
    for quarter in range(5):
        value = x_max * quarter / 4
        parts.append(
            f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}"'
            f' text-anchor="middle">{value:.0f}</text>'
        )
    parts.append(_x_label(x_label))
    for i, curve in enumerate(curves):
        upper = [f"{x(at):.1f},{y(value):.1f}" for at, value, _ in curve.points]
        lower = [f"{x(at):.1f},{y(low):.1f}" for at, _, low in reversed(curve.points)]
        parts.append(f'<polygon class="band c{i}" points="{" ".join(upper + lower)}"/>')
        parts.append(f'<polyline class="line c{i}" points="{" ".join(upper)}"/>')
    for i, height in zip(*_spaced([y(curve.points[-1][1]) for curve in curves]), strict=True):
        curve = curves[i]
        text = f"{curve.label} {curve.points[-1][1]:.0%}"
        parts.append(
            f'<text class="name c{i}" x="{WIDTH - RIGHT + 10}" y="{height + 4:.1f}">'
            f"{escape(text)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def draw_growth(curves: list[Growth], *, title: str, subtitle: str, x_label: str) -> str:
    """Return the SVG text; each point is labelled with its value."""
    xs = [x for curve in curves for x, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    left, right = math.log10(min(xs)), math.log10(max(xs))

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = _head(title, subtitle, [(curve.light, curve.dark) for curve in curves])
    for power in range(low, high + 1):
        height = y(10.0**power)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}"'
            f' y2="{height:.1f}"/><text x="{LEFT - 8}" y="{height + 4:.1f}"'
            f' text-anchor="end">{_short(10.0**power)}</text>'
        )
    for value in dict.fromkeys(xs):
        parts.append(
            f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}"'
            f' text-anchor="middle">{_short(value)}</text>'
        )
    parts.append(_x_label(x_label))
    for i, curve in enumerate(curves):
        corners = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in curve.points)
        parts.append(f'<polyline class="line c{i}" points="{corners}"/>')
        for at, value in curve.points:
            below = 18 if i else -9
            parts.append(
                f'<circle class="dot c{i}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="3"/>'
                f'<text x="{x(at):.1f}" y="{y(value) + below:.1f}" text-anchor="middle">'
                f"{_short(value)}</text>"
            )
    for i, height in zip(*_spaced([y(curve.points[-1][1]) for curve in curves]), strict=True):
        parts.append(
            f'<text class="name c{i}" x="{WIDTH - RIGHT + 22}" y="{height + 4:.1f}">'
            f"{escape(curves[i].label)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _head(title: str, subtitle: str, colours: list[tuple[str, str]]) -> list[str]:
    """Return the opening, the styles and the titles; `colours` are for light and dark ground."""
    on_light = "".join(f".c{i}{{--c:{light}}}" for i, (light, _) in enumerate(colours))
    on_dark = "".join(f".c{i}{{--c:{dark}}}" for i, (_, dark) in enumerate(colours))
    style = (
        f"text{{font:13px {FONT};fill:#57606a}}.title{{font-size:16px;font-weight:600;"
        "fill:#1f2328}.grid{stroke:#57606a;stroke-opacity:.18}"
        ".line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round;"
        "stroke-linecap:round}.band{fill:var(--c);fill-opacity:.13}.dot{fill:var(--c)}"
        f".name{{fill:var(--c);font-weight:600}}{on_light}"
        "@media (prefers-color-scheme: dark){text{fill:#9198a1}.title{fill:#f0f6fc}"
        f".grid{{stroke:#9198a1;stroke-opacity:.25}}.name{{fill:var(--c)}}{on_dark}}}"
    )
    return [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
            f' width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">'
        ),
        f"<style>{style}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44">{escape(subtitle)}</text>',
    ]


def _x_label(text: str) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(text)}</text>'


def _spaced(heights: list[float]) -> tuple[list[int], list[float]]:
    """Order labels from top to bottom, and move those apart that would overlap."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(heights[i], placed[-1] + LABEL_GAP if placed else heights[i]))
    # The crowd grows downwards: lift it so that it stays around its middle.
    lift = sum(place - heights[i] for place, i in zip(placed, order, strict=True)) / len(order)
    return order, [place - min(lift, LABEL_GAP) for place in placed]
