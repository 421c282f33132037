"""The charts of one run's figures: on the peers' own test rows first, on the common ones second."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from p2pfl.cli.quantities import data_size, scientific
from p2pfl.group.settings import FedAvgSettings, GroupSettings, NoAveragingSettings
from p2pfl_simulations.report.bars import histogram
from p2pfl_simulations.report.drawing import Drawing, by_round
from p2pfl_simulations.report.lines import NARROW, Chart, Line, Point, ascending
from p2pfl_simulations.report.metric_axis import metric_axis
from p2pfl_simulations.results.run import RoundRow, RunResult

Rows: TypeAlias = Literal["own", "common"]
"""Which test rows: each peer's own, or those that are common to all."""

OWN = ("own_mean", "own_worst", "own_local_mean", "own_local_worst", "own_pooled_mean")
COMMON = (
    "common_mean",
    "common_worst",
    "common_averaged",
    "common_local_mean",
    "common_local_worst",
    "common_pooled",
)
COLUMNS: dict[Rows, Sequence[str]] = {"own": OWN, "common": COMMON}
"""Of the tables behind charts: as in `rounds.parquet`."""


def rows_of(run: RunResult) -> Rows:
    """Say which test rows a run's main charts are of: own ones, where peers have them."""
    return "own" if any(row.own_mean is not None for row in run.rounds) else "common"


def figures_over_rounds(run: RunResult, on: Rows) -> Drawing:
    """Draw a run's figures on some test rows against the round."""
    rows = _measured(run, on)
    name, axis = lines_name(run), metric_axis(run.primary)
    pooled = "own_pooled_mean" if on == "own" else "common_pooled"
    lines = [
        Line("Local only worst", "c-local", _points(rows, f"{on}_local_worst"), "thin"),
        Line("Local only mean", "c-local", _points(rows, f"{on}_local_mean"), down_to=0),
        Line("Pooled", "c-pooled", _points(rows, pooled), "dashed"),
        Line(f"{name} worst", "c-gossip", _points(rows, f"{on}_worst"), "thin"),
    ]
    if on == "common":
        averaged = _points(rows, "common_averaged")
        lines.append(Line("Averaged model", "c-averaged", averaged, "dashed"))
    lines.append(Line(f"{name} mean", "c-gossip", _points(rows, f"{on}_mean"), down_to=3))
    whose = "each peer's own" if on == "own" else "the common"
    picture = Chart(
        description=(
            f"{axis.title} on {whose} test rows over {len(run.rounds)} rounds, against local only"
            " and pooled"
        ),
        lines=lines,
        x_title="round",
        y_title=axis.title,
        x_text=lambda value: f"{value:,.0f}",
        y_text=axis.tick,
        y_readout=axis.readout,
        x_readout=lambda value: f"round {value:.0f}",
        height=400,
        x_whole=True,
        floor=axis.floor,
        top=axis.top,
    ).draw()
    columns = COLUMNS[on]
    return Drawing(
        f"{on}-test-rows-over-rounds", picture, ("round", *columns), by_round(rows, columns)
    )


def figures_over_bytes(run: RunResult) -> Drawing:
    """Draw the figures against what a peer had sent by then; the baselines send nothing."""
    on = rows_of(run)
    rows = _measured(run, on)
    if not rows or not rows[-1].bytes_sent:
        return Drawing("figures-over-bytes", "")
    sent = [row.bytes_sent / run.scenario.peers for row in rows]
    name, axis = lines_name(run), metric_axis(run.primary)

    def by_bytes(figure: str) -> list[Point]:
        values = ((x, getattr(row, figure)) for x, row in zip(sent, rows, strict=True))
        return ascending([(x, y) for x, y in values if y is not None])

    def level(figure: str) -> list[Point]:
        value = getattr(rows[-1], figure)
        return [] if value is None else [(min(sent), value), (max(sent), value)]

    pooled = "own_pooled_mean" if on == "own" else "common_pooled"
    picture = Chart(
        description=f"{axis.title} against the bytes that a peer has sent",
        lines=[
            Line("Local only", "c-local", level(f"{on}_local_mean"), "dashed"),
            Line("Pooled", "c-pooled", level(pooled), "dashed"),
            Line(f"{name} worst", "c-gossip", by_bytes(f"{on}_worst"), "thin"),
            Line(f"{name} mean", "c-gossip", by_bytes(f"{on}_mean"), down_to=2),
        ],
        x_title="sent by one peer, on average",
        y_title=axis.title,
        x_text=data_size,
        y_text=axis.tick,
        y_readout=axis.readout,
        width=NARROW,
        height=320,
        floor=axis.floor,
        top=axis.top,
        label_values=False,
    ).draw()
    numbers = [[x, *row] for x, row in zip(sent, by_round(rows, COLUMNS[on]), strict=True)]
    columns = ("sent_bytes_per_peer", "round", *COLUMNS[on])
    return Drawing("figures-over-bytes", picture, columns, numbers)


