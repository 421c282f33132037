"""A peer that lies: the real machine, with a strategy wrapped around it.

The wrapper is a machine like any other (actions.py). It passes every input to the machine that an
honest peer runs, and every action of that machine through the strategy, which may change, drop,
add, delay or repeat what is said and heard. So a lie of a few lines goes the whole way of the
protocol, and a liar stays honest wherever its strategy says nothing.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, ClassVar

import numpy as np

from p2pfl.learner.tasks.base import Data
from p2pfl_crypto.identity import Identity, PeerId
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    CancelWork,
    Command,
    Job,
    LocalProtocolError,
    RemoteProtocolError,
    Report,
    Send,
    SetTimer,
    Ticket,
    Vector,
    Work,
)
from p2pfl_gossip.events import RoundStarted
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import LedgerMessage
from p2pfl_gossip.masked_sum.messages import Ballot
from p2pfl_gossip.records import Message, Record
from p2pfl_simulations.batch import Worker
from p2pfl_simulations.liars.forging import M, signed_again, stated_again
from p2pfl_simulations.liars.insight import Insight, Update
from p2pfl_simulations.liars.returned import actions_of, checked_actions, message_of, record_of
from p2pfl_simulations.running_peer import RunningPeer

FIRST_TICKET = 2**31
"""Of a liar's own timers; its machine's tickets grow from 1."""


class Workless:
    """Does no jobs: of a liar that asks for none."""

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Refuse."""
        raise LocalProtocolError("a strategy that asks for trainings says so by its attributes")


@dataclass
class Place:
    """Where a liar stands, and what it knows beside its own inputs.

    Attributes:
        index: its index in the roster.
        peers: all members, by index.
        identity: its own; signs whatever it likes.
        initial: float32[d], the common start.
        rounds: that a peer does.
        colluders: indices of all liars of the group, itself among them.
        shared: what they tell each other, by any key; it outlives their processes.
        rng: its own random stream.
        peer: the real machine.
        norm: L2 norm that settings give its false updates; None for as long as its strategy likes.
        clip: S of a group, the norm of updates that is allowed; None elsewhere.
        insight: what honest peers train.
        partners_of: the partners of a peer in a round.
        altered: a learner that has the same rows, altered as the strategy does; None where it
            alters none.
        sum_members: U3 as the last ballot had it that the liar heard or said; a bitmap.
    """

    index: int
    peers: Sequence[PeerId]
    identity: Identity
    initial: Vector
    rounds: int
    colluders: tuple[int, ...]
    shared: dict[Any, Any]
    rng: Random
    peer: RunningPeer
    norm: float | None = None
    clip: float | None = None
    insight: Insight = field(default_factory=lambda: Insight(Workless(), ()))
    partners_of: Callable[[int, int], tuple[int, ...]] = lambda _index, _round: ()
    altered: Worker | None = None
    sum_members: bytes = b""
    _delayed: list[tuple[float, list[Action]]] = field(default_factory=list)
    _put_off: list[tuple[float, Action]] = field(default_factory=list)

    @property
    def round(self) -> int:
        """The round that its machine is in."""
        return self.peer.round

    @property
    def epoch(self) -> Epoch | None:
        """The epoch of its group; None where there is no ledger."""
        return self.peer.epoch if isinstance(self.peer, GroupMember) else None

    @property
    def others(self) -> tuple[int, ...]:
        """All other peers."""
        return tuple(index for index in range(len(self.peers)) if index != self.index)

    @property
    def cohort(self) -> tuple[int, ...]:
        """Its cohort in its machine's round, or its partners with itself; ascending."""
        return tuple(sorted((self.index, *self.peer.partners(self.round))))

    @property
    def rank(self) -> int:
        """Its place in that cohort."""
        return self.cohort.index(self.index)

    def train_altered(self, job: Train) -> Update | None:
        """Return the update that a training on altered rows gives; None where it fails."""
        assert self.altered is not None, "a strategy that trains on altered rows has an `alter`"
        (result,) = self.altered.run([(self.index, job)])
        if not isinstance(result, Trained):
            return None
        return np.subtract(result.vector, job.vector, dtype=np.float64)

    def index_of(self, peer: PeerId) -> int:
        """Return a peer's index."""
        return self.peers.index(peer)

    def signed(self, message: M) -> M:
        """Return a message with a good signature of the liar's own, if it is one that is signed."""
        epoch = self.epoch
        if epoch is not None and isinstance(message, LedgerMessage):
            return stated_again(message, self.identity, epoch, self.index)
        return signed_again(message, self.identity, self.rank, self.sum_members)

    def note(self, message: Message) -> None:
        """Remember of what is heard or said what later lies need."""
        if isinstance(message, Ballot):
            self.sum_members = message.members

    def send(self, receiver: int, message: Message) -> Send:
        """Return the action that sends a message."""
        return Send(self.peers[receiver], message)

    def later(self, after_s: float, actions: list[Action]) -> None:
        """Have actions carried out after a while; ValueError where it is no while."""
        _require_seconds("later", after_s)
        self._delayed.append((after_s, checked_actions(actions, self.peers, "later() got")))

    def ask_again(self, after_s: float, action: Action) -> None:
        """Have the strategy's `say` asked of an action once more, after a while.

        For who does not know enough yet to lie well. ValueError where it is no while.
        """
        _require_seconds("ask_again", after_s)
        (checked,) = checked_actions([action], self.peers, "ask_again() got")
        self._put_off.append((after_s, checked))

    def take_delayed(self) -> list[tuple[float, list[Action]]]:
        """Return what was asked for by `later`, once."""
        delayed, self._delayed = self._delayed, []
        return delayed

    def take_put_off(self) -> list[tuple[float, Action]]:
        """Return what was asked for by `ask_again`, once."""
        put_off, self._put_off = self._put_off, []
        return put_off


