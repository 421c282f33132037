"""The charts of accuracy and consensus of one run."""

from collections.abc import Sequence

from p2pfl.cli.quantities import data_size, percent, scientific
from p2pfl.group.settings import FedAvgSettings, NoAveragingSettings
from p2pfl_simulations.report.bars import histogram
from p2pfl_simulations.report.drawing import Drawing, by_round
from p2pfl_simulations.report.lines import NARROW, Chart, Line, Point, ascending
from p2pfl_simulations.results.run import RoundRow, Run
from p2pfl_simulations.results.summary import evaluated_rounds

FIGURES = (
    "own_mean",
    "own_worst",
    "common_averaged",
    "own_local_mean",
    "own_local_worst",
    "own_pooled_mean",
)
"""Columns of the tables behind charts of accuracy: as in `rounds.parquet`."""


def accuracy_over_rounds(run: Run) -> Drawing:
    """Draw all accuracies against the round."""
    rows = evaluated_rounds(run)
    name = lines_name(run)
    lines = [
        Line("Local only worst", "c-local", _by_round(rows, "own_local_worst"), "thin"),
        Line("Local only mean", "c-local", _by_round(rows, "own_local_mean"), down_to=0),
        Line("Pooled", "c-pooled", _by_round(rows, "own_pooled_mean"), "dashed"),
        Line(f"{name} worst", "c-gossip", _by_round(rows, "own_worst"), "thin"),
        Line("Averaged model", "c-averaged", _by_round(rows, "common_averaged"), "dashed"),
        Line(f"{name} mean", "c-gossip", _by_round(rows, "own_mean"), down_to=3),
    ]
    picture = Chart(
        description=f"Test accuracy over {len(run.rounds)} rounds, against local only and pooled",
        lines=lines,
        x_title="round",
        y_title="test accuracy",
        x_text=lambda value: f"{value:,.0f}",
        y_text=whole_percent,
        y_readout=percent,
        x_readout=lambda value: f"round {value:.0f}",
        height=400,
        x_whole=True,
        floor=0,
        top=1,
    ).draw()
    return Drawing("accuracy-over-rounds", picture, ("round", *FIGURES), by_round(rows, FIGURES))


def accuracy_over_bytes(run: Run) -> Drawing:
    """Draw the accuracies against what a peer had sent by then; the baselines send nothing."""
    rows = evaluated_rounds(run)
    if not rows or not rows[-1].bytes_sent:
        return Drawing("accuracy-over-bytes", "")
    sent = [row.bytes_sent / run.scenario.peers for row in rows]
    name = lines_name(run)

    def by_bytes(figure: str) -> list[Point]:
        values = ((x, getattr(row, figure)) for x, row in zip(sent, rows, strict=True))
        return ascending([(x, y) for x, y in values if y is not None])

    def level(figure: str) -> list[Point]:
        value = getattr(rows[-1], figure)
        return [] if value is None else [(min(sent), value), (max(sent), value)]

    picture = Chart(
        description="Test accuracy against the bytes that a peer has sent",
        lines=[
            Line("Local only", "c-local", level("own_local_mean"), "dashed"),
            Line("Pooled", "c-pooled", level("own_pooled_mean"), "dashed"),
            Line(f"{name} worst", "c-gossip", by_bytes("own_worst"), "thin"),
            Line(f"{name} mean", "c-gossip", by_bytes("own_mean"), down_to=2),
        ],
        x_title="sent by one peer, on average",
        y_title="test accuracy",
        x_text=data_size,
        y_text=whole_percent,
        y_readout=percent,
        width=NARROW,
        height=320,
        floor=0,
        top=1,
        label_values=False,
    ).draw()
    numbers = [[x, *row] for x, row in zip(sent, by_round(rows, FIGURES), strict=True)]
    columns = ("sent_bytes_per_peer", "round", *FIGURES)
    return Drawing("accuracy-over-bytes", picture, columns, numbers)


def consensus_over_rounds(run: Run) -> Drawing:
    """Draw how far the peers' models are from their mean, on a logarithmic axis."""
    rows = [row for row in run.rounds if row.consensus_distance is not None]
    picture = Chart(
        description="Root mean square distance of the peers' models to their mean, over rounds",
        lines=[
            Line(
                "consensus distance", "c-gossip", _by_round(rows, "consensus_distance"), label=False
            )
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


def final_accuracies(run: Run) -> dict[int, float]:
    """Return the accuracy of each peer when it was last evaluated."""
    return {row.peer: row.own[run.primary.name] for row in run.peers if row.own}


def accuracy_histogram(run: Run) -> Drawing:
    """Draw where the peers ended, against where they would be alone and pooled."""
    rows = evaluated_rounds(run)
    if not rows:
        return Drawing("peers-at-the-end", "")
    last = rows[-1]
    references = [
        (name, colour, value)
        for name, colour, value in (
            ("Local only mean", "c-local", last.own_local_mean),
            ("Pooled", "c-pooled", last.own_pooled_mean),
            ("Averaged model", "c-averaged", last.common_averaged),
        )
        if value is not None
    ]
    final = final_accuracies(run)
    picture = histogram(
        "Test accuracy of each peer at its last evaluation",
        list(final.values()),
        references,
        x_title="test accuracy",
        y_title="peers",
        x_text=percent,
        x_tick=whole_percent,
    )
    return Drawing("peers-at-the-end", picture, ("peer", "accuracy"), sorted(final.items()))


def lines_name(run: Run) -> str:
    """Name the peers' lines: FedAvg is no gossip, and a run may average nothing."""
    if isinstance(run.scenario.averaging, FedAvgSettings):
        return "FedAvg"
    return "Peers" if isinstance(run.scenario.averaging, NoAveragingSettings) else "Gossip"


def _by_round(rows: Sequence[RoundRow], figure: str) -> list[Point]:
    values = ((row.round + 1, getattr(row, figure)) for row in rows)
    return [(float(at), value) for at, value in values if value is not None]


def whole_percent(share: float) -> str:
    """Write a tick: decimals only where ticks are closer than a point."""
    return f"{100 * share:.4g} %"
