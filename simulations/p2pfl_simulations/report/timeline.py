"""The fault timeline: which peer was away when, and why; partitions across all of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from p2pfl.cli.quantities import duration, plural
from p2pfl_simulations.report.axes import Linear, TimeAxis
from p2pfl_simulations.report.drawing import Cell, Drawing
from p2pfl_simulations.report.lines import WIDE, Point
from p2pfl_simulations.report.svg import element, number, picture, point, text, text_width, title
from p2pfl_simulations.results.run import EventRow, RunResult, time_name

ROWS_MAX = 96  # Strips; with more peers, one strip shows several.
STRIPS_MAX = 3000  # Absences drawn one by one; more are shaded.
CELLS_MAX = 400  # Of one strip that shows several peers.
SHADES = 4  # Of such a cell: the share of its peers that were away.
EVENTS_MAX = 1500  # Marks of single events; more would be a solid block.
CAUSES = {"churn": "away", "dropout": "dropout", "crash": "crash"}
MARKS = {
    "round_lost": ("lost", "round lost"),
    "masked_sum_aborted": ("aborted", "no masked sum"),
    "training_failed": ("failed", "training failed"),
    "protocol_error": ("failed", "protocol error"),
}


@dataclass(frozen=True, slots=True)
class Absence:
    """A time in which a peer was offline: `cause` as the world's event tells it."""

    peer: int
    start_s: float
    end_s: float
    cause: str


def absences(run: RunResult) -> list[Absence]:
    """Pair each peer's `offline` with its next `online`; the run's end closes what is open."""
    gone: dict[int, EventRow] = {}
    found = []
    for event in run.events:
        if event.kind == "offline" and event.peer >= 0:
            gone.setdefault(event.peer, event)
        elif event.kind == "online" and event.peer in gone:
            start = gone.pop(event.peer)
            found.append(Absence(event.peer, start.virtual_s, event.virtual_s, start.detail))
    found += [Absence(p, e.virtual_s, run.virtual_s, e.detail) for p, e in sorted(gone.items())]
    return [absence for absence in found if absence.end_s > absence.start_s]


def partitions(run: RunResult) -> list[tuple[float, float]]:
    """Return the times in which the network was in parts."""
    starts = [event.virtual_s for event in run.events if event.kind == "partition"]
    ends = [event.virtual_s for event in run.events if event.kind == "healed"]
    return [
        (start, ends[index] if index < len(ends) else run.virtual_s)
        for index, start in enumerate(starts)
    ]


def online_over_time(run: RunResult) -> list[Point]:
    """Count the peers online, as steps over virtual time."""
    changes: Counter[float] = Counter()
    for absence in absences(run):
        changes[absence.start_s] -= 1
        if absence.end_s < run.virtual_s:
            changes[absence.end_s] += 1
    online = run.scenario.peers + changes.pop(0.0, 0)
    points = [(0.0, float(online))]
    for at, change in sorted(changes.items()):
        online += change
        points.append((at, float(online)))
    return [*points, (run.virtual_s, float(online))]


def fault_timeline(run: RunResult) -> Drawing:
    """Draw a strip for each peer, or for a few peers where there are many."""
    away, split = absences(run), partitions(run)
    marked = [event for event in run.events if event.kind in MARKS and event.peer >= 0]
    if not (away or marked or split) or run.virtual_s <= 0:
        return Drawing("fault-timeline", "")
    rows: list[tuple[Cell, ...]] = [
        *(("partition", None, start, end, "") for start, end in split),
        *(("offline", it.peer, it.start_s, it.end_s, it.cause) for it in away),
        *((it.kind, it.peer, it.virtual_s, it.virtual_s, it.detail) for it in marked),
    ]
    columns = ("what", "peer", "start_s", "end_s", "detail")
    return Drawing("fault-timeline", _timeline(run, away, split, marked), columns, rows)


