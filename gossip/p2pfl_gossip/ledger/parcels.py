"""Parcels: a charter with its texts and what keys said of it, as it travels and as it is kept.

What is in one is of nobody's word: a charter must be one that can follow, each approval its key's,
each text the one of its digest.
"""

from dataclasses import dataclass, field

from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.approvals import Approval, encode_approvals
from p2pfl_gossip.ledger.approving import ApprovalStanding
from p2pfl_gossip.ledger.charter import (
    Charter,
    RefusedCharter,
    encode_charter,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.messages import Parcel
from p2pfl_gossip.records import Codec, MalformedFrame

PARCEL_PREFIX = "ledger/parcel/"

_PARCEL_BYTES_MAX = 256 * 1024

_CODEC = Codec(Parcel | None, frame_bytes_max=_PARCEL_BYTES_MAX)


@dataclass(frozen=True)
class CharterProposal:
    """A charter, its texts, and what was said of it.

    Attributes:
        charter: the charter.
        digest: its digest.
        terms, running: the texts; empty while they are not here.
        approvals: in order, each checked.
        standing: what they come to; None of a charter that is or was in force.
        backer: name of the member whose proposal it is.
    """

    charter: Charter
    digest: bytes
    terms: bytes
    running: bytes
    approvals: tuple[Approval, ...]
    standing: ApprovalStanding | None
    backer: str = ""
    said: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        has_texts = bytes([bool(self.terms), bool(self.running)])
        said = hash_parts(b"p2pfl/parcel", has_texts, encode_approvals(self.approvals))
        object.__setattr__(self, "said", said)

    @property
    def parcel(self) -> Parcel:
        """The parcel that it travels in."""
        return Parcel(encode_charter(self.charter), self.terms, self.running, self.approvals)

    @property
    def record(self) -> dict[str, bytes]:
        """What is kept of it."""
        return {parcel_key(self.digest): _CODEC.encode(self.parcel)}


def past_proposal(charter: Charter, parcel: Parcel) -> CharterProposal:
    """Return a charter that was in force, by its texts; who approved it, the ledger says."""
    return CharterProposal(charter, charter.digest(), parcel.terms, parcel.running, (), None)


def read_parcel(stored: bytes | Vector) -> Parcel:
    """Read the record of a parcel.

    Raises:
        MalformedFrame: it is none.
    """
    parcel = _CODEC.decode_untrusted(stored) if isinstance(stored, bytes) else None
    if not isinstance(parcel, Parcel):
        raise MalformedFrame("a record of a charter's parcel is none")
    return parcel


def require_texts(charter: Charter, parcel: Parcel) -> None:
    """Check that texts, where they are here, are those that a charter names.

    Raises:
        RefusedCharter: one is another.
    """
    for name, text, digest, wanted in (
        ("terms", parcel.terms, terms_digest(parcel.terms), charter.terms),
        ("running", parcel.running, running_digest(parcel.running), charter.running),
    ):
        if text and digest != wanted:
            raise RefusedCharter(f"the text of {name} is not the one that the charter names")


def parcel_key(digest: bytes) -> str:
    """Name the record of a parcel."""
    return f"{PARCEL_PREFIX}{digest.hex()}"
