"""Rejoining by certificates alone: for masked models.

Composes the asking side (certified_catch_up.py) and the answering one (certified_models.py). No
member's word moves the peer, and no model leaves it without the certificate of a cohort.
"""

from random import Random

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    Event,
    Persist,
    RemoteProtocolError,
    Vector,
)
from p2pfl_gossip.averaging.base import CertifiedAveraging, Outcome
from p2pfl_gossip.catch_up import Found, ModelHeader
from p2pfl_gossip.certified_catch_up import CertifiedCatchUp
from p2pfl_gossip.certified_models import CertifiedModel, CertifiedModels
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import from_record
from p2pfl_gossip.peer_state import Position
from p2pfl_gossip.rejoining import Rejoining, Resumed
from p2pfl_gossip.roster import Roster


class CertifiedRejoining(Rejoining):
    """Both sides, where models are masked.

    Args:
        index, roster: of the peer.
        position: where it is.
        averaging: checks certificates, and gives those of our own rounds.
        deadline_s: how long an answer may take.
        desk: of this machine alone.
    """

    _search: CertifiedCatchUp

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        position: Position,
        averaging: CertifiedAveraging,
        deadline_s: float,
        desk: Desk,
    ) -> None:
        super().__init__(position, deadline_s)
        self._index, self._roster, self._desk = index, roster, desk
        self._averaging = averaging
        self._models = CertifiedModels(roster, desk, deadline_s)
        self._lost: Outcome | None = None  # Of the round before, while we ask what it gave others.

    def start(self, rng: Random) -> None:
        """Take the random stream that draws whom to ask."""
        self._search = CertifiedCatchUp(
            index=self._index,
            roster=self._roster,
            deadline_s=self._deadline_s,
            desk=self._desk,
            rng=rng,
        )

    def restore(self, records: dict[str, bytes | Vector]) -> None:
        """Take the certificate of the model that was kept, so that others may have it again."""
        record, position = records.get("certificate"), self._position
        if not isinstance(record, bytes):
            return
        certificate = from_record(record)
        if certificate.round + 1 == position.round:
            self._models.take(CertifiedModel(position.round, position.vector, certificate))

    def proof(self) -> dict[str, bytes | None]:
        """Return the certificate of the model that the round begins with, if it is there."""
        return {"certificate": self._models.record_of(self._position.round)}

    # --- asking -----------------------------------------------------------------------------

    def seek(self, now_s: float) -> list[Action]:
        """Ask some members for a model of a later round."""
        return self._search.seek(now_s, self._position.round)

    def is_lost(self, outcome: Outcome) -> bool:
        """Tell whether nobody's model but our own is in it, or not even that."""
        return outcome.contributors <= 1

    def search_lost(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Ask others what the round before ours gave them; nothing of ours is in it."""
        position, self._lost = self._position, outcome
        lost = position.round - 1
        partners = self._averaging.partners(lost)
        actions = self._models.answer_waiting(position.round)
        if outcome.unreachable == len(partners):
            return actions + self._search.seek(now_s, lost)  # Cut off, perhaps.
        liars_max, since_s = self._averaging.liars_max(lost), position.exchange_began_s
        return actions + self._search.await_result(now_s, since_s, lost, partners, liars_max)

    def stop(self) -> list[Action]:
        """End the search."""
        return self._search.stop()

    def take_resumed(self) -> Resumed | None:
        """Go on with the model found, which is certified, or else with our own."""
        found, round_ = self._search.found, self._position.round
        if found is None:
            return None
        self._search.found = None
        outcome, self._lost = self._lost, None
        if found.vector is None or found.certificate is None:
            return Resumed(round_, outcome=outcome)
        self._models.take(CertifiedModel(found.round, found.vector, found.certificate))
        if outcome is not None and self._is_ours(found):
            count = int.from_bytes(found.certificate.members, "little").bit_count()
            count = min(count, outcome.expected)
            outcome = Outcome(found.vector, outcome.expected, count, complete=True)
            return Resumed(found.round, found.vector, outcome)
        caught_up: tuple[Event, ...] = (events.CaughtUp(round_, found.round),)
        if outcome is not None:
            caught_up = (events.RoundLost(round_ - 1, "behind"), *caught_up)
        return Resumed(found.round, found.vector, events=caught_up)

    def _is_ours(self, found: Found) -> bool:
        """Tell whether it is what the lost round gave to our own cohort."""
        assert found.certificate is not None
        cohort = (self._index, *self._averaging.partners(found.round - 1))
        return found.round == self._position.round and found.certificate.cohort in cohort

    # --- what comes of it -------------------------------------------------------------------

    def on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member that we asked has no model for us."""
        return self._search.on_status(now_s, sender, round_)

    def on_wait(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member answers when its round ends."""
        return self._search.on_wait(now_s, sender, round_)

    def on_peer_down(self, now_s: float, member: int) -> list[Action]:
        """Do without a member."""
        return self._search.on_peer_down(now_s, member)

    def wants_model(self, sender: int, header: ModelHeader) -> bool:
        """Tell whether a model is wanted; raise RemoteProtocolError if it lacks its proof."""
        if not self._search.wants(sender, header.round):
            return False
        if header.certificate is None:
            raise RemoteProtocolError("no_certificate")
        if header.certificate.round + 1 != header.round:
            raise RemoteProtocolError("other_round")
        self._averaging.require_certified(header.certificate)
        return True

    def begin_model(self, sender: int) -> None:
        """Take no other model until this one has come, or is lost."""
        self._search.begin_model(sender)

    def lose_model(self, now_s: float, sender: int) -> list[Action]:
        """Look for another model than this."""
        return self._search.lose_model(now_s, sender)

    def on_model(
        self, now_s: float, sender: int, header: ModelHeader, vector: Vector
    ) -> list[Action]:
        """Take a model if it is the one that its certificate is of; refuse its sender if not."""
        certificate = header.certificate
        if not self._search.wants(sender, header.round):
            return []
        assert certificate is not None
        try:
            self._averaging.require_mean_of(certificate, vector)
        except RemoteProtocolError as error:
            refusal = Disconnect(self._roster.peers[sender], error.reason)
            return [refusal, *self._search.lose_model(now_s, sender)]
        return self._search.on_model(sender, Found(header.round, vector, certificate))

    # --- answering --------------------------------------------------------------------------

    def on_request(self, now_s: float, sender: int, their_round: int) -> list[Action]:
        """Give the latest certified model, or have the sender wait for one that is near."""
        is_ending = self._ends_soon(now_s) or self._models.is_near(now_s)
        round_ = self._position.round
        return self._models.on_request(sender, their_round, round_, is_ending=is_ending)

    def on_outcome(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Have all wait for the certificate of a whole mean; answer them if it is none."""
        round_ = self._position.round
        if outcome.complete:
            return self._models.expect(now_s, round_ - 1, self._position.vector)
        self._models.give_up()
        return self._models.answer_waiting(round_)

    def on_resumed(self, resumed: Resumed) -> list[Action]:
        """Give the latest certified model to all who wait."""
        return self._models.answer_waiting(self._position.round)

    def on_settled(self, kept_round: int) -> list[Action]:
        """Take the certificate of a mean that we have; whoever waits for it gets it."""
        certificate = self._averaging.certificate
        if certificate is None:
            return []
        self._averaging.certificate = None
        if not self._models.on_certificate(certificate):
            return []
        actions: list[Action] = []
        if kept_round == certificate.round + 1:
            actions.append(Persist({"certificate": self._models.record_of(kept_round)}))
        return actions + self._models.answer_waiting(self._position.round)
