"""Draws curves as SVG that reads well on light and dark ground."""

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


def draw(curves: list[Curve], *, title: str, subtitle: str, x_label: str) -> str:
    """Return the SVG text."""
    x_max = max(point[0] for curve in curves for point in curve.points)

    def x(value: float) -> float:
        return LEFT + value / x_max * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    light = "".join(f".c{i}{{--c:{curve.light}}}" for i, curve in enumerate(curves))
    dark = "".join(f".c{i}{{--c:{curve.dark}}}" for i, curve in enumerate(curves))
    style = (
        f"text{{font:13px {FONT};fill:#57606a}}.title{{font-size:16px;font-weight:600;"
        "fill:#1f2328}.grid{stroke:#57606a;stroke-opacity:.18}"
        ".line{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round;"
        "stroke-linecap:round}.band{fill:var(--c);fill-opacity:.13}"
        f".name{{fill:var(--c);font-weight:600}}{light}"
        "@media (prefers-color-scheme: dark){text{fill:#9198a1}.title{fill:#f0f6fc}"
        f".grid{{stroke:#9198a1;stroke-opacity:.25}}.name{{fill:var(--c)}}{dark}}}"
    )
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
            f' width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">'
        ),
        f"<style>{style}</style>",
        f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44">{escape(subtitle)}</text>',
    ]
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
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
    )
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


def _spaced(heights: list[float]) -> tuple[list[int], list[float]]:
    """Order labels from top to bottom, and move those apart that would overlap."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(heights[i], placed[-1] + LABEL_GAP if placed else heights[i]))
    # The crowd grows downwards: lift it so that it stays around its middle.
    lift = sum(place - heights[i] for place, i in zip(placed, order, strict=True)) / len(order)
    return order, [place - min(lift, LABEL_GAP) for place in placed]
