"""No averaging: every peer alone, the yardstick 'local only' run by the very same peers."""

from p2pfl_gossip.actions import Action, LocalProtocolError, RemoteProtocolError, Ticket, Vector
from p2pfl_gossip.averaging.base import Outcome
from p2pfl_gossip.records import Message


class Alone:
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

    def abandon(self) -> list[Action]:
        """Nothing is under way, ever."""
        return []

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Refuse: nobody has anything to send."""
        raise RemoteProtocolError("unexpected_message")

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Refuse: no body was wanted."""
        raise LocalProtocolError("no body was wanted")

    def on_message(self, now_s: float, sender: int, message: Message) -> list[Action]:
        """Refuse: nobody has anything to say."""
        raise RemoteProtocolError("unexpected_message")

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        """Nothing: nobody is waited for."""
        return []

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """Nothing: nobody is waited for."""
        return []

    def on_timer(self, now_s: float, ticket: Ticket) -> list[Action]:
        """Refuse: no timer is ever set."""
        raise LocalProtocolError(f"no timer {ticket} is set")
