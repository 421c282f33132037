"""What members of a group say to each other, beside the masked sum itself.

All statements name group, epoch and round in what is signed, so that none passes for another.
"""

from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Annotated

from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.ledger.approvals import APPROVALS_MAX, Approval
from p2pfl_gossip.ledger.charter import CHARTER_BYTES_MAX, KEYS_OF_ONE_MAX, Epoch
from p2pfl_gossip.ledger.entries import Bitmap, Entry, Head
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX
from p2pfl_gossip.masked_sum.messages import (
    Accused,
    AuditProof,
    Bitmaps,
    FalseShares,
    OutvotedSum,
    SumDigest,
    SumsSeen,
)
from p2pfl_gossip.records import (
    ByteSize,
    Digest,
    Message,
    Signature,
    UInt32,
    UInt63,
    replaced,
)

EVIDENCE_NAMED_MAX = (COHORT_SIZE_MAX + 2) // 3 - 1
"""Named in one advert; each about another member, so that a liar fills one place. As many as the
liars that the largest group bears: where sums are audited, a known liar that is not named is
listed, and makes each round void, so that nobody is ever put out."""

STATEMENTS_KEPT = 64
"""Nearly all members say the same of one round: its head, and its entry."""

Key = Annotated[bytes, ByteSize(min_length=32, max_length=32)]
Signatures = Annotated[bytes, ByteSize(max_length=64 * COHORT_SIZE_MAX)]
DigestOfEachMember = Annotated[bytes, ByteSize(max_length=32 * COHORT_SIZE_MAX)]
TEXT_BYTES_MAX = 24 * 1024
"""Of one text beside a charter: with a charter and approvals of the largest group it fits in a
frame. What is longer is in it by its digest."""

PARCELS_MAX = 2 * COHORT_SIZE_MAX + 1
"""Of which one message tells: two proposals of each member, and the charter in force."""

ApprovalsOfCharter = Annotated[tuple[Approval, ...], ByteSize(max_length=APPROVALS_MAX)]
Text = Annotated[bytes, ByteSize(max_length=TEXT_BYTES_MAX)]
CharterBytes = Annotated[bytes, ByteSize(max_length=CHARTER_BYTES_MAX)]


class LedgerMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message of the ledger."""


class Rest(IntEnum):
    """Why a member gives no update."""

    NONE = 0
    """It does."""
    FINISHED = 1
    """The group has all the heights that its charter wants."""
    CHARTER = 2
    """Its head carries a charter: only that is to be made final."""
    SPENT = 3
    """It has given as many updates from this model, or under its charter, as it may."""
    PAUSED = 4
    """Its operator paused it."""
    START = 5
    """Its journal is older than what others hold of it."""
    UNSIGNED = 6
    """Its own keys have not signed the charter."""
    TASK = 7
    """Its operator has not approved the task."""
    LAPSED = 8
    """The charter's time is over."""
    TRAINING = 9
    """Its training gave nothing."""
    STATE = 10
    """It lacks the model that the epoch starts from."""


