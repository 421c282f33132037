"""A run in a few figures."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.settings import (
    CohortSettings,
    DsgdSettings,
    GroupSettings,
    OwnRuleSettings,
    PushSumSettings,
)
from p2pfl.learner.kept import Kept
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_gossip.draw_risk import MALICIOUS, DrawRisk
from p2pfl_simulations.results.claims import draw_of, robust_name, robust_of, seen
from p2pfl_simulations.results.lies import liars_name
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.privacy import PrivacyRow
from p2pfl_simulations.results.run import (
    EVEN,
    GAINS,
    LOSES,
    UNKNOWN,
    GainRow,
    LossRow,
    MeanGain,
    ParticipationRow,
    PeerRow,
    RoundRow,
    RunResult,
)
from p2pfl_simulations.results.selecting import Selected
from p2pfl_simulations.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run that people compare; None where nothing was measured.

    Attributes:
        name, seed, method: which run; `method` is how the peers averaged, in words.
        peers, rounds: as the scenario has them.
        rounds_ended: rounds that at least one peer ended.
        evaluated_round: the round, from 1, that the figures are of: the last one evaluated.
        primary: the metric by which models are compared: its name and direction.
        gained, lost_by_joining, even, unknown: peers whose gain's interval is above 0, below 0,
            has 0 in it, or is not known.
        mean_gain: of joint over local only on own test rows, over peers, with its interval; None
            where it is not known.
        pooled_gain: as `mean_gain`, of pooled over joint.
        worst: the peer whose gain is the least, by name; None where none is known.
        test_rows: of all peers, their own.
        has_model: whether there is a common model; without, no figure is one of joining.
        own_mean, own_worst: the primary metric of the joint model, each peer on its own test rows:
            of its model that counts (`EvaluationSettings.selection`), over all peers that
            were ever evaluated.
        own_local_mean, own_local_worst, own_pooled_mean: the same of the baselines, where gains
            were measured.
        own_figures: each of the task's figures as `own_mean`, over peers that can tell it.
        own_undefined: of each figure, how many peers cannot tell it, where any cannot.
        confusion: of the joint models, on all peers' own test rows, [class][guess].
        common_mean, common_worst, common_averaged, common_local_mean, common_local_worst,
            common_pooled: the primary metric on the common test rows.
        consensus_distance: root mean square distance of the peers' models to their mean.
        bytes_per_peer: mean bytes sent by one peer.
        virtual_s, wall_s, cpu_s: durations of the simulated and of the real run.
        online: peers online at the end.
        peer_rounds: rounds that peers ended or lost, over all peers.
        lost, incomplete, failed: of those, the ones given up, ended without a full exchange, or
            whose training failed.
        interrupted: whether the run was ended early.
        unfinished: baselines that were cut off.
        failure: the error that did so, one line; empty if none did.
        digest: of the trace; empty where there is none.
        world: as `RunResult` has it.
        seen: what others saw of a peer's model, in a few words.
        masked_sums: what masked sums did; None where averaging is plain.
        draw: the odds that a cohort draws more liars than it bears; None where averaging is plain.
        claim: against whom masked sums may be claimed to protect; None where averaging is plain.
        participation: who is in how many models; None where there is no group.
        idle_models: models of a group that are the one before.
        losses: what was lost of models and updates on their way into averages.
        selected, stopped: as `RunResult` has them.
    """

    name: str
    seed: int
    method: str
    peers: int
    rounds: int
    rounds_ended: int
    evaluated_round: int | None
    primary: PrimaryMetric
    gained: int
    lost_by_joining: int
    even: int
    unknown: int
    mean_gain: MeanGain | None
    pooled_gain: MeanGain | None
    worst: GainRow | None
    test_rows: int
    has_model: bool
    own_mean: float | None
    own_worst: float | None
    own_local_mean: float | None
    own_local_worst: float | None
    own_pooled_mean: float | None
    own_figures: dict[str, float]
    own_undefined: dict[str, int]
    confusion: list[list[int]] | None
    common_mean: float | None
    common_worst: float | None
    common_averaged: float | None
    common_local_mean: float | None
    common_local_worst: float | None
    common_pooled: float | None
    consensus_distance: float | None
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
    failure: str
    digest: str
    world: str
    seen: str
    masked_sums: MaskedSums | None
    draw: DrawRisk | None
    claim: str | None
    participation: list[ParticipationRow] | None = None
    idle_models: int = 0
    losses: list[LossRow] = field(default_factory=list)
    privacy: PrivacyRow | None = None
    selected: Selected | None = None
    stopped: int | None = None


