"""What a peer keeps across restarts: its incarnation, and the model that a round begins with.

With the model goes what the peer keeps of its own: as it was when the model was kept.
"""

from p2pfl_gossip.actions import Action, LocalProtocolError, Persist, Vector
from p2pfl_gossip.own_state import OwnState
from p2pfl_gossip.peer_state import PeerSettings, Position


class PeerRecords:
    """The peer's own records; those of its averaging are not among them.

    Attributes:
        incarnation: how often the peer was started, this time included; 0 before.
        kept_round: the round that begins with the model on disk; -1 without one.
    """

    def __init__(self, settings: PeerSettings, position: Position, own: OwnState) -> None:
        self.incarnation = 0
        self.kept_round = -1
        self._settings, self._position, self._own = settings, position, own

    def begin_incarnation(self, records: dict[str, bytes | Vector]) -> Persist:
        """Count this start; what is to be kept before anything is said."""
        self.incarnation = _number(records.get("incarnation", b"\0")) + 1
        return Persist({"incarnation": self.incarnation.to_bytes(8, "little")})

    def restore_model(self, records: dict[str, bytes | Vector]) -> None:
        """Go to the round of the model that an earlier incarnation kept."""
        model = records["model"]
        if isinstance(model, bytes) or model.shape != self._position.vector.shape:
            raise LocalProtocolError("the persisted model is not of this task")
        self.kept_round = self._position.round = _number(records["round"])
        self._position.vector = model
        self._own.restore(records)

    def keep_model(self, proof: dict[str, bytes | None]) -> list[Action]:
        """Keep the model that the round begins with, and its proof, in every so many rounds."""
        every, round_ = self._settings.checkpoint_every, self._position.round
        if not every or (round_ % every and round_ < self._settings.rounds):
            return []
        self.kept_round = round_
        model = {"round": round_.to_bytes(8, "little"), "model": self._position.vector}
        return [Persist({**model, **proof, **self._own.records()})]


def _number(record: bytes | Vector) -> int:
    if not isinstance(record, bytes):
        raise LocalProtocolError("a persisted number is not bytes")
    return int.from_bytes(record, "little")
