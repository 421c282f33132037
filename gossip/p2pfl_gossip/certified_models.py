"""What a peer of masked cohorts gives to others: whole means, each with its cohort's certificate.

Nothing else ever leaves it: no model that it trained, none with values in it that are its own, none
that no cohort has signed.
"""

from p2pfl_gossip.actions import Action, Send, Vector
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    MODELS_SERVED_MAX,
    ModelHeader,
    Status,
    Wait,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import Certificate, to_record
from p2pfl_gossip.records import Record
from p2pfl_gossip.roster import Roster

WAITING_MAX = 128
"""Members that wait for the end of our round: as many as a cohort may have. A name each."""


class CertifiedModel(Record, frozen=True):
    """A model that others may have: `vector`, with which `round` begins, and what proves it."""

    round: int
    vector: Vector
    certificate: Certificate


class CertifiedModels:
    """The answering side.

    A whole mean need not come to its certificate: one member away and one that signs another mean
    are enough. So nobody is told to wait for one for ever, be it of one mean or of each of many.

    Args:
        roster: all members.
        desk: for models on their way.
        deadline_s: how long an answer may take.

    Attributes:
        latest: the certified model of the latest round that we have; None before the first.
    """

    def __init__(self, roster: Roster, desk: Desk, deadline_s: float) -> None:
        self.latest: CertifiedModel | None = None
        self._roster, self._desk, self._deadline_s = roster, desk, deadline_s
        self._pending: tuple[int, Vector] | None = None
        self._pending_since_s = 0.0  # Of the first mean since the last certificate.
        self._waiting: dict[int, int] = {}  # Member -> the round that it asked from.
        self._under_way = 0

    def is_near(self, now_s: float) -> bool:
        """Tell whether a certificate of a whole mean of ours is worth waiting for.

        It is for as long as its signatures are asked for, and a deadline for who was later. One
        that comes after that is taken all the same.
        """
        lasts_s = FETCH_DEADLINES * self._deadline_s
        return self._pending is not None and now_s < self._pending_since_s + lasts_s

    def expect(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Keep the whole mean of a round until its certificate comes, and so who waits.

        Unless no certificate has come for so long: then who waits is answered now.
        """
        if self._pending is None:
            self._pending_since_s = now_s
        self._pending = (round_, vector)
        return [] if self.is_near(now_s) else self.answer_waiting(round_ + 1)

    def give_up(self) -> None:
        """Expect no certificate any more: the next round is at its end."""
        self._pending = None

    def take(self, model: CertifiedModel) -> None:
        """Keep a model that others gave us: it is theirs to have as well."""
        if self.latest is None or model.round > self.latest.round:
            self.latest = model

    def on_certificate(self, certificate: Certificate) -> bool:
        """Take the certificate of a mean of ours; tell whether it is of the latest one."""
        if self._pending is None or self._pending[0] != certificate.round:
            return False
        round_, vector = self._pending
        self._pending = None
        self.take(CertifiedModel(round_ + 1, vector, certificate))
        return True

    def record_of(self, round_: int) -> bytes | None:
        """Return the certificate of the model that a round begins with, as it is kept."""
        latest = self.latest
        if latest is None or latest.round != round_:
            return None
        return to_record(latest.certificate)

    # --- answers ----------------------------------------------------------------------------

    def on_request(
        self, sender: int, their_round: int, round_: int, *, is_ending: bool
    ) -> list[Action]:
        """Answer who wants a model of a later round than `their_round`.

        Args:
            sender: who asks.
            their_round: see above.
            round_: ours.
            is_ending: whether a later model of ours is near: then the answer waits for it. Who
                began our round so late would be late for its exchange.
        """
        if their_round > round_:
            return [Send(self._roster.peers[sender], Status(round_))]
        if is_ending and len(self._waiting) < WAITING_MAX:
            self._waiting[sender] = their_round
            return [Send(self._roster.peers[sender], Wait(round_))]
        self._waiting.pop(sender, None)
        return [self._answer(sender, their_round, round_)]

    def answer_waiting(self, round_: int) -> list[Action]:
        """Answer all that wait, now that our round has ended."""
        waiting, self._waiting = self._waiting, {}
        return [self._answer(sender, their, round_) for sender, their in waiting.items()]

    def _answer(self, sender: int, their_round: int, round_: int) -> Action:
        receiver, latest = self._roster.peers[sender], self.latest
        if latest is None or latest.round <= their_round or self._under_way >= MODELS_SERVED_MAX:
            return Send(receiver, Status(round_))
        self._under_way += 1
        header, vector = ModelHeader(latest.round, latest.certificate), latest.vector
        return self._desk.send_bulk(receiver, header, (vector,), vector.nbytes, self._on_sent)

    def _on_sent(self, _now_s: float, _ok: bool) -> list[Action]:
        self._under_way -= 1
        return []