def _require_seconds(name: str, after_s: float) -> None:
    if not 0 <= after_s < math.inf:
        raise ValueError(f"{name}({after_s!r}, ...): give seconds, 0 or more")


class Liar:
    """A strategy. Override what you lie about; what you leave is honest.

    Arguments of the class come from `arguments` of the scenario. All randomness is from
    `self.me.rng`, so that a run repeats.
    """

    me: Place
    in_groups: ClassVar[bool | None] = None
    """Whether it lies about what only groups say, or what none says; None where it fits both."""
    in_audits: ClassVar[bool] = False
    """Whether it lies about what only members say whose sums are audited."""
    algorithms: ClassVar[tuple[str, ...]] = ()
    """The values of `averaging.algorithm` that it fits, where it does not fit all."""
    is_omniscient: ClassVar[bool] = False
    """Whether it asks for what honest peers train (`me.insight`)."""
    is_in_words: ClassVar[bool] = False
    """Whether it lies in the words of masked sums: without real masks there are none."""
    marks_tests: ClassVar[bool] = False
    """Whether `alter` marks test rows, and gives them the label that it wants for such rows."""
    alters_rows: ClassVar[bool] = False
    """Whether it trains on rows of another kind, by `alter` and `me.train_altered`."""

    def alter(self, data: Data) -> Data:
        """Return the rows that `me.train_altered` trains on, and test rows that tell of it."""
        return data

    def on_start(self, now_s: float) -> list[Action]:
        """Return what to say at the start of a life, beside what the machine does."""
        return []

    def on_round(self, now_s: float) -> list[Action]:
        """Return what to say as the machine begins a round, beside what it does."""
        return []

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Return what is done in place of an action: nothing, others, or several."""
        if isinstance(action, Send):
            return self.tell(now_s, action)
        return (action,)

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Return what is done in place of sending a message."""
        return (send,)

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Return what the machine hears in place of a message, or None for nothing.

        A header of a body as well: None refuses the body.
        """
        return message

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Return what the machine gets as the result of a job."""
        return result


