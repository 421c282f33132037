"""How a peer comes back to the others where it is behind, and helps who is behind itself.

A peer searches where it was away, where it is cut off, or where its round came to nothing. A search
ends with the round to go on with, and perhaps with a model of others. There are two ways:

- plain_rejoining.py takes others' word for it. It is for models that are seen anyway, among members
  who trust each other.
- certified_rejoining.py is for masked models. Only a cohort's certificate moves the peer, and it
  gives away nothing that has none.
"""

from abc import ABC, abstractmethod
from random import Random

from p2pfl_gossip.actions import Action, Event, LocalProtocolError, Vector
from p2pfl_gossip.averaging.base import Outcome
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.peer_state import Position, State
from p2pfl_gossip.records import Record


class Resumed(Record, frozen=True):
    """The end of a search.

    Attributes:
        round: to go on with.
        vector: a model of others that it begins with; None where our own is as good.
        outcome: of the round that we searched for, where that is over by now.
        events: what people are to know of it.
    """

    round: int
    vector: Vector | None = None
    outcome: Outcome | None = None
    events: tuple[Event, ...] = ()


class Rejoining(ABC):
    """Both sides: asking others for a round and a model, and answering who asks.

    It reads the peer's position and never changes it. The peer calls `take_resumed` after each
    input, and after each answer that came to this machine's desk.
    """

    def __init__(self, position: Position, deadline_s: float) -> None:
        self._position, self._deadline_s = position, deadline_s

    @abstractmethod
    def start(self, rng: Random) -> None:
        """Take the random stream that draws whom to ask, before anything else."""

    def restore(self, records: dict[str, bytes | Vector]) -> None:  # noqa: B027  # Optional.
        """Take what `proof` gave to an earlier incarnation; the position is restored by now."""

    def proof(self) -> dict[str, bytes | None]:
        """Return what is to be kept beside the model that the round begins with."""
        return {}

    # --- asking -----------------------------------------------------------------------------

    @abstractmethod
    def seek(self, now_s: float) -> list[Action]:
        """Search for a later round than ours."""

    def fetch(self, now_s: float, target: int) -> list[Action]:
        """Ask a member that says it is ahead for its model.

        No actions, and no search, where a member's word does not count.
        """
        return []

    def whom_to_follow(self, outcome: Outcome) -> int | None:
        """Return the member to fetch from in place of an outcome, if there is one."""
        return None

    def is_lost(self, outcome: Outcome) -> bool:
        """Tell whether a round came to nothing, so that we ask what it gave to others."""
        return False

    def search_lost(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Search for what the round before ours gave to others; `outcome` is ours of it."""
        raise LocalProtocolError("no round is lost here")

    @abstractmethod
    def stop(self) -> list[Action]:
        """End the search, if any: the peer leaves."""

    @abstractmethod
    def take_resumed(self) -> Resumed | None:
        """Return the end of the search, once; None while it goes on or where there is none."""

    # --- what comes of it -------------------------------------------------------------------

    @abstractmethod
    def on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member told its round, while we search."""

    def on_wait(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member answers when its round ends."""
        return []

    @abstractmethod
    def on_peer_down(self, now_s: float, member: int) -> list[Action]:
        """A member cannot be reached, while we search."""

    @abstractmethod
    def wants_model(self, sender: int, header: ModelHeader) -> bool:
        """Tell whether a model is wanted; raise RemoteProtocolError if it lacks its proof."""

    def begin_model(self, sender: int) -> None:  # noqa: B027  # Optional.
        """A wanted model is on its way."""

    def lose_model(self, now_s: float, sender: int) -> list[Action]:
        """A wanted model has not come whole."""
        return []

    @abstractmethod
    def on_model(
        self, now_s: float, sender: int, header: ModelHeader, vector: Vector
    ) -> list[Action]:
        """Take a whole model, or raise RemoteProtocolError."""

    # --- answering --------------------------------------------------------------------------

    @abstractmethod
    def on_request(self, now_s: float, sender: int, their_round: int) -> list[Action]:
        """Answer who is in `their_round` and wants a model of a later one."""

    @abstractmethod
    def on_outcome(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Answer who waited for our round's end; the position is the next round's."""

    @abstractmethod
    def on_resumed(self, resumed: Resumed) -> list[Action]:
        """Answer who waited while we searched; the position is that of `resumed`."""

    def on_settled(self, kept_round: int) -> list[Action]:
        """Look at what the averaging machine has come to, beside its outcome.

        `kept_round` is the round that begins with the model on disk.
        """
        return []

    def _ends_soon(self, now_s: float) -> bool:
        """Tell whether who asks is to wait for the end of our round.

        Who began our round so late would be late for its exchange.
        """
        is_training = self._position.state is State.TRAINING
        is_late = is_training and now_s > self._position.round_began_s + self._deadline_s
        return is_late or self._position.state is State.AVERAGING
