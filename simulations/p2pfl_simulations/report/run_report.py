"""The report of one run."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from p2pfl.cli.figures import told_figure, told_gain, told_interval
from p2pfl.cli.quantities import (
    count,
    data_size,
    duration,
    percent,
    plural,
    scientific,
)
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.figures import Rows, rows_of
from p2pfl_simulations.report.graph import cohorts_of
from p2pfl_simulations.report.masking import masked_sums_section
from p2pfl_simulations.report.page import box, figure, key_values, page, pair, section, tiles
from p2pfl_simulations.report.participation import participation_section
from p2pfl_simulations.report.privacy import privacy_section
from p2pfl_simulations.report.protection import protection
from p2pfl_simulations.report.run_charts import run_drawings
from p2pfl_simulations.results.cautions import cautions
from p2pfl_simulations.results.run import SIMULATED, RunResult
from p2pfl_simulations.results.summary import Summary, summarise
from p2pfl_simulations.results.verdict import headline, mood_of, verdict
from p2pfl_simulations.scenario import Scenario


def render_report(run: RunResult, drawings: Mapping[str, Drawing] | None = None) -> str:
    """Write the report of one run: one HTML file with everything in it.

    Args:
        run: the run.
        drawings: as `run_drawings` makes them, where they have been drawn already.
    """
    summary, drawn = summarise(run), drawings or run_drawings(run)
    return page(
        f"{summary.name}, seed {summary.seed}: p2pfl run",
        _header(run, summary),
        tiles(_tiles(run, summary)),
        _gains(run, drawn["gain-by-peer"]),
        *_over_rounds(run, drawn),
        pair(
            figure(
                "Gain against rows",
                "Whether peers with many rows gain as those with few do.",
                drawn["gain-against-rows"],
            ),
            figure(
                "Every peer at the end",
                f"How many peers reached which {run.primary.title}, {ON[rows_of(run)]}.",
                drawn["peers-at-the-end"],
            ),
        ),
        pair(
            figure(
                f"{_capital(run.primary.title)} over bytes",
                "What the network had to carry for it.",
                drawn["figures-over-bytes"],
            ),
            figure(
                "Agreement",
                "How far the peers' models lie from their mean; lower is closer.",
                drawn["agreement"],
            ),
        ),
        pair(
            figure("Peers online", "As they came and went.", drawn["peers-online"]),
            figure(
                "Rounds lost",
                "Given up, or ended without a full exchange.",
                drawn["rounds-lost"],
            ),
        ),
        participation_section(run),
        _faults(drawn["fault-timeline"]),
        masked_sums_section(run, drawn["masked-sums"]),
        pair(figure(*_exchange_heading(run), drawn["exchange"])),
        section(
            "Whose data is whose",
            "Each column is one peer: how many rows it has, and how they spread over the labels."
            " The darker, the larger the share.",
            box(drawn["labels"]),
        ),
        protection(run.scenario),
        privacy_section(run),
        _settings(run.scenario),
        _reproduction(run),
    )


ON: dict[Rows, str] = {"own": "each on its own test rows", "common": "on the common test rows"}


def _gains(run: RunResult, drawing: Drawing) -> str:
    """Write who gains and who loses."""
    unknown = sum(row.gain is None for row in run.gains)
    lead = (
        "What the model made together gains each peer over the one that it trains alone, on test"
        " rows of the peer's own, which neither has seen. Lines are 95 % intervals, by bootstrap"
        " over these rows."
    )
    if unknown:
        lead += f" Of {plural(unknown, 'peer')} it could not be measured."
    return section("Who gains by joining", lead, box(drawing))


def _over_rounds(run: RunResult, drawn: Mapping[str, Drawing]) -> Iterator[str]:
    """Write the figures over rounds: on the peers' own test rows, then on the common ones."""
    title = _capital(run.primary.title)
    shaded = (
        "Mean over the peers that ended the round. Shaded: from the worst peer to the mean. Local"
        " only trains each peer on its own rows; pooled trains one model on all rows in one place."
    )
    yield section(
        f"{title} over rounds, on the peers' own test rows",
        f"Each peer is tested on rows of its own mix, held out from training. {shaded}",
        box(drawn["own-test-rows-over-rounds"]),
    )
    yield section(
        f"{title} over rounds, on the common test set",
        "One test set for all: it asks each peer about rows of a mix that is not its own."
        + ("" if drawn["own-test-rows-over-rounds"] else f" {shaded}"),
        box(drawn["common-test-rows-over-rounds"]),
    )


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _header(run: RunResult, summary: Summary) -> str:
    world = "Simulated run" if run.world == SIMULATED else "Run of real processes"
    kicker = (
        f"{world} · {summary.name} · task {run.scenario.learning.task} · {summary.method}"
        f" · {plural(summary.rounds_ended, 'round')} · seed {summary.seed}"
    )
    parts = [
        f'<p class="kicker">{escape(kicker)}</p>',
        f"<h1>{escape(headline(summary))}</h1>",
        f'<p class="verdict {mood_of(summary)}">{escape(verdict(summary))}</p>',
        f'<p class="about">{escape(f"Others saw {summary.seen}.")}</p>',
    ]
    if run.scenario.description:
        parts.append(f'<p class="about">{escape(run.scenario.description.strip())}</p>')
    parts += [f'<p class="warning">{escape(it)}</p>' for it in cautions(run, summary)]
    return f"<header>\n{''.join(parts)}\n</header>"


