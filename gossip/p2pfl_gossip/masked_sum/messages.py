"""What members of a masked sum say to each other, and what of it they sign.

Every message names its session. A body (a masked chunk, a sum) follows a header that holds the
body's signed digest: it is known before the first byte leaves, so no trailer is needed. Sets of
ranks are bitmaps; lists of digests are their bytes joined.
"""

from enum import IntEnum
from typing import Annotated

from p2pfl_crypto.audit.disputes import LIFTS_BYTES, PART_BYTES, SHOWN_BYTES
from p2pfl_crypto.audit.shared_points import OPENED_BYTES, POSSESSION_BYTES
from p2pfl_crypto.audit.shortness import PROOF_BYTES
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.transcripts import (
    advert_digest,
    ballot_digest,
    header_digest,
    manifest_digest,
    proof_digest,
    statement_digest,
    tau2_of,
)
from p2pfl_gossip.masked_sum.cohort import CHUNK_COUNT_MAX, COHORT_SIZE_MAX
from p2pfl_gossip.records import ByteSize, Digest, Message, Signature, UInt32, replaced

Bitmap = Annotated[bytes, ByteSize(min_length=1, max_length=(COHORT_SIZE_MAX + 7) // 8)]
Key = Annotated[bytes, ByteSize(min_length=32, max_length=32)]
Commitments = Annotated[bytes, ByteSize(min_length=32, max_length=64)]
DigestOfEachMember = Annotated[bytes, ByteSize(max_length=32 * COHORT_SIZE_MAX)]
ThreeDigestsOfEachMember = Annotated[bytes, ByteSize(max_length=96 * COHORT_SIZE_MAX)]
DigestOfEachChunk = Annotated[bytes, ByteSize(max_length=32 * CHUNK_COUNT_MAX)]
PartOfEachChunk = Annotated[bytes, ByteSize(max_length=PART_BYTES * CHUNK_COUNT_MAX)]
Nonce = Annotated[bytes, ByteSize(min_length=24, max_length=24)]
SealedShares = Annotated[bytes, ByteSize(min_length=80, max_length=112)]
ProofBytes = Annotated[bytes, ByteSize(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]
OwnerMap = Annotated[bytes, ByteSize(max_length=CHUNK_COUNT_MAX)]
# 16 bytes of bitmap for each chunk that a member owns: with 4 owners a chunk and 5 members at
# most 4/5 of 1,536 chunks, of one byte each; with 128 members 48 chunks.
Bitmaps = Annotated[bytes, ByteSize(max_length=4 * CHUNK_COUNT_MAX)]
SIGNATURE_BYTES = 64
SignatureOfEachMember = Annotated[bytes, ByteSize(max_length=SIGNATURE_BYTES * COHORT_SIZE_MAX)]


class SessionMessage(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A message of one session."""

    session: Digest


class Advert(SessionMessage, frozen=True, tag=64):
    """1 ADVERTISE: fresh X25519 keys; `share_key` for sealed shares, `mask_key` for pair masks."""

    member: UInt32
    share_key: Key
    mask_key: Key
    signature: Signature

    def digest(self) -> bytes:
        """What is signed, as kind ``advert``."""
        return advert_digest(self.session, self.member, self.share_key, self.mask_key)


class AdvertList(SessionMessage, frozen=True, tag=65):
    """1 ADVERTISE: the leader of `turn` closes U1; the adverts' digests in order of rank."""

    turn: UInt32
    members: Bitmap
    digests: DigestOfEachMember
    signature: Signature


class Header(SessionMessage, frozen=True, tag=66):
    """2 HEADER: what a dealer commits to.

    Attributes:
        tau1: the transcript so far.
        dealer: its rank.
        commitments: 32 bytes each: H of the scalar b; where the sum is audited, a B beside it.
        share_digests: of the shares of b, of s, and where the sum is audited of a; each in order of
            the holders' ranks in U1.
        pair_digests: what another suite commits to of the secrets shared with each member. In this
            one nothing.
        signature: of kind ``header``.
    """

    tau1: Digest
    dealer: UInt32
    commitments: Commitments
    share_digests: ThreeDigestsOfEachMember
    pair_digests: DigestOfEachMember
    signature: Signature

    def digest(self) -> bytes:
        """What is signed, as kind ``header``."""
        return header_digest(
            self.tau1, self.dealer, self.commitments, self.share_digests, self.pair_digests
        )


class Share(SessionMessage, frozen=True, tag=67):
    """2 SHARE: the dealer's header, and the receiver's shares, sealed.

    32 bytes each: of b, of s, and where the sum is audited of a.
    """

    header: Header
    nonce: Nonce
    sealed: SealedShares


class Held(SessionMessage, frozen=True, tag=68):
    """2: tells the leader whose shares the sender holds. Not signed: it only excludes."""

    tau1: Digest
    dealers: Bitmap


class Proposal(SessionMessage, frozen=True, tag=69):
    """2 AGREE: the leader of `turn` proposes U2 and its headers."""

    turn: UInt32
    tau1: Digest
    members: Bitmap
    header_digests: DigestOfEachMember
    signature: Signature

    def tau2(self) -> bytes:
        """The transcript that this proposes; the same, whoever proposes it."""
        return tau2_of(self.tau1, self.members, self.header_digests)


class Ack(SessionMessage, frozen=True, tag=70):
    """2 AGREE: the sender holds valid shares from all of U2; once per session."""

    member: UInt32
    tau2: Digest
    signature: Signature


class ChunkHeader(SessionMessage, frozen=True, tag=71):
    """3 CHUNK: a masked chunk of `member` follows; signed by the member as kind ``chunk``."""

    tau2: Digest
    member: UInt32
    chunk: UInt32
    digest: Digest
    signature: Signature


class Manifest(SessionMessage, frozen=True, tag=72):
    """3 MANIFEST: digests of all chunks of a member."""

    tau2: Digest
    member: UInt32
    chunk_digests: DigestOfEachChunk
    signature: Signature

    def digest(self) -> bytes:
        """What is signed, as kind ``manifest``."""
        return manifest_digest(self.tau2, self.member, self.chunk_digests)


class Receipt(SessionMessage, frozen=True, tag=73):
    """3 RECEIPT: for each chunk that `owner` owns, a bitmap of those whose chunk it holds."""

    tau2: Digest
    owner: UInt32
    bitmaps: Bitmaps
    signature: Signature


class Ballot(SessionMessage, frozen=True, tag=74):
    """4 VOTE: the leader of `turn` proposes U3 and the owner map.

    Attributes:
        turn: the leader's turn.
        tau2: the session's transcript.
        members: U3.
        owners: for each chunk a byte; bit k says that the k-th owner of its ring is live. 0: the
            chunk is void: everybody keeps its local values there, and the mean is nobody else's.
        manifest_digests: of U3's manifests, in order of rank.
        signature: of kind ``ballot``, over turn and digest.
    """

    turn: UInt32
    tau2: Digest
    members: Bitmap
    owners: OwnerMap
    manifest_digests: DigestOfEachMember
    signature: Signature

    def digest(self) -> bytes:
        """What is voted on; the same, whoever proposes it."""
        return ballot_digest(self.tau2, self.members, self.owners, self.manifest_digests)


class Vote(SessionMessage, frozen=True, tag=75):
    """4 VOTE: once per session."""

    member: UInt32
    ballot: Digest
    signature: Signature


class Reveal(SessionMessage, frozen=True, tag=76):
    """5 REVEAL: the sender's shares of b for U3, then of s for the rest of U2, in order of rank.

    32 bytes each; zeros where the sender holds none.
    """

    ballot: Digest
    shares: DigestOfEachMember


class SumHeader(SessionMessage, frozen=True, tag=77):
    """6 SUM: the sum of a chunk follows, and `member`'s signature of it, of kind ``sum``."""

    ballot: Digest
    member: UInt32
    chunk: UInt32
    digest: Digest
    signature: Signature


class SumDigest(SessionMessage, frozen=True, tag=78):
    """6 SUM: what `member`, an owner or a deputy, found the sum of a chunk to be."""

    ballot: Digest
    member: UInt32
    chunk: UInt32
    digest: Digest
    signature: Signature


class MeanSignature(SessionMessage, frozen=True, tag=80):
    """After 6: the sender holds this whole mean; signed once, as kind ``mean``, over U3 and it."""

    member: UInt32
    digest: Digest
    signature: Signature


class MeanSignatures(SessionMessage, frozen=True, tag=82):
    """After 6: exactly t members' signatures of this mean, in order of rank, as one gathered them.

    It says nothing itself and is not signed: whoever gets it checks each of them.
    """

    digest: Digest
    signers: Bitmap
    signatures: SignatureOfEachMember


class SumsSeen(SessionMessage, frozen=True, tag=83):
    """7 SEEN: the sender has all sums, and their digest is this; once per session.

    Attributes:
        member: the sender.
        ballot: digest of what was voted for.
        sums: digest over the digests of all chunks' sums.
        signature: of kind ``seen``, over ballot and sums.
    """

    member: UInt32
    ballot: Digest
    sums: Digest
    signature: Signature


class Coin(SessionMessage, frozen=True, tag=84):
    """8 COIN: the sum of the sender's shares of all coins of U2, a number modulo L."""

    sums: Digest
    share: Key


class CoinShares(SessionMessage, frozen=True, tag=85):
    """8 COIN: the sender's share of each coin of U2, in order of rank, where the sums are false."""

    sums: Digest
    shares: DigestOfEachMember


class CoinSum(SessionMessage, frozen=True, tag=87):
    """8 COIN: the sum of all coins of U2, for who lacks the members' words.

    Nobody need believe its sender: it is held against what all headers say.
    """

    sums: Digest
    coin: Key


class ShareKind(IntEnum):
    """Which secret is dealt: its place in a header."""

    SEED = 0
    SCALAR = 1
    COIN = 2


SHARE_LABELS = (b"b", b"s", b"a")
"""By which shares of each are told apart when they are hashed."""


class FalseShares(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """No message, but evidence: t shares that a dealer's header names, of another secret.

    Attributes:
        header: the dealer's.
        kind: of the secret, a `ShareKind`.
        dealers: U1, in whose order the header names shares.
        holders: whose shares these are.
        shares: of the secret, in order of rank.
    """

    header: Header
    kind: UInt32
    dealers: Bitmap
    holders: Bitmap
    shares: DigestOfEachMember


class AuditProof(SessionMessage, frozen=True, tag=86):
    """9 PROOF: a member's commitment to the sketch of its input, and a proof that it is short.

    It can be checked by itself: by what it says, and by what the charter says of its sender.

    Attributes:
        member: whose.
        ballot: digest of what was voted for.
        sums: digest of all sums.
        seed: of the sketches.
        commitment: a point.
        proof: see p2pfl_crypto.audit.shortness.
        signature: of kind ``proof``.
    """

    member: UInt32
    ballot: Digest
    sums: Digest
    seed: Digest
    commitment: Key
    proof: ProofBytes
    signature: Signature

    def digest(self) -> bytes:
        """What is signed."""
        return proof_digest(self.ballot, self.sums, self.seed, self.commitment, self.proof)


class DisputeStatement(SessionMessage, frozen=True, tag=88):
    """After a false total: what a member shows of its sketch; see p2pfl_crypto.audit.disputes.

    Attributes:
        member: whose.
        ballot, sums, seed: as in its proof.
        tau1, tau2: the session's transcripts.
        members: U3.
        keys: the advertised mask keys of U3, in order of rank.
        commitments: of all proofs that it holds, in that order.
        possession: proof that it knows the secret of its mask key.
        sketch: of its masked words: 256 signed numbers of 8 bytes.
        lifts: what is added to these, in multiples of 2^32: signed numbers of 16 bytes.
        points: commitments to what it shares with each of U3; zeros for itself.
        parts: 16 bytes for each chunk that has a sum.
        signature: of kind ``statement``.
    """

    member: UInt32
    ballot: Digest
    sums: Digest
    seed: Digest
    tau1: Digest
    tau2: Digest
    members: Bitmap
    keys: DigestOfEachMember
    commitments: DigestOfEachMember
    possession: Annotated[bytes, ByteSize(min_length=POSSESSION_BYTES, max_length=POSSESSION_BYTES)]
    sketch: Annotated[bytes, ByteSize(min_length=SHOWN_BYTES, max_length=SHOWN_BYTES)]
    lifts: Annotated[bytes, ByteSize(min_length=LIFTS_BYTES, max_length=LIFTS_BYTES)]
    points: DigestOfEachMember
    parts: PartOfEachChunk
    signature: Signature

    def core(self) -> bytes:
        """Digest all but the parts, whose weights follow from it."""
        return hash_parts(
            b"p2pfl/dispute",
            self.session,
            self.member.to_bytes(4, "little"),
            self.ballot + self.sums + self.seed + self.tau1 + self.tau2,
            self.members,
            self.keys,
            self.commitments,
            self.possession,
            self.sketch,
            self.lifts,
            self.points,
        )

    def digest(self) -> bytes:
        """What is signed."""
        return statement_digest(self.core(), self.parts)

    def points_of(self, members: tuple[int, ...]) -> dict[int, bytes]:
        """Return the points by the other's rank."""
        return {
            rank: self.points[32 * place : 32 * place + 32]
            for place, rank in enumerate(members)
            if rank != self.member
        }

    def signed(self, signature: bytes) -> "DisputeStatement":
        """Return it with its signature."""
        return replaced(self, signature=signature)

    def showing(
        self, possession: bytes, sketch: bytes, lifts: bytes, points: bytes
    ) -> "DisputeStatement":
        """Return it with what it shows."""
        return replaced(self, possession=possession, sketch=sketch, lifts=lifts, points=points)

    def own_key(self, members: tuple[int, ...]) -> bytes:
        """Return the mask key of the member that says it, which is one of U3."""
        place = 32 * members.index(self.member)
        return self.keys[place : place + 32]

    def with_parts(self, parts: bytes) -> "DisputeStatement":
        """Return it with its parts."""
        return replaced(self, parts=parts)


class PairShown(SessionMessage, frozen=True, tag=89):
    """In a dispute: what X25519 gave a member and another one that says something else of it.

    Attributes:
        member: who shows it.
        other: the other end.
        opened: the shared point, and the proof that it is that.
    """

    member: UInt32
    other: UInt32
    opened: Annotated[bytes, ByteSize(min_length=OPENED_BYTES, max_length=OPENED_BYTES)]


class Accusation(SessionMessage, frozen=True, tag=90):
    """In a dispute: the sender has found, by what it holds itself, that a member lied.

    Attributes:
        accuser: whose word it is.
        member: who lied.
        chunk: of which it gave another part than it says; the number of chunks for another lie.
        signature: of kind ``accuse``, over the member.
    """

    accuser: UInt32
    member: UInt32
    chunk: UInt32
    signature: Signature


class StatementsHeld(SessionMessage, frozen=True, array_like=True, tag=91):
    """In a dispute: which statements the sender goes by, so that who made two is found out.

    Attributes:
        digests: of each member's of U3, in order of rank; zeros where it has none. Not signed: it
            only leads to statements being shown.
    """

    digests: DigestOfEachMember


class Accused(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """No message, but evidence: more members than may lie found that one lied.

    Attributes:
        session: the round's.
        accusers: exactly m + 1.
        signatures: of kind ``accuse``, in order of rank.
    """

    session: Digest
    accusers: Bitmap
    signatures: SignatureOfEachMember


class OutvotedSum(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """No message, but evidence: a sum of a chunk, of which more than may lie found another one.

    Attributes:
        said: what the one signed.
        digest: what the others found.
        signers: exactly m + 1.
        signatures: theirs of that digest, of kind ``sum``, in order of rank.
    """

    said: SumDigest
    digest: Digest
    signers: Bitmap
    signatures: SignatureOfEachMember


class Fetch(SessionMessage, frozen=True, tag=79):
    """Asks for something again; `what` is a `Wanted`.

    `first` and `second` say which: a member, a chunk and a member, or nothing (0).
    """

    what: UInt32
    first: UInt32 = 0
    second: UInt32 = 0


class Wanted(IntEnum):
    """What a `Fetch` may ask for."""

    ADVERT = 1
    """Of member `first`."""
    ADVERT_LIST = 2
    SHARE = 3
    """The asked member's own, for the asker."""
    HEADER = 4
    """Of dealer `first`."""
    PROPOSAL = 5
    ACK = 6
    """The asked member's own, as is the reveal."""
    MANIFEST = 7
    """Of member `first`."""
    RECEIPT = 8
    """Of owner `first`."""
    BALLOT = 9
    VOTE = 10
    """The asked member's own, or all that it followed."""
    REVEAL = 11
    CHUNK = 12
    """Chunk `first` of member `second`."""
    SUM = 13
    """Of chunk `first`."""
    SIGNATURE = 14
    """The asked member's own, of the mean."""
    SUM_DIGESTS = 15
    """Of chunk `first`: all signed digests of its sum that the asked member has seen."""
    SEEN = 16
    """Of all whose digest of the sums is the asked member's."""
    COIN = 17
    """The asked member's own, as are its shares; or the sum of all, once it is known."""
    COIN_SHARES = 18
    PROOF = 19
    """Of member `first`."""
    STATEMENT = 20
    """Of member `first`, in a dispute."""


MASKED_SUM_MESSAGES = (
    Advert
    | AdvertList
    | Header
    | Share
    | Held
    | Proposal
    | Ack
    | ChunkHeader
    | Manifest
    | Receipt
    | Ballot
    | Vote
    | Reveal
    | SumHeader
    | SumDigest
    | MeanSignature
    | MeanSignatures
    | SumsSeen
    | Coin
    | CoinShares
    | CoinSum
    | AuditProof
    | DisputeStatement
    | PairShown
    | Accusation
    | StatementsHeld
    | Fetch
)
"""All that the wire must know of masked sums."""
