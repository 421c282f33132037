"""Asynchronous gossip learning with age-weighted merging: nobody waits for anybody.

Ormandi, Hegedus & Jelasity (Concurrency and Computation 2013), merging by age as in Hegedus, Danner
& Jelasity (JPDC 2021): a model's *age* is how much it was trained. A peer that has trained sends
its model to random peers; one that receives a model of age b merges it into its own of age a:
x <- (a x + b y) / (a + b), age max(a, b).

Departures: models that arrive while a peer trains are merged, in order of arrival, when it has
trained, not before. Age counts rounds, or rows where models are weighted by rows. Where the paper's
peers send once in a period, ours send once after each training: slow peers send less often.
"""

from collections import deque

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import (
    Action,
    LocalProtocolError,
    RemoteProtocolError,
    SendBulk,
    Vector,
)
from p2pfl_gossip.averaging.base import Averaging, Outcome, check_entries
from p2pfl_gossip.draws import draw_words
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import TopologyError

INBOX_MAX = 16
"""Models kept while we train; the oldest gives way. A peer that is four times as slow as the others
gets four a round at fanout 1, and 17 or more in one round of a million."""

AGE_MAX = 2.0**53
"""Up to here a float counts exactly; a peer that claims more is refused."""


class AgedModelHeader(Message, frozen=True, tag=34):
    """The body is a model of the sender's; `age` is above 0 and at most AGE_MAX."""

    age: float


class AgeGossip(Averaging):
    """One peer's side of age-weighted gossip learning.

    Args:
        index: this peer's index in the roster.
        roster: all members.
        length: entries of a model, d.
        dtype: float32 or float64, of models and bodies.
        fanout: peers that a trained model is sent to.
        seed: of the stream that draws them.

    Raises:
        TopologyError: the fanout is not below the number of peers.
    """

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        length: int,
        dtype: npt.DTypeLike,
        fanout: int,
        seed: bytes,
    ) -> None:
        if not 1 <= fanout < len(roster):
            raise TopologyError(
                f"each of {len(roster)} peers can send to 1 to {len(roster) - 1} others,"
                f" not {fanout}"
            )
        self.outcome: Outcome | None = None
        self._index, self._roster = index, roster
        self._length, self._dtype = length, np.dtype(dtype)
        self._fanout, self._seed = fanout, seed
        self._age = 0.0
        self._inbox: deque[tuple[Vector, float]] = deque(maxlen=INBOX_MAX)

    message_types = (AgedModelHeader,)

    @property
    def age(self) -> float:
        """How much the own model was trained."""
        return self._age

    def partners(self, round_: int) -> tuple[int, ...]:
        """Draw whom this peer sends to after its training of a round, ascending."""
        others = len(self._roster) - 1
        words = draw_words(self._seed, b"p2pfl/age-gossip", round_, self._index, count=self._fanout)
        picks: list[int] = []  # Floyd's method, as in topology.Epidemic.
        for k, word in enumerate(words.tolist()):
            top = others - self._fanout + k
            pick = word % (top + 1)
            picks.append(top if pick in picks else pick)
        return tuple(sorted(pick + (pick >= self._index) for pick in picks))

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Send the trained model on, merge what has come, and end the round at once."""
        if vector.shape != (self._length,) or vector.dtype != self._dtype:
            raise LocalProtocolError(f"a model is {self._dtype}[{self._length}]")
        age = min(self._age + weight, AGE_MAX)
        header = AgedModelHeader(age)
        parts = (vector,)  # One tuple for all: a driver may tell that they get the same body.
        actions: list[Action] = [
            SendBulk(self._roster.peers[receiver], header, parts, vector.nbytes)
            for receiver in self.partners(round_)
        ]
        self._merge(vector, age)
        return actions

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Send nothing; merge what has come into the model as it was, which grows no older."""
        self._merge(vector, self._age)
        return []

    def _merge(self, vector: Vector, age: float) -> None:
        merged = vector
        for other, other_age in self._inbox:
            share = other_age / (age + other_age)
            merged = (1 - share) * merged + share * other
            age = max(age, other_age)
        merged.flags.writeable = False
        count = 1 + len(self._inbox)
        self._age = age
        self._inbox.clear()
        self.outcome = Outcome(vector=merged, expected=count, contributors=count, complete=True)

    def abandon(self) -> list[Action]:
        """Nothing is under way, ever."""
        return []

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Take a model from anybody, at any time."""
        if not isinstance(header, AgedModelHeader) or sender == self._index:
            raise RemoteProtocolError("unexpected_message")
        if not 0 < header.age <= AGE_MAX:
            raise RemoteProtocolError("age_out_of_range")
        return self._length * self._dtype.itemsize

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Keep a model until we have trained."""
        assert isinstance(header, AgedModelHeader)  # As `body_bytes` found.
        check_entries(body)
        self._inbox.append((body, header.age))
        return []
