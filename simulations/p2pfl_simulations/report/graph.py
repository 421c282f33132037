"""The last round's exchange as a picture: cohorts as clusters, other graphs on a circle."""

import math
from collections.abc import Mapping, Sequence

from p2pfl_simulations.quantities import percent
from p2pfl_simulations.report.lines import NARROW
from p2pfl_simulations.report.svg import element, picture, point, text, title

SHADES = 8
EDGES_MAX = 3000
COHORT_MAX = 64  # Members; a larger clique is drawn on the circle.

Position = tuple[float, float]


def cohorts_of(neighbours: Sequence[Sequence[int]]) -> list[list[int]] | None:
    """Return the cohorts if the graph is a set of disjoint cliques, else None."""
    members = [frozenset((peer, *others)) for peer, others in enumerate(neighbours)]
    cohorts = sorted({cohort for cohort in members if len(cohort) > 1}, key=sorted)
    if not cohorts or max(map(len, cohorts)) > COHORT_MAX:
        return None
    if any(members[peer] != cohort for cohort in cohorts for peer in cohort):
        return None
    if len(cohorts) == 1 and len(cohorts[0]) > 16:
        return None
    return [sorted(cohort) for cohort in cohorts]


def exchange_picture(neighbours: Sequence[Sequence[int]], accuracy: Mapping[int, float]) -> str:
    """Draw who exchanged with whom in the last round; dots are shaded by accuracy."""
    edges = sorted(
        {(min(p, q), max(p, q)) for p, row in enumerate(neighbours) for q in row if p != q}
    )
    if not edges:
        return ""
    height = 430.0
    cohorts = cohorts_of(neighbours)
    if cohorts is not None:
        alone = [p for p, row in enumerate(neighbours) if not row]
        positions, radius = _clusters(cohorts, alone, NARROW, height - 40)
    else:
        positions, radius = _circle(len(neighbours), NARROW, height - 40)
    drawn = edges if len(edges) <= EDGES_MAX else edges[:: -(-len(edges) // EDGES_MAX)]
    lines = "".join(f"M{point(*positions[p])}L{point(*positions[q])}" for p, q in drawn)
    opacity = max(0.12, min(0.7, 200 / len(drawn)))
    parts = [element("path", d=lines, class_="edge", style=f"stroke-opacity:{opacity:.2f}")]
    low, high = (min(accuracy.values()), max(accuracy.values())) if accuracy else (0.0, 1.0)
    for peer, (x, y) in enumerate(positions):
        figure = accuracy.get(peer)
        shade = "none" if figure is None else str(_shade(figure, low, high))
        note = "" if figure is None else f", accuracy {percent(figure)}"
        note += "" if neighbours[peer] else ", no partner"
        parts.append(
            element(
                "circle",
                title(f"peer {peer}{note}"),
                cx=x,
                cy=y,
                r=radius,
                class_=f"dot s-{shade}",
            )
        )
    parts.append(_key(low, high, height, bool(accuracy)))
    if len(drawn) < len(edges):
        parts.append(text(0, 14, f"{len(drawn):,} of {len(edges):,} edges drawn", class_="tick"))
    what = f"{len(cohorts)} cohorts" if cohorts else f"{len(edges):,} edges"
    return picture(NARROW, height, f"Who exchanged in the last round: {what}", *parts)


def _clusters(
    cohorts: Sequence[Sequence[int]], alone: Sequence[int], width: float, height: float
) -> tuple[list[Position], float]:
    """Lay cohorts out in a grid of small circles, and those without a partner in rows below."""
    peers = sum(map(len, cohorts)) + len(alone)
    below = 0.0
    if alone:
        per_row = max(1, int(width // 14))
        below = 22.0 + 14 * (-(-len(alone) // per_row))
    height -= below
    columns = max(
        range(1, len(cohorts) + 1),
        key=lambda n: min(width / n, height / -(-len(cohorts) // n)),
    )
    rows = -(-len(cohorts) // columns)
    cell = min(width / columns, height / rows)
    ring = cell * 0.36
    radius = max(1.2, min(8.0, ring * math.sin(math.pi / max(map(len, cohorts))) * 0.8))
    left, top = (width - columns * width / columns) / 2, 4.0
    positions: list[Position] = [(0.0, 0.0)] * peers
    for index, cohort in enumerate(cohorts):
        cx = left + (index % columns + 0.5) * width / columns
        cy = top + (index // columns + 0.5) * height / rows
        for place, peer in enumerate(cohort):
            angle = 2 * math.pi * place / len(cohort) - math.pi / 2
            positions[peer] = cx + ring * math.cos(angle), cy + ring * math.sin(angle)
    for place, peer in enumerate(alone):
        per_row = max(1, int(width // 14))
        positions[peer] = (8 + 14 * (place % per_row), top + height + 22 + 14 * (place // per_row))
    return positions, radius


def _circle(peers: int, width: float, height: float) -> tuple[list[Position], float]:
    ring = min(width, height) / 2 - 12
    radius = max(1.2, min(8.0, ring * math.sin(math.pi / max(2, peers)) * 0.8))
    centre = width / 2, height / 2 + 4
    return [
        (
            centre[0] + ring * math.cos(2 * math.pi * peer / peers - math.pi / 2),
            centre[1] + ring * math.sin(2 * math.pi * peer / peers - math.pi / 2),
        )
        for peer in range(peers)
    ], radius


def _key(low: float, high: float, height: float, measured: bool) -> str:
    """Draw what the shades mean."""
    y = height - 22
    if not measured:
        return text(0, y + 10, "no accuracy was measured", class_="tick")
    parts = [text(0, y + 11, f"accuracy {percent(low)}", class_="tick")]
    left = 106.0
    parts += [
        element("rect", x=left + 16 * shade, y=y, width=16, height=13, class_=f"dot s-{shade}")
        for shade in range(SHADES)
    ]
    parts.append(text(left + 16 * SHADES + 8, y + 11, percent(high), class_="tick"))
    parts.append(
        element("circle", cx=left + 16 * SHADES + 82, cy=y + 6.5, r=6, class_="dot s-none")
    )
    parts.append(text(left + 16 * SHADES + 94, y + 11, "not evaluated", class_="tick"))
    return "".join(parts)


def _shade(figure: float, low: float, high: float) -> int:
    if high <= low:
        return SHADES - 1
    return min(SHADES - 1, int((figure - low) / (high - low) * SHADES))