class LyingPeer:
    """The machine of a liar.

    Args:
        liar: the strategy.
        place: where it stands; `place.peer` is the real machine.
        from_round: until its machine comes to this round, it is honest.
        faults: tells what the strategy raises as its own: what is in its block is the strategy's.
    """

    def __init__(
        self,
        liar: Liar,
        place: Place,
        from_round: int,
        faults: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._faults = faults
        self._liar, self._place, self._from_round = liar, place, from_round
        self._peer, self._peers = place.peer, frozenset(place.peers)
        self._is_broken = False
        self._tickets = count(FIRST_TICKET)
        self._delayed: dict[Ticket, list[Action]] = {}
        self._put_off: dict[Ticket, Action] = {}
        self._jobs: dict[Ticket, Job] = {}
        liar.me = place

    @property
    def round(self) -> int:
        """The round that the machine is in."""
        return self._peer.round

    @property
    def vector(self) -> Vector:
        """The machine's model."""
        return self._peer.vector

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the machine's partners in a round."""
        return self._peer.partners(round_)

    @property
    def _lies(self) -> bool:
        return self._peer.round >= self._from_round

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin."""
        actions = self._do(now_s, lambda: self._peer.on_start(now_s, records))
        said = self._asked(self._liar.on_start, now_s) if self._lies else []
        return actions + self._done(now_s, said)

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Hear a message, or something else, or nothing."""
        heard = self._heard(now_s, sender, message)
        if heard is None:
            return self._done(now_s, [])
        return self._do(now_s, lambda: self._peer.on_message(now_s, sender, heard))

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Hear a header."""
        heard = self._heard(now_s, sender, header)
        if heard is None or self._is_broken:
            return False, self._done(now_s, [])
        is_wanted = False

        def begin() -> list[Action]:
            nonlocal is_wanted
            is_wanted, begun = self._peer.on_bulk_begin(now_s, sender, bulk, heard)
            return begun

        actions = self._do(now_s, begin)
        return is_wanted, actions

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take bytes of a body."""
        return self._do(now_s, lambda: self._peer.on_bulk_chunk(now_s, sender, bulk, chunk))

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take the end of a body."""
        return self._do(now_s, lambda: self._peer.on_bulk_end(now_s, sender, bulk, trailer))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body."""
        return self._do(now_s, lambda: self._peer.on_bulk_lost(now_s, sender, bulk))

    def on_timer(self, now_s: float, ticket: Ticket) -> list[Action]:
        """Do what was delayed, or pass the machine's timer on."""
        if ticket in self._delayed:
            return self._delayed.pop(ticket)
        if ticket in self._put_off:
            action = self._put_off.pop(ticket)
            return self._done(now_s, self._asked(self._liar.say, now_s, action))
        return self._do(now_s, lambda: self._peer.on_timer(now_s, ticket))

    def on_sent(self, now_s: float, ticket: Ticket, ok: bool) -> list[Action]:
        """Pass on that something left."""
        return self._do(now_s, lambda: self._peer.on_sent(now_s, ticket, ok))

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Pass on that a link stands."""
        return self._do(now_s, lambda: self._peer.on_peer_up(now_s, peer))

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Pass on that a link broke."""
        return self._do(now_s, lambda: self._peer.on_peer_down(now_s, peer))

    def on_work_done(self, now_s: float, ticket: Ticket, result: Record) -> list[Action]:
        """Have the machine learn a job's result, or another one."""
        job = self._jobs.pop(ticket, None)
        if job is not None and self._lies:
            with self._faults():
                result = record_of(self._liar.learn, now_s, job, result)
        return self._do(now_s, lambda: self._peer.on_work_done(now_s, ticket, result))

    def on_work_part(self, now_s: float, ticket: Ticket, part: Record) -> list[Action]:
        """Pass a part of a job's result on."""
        return self._do(now_s, lambda: self._peer.on_work_part(now_s, ticket, part))

    def on_work_failed(self, now_s: float, ticket: Ticket, reason: str) -> list[Action]:
        """Pass on that a job failed."""
        self._jobs.pop(ticket, None)
        return self._do(now_s, lambda: self._peer.on_work_failed(now_s, ticket, reason))

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Pass the operator's word on."""
        return self._do(now_s, lambda: self._peer.on_command(now_s, command))

    def _heard(self, now_s: float, sender: PeerId, message: Message) -> Message | None:
        self._place.note(message)
        if not self._lies:
            return message
        with self._faults():
            return message_of(self._liar.hear, now_s, self._place.index_of(sender), message)

    def _asked(self, call: Callable[..., Sequence[Action]], *given: Any) -> list[Action]:
        with self._faults():
            return actions_of(call, *given, peers=self._peers)

    def _do(self, now_s: float, step: Callable[[], list[Action]]) -> list[Action]:
        """Have the machine take an input, and return what is done in place of its actions."""
        if self._is_broken:
            return []
        try:
            actions = step()
        except (LocalProtocolError, AssertionError):
            # It was told what cannot be, by its own strategy: from here on it is silent.
            self._is_broken = True
            return []
        except RemoteProtocolError:
            raise
        except Exception:
            with self._faults():  # It was told of what no wire would have let through.
                raise
        said: list[Action] = []
        for action in actions:
            if isinstance(action, Work):
                self._jobs[action.ticket] = action.job
            elif isinstance(action, CancelWork):
                self._jobs.pop(action.ticket, None)
            elif isinstance(action, Send):
                self._place.note(action.message)
            said += self._asked(self._liar.say, now_s, action) if self._lies else (action,)
            if isinstance(action, Report) and isinstance(action.event, RoundStarted) and self._lies:
                said += self._asked(self._liar.on_round, now_s)
        return self._done(now_s, said)

    def _done(self, now_s: float, said: list[Action]) -> list[Action]:
        """Set timers for what is to be done later."""
        for after_s, actions in self._place.take_delayed():
            ticket = next(self._tickets)
            self._delayed[ticket] = actions
            said.append(SetTimer(ticket, now_s + after_s))
        for after_s, action in self._place.take_put_off():
            ticket = next(self._tickets)
            self._put_off[ticket] = action
            said.append(SetTimer(ticket, now_s + after_s))
        return said
