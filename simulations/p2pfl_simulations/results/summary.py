"""A run in a few figures, and what they say: was it worth it?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pfl.cli.quantities import percent, plural, points
from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.settings import CohortSettings, DsgdSettings, GroupSettings, PushSumSettings
from p2pfl_gossip.draw_risk import MALICIOUS, DrawRisk
from p2pfl_simulations.results.claims import draw_of, seen
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.run import LossRow, ParticipationRow, RoundRow, Run
from p2pfl_simulations.scenario import Scenario

TIE = 0.01
"""Accuracies closer than this are called equal: one seed and a few hundred test rows, as the
bundled data sets have, do not tell one point from chance."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run that people compare; None where nothing was measured.

    Attributes:
        name, seed, method: which run; `method` is how the peers averaged, in words.
        peers, rounds: as the scenario has them.
        rounds_ended: rounds that at least one peer ended.
        accuracy_round: the round, from 1, that the accuracies are of: the last one evaluated.
        accuracy_mean, accuracy_worst, accuracy_averaged: of the peers, and of the mean model.
        consensus_distance: root mean square distance of the peers' models to their mean.
        local_mean, local_worst, pooled: the baselines in that round.
        bytes_per_peer: mean bytes sent by one peer.
        virtual_s, wall_s, cpu_s: durations of the simulated and of the real run.
        online: peers online at the end.
        peer_rounds: rounds that peers ended or lost, over all peers.
        lost, incomplete, failed: of those, the ones given up, ended without a full exchange, or
            whose training failed.
        interrupted: whether the run was ended early.
        unfinished: baselines that were cut off.
        digest: of the trace; empty where there is none.
        world: as `Run` has it.
        seen: what others saw of a peer's model, in a few words.
        masked_sums: what masked sums did; None where averaging is plain.
        draw: the odds that a cohort draws more liars than it bears; None where averaging is plain.
        claim: against whom masked sums may be claimed to protect; None where averaging is plain.
        participation: who is in how many models; None where there is no group.
        losses: what was lost of models and updates on their way into averages.
    """

    name: str
    seed: int
    method: str
    peers: int
    rounds: int
    rounds_ended: int
    accuracy_round: int | None
    accuracy_mean: float | None
    accuracy_worst: float | None
    accuracy_averaged: float | None
    consensus_distance: float | None
    local_mean: float | None
    local_worst: float | None
    pooled: float | None
    bytes_per_peer: float
    frames_sent: int
    virtual_s: float
    wall_s: float
    cpu_s: float
    online: int | None
    peer_rounds: int
    lost: int
    incomplete: int
    failed: int
    interrupted: bool
    unfinished: tuple[str, ...]
    digest: str
    world: str
    seen: str
    masked_sums: MaskedSums | None
    draw: DrawRisk | None
    claim: str | None
    participation: list[ParticipationRow] | None = None
    losses: list[LossRow] = field(default_factory=list)


def summarise(run: Run) -> Summary:
    """Take the figures that people compare from a run."""
    evaluated = [row for row in run.rounds if _finite(row.accuracy_mean) is not None]
    last = evaluated[-1] if evaluated else None
    end = run.rounds[-1] if run.rounds else None

    draw = draw_of(run.scenario)

    def figure(name: str) -> float | None:
        return _finite(getattr(last, name)) if last else None

    return Summary(
        name=run.scenario.name,
        seed=run.scenario.seed,
        method=method_name(run.scenario),
        peers=run.scenario.peers,
        rounds=run.scenario.rounds,
        rounds_ended=sum(1 for row in run.rounds if row.ended),
        accuracy_round=last.round + 1 if last else None,
        accuracy_mean=figure("accuracy_mean"),
        accuracy_worst=figure("accuracy_worst"),
        accuracy_averaged=figure("accuracy_averaged"),
        consensus_distance=figure("consensus_distance"),
        local_mean=figure("local_mean"),
        local_worst=figure("local_worst"),
        pooled=figure("pooled"),
        bytes_per_peer=(end.bytes_sent if end else 0) / run.scenario.peers,
        frames_sent=end.frames_sent if end else 0,
        virtual_s=run.virtual_s,
        wall_s=run.wall_s,
        cpu_s=run.cpu_s,
        online=end.online if end else None,
        peer_rounds=sum(row.ended + row.lost for row in run.rounds),
        lost=sum(row.lost for row in run.rounds),
        incomplete=sum(row.incomplete for row in run.rounds),
        failed=sum(row.failed for row in run.rounds),
        interrupted=run.interrupted,
        unfinished=run.unfinished,
        digest=run.digest,
        world=run.world,
        seen=seen(run.scenario),
        masked_sums=run.masked_sums,
        draw=draw,
        claim=draw.claim if draw else MALICIOUS if run.participation is not None else None,
        participation=run.participation,
        losses=run.losses,
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
        times = sum(row.times for row in rows)
        size = f", up to {worst.largest:.3g} where {worst.limit:g} counts" if worst.largest else ""
        what = _LOST[kind].format(where=where + others)
        told.append(f"{what} at {peers}, {times} times{size}: {remedy}.")
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


def method_name(scenario: Scenario) -> str:
    """Name how the peers of a scenario average, in a few words."""
    averaging = with_cohort_size(scenario.averaging, scenario.peers, scenario.rounds)
    if isinstance(averaging, GroupSettings):
        return f"{'modelled ' if averaging.masking == 'modelled' else ''}group of {scenario.peers}"
    if isinstance(averaging, CohortSettings):
        masks = {"real": "masked", "modelled": "modelled masked", "none": "plain"}
        name = "grid of cohorts of" if averaging.grid else "cohorts of"
        return f"{masks[averaging.masking]} {name} {averaging.cohort_size}"
    if isinstance(averaging, (DsgdSettings, PushSumSettings)):
        kind = {"dsgd": "DSGD", "push-sum": "push-sum"}[averaging.algorithm]
        return f"{kind} on {averaging.topology.kind}"
    if averaging.algorithm == "epidemic":
        return f"Epidemic Learning, fanout {averaging.fanout}"
    if averaging.algorithm == "age-gossip":
        return f"gossip learning by age, fanout {averaging.fanout}"
    return {"fedavg": "FedAvg with a server", "none": "no averaging"}[averaging.algorithm]


def headline(summary: Summary) -> str:
    """Say in one sentence what the run reached, against both baselines."""
    peers = plural(summary.peers, "peer")
    if summary.accuracy_mean is None:
        return f"{peers}, {plural(summary.rounds_ended, 'round')}: no accuracy was measured."
    against = []
    if summary.local_mean is not None:
        against.append(f"{percent(summary.local_mean)} each alone")
    if summary.pooled is not None:
        against.append(f"{percent(summary.pooled)} with all data in one place")
    reached = f"{peers} reach {percent(summary.accuracy_mean)} together"
    return reached + (f", against {' and '.join(against)}." if against else ".")


def verdict(summary: Summary) -> str:
    """Say whether it was worth it: the gain over local only, and what pooling would add."""
    mean, local, pooled = summary.accuracy_mean, summary.local_mean, summary.pooled
    if mean is None:
        return "Nothing can be said about the worth of this run."
    sentences = []
    if local is not None:
        gain = mean - local
        if gain >= TIE:
            sentences.append(f"Worth it: {points(gain)} over local only.")
        elif gain <= -TIE:
            sentences.append(f"Not worth it: {points(gain)} against local only.")
        else:
            sentences.append(f"No clear gain over local only ({points(gain)}).")
    if pooled is not None:
        gap = mean - pooled
        if gap <= -TIE:
            sentences.append(f"Pooling all data would add {points(-gap).removeprefix('+')}.")
        elif gap >= TIE:
            sentences.append(f"That is {points(gap).removeprefix('+')} above pooling all data.")
        else:
            sentences.append("As good as pooling all data.")
    if summary.accuracy_worst is not None:
        worst = f"The worst peer reaches {percent(summary.accuracy_worst)}"
        if summary.local_worst is not None:
            worst += f" (local only: {percent(summary.local_worst)})"
        sentences.append(worst + ".")
    return " ".join(sentences)


def evaluated_rounds(run: Run) -> list[RoundRow]:
    """Return the rounds with a measured accuracy."""
    return [row for row in run.rounds if _finite(row.accuracy_mean) is not None]


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def unfinished_sentence(summary: Summary) -> str:
    """Say which baselines were cut off, of a run that was not."""
    names = " and ".join({"local": "local only"}.get(it, it) for it in summary.unfinished)
    return f"The peers ran all rounds; what they are held against was cut off: {names}."
