"""One whole peer: trains, averages, evaluates and reports, round after round.

Composes the machines of this package, and is itself one (actions.py, `Machine`): a driver runs it
over real links or simulated ones, and it cannot tell which. A round is: train on the own data,
exchange by the averaging algorithm, take the result as the new model, persist, evaluate, report.

A peer enters the next round when its exchange has ended or was given up, so rounds of different
peers are not aligned. What it knows of others' absence it has from frames, links and deadlines.

Which round and whose model it goes on from, where it was away or a round came to nothing, depends
on the averaging. Where models are masked, only a cohort's certificate moves it
(certified_catch_up.py), and it gives away nothing else (certified_models.py). Where they are seen
anyway, it takes others' word (catch_up.py): that is for members who trust each other.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    Disconnect,
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
    CertifiedAveraging,
    Outcome,
    RoundBuffer,
    RoundMessage,
    check_entries,
)
from p2pfl_gossip.catch_up import (
    CatchUp,
    Found,
    ModelHeader,
    ModelRequest,
    ModelServer,
    NoUpdate,
    Status,
    StatusRequest,
    Wait,
)
from p2pfl_gossip.certified_catch_up import CertifiedCatchUp
from p2pfl_gossip.certified_models import CertifiedModel, CertifiedModels
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.inbound import Inbound
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.masked_sum.certificate import from_record
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
        averaging = self._averaging
        # Where models are masked; None where they are seen anyway.
        self._proofs = averaging if isinstance(averaging, CertifiedAveraging) else None
        self._server = ModelServer(roster, self._desk)
        self._models = CertifiedModels(roster, self._desk, settings.deadline_s)
        self._catch_up: CatchUp
        self._search: CertifiedCatchUp
        self._lost: Outcome | None = None  # Of the round before, while we ask what it gave others.
        self._state = State.NEW
        self._incarnation = 0
        self._round, self._round_began_s, self._exchange_began_s = 0, 0.0, 0.0
        # The model the round began with; from the end of training on, the one just trained.
        self._vector = initial
        # Whether `_vector` was trained here and not averaged since, so that nobody may have it.
        self._is_trained = False
        self._kept_round = -1  # Of the model that is persisted.
        self._training: Ticket | None = None
        self._evaluations = 0  # Under way.
        self._others = OtherRounds(roster)
        self._no_updates: RoundBuffer[dict[int, None]] = RoundBuffer()  # Who has none, by round.
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
        self._make_searches()
        actions: list[Action] = [Persist({"incarnation": self._incarnation.to_bytes(8, "little")})]
        if "model" in records:
            model = records["model"]
            if isinstance(model, bytes) or model.shape != self._vector.shape:
                raise LocalProtocolError("the persisted model is not of this task")
            self._round, self._vector = _number(records["round"]), model
            self._kept_round = self._round
            self._restore_certificate(records.get("certificate"))
        is_over = self._round >= self._settings.rounds
        if self._incarnation == 1 or is_over or not self._averaging.partners(self._round):
            return actions + self._start_round(now_s)
        return actions + self._seek(now_s)

    def _make_searches(self) -> None:
        common: Any = {
            "index": self._index,
            "roster": self._roster,
            "deadline_s": self._settings.deadline_s,
        }
        rng = Random(self._stream("seek"))
        self._catch_up = CatchUp(**common, rng=rng, desk=self._desk.sub(self._resume))
        settle = self._resume_by_certificate
        self._search = CertifiedCatchUp(**common, rng=rng, desk=self._desk.sub(settle))

    def _restore_certificate(self, record: bytes | Vector | None) -> None:
        if not isinstance(record, bytes):
            return
        certificate = from_record(record)
        if certificate.round + 1 == self._round:
            self._models.take(CertifiedModel(self._round, self._vector, certificate))

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave at once; pause before the next round; resume."""
        if self._state is State.NEW:
            raise LocalProtocolError(f"asked to {command} before the start")
        if self._state is State.LEFT:
            return []
        if command is Command.LEAVE:
            actions = self._drop_round("left") + self._averaging.close() + self._catch_up.stop()
            actions += self._search.stop()
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
            return self._on_model_request(now_s, index, message.round)
        if isinstance(message, NoUpdate):
            self._check_round(message.round)
            return self._on_no_update(now_s, index, message.round)
        if isinstance(message, Wait) and self._proofs is not None:
            self._check_round(message.round)
            return self._resume_by_certificate(
                now_s, self._search.on_wait(now_s, index, message.round)
            )
        self._require_ours(message)
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
            size = self._vector.nbytes if self._wants_model(index, header) else None
            if size is not None:
                self._inbound.begin(sender, bulk, header, size)
                self._search.begin_model(index)
            return size is not None, []
        self._require_ours(header)
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
            if self._proofs is not None:
                return self._on_certified_model(now_s, sender, header, vector)
            if not self._catch_up.is_fetching_from(index):
                return []
            check_entries(vector)
            return self._resume(now_s, self._catch_up.on_model(header.round, vector))
        return self._settle(now_s, self._averaging.on_body(now_s, index, header, vector))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke; deadlines see to the rest."""
        header, index = self._inbound.lost(bulk), self._roster.index_untrusted(sender)
        if not isinstance(header, ModelHeader):
            return []
        return self._resume_by_certificate(now_s, self._search.lose_model(now_s, index))

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Note it, and say nothing: a peer speaks when it has something to say."""
        self._averaging.on_peer_up(self._roster.index_untrusted(peer))
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Do without a peer that cannot be reached, for this round."""
        index = self._roster.index_untrusted(peer)
        if self._state is State.CATCHING_UP:
            if self._proofs is not None:
                actions = self._search.on_peer_down(now_s, index)
                return self._resume_by_certificate(now_s, actions)
            return self._resume(now_s, self._catch_up.on_peer_down(now_s, index))
        return self._settle(now_s, self._averaging.on_peer_down(now_s, index))

    # --- work -------------------------------------------------------------------------------

    def _on_trained(self, now_s: float, result: Record) -> list[Action]:
        if not isinstance(result, Trained):
            raise LocalProtocolError(f"training ended with {type(result).__name__}")
        if self._proofs is not None and _is_same(result.vector, self._vector):
            # It may be the very vector that an earlier session had.
            return self._on_training_failed(now_s, "it changed nothing")
        weight = result.sample_count if self._settings.weigh_by_samples else 1.0
        started = Report(events.AveragingStarted(self._round, result.loss))
        return [started, *self._average(now_s, result.vector, weight)]

    def _on_training_failed(self, now_s: float, reason: str) -> list[Action]:
        """Put nothing into the round, and tell its partners; go on from what it gives them."""
        self._training, round_ = None, self._round
        partners = self._averaging.partners(round_)
        actions: list[Action] = [Report(events.TrainingFailed(round_, reason))]
        actions += [Send(self._roster.peers[partner], NoUpdate(round_)) for partner in partners]
        self._exchange_began_s = now_s
        if self._proofs is not None:
            nothing = Outcome(self._vector, len(partners) + 1, 0, complete=False)
            return actions + self._lose_round(now_s, nothing)
        self._enter(State.AVERAGING)
        actions += self._averaging.begin_without_update(now_s, round_, self._vector)
        return self._tell_absent(now_s, actions)

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
        self._no_updates.forget_before(self._round)
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
        self._exchange_began_s = now_s
        self._vector, self._is_trained = vector, True
        actions = self._averaging.begin(now_s, self._round, vector, weight)
        return self._tell_absent(now_s, actions)

    def _tell_absent(self, now_s: float, actions: list[Action]) -> list[Action]:
        """Tell the exchange that has begun whom it need not wait for."""
        for partner in sorted(self._no_updates.get(self._round, ())):
            if self._averaging.outcome is None:
                actions += self._averaging.on_no_update(now_s, partner)
        for partner in sorted(self._others.ahead):
            if self._averaging.outcome is None:
                actions += self._averaging.on_past(now_s, partner)
        return self._settle(now_s, actions)

    def _settle(self, now_s: float, actions: list[Action]) -> list[Action]:
        """End the round if the averaging machine has come to its outcome."""
        outcome = self._averaging.outcome
        if outcome is not None:
            self._averaging.outcome = None
            actions += self._on_outcome(now_s, outcome)
        return actions + self._take_certificate()

    def _on_outcome(self, now_s: float, outcome: Outcome) -> list[Action]:
        if self._proofs is not None and outcome.contributors == 1:
            return self._lose_round(now_s, outcome)
        if self._proofs is None:
            target = self._others.whom_to_follow(outcome)
            if target is not None:
                return self._fall_behind(now_s, target)
        partners = outcome.expected - 1
        self._round += 1
        self._vector, self._is_trained = outcome.vector, False
        if self._proofs is None:
            answers = self._server.on_round(self._round, self._vector)
        elif outcome.complete:
            answers = self._models.expect(now_s, self._round - 1, self._vector)
        else:
            self._models.give_up()
            answers = self._models.answer_waiting(self._round)
        actions = [*self._end_round(outcome), *answers]
        if partners and outcome.unreachable == partners and self._round < self._settings.rounds:
            # Cut off, perhaps: training on alone would drift from the others.
            return actions + self._seek(now_s)
        return actions + self._start_round(now_s)

    def _end_round(self, outcome: Outcome) -> list[Action]:
        """Report and keep what the round before gave us."""
        round_ = self._round - 1
        silent = self._no_updates.get(round_, {})
        ended = events.RoundEnded(
            round_,
            self._vector,
            outcome.expected,
            outcome.contributors,
            outcome.complete,
            tuple(self._roster.peers[partner] for partner in sorted(silent)),
        )
        return [Report(ended), *self._persist(), *self._evaluate(round_)]

    def _persist(self) -> list[Action]:
        every = self._settings.checkpoint_every
        if not every or (self._round % every and self._round < self._settings.rounds):
            return []
        self._kept_round = self._round
        records: dict[str, bytes | Vector | None] = {
            "round": self._round.to_bytes(8, "little"),
            "model": self._vector,
        }
        if self._proofs is not None:
            records["certificate"] = self._models.record_of(self._round)
        return [Persist(records)]

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

    def _require_ours(self, message: Message) -> None:
        """Refuse what our averaging never takes, before anything looks at its round."""
        if not isinstance(message, self._averaging.message_types):
            raise RemoteProtocolError("unexpected_message")

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
            return None
        if self._state in (State.TRAINING, State.AVERAGING):
            return self._fall_behind(now_s, sender)
        return []

    def _on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        if self._state is State.CATCHING_UP:
            if self._proofs is not None:
                actions = self._search.on_status(now_s, sender, round_)
                return self._resume_by_certificate(now_s, actions)
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
        if self._proofs is not None:
            return self._search.seek(now_s, self._round)
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

    # --- what is asked and told ---------------------------------------------------------------

    def _on_model_request(self, now_s: float, sender: int, their_round: int) -> list[Action]:
        is_training = self._state is State.TRAINING
        # Who begins our round so late would be late for its exchange.
        is_late = is_training and now_s > self._round_began_s + self._settings.deadline_s
        waits = is_late or self._state is State.AVERAGING  # For the end of our round.
        if self._proofs is not None:
            is_ending = waits or self._models.is_near(now_s)
            return self._models.on_request(sender, their_round, self._round, is_ending=is_ending)
        vector = None if waits or self._is_trained else self._vector
        return self._server.on_request(sender, their_round, self._round, vector)

    def _on_no_update(self, now_s: float, sender: int, round_: int) -> list[Action]:
        is_near = self._round <= round_ <= self._round + LOOKAHEAD_ROUNDS
        if not is_near or round_ >= self._settings.rounds:
            return []
        if sender not in self._averaging.partners(round_):
            return []
        self._no_updates.setdefault(round_, {})[sender] = None
        if self._state is State.AVERAGING and round_ == self._round:
            return self._settle(now_s, self._averaging.on_no_update(now_s, sender))
        return []

    # --- by certificates alone ----------------------------------------------------------------

    def _lose_round(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Ask others what the round gave them, before we go on; nothing of ours is in it."""
        assert self._proofs is not None
        lost, partners = self._round, self._averaging.partners(self._round)
        self._round, self._lost, self._vector = lost + 1, outcome, outcome.vector
        self._enter(State.CATCHING_UP)
        actions = self._models.answer_waiting(self._round)
        if outcome.unreachable == len(partners):
            return actions + self._search.seek(now_s, lost)  # Cut off, perhaps.
        liars_max = self._proofs.liars_max(lost)
        since_s = self._exchange_began_s
        return actions + self._search.await_result(now_s, since_s, lost, partners, liars_max)

    def _resume_by_certificate(self, now_s: float, actions: list[Action]) -> list[Action]:
        """Go on with a round once the search has ended."""
        found = self._search.found
        if found is None:
            return actions
        self._search.found = None
        outcome, self._lost = self._lost, None
        if found.vector is not None and found.certificate is not None:
            model = CertifiedModel(found.round, found.vector, found.certificate)
            self._models.take(model)
            cohort = (self._index, *self._averaging.partners(found.round - 1))
            is_ours = found.round == self._round and found.certificate.cohort in cohort
            if outcome is not None and is_ours:
                count = int.from_bytes(found.certificate.members, "little").bit_count()
                count = min(count, outcome.expected)
                outcome = Outcome(found.vector, outcome.expected, count, complete=True)
            else:
                if outcome is not None:
                    actions.append(Report(events.RoundLost(self._round - 1, "behind")))
                actions.append(Report(events.CaughtUp(self._round, found.round)))
                outcome = None
            self._round, self._vector = found.round, found.vector
            if outcome is None:
                actions += self._persist()
        if outcome is not None:
            actions += self._end_round(outcome)
        actions += self._models.answer_waiting(self._round)
        return actions + self._start_round(now_s)

    def _wants_model(self, sender: int, header: ModelHeader) -> bool:
        """Tell whether a model is wanted; raise RemoteProtocolError if it lacks its proof."""
        if self._proofs is None:
            return self._catch_up.is_fetching_from(sender)
        if not self._search.wants(sender, header.round):
            return False
        if header.certificate is None:
            raise RemoteProtocolError("no_certificate")
        if header.certificate.round + 1 != header.round:
            raise RemoteProtocolError("other_round")
        self._proofs.require_certified(header.certificate)
        return True

    def _on_certified_model(
        self, now_s: float, sender: PeerId, header: ModelHeader, vector: Vector
    ) -> list[Action]:
        index, certificate = self._roster.index_untrusted(sender), header.certificate
        if not self._search.wants(index, header.round):
            return []
        assert self._proofs is not None
        assert certificate is not None
        try:
            self._proofs.require_mean_of(certificate, vector)
        except RemoteProtocolError as error:
            actions: list[Action] = [Disconnect(sender, error.reason)]
            actions += self._search.lose_model(now_s, index)
        else:
            found = Found(header.round, vector, certificate)
            actions = self._search.on_model(index, found)
        return self._resume_by_certificate(now_s, actions)

    def _take_certificate(self) -> list[Action]:
        """Take the certificate of a mean that we have; whoever waits for it gets it."""
        if self._proofs is None or self._proofs.certificate is None:
            return []
        certificate, self._proofs.certificate = self._proofs.certificate, None
        if not self._models.on_certificate(certificate):
            return []
        actions: list[Action] = []
        if self._kept_round == certificate.round + 1:
            actions.append(Persist({"certificate": self._models.record_of(self._kept_round)}))
        return actions + self._models.answer_waiting(self._round)

    # --- leaving, and small things ------------------------------------------------------------

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


def _is_same(one: Vector, other: Vector) -> bool:
    """Tell whether two vectors are the same to the bit; as a rule the first bytes tell."""
    return bool(one.data.cast("B") == other.data.cast("B"))


def _number(record: bytes | Vector) -> int:
    if not isinstance(record, bytes):
        raise LocalProtocolError("a persisted number is not bytes")
    return int.from_bytes(record, "little")