def consensus_over_rounds(run: RunResult) -> Drawing:
    """Draw how far the peers' models are from their mean, on a logarithmic axis."""
    rows = [row for row in run.rounds if row.consensus_distance is not None]
    picture = Chart(
        description="Root mean square distance of the peers' models to their mean, over rounds",
        lines=[
            Line("consensus distance", "c-gossip", _points(rows, "consensus_distance"), label=False)
        ],
        x_title="round",
        y_title="distance to the mean model (L2, log scale)",
        x_text=lambda value: f"{value:,.0f}",
        y_text=scientific,
        x_readout=lambda value: f"round {value:.0f}",
        width=NARROW,
        height=320,
        x_whole=True,
        log=True,
    ).draw()
    columns = ("round", "consensus_distance")
    return Drawing("agreement", picture, columns, by_round(rows, columns[1:]))


def final_figures(run: RunResult) -> dict[int, float]:
    """Return each peer's primary figure when it was last evaluated."""
    name, on = run.primary.name, rows_of(run)
    found: dict[int, float] = {}
    for row in run.peers:
        figures = row.own if on == "own" else row.common
        if name in figures:
            found[row.peer] = figures[name]
    return found


def peers_at_the_end(run: RunResult) -> Drawing:
    """Draw where the peers ended, against where they would be alone and pooled."""
    on = rows_of(run)
    rows = _measured(run, on)
    if not rows:
        return Drawing("peers-at-the-end", "")
    last, final, axis = rows[-1], final_figures(run), metric_axis(run.primary)
    pooled = last.own_pooled_mean if on == "own" else last.common_pooled
    references = [
        (name, colour, value)
        for name, colour, value in (
            ("Local only mean", "c-local", getattr(last, f"{on}_local_mean")),
            ("Pooled", "c-pooled", pooled),
            ("Averaged model", "c-averaged", last.common_averaged if on == "common" else None),
        )
        if value is not None
    ]
    picture = histogram(
        f"{axis.title} of each peer at its last evaluation",
        list(final.values()),
        references,
        x_title=axis.title,
        y_title="peers",
        x_text=axis.readout,
        x_tick=axis.tick,
        floor=axis.floor,
        top=axis.top,
    )
    return Drawing("peers-at-the-end", picture, ("peer", run.primary.name), sorted(final.items()))


def lines_name(run: RunResult) -> str:
    """Name the peers' lines: a group and FedAvg are no gossip, and a run may average nothing."""
    if isinstance(run.scenario.averaging, GroupSettings):
        return "Group"
    if isinstance(run.scenario.averaging, FedAvgSettings):
        return "FedAvg"
    return "Peers" if isinstance(run.scenario.averaging, NoAveragingSettings) else "Gossip"


def _measured(run: RunResult, on: Rows) -> list[RoundRow]:
    return [row for row in run.rounds if getattr(row, f"{on}_mean") is not None]


def _points(rows: Sequence[RoundRow], figure: str) -> list[Point]:
    values = ((row.round + 1, getattr(row, figure)) for row in rows)
    return [(float(at), value) for at, value in values if value is not None]
