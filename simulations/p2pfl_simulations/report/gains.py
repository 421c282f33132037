"""Who gains by joining, and who loses: every peer, sorted, beside how many rows it has.

Few peers stand below each other by name, as studies do in a forest plot; many stand side by side.
"""

import math
from collections.abc import Sequence
from statistics import median

from p2pfl.cli.figures import told_gain, told_interval
from p2pfl.cli.quantities import count, plural
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.report.axes import Frame, Linear, Log, log_span, span
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.lines import NARROW, WIDE
from p2pfl_simulations.report.metric_axis import gain_tick, gain_unit
from p2pfl_simulations.report.svg import element, number, picture, text, text_width, title
from p2pfl_simulations.report.timeline import legend
from p2pfl_simulations.results.run import EVEN, GAINS, LOSES, GainRow, RunResult

NAMED_MAX = 50  # Peers with a line each; more stand side by side.
PITCH = 19.0  # Of one such line.
NAME_MAX = 22  # Characters of a name that are shown.
COLUMNS_MAX = 1000  # Peers side by side: about a pixel each. Of more, every so many is shown.
BEYOND = 3.0
"""How far beyond all gains the axis follows intervals, in widths of the gains' range: an interval
from a handful of rows must not squeeze all others into a line."""

COLOURS = {GAINS: "good", EVEN: "muted", LOSES: "bad"}
OUTCOMES = {GAINS: "gains", EVEN: "no clear difference", LOSES: "loses"}

COLUMNS = (
    "peer",
    "name",
    "train_rows",
    "test_rows",
    "joint",
    "local",
    "pooled",
    "gain",
    "gain_low",
    "gain_high",
)


def gain_by_peer(run: RunResult) -> Drawing:
    """Draw each peer's gain with its interval, the least first, and its rows."""
    known = sorted_gains(run)
    rows = [[getattr(row, name) for name in COLUMNS] for row in known]
    if not known:
        return Drawing("gain-by-peer", "")
    draw = _lines if len(known) <= NAMED_MAX else _columns
    return Drawing("gain-by-peer", draw(known, run.primary), COLUMNS, rows)


def gain_against_rows(run: RunResult) -> Drawing:
    """Draw each peer's gain over the number of rows that it trains on."""
    known = sorted_gains(run)
    if len(known) < 2:
        return Drawing("gain-against-rows", "")
    names = ("peer", "name", "train_rows", "gain")
    rows = [[getattr(row, name) for name in names] for row in known]
    return Drawing("gain-against-rows", _scatter(known, run.primary), names, rows)


def sorted_gains(run: RunResult) -> list[GainRow]:
    """Return the peers whose gain is known, those that gain least first."""
    known = [row for row in run.gains if row.gain is not None and math.isfinite(row.gain)]
    return sorted(known, key=lambda row: (_gain(row), row.peer))


def _lines(rows: Sequence[GainRow], primary: PrimaryMetric) -> str:
    """A line each: name, rows, the gain on its axis, the gain in figures."""
    notes = [_figures(primary, row) for row in rows]
    names_end = 14 + max(text_width(_name(row)) for row in rows)
    bars_end = names_end + 110
    top, bottom = 52.0, 52.0 + PITCH * len(rows)
    right = WIDE - 24 - max(text_width(note) for note in notes)
    x = Linear(*_ends(rows, primary), bars_end + 34, right)
    most = max(row.train_rows for row in rows)
    parts = [
        text(0, top - 10, "peer", class_="title"),
        text(names_end, top - 10, "training rows", class_="title"),
        text(x.start, top - 10, _axis_title(primary), class_="title"),
        _vertical_grid(x, top, bottom, primary),
    ]
    for index, (row, note) in enumerate(zip(rows, notes, strict=True)):
        y = top + PITCH * (index + 0.5)
        colour = COLOURS.get(row.outcome, "muted")
        width = 50 * row.train_rows / most
        parts += [
            text(0, y + 4, _name(row), class_="tick"),
            element(
                "rect", x=names_end, y=y - 5, width=max(1, width), height=10, class_="gone c-muted"
            ),
            text(names_end + 56, y + 4, count(row.train_rows), class_="tick"),
            _whisker(x, y, row, colour),
            element("circle", cx=x(_gain(row)), cy=y, r=4.2, class_=f"mark c-{colour}"),
            text(WIDE - 8, y + 4, note, class_="tick end"),
            element(
                "rect",
                title(_said(primary, row)),
                x=0,
                y=y - PITCH / 2,
                width=WIDE,
                height=PITCH,
                class_="touch",
            ),
        ]
    parts.append(_legend(rows, x.start, bottom + 34))
    return picture(WIDE, bottom + 58, _description(rows, primary), *parts)


