"""What whoever reads a run's figures must know first: screen, page and notebook say it alike."""

import math
import textwrap
from collections.abc import Sequence
from statistics import fmean

from p2pfl.cli.figures import told_figure, told_gain
from p2pfl.cli.quantities import plural
from p2pfl_simulations.results.lies import liars_sentence
from p2pfl_simulations.results.run import EventRow, LossRow, RunResult
from p2pfl_simulations.results.summary import Summary
from p2pfl_simulations.scenario import EvaluationSettings, masking_of

PEERS_NAMED = 12
PARTS, PART_ROUNDS_MIN = 5, 2
"""Of a run's rounds: the last part is held against the one before it. One round is too few."""
RISE_MIN = 0.02
"""By how much the mean figure must be better there for models to count as still learning: of a
share 2 points, else 2 % of the figure. By chance a mean over peers moves less, as a rule."""
FALL_MIN = 0.03
"""By how much the mean figure must have been better in an earlier part for models to count as past
their best. More than `RISE_MIN`: of several parts one is the best by chance."""
REASON_CHARACTERS_MAX = 200


def cautions(run: RunResult, summary: Summary) -> list[str]:
    """Say in a sentence or two each what was cut short, failed or lost; most runs have none."""
    found = [
        early_sentence(summary),
        selection_sentence(summary, run.scenario.evaluation),
        _still_learning(run, summary),
        _past_their_best(run, summary),
        liars_sentence(run),
        _nothing_drawn(run),
        _amended_in_private(run),
        _idle(run),
        _failed(run, "training_failed", "Training gave no usable model", "without these updates"),
        _failed(run, "evaluation_failed", "A model could not be measured", "and are not counted"),
        _undefined(run),
        *loss_sentences(run.losses),
    ]
    return [sentence for sentence in found if sentence]


def early_sentence(summary: Summary) -> str:
    """Say what was ended early, and why; empty where nothing was."""
    ended, by_error = summary.rounds_ended, f": {summary.failure}" if summary.failure else "."
    if summary.interrupted:
        return f"Ended early, after {ended} of {plural(summary.rounds, 'round')}{by_error}"
    if not summary.unfinished and not summary.failure:
        return ""
    names = " and ".join({"local": "local only"}.get(it, it) for it in summary.unfinished)
    told = f"cut off ({names})" if names else "not measured to the end"
    return f"The peers ran all rounds; what they are held against was {told}{by_error}"


def selection_sentence(summary: Summary, settings: EvaluationSettings) -> str:
    """Say which round's model counts, and why the run ended after so few; mostly empty."""
    told, chosen = [], summary.selected
    if summary.stopped is not None:
        rounds = plural(settings.patience or 0, "round")
        told.append(
            f"Ended after {summary.stopped + 1} of {plural(summary.rounds, 'round')}: {rounds} gave"
            " no better figure on rows to choose a model by."
        )
    if chosen is not None:
        figure = told_figure(summary.primary, chosen.figure)
        by = f"({summary.primary.title} {figure}, mean of {plural(chosen.peers, 'peer')})"
        where = f"round {chosen.round + 1}, the best on rows to choose a model by {by}"
        if settings.selection == "common":
            told.append(f"The models that count are of {where}.")
        else:
            told.append(
                f"model.safetensors is of {where}; of each peer the model counts that is best on"
                " its own such rows."
            )
    return " ".join(told)


def _still_learning(run: RunResult, summary: Summary) -> str:
    """Say that models were still getting better when the run ended, where no gain is clear."""
    gain = summary.mean_gain
    if gain is not None and gain.low is not None and gain.low > 0:
        return ""
    told = [row.common_mean if row.own_mean is None else row.own_mean for row in run.rounds]
    part, means = _parts(told)
    if len(means) < 2 or summary.interrupted or summary.failure:
        return ""
    last, before = means[-1], means[-2]
    rise = last - before if run.primary.larger_is_better else before - last
    if rise < RISE_MIN * (1 if run.primary.is_percentage else abs(before)):
        return ""
    return (
        f"Models were still getting better when the run ended ({run.primary.title}"
        f" {told_gain(run.primary, rise)} over the last {plural(part, 'round')}): more rounds, or"
        " longer ones, may change the verdict."
    )


def _parts(told: Sequence[float | None]) -> tuple[int, list[float]]:
    """Return how many rounds a part has, and the mean figure of each part; none of a short run."""
    figures = [figure for figure in told if figure is not None and math.isfinite(figure)]
    part = len(figures) // PARTS
    if part < PART_ROUNDS_MIN:
        return part, []
    starts = range(len(figures) % part, len(figures), part)
    return part, [fmean(figures[start : start + part]) for start in starts]


