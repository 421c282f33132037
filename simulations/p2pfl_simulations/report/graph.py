"""The last round's exchange as a picture: cohorts as clusters, other graphs on a circle."""

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.lines import NARROW
from p2pfl_simulations.report.metric_axis import metric_axis
from p2pfl_simulations.report.svg import element, picture, point, text, text_width, title

SHADES = 8
COHORTS_MAX, ALONE_MAX = 160, 60  # Drawn at most.
CIRCLE_MAX = 160  # Peers; on a circle of more, edges and dots run together.
AROUND_MAX = 90  # Peers drawn of such a graph.
COHORT_MAX = 64  # Members; a larger clique is drawn on the circle.

Position: TypeAlias = tuple[float, float]
Edge: TypeAlias = tuple[int, int]
Layout: TypeAlias = tuple[dict[int, Position], float]
"""Where each peer is drawn, and how large."""


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


def exchange_picture(
    neighbours: Sequence[Sequence[int]], figures: Mapping[int, float], primary: PrimaryMetric
) -> Drawing:
    """Draw who exchanged with whom in the last round; dots are shaded by peers' figures."""
    if not any(neighbours):
        return Drawing("exchange", "")
    rows = [
        (peer, figures.get(peer), " ".join(map(str, partners)))
        for peer, partners in enumerate(neighbours)
    ]
    columns = ("peer", primary.name, "partners")
    known = {peer: figure for peer, figure in figures.items() if math.isfinite(figure)}
    return Drawing("exchange", _picture(neighbours, known, primary), columns, rows)


def _picture(
    neighbours: Sequence[Sequence[int]], figures: Mapping[int, float], primary: PrimaryMetric
) -> str:
    written = metric_axis(primary).readout
    height, area = 430.0, 390.0
    cohorts = cohorts_of(neighbours)
    edges = sorted(
        {(min(p, q), max(p, q)) for p, row in enumerate(neighbours) for q in row if p != q}
    )
    note = ""
    if cohorts is not None:
        alone = [p for p, row in enumerate(neighbours) if not row][:ALONE_MAX]
        shown = cohorts[:COHORTS_MAX]
        positions, radius = _clusters(shown, alone, NARROW, area)
        edges = [(p, q) for p, q in edges if p in positions]
        if len(shown) < len(cohorts):
            note = f"{len(shown)} of {len(cohorts):,} cohorts"
    elif len(neighbours) <= CIRCLE_MAX:
        positions, radius = _circle(len(neighbours), NARROW, area)
    else:
        positions, radius = _around(edges, NARROW, area)
        edges = [(p, q) for p, q in edges if p in positions and q in positions]
        note = (
            f"{len(positions)} of {len(neighbours):,} peers: the nearest to peer {min(positions)}"
        )
    lines = "".join(f"M{point(*positions[p])}L{point(*positions[q])}" for p, q in edges)
    opacity = max(0.12, min(0.7, 200 / len(edges)))
    parts = [element("path", d=lines, class_="edge", style=f"stroke-opacity:{opacity:.2f}")]
    low, high = (min(figures.values()), max(figures.values())) if figures else (0.0, 1.0)
    for peer, (x, y) in sorted(positions.items()):
        figure = figures.get(peer)
        shade = "none" if figure is None else str(_shade(figure, low, high))
        said = "" if figure is None else f", {primary.title} {written(figure)}"
        said += "" if neighbours[peer] else ", no partner"
        parts.append(
            element(
                "circle", title(f"peer {peer}{said}"), cx=x, cy=y, r=radius, class_=f"dot s-{shade}"
            )
        )
    ends = (f"{primary.title} {written(low)}", written(high)) if figures else None
    parts.append(_key(ends, height))
    if note:
        parts.append(text(0, height + 12, note, class_="tick"))
        height += 18
    what = f"{len(cohorts)} cohorts" if cohorts else f"{len(edges):,} edges"
    return picture(NARROW, height, f"Who exchanged in the last round: {what}", *parts)


