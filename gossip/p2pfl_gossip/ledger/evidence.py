"""Evidence: proofs that a member lied or departs, which anybody can check.

An honest member says one thing in each of its places: one advert a round, with one head; one entry
signature a round; and in a round's session one header, one ACK, one manifest, one receipt and one
vote, one proposal and one ballot in each turn that it leads, one sum of a chunk and one digest of
all sums. Two different ones prove a lie, to everybody. So do an audit proof that does not hold, and
shares that do not give the secret that was promised. What members found in a dispute over a false
total takes the words of m + 1 of them: one is honest; and so does a sum of which so many found
another one.

A departure is no lie: a member's own governance keys say that it leaves, or that its peer's key was
stolen. It needs nobody's leave for that, and takes the same way.

Who is out for it: exclusion.py. What a member keeps, names and gives: evidence_book.py.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.approvals import (
    DEPARTING,
    Approval,
    RefusedApproval,
    in_order,
    require_signed,
)
from p2pfl_gossip.ledger.certificates import require_entry_signature, verify_of
from p2pfl_gossip.ledger.charter import AUDIT_NAME, AUDIT_OFF, Epoch
from p2pfl_gossip.ledger.messages import (
    AdvertAndHead,
    Departure,
    EntrySignature,
    Evidence,
    FalseProof,
    FalseScalar,
    Finality,
    GroupAdvert,
    StatementKind,
    TwoAdverts,
    TwoEntries,
    TwoSeen,
    TwoStatements,
    TwoSums,
    head_statement,
)
from p2pfl_gossip.masked_sum.audit_jobs import bound_of
from p2pfl_gossip.masked_sum.core import chunk_bytes
from p2pfl_gossip.masked_sum.false_proofs import are_false_shares, is_false_proof
from p2pfl_gossip.masked_sum.messages import (
    Accused,
    AuditProof,
    FalseShares,
    OutvotedSum,
    ShareKind,
    SumDigest,
    SumsSeen,
)
from p2pfl_gossip.masked_sum.stated import stated_in
from p2pfl_gossip.records import Codec, Message

EVIDENCE_BYTES_MAX = 18 * 1024
"""An audit proof takes 11,058 bytes; two adverts that name as many as they may less than 4 KB,
false shares of 128 members 15,300 bytes, and the advert beside them less than 2 KB."""

EVIDENCE_CODEC = Codec(Evidence | None, frame_bytes_max=EVIDENCE_BYTES_MAX)

_PLACES: dict[bytes, tuple[StatementKind, tuple[int, ...]]] = {
    b"header": (StatementKind.HEADER, ()),
    b"proposal": (StatementKind.PROPOSAL, (4,)),
    b"ack": (StatementKind.ACK, ()),
    b"chunk": (StatementKind.CHUNK, (32, 8)),
    b"manifest": (StatementKind.MANIFEST, ()),
    b"receipt": (StatementKind.RECEIPT, (32,)),
    b"ballot": (StatementKind.BALLOT, (4,)),
    b"vote": (StatementKind.VOTE, ()),
}
"""By kind as it is signed: its number in a proof, and the sizes of what its place is made of."""

SessionOf = Callable[[int], bytes]
"""Names the masked sum of a round, in the present epoch."""


def evidence_of_adverts(epoch: Epoch, one: GroupAdvert, other: GroupAdvert) -> Evidence:
    """Make a proof of two adverts of one member and one round."""
    one, other = sorted((one, other), key=lambda advert: advert.digest(epoch))
    return Evidence(one.epoch, one.round, one.member, TwoAdverts(one, other))


def evidence_of_entries(one: EntrySignature, other: EntrySignature) -> Evidence:
    """Make a proof of two entry signatures of one member and one round."""
    one, other = sorted((one, other), key=lambda said: said.entry)
    return Evidence(one.epoch, one.round, one.member, TwoEntries(one, other))


def evidence_of_sums(epoch: Epoch, round_: int, one: SumDigest, other: SumDigest) -> Evidence:
    """Make a proof of two sums that one member signed for one chunk."""
    one, other = sorted((one, other), key=lambda said: said.digest)
    return Evidence(epoch.number, round_, one.member, TwoSums(one, other))


def evidence_of_seen(epoch: Epoch, round_: int, one: SumsSeen, other: SumsSeen) -> Evidence:
    """Make a proof of two digests that one member signed of all sums."""
    one, other = sorted((one, other), key=lambda said: said.sums)
    return Evidence(epoch.number, round_, one.member, TwoSeen(one, other))


def evidence_of_statements(
    epoch: Epoch, round_: int, member: int, one: Message, other: Message
) -> Evidence | None:
    """Make a proof of two things that a member signed in one place of a round's session.

    Returns:
        None where it takes more than the two: a chunk against a manifest, which has all chunks.
    """
    first, second = stated_in(one), stated_in(other)
    if first is None or second is None or first.kind not in _PLACES:
        return None
    if (first.kind, first.place) != (second.kind, second.place):
        return None
    said = sorted((it.said, message.signature) for it, message in ((first, one), (second, other)))  # type: ignore[attr-defined]
    proof = TwoStatements(
        kind=_PLACES[first.kind][0],
        place=b"".join(first.place),
        one=said[0][0],
        other=said[1][0],
        signatures=said[0][1] + said[1][1],
    )
    return Evidence(epoch.number, round_, member, proof)


def evidence_of_proof(epoch: Epoch, round_: int, said: AuditProof) -> Evidence:
    """Make a proof of an audit proof that does not hold."""
    return Evidence(epoch.number, round_, said.member, FalseProof(said))


def evidence_of_shares(
    epoch: Epoch, round_: int, said: FalseShares, adverts: Mapping[int, GroupAdvert]
) -> Evidence:
    """Make a proof of shares that do not give the secret that their dealer promised.

    Args:
        epoch: of the lie.
        round_: of the lie.
        said: the shares.
        adverts: of that round's list; of a scalar its dealer's names the key.
    """
    dealer = said.header.dealer
    if said.kind == ShareKind.SCALAR:
        return Evidence(epoch.number, round_, dealer, FalseScalar(adverts[dealer], said))
    return Evidence(epoch.number, round_, dealer, said)


def evidence_of_accusations(epoch: Epoch, round_: int, member: int, said: Accused) -> Evidence:
    """Make a proof of what m + 1 members found of one."""
    return Evidence(epoch.number, round_, member, said)


def evidence_of_false_sum(epoch: Epoch, round_: int, said: OutvotedSum) -> Evidence:
    """Make a proof of a sum, of which m + 1 members found another one."""
    return Evidence(epoch.number, round_, said.said.member, said)


def evidence_of_departure(epoch: Epoch, words: Iterable[Approval]) -> Evidence:
    """Make a proof of what a member's own governance keys say of the charter in force.

    Args:
        epoch: in force.
        words: of DEPARTING one, of one member; of more than its threshold, the first ones.

    Raises:
        RefusedApproval: they do not say so; the message says why.
    """
    said = in_order(words)
    owners = [
        rank
        for rank, member in enumerate(epoch.charter.members)
        if said and all(word.key in member.governance.keys for word in said)
    ]
    if not owners:
        raise RefusedApproval("they are not the words of one member's governance keys")
    member = epoch.charter.members[owners[0]]
    threshold = member.governance.threshold
    if len(said) < threshold:
        raise RefusedApproval(f"{member.name}: {len(said)} of {threshold} keys have signed")
    words = said[:threshold]
    evidence = Evidence(epoch.number, 0, owners[0], Departure(words))
    try:
        _require_departure(epoch, evidence, words)
    except RemoteProtocolError as error:
        why = {
            "other_charter": "it is said of another charter than that in force",
            "no_departure": "leaving and revoking are said each by itself",
        }
        raise RefusedApproval(why.get(error.reason, "a signature is not its key's")) from None
    return evidence


def evidence_of_heads(
    epoch: Epoch, proof: Finality, adverts: Mapping[int, GroupAdvert]
) -> list[Evidence]:
    """Compare a proof of finality, that was checked, with the adverts of its round.

    Args:
        epoch: of the proof.
        proof: t heads, each signed with an advert of the round after the entry.
        adverts: of that round, by rank.

    Returns:
        A proof against each member that named another head in its advert.
    """
    found = []
    for place, rank in enumerate(epoch.unpack(proof.signers) or ()):
        advert = adverts.get(rank)
        if advert is not None and advert.head != proof.head:
            signature = proof.signatures[64 * place : 64 * place + 64]
            both = AdvertAndHead(advert, proof.head, signature)
            found.append(Evidence(advert.epoch, advert.round, rank, both))
    return found


def evidence_digest(epoch: Epoch, evidence: Evidence) -> bytes:
    """Name a proof: H("p2pfl/evidence", group, canonical bytes)."""
    return hash_parts(b"p2pfl/evidence", epoch.group, EVIDENCE_CODEC.encode(evidence))


def require_evidence(epoch: Epoch, evidence: Evidence, session_of: SessionOf) -> None:
    """Check a proof that a member of this epoch lied.

    Args:
        epoch: the epoch; a proof of an ended one says nothing any more.
        evidence: the proof.
        session_of: names the masked sum of a round.

    Raises:
        RemoteProtocolError: it proves nothing.
    """
    if evidence.epoch != epoch.number:
        raise RemoteProtocolError("wrong_epoch")
    match evidence.proof:
        case TwoAdverts(one, other):
            _require_two(one.digest(epoch), other.digest(epoch))
            for advert in (one, other):
                _require_advert(epoch, evidence, advert)
        case AdvertAndHead(advert, head, signature):
            if advert.head == head:
                raise RemoteProtocolError("no_contradiction")
            _require_advert(epoch, evidence, advert)
            statement = head_statement(epoch, evidence.round, head)
            verify_of(epoch, evidence.member, b"head", signature, statement)
        case TwoEntries(one, other):
            _require_two(one.entry, other.entry)
            for said in (one, other):
                if (said.member, said.round) != (evidence.member, evidence.round):
                    raise RemoteProtocolError("other_place")
                require_entry_signature(epoch, said)
        case TwoSums(one, other):
            _require_two(one.digest, other.digest)
            _require_sums(epoch, evidence, one, other, session_of(evidence.round))
        case Departure(words):
            _require_departure(epoch, evidence, words)
        case TwoStatements() as said:
            _require_statements(epoch, evidence, said, session_of(evidence.round))
        case _:
            _require_of_audit(epoch, evidence, session_of(evidence.round))


def _require_of_audit(epoch: Epoch, evidence: Evidence, session: bytes) -> None:
    match evidence.proof:
        case TwoSeen(one, other):
            _require_two(one.sums, other.sums)
            _require_seen(epoch, evidence, one, other, session)
        case FalseProof(said):
            _require_false_proof(epoch, evidence, said, session)
        case FalseShares() as said:
            _require_false_shares(epoch, evidence, said, session)
        case FalseScalar(advert, said):
            _require_advert(epoch, evidence, advert)
            _require_false_shares(epoch, evidence, said, session, advert.mask_key)
        case Accused() as said:
            _require_accused(epoch, evidence, said, session)
        case OutvotedSum() as said:
            _require_outvoted(epoch, evidence, said, session)


def _require_departure(epoch: Epoch, evidence: Evidence, words: tuple[Approval, ...]) -> None:
    """Check that so many of a member's governance keys as it takes say one thing."""
    if evidence.round or evidence.member >= epoch.size:
        raise RemoteProtocolError("other_place")
    governance = epoch.charter.members[evidence.member].governance
    if words != in_order(words) or len(words) != governance.threshold:
        raise RemoteProtocolError("not_its_threshold")
    if any(word.charter != epoch.digest for word in words):
        raise RemoteProtocolError("other_charter")
    if words[0].says not in DEPARTING or len({word.says for word in words}) > 1:
        raise RemoteProtocolError("no_departure")
    for word in words:
        if word.key not in governance.keys:
            raise RemoteProtocolError("not_its_key")
        try:
            require_signed(word)
        except RefusedApproval:
            raise RemoteProtocolError("bad_signature") from None


