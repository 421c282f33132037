"""All charts of one run."""

import dataclasses

from p2pfl.cli.quantities import duration
from p2pfl_simulations.report.bars import stacked_bars
from p2pfl_simulations.report.drawing import Drawing, by_round
from p2pfl_simulations.report.figures import (
    consensus_over_rounds,
    figures_over_bytes,
    figures_over_rounds,
    final_figures,
    peers_at_the_end,
)
from p2pfl_simulations.report.gains import gain_against_rows, gain_by_peer
from p2pfl_simulations.report.graph import exchange_picture
from p2pfl_simulations.report.heatmap import label_heatmap
from p2pfl_simulations.report.lines import NARROW, Chart, Line
from p2pfl_simulations.report.masking import masked_sums_by_round
from p2pfl_simulations.report.timeline import absences, fault_timeline, online_over_time
from p2pfl_simulations.results.run import RunResult, file_stem, time_name


def run_drawings(run: RunResult) -> dict[str, Drawing]:
    """Draw all charts of a run, by name; those that it has nothing for are empty.

    Their files' names begin with the run's name and seed.
    """
    drawings = (
        gain_by_peer(run),
        gain_against_rows(run),
        figures_over_rounds(run, "own"),
        figures_over_rounds(run, "common"),
        figures_over_bytes(run),
        consensus_over_rounds(run),
        _online(run),
        _losses(run),
        fault_timeline(run),
        masked_sums_by_round(run),
        exchange_picture(run.neighbours, final_figures(run), run.primary),
        peers_at_the_end(run),
        label_heatmap(run.label_counts or [], run.sample_counts),
    )
    stem = file_stem(run.scenario)
    return {it.name: dataclasses.replace(it, name=f"{stem}-{it.name}") for it in drawings}


def _online(run: RunResult) -> Drawing:
    if not absences(run):
        return Drawing("peers-online", "")
    points = online_over_time(run)
    picture = Chart(
        description=f"Peers online over {time_name(run.world)}",
        lines=[Line("online", "c-gossip", points, "steps", label=False)],
        x_title=time_name(run.world),
        y_title=f"peers online, of {run.scenario.peers:,}",
        x_text=duration,
        clock=True,
        y_text=lambda value: f"{value:,.0f}",
        y_whole=True,
        width=NARROW,
        height=300,
        floor=0,
        top=run.scenario.peers,
    ).draw()
    return Drawing("peers-online", picture, ("time_s", "online"), points)


def _losses(run: RunResult) -> Drawing:
    picture = stacked_bars(
        "Peers that lost a round, by round",
        [
            ("lost", "lost", [row.lost for row in run.rounds]),
            ("incomplete exchange", "incomplete", [row.incomplete for row in run.rounds]),
            ("training failed", "failed", [row.failed for row in run.rounds]),
        ],
        x_title="round",
        y_title="peers",
        first=1,
    )
    columns = ("lost", "incomplete", "failed")
    return Drawing("rounds-lost", picture, ("round", *columns), by_round(run.rounds, columns))
