"""One whole peer: trains, averages, evaluates and reports, round after round.

Composes the machines of this package, and is itself one (actions.py, `Machine`): a driver runs it
over real links or simulated ones, and it cannot tell which. A round is: train on the own data,
exchange by the averaging algorithm, take the result as the new model, persist, evaluate, report.

A peer enters the next round when its exchange has ended or was given up, so rounds of different
peers are not aligned. What it knows of others' absence it has from frames, links and deadlines.

This module has the inputs. It looks at whose frame it is, of which round, and for which part:

- rounds.py is the course of the rounds, and moves the peer from state to state.
- averaging/ exchanges models within a round.
- rejoining.py finds the others again where the peer was away, or its round came to nothing. Where
  models are masked, only a cohort's certificate moves the peer. Where they are seen anyway, it
  takes others' word.
"""

from collections.abc import Callable
from functools import partial

from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Send,
    Vector,
)
from p2pfl_gossip.averaging.base import LOOKAHEAD_ROUNDS, Averaging, RoundMessage
from p2pfl_gossip.catch_up import (
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    StatusRequest,
    Wait,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.inbound import Inbound
from p2pfl_gossip.peer_state import PeerSettings, State
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.rounds import Rounds


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
        self._roster, self._settings = roster, settings
        self._desk = Desk() if desk is None else desk
        self._rounds = rounds = Rounds(
            index=index,
            roster=roster,
            settings=settings,
            initial=initial,
            make_averaging=make_averaging,
            seed=seed,
            desk=self._desk,
        )
        self._position, self._averaging = rounds.position, rounds.averaging
        self._rejoining, self._others = rounds.rejoining, rounds.others
        self._inbound = Inbound(initial.dtype)

    @property
    def state(self) -> State:
        """Where the peer is in its round."""
        return self._position.state

    @property
    def round(self) -> int:
        """The round the peer is in, from 0; the number of rounds once it has finished."""
        return self._position.round

    @property
    def vector(self) -> Vector:
        """The peer's model, read-only. For the driver's measurements: it may be unaveraged."""
        return self._position.vector

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the indices of the members that this one exchanges with in a round."""
        return self._averaging.partners(round_)

    # --- start and commands -----------------------------------------------------------------

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin at round 0, or go on from what an earlier incarnation persisted."""
        if self._position.state is not State.NEW:
            raise LocalProtocolError("started twice")
        return self._rounds.start(now_s, records)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave at once; pause before the next round; resume."""
        if self._position.state is State.NEW:
            raise LocalProtocolError(f"asked to {command} before the start")
        if self._position.state is State.LEFT:
            return []
        if command is Command.LEAVE:
            return self._rounds.leave()
        return self._rounds.pause() if command is Command.PAUSE else self._rounds.resume(now_s)

    # --- frames -----------------------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if self._position.state is State.LEFT:
            return []
        if isinstance(message, StatusRequest):
            return [Send(sender, Status(self._position.round))]
        if isinstance(message, Status):
            self._check_round(message.round)
            return self._on_status(now_s, index, message.round)
        if isinstance(message, ModelRequest):
            self._check_round(message.round)
            return self._rejoining.on_request(now_s, index, message.round)
        if isinstance(message, NoUpdate):
            self._check_round(message.round)
            return self._on_no_update(now_s, index, message.round)
        if isinstance(message, Wait) and self._rounds.is_masked:
            self._check_round(message.round)
            actions = self._rejoining.on_wait(now_s, index, message.round)
            return self._rounds.go_on(now_s, actions)
        self._require_ours(message)
        refused = self._compare_rounds(now_s, index, message)
        if refused is not None:
            return refused
        return self._rounds.settle(now_s, self._averaging.on_message(now_s, index, message))

    def _on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        ours = self._position.round
        if self._position.state is State.CATCHING_UP:
            actions = self._rejoining.on_status(now_s, sender, round_)
            return self._rounds.go_on(now_s, actions)
        if round_ < ours:
            return self._others.tell(sender, ours)
        if round_ == ours:
            return []
        self._others.ahead[sender] = round_
        if self._position.state is State.AVERAGING:
            return self._rounds.settle(now_s, self._averaging.on_past(now_s, sender))
        return []

    def _on_no_update(self, now_s: float, sender: int, round_: int) -> list[Action]:
        ours = self._position.round
        if not ours <= round_ <= ours + LOOKAHEAD_ROUNDS or round_ >= self._settings.rounds:
            return []
        if sender not in self._averaging.partners(round_):
            return []
        self._others.on_no_update(sender, round_)
        if self._position.state is State.AVERAGING and round_ == ours:
            return self._rounds.settle(now_s, self._averaging.on_no_update(now_s, sender))
        return []

    # --- bodies -----------------------------------------------------------------------------

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether a body is wanted, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if self._position.state is State.LEFT:
            return False, []
        if isinstance(header, ModelHeader):
            self._check_round(header.round)
            if not self._rejoining.wants_model(index, header):
                return False, []
            self._inbound.begin(sender, bulk, header, self._position.vector.nbytes)
            self._rejoining.begin_model(index)
            return True, []
        self._require_ours(header)
        refused = self._compare_rounds(now_s, index, header)
        if refused is not None:
            return False, refused
        size = self._averaging.body_bytes(index, header)
        if size is not None:
            room = partial(self._averaging.room_for, index, header)
            self._inbound.begin(sender, bulk, header, size, room)
        actions = self._averaging.on_header(now_s, index, header)
        return size is not None, self._rounds.settle(now_s, actions)

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
        if self._position.state is State.LEFT:
            return []
        if isinstance(header, ModelHeader):
            actions = self._rejoining.on_model(now_s, index, header, vector)
            return self._rounds.go_on(now_s, actions)
        if isinstance(header, RoundMessage) and header.round < self._position.round:
            return []  # Our round ended while the body was on its way.
        return self._rounds.settle(now_s, self._averaging.on_body(now_s, index, header, vector))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke; deadlines see to the rest."""
        header, index = self._inbound.lost(bulk), self._roster.index_untrusted(sender)
        if not isinstance(header, ModelHeader):
            return []
        return self._rounds.go_on(now_s, self._rejoining.lose_model(now_s, index))

    # --- links ------------------------------------------------------------------------------

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Note it, and say nothing: a peer speaks when it has something to say."""
        self._averaging.on_peer_up(self._roster.index_untrusted(peer))
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Do without a peer that cannot be reached, for this round."""
        index = self._roster.index_untrusted(peer)
        if self._position.state is State.CATCHING_UP:
            return self._rounds.go_on(now_s, self._rejoining.on_peer_down(now_s, index))
        return self._rounds.settle(now_s, self._averaging.on_peer_down(now_s, index))

    # --- whether a message is of our round --------------------------------------------------

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
            round_ = self._averaging.round_of(message, self._position.round)
        if round_ is None or (
            round_ == self._position.round and self._position.state is not State.FINISHED
        ):
            return None
        if round_ >= self._settings.rounds:
            raise RemoteProtocolError("round_out_of_range")
        if round_ < self._position.round:
            if self._averaging.lingers(round_, message):
                return None
            return self._others.tell(sender, self._position.round)
        if round_ <= self._position.round + LOOKAHEAD_ROUNDS:
            return None
        if self._position.state in (State.TRAINING, State.AVERAGING):
            return self._rounds.fall_behind(now_s, sender)
        return []