def _timeline(
    run: RunResult,
    away: Sequence[Absence],
    split: Sequence[tuple[float, float]],
    marked: Sequence[EventRow],
) -> str:
    peers = run.scenario.peers
    per_row = -(-peers // ROWS_MAX)
    rows = -(-peers // per_row)
    pitch = max(5.0, min(13.0, 420 / rows))
    bar = pitch - (1 if pitch < 8 else 2)
    top, left = 46.0, 14 + text_width(f"{peers - 1:,}")
    bottom = top + rows * pitch
    x = TimeAxis(0, run.virtual_s, left, WIDE - 34)
    parts = [_tracks(rows, pitch, bar, top, x)]
    parts += [
        element(
            "rect",
            title(f"network in parts from {duration(start)} to {duration(end)}"),
            x=x(start),
            y=top - 3,
            width=max(2, x(end) - x(start)),
            height=bottom - top + 4,
            class_="split",
        )
        for start, end in split
    ]
    draw = _strips if per_row == 1 and len(away) <= STRIPS_MAX else _shades
    parts.append(draw(away, x, top, pitch, bar, per_row))
    parts.append(_marks(marked, x, top, pitch, per_row))
    parts.append(_row_labels(rows, per_row, peers, left, top, pitch))
    for value in x.ticks(8):
        parts.append(
            element("path", d=f"M{number(x(value))} {number(bottom + 2)}v5", class_="axis")
        )
        parts.append(text(x(value), bottom + 21, duration(value), class_="tick mid"))
    parts.append(text(x.end, bottom + 39, time_name(run.world), class_="title end"))
    parts.append(
        text(0, top - 12, "peer" if per_row == 1 else f"peers, {per_row} a strip", class_="title")
    )
    parts.append(_legend(away, marked, split, left + 90))
    label = f"When each of {plural(peers, 'peer')} was offline, and why"
    return picture(WIDE, bottom + 46, label, *parts)


def _tracks(rows: int, pitch: float, bar: float, top: float, x: Linear) -> str:
    lines = "".join(
        f"M{number(x.start)} {number(top + row * pitch + bar / 2)}H{number(x.end)}"
        for row in range(rows)
    )
    return element("path", d=lines, class_="track", style=f"stroke-width:{number(bar)}")


def _strips(
    away: Sequence[Absence], x: Linear, top: float, pitch: float, bar: float, per_row: int
) -> str:
    del per_row
    return "".join(
        element(
            "rect",
            title(
                f"peer {absence.peer}: {absence.cause or 'offline'},"
                f" {duration(absence.start_s)} to {duration(absence.end_s)}"
            ),
            x=x(absence.start_s),
            y=top + absence.peer * pitch,
            width=max(1.2, x(absence.end_s) - x(absence.start_s)),
            height=bar,
            class_=f"gone c-{_cause(absence.cause)}",
        )
        for absence in away
    )


def _shades(
    away: Sequence[Absence], x: Linear, top: float, pitch: float, bar: float, per_row: int
) -> str:
    """Shade each cell by the share of its peers' time that they were away, by main cause."""
    cell_s = (x.high - x.low) / CELLS_MAX
    cells: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for absence in away:
        first = min(int(absence.start_s / cell_s), CELLS_MAX - 1)
        last = min(int(absence.end_s / cell_s), CELLS_MAX - 1)
        for column in range(first, last + 1):
            start, end = column * cell_s, (column + 1) * cell_s
            covered = min(end, absence.end_s) - max(start, absence.start_s)
            cells[absence.peer // per_row, column][_cause(absence.cause)] += covered / cell_s
    paths: dict[tuple[str, int], list[str]] = defaultdict(list)
    width = (x.end - x.start) / CELLS_MAX
    for (row, column), seconds in sorted(cells.items()):
        cause = max(sorted(seconds), key=lambda name: seconds[name])
        shade = max(1, min(SHADES, round(sum(seconds.values()) / per_row * SHADES + 0.3)))
        corner = point(x.start + column * width, top + row * pitch + bar / 2)
        paths[cause, shade].append(f"M{corner}h{number(width + 0.1)}")
    return "".join(
        element(
            "path",
            d="".join(path),
            class_=f"shade c-{cause}",
            style=f"stroke-width:{number(bar)};stroke-opacity:{shade / SHADES:.2f}",
        )
        for (cause, shade), path in sorted(paths.items())
    )


def _marks(events: Sequence[EventRow], x: Linear, top: float, pitch: float, per_row: int) -> str:
    """Tick the moments in which a peer lost a round or failed."""
    paths: dict[str, list[str]] = defaultdict(list)
    for event in _spread(events, EVENTS_MAX):
        y = top + (event.peer // per_row) * pitch
        corner = point(x(min(event.virtual_s, x.high)), y - 0.5)
        paths[MARKS[event.kind][0]].append(f"M{corner}v{number(max(pitch - 1, 3))}")
    return "".join(
        element("path", d="".join(path), class_=f"tickmark c-{colour}")
        for colour, path in sorted(paths.items())
    )


def _spread(events: Sequence[EventRow], most: int) -> Iterable[EventRow]:
    if len(events) <= most:
        return events
    return (events[index * len(events) // most] for index in range(most))


def _row_labels(rows: int, per_row: int, peers: int, left: float, top: float, pitch: float) -> str:
    """Name every so many strips that the names keep apart."""
    stride = next(n for n in (1, 2, 4, 5, 8, 10, 20, 25, 50) if n * pitch >= 13)
    return "".join(
        text(
            left - 8,
            top + row * pitch + pitch / 2 + 3,
            f"{min(row * per_row, peers - 1):,}",
            class_="tick end small",
        )
        for row in range(0, rows, stride)
    )


def _legend(
    away: Sequence[Absence],
    marked: Sequence[EventRow],
    split: Sequence[object],
    left: float,
) -> str:
    entries: dict[str, tuple[str, str]] = {}
    for absence in away:
        name = absence.cause if absence.cause in CAUSES else "offline"
        entries[_cause(absence.cause)] = ("gone", name if name != "churn" else "away (churn)")
    if split:
        entries["split"] = ("split", "network partition")
    for event in marked:
        colour, name = MARKS[event.kind]
        entries[colour] = ("gone", name)
    return legend(entries, left, 22)


def legend(entries: Mapping[str, tuple[str, str]], left: float, y: float) -> str:
    """Draw a row of swatches with their names: colour -> (class of the swatch, name)."""
    parts = []
    for colour, (swatch, name) in entries.items():
        parts.append(
            element("rect", x=left, y=y + 3, width=12, height=10, class_=f"{swatch} c-{colour}")
        )
        parts.append(text(left + 17, y + 12, name, class_="tick"))
        left += 17 + text_width(name) + 22
    return "".join(parts)


def _cause(detail: str) -> str:
    return CAUSES.get(detail, "away")