def _columns(rows: Sequence[GainRow], primary: PrimaryMetric) -> str:
    """A column each, side by side: the gain above, the rows below."""
    shown = _spread(rows)
    height, strip = 400.0, 64.0
    low, high = _ends(shown, primary)
    ticks = [gain_tick(primary, it) for it in Linear(low, high, 0, 1).ticks(6)]
    left = 14 + max(map(text_width, ticks))
    x = Linear(-0.5, len(shown) - 0.5, left, WIDE - 16)
    y = Linear(low, high, height - 8, 44)
    bottom = height + 24 + strip
    parts = [_horizontal_grid(y, x, primary), text(0, 30, _axis_title(primary), class_="title")]
    pitch = (x.end - x.start) / len(shown)
    for outcome, colour in COLOURS.items():
        whiskers, dots = [], []
        for index, row in enumerate(shown):
            if row.outcome != outcome and not (outcome == EVEN and row.outcome not in COLOURS):
                continue
            at = x(index)
            if row.gain_low is not None and row.gain_high is not None:
                ends = y(max(row.gain_low, low)), y(min(row.gain_high, high))
                whiskers.append(f"M{number(at)} {number(ends[0])}V{number(ends[1])}")
            dots.append(
                f"M{at - min(2.5, pitch):.1f} {number(y(_gain(row)))}h{min(5, 2 * pitch):.1f}"
            )
        parts.append(element("path", d="".join(whiskers), class_=f"whisker c-{colour}"))
        parts.append(element("path", d="".join(dots), class_=f"point c-{colour}"))
    most = max(row.train_rows for row in shown)
    scale = strip / math.log1p(most)  # One large peer must not flatten all others.
    bars = "".join(
        f"M{number(x(index))} {number(bottom)}v-{max(1, scale * math.log1p(row.train_rows)):.1f}"
        for index, row in enumerate(shown)
    )
    width = f"stroke-width:{max(0.6, pitch * 0.8):.2f}"
    parts += [
        element("path", d=bars, class_="shade c-muted", style=width),
        text(0, bottom - strip - 8, "training rows (log scale)", class_="title"),
        text(left - 8, bottom - strip + 12, count(most), class_="tick end"),
        text(x.end, bottom + 20, _sorted_note(rows, shown), class_="title end"),
        _legend(rows, left, bottom + 10),
        *_touches(shown, x, primary, bottom),
    ]
    return picture(WIDE, bottom + 28, _description(rows, primary), *parts)


def _scatter(rows: Sequence[GainRow], primary: PrimaryMetric) -> str:
    shown = _spread(rows)
    low, high = _span([0.0, *map(_gain, shown)], primary)
    ticks = [gain_tick(primary, it) for it in Linear(low, high, 0, 1).ticks(6)]
    x = Log(*log_span([row.train_rows for row in shown]), 14 + max(map(text_width, ticks)), 476)
    y = Linear(low, high, 274, 44)
    frame = Frame(
        x,
        y,
        "rows that the peer trains on (log scale)",
        _axis_title(primary),
        lambda value: f"{value:,.0f}",
        lambda value: gain_tick(primary, value),
    )
    dots = [
        element(
            "circle",
            title(_said(primary, row)),
            cx=x(row.train_rows),
            cy=y(_gain(row)),
            r=4 if len(shown) <= NAMED_MAX else 2.5,
            class_=f"mark c-{COLOURS.get(row.outcome, 'muted')}",
        )
        for row in shown
    ]
    return picture(
        NARROW,
        320,
        f"Gain of {plural(len(rows), 'peer')} against the rows that each trains on",
        frame.draw(),
        element("path", d=f"M{number(x.start)} {number(y(0))}H{number(x.end)}", class_="zero"),
        *dots,
    )


def _ends(rows: Sequence[GainRow], primary: PrimaryMetric) -> tuple[float, float]:
    """Return the ends of an axis of gains: it holds 0, all gains, and intervals within reason."""
    gains = [0.0, *map(_gain, rows)]
    halves = [
        (row.gain_high - row.gain_low) / 2
        for row in rows
        if row.gain_low is not None and row.gain_high is not None
    ]
    reach = BEYOND * max(max(gains) - min(gains), median(halves) if halves else 0.0)
    lows = [it for row in rows if (it := row.gain_low) is not None and math.isfinite(it)]
    highs = [it for row in rows if (it := row.gain_high) is not None and math.isfinite(it)]
    low = max(min([*gains, *lows]), min(gains) - reach)
    high = min(max([*gains, *highs]), max(gains) + reach)
    return _span([low, high], primary)


