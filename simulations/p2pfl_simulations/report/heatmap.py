"""How the labels lie among the peers: one column a peer, one row a label."""

from collections import defaultdict
from collections.abc import Sequence

from p2pfl.cli.quantities import count
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.lines import WIDE
from p2pfl_simulations.report.svg import element, number, picture, text, text_width, title

COLUMNS_MAX = 240
SORTED_FROM = 65  # Peers: from here on columns are ordered by their main label.
SHADES = 8
BAR_HEIGHT = 54


def label_heatmap(label_counts: Sequence[Sequence[int]], sample_counts: Sequence[int]) -> Drawing:
    """Draw each peer's share of each label, below a bar of how many rows it has."""
    if not label_counts or not label_counts[0]:
        return Drawing("labels", "")
    columns = ("peer", "rows", *(f"label_{label}" for label in range(len(label_counts[0]))))
    rows = [
        (peer, total, *counts)
        for peer, (total, counts) in enumerate(zip(sample_counts, label_counts, strict=True))
    ]
    return Drawing("labels", _heatmap(label_counts, sample_counts), columns, rows)


def _heatmap(label_counts: Sequence[Sequence[int]], sample_counts: Sequence[int]) -> str:
    peers, labels = len(label_counts), len(label_counts[0])
    shown = columns_of(label_counts)
    row = max(6.0, min(22.0, 300 / labels))
    left, top = 66.0, 46.0 + BAR_HEIGHT
    width = (WIDE - 16 - left) / len(shown)
    bottom = top + labels * row
    parts = [_bars([sample_counts[peer] for peer in shown], shown, left, top, width)]
    stride = next(n for n in (1, 2, 5, 10, 20, 50, 100, 1000) if n * row >= 13)
    parts += [
        text(left - 8, top + label * row + row / 2 + 4, str(label), class_="tick end")
        for label in range(0, labels, stride)
    ]
    cells: dict[int, list[str]] = defaultdict(list)
    for column, peer in enumerate(shown):
        total = sum(label_counts[peer]) or 1
        x = left + column * width
        for label, amount in enumerate(label_counts[peer]):
            if amount:
                shade = min(SHADES - 1, int(amount / total * SHADES))
                y = top + label * row + row / 2
                cells[shade].append(
                    f"M{number(x)} {number(y)}h{number(max(0.5, width - min(1, width * 0.1)))}"
                )
    for shade, path in sorted(cells.items()):
        parts.append(
            element(
                "path",
                d="".join(path),
                class_=f"cell t-{shade}",
                style=f"stroke-width:{number(row - 1)}",
            )
        )
    if len(shown) == peers and peers < SORTED_FROM:
        step = next(n for n in (1, 2, 4, 8, 16) if n * width >= 24)
        parts += [
            text(left + (peer + 0.5) * width, bottom + 17, str(peer), class_="tick mid")
            for peer in range(0, peers, step)
        ]
    parts.append(text(0, top - 8, "label", class_="title"))
    parts.append(text(WIDE - 16, bottom + 34, _caption(peers, len(shown)), class_="title end"))
    parts.append(_key(left, bottom + 25))
    return picture(WIDE, bottom + 44, f"Labels of {peers} peers", *parts)


def columns_of(label_counts: Sequence[Sequence[int]]) -> list[int]:
    """Choose the peers to show, in order: all of few; of many, evenly among their main labels."""
    peers = list(range(len(label_counts)))
    if len(peers) < SORTED_FROM:
        return peers
    peers.sort(
        key=lambda p: (max(range(len(label_counts[p])), key=lambda c: label_counts[p][c]), p)
    )
    if len(peers) <= COLUMNS_MAX:
        return peers
    return [peers[index * len(peers) // COLUMNS_MAX] for index in range(COLUMNS_MAX)]


def _caption(peers: int, shown: int) -> str:
    if peers < SORTED_FROM:
        return "peer"
    if shown == peers:
        return f"{peers} peers, ordered by their main label"
    return f"{shown} of {peers:,} peers, ordered by their main label"


def _bars(rows: Sequence[int], shown: Sequence[int], left: float, top: float, width: float) -> str:
    most = max(*rows, 1)
    base = top - 6
    parts = [text(0, 30, "rows of data", class_="title")]
    parts.append(text(left - 8, base - BAR_HEIGHT + 10, count(most), class_="tick end"))
    for column, (peer, amount) in enumerate(zip(shown, rows, strict=True)):
        height = max(1, BAR_HEIGHT * amount / most)
        parts.append(
            element(
                "rect",
                title(f"peer {peer}: {amount:,} rows"),
                x=left + column * width,
                y=base - height,
                width=max(0.5, width - min(1, width * 0.1)),
                height=height,
                class_="gone c-muted",
            )
        )
    return "".join(parts)


def _key(left: float, y: float) -> str:
    parts = [text(left, y + 11, "share of the peer's rows  0", class_="tick")]
    at = left + text_width("share of the peer's rows  0") + 6
    parts += [
        element("rect", x=at + 16 * shade, y=y, width=16, height=13, class_=f"dot t-{shade}")
        for shade in range(SHADES)
    ]
    parts.append(text(at + 16 * SHADES + 6, y + 11, "100 %", class_="tick"))
    return "".join(parts)