def _tiles(run: RunResult, summary: Summary) -> Iterator[tuple[str, str, str]]:
    on, primary = rows_of(run), summary.primary
    mean, worst = getattr(summary, f"{on}_mean"), getattr(summary, f"{on}_worst")
    local, local_worst = getattr(summary, f"{on}_local_mean"), getattr(summary, f"{on}_local_worst")
    if summary.mean_gain is not None:
        gain, unit = summary.mean_gain, "points " if primary.is_percentage else ""
        interval = told_interval(primary, gain.low, gain.high)
        yield (
            "Mean gain",
            told_gain(primary, gain.mean).removesuffix(" points"),
            f"{unit}over local only ({interval})",
        )
        losers = summary.lost_by_joining
        yield "Peers that lose", count(losers), f"and {summary.gained:,} gain, beyond chance"
    yield (
        f"Mean {primary.title}",
        told_figure(primary, mean),
        "" if local is None else f"local only: {told_figure(primary, local)}",
    )
    yield (
        "Worst peer",
        told_figure(primary, worst),
        "" if local_worst is None else f"local only: {told_figure(primary, local_worst)}",
    )
    yield "Consensus distance", scientific(summary.consensus_distance), "of models to their mean"
    yield (
        "Sent per peer",
        data_size(summary.bytes_per_peer),
        f"{count(summary.frames_sent)} frames by all",
    )
    yield (
        "Rounds lost",
        percent(summary.lost / summary.peer_rounds) if summary.peer_rounds else "none",
        f"{count(summary.lost)} of {count(summary.peer_rounds)}",
    )
    yield "Online at the end", count(summary.online), f"of {plural(summary.peers, 'peer')}"
    if summary.world == SIMULATED:
        yield "Virtual time", duration(summary.virtual_s), "in the simulated world"
    else:
        yield "Real time", duration(summary.virtual_s), "from the first start to the last round"
    yield "Wall time", duration(summary.wall_s), f"{duration(summary.cpu_s)} of processor time"


def _faults(drawing: Drawing) -> str:
    if drawing:
        return section(
            "Fault timeline",
            "Who was away, when, and why. A peer that returns learns round and model from its"
            " neighbours.",
            box(drawing),
        )
    return section("Faults", "No peer went offline and no round was lost in this run.", "\n")


def _exchange_heading(run: RunResult) -> tuple[str, str]:
    if cohorts_of(run.neighbours) is not None:
        return "Cohorts of the last round", "Who averaged with whom; every round draws new cohorts."
    return "Exchange in the last round", "Who averaged with whom."


def _settings(scenario: Scenario) -> str:
    rows = list(settings_rows(scenario))
    half = -(-len(rows) // 2)
    return section(
        "Settings",
        "As resolved, defaults included.",
        '<div class="pair">',
        f"<div>{key_values(rows[:half])}</div>",
        f"<div>{key_values(rows[half:])}</div>",
        "</div>",
    )


def settings_rows(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """List every setting as a dotted key with its value."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            for key, entry in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else key, entry)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, entry in enumerate(value):
                yield from walk(f"{prefix}[{index}]", entry)
        elif isinstance(value, list):
            yield prefix, ", ".join(map(str, value)) or "none"
        else:
            yield prefix, _setting(value)

    document = scenario.model_dump(mode="json", exclude_none=True, exclude={"description"})
    return walk("", document)


def _setting(value: Any) -> str:
    """Write a value for people: thousands set apart, no empty decimals."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:,}".removesuffix(".0")
    return str(value)


def _reproduction(run: RunResult) -> str:
    environment = [(str(key), str(value)) for key, value in run.environment.items()]
    counters = [
        (key.replace("_", " "), _setting(round(value, 3))) for key, value in run.counters.items()
    ]
    pairs = [("training", run.batching)]
    if run.world == SIMULATED:
        told = (
            "The same scenario and seed give the same digest on a machine of the same class. The"
            " digest covers the order of all events and every byte that travelled."
        )
        command = "p2pfl replay RUN_DIR"
        pairs.insert(0, ("digest", run.digest))
    else:
        told = (
            "Each peer was a process of its own, and no two such runs are alike to the byte. In"
            " the simulated world its scenario gives the same run each time."
        )
        command = "p2pfl simulate RUN_DIR/scenario.toml"
    return section(
        "Run it again",
        told,
        f"<pre>{command}    # the folder that holds this file</pre>",
        key_values(pairs),
        '<div class="pair" style="margin-top:28px">',
        f"<div><h3>Counters</h3>{key_values(counters)}</div>" if counters else "",
        f"<div><h3>Machine</h3>{key_values(environment)}</div>" if environment else "",
        "</div>",
    )
