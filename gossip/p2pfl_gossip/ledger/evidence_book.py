"""The evidence book: the proofs that a member keeps, names in its adverts, and gives to others.

Of each member the *first* proof that came is kept, no other. A liar that makes ever new ones
against itself (an order by digest would invite that) moves nothing: what was named stays here to be
given.
"""

from collections.abc import Callable, Container, Mapping

from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.ledger.approvals import Approval
from p2pfl_gossip.ledger.entries import Entry
from p2pfl_gossip.ledger.evidence import (
    EVIDENCE_CODEC,
    SessionOf,
    evidence_digest,
    require_evidence,
)
from p2pfl_gossip.ledger.exclusion import named_by, out_after
from p2pfl_gossip.ledger.messages import (
    EVIDENCE_NAMED_MAX,
    Departure,
    Evidence,
    EvidenceRequest,
    GroupAdvert,
    Named,
)
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.records import MalformedFrame

EVIDENCE_PREFIX = "ledger/evidence/"


class EvidenceBook:
    """The first proof against each member, kept for good; named, given and fetched.

    Args:
        seat: our place.
        session_of: names the masked sum of a round.
    """

    def __init__(self, seat: Seat, session_of: SessionOf) -> None:
        self._seat, self._session_of = seat, session_of
        self._held: dict[int, tuple[bytes, Evidence]] = {}

    def restore(self, records: Mapping[str, bytes | Vector]) -> None:
        """Take what earlier incarnations kept of the present epoch, if others would take it.

        An older version may have kept what they refuse.

        Raises:
            MalformedFrame: a record is no evidence.
        """
        epoch = self._seat.epoch
        for key in sorted(records):
            if not key.startswith(evidence_key(epoch.number, None)):
                continue
            evidence = read_evidence(records[key])
            if self._is_proof(evidence):
                self._held[evidence.member] = (evidence_digest(epoch, evidence), evidence)

    def _is_proof(self, evidence: Evidence) -> bool:
        try:
            require_evidence(self._seat.epoch, evidence, self._session_of)
        except RemoteProtocolError:
            return False
        return True

    def clear(self) -> None:
        """Begin another epoch: what was proven in the last one says nothing in it.

        The records stay, for people.
        """
        self._held.clear()

    def holds(self, member: int) -> bool:
        """Whether there is a proof why a member is out."""
        return member in self._held

    def has_of_round(self, round_: int) -> bool:
        """Whether somebody is proven to have lied in a round."""
        return any(evidence.round == round_ for _, evidence in self._held.values())

    def departure(self, member: int) -> Evidence | None:
        """Return what a member's own keys said of its leaving, if they did."""
        held = self._held.get(member)
        return held[1] if held is not None and isinstance(held[1].proof, Departure) else None

    @property
    def departed(self) -> list[int]:
        """Members whose own keys said that they leave, or that their peer's key is revoked."""
        return [member for member in self._held if self.departure(member) is not None]

    @property
    def departures(self) -> list[Approval]:
        """What their keys said."""
        held = [evidence.proof for _, evidence in self._held.values()]
        return [word for proof in held if isinstance(proof, Departure) for word in proof.words]

    def note(self, evidence: Evidence) -> bool:
        """Keep a proof that we found ourselves, if others would take it.

        Of one that they refuse they would hold us for false accusers. And m + 1 members that name
        somebody by such ones stop the group: no others ever get a proof, and so none of them signs.

        Returns:
            Whether it is the first against its member.
        """
        if evidence.member in self._held or not self._is_proof(evidence):
            return False
        self._keep(evidence)
        return True

    def _keep(self, evidence: Evidence) -> None:
        self._held[evidence.member] = (evidence_digest(self._seat.epoch, evidence), evidence)
        self._seat.keep(
            {evidence_key(evidence.epoch, evidence.member): EVIDENCE_CODEC.encode(evidence)}
        )

    def named(self, out: Container[int]) -> tuple[Named, ...]:
        """Return what our next advert names: one a member, the lowest not yet out first."""
        members = [member for member in sorted(self._held) if member not in out]
        return tuple(
            Named(member, self._held[member][0]) for member in members[:EVIDENCE_NAMED_MAX]
        )

    # --- giving and fetching ----------------------------------------------------------------

    def on_advert(self, advert: GroupAdvert, out: Container[int]) -> None:
        """Ask a member for the proofs that its advert names and we lack; once per advert."""
        self._ask(advert, lambda member: member not in out)

    def ask(self, base: Entry, adverts: Mapping[int, GroupAdvert]) -> None:
        """Ask all that name them for the proofs that a list's entry takes and we lack."""
        wanted = named_by(self._seat.epoch, base, adverts)
        for advert in adverts.values():
            self._ask(advert, lambda member: member in wanted)

    def _ask(self, advert: GroupAdvert, is_wanted: Callable[[int], bool]) -> None:
        seat = self._seat
        digests = tuple(
            named.digest
            for named in advert.named
            if named.member not in self._held and is_wanted(named.member)
        )
        if digests and advert.member != seat.rank:
            seat.send(advert.member, EvidenceRequest(seat.epoch.number, digests))

    def on_request(self, asker: int, message: EvidenceRequest) -> None:
        """Give a member the proofs that it asks for, as far as they are here."""
        if message.epoch != self._seat.epoch.number:
            return
        for digest, evidence in self._held.values():
            if digest in message.digests:
                self._seat.send(asker, evidence)

    def on_evidence(self, message: Evidence) -> bool:
        """Check and keep a proof, whoever brings it.

        Returns:
            Whether it is the first against its member.

        Raises:
            RemoteProtocolError: it proves nothing.
        """
        if message.epoch != self._seat.epoch.number or message.member in self._held:
            return False  # Void, or of an epoch that we come to (adverts name it there); or known.
        require_evidence(self._seat.epoch, message, self._session_of)
        self._keep(message)
        return True

    def out(self, base: Entry, adverts: Mapping[int, GroupAdvert]) -> frozenset[int] | None:
        """Return `out_after` by what is here."""
        return out_after(self._seat.epoch, base, adverts, self._held)


def read_evidence(stored: bytes | Vector) -> Evidence:
    """Read the record of a proof.

    Raises:
        MalformedFrame: it is none.
    """
    evidence = EVIDENCE_CODEC.decode_untrusted(stored) if isinstance(stored, bytes) else None
    if not isinstance(evidence, Evidence):
        raise MalformedFrame("a record of evidence is none")
    return evidence


def evidence_key(epoch: int, member: int | None) -> str:
    """Name the record of a proof, or with None the prefix of all of an epoch."""
    return f"{EVIDENCE_PREFIX}{epoch:08x}/" + ("" if member is None else f"{member:04x}")
