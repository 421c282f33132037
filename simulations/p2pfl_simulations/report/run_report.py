"""The report of one run."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from p2pfl.cli.quantities import (
    count,
    data_size,
    duration,
    percent,
    plural,
    points,
    scientific,
)
from p2pfl_simulations.report.drawing import Drawing
from p2pfl_simulations.report.graph import cohorts_of
from p2pfl_simulations.report.masking import masked_sums_section
from p2pfl_simulations.report.page import box, figure, key_values, page, pair, section, tiles
from p2pfl_simulations.report.participation import participation_section
from p2pfl_simulations.report.protection import protection
from p2pfl_simulations.report.run_charts import run_drawings
from p2pfl_simulations.results.run import SIMULATED, Run
from p2pfl_simulations.results.summary import Summary, summarise, unfinished_sentence
from p2pfl_simulations.results.verdict import headline, mood_of, verdict
from p2pfl_simulations.scenario import Scenario


def render_report(run: Run, drawings: Mapping[str, Drawing] | None = None) -> str:
    """Write the report of one run: one HTML file with everything in it.

    Args:
        run: the run.
        drawings: as `run_drawings` makes them, where they have been drawn already.
    """
    summary, drawn = summarise(run), drawings or run_drawings(run)
    return page(
        f"{summary.name}, seed {summary.seed}: p2pfl run",
        _header(run, summary),
        tiles(_tiles(summary)),
        section(
            "Accuracy over rounds",
            "On held-out data. Shaded: from the worst peer to the mean of all. Local only trains"
            " each peer on its own data; pooled trains one model on all data in one place.",
            box(drawn["accuracy-over-rounds"]),
        ),
        pair(
            figure(
                "Accuracy over bytes",
                "What the network had to carry for it.",
                drawn["accuracy-over-bytes"],
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
        pair(
            figure(*_exchange_heading(run), drawn["exchange"]),
            figure(
                "Every peer at the end",
                "How many peers reached which accuracy.",
                drawn["peers-at-the-end"],
            ),
        ),
        section(
            "Whose data is whose",
            "Each column is one peer: how many rows it has, and how they spread over the labels."
            " The darker, the larger the share.",
            box(drawn["labels"]),
        ),
        protection(run.scenario),
        _settings(run.scenario),
        _reproduction(run),
    )


def _header(run: Run, summary: Summary) -> str:
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
    if summary.interrupted:
        parts.append(
            f'<p class="warning">This run was ended early, after {summary.rounds_ended} of'
            f" {plural(summary.rounds, 'round')}: all figures are of that part.</p>"
        )
    elif summary.unfinished:
        parts.append(f'<p class="warning">{escape(unfinished_sentence(summary))}</p>')
    if summary.failed:
        names = sorted({event.peer for event in run.events if event.kind == "training_failed"})
        which = f": {_some_peers(names)}" if names else ""
        parts.append(
            f'<p class="warning">Training gave no usable model {plural(summary.failed, "time")}'
            f"{which}. Those rounds went on without these updates.</p>"
        )
    return f"<header>\n{''.join(parts)}\n</header>"


def _some_peers(peers: list[int], most: int = 12) -> str:
    named = ", ".join(str(peer) for peer in peers[:most])
    more = f" and {len(peers) - most} more" if len(peers) > most else ""
    return f"peer{'s' if len(peers) > 1 else ''} {named}{more}"


def _tiles(summary: Summary) -> Iterator[tuple[str, str, str]]:
    yield (
        "Mean accuracy",
        percent(summary.own_mean),
        _gap(summary.own_mean, summary.own_local_mean, "local only"),
    )
    yield (
        "Worst peer",
        percent(summary.own_worst),
        f"local only: {percent(summary.own_local_worst)}"
        if summary.own_local_worst is not None
        else "",
    )
    yield (
        "Averaged model",
        percent(summary.common_averaged),
        _gap(summary.common_averaged, summary.common_pooled, "pooled"),
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
    yield "Incomplete", count(summary.incomplete), "rounds without a full exchange"
    yield "Online at the end", count(summary.online), f"of {plural(summary.peers, 'peer')}"
    if summary.world == SIMULATED:
        yield "Virtual time", duration(summary.virtual_s), "in the simulated world"
    else:
        yield "Real time", duration(summary.virtual_s), "from the first start to the last round"
    yield "Wall time", duration(summary.wall_s), f"{duration(summary.cpu_s)} of processor time"


def _gap(figure: float | None, other: float | None, name: str) -> str:
    if figure is None or other is None:
        return ""
    gap = points(abs(figure - other)).removeprefix("+")
    return f"{gap} {'below' if figure < other else 'above'} {name}"


def _faults(drawing: Drawing) -> str:
    if drawing:
        return section(
            "Fault timeline",
            "Who was away, when, and why. A peer that returns learns round and model from its"
            " neighbours.",
            box(drawing),
        )
    return section("Faults", "No peer went offline and no round was lost in this run.", "\n")


def _exchange_heading(run: Run) -> tuple[str, str]:
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


def _reproduction(run: Run) -> str:
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
