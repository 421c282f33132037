"""Watches a run and keeps its tables: rounds, peers, events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event, Vector
from p2pfl_simulations.draws import evaluated_peers
from p2pfl_simulations.results.masked_sums import MaskedSums, MaskedSumTally
from p2pfl_simulations.results.run import EventRow, PeerRow, RoundRow
from p2pfl_simulations.results.selecting import Selected, Selecting, mean_model, mean_of
from p2pfl_simulations.scenario import Scenario, masking_of
from p2pfl_simulations.testbed import PeerHandle, Testbed


@dataclass(slots=True)
class _Spread:
    """Mean and spread of models that come one by one, without keeping them.

    Sums are of differences to the first model, in float64, so that models that agree to many
    digits keep their distance.
    """

    count: int = 0
    first: Vector | None = None
    total: npt.NDArray[np.float64] | None = None
    squares: float = 0.0

    def add(self, vector: Vector) -> None:
        self.count += 1
        if self.first is None or self.total is None:
            self.first = vector
            self.total = np.zeros(len(vector))
            return
        difference = vector - self.first
        self.total += difference
        self.squares += float(np.dot(difference, difference))

    def mean(self) -> npt.NDArray[np.float32]:
        assert self.first is not None
        assert self.total is not None
        return (self.first + self.total / self.count).astype(np.float32)

    def consensus_distance(self) -> float:
        """Root of the mean squared distance to the mean."""
        assert self.total is not None
        offset = self.total / self.count
        square = float(np.einsum("i,i->", offset, offset))  # BLAS: bits by its number of threads.
        return float(np.sqrt(max(0.0, self.squares / self.count - square)))


@dataclass(slots=True)
class _Round:
    row: RoundRow
    ended_by: bytearray  # 1 for each peer that has ended it.
    spread: _Spread | None = field(default_factory=_Spread)
    own: list[float] = field(default_factory=list)  # Primary figures of evaluated peers.
    common: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


SETTLED_ROUNDS = 4
"""The average of a round is taken once half of the peers are that many rounds further."""


class Recorder:
    """Keeps what a report needs; see run.py for the tables.

    Args:
        scenario: what is run.
        primary: the metric by which models are compared.
        figure_of: measures a model of a round on the common test rows; for the average of all
            models.
        on_progress: is called with each round, once half of the peers have ended it, and with
            how many of them have been measured by then.
        liars: strategy of each peer that lies: they are in no table but that of events.
    """

    def __init__(
        self,
        scenario: Scenario,
        primary: PrimaryMetric,
        figure_of: Callable[[int, Vector], float],
        on_progress: Callable[[RoundRow, int], None],
        liars: Mapping[int, str] | None = None,
    ) -> None:
        self.peers: list[PeerRow] = []
        self.last_models: dict[int, PeerModel] = {}  # Where the scenario keeps them.
        self._had_partners = self._was_averaged = False
        self._liars = dict(liars or {})
        self._count = scenario.peers - len(self._liars)
        self.events: list[EventRow] = [
            EventRow(0.0, "liar", peer, 0, strategy) for peer, strategy in self._liars.items()
        ]
        self.events += [EventRow(0.0, "offline", peer, 0, "comes later") for peer in scenario.late]
        self.masked_sums = MaskedSumTally()
        self.online = self._count - len(scenario.late)
        self._unfinished_online = self.online
        self._finished: set[int] = set()  # Membership only.
        self._scenario, self._figure_of, self._primary = scenario, figure_of, primary
        self._is_group = scenario.averaging.algorithm == "group"
        self._on_progress = on_progress
        self._rounds: dict[int, _Round] = {}
        self._unsettled: dict[int, _Round] = {}
        self._host_round = [0] * scenario.peers
        self._ended: dict[tuple[int, int], tuple[float, int, int, int, PeerModel]] = {}
        self._selecting = Selecting(primary, scenario.evaluation)
        self._measured = len(evaluated_peers(scenario).difference(self._liars))
        self._world: Testbed

    def start(self, world: Testbed) -> None:
        """Watch a world."""
        self._world = world

    def is_evaluated(self, round_: int) -> bool:
        """Tell whether figures are taken at the end of a round."""
        return (round_ + 1) % self._scenario.evaluation.every == 0 or (
            round_ + 1 == self._scenario.rounds
        )

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        """Take a peer's event."""
        if host.index in self._liars:
            return
        match event:
            case events.RoundStarted():
                self._host_round[host.index] = event.round
            case events.RoundEnded():
                self._round_ended(now_s, host, event)
            case events.PeerEvaluated():
                self._evaluated(host, event)
            case events.RoundLost():
                self._note(now_s, host, "round_lost", event.round, event.reason)
            case events.CaughtUp():
                self._note(now_s, host, "caught_up", event.round, f"from round {event.behind}")
            case events.TrainingFailed():
                self._of(event.round).row.failed += 1
                self._note(now_s, host, "training_failed", event.round, event.reason)
            case events.EvaluationFailed():
                self._note(now_s, host, "evaluation_failed", event.round, event.reason)
            case events.Finished() | events.Left():
                word = "finished" if isinstance(event, events.Finished) else "left"
                self._note(now_s, host, word, event.round, "")
                if host.index not in self._finished:
                    self._finished.add(host.index)
                    self._count_unfinished(-host.is_online)
            case _:
                self._note_masked_sum(now_s, host, event)

    def _note_masked_sum(self, now_s: float, host: PeerHandle, event: Event) -> None:
        if isinstance(event, events.MaskedSumEnded):
            # A group's own number is a try; the table goes by models.
            round_ = self._host_round[host.index] if self._is_group else event.round
            self.masked_sums.add(event, round_)
            if event.result != "summed":
                reason = event.result.removeprefix("aborted: ")
                self._note(now_s, host, "masked_sum_aborted", event.round, reason)
        elif isinstance(event, events.MemberBlamed):
            self.masked_sums.blame(event)
            self._note(now_s, host, "member_blamed", event.round, event.fault)
        elif isinstance(event, events.UpdateShrunk):
            self.masked_sums.shrunk += 1
        elif isinstance(event, events.UpdatesSpent):
            self._note(now_s, host, "updates_spent", event.round, "")
        elif isinstance(event, events.SitsOut):
            self._note(now_s, host, "sits_out", self._host_round[host.index], "")
        elif isinstance(event, events.EpochBegun):
            self._note(now_s, host, "epoch_begun", self._host_round[host.index], str(event.epoch))

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        """Take a fault."""
        change = {"offline": -1, "online": 1}.get(kind, 0)
        if host is not None and host.index in self._liars:
            change = 0
        self.online += change
        if host is not None and host.index not in self._finished:
            self._count_unfinished(change)
        if host is None:
            self.events.append(EventRow(now_s, kind, -1, -1, detail))
        else:
            self._note(now_s, host, kind, self._host_round[host.index], detail)

    def sums(self, bytes_by_message: Mapping[str, int]) -> MaskedSums | None:
        """Return the figures of all masked sums; None where averaging is plain."""
        if masking_of(self._scenario) == "none":
            return None
        return self.masked_sums.total(bytes_by_message)

    def rows(self) -> list[RoundRow]:
        """Return the table of rounds; to be called once, after the run."""
        self._settle(self._scenario.rounds)
        stopped = self.stopped
        if stopped is not None:  # Some were further by then: nothing of that is of the run.
            self._rounds = {it: state for it, state in self._rounds.items() if it <= stopped}
            self.peers = [row for row in self.peers if row.round <= stopped]
        for state in self._rounds.values():
            row = state.row
            row.lost = self._count - row.ended
            sums = self.masked_sums.of_round(row.round)
            row.cohorts_summed, row.cohorts_recovered = sums.summed, sums.recovered
            row.cohorts_aborted = sums.aborted
            self._take_figures(state)
        return [self._rounds[round_].row for round_ in sorted(self._rounds)]

    @property
    def has_model(self) -> bool:
        """Whether there is a common model: models were averaged, if only once, or none were to be.

        Without, peers have what each trained by itself, and a mean of that is nobody's model.
        """
        return self._was_averaged or not self._had_partners

    def models(self) -> dict[int, PeerModel]:
        """Return the model that counts of each peer that was evaluated, as `Selecting` says."""
        return self._selecting.models() if self.has_model else {}

    @property
    def selected(self) -> Selected | None:
        """The round whose joint model counts; None where it is simply the last."""
        return self._selecting.selected if self.has_model else None

    @property
    def stopped(self) -> int | None:
        """The round after which the run was ended, as validation rows gained no more."""
        return self._selecting.stopped

    def joint(self, last: Sequence[Vector]) -> Vector | None:
        """Return the joint model that counts, given everybody's last; after `rows`."""
        if not self.has_model:
            return None
        chosen = self._selecting.joint()
        return mean_model(last) if chosen is None else chosen

    def counted_models(self) -> dict[int, PeerModel]:
        """Return the models of peers that the run's folder keeps, where it does."""
        if self.selected is None and self.stopped is None:
            return self.last_models
        chosen = self.models()
        return {peer: chosen.get(peer, last) for peer, last in self.last_models.items()}

    def _take_figures(self, state: _Round) -> None:
        """Take mean and worst of the figures that have come."""
        row = state.row
        if state.own:
            own = np.array(state.own)
            row.own_mean, row.own_worst = mean_of(own), self._primary.worst(own)
        if state.common:
            common = np.array(state.common)
            row.common_mean, row.common_worst = mean_of(common), self._primary.worst(common)

    def _settle(self, last: int) -> None:
        """Take the averages of rounds up to a round, in order, and judge their models."""
        for round_ in sorted(it for it in self._unsettled if it <= last):
            self._take_average(self._unsettled.pop(round_))

    def _take_average(self, state: _Round) -> None:
        """Take the figures of a round's average, judge its models, and free its sums."""
        spread, state.spread = state.spread, None
        if spread is None or not spread.count:
            return
        round_, average = state.row.round, spread.mean()
        state.row.consensus_distance = spread.consensus_distance()
        state.row.common_averaged = self._figure_of(round_, average)
        self._selecting.judge(round_, np.array(state.validation), average)
        if self.stopped is not None:
            self._world.is_over = True

    def _settle_if_whole(self, state: _Round) -> None:
        """Judge a round at once where all have ended it, and those measured that are to be.

        So the verdict goes by rounds, not by who is how fast, and real processes come to the same.
        """
        if state.row.ended == self._count and len(state.validation) == self._measured:
            self._settle(state.row.round)

    def look(self) -> None:
        """End the run, if all have finished that are online."""
        self._count_unfinished(0)

    def _count_unfinished(self, change: int) -> None:
        self._unfinished_online += change
        # Who is offline now will not come back for a round that is over.
        has_finished = bool(self._finished) and self._unfinished_online == 0
        self._world.is_over = has_finished or self.stopped is not None

    def _round_ended(self, now_s: float, host: PeerHandle, event: events.RoundEnded) -> None:
        self._had_partners = self._had_partners or event.expected > 1
        self._was_averaged = self._was_averaged or event.contributors > 1
        if self._scenario.evaluation.keep_models:
            self.last_models[host.index] = PeerModel(event.vector, event.own_state)
        state = self._of(event.round)
        if state.ended_by[host.index]:
            return  # A peer that restarts from an older checkpoint ends its rounds again.
        state.ended_by[host.index] = 1
        row = state.row
        row.ended += 1
        row.incomplete += not event.complete
        row.virtual_s, row.online = now_s, self.online
        row.frames_sent, row.bytes_sent = self._world.frames_sent, self._world.bytes_sent
        if self.is_evaluated(event.round) and state.spread is not None:
            state.spread.add(event.vector)
            self._ended[host.index, event.round] = (
                now_s,
                event.contributors,
                event.expected,
                host.bytes_sent,
                PeerModel(event.vector, event.own_state),
            )
        if row.ended == (self._count + 1) // 2:
            self._settle(event.round - SETTLED_ROUNDS)
            self._take_figures(state)
            self._on_progress(row, len(state.own) or len(state.common))
        self._settle_if_whole(state)

    def _evaluated(self, host: PeerHandle, event: events.PeerEvaluated) -> None:
        ended = self._ended.pop((host.index, event.round), None)
        if ended is None:
            return
        state = self._of(event.round)
        name = self._primary.name
        virtual_s, contributors, expected, bytes_sent, model = ended
        chosen_by = event.validation.get(name)
        if not self._selecting.offer(event.round, host.index, model, chosen_by):
            return
        if event.own:
            state.own.append(event.own.get(name, np.nan))
        if event.metrics:
            state.common.append(event.metrics.get(name, np.nan))
        self.peers.append(
            PeerRow(
                event.round,
                host.index,
                virtual_s,
                contributors,
                expected,
                bytes_sent,
                own=event.own,
                common=event.metrics,
                validation=event.validation,
            )
        )
        if event.validation:
            state.validation.append(np.nan if chosen_by is None else chosen_by)
            self._settle_if_whole(state)

    def _of(self, round_: int) -> _Round:
        state = self._rounds.get(round_)
        if state is None:
            row = RoundRow(round_, 0.0, 0, 0, 0, 0, 0, 0, 0)
            state = self._rounds[round_] = _Round(row, bytearray(self._scenario.peers))
            self._unsettled[round_] = state
        return state

    def _note(self, now_s: float, host: PeerHandle, kind: str, round_: int, detail: str) -> None:
        self.events.append(EventRow(now_s, kind, host.index, round_, detail))
