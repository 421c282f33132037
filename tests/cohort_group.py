"""Members of one cohort, and what is on its way between them: a test says what arrives, and when.

No clock and no links: `sent` holds each body until the test delivers, repeats or drops it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    Disconnect,
    PeerId,
    SendBulk,
    SetTimer,
    Vector,
)
from p2pfl_gossip.averaging.base import Outcome
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging, MeanHeader, PartHeader
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

DEADLINE_S = 10.0


@dataclass(frozen=True)
class Sent:
    """A body on its way, of a header's kind."""

    sender: int
    receiver: int
    header: Message
    body: Vector


class CohortGroup:
    """Members 0 .. n - 1 of a group, all in one cohort unless `members_of` says otherwise.

    `outcomes[i]` are those of member i, in order; `dropped` are (member, whom it disconnected).
    Bodies come whole, as in the simulated world, unless they come `in_pieces`.
    """

    def __init__(
        self,
        size: int,
        length: int,
        *,
        dtype: Any = np.float32,
        members_of: Callable[[int, int], tuple[int, ...]] | None = None,
        roster_size: int | None = None,
        in_pieces: bool = True,
    ) -> None:
        self.roster = Roster(PeerId(f"peer-{index}") for index in range(roster_size or size))
        everybody = tuple(range(size))
        self.size, self.length, self.dtype = size, length, np.dtype(dtype)
        self._in_pieces = in_pieces
        self.sent: list[Sent] = []
        self.outcomes: list[list[Outcome]] = [[] for _ in range(size)]
        self.timers: list[dict[int, float]] = [{} for _ in range(size)]
        self.dropped: list[tuple[int, int]] = []
        self._members_of = members_of or (lambda _index, _round: everybody)
        self.desks = [Desk() for _ in range(size)]
        self.members = [self.make(index) for index in range(size)]

    def make(self, index: int) -> CohortAveraging:
        return CohortAveraging(
            index=index,
            roster=self.roster,
            length=self.length,
            dtype=self.dtype,
            members_of=lambda round_: self._members_of(index, round_),
            deadline_s=DEADLINE_S,
            desk=self.desks[index],
        )

    def restart(self, index: int) -> None:
        """Put a fresh machine in a member's place; what is on its way to the old one is lost."""
        self.desks[index] = Desk()
        self.members[index] = self.make(index)
        self.sent = [item for item in self.sent if item.receiver != index]
        self.timers[index].clear()

    def begin(
        self, index: int, model: Sequence[float] | Vector, *, round_: int = 0, weight: float = 1.0
    ) -> None:
        vector = np.array(model, self.dtype)
        vector.flags.writeable = False
        self.take(index, self.members[index].begin(0.0, round_, vector, weight))

    def begin_all(self, models: Sequence[Any], *, round_: int = 0) -> None:
        for index, model in enumerate(models):
            self.begin(index, model, round_=round_)

    def deliver(self, item: Sent) -> bool:
        """Let a body arrive; return whether it was wanted."""
        return self.give(item.receiver, item.sender, item.header, item.body)

    def give(self, receiver: int, sender: int, header: Message, body: Any) -> bool:
        machine = self.members[receiver]
        size = machine.body_bytes(sender, header)
        if size is None:
            return False
        room = machine.room_for(sender, header) if self._in_pieces else None
        if isinstance(body, np.ndarray) and not self._in_pieces:
            vector = body
        else:
            vector = np.empty(size // self.dtype.itemsize, self.dtype) if room is None else room[:]
            vector[:] = body
        vector.flags.writeable = False
        self.take(receiver, machine.on_body(0.0, sender, header, vector))
        return True

    def deliver_all(self, choose: Callable[[int], int] = lambda _count: 0) -> None:
        """Let everything arrive; `choose(n)` picks which of n bodies on their way is next."""
        while self.sent:
            self.deliver(self.sent.pop(choose(len(self.sent))))

    def pick(self, **wanted: Any) -> Sent:
        """Take the one body on its way that matches `kind`, `sender` and `receiver`."""
        found = [
            item
            for item in self.sent
            if all(
                isinstance(item.header, value) if key == "kind" else getattr(item, key) == value
                for key, value in wanted.items()
            )
        ]
        assert len(found) == 1, found
        self.sent.remove(found[0])
        return found[0]

    def on_way(self, kind: type[Message]) -> list[tuple[int, int]]:
        return [(item.sender, item.receiver) for item in self.sent if isinstance(item.header, kind)]

    def fire(self, index: int) -> None:
        """Let a member's one timer be due."""
        ((ticket, _),) = self.timers[index].items()
        del self.timers[index][ticket]
        self.take(index, self.desks[index].on_timer(0.0, ticket))

    def down(self, index: int, partner: int) -> None:
        self.take(index, self.members[index].on_peer_down(0.0, partner))

    def past(self, index: int, partner: int) -> None:
        self.take(index, self.members[index].on_past(0.0, partner))

    def abandon(self, index: int) -> None:
        self.take(index, self.members[index].abandon())

    def outcome(self, index: int) -> Outcome:
        (outcome,) = self.outcomes[index]
        return outcome

    def take(self, index: int, actions: list[Action]) -> None:
        """Carry actions out, and collect the outcome as a peer would."""
        for action in actions:
            match action:
                case SendBulk(receiver, header, parts, size_bytes):
                    (part,) = parts
                    assert isinstance(part, np.ndarray)
                    assert part.nbytes == size_bytes
                    self.sent.append(
                        Sent(index, self.roster.index_untrusted(receiver), header, part)
                    )
                case SetTimer(ticket, at_s):
                    assert at_s == DEADLINE_S
                    self.timers[index][ticket] = at_s
                case CancelTimer(ticket):
                    del self.timers[index][ticket]
                case Disconnect(peer, _):
                    self.dropped.append((index, self.roster.index_untrusted(peer)))
                case _:
                    raise AssertionError(action)
        outcome = self.members[index].outcome
        if outcome is not None:
            self.members[index].outcome = None
            assert not self.timers[index], "a timer outlives its exchange"
            self.outcomes[index].append(outcome)


PART, MEAN = PartHeader, MeanHeader


def mean_by_chunks(models: Sequence[Any], weights: Sequence[float]) -> Any:
    """Return the weighted mean in float64, the definition itself."""
    return np.average(np.asarray(models, np.float64), axis=0, weights=weights)
