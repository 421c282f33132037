"""One whole peer: trains, averages, evaluates and reports, round after round.

Composes the machines of this package, and is itself one (actions.py, `Machine`): a driver runs it
over real links or simulated ones, and it cannot tell which. A round is: train on the own data,
exchange by the averaging algorithm, take the result as the new model, persist, evaluate, report.

A peer enters the next round when its exchange has ended or was given up, so rounds of different
peers are not aligned. What it knows of others' absence it has from frames, links and deadlines.
"""

from collections.abc import Callable
from functools import partial
from random import Random

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    LocalProtocolError,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    Ticket,
    Vector,
)
from p2pfl_gossip.averaging.base import (
    LOOKAHEAD_ROUNDS,
    Averaging,
    RoundMessage,
    check_entries,
)
from p2pfl_gossip.catch_up import (
    CatchUp,
    ModelHeader,
    ModelRequest,
    ModelServer,
    Status,
    StatusRequest,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.inbound import Inbound
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.other_rounds import OtherRounds
from p2pfl_gossip.peer_state import NEXT_STATES, PeerSettings, State
from p2pfl_gossip.records import Message, Record
from p2pfl_gossip.roster import Roster


class Peer(DeskMachine):
    """A peer of a group.

    Args:
        index: its place in the roster.
        roster: all members.
        settings: see `PeerSettings`.
        initial: float32[d], the model that everybody starts with.
        make_averaging: makes the averaging machine, given a desk for it alone.
        seed: names the peer's random streams, together with its index and incarnation.
        desk: where another machine is around the peer, one for it alone.
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
        desk: Desk | None = None,
    ) -> None:
        self._index, self._roster, self._settings, self._seed = index, roster, settings, seed
        self._desk = Desk() if desk is None else desk
        self._averaging = make_averaging(self._desk.sub(self._settle))
        self._inbound = Inbound(initial.dtype)
        self._server = ModelServer(roster, self._desk)
        self._catch_up: CatchUp
        self._state = State.NEW
        self._incarnation = 0
        self._round, self._round_began_s = 0, 0.0
        # The model the round began with; from the end of training on, the one just trained.
        self._vector = initial
        # Whether `_vector` was trained here and not averaged since, so that nobody may have it.
        self._is_trained = False
        # Given away in its place, where nobody ever sees a peer's own model: the one before it.
        self._given: Vector | None = initial if self._averaging.hides_models else None
        self._training: Ticket | None = None
        self._evaluations = 0  # Under way.
        self._others = OtherRounds(roster)
        self._pause_asked = False

    @property
    def state(self) -> State:
        """Where the peer is in its round."""
        return self._state

    @property
    def round(self) -> int:
        """The round the peer is in, from 0; the number of rounds once it has finished."""
        return self._round

    @property
    def vector(self) -> Vector:
        """The peer's model, read-only. For the driver's measurements: it may be unaveraged."""
        return self._vector

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the indices of the members that this one exchanges with in a round."""
        return self._averaging.partners(round_)

    # --- start, end, commands ---------------------------------------------------------------

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin at round 0, or go on from what an earlier incarnation persisted."""
        if self._state is not State.NEW:
            raise LocalProtocolError("started twice")
        self._incarnation = _number(records.get("incarnation", b"\0")) + 1
        self._averaging.restore(records)
        self._catch_up = CatchUp(
            index=self._index,
            roster=self._roster,
            deadline_s=self._settings.deadline_s,
            desk=self._desk.sub(self._resume),
            rng=Random(self._stream("seek")),
        )
        actions: list[Action] = [Persist({"incarnation": self._incarnation.to_bytes(8, "little")})]
        if "model" in records:
            model = records["model"]
            if isinstance(model, bytes) or model.shape != self._vector.shape:
                raise LocalProtocolError("the persisted model is not of this task")
            self._round, self._vector = _number(records["round"]), model
            self._is_trained = bool(_number(records["is_trained"]))
        is_over = self._round >= self._settings.rounds
        if self._incarnation == 1 or is_over or not self._averaging.partners(self._round):
            return actions + self._start_round(now_s)
        return actions + self._seek(now_s)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave at once; pause before the next round; resume."""
        if self._state is State.NEW:
            raise LocalProtocolError(f"asked to {command} before the start")
        if self._state is State.LEFT:
            return []
        if command is Command.LEAVE:
            actions = self._drop_round("left") + self._averaging.close() + self._catch_up.stop()
            self._enter(State.LEFT)
            return [*actions, Report(events.Left(self._round))]
        self._pause_asked = command is Command.PAUSE
        if self._state is State.PAUSED and not self._pause_asked:
            return self._seek(now_s)
        return []

    # --- frames and links -------------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if self._state is State.LEFT:
            return []
        if isinstance(message, StatusRequest):
            return [Send(sender, Status(self._round))]
        if isinstance(message, Status):
            self._check_round(message.round)
            return self._on_status(now_s, index, message.round)
        if isinstance(message, ModelRequest):
            self._check_round(message.round)
            is_training = self._state is State.TRAINING
            # Who begins our round so late would be late for its exchange.
            is_late = is_training and now_s > self._round_began_s + self._settings.deadline_s
            waits = is_late or self._state is State.AVERAGING  # For the end of our round.
            vector = None if waits else self._vector_for_others()
            return self._server.on_request(index, message.round, self._round, vector)
        refused = self._compare_rounds(now_s, index, message)
        if refused is not None:
            return refused
        return self._settle(now_s, self._averaging.on_message(now_s, index, message))

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether a body is wanted, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if self._state is State.LEFT:
            return False, []
        size: int | None
        if isinstance(header, ModelHeader):
            self._check_round(header.round)
            size = self._vector.nbytes if self._catch_up.is_fetching_from(index) else None
            if size is not None:
                self._inbound.begin(sender, bulk, header, size)
            return size is not None, []
        refused = self._compare_rounds(now_s, index, header)
        if refused is not None:
            return False, refused
        size = self._averaging.body_bytes(index, header)
        if size is not None:
            room = self._averaging.room_for(index, header)
            self._inbound.begin(sender, bulk, header, size, room)
        actions = self._averaging.on_header(now_s, index, header)
        return size is not None, self._settle(now_s, actions)

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take the next bytes of a body."""
        self._inbound.chunk(bulk, chunk)
        return []

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take a whole body: a model that we asked for, or one for the averaging machine."""
        index = self._roster.index_untrusted(sender)
        header, vector = self._inbound.end(bulk)
        if self._state is State.LEFT:
            return []
        if isinstance(header, RoundMessage):
            if header.round < self._round:
                return []  # Our round ended while the body was on its way.
        elif isinstance(header, ModelHeader):
            if not self._catch_up.is_fetching_from(index):
                return []
            check_entries(vector)
            return self._resume(now_s, self._catch_up.on_model(header.round, vector))
        return self._settle(now_s, self._averaging.on_body(now_s, index, header, vector))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke; deadlines see to the rest."""
        self._inbound.lost(bulk)
        return []

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Nothing: a peer speaks when it has something to say."""
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Do without a peer that cannot be reached, for this round."""
        index = self._roster.index_untrusted(peer)
        if self._state is State.CATCHING_UP:
            return self._resume(now_s, self._catch_up.on_peer_down(now_s, index))
        return self._settle(now_s, self._averaging.on_peer_down(now_s, index))

    # --- work -------------------------------------------------------------------------------

    def _on_trained(self, now_s: float, result: Record) -> list[Action]:
        if not isinstance(result, Trained):
            raise LocalProtocolError(f"training ended with {type(result).__name__}")
        weight = result.sample_count if self._settings.weigh_by_samples else 1.0
        started = Report(events.AveragingStarted(self._round, result.loss))
        return [started, *self._average(now_s, result.vector, weight)]

    def _on_training_failed(self, now_s: float, reason: str) -> list[Action]:
        """Go on without the round's update, with the model that it began with."""
        failed = Report(events.TrainingFailed(self._round, reason))
        return [failed, *self._average(now_s, self._vector, 1.0)]

    def _on_evaluated(self, round_: int, _now_s: float, result: Record) -> list[Action]:
        if not isinstance(result, Evaluated):
            raise LocalProtocolError(f"an evaluation ended with {type(result).__name__}")
        self._evaluations -= 1
        return [Report(events.PeerEvaluated(round_, result.metrics)), *self._finish()]

    def _on_evaluation_failed(self, round_: int, _now_s: float, reason: str) -> list[Action]:
        self._evaluations -= 1
        return [Report(events.EvaluationFailed(round_, reason)), *self._finish()]

    # --- the round --------------------------------------------------------------------------

    def _start_round(self, now_s: float) -> list[Action]:
        self._others.on_round(self._round)
        if self._round >= self._settings.rounds:
            self._enter(State.FINISHED)
            return self._finish()
        if self._pause_asked:
            self._enter(State.PAUSED)
            return [Report(events.Paused(self._round))]
        self._enter(State.TRAINING)
        self._round_began_s = now_s
        job = Train(self._round, self._vector, self._stream(f"train/{self._round}"))
        work = self._desk.work(job, self._on_trained, self._on_training_failed)
        self._training = work.ticket
        return [Report(events.RoundStarted(self._round)), work]

    def _finish(self) -> list[Action]:
        """Report the end, once the last figures are there."""
        if self._state is not State.FINISHED or self._evaluations:
            return []
        return [Report(events.Finished(self._round))]

    def _average(self, now_s: float, vector: Vector, weight: float) -> list[Action]:
        self._training = None
        self._enter(State.AVERAGING)
        if self._averaging.hides_models and not self._is_trained:
            self._given = self._vector
        self._vector, self._is_trained = vector, True
        actions = self._averaging.begin(now_s, self._round, vector, weight)
        for partner in sorted(self._others.ahead):
            if self._averaging.outcome is None:
                actions += self._averaging.on_past(now_s, partner)
        return self._settle(now_s, actions)

    def _settle(self, now_s: float, actions: list[Action]) -> list[Action]:
        """End the round if the averaging machine has come to its outcome."""
        outcome = self._averaging.outcome
        if outcome is None:
            return actions
        self._averaging.outcome = None
        partners = outcome.expected - 1
        target = self._others.whom_to_follow(
            outcome,
            self._averaging.partners(self._round),
            hides_models=self._averaging.hides_models,
        )
        if target is not None:
            return actions + self._fall_behind(now_s, target)
        ended = events.RoundEnded(
            self._round, outcome.vector, outcome.expected, outcome.contributors, outcome.complete
        )
        self._round += 1
        self._vector = outcome.vector
        # Of a round alone. Where partners get to see it anyway, it may be given away: others may
        # be behind, and have nobody else to go on from.
        self._is_trained = outcome.contributors == 1 and self._averaging.hides_models
        actions += [Report(ended), *self._persist(), *self._evaluate(self._round - 1)]
        given = self._vector_for_others()
        if given is not None:
            actions += self._server.on_round(self._round, given)
        if partners and outcome.unreachable == partners and self._round < self._settings.rounds:
            # Cut off, perhaps: training on alone would drift from the others.
            return actions + self._seek(now_s)
        return actions + self._start_round(now_s)

    def _vector_for_others(self) -> Vector | None:
        return self._given if self._is_trained else self._vector

    def _persist(self) -> list[Action]:
        every = self._settings.checkpoint_every
        if not every or (self._round % every and self._round < self._settings.rounds):
            return []
        return [
            Persist(
                {
                    "round": self._round.to_bytes(8, "little"),
                    "model": self._vector,
                    "is_trained": bytes([self._is_trained]),
                }
            )
        ]

    def _evaluate(self, round_: int) -> list[Action]:
        every = self._settings.evaluate_every
        if not every or ((round_ + 1) % every and round_ + 1 < self._settings.rounds):
            return []
        self._evaluations += 1
        done = partial(self._on_evaluated, round_)
        failed = partial(self._on_evaluation_failed, round_)
        return [self._desk.work(Evaluate(round_, self._vector), done, failed)]

    # --- being behind -----------------------------------------------------------------------

    def _check_round(self, round_: int) -> None:
        """Refuse a claim to be further than the end: nobody can be."""
        if round_ > self._settings.rounds:
            raise RemoteProtocolError("round_out_of_range")

    def _compare_rounds(self, now_s: float, sender: int, message: Message) -> list[Action] | None:
        """Return None for a message of our round or one that we may wait for; else what to do.

        A late sender is told our round. A sender far ahead tells us that we are behind.
        """
        round_: int | None
        if isinstance(message, RoundMessage):
            round_ = message.round
        else:
            round_ = self._averaging.round_of(message, self._round)
        if round_ is None or (round_ == self._round and self._state is not State.FINISHED):
            return None
        if round_ >= self._settings.rounds:
            raise RemoteProtocolError("round_out_of_range")
        if round_ < self._round:
            if self._averaging.lingers(round_, message):
                return None
            return self._others.tell(sender, self._round)
        if round_ <= self._round + LOOKAHEAD_ROUNDS:
            if round_ > self._round:
                self._others.note_later(sender, round_)
            return None
        if self._state in (State.TRAINING, State.AVERAGING):
            return self._fall_behind(now_s, sender)
        return []

    def _on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        if self._state is State.CATCHING_UP:
            return self._resume(now_s, self._catch_up.on_status(now_s, sender, round_))
        if round_ < self._round:
            return self._others.tell(sender, self._round)
        if round_ == self._round:
            return []
        self._others.ahead[sender] = round_
        if self._state is State.AVERAGING:
            return self._settle(now_s, self._averaging.on_past(now_s, sender))
        return []

    def _fall_behind(self, now_s: float, target: int) -> list[Action]:
        """Give this round up and take round and model from a member that is ahead."""
        actions = self._drop_round("behind")
        self._enter(State.CATCHING_UP)
        return actions + self._catch_up.fetch(now_s, self._round, target)

    def _seek(self, now_s: float) -> list[Action]:
        if len(self._roster) == 1:
            return self._start_round(now_s)  # There is nobody to ask.
        self._enter(State.CATCHING_UP)
        return self._catch_up.seek(now_s, self._round)

    def _resume(self, now_s: float, actions: list[Action]) -> list[Action]:
        """Go on with a round once the search has ended."""
        found = self._catch_up.found
        if found is None:
            return actions
        self._catch_up.found = None
        if found.vector is not None and found.round > self._round:
            actions.append(Report(events.CaughtUp(self._round, found.round)))
            self._round, self._vector, self._is_trained = found.round, found.vector, False
            actions += [*self._persist(), *self._server.on_round(self._round, self._vector)]
        return actions + self._start_round(now_s)

    def _drop_round(self, reason: str) -> list[Action]:
        if self._state is State.TRAINING and self._training is not None:
            actions = self._desk.cancel_work(self._training)
            self._training = None
        elif self._state is State.AVERAGING:
            actions = self._averaging.abandon()
        else:
            return []
        return [*actions, Report(events.RoundLost(self._round, reason))]

    def _enter(self, state: State) -> None:
        if state not in NEXT_STATES[self._state]:
            raise LocalProtocolError(f"from {self._state} to {state}")
        self._state = state

    def _stream(self, purpose: str) -> str:
        return f"{self._seed}/{self._index}/{self._incarnation}/{purpose}"


def _number(record: bytes | Vector) -> int:
    if not isinstance(record, bytes):
        raise LocalProtocolError("a persisted number is not bytes")
    return int.from_bytes(record, "little")
