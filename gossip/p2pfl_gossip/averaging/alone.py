"""No averaging: every peer alone, the yardstick 'local only' run by the very same peers."""

from p2pfl_gossip.actions import Action, LocalProtocolError, RemoteProtocolError, Vector
from p2pfl_gossip.averaging.base import Averaging, Outcome
from p2pfl_gossip.records import Message


class Alone(Averaging):
    """Ends each exchange as it begins, with the model that was given."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return nobody."""
        return ()

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Keep the model."""
        self.outcome = Outcome(vector=vector, expected=1, contributors=1, complete=True)
        return []

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Keep the model."""
        return self.begin(now_s, round_, vector, 1.0)

    def abandon(self) -> list[Action]:
        """Nothing is under way, ever."""
        return []

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Refuse: nobody has anything to send."""
        raise RemoteProtocolError("unexpected_message")

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Refuse: no body was wanted."""
        raise LocalProtocolError("no body was wanted")
