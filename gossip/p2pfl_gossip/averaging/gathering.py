"""What most averaging algorithms share: gather one body from each of some peers, within a deadline.

In each round a peer sends one body to each of its *receivers* and awaits one from each of its
*senders*. The round's exchange ends once all have come or are known to be gone, at the latest
`deadline_s` after it began; whoever is missing costs that deadline and no more.

Nobody is awaited who has left the round: a sender whose body of a later round is here, or that says
so. Where all receivers have, nobody is: they have waited for us for a whole deadline, and what we
await has had as long.

What came early, for a round ahead, is kept by round: one body a sender, so at most
(LOOKAHEAD_ROUNDS + 1) times the senders.

Mixing by a robust rule may take long. So it is a job, and the exchange ends with its result; what
comes meanwhile counts no more.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import (
    Action,
    LocalProtocolError,
    RemoteProtocolError,
    Ticket,
    Vector,
)
from p2pfl_gossip.averaging.base import (
    Averaging,
    Outcome,
    RoundBuffer,
    RoundMessage,
    check_entries,
)
from p2pfl_gossip.averaging.robust.combining import Combine, Combined
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

NO_UPDATE = 0.0
"""The weight of a model that was not trained: it is in no mean."""

HeaderT = TypeVar("HeaderT", bound=RoundMessage)


@dataclass(frozen=True, slots=True)
class Heard(Generic[HeaderT]):
    """What one sender sent in a round."""

    sender: int
    header: HeaderT
    body: Vector


class GatheringAveraging(Averaging, Generic[HeaderT]):
    """The waiting side of an averaging algorithm; a subclass says what is sent and how it is mixed.

    Args:
        index: this peer's index in the roster.
        roster: all members.
        length: entries of a model, d.
        dtype: float32 or float64, of models.
        body_dtype: of the bodies, where it is another; each has d entries.
        deadline_s: how long the senders' bodies are awaited.
        desk: for the deadline; of this machine alone.
    """

    header_type: ClassVar[type[RoundMessage]]
    """Of the messages that this peer takes."""

    takes_models_of_others: ClassVar[bool] = True
    """Whether a peer that is late may give its round up and take another's model."""

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        deadline_s: float,
        desk: Desk,
        body_dtype: npt.DTypeLike | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        self._index, self._roster = index, roster
        self._length, self._dtype = length, np.dtype(dtype)
        self._body_dtype = self._dtype if body_dtype is None else np.dtype(body_dtype)
        self._deadline_s, self._desk = deadline_s, desk
        self._heard: RoundBuffer[dict[int, Heard[HeaderT]]] = RoundBuffer()
        self._round = -1
        self._vector: Vector | None = None  # Our trained model, while an exchange is under way.
        self._weight = 1.0
        # Sets and lists of the exchange under way; the sets are never iterated.
        self._awaited: set[int] = set()
        self._reachable: set[int] = set()
        self._past: list[int] = []
        self._unreachable = 0
        self._mixing: Ticket | None = None  # Of a job that works the result out.

    # --- what a subclass says ---------------------------------------------------------------

    @abstractmethod
    def senders(self, round_: int) -> tuple[int, ...]:
        """Return the peers that this one hears in a round, ascending."""

    @abstractmethod
    def receivers(self, round_: int) -> tuple[int, ...]:
        """Return the peers that this one sends to in a round, ascending."""

    @abstractmethod
    def _open(self, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Send what the receivers are to have of our trained model; a weight of 0 is of none."""

    @abstractmethod
    def _check(self, sender: int, header: HeaderT) -> None:
        """Raise RemoteProtocolError if a header's fields are out of bounds."""

    @abstractmethod
    def _mix(
        self, round_: int, vector: Vector, weight: float, heard: list[Heard[HeaderT]]
    ) -> Vector | Combine:
        """Return the new model, from our trained one and what was heard, by ascending sender.

        Or the job that works it out, where that may take long. Where `weight` is 0, `vector` is no
        trained model: it is for when nothing was heard.
        """

    def _is_mixed(self, result: Vector) -> bool:
        """Whether a result has others' models in it, given that some were heard."""
        return True

    def _close(self, round_: int, result: Vector) -> list[Action]:
        """Send what follows from the round's result; nothing, as a rule."""
        return []

    # --- the interface of averaging ---------------------------------------------------------

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return senders and receivers, ascending."""
        return tuple(sorted(dict.fromkeys((*self.senders(round_), *self.receivers(round_)))))

    @property
    def message_types(self) -> tuple[type[Message], ...]:  # type: ignore[override]
        """The bodies of the senders."""
        return (self.header_type,)

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Send to the receivers and await the senders."""
        return self._begin(now_s, round_, vector, weight)

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Await the senders, and mix what they send alone."""
        return self._begin(now_s, round_, vector, NO_UPDATE)

    def _begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        if vector.shape != (self._length,) or vector.dtype != self._dtype:
            raise LocalProtocolError(f"a model is {self._dtype}[{self._length}]")
        self._heard.forget_before(round_)
        actions = self._open(round_, vector, weight)
        self._round, self._vector, self._weight = round_, vector, weight
        self._awaited = set(self.senders(round_)).difference(*self._heard.values())
        self._reachable = set(self.receivers(round_))
        self._past, self._unreachable = [], 0
        if self._awaited:
            at_s = now_s + self._deadline_s
            actions += self._desk.set_timer("deadline", at_s, self._on_deadline)
        return actions + self._advance()

    def abandon(self) -> list[Action]:
        """Forget our model and the deadline; what was heard stays, as nobody sends it again."""
        self._vector = None
        actions = self._desk.cancel_timer("deadline")
        if self._mixing is not None:
            actions += self._desk.cancel_work(self._mixing)
            self._mixing = None
        return actions

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Take one body from each sender of a round; a second one is not wanted."""
        if not isinstance(header, self.header_type):
            raise RemoteProtocolError("unexpected_message")
        if sender not in self.senders(header.round):
            raise RemoteProtocolError("not_a_neighbour")
        self._check(sender, header)  # type: ignore[arg-type]  # `header_type` is HeaderT.
        # Who gave a round up and does it again sends twice, in good faith.
        if sender in self._heard.get(header.round, {}):
            return None
        return self._length * self._body_dtype.itemsize

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Keep a body; end the exchange if it was the last."""
        assert isinstance(header, self.header_type)  # As `body_bytes` found.
        body = body.view(self._body_dtype)
        check_entries(body)
        heard = self._heard.setdefault(header.round, {})
        if sender in heard:
            return []
        heard[sender] = Heard(sender, header, body)  # type: ignore[arg-type]
        if self._vector is None:
            return []
        self._awaited.discard(sender)  # Whether of this round or a later one.
        return self._advance()

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        """Expect nothing more of a partner that has left our round.

        Of nobody, where all receivers have.
        """
        if self._vector is None or partner in self._past:
            return []
        if partner in self._awaited or partner in self._reachable:
            self._past.append(partner)
        self._awaited.discard(partner)
        receivers = self.receivers(self._round)
        if receivers and all(receiver in self._past for receiver in receivers):
            self._awaited.clear()
        return self._advance()

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """Expect no body of a partner that has none."""
        if self._vector is None:
            return []
        self._awaited.discard(partner)
        return self._advance()

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """Expect nothing more of a partner that cannot be reached."""
        if self._vector is None:
            return []
        self._reachable.discard(partner)
        if partner in self._awaited:
            self._awaited.discard(partner)
            self._unreachable += 1
        return self._advance()

    def _on_deadline(self, _now_s: float) -> list[Action]:
        """End the exchange with what has come."""
        if not self._reachable and not self._heard.get(self._round):
            # Nobody could be sent to and nobody was heard: on a directed graph, where those that
            # we hear need no link of ours, that is how being cut off shows.
            self._unreachable += len(self._awaited)
        self._awaited.clear()
        return self._advance()

    def _advance(self) -> list[Action]:
        """End the exchange once nobody is awaited; or begin to, where mixing is a job."""
        if self._awaited or self._mixing is not None:
            return []
        assert self._vector is not None
        by_sender = self._heard.get(self._round, {})
        heard = [by_sender[sender] for sender in sorted(by_sender)]
        mixed = self._mix(self._round, self._vector, self._weight, heard)
        if not isinstance(mixed, Combine):
            return self._end(mixed, len(heard))
        work = self._desk.work(mixed, partial(self._on_mixed, len(heard)), self._on_mixing_failed)
        self._mixing = work.ticket
        return [*self._desk.cancel_timer("deadline"), work]

    def _on_mixed(self, heard: int, _now_s: float, combined: Combined) -> list[Action]:
        self._mixing = None
        return self._end(combined.vector, heard)

    def _on_mixing_failed(self, _now_s: float, reason: str) -> list[Action]:
        raise LocalProtocolError(f"models in bounds cannot be averaged: {reason}")

    def _end(self, result: Vector, heard: int) -> list[Action]:
        """End the exchange with a result of so many models beside ours."""
        assert self._vector is not None
        result.flags.writeable = False
        senders = self.senders(self._round)
        is_mixed = heard > 0 and self._is_mixed(result)
        self.outcome = Outcome(
            vector=result,
            expected=len(senders) + 1,
            contributors=(heard if is_mixed else 0) + (self._weight > 0),
            complete=is_mixed or not senders,
            past=tuple(self._past) if self.takes_models_of_others else (),
            unreachable=self._unreachable,
        )
        actions = self._close(self._round, result)
        self._heard.pop(self._round, None)
        return actions + self.abandon()
