"""Proof that a member lied, which anybody who knows the cohort can check, whoever brings it.

A member signs one statement only in each of its slots: one advert, one ACK, one list in each turn
that it leads, one digest of each chunk. Two different ones in a slot prove the lie. So do keys of
low order, dealt shares that its own header commits to and that give no secret of its, and an audit
proof that does not hold.
"""

from p2pfl_crypto.identity import InvalidIdentity
from p2pfl_crypto.key_agreement import InvalidKey, require_contributory
from p2pfl_crypto.shamir import InvalidShare
from p2pfl_crypto.statements import verify_statement
from p2pfl_crypto.transcripts import share_digest
from p2pfl_gossip.masked_sum.audit_jobs import bound_of
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.core import Blame, chunk_bytes
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.false_proofs import are_false_shares, is_false_proof
from p2pfl_gossip.masked_sum.jobs import Rebuild, Rebuilt, perform
from p2pfl_gossip.masked_sum.messages import (
    Accused,
    Advert,
    AdvertList,
    AuditProof,
    Ballot,
    ChunkHeader,
    FalseShares,
    Header,
    Manifest,
    OutvotedSum,
    Proposal,
    Receipt,
    SumDigest,
)
from p2pfl_gossip.masked_sum.stated import stated_in
from p2pfl_gossip.records import Message

FAULTS = {
    b"advert": "two_adverts",
    b"adverts": "two_lists",
    b"header": "two_headers",
    b"proposal": "two_proposals",
    b"ack": "two_acks",
    b"chunk": "two_versions",
    b"manifest": "two_manifests",
    b"receipt": "two_receipts",
    b"ballot": "two_ballots",
    b"vote": "two_votes",
    b"sum": "two_sums",
    b"seen": "two_seen",
}
"""By kind of statement: the fault that two of them in one slot prove, and no other."""


class Unproven(Exception):
    """The evidence does not show that the member lied; the message says why."""


def verify_blame(cohort: SessionMembers, blame: Blame) -> None:
    """Check that a blame's evidence proves it.

    ``"false_sum"`` and ``"corrupt_reveal"`` cannot be proven by messages alone: the first takes
    the masked chunks and the secrets, to work the sum out again; a reveal is not signed.

    Raises:
        Unproven: says what is missing; or that it proves another fault than the one named.
    """
    rank = cohort.rank_of(blame.member)
    if rank is None:
        raise Unproven("the blamed is none of the cohort's")
    verify = _BY_ITSELF.get(blame.fault)
    if verify is not None:
        verify(cohort, rank, blame.evidence)
        return
    if len(blame.evidence) != 2:
        raise Unproven(f"{blame.fault!r} with {len(blame.evidence)} messages proves nothing")
    first, second = blame.evidence
    kinds, slots = [], []
    for message in (first, second):
        author, kind, slot, body = _statement(cohort, message)
        if author != rank:
            raise Unproven("a statement is another member's")
        _verify(cohort, message, rank, kind, body)
        kinds.append(kind)
        slots.append((kind, *slot))
    if isinstance(first, ChunkHeader) and isinstance(second, Manifest):
        place = 32 * first.chunk
        if first.tau2 != second.tau2 or second.chunk_digests[place : place + 32] == first.digest:
            raise Unproven("the chunk is that of the manifest")
    elif slots[0] != slots[1]:
        raise Unproven("the two statements are of two slots")
    elif _statement(cohort, first)[3] == _statement(cohort, second)[3]:
        raise Unproven("the two statements are one")
    if blame.fault != FAULTS[kinds[0]]:
        raise Unproven(f"this proves {FAULTS[kinds[0]]!r}, not {blame.fault!r}")


def verify_bad_dealing(
    cohort: SessionMembers,
    dealers: tuple[int, ...],
    header: Header,
    advert: Advert,
    shares: dict[int, tuple[bytes, bytes]],
) -> None:
    """Check that shares which a dealer's header commits to give no secret of its.

    Args:
        cohort: of the session.
        dealers: U1, in whose order the header lists digests.
        header: the dealer's.
        advert: the dealer's.
        shares: shares of b, or of s (the other empty), by holder's rank; at least t.

    Raises:
        Unproven: the shares are not those of the header, or they do give the secret.
    """
    rank = header.dealer
    _verify(cohort, header, rank, b"header", (header.digest(),))
    _verify(cohort, advert, rank, b"advert", (advert.digest(),))
    if advert.member != rank:
        raise Unproven("the advert is another member's")
    by_x: dict[bytes, dict[int, bytes]] = {b"b": {}, b"s": {}}
    for holder, pair in shares.items():
        for kind, share in zip((b"b", b"s"), pair, strict=True):
            place = dealers.index(holder) + (len(dealers) if kind == b"s" else 0)
            if not share:
                continue
            digest = header.share_digests[32 * place : 32 * place + 32]
            if share_digest(header.tau1, kind, rank, holder, share) != digest:
                raise Unproven(f"the share of member {holder} is none of the header's")
            by_x[kind][holder + 1] = share
    seeds = {rank: by_x[b"b"]} if by_x[b"b"] else {}
    scalars = {} if seeds else {rank: by_x[b"s"]}
    try:
        result = perform(
            Rebuild(
                threshold=cohort.threshold,
                tau1=header.tau1,
                tau2=bytes(32),
                seeds=seeds,
                scalars=scalars,
                commitments={rank: header.commitments[:32]},
                mask_keys={rank: advert.mask_key},
            )
        )
    except InvalidShare as error:
        raise Unproven(str(error)) from None
    assert isinstance(result, Rebuilt)
    if result.liars != (rank,):
        raise Unproven("the shares give the dealer's secret")