def _span(values: Sequence[float], primary: PrimaryMetric) -> tuple[float, float]:
    """Return round ends of an axis of gains; a share gains no more than all of it."""
    most = 1.0 if primary.is_percentage else None
    return span(values, floor=None if most is None else -most, top=most)


def _whisker(x: Linear, y: float, row: GainRow, colour: str) -> str:
    if row.gain_low is None or row.gain_high is None:
        return ""
    start, end = x(max(row.gain_low, x.low)), x(min(row.gain_high, x.high))
    path = f"M{number(start)} {number(y)}H{number(end)}"
    return element("path", d=path, class_=f"whisker c-{colour}")


def _vertical_grid(x: Linear, top: float, bottom: float, primary: PrimaryMetric) -> str:
    parts = []
    for value in x.ticks(6):
        at = number(x(value))
        parts.append(element("path", d=f"M{at} {number(top)}V{number(bottom)}", class_="grid"))
        parts.append(text(x(value), bottom + 17, gain_tick(primary, value), class_="tick mid"))
    zero = number(x(0))
    parts.append(element("path", d=f"M{zero} {number(top)}V{number(bottom)}", class_="zero"))
    return "".join(parts)


def _horizontal_grid(y: Linear, x: Linear, primary: PrimaryMetric) -> str:
    parts = []
    for value in y.ticks(6):
        at = number(y(value))
        parts.append(element("path", d=f"M{number(x.start)} {at}H{number(x.end)}", class_="grid"))
        parts.append(text(x.start - 8, y(value) + 4, gain_tick(primary, value), class_="tick end"))
    zero = number(y(0))
    parts.append(element("path", d=f"M{number(x.start)} {zero}H{number(x.end)}", class_="zero"))
    return "".join(parts)


def _touches(
    shown: Sequence[GainRow], x: Linear, primary: PrimaryMetric, bottom: float
) -> list[str]:
    """Say who is where under the pointer, of as many peers as a pointer can tell apart."""
    if len(shown) > 300:
        return []
    pitch = (x.end - x.start) / len(shown)
    return [
        element(
            "rect",
            title(_said(primary, row)),
            x=x(index) - pitch / 2,
            y=44,
            width=pitch,
            height=bottom - 44,
            class_="touch",
        )
        for index, row in enumerate(shown)
    ]


def _legend(rows: Sequence[GainRow], left: float, y: float) -> str:
    counts = {
        outcome: sum(row.outcome == outcome for row in rows) for outcome in (LOSES, EVEN, GAINS)
    }
    entries = {
        COLOURS[outcome]: ("gone", f"{OUTCOMES[outcome]}: {amount:,}")
        for outcome, amount in counts.items()
        if amount
    }
    return legend(entries, left, y)


def _spread(rows: Sequence[GainRow]) -> Sequence[GainRow]:
    if len(rows) <= COLUMNS_MAX:
        return rows
    last = len(rows) - 1
    return [rows[round(index * last / (COLUMNS_MAX - 1))] for index in range(COLUMNS_MAX)]


def _sorted_note(rows: Sequence[GainRow], shown: Sequence[GainRow]) -> str:
    of = f"{len(shown):,} of {len(rows):,}" if len(shown) < len(rows) else f"{len(rows):,}"
    return f"{of} peers, sorted by gain"


def _axis_title(primary: PrimaryMetric) -> str:
    unit = gain_unit(primary)
    return f"gain in {primary.title}{f', {unit}' if unit else ''}: above 0 is better together"


def _description(rows: Sequence[GainRow], primary: PrimaryMetric) -> str:
    return f"Gain in {primary.title} of {plural(len(rows), 'peer')} by joining, sorted"


def _figures(primary: PrimaryMetric, row: GainRow) -> str:
    gain = told_gain(primary, row.gain).removesuffix(" points")
    if row.gain_low is None:
        return gain
    return f"{gain} ({told_interval(primary, row.gain_low, row.gain_high)})"


def _said(primary: PrimaryMetric, row: GainRow) -> str:
    return (
        f"{row.name}: {told_gain(primary, row.gain)}"
        f" ({told_interval(primary, row.gain_low, row.gain_high)}),"
        f" trains on {plural(row.train_rows, 'row')}, tested on {row.test_rows:,}"
    )


def _name(row: GainRow) -> str:
    return row.name if len(row.name) <= NAME_MAX else f"{row.name[: NAME_MAX - 1]}…"


def _gain(row: GainRow) -> float:
    assert row.gain is not None
    return row.gain