def _require_two(one: bytes, other: bytes) -> None:
    """Two statements differ, and stand in the one order in which a proof is written."""
    if one >= other:
        raise RemoteProtocolError("no_contradiction")


def _require_advert(epoch: Epoch, evidence: Evidence, advert: GroupAdvert) -> None:
    place = (advert.epoch, advert.round, advert.member)
    if place != (evidence.epoch, evidence.round, evidence.member):
        raise RemoteProtocolError("other_place")
    verify_of(epoch, advert.member, b"advert", advert.signature, advert.digest(epoch))


def _require_sums(
    epoch: Epoch, evidence: Evidence, one: SumDigest, other: SumDigest, session: bytes
) -> None:
    if (one.ballot, one.chunk) != (other.ballot, other.chunk):
        raise RemoteProtocolError("other_place")
    for said in (one, other):
        if said.member != evidence.member or said.session != session:
            raise RemoteProtocolError("other_place")
        body = (session, said.ballot, chunk_bytes(said.chunk), said.digest)
        verify_of(epoch, said.member, b"sum", said.signature, *body)


def _require_statements(
    epoch: Epoch, evidence: Evidence, said: TwoStatements, session: bytes
) -> None:
    """Check that a member signed two things where it says one, in whatever session of a round.

    The kind is part of what is signed, and so is the place, part by part.
    """
    found = [(kind, sizes) for kind, (number, sizes) in _PLACES.items() if number == said.kind]
    if not found or len(said.place) != sum(found[0][1]):
        raise RemoteProtocolError("other_place")
    kind, sizes = found[0]
    _require_two(said.one, said.other)
    ends = list(accumulate(sizes))
    place = [said.place[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    for at, one in enumerate((said.one, said.other)):
        signature = said.signatures[64 * at : 64 * at + 64]
        verify_of(epoch, evidence.member, kind, signature, session, *place, one)


def _require_seen(
    epoch: Epoch, evidence: Evidence, one: SumsSeen, other: SumsSeen, session: bytes
) -> None:
    if one.ballot != other.ballot:
        raise RemoteProtocolError("other_place")
    for said in (one, other):
        if said.member != evidence.member or said.session != session:
            raise RemoteProtocolError("other_place")
        verify_of(epoch, said.member, b"seen", said.signature, session, said.ballot, said.sums)


def _require_false_proof(
    epoch: Epoch, evidence: Evidence, said: AuditProof, session: bytes
) -> None:
    """Check that a member signed a proof that does not hold, of whatever sum of the round."""
    if said.member != evidence.member or said.session != session:
        raise RemoteProtocolError("other_place")
    if epoch.charter.audit == AUDIT_OFF:
        raise RemoteProtocolError("not_audited")
    verify_of(epoch, said.member, b"proof", said.signature, session, said.digest())
    encoding = DeltaEncoding(epoch.size, epoch.charter.clip, max(epoch.weights))
    if not is_false_proof(said, bound_of(encoding, epoch.weights[said.member], epoch.entries)):
        raise RemoteProtocolError("no_contradiction")


def _require_false_shares(
    epoch: Epoch, evidence: Evidence, said: FalseShares, session: bytes, mask_key: bytes = b""
) -> None:
    """Check that shares, which a member's header names, give another secret than it promised."""
    header = said.header
    if header.dealer != evidence.member or header.session != session:
        raise RemoteProtocolError("other_place")
    verify_of(epoch, header.dealer, b"header", header.signature, session, header.digest())
    dealers, holders = epoch.unpack(said.dealers) or (), epoch.unpack(said.holders) or ()
    is_audited = epoch.charter.audit != AUDIT_OFF
    if not are_false_shares(
        said, dealers, holders, epoch.threshold, mask_key, is_audited=is_audited
    ):
        raise RemoteProtocolError("no_contradiction")


def _require_accused(epoch: Epoch, evidence: Evidence, said: Accused, session: bytes) -> None:
    """Check that more members than may lie have found that one lied in a round's dispute."""
    if said.session != session or evidence.member >= epoch.size:
        raise RemoteProtocolError("other_place")
    if epoch.charter.audit != AUDIT_NAME:
        raise RemoteProtocolError("not_audited")
    accusers = epoch.unpack(said.accusers) or ()
    if len(accusers) != epoch.liars_max + 1 or len(said.signatures) != 64 * len(accusers):
        raise RemoteProtocolError("too_few_accusers")
    for place, accuser in enumerate(accusers):
        signature = said.signatures[64 * place : 64 * place + 64]
        member = evidence.member.to_bytes(4, "little")
        verify_of(epoch, accuser, b"accuse", signature, session, member)


def _require_outvoted(epoch: Epoch, evidence: Evidence, said: OutvotedSum, session: bytes) -> None:
    """Check that more members than may lie found another sum than a member signed."""
    one = said.said
    if one.member != evidence.member or one.session != session:
        raise RemoteProtocolError("other_place")
    if epoch.charter.audit == AUDIT_OFF:
        raise RemoteProtocolError("not_audited")
    if one.digest == said.digest:
        raise RemoteProtocolError("no_contradiction")
    signers = epoch.unpack(said.signers) or ()
    if len(signers) != epoch.liars_max + 1 or len(said.signatures) != 64 * len(signers):
        raise RemoteProtocolError("too_few_signers")
    place = (session, one.ballot, chunk_bytes(one.chunk))
    verify_of(epoch, one.member, b"sum", one.signature, *place, one.digest)
    for at, signer in enumerate(signers):
        signature = said.signatures[64 * at : 64 * at + 64]
        verify_of(epoch, signer, b"sum", signature, *place, said.digest)