class Named(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Names a proof that a member lied, by its digest."""

    member: UInt32
    digest: Digest


class GroupAdvert(LedgerMessage, frozen=True, dict=True, tag=152):
    """A member is ready for a round; it says so once a round, and its heads never fall.

    Attributes:
        epoch: its epoch.
        round: the round.
        member: its rank.
        head: the highest certified entry that it holds.
        head_signature: of kind ``head``, over what `head_statement` says.
        charter: of the approved charters that it holds, the lowest digest; or zeros.
        rest: a `Rest`.
        spends: private updates that it gave under this charter, those of lost rounds too; all that
            it may give, where its budget grants no more.
        named: proofs that it holds, ascending by member.
        share_key, mask_key: fresh X25519 keys of this round's session.
        signature: of kind ``advert``, over all of it.
    """

    epoch: UInt32
    round: UInt63
    member: UInt32
    head: Head
    head_signature: Signature
    charter: Digest
    rest: UInt32
    spends: UInt32
    named: Annotated[tuple[Named, ...], ByteSize(max_length=EVIDENCE_NAMED_MAX)]
    share_key: Key
    mask_key: Key
    signature: Signature

    def digest(self, epoch: Epoch) -> bytes:
        """What is signed, as kind ``advert``; lists name the advert by it."""
        group, digests = epoch.group, self._digests
        if group not in digests:
            digests[group] = self._digest_in(group)
        return digests[group]

    @cached_property
    def _digests(self) -> dict[bytes, bytes]:
        """The digest, once it was asked for; an advert is of one group."""
        return {}

    def _digest_in(self, group: bytes) -> bytes:
        head = self.head
        return hash_parts(
            b"p2pfl/grp-advert",
            group,
            _number(self.epoch),
            _number(self.round),
            _number(self.member),
            _number(head.epoch) + _number(head.round) + head.entry,
            self.charter,
            _number(self.rest) + _number(self.spends),
            b"".join(_number(named.member) + named.digest for named in self.named),
            self.share_key,
            self.mask_key,
        )

    def signed(self, signature: bytes) -> "GroupAdvert":
        """Return this advert with its signature."""
        return replaced(self, signature=signature)


class GroupList(LedgerMessage, frozen=True, tag=153):
    """The leader of a turn closes the list of a round.

    Attributes:
        epoch: the epoch.
        round: the round.
        turn: the leader's.
        kind: of the entry that is to come of it, a `Kind`.
        members: whose adverts are on it; all name one head.
        digests: of their adverts, in the order of ranks.
        signature: of kind ``list``.
    """

    epoch: UInt32
    round: UInt63
    turn: UInt32
    kind: UInt32
    members: Bitmap
    digests: DigestOfEachMember
    signature: Signature

    def signed(self, signature: bytes) -> "GroupList":
        """Return this list with its signature."""
        return replaced(self, signature=signature)


class AdvertRequest(LedgerMessage, frozen=True, tag=154):
    """Asks for adverts of a round: those of `members`, and the list that the asked one follows."""

    epoch: UInt32
    round: UInt63
    members: Bitmap


class Progress(LedgerMessage, frozen=True, tag=155):
    """The sender works for a round; nothing else."""

    epoch: UInt32
    round: UInt63


class EntrySignature(LedgerMessage, frozen=True, tag=156):
    """The sender has worked an entry out and signs it, once a round.

    Attributes:
        epoch: the entry's.
        round: the entry's.
        member: the signer's rank.
        entry: the entry's digest.
        signature: of kind ``entry``, over what `entry_statement` says.
    """

    epoch: UInt32
    round: UInt63
    member: UInt32
    entry: Digest
    signature: Signature


class EntryCertificate(LedgerMessage, frozen=True, tag=157):
    """An entry that t members signed."""

    entry: Entry
    signers: Bitmap
    signatures: Signatures


class CertificateRequest(LedgerMessage, frozen=True, tag=158):
    """Asks for the certificate of an entry, or the highest that the asked one has above a head."""

    head: Head


class Closing(LedgerMessage, frozen=True, tag=159):
    """An epoch's end: the entry that carries the next charter, and the proof that it is final.

    Attributes:
        certificate: of the entry.
        charter: canonical bytes of the next charter.
        approvals: of it: enough.
        round: of the adverts that name the entry: one after the entry's.
        signers: t members of the old epoch.
        signatures: theirs, of kind ``head``.
    """

    certificate: EntryCertificate
    charter: CharterBytes
    approvals: ApprovalsOfCharter
    round: UInt63
    signers: Bitmap
    signatures: Signatures


class HeldRequest(LedgerMessage, frozen=True, tag=160):
    """A member that starts asks what others hold of its own.

    Attributes:
        epoch: the asker's. Who is in a later one answers with the ends of epochs in between.
        head: the asker's.
    """

    epoch: UInt32
    head: Head


class HeldOfAsker(LedgerMessage, frozen=True, tag=161):
    """The latest advert and the latest entry signature that the sender holds of the asker.

    Attributes:
        epoch: the sender's, of which both are.
    """

    epoch: UInt32
    advert: GroupAdvert | None
    entry: EntrySignature | None


class Finality(LedgerMessage, frozen=True, tag=162):
    """The proof that an entry is final: t members named it in adverts of the next round."""

    head: Head
    signers: Bitmap
    signatures: Signatures


class TwoAdverts(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """A member advertised twice for one round; the lower digest comes first."""

    one: GroupAdvert
    other: GroupAdvert


class AdvertAndHead(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """A member signed another head in a round than that of its advert.

    Attributes:
        advert: its advert of the round.
        head: the other head.
        signature: of kind ``head``, over what `head_statement` says of it in that round.
    """

    advert: GroupAdvert
    head: Head
    signature: Signature


class TwoEntries(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """A member signed two entries of one round; the lower digest comes first."""

    one: EntrySignature
    other: EntrySignature


class TwoSums(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """A member signed two sums of one chunk under one ballot; the lower digest comes first."""

    one: SumDigest
    other: SumDigest


class Departure(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """A member's own governance keys say that it leaves, or that its peer's key is revoked.

    Attributes:
        words: as many as its threshold, in order, all LEAVE or all REVOKE, of the charter in force.
    """

    words: Annotated[tuple[Approval, ...], ByteSize(min_length=1, max_length=KEYS_OF_ONE_MAX)]


class TwoSeen(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """A member signed two digests of all sums under one ballot; the lower one comes first."""

    one: SumsSeen
    other: SumsSeen


class TwoStatements(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """A member signed two things in one place of a round's session; the lower comes first.

    Attributes:
        kind: a `StatementKind`.
        place: the place; its parts joined.
        one, other: what it said there: a digest, or the bitmaps of a receipt.
        signatures: of both.
    """

    kind: UInt32
    place: Annotated[bytes, ByteSize(max_length=40)]
    one: Bitmaps
    other: Bitmaps
    signatures: Annotated[bytes, ByteSize(min_length=128, max_length=128)]


class FalseProof(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """A member signed an audit proof that does not hold."""

    said: AuditProof


class FalseScalar(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """A member dealt shares of another scalar than that of the key that it advertised."""

    advert: GroupAdvert
    said: FalseShares


class Evidence(LedgerMessage, frozen=True, tag=163):
    """A proof why a member of an epoch is out, which anybody can check, whoever brings it.

    Attributes:
        epoch: the epoch.
        round: of the lie; 0 of a departure.
        member: its rank.
        proof: that it lied, or that it departs.
    """

    epoch: UInt32
    round: UInt63
    member: UInt32
    proof: (
        TwoAdverts
        | AdvertAndHead
        | TwoEntries
        | TwoSums
        | Departure
        | TwoSeen
        | FalseProof
        | FalseShares
        | FalseScalar
        | Accused
        | OutvotedSum
        | TwoStatements
    )

    @property
    def fault(self) -> str:
        """What it proves, as a short word."""
        if isinstance(self.proof, TwoStatements):
            return STATEMENT_FAULTS.get(self.proof.kind, "two_statements")
        return FAULTS[type(self.proof)]


class StatementKind(IntEnum):
    """What a member says once in each of its places of a session, and no audit leads to."""

    HEADER = 0
    PROPOSAL = 1
    ACK = 2
    CHUNK = 3
    MANIFEST = 4
    RECEIPT = 5
    BALLOT = 6
    VOTE = 7


STATEMENT_FAULTS: dict[int, str] = {
    StatementKind.HEADER: "two_headers",
    StatementKind.PROPOSAL: "two_proposals",
    StatementKind.ACK: "two_acks",
    StatementKind.CHUNK: "two_versions",
    StatementKind.MANIFEST: "two_manifests",
    StatementKind.RECEIPT: "two_receipts",
    StatementKind.BALLOT: "two_ballots",
    StatementKind.VOTE: "two_votes",
}

FAULTS = {
    TwoAdverts: "two_adverts",
    AdvertAndHead: "two_heads",
    TwoEntries: "two_entries",
    TwoSums: "two_sums",
    TwoSeen: "two_seen",
    FalseProof: "false_proof",
    FalseShares: "bad_dealing",
    FalseScalar: "bad_dealing",
    Accused: "false_statement",
    OutvotedSum: "false_sum",
    Departure: "departure",
}


class EvidenceRequest(LedgerMessage, frozen=True, tag=164):
    """Asks for evidence that the asked member named in an advert."""

    epoch: UInt32
    digests: Annotated[tuple[Digest, ...], ByteSize(max_length=EVIDENCE_NAMED_MAX)]


class Parcel(LedgerMessage, frozen=True, tag=167):
    """A charter that may follow or is in force, its texts, and what keys said of it.

    Attributes:
        charter: its canonical bytes.
        terms, running: the texts that its digests name; empty where they are not there.
        approvals: in order.
    """

    charter: CharterBytes
    terms: Text
    running: Text
    approvals: ApprovalsOfCharter


class ParcelRequest(LedgerMessage, frozen=True, tag=168):
    """Asks for the parcel of a charter."""

    charter: Digest


class HeldParcel(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Names a parcel, and what is in it.

    Attributes:
        charter: the charter's digest.
        said: over the approvals, and over which texts are there.
    """

    charter: Digest
    said: Digest


class ParcelsHeld(LedgerMessage, frozen=True, tag=169):
    """The sender holds these parcels, in its epoch."""

    epoch: UInt32
    held: Annotated[tuple[HeldParcel, ...], ByteSize(max_length=PARCELS_MAX)]


LEDGER_MESSAGES = (
    GroupAdvert
    | GroupList
    | AdvertRequest
    | Progress
    | EntrySignature
    | EntryCertificate
    | CertificateRequest
    | Closing
    | HeldRequest
    | HeldOfAsker
    | Finality
    | Evidence
    | EvidenceRequest
    | Parcel
    | ParcelRequest
    | ParcelsHeld
)
"""All that the wire must know of the ledger, beside models and masked sums."""


def head_statement(epoch: Epoch, round_: int, head: Head) -> bytes:
    """What a member says of its head in its one advert of a round."""
    return _head_statement(epoch.group, epoch.number, round_, head)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _head_statement(group: bytes, epoch: int, round_: int, head: Head) -> bytes:
    return hash_parts(
        b"p2pfl/head",
        group,
        _number(epoch),
        _number(round_),
        _number(head.epoch) + _number(head.round) + head.entry,
    )


def entry_statement(epoch: Epoch, round_: int, entry: bytes) -> bytes:
    """What a member says that signs an entry; the round too, so that nobody gives it another."""
    return _entry_statement(epoch.group, epoch.number, round_, entry)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _entry_statement(group: bytes, epoch: int, round_: int, entry: bytes) -> bytes:
    return hash_parts(b"p2pfl/signed", group, _number(epoch), _number(round_), entry)


def list_statement(epoch: Epoch, listed: GroupList) -> bytes:
    """What the leader of a turn says."""
    return hash_parts(
        b"p2pfl/grp-list",
        epoch.group,
        _number(listed.epoch),
        _number(listed.round),
        _number(listed.turn) + _number(listed.kind),
        listed.members,
        listed.digests,
    )


def _number(number: int) -> bytes:
    return number.to_bytes(8, "little")
