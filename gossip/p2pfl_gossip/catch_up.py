"""How a peer that was away learns round and model from its neighbours, by frames.

Nobody announces rounds. A peer that restarts, or that finds no partner, *seeks*: it asks a few
random members for their round. One that turns out to be behind *fetches* the model of the most
advanced answer and goes on from there; one that is not, goes on from its own. Who is behind without
having been away finds out as well: partners answer a frame of a past round with their own round.

The model that is given away is the one its owner started its round with, an average that is known
to others anyway; never the model that it just trained. An owner that has only that one at hand
answers when its round ends. So does one that is well into its training: who began that round now
would end it as much later than all others, and the next one as well.
"""

from enum import StrEnum
from random import Random

from p2pfl_gossip.actions import (
    Action,
    Send,
    Vector,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import Certificate
from p2pfl_gossip.records import Message, Record, UInt32
from p2pfl_gossip.roster import Roster

SEEK_FANOUT = 3
"""Members asked at once: with a third of all offline, all three are in 4% of the tries."""

MODELS_SERVED_MAX = 4
"""Models under way from us at once; a fifth request is not answered, and goes elsewhere."""

FETCH_DEADLINES = 4
"""A fetch may take that many deadlines: the owner may have two to wait for its round's end."""


class Status(Message, frozen=True, tag=1):
    """My round is `round`."""

    round: UInt32


class StatusRequest(Message, frozen=True, tag=2):
    """What is your round?"""


class ModelRequest(Message, frozen=True, tag=3):
    """I am in `round`; give me a model of a later one."""

    round: UInt32


class ModelHeader(Message, frozen=True, tag=4):
    """The body is the model that I started `round` with.

    `certificate` proves it, of the sum of the round before; None where models are not masked.
    """

    round: UInt32
    certificate: Certificate | None = None


class Wait(Message, frozen=True, tag=12):
    """I am in `round`, and answer your request for a model when it ends."""

    round: UInt32


class NoUpdate(Message, frozen=True, tag=13):
    """My training of `round` gave nothing: wait for no model of mine in it."""

    round: UInt32


class Found(Record, frozen=True):
    """Where to go on: `round`, with a neighbour's `vector`, or with one's own if that is None."""

    round: int
    vector: Vector | None
    certificate: Certificate | None = None


class _State(StrEnum):
    IDLE = "idle"
    SEEKING = "seeking"
    FETCHING = "fetching"


class CatchUp:
    """The asking side.

    Args:
        index, roster: of the peer.
        deadline_s: how long an answer may take.
        desk: for that timer; of this machine alone.
        rng: draws whom to ask.

    `found` is set when the search has ended; the peer takes it and sets it back to None.
    """

    def __init__(
        self, *, index: int, roster: Roster, deadline_s: float, desk: Desk, rng: Random
    ) -> None:
        self.found: Found | None = None
        self._index, self._roster = index, roster
        self._deadline_s, self._desk, self._rng = deadline_s, desk, rng
        self._state = _State.IDLE
        self._round = 0
        self._asked: dict[int, int | None] = {}  # Member -> its round, once it has answered.
        self._target = -1
        self._owing: dict[int, None] = {}  # Asked for a model; their answers may take a round.

    def seek(self, now_s: float, round_: int, *, avoid: int | None = None) -> list[Action]:
        """Ask some random members for their round; `round_` is ours.

        Not the member `avoid`, which has failed us, unless there is no other.
        """
        self._state, self._round = _State.SEEKING, round_
        drawn = [other for other in self._draw(SEEK_FANOUT + 2) if other != self._index]
        others = [other for other in drawn if other != avoid] or drawn
        self._asked = dict.fromkeys(others[:SEEK_FANOUT])
        actions = [Send(self._roster.peers[other], StatusRequest()) for other in self._asked]
        return [*actions, *self._set_timer(now_s, self._deadline_s)]

    def fetch(self, now_s: float, round_: int, target: int) -> list[Action]:
        """Ask a member that is said to be ahead for its model."""
        self._state, self._round, self._target = _State.FETCHING, round_, target
        self._owing[target] = None
        request = Send(self._roster.peers[target], ModelRequest(round_))
        return [request, *self._set_timer(now_s, FETCH_DEADLINES * self._deadline_s)]

    def is_fetching_from(self, sender: int) -> bool:
        """Tell whether a model from this member is wanted."""
        return self._state is not _State.IDLE and sender in self._owing

    def stop(self) -> list[Action]:
        """End the search, whatever its state."""
        self._state, self._asked = _State.IDLE, {}
        return self._desk.cancel_timer("answers")

    def on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """Take a member's round; decide once all that were asked have answered."""
        if self._state is _State.SEEKING and sender in self._asked:
            self._asked[sender] = round_
            return self._decide(now_s) if None not in self._asked.values() else []
        if self._is_target(sender) and round_ <= self._round:
            return self._end(Found(self._round, None))
        return []

    def on_model(self, round_: int, vector: Vector) -> list[Action]:
        """Take the model that was asked for."""
        return self._end(Found(round_, vector))

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """Do without a member that cannot be reached."""
        self._owing.pop(partner, None)
        if self._state is _State.SEEKING and self._asked.get(partner, 0) is None:
            del self._asked[partner]
            if self._asked and None not in self._asked.values():
                return self._decide(now_s)
            # With nobody left, the timer asks others: a peer that is cut off must not spin.
        elif self._is_target(partner):
            return [*self.stop(), *self.seek(now_s, self._round, avoid=partner)]
        return []

    def _on_deadline(self, now_s: float) -> list[Action]:
        """Decide by the answers that have come; without any, ask others."""
        if any(round_ is not None for round_ in self._asked.values()):
            return self._decide(now_s)
        failed = self._target if self._state is _State.FETCHING else None
        return self.seek(now_s, self._round, avoid=failed)

    def _decide(self, now_s: float) -> list[Action]:
        answers = {member: round_ for member, round_ in self._asked.items() if round_ is not None}
        best = max(answers, key=lambda member: (answers[member], -member))
        if answers[best] > self._round:
            return [*self.stop(), *self.fetch(now_s, self._round, best)]
        return self._end(Found(self._round, None))

    def _end(self, found: Found) -> list[Action]:
        self.found = found
        self._owing.clear()
        return self.stop()

    def _is_target(self, member: int) -> bool:
        return self._state is _State.FETCHING and member == self._target

    def _draw(self, count: int) -> list[int]:
        return self._rng.sample(range(len(self._roster)), min(count, len(self._roster)))

    def _set_timer(self, now_s: float, after_s: float) -> list[Action]:
        return self._desk.set_timer("answers", now_s + after_s, self._on_deadline)


class ModelServer:
    """The answering side: gives models away, a few at a time."""

    def __init__(self, roster: Roster, desk: Desk) -> None:
        self._roster, self._desk = roster, desk
        self._under_way = 0
        self._waiting: list[int] = []

    def on_request(
        self, sender: int, their_round: int, round_: int, vector: Vector | None
    ) -> list[Action]:
        """Answer who asks from `their_round`: with a model, or with our round if it is not later.

        `vector` is the model we started `round_` with; where it is None, as we have only a trained
        one, the answer waits for the end of our round.
        """
        if their_round >= round_:
            return [Send(self._roster.peers[sender], Status(round_))]
        if self._under_way + len(self._waiting) >= MODELS_SERVED_MAX:
            return []
        if vector is not None:
            return [self._give(sender, round_, vector)]
        if sender not in self._waiting:
            self._waiting.append(sender)
        return []

    def on_round(self, round_: int, vector: Vector) -> list[Action]:
        """Answer those who wait, now that our round has ended."""
        waiting, self._waiting = self._waiting, []
        return [self._give(sender, round_, vector) for sender in waiting]

    def _give(self, sender: int, round_: int, vector: Vector) -> Action:
        self._under_way += 1
        receiver, header = self._roster.peers[sender], ModelHeader(round_)
        return self._desk.send_bulk(receiver, header, (vector,), vector.nbytes, self._on_sent)

    def _on_sent(self, _now_s: float, _ok: bool) -> list[Action]:
        self._under_way -= 1
        return []