def _clusters(
    cohorts: Sequence[Sequence[int]], alone: Sequence[int], width: float, height: float
) -> Layout:
    """Lay cohorts out in a grid of small circles, and those without a partner in rows below."""
    pitch = 17.0
    per_row = int(width // pitch)
    below = 14 + pitch * -(-len(alone) // per_row) if alone else 0.0
    height -= below
    columns = max(
        range(1, len(cohorts) + 1),
        key=lambda n: min(width / n, height / -(-len(cohorts) // n)),
    )
    across, down = width / columns, height / -(-len(cohorts) // columns)
    ring = min(across, down) * 0.34
    radius = max(1.2, min(7.5, ring * math.sin(math.pi / max(map(len, cohorts))) * 0.75))
    positions: dict[int, Position] = {}
    for index, cohort in enumerate(cohorts):
        centre = (index % columns + 0.5) * across, (index // columns + 0.5) * down
        for place, peer in enumerate(cohort):
            positions[peer] = _at(centre, ring, 2 * math.pi * place / len(cohort) - math.pi / 2)
    for place, peer in enumerate(alone):
        row, column = divmod(place, per_row)
        positions[peer] = (8 + pitch * column, height + 22 + pitch * row)
    return positions, radius


def _circle(peers: int, width: float, height: float) -> Layout:
    ring = min(width, height) / 2 - 12
    radius = max(1.2, min(8.0, ring * math.sin(math.pi / max(2, peers)) * 0.8))
    centre = width / 2, height / 2 + 4
    return {
        peer: _at(centre, ring, 2 * math.pi * peer / peers - math.pi / 2) for peer in range(peers)
    }, radius


def _around(edges: Sequence[Edge], width: float, height: float) -> Layout:
    """Lay out the peers nearest to one, in rings by how many exchanges they are away.

    A whole graph of a thousand peers is a blot; how fast the rings grow is what tells how fast
    models spread. Each peer stands outside the one it was reached from, in a sector as wide as
    its share of the outermost peers.
    """
    links: dict[int, list[int]] = defaultdict(list)
    for p, q in edges:
        links[p].append(q)
        links[q].append(p)
    first = min(links)
    distance, reached_from = {first: 0}, {}
    queue = deque([first])
    while queue and len(distance) < AROUND_MAX:
        peer = queue.popleft()
        for other in links[peer]:
            if other not in distance and len(distance) < AROUND_MAX:
                distance[other], reached_from[other] = distance[peer] + 1, peer
                queue.append(other)
    children: dict[int, list[int]] = defaultdict(list)
    for peer, parent in reached_from.items():
        children[parent].append(peer)
    ends: dict[int, int] = {}
    for peer in reversed(distance):
        ends[peer] = sum(ends[child] for child in children[peer]) or 1
    centre, reach = (width / 2, height / 2 + 14), min(width, height) / 2 - 18
    start, positions = {first: 0.0}, {}
    for peer, rings in distance.items():
        angle = 2 * math.pi * (start[peer] + ends[peer] / 2) / ends[first] - math.pi / 2
        positions[peer] = _at(centre, reach * rings / max(distance.values()), angle)
        taken = start[peer]
        for child in children[peer]:
            start[child] = taken
            taken += ends[child]
    return positions, 5.0


def _at(centre: Position, distance: float, angle: float) -> Position:
    return centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)


def _key(ends: tuple[str, str] | None, height: float) -> str:
    """Draw what the shades mean, from one end to the other."""
    y = height - 22
    if ends is None:
        return text(0, y + 10, "no figure was measured", class_="tick")
    low, high = ends
    parts = [text(0, y + 11, low, class_="tick")]
    left = text_width(low) + 10
    parts += [
        element("rect", x=left + 16 * shade, y=y, width=16, height=13, class_=f"dot s-{shade}")
        for shade in range(SHADES)
    ]
    left += 16 * SHADES + 8
    parts.append(text(left, y + 11, high, class_="tick"))
    left += text_width(high) + 24
    parts.append(element("circle", cx=left, cy=y + 6.5, r=6, class_="dot s-none"))
    parts.append(text(left + 12, y + 11, "not evaluated", class_="tick"))
    return "".join(parts)


def _shade(figure: float, low: float, high: float) -> int:
    if high <= low:
        return SHADES - 1
    return min(SHADES - 1, int((figure - low) / (high - low) * SHADES))