def _verify_bad_keys(cohort: SessionMembers, rank: int, evidence: tuple[Message, ...]) -> None:
    for advert in evidence:
        if isinstance(advert, Advert) and advert.member == rank:
            _verify(cohort, advert, rank, b"advert", (advert.digest(),))
            for key in (advert.share_key, advert.mask_key):
                try:
                    require_contributory([key])
                except InvalidKey:
                    return
    raise Unproven("no advert of the member has a key of low order")


def _verify_false_proof(cohort: SessionMembers, rank: int, evidence: tuple[Message, ...]) -> None:
    if not isinstance(cohort, EpochCohort):
        raise Unproven("only a group's sum is audited")
    for proof in evidence:
        if isinstance(proof, AuditProof) and proof.member == rank:
            _verify(cohort, proof, rank, b"proof", (proof.digest(),))
            bound = bound_of(cohort.deltas, cohort.weights[rank], cohort.vector_entries)
            if is_false_proof(proof, bound):
                return
    raise Unproven("no proof of the member's is false")


def _verify_false_shares(cohort: SessionMembers, rank: int, evidence: tuple[Message, ...]) -> None:
    for said in evidence:
        if isinstance(said, FalseShares) and said.header.dealer == rank:
            _verify(cohort, said.header, rank, b"header", (said.header.digest(),))
            dealers, holders = cohort.unpack(said.dealers), cohort.unpack(said.holders)
            if are_false_shares(
                said,
                dealers or (),
                holders or (),
                cohort.threshold,
                is_audited=cohort.is_audited,
            ):
                return
    raise Unproven("no shares of the member's secrets give another one")


def _verify_accused(cohort: SessionMembers, rank: int, evidence: tuple[Message, ...]) -> None:
    for said in evidence:
        if isinstance(said, Accused) and said.session == cohort.session:
            accusers = cohort.unpack(said.accusers) or ()
            if len(accusers) <= cohort.liars_max or len(said.signatures) != 64 * len(accusers):
                break
            for place, accuser in enumerate(accusers):
                signature = said.signatures[64 * place : 64 * place + 64]
                body = (cohort.session, rank.to_bytes(4, "little"))
                try:
                    verify_statement(
                        cohort.public_keys[accuser], b"accuse", accuser, signature, *body
                    )
                except InvalidIdentity:
                    raise Unproven("an accusation is not its accuser's") from None
            return
    raise Unproven("no m + 1 members say that they found it out")


def _verify_outvoted(cohort: SessionMembers, rank: int, evidence: tuple[Message, ...]) -> None:
    for said in evidence:
        if isinstance(said, OutvotedSum) and said.said.member == rank:
            one, signers = said.said, cohort.unpack(said.signers) or ()
            number = chunk_bytes(one.chunk)
            _verify(cohort, one, rank, b"sum", (one.ballot, number, one.digest))
            sizes = (len(signers), len(said.signatures))
            needed = cohort.liars_max + 1
            if sizes != (needed, 64 * needed) or said.digest == one.digest:
                break
            for place, signer in enumerate(signers):
                signature = said.signatures[64 * place : 64 * place + 64]
                other = SumDigest(
                    one.session, one.ballot, signer, one.chunk, said.digest, signature
                )
                _verify(cohort, other, signer, b"sum", (one.ballot, number, said.digest))
            return
    raise Unproven("no m + 1 members found another sum")


_BY_ITSELF = {
    "outvoted": _verify_outvoted,
    "false_statement": _verify_accused,
    "bad_keys": _verify_bad_keys,
    "false_proof": _verify_false_proof,
    "bad_dealing": _verify_false_shares,
}
"""By fault: what finds one in a single statement."""


def _verify(
    cohort: SessionMembers, message: Message, rank: int, kind: bytes, body: tuple[bytes, ...]
) -> None:
    if getattr(message, "session", None) != cohort.session:
        raise Unproven("a message is of another session")
    key, signature = cohort.public_keys[rank], message.signature  # type: ignore[attr-defined]
    try:
        verify_statement(key, kind, rank, signature, cohort.session, *body)
    except InvalidIdentity:
        raise Unproven("a signature is not the member's") from None


def _statement(
    cohort: SessionMembers, message: Message
) -> tuple[int, bytes, tuple[object, ...], tuple[bytes, ...]]:
    """Return author, kind, slot and signed body of a message."""
    if (
        isinstance(message, AdvertList | Proposal | Ballot)
        and message.turn >= cohort.leader_turns_max
    ):
        raise Unproven(f"turn {message.turn} is no leader's")
    stated = stated_in(message)
    if stated is None:
        raise Unproven(f"{type(message).__name__} is not signed")
    slot: tuple[object, ...] = stated.place
    match message:
        case AdvertList() | Proposal() | Ballot():
            author = cohort.leader(message.turn)
        case Header():
            author, slot = message.dealer, (message.tau1,)
        case Manifest():
            author, slot = message.member, (message.tau2,)
        case Receipt():
            author = message.owner
        case _:
            author = message.member  # type: ignore[attr-defined]
    return author, stated.kind, slot, (*stated.place, stated.said)
