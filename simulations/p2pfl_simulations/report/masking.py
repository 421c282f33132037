"""The report's section on masked sums: how many came about, and what they took."""

from collections.abc import Iterator

from p2pfl.cli.quantities import count, data_size, plural
from p2pfl_simulations.report.bars import stacked_bars
from p2pfl_simulations.report.drawing import Drawing, by_round
from p2pfl_simulations.report.page import box, key_values, section
from p2pfl_simulations.results.claims import claim_sentence
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.scenario import masking_of


def masked_sums_section(run: RunResult, drawing: Drawing) -> str:
    """Write how the cohorts' masked sums ended; nothing where averaging is plain.

    Args:
        run: the run.
        drawing: `masked_sums_by_round` of it.
    """
    sums = run.masked_sums
    if sums is None:
        return ""
    is_modelled = masking_of(run.scenario) == "modelled"
    is_group = run.scenario.averaging.algorithm == "group"
    rows = list(masked_sums_rows(sums, run.scenario.peers, is_group=is_group))
    return section(
        "Masked sums, modelled" if is_modelled else "Masked sums",
        f"How each round's sums ended. {claim_sentence(run.scenario)}",
        '<div class="pair">',
        f"<div>{box(drawing)}</div>",
        f"<div>{key_values(rows)}</div>",
        "</div>",
    )


def masked_sums_rows(
    sums: MaskedSums, peers: int, *, is_group: bool = False
) -> Iterator[tuple[str, str]]:
    """List the figures of a run's masked sums, for people."""
    yield "sessions", count(sums.formed)
    yield "with a sum", count(sums.summed)
    yield "recovered: a sum in spite of dropouts", count(sums.recovered)
    yield "aborted", _by_name(sums.aborted)
    yield "members without their session's sum", _by_name(sums.left)
    yield "members blamed", _by_name(sums.blamed)
    if is_group:
        yield "updates shrunk to the clip", count(sums.shrunk)
    else:
        yield "chunks kept local, over all members", count(sums.kept_chunks)
        yield "entries clipped", count(sums.clipped_entries)
        yield "models counted as the largest weight", count(sums.weights_capped)
    for phase, sent in sums.bytes_by_phase.items():
        if sent or not is_group:
            yield f"sent per peer, {phase}", data_size(sent / peers)


def _by_name(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "none"
    named = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items())
    return f"{total:,} ({named})"


def masked_sums_by_round(run: RunResult) -> Drawing:
    """Draw how the sums of each round ended; nothing where averaging is plain."""
    if run.masked_sums is None:
        return Drawing("masked-sums", "")
    rows = run.rounds
    picture = stacked_bars(
        f"Masked sums by round, of {plural(run.scenario.peers, 'peer')}",
        [
            ("sum of all", "gossip", [row.cohorts_summed - row.cohorts_recovered for row in rows]),
            ("recovered", "incomplete", [row.cohorts_recovered for row in rows]),
            ("aborted", "aborted", [row.cohorts_aborted for row in rows]),
        ],
        x_title="round",
        y_title="cohorts",
        first=1,
    )
    columns = ("cohorts_summed", "cohorts_recovered", "cohorts_aborted")
    return Drawing("masked-sums", picture, ("round", *columns), by_round(rows, columns))