def _past_their_best(run: RunResult, summary: Summary) -> str:
    """Say which models were better before the run ended, unless the best counts as it is.

    What a peer trains alone wears out first, as it has the fewest rows: then a gain is larger than
    it would be beside a model that was stopped in time.
    """
    if summary.selected is not None or summary.interrupted or summary.failure:
        return ""
    models = {
        "the joint models": [row.own_mean for row in run.rounds],
        "local only": [row.own_local_mean for row in run.rounds],
        "pooled": [row.own_pooled_mean for row in run.rounds],
    }
    found = []
    for name, told in models.items():
        _, means = _parts(told)
        if not means:
            continue
        best = max(means) if run.primary.larger_is_better else min(means)
        fall = abs(best - means[-1])
        if fall >= FALL_MIN * (1 if run.primary.is_percentage else abs(best)):
            once, last = (told_figure(run.primary, figure) for figure in (best, means[-1]))
            found.append(f"{name} ({run.primary.title} {once}, then {last})")
    if not found:
        return ""
    return (
        f"Better before the run ended than at its end: {'; '.join(found)}. With"
        " learning.validation=0.2 the model of each counts that is best on rows held out for that."
    )


def _idle(run: RunResult) -> str:
    """Say that models did not change, and that peers rest for it."""
    told = []
    if run.idle_models:
        models = plural(run.idle_models, "model")
        told.append(
            f"{models} of {run.rounds[-1].round + 1} {'is' if run.idle_models == 1 else 'are'} the"
            " one before: each part of the sum was out of range, which honest updates never are."
            " No message proves who bent it."
        )
    spent = sorted({event.peer for event in run.events if event.kind == "updates_spent"})
    if spent:
        told.append(
            f"{plural(len(spent), 'peer')} gave as many updates from one model as they may"
            f" (averaging.retries = {run.scenario.retries}) and rested from then on."
        )
    return " ".join(told)


def _nothing_drawn(run: RunResult) -> str:
    """Say that masks hide little of any single peer, where no peer draws what it trains on."""
    scenario, training = run.scenario, run.scenario.learning.training
    if masking_of(scenario) == "none" or scenario.privacy is not None:
        return ""
    if not training.are_all_full(run.sample_counts):
        return ""
    return (
        f"Every step of every peer took all of its rows (learning.training.batch_size ="
        f" {training.batch_size}). Two masked sums that differ by one peer then give its update"
        " away: lower it, or ask for [privacy]; learning.training.full_batch = true says that it"
        " is meant."
    )


def _amended_in_private(run: RunResult) -> str:
    """Say that a plan is of one charter, where operators change that of a private group."""
    if run.privacy is None or not run.scenario.changes:
        return ""
    return (
        "Epsilon, noise and rounds are those of the first charter, and what is spent is of the"
        " last one. Each amendment has a plan of its own; what all cost together adds up in each"
        " member's budget, which a simulation does not keep."
    )


def _failed(run: RunResult, kind: str, what: str, then: str) -> str:
    """Say how often something failed, at whom, and why it did first."""
    events: Sequence[EventRow] = [event for event in run.events if event.kind == kind]
    if not events:
        return ""
    peers = sorted({event.peer for event in events})
    named = ", ".join(map(str, peers[:PEERS_NAMED])) + (" ..." if len(peers) > PEERS_NAMED else "")
    reason = textwrap.shorten(events[0].detail, REASON_CHARACTERS_MAX, placeholder=" ...")
    times, who = plural(len(events), "time"), "peer" if len(peers) == 1 else "peers"
    return f"{what} {times} ({who} {named}), and the rounds went on {then}. First: {reason}."


def _undefined(run: RunResult) -> str:
    """Name the peers whose own test rows do not tell the primary figure, unless it is told of none.

    As the area under the ROC curve, where all of them are of one class.
    """
    failed = {event.peer for event in run.events if event.kind == "evaluation_failed"}
    names = [
        row.name
        for row in run.gains
        if (row.joint is None or not math.isfinite(row.joint)) and row.peer not in failed
    ]
    if not names or len(names) == len(run.gains):
        return ""
    listed = ", ".join(names[:PEERS_NAMED]) + (" ..." if len(names) > PEERS_NAMED else "")
    return (
        f"{run.primary.title} is not defined on the own test rows of {listed}, such as where all"
        " are of one class: no gain is known there, and means are without."
    )


def loss_sentences(losses: Sequence[LossRow]) -> list[str]:
    """Say what was lost of models and updates, a sentence for each kind, the largest named."""
    told = []
    for kind, remedy in _REMEDIES.items():
        rows = [row for row in losses if row.kind == kind]
        if not rows:
            continue
        worst = max(rows, key=lambda row: row.largest)
        where = f" of {worst.tensor}" if worst.tensor else ""
        others = f" and {plural(len(rows) - 1, 'tensor')} more" if len(rows) > 1 else ""
        peers = plural(max(row.peers for row in rows), "peer")
        times = plural(sum(row.times for row in rows), "time")
        size = f", up to {worst.largest:.3g} where {worst.limit:g} counts" if worst.largest else ""
        what = _LOST[kind].format(where=where + others)
        told.append(f"{what} at {peers}, {times}{size}: {remedy}.")
    return told


_LOST = {
    "values_clipped": "Values{where} were cut to the clip",
    "weight_capped": "Rows beyond averaging.weight_max did not count",
    "update_shrunk": "Updates, most{where}, were shrunk to the clip",
}
_REMEDIES = {
    "values_clipped": "raise averaging.clip, or keep such tensors local",
    "weight_capped": "raise averaging.weight_max if they are to count in full",
    "update_shrunk": "train less in a round, or raise averaging.clip",
}
