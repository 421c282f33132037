"""The course of a peer: train, exchange, keep, evaluate, and on to the next round.

Composes the averaging machine, the search for others (rejoining.py), the evaluations and what is
kept on disk, and is the only one that moves the peer from state to state. Frames and links are not
its business: peer.py looks at them, and calls `settle` or `go_on` with what they led to.
"""

from collections.abc import Callable
from random import Random

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, LocalProtocolError, Report, Send, Ticket, Vector
from p2pfl_gossip.averaging.base import Averaging, CertifiedAveraging, Outcome
from p2pfl_gossip.catch_up import NoUpdate
from p2pfl_gossip.certified_rejoining import CertifiedRejoining
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.evaluations import Evaluations
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.other_rounds import OtherRounds
from p2pfl_gossip.own_state import OwnState
from p2pfl_gossip.peer_records import PeerRecords
from p2pfl_gossip.peer_state import PeerSettings, Position, State
from p2pfl_gossip.plain_rejoining import PlainRejoining
from p2pfl_gossip.records import Record
from p2pfl_gossip.rejoining import Rejoining
from p2pfl_gossip.roster import Roster


class Rounds:
    """The rounds of one peer, from its start until it has left.

    Args: those of `Peer`.

    Attributes:
        position: where the peer is.
        averaging: the machine that exchanges models.
        rejoining: finds the others again, and helps them to.
        others: what is known of others' rounds.
        is_masked: whether others' models count by certificates alone.
    """

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        settings: PeerSettings,
        initial: Vector,
        make_averaging: Callable[[Desk], Averaging],
        seed: str,
        desk: Desk,
    ) -> None:
        self._roster, self._settings, self._desk = roster, settings, desk
        self._streams = f"{seed}/{index}"  # And the incarnation, once it is known.
        self.position = Position(initial)
        self.averaging = make_averaging(desk.sub(self.settle))
        self.is_masked = isinstance(self.averaging, CertifiedAveraging)
        self.others = OtherRounds(roster)
        self.rejoining = self._make_rejoining(index)
        self._own = OwnState()
        self._records = PeerRecords(settings, self.position, self._own)
        self._evaluations = Evaluations(settings, self._own, desk.sub(self._finish_after))
        self._training: Ticket | None = None
        self._pause_asked = False

    def _make_rejoining(self, index: int) -> Rejoining:
        averaging, desk = self.averaging, self._desk.sub(self.go_on)
        if isinstance(averaging, CertifiedAveraging):
            return CertifiedRejoining(
                index=index,
                roster=self._roster,
                position=self.position,
                averaging=averaging,
                deadline_s=self._settings.deadline_s,
                desk=desk,
            )
        return PlainRejoining(
            index=index,
            roster=self._roster,
            position=self.position,
            others=self.others,
            deadline_s=self._settings.deadline_s,
            desk=desk,
        )

    # --- start, end, pauses -----------------------------------------------------------------

    def start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin at round 0, or go on from what an earlier incarnation persisted."""
        begun = self._records.begin_incarnation(records)
        self._streams = f"{self._streams}/{self._records.incarnation}"
        self.averaging.restore(records)
        self.rejoining.start(Random(f"{self._streams}/seek"))
        if "model" in records:
            self._records.restore_model(records)
            self.rejoining.restore(records)
        round_ = self.position.round
        is_over, is_first = round_ >= self._settings.rounds, self._records.incarnation == 1
        if is_first or is_over or not self.averaging.partners(round_):
            return [begun, *self._start_round(now_s)]
        return [begun, *self._seek(now_s)]

    def leave(self) -> list[Action]:
        """Give up all that is under way, for good."""
        actions = self._drop_round("left") + self.averaging.close() + self.rejoining.stop()
        self.position.enter(State.LEFT)
        return [*actions, Report(events.Left(self.position.round))]

    def pause(self) -> list[Action]:
        """Begin no further round."""
        self._pause_asked = True
        return []

    def resume(self, now_s: float) -> list[Action]:
        """Go on after a pause: others have, so ask them where they are."""
        self._pause_asked = False
        return self._seek(now_s) if self.position.state is State.PAUSED else []

    # --- training ---------------------------------------------------------------------------

    def _start_round(self, now_s: float) -> list[Action]:
        position = self.position
        self.others.on_round(position.round)
        if position.round >= self._settings.rounds:
            position.enter(State.FINISHED)
            return self._finish()
        if self._pause_asked:
            position.enter(State.PAUSED)
            return [Report(events.Paused(position.round))]
        position.enter(State.TRAINING)
        position.round_began_s = now_s
        stream = f"{self._streams}/train/{position.round}"
        job = Train(position.round, position.vector, stream, self._own.arrays)
        work = self._desk.work(job, self._on_trained, self._on_training_failed)
        self._training = work.ticket
        return [Report(events.RoundStarted(position.round)), work]

    def _on_trained(self, now_s: float, result: Record) -> list[Action]:
        if not isinstance(result, Trained):
            raise LocalProtocolError(f"training ended with {type(result).__name__}")
        if self.is_masked and _is_same(result.vector, self.position.vector):
            # It may be the very vector that an earlier session had.
            return self._on_training_failed(now_s, "it changed nothing")
        self._own.take(result.own)
        weight = result.sample_count if self._settings.weigh_by_samples else 1.0
        started = Report(events.AveragingStarted(self.position.round, result.loss))
        return [started, *self._average(now_s, result.vector, weight)]

    def _on_training_failed(self, now_s: float, reason: str) -> list[Action]:
        """Put nothing into the round, and tell its partners; go on from what it gives them."""
        position, self._training = self.position, None
        round_, vector = position.round, position.vector
        partners = self.averaging.partners(round_)
        actions: list[Action] = [Report(events.TrainingFailed(round_, reason))]
        actions += [Send(self._roster.peers[partner], NoUpdate(round_)) for partner in partners]
        position.exchange_began_s = now_s
        nothing = Outcome(vector, len(partners) + 1, 0, complete=False)
        if self.rejoining.is_lost(nothing):
            return actions + self._lose_round(now_s, nothing)
        position.enter(State.AVERAGING)
        actions += self.averaging.begin_without_update(now_s, round_, vector)
        return self._tell_absent(now_s, actions)

    # --- exchanging -------------------------------------------------------------------------

    def _average(self, now_s: float, vector: Vector, weight: float) -> list[Action]:
        position, self._training = self.position, None
        position.enter(State.AVERAGING)
        position.exchange_began_s = now_s
        position.vector, position.is_trained = vector, True
        actions = self.averaging.begin(now_s, position.round, vector, weight)
        return self._tell_absent(now_s, actions)

    def _tell_absent(self, now_s: float, actions: list[Action]) -> list[Action]:
        """Tell the exchange that has begun whom it need not wait for."""
        for partner in self.others.without_update(self.position.round):
            if self.averaging.outcome is None:
                actions += self.averaging.on_no_update(now_s, partner)
        for partner in sorted(self.others.ahead):
            if self.averaging.outcome is None:
                actions += self.averaging.on_past(now_s, partner)
        return self.settle(now_s, actions)

    def settle(self, now_s: float, actions: list[Action]) -> list[Action]:
        """End the round if the averaging machine has come to its outcome."""
        outcome = self.averaging.outcome
        if outcome is not None:
            self.averaging.outcome = None
            actions += self._on_outcome(now_s, outcome)
        if self.is_masked:  # Others have nothing beside their outcome, and many more messages.
            actions += self.rejoining.on_settled(self._records.kept_round)
        return actions

    def _on_outcome(self, now_s: float, outcome: Outcome) -> list[Action]:
        if self.rejoining.is_lost(outcome):
            return self._lose_round(now_s, outcome)
        target = self.rejoining.whom_to_follow(outcome)
        if target is not None:
            return self.fall_behind(now_s, target)
        self._move(self.position.round + 1, outcome.vector)
        answers = self.rejoining.on_outcome(now_s, outcome)
        actions = [*self._end_round(outcome), *answers]
        partners, is_over = outcome.expected - 1, self.position.round >= self._settings.rounds
        if partners and outcome.unreachable == partners and not is_over:
            # Cut off, perhaps: training on alone would drift from the others.
            return actions + self._seek(now_s)
        return actions + self._start_round(now_s)

    def _end_round(self, outcome: Outcome) -> list[Action]:
        """Report and keep what the round before gave us."""
        round_, vector = self.position.round - 1, self.position.vector
        silent = self.others.without_update(round_)
        ended = events.RoundEnded(
            round_,
            vector,
            outcome.expected,
            outcome.contributors,
            outcome.complete,
            tuple(self._roster.peers[partner] for partner in silent),
            self._own.arrays,
        )
        actions = [Report(ended), *self._keep_model()]
        return actions + self._evaluations.evaluate(round_, vector)

    # --- being behind -----------------------------------------------------------------------

    def fall_behind(self, now_s: float, target: int) -> list[Action]:
        """Give this round up for the model of a member that is ahead, if its word counts."""
        fetch = self.rejoining.fetch(now_s, target)
        if not fetch:
            return []
        actions = self._drop_round("behind")
        self.position.enter(State.CATCHING_UP)
        return actions + fetch

    def _lose_round(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Ask others what the round gave them, before we go on."""
        self._move(self.position.round + 1, outcome.vector)
        self.position.enter(State.CATCHING_UP)
        return self.rejoining.search_lost(now_s, outcome)

    def _seek(self, now_s: float) -> list[Action]:
        if len(self._roster) == 1:
            return self._start_round(now_s)  # There is nobody to ask.
        self.position.enter(State.CATCHING_UP)
        return self.rejoining.seek(now_s)

    def go_on(self, now_s: float, actions: list[Action]) -> list[Action]:
        """Go on with a round if the search for others has ended."""
        resumed = self.rejoining.take_resumed()
        if resumed is None:
            return actions
        actions += [Report(event) for event in resumed.events]
        if resumed.vector is not None:
            self._move(resumed.round, resumed.vector)
        if resumed.outcome is not None:
            actions += self._end_round(resumed.outcome)
        elif resumed.vector is not None:
            actions += self._keep_model()
        return actions + self.rejoining.on_resumed(resumed) + self._start_round(now_s)

    # --- small things -----------------------------------------------------------------------

    def _move(self, round_: int, vector: Vector) -> None:
        position = self.position
        position.round, position.vector, position.is_trained = round_, vector, False

    def _keep_model(self) -> list[Action]:
        return self._records.keep_model(self.rejoining.proof())

    def _finish(self) -> list[Action]:
        """Report the end, once the last figures are there."""
        if self.position.state is not State.FINISHED or self._evaluations.under_way:
            return []
        return [Report(events.Finished(self.position.round))]

    def _finish_after(self, _now_s: float, actions: list[Action]) -> list[Action]:
        return actions + self._finish()

    def _drop_round(self, reason: str) -> list[Action]:
        if self.position.state is State.TRAINING and self._training is not None:
            actions = self._desk.cancel_work(self._training)
            self._training = None
        elif self.position.state is State.AVERAGING:
            actions = self.averaging.abandon()
        else:
            return []
        return [*actions, Report(events.RoundLost(self.position.round, reason))]


def _is_same(one: Vector, other: Vector) -> bool:
    """Tell whether two vectors are the same to the bit; as a rule the first bytes tell."""
    return bool(one.data.cast("B") == other.data.cast("B"))