def summarise(run: RunResult) -> Summary:
    """Take the figures that people compare from a run."""
    evaluated = evaluated_rounds(run)
    last = evaluated[-1] if evaluated else None
    end = run.rounds[-1] if run.rounds else None

    draw = draw_of(run.scenario)
    known = [row for row in run.gains if row.outcome != UNKNOWN]
    outcomes = Counter(row.outcome for row in run.gains)

    def figure(name: str) -> float | None:
        return _finite(getattr(last, name)) if last else None

    def joint(name: str) -> float | None:
        return None if run.model is None else figure(name)

    counted = _counted(run)
    own_figures, own_undefined = _own_figures(counted)
    own_mean, own_worst = _mean_and_worst(run, [it.get(run.primary.name) for it in counted])
    local_mean, local_worst = _mean_and_worst(run, [row.local for row in run.gains])
    pooled_mean, _ = _mean_and_worst(run, [row.pooled for row in run.gains])

    return Summary(
        name=run.scenario.name,
        seed=run.scenario.seed,
        method=method_name(run.scenario),
        peers=run.scenario.peers,
        rounds=run.scenario.rounds,
        rounds_ended=sum(1 for row in run.rounds if row.ended),
        evaluated_round=last.round + 1 if last else None,
        primary=run.primary,
        gained=outcomes[GAINS],
        lost_by_joining=outcomes[LOSES],
        even=outcomes[EVEN],
        unknown=outcomes[UNKNOWN],
        mean_gain=run.mean_gain,
        pooled_gain=run.pooled_gain,
        worst=min(known, key=lambda row: (row.gain or 0.0, row.peer), default=None),
        test_rows=sum(row.test_rows for row in run.gains),
        has_model=run.model is not None,
        own_mean=own_mean,
        own_worst=own_worst,
        own_local_mean=local_mean,
        own_local_worst=local_worst,
        own_pooled_mean=pooled_mean,
        own_figures=own_figures,
        own_undefined=own_undefined,
        confusion=run.confusion,
        common_mean=joint("common_mean"),
        common_worst=joint("common_worst"),
        common_averaged=joint("common_averaged"),
        common_local_mean=figure("common_local_mean"),
        common_local_worst=figure("common_local_worst"),
        common_pooled=figure("common_pooled"),
        consensus_distance=figure("consensus_distance"),
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
        failure=run.failure,
        digest=run.digest,
        world=run.world,
        seen=seen(run.scenario),
        masked_sums=run.masked_sums,
        draw=draw,
        claim=draw.claim if draw else MALICIOUS if run.participation is not None else None,
        participation=run.participation,
        idle_models=run.idle_models,
        losses=run.losses,
        privacy=run.privacy,
        selected=run.selected,
        stopped=run.stopped,
    )


def method_name(scenario: Scenario) -> str:
    """Name how the peers of a scenario average, in a few words."""
    robust = robust_of(scenario)
    rule = "" if robust is None else f", {robust_name(robust)}"
    liars = liars_name(scenario)
    return f"{_algorithm_name(scenario)}{rule}{f', {liars}' if liars else ''}"


def _algorithm_name(scenario: Scenario) -> str:
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
    if isinstance(averaging, OwnRuleSettings):
        return f"{averaging.plugin.rpartition(':')[2]} on {averaging.topology.kind}"
    if averaging.algorithm == "epidemic":
        return f"Epidemic Learning, fanout {averaging.fanout}"
    if averaging.algorithm == "age-gossip":
        return f"gossip learning by age, fanout {averaging.fanout}"
    return {"fedavg": "FedAvg with a server", "none": "no averaging"}[averaging.algorithm]


def evaluated_rounds(run: RunResult) -> list[RoundRow]:
    """Return the rounds with a measured primary metric, on own or on common test rows."""
    return [
        row
        for row in run.rounds
        if _finite(row.own_mean) is not None or _finite(row.common_mean) is not None
    ]


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def without_baselines(run: RunResult) -> RunResult:
    """Return a run without all that rests on what it is held against: the peers' own part."""
    columns: dict[str, Any] = dict.fromkeys(
        [it.name for it in fields(RoundRow) if "local" in it.name or "pooled" in it.name]
    )
    rows = [replace(row, **columns) for row in run.rounds]
    return replace(
        run,
        rounds=rows,
        unfinished=(),
        gains=[],
        mean_gain=None,
        pooled_gain=None,
        confusion=None,
    )


def _counted(run: RunResult) -> list[dict[str, float]]:
    """Return each peer's own figures of its model that counts."""
    if run.model is None:
        return []
    return [row.own for row in counted_rows(run) if row.own]


def counted_rows(run: RunResult) -> list[PeerRow]:
    """Return each evaluated peer's row of its model that counts, as `Selecting` has them."""
    selection, chosen = run.scenario.evaluation.selection, run.selected
    kept: dict[int, Kept[PeerRow]] = {}
    for row in run.peers:
        of_peer = kept.setdefault(row.peer, Kept(run.primary))
        is_late = chosen is not None and row.round > chosen.round and of_peer.model is not None
        if selection == "common" and is_late:
            continue
        figure = row.validation.get(run.primary.name) if selection == "own" else None
        of_peer.offer(row, figure)
    return [it.model for _, it in sorted(kept.items()) if it.model is not None]


def _mean_and_worst(
    run: RunResult, figures: Sequence[float | None]
) -> tuple[float | None, float | None]:
    """Return mean and worst of the figures that are known."""
    found = np.array([it for it in figures if _finite(it) is not None])
    return (float(found.mean()), run.primary.worst(found)) if len(found) else (None, None)


def _own_figures(counted: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, int]]:
    """Return the mean of each figure over the peers, and how many cannot tell it."""
    names = sorted({name for figures in counted for name in figures})
    means, undefined = {}, {}
    for name in names:
        known = [it for figures in counted if (it := _finite(figures.get(name))) is not None]
        if known:
            means[name] = sum(known) / len(known)
        if len(known) < len(counted):
            undefined[name] = len(counted) - len(known)
    return means, undefined
