"""What a run yields: tables by round, peer and event, the final model, and the trace digest."""

from dataclasses import dataclass, field
from typing import Any

from p2pfl.learner.inputs import Inputs
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.model_files import NamedModel
from p2pfl_gossip.actions import Vector
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.results.privacy import PrivacyRow
from p2pfl_simulations.results.selecting import Selected
from p2pfl_simulations.scenario import Scenario

SIMULATED, PROCESSES = "simulated", "processes"
"""The worlds that runs are of."""


def time_name(world: str) -> str:
    """Name what the seconds of a world's run are."""
    return "virtual time" if world == SIMULATED else "real time"


def file_stem(scenario: Scenario) -> str:
    """Name a run's files and folder by its scenario and seed, in characters that are safe there."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in scenario.name).strip(".")
    return f"{stem or 'run'}-{scenario.seed}"


@dataclass(slots=True)
class RoundRow:
    """One round over all peers; figures are None in rounds that are not evaluated.

    Attributes:
        round: from 0.
        virtual_s: when the last peer so far ended it.
        online: peers online at that moment.
        ended: peers that ended it.
        lost: peers that gave it up (behind, aborted, dropped).
        incomplete: of those that ended it, the ones without a full exchange.
        failed: peers whose training gave no usable model.
        frames_sent, bytes_sent: by all peers, up to that moment.
        own_mean, own_worst: the primary metric over the evaluated peers, each on its own test
            rows.
        own_local_mean, own_local_worst, own_pooled_mean: the same of the two baselines.
        common_mean, common_worst: the primary metric over the evaluated peers on the common test
            rows, where the task has any.
        common_averaged: there, of the mean of all models that ended the round.
        common_local_mean, common_local_worst, common_pooled: there, of the two baselines.
        consensus_distance: root mean square over peers of the distance to the mean model, L2.
        cohorts_summed, cohorts_recovered, cohorts_aborted: masked sums of the round: those with a
            sum, of these the ones without members that had dropped out, and those without a sum.
    """

    round: int
    virtual_s: float
    online: int
    ended: int
    lost: int
    incomplete: int
    failed: int
    frames_sent: int
    bytes_sent: int
    own_mean: float | None = None
    own_worst: float | None = None
    own_local_mean: float | None = None
    own_local_worst: float | None = None
    own_pooled_mean: float | None = None
    common_mean: float | None = None
    common_worst: float | None = None
    common_averaged: float | None = None
    common_local_mean: float | None = None
    common_local_worst: float | None = None
    common_pooled: float | None = None
    consensus_distance: float | None = None
    cohorts_summed: int = 0
    cohorts_recovered: int = 0
    cohorts_aborted: int = 0


@dataclass(slots=True)
class PeerRow:
    """One evaluated peer at the end of one round.

    Attributes:
        own: its figures on its own test rows, all that the task gives; empty where it has none.
        common: on the common test rows; empty where the task has none.
        validation: on its rows to choose a model by.
    """

    round: int
    peer: int
    virtual_s: float
    contributors: int
    expected: int
    bytes_sent: int
    own: dict[str, float] = field(default_factory=dict)
    common: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


GAINS, LOSES, EVEN, UNKNOWN = "gains", "loses", "even", "unknown"


@dataclass(slots=True)
class GainRow:
    """What one peer gains by joining: the primary metric on its own test rows.

    Attributes:
        peer: its index.
        name: for people.
        train_rows: rows that it trains on.
        test_rows: rows of its own that it never trains on.
        joint: of the model made together that counts (`EvaluationSettings.selection`).
        local: of its own, trained on its own rows alone.
        pooled: of a model trained on all rows.
        gain: of joint over local: above 0, joint is better, whatever the metric's direction.
        gain_low, gain_high: its 95% interval, by bootstrap over the test rows.
    """

    peer: int
    name: str
    train_rows: int
    test_rows: int
    joint: float | None
    local: float | None
    pooled: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None

    @property
    def outcome(self) -> str:
        """`GAINS` or `LOSES` if the interval says so; `EVEN` if 0 is in it; else `UNKNOWN`."""
        if self.gain is None or self.gain_low is None or self.gain_high is None:
            return UNKNOWN
        return GAINS if self.gain_low > 0 else LOSES if self.gain_high < 0 else EVEN


@dataclass(frozen=True, slots=True)
class MeanGain:
    """A mean gain over peers, each counting alike, and its 95% interval over test rows."""

    mean: float
    low: float | None
    high: float | None


@dataclass(slots=True)
class EventRow:
    """Something that happened: a fault of the world, or a peer's report of note.

    `kind`: ``offline`` and ``online`` (detail: churn, dropout, crash, partition ...),
    ``partition`` and ``healed``, ``round_lost``, ``caught_up``, ``training_failed``, ``left``,
    ``finished``, ``protocol_error``, ``masked_sum_aborted``, ``member_blamed``; ``liar`` of each
    that lies (detail: the strategy), ``backdoor`` (detail: share of marked rows that got the liars'
    label, of the last model); of each peer and
    tensor once, ``values_clipped``, ``weight_capped``, ``update_shrunk``. `peer` is -1 for the
    whole network.
    """

    virtual_s: float
    kind: str
    peer: int
    round: int
    detail: str


@dataclass(slots=True)
class ParticipationRow:
    """In how many of a group's models one member's rows are.

    Attributes:
        peer: its index.
        name: in the charter.
        weight: in the charter.
        heights_in: models that its update went into.
        heights: models that the group made since it is a member.
        last_height: the last one that it is in, from 1; 0 for none. Heights begin again where a
            group goes back.
        cause: why it was out last, one or two words; empty where that is not known.
        out_for: models since that one, or since it is a member.
    """

    peer: int
    name: str
    weight: float
    heights_in: int
    heights: int
    last_height: int
    cause: str
    out_for: int = 0

    @property
    def share(self) -> float:
        """Of all models; 0 where there are none."""
        return self.heights_in / self.heights if self.heights else 0.0


@dataclass(slots=True)
class LossRow:
    """What was lost of models and updates, over all peers.

    Attributes:
        kind: one of `p2pfl.group.lossy.KINDS`.
        tensor: where; empty where it is of no tensor.
        peers: how many lost it.
        times: in how many rounds, over all of them.
        largest: the largest magnitude or norm; 0 where there is none.
        limit: what it was cut to; 0 where there is none.
    """

    kind: str
    tensor: str
    peers: int
    times: int
    largest: float
    limit: float


class EndedEarly(Exception):
    """An error ended a run in the midst of it: one line for people, and what had run by then.

    Attributes:
        run: the result until then; its `failure` is the line.
    """

    def __init__(self, run: "RunResult") -> None:
        super().__init__(run.failure)
        self.run = run


@dataclass(slots=True)
class RunResult:
    """The result of one simulated run.

    Attributes:
        scenario: as resolved.
        primary: the metric by which models are compared, and its direction.
        rounds, peers, events: the tables.
        gains: what each evaluated peer gains by joining; empty where that was not measured, or
            there is no common model.
        mean_gain: of joint over local, over peers; None where it is not known.
        pooled_gain: of pooled over joint, over peers; None where it is not known.
        confusion: of the joint models on all peers' own test rows, int[class][guess]; None where
            there are no classes.
        sample_counts: rows of each peer.
        label_counts: int[peers][classes], or None where the task has no labels.
        neighbours: for the last round, each peer's exchange partners, for the picture.
        digest: hexadecimal digest of the trace: event order and every byte that travelled.
        model: float32[d], the average of all peers' models of the round that counts, as a rule the
            last (`EvaluationSettings.selection`); None where models were to be
            averaged and never were, since then there is no common model.
        interrupted: whether Ctrl-C, the time limit or an error ended the run early.
        unfinished: baselines that Ctrl-C or an error cut off: their figures are of a part of the
            rounds.
        failure: the error that ended the run or its baselines early, one line; empty if none did.
        virtual_s, wall_s, cpu_s: durations; the latter two are of the machine, not of the result.
        counters: events, frames, bytes, timers, training jobs, batches ..., by name.
        batching: how training was batched, one line.
        environment: versions and machine class, for replay.
        world: `SIMULATED`, or `PROCESSES`: real ones on one machine. Of those, seconds are real,
            and there is no digest: no two runs are alike to the byte.
        masked_sums: what they did; None where averaging is plain.
        participation: who is in how many models of a group; None where there is no group.
        idle_models: certified models of a group that are the one before: sums out of range.
        losses: what was lost of models and updates on their way into averages.
        ledger: the group's record, as `ledger.bin` keeps it; None where there is none.
        named: `model` with the names of its tensors, and those that do not travel.
        peer_models: the last models of peers, by their index, where the scenario keeps them.
        inputs: what it learnt from and was measured on, by digest; None in older folders.
        privacy: what was promised of records; None if nothing was.
        selected: the round that `model` is of, by validation rows; None where it is the last.
        stopped: the round, from 0, after which the run was ended, as `evaluation.patience` says.
    """

    scenario: Scenario
    primary: PrimaryMetric
    rounds: list[RoundRow]
    peers: list[PeerRow]
    events: list[EventRow]
    sample_counts: list[int]
    label_counts: list[list[int]] | None
    neighbours: list[tuple[int, ...]]
    digest: str
    model: Vector | None
    interrupted: bool
    virtual_s: float
    wall_s: float
    cpu_s: float
    counters: dict[str, float]
    batching: str
    environment: dict[str, Any] = field(default_factory=dict)
    world: str = SIMULATED
    masked_sums: MaskedSums | None = None
    unfinished: tuple[str, ...] = ()
    failure: str = ""
    participation: list[ParticipationRow] | None = None
    idle_models: int = 0
    ledger: bytes | None = None
    losses: list[LossRow] = field(default_factory=list)
    named: NamedModel | None = None
    peer_models: dict[int, NamedModel] = field(default_factory=dict)
    gains: list[GainRow] = field(default_factory=list)
    mean_gain: MeanGain | None = None
    pooled_gain: MeanGain | None = None
    confusion: list[list[int]] | None = None
    inputs: Inputs | None = None
    privacy: PrivacyRow | None = None
    selected: Selected | None = None
    stopped: int | None = None

    def require_model(self) -> Vector:
        """Return the common model.

        Raises:
            ValueError: models were to be averaged, and never were: there is none.
        """
        if self.model is None:
            raise ValueError("this run has no common model: in none of its rounds was one made")
        return self.model
