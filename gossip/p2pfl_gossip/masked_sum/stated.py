"""What members sign in a session: of which kind, in which place, and what they say there.

A member says one thing in each place of a session, ever: one ACK, one manifest, one ballot in each
turn that it leads, one digest of each chunk. It begins a session once, and is silent in it after a
restart. So two things that it signed in one place prove that it lied, to anybody.
"""

from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.masked_sum.core import chunk_bytes, turn_bytes
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    AdvertList,
    Ballot,
    ChunkHeader,
    Header,
    Manifest,
    Proposal,
    Receipt,
    SumDigest,
    SumsSeen,
    Vote,
)
from p2pfl_gossip.records import Message, Record


class Stated(Record, frozen=True):
    """What a signature covers, beside the session and its author's place.

    Attributes:
        kind: of the statement.
        place: where it is said: a leader's turn, a transcript, a chunk; or nothing.
        said: what is said there.
    """

    kind: bytes
    place: tuple[bytes, ...]
    said: bytes


def stated_in(message: Message) -> Stated | None:
    """Return what a message states; None if it is one that proves nothing."""
    match message:
        case Advert():
            return Stated(b"advert", (), message.digest())
        case AdvertList():
            digests = message.digests
            split = [digests[start : start + 32] for start in range(0, len(digests), 32)]
            tau1 = tau1_of(message.session, message.members, split)
            return Stated(b"adverts", (turn_bytes(message.turn),), tau1)
        case Header():
            return Stated(b"header", (), message.digest())
        case Proposal():
            return Stated(b"proposal", (turn_bytes(message.turn),), message.tau2())
        case Ack():
            return Stated(b"ack", (), message.tau2)
        case ChunkHeader():
            return Stated(b"chunk", (message.tau2, chunk_bytes(message.chunk)), message.digest)
        case Manifest():
            return Stated(b"manifest", (), message.digest())
        case Receipt():
            return Stated(b"receipt", (message.tau2,), message.bitmaps)
    return _stated_late(message)


def _stated_late(message: Message) -> Stated | None:
    match message:
        case Ballot():
            return Stated(b"ballot", (turn_bytes(message.turn),), message.digest())
        case Vote():
            return Stated(b"vote", (), message.ballot)
        case SumsSeen():
            return Stated(b"seen", (message.ballot,), message.sums)
        case SumDigest():
            place = (message.ballot, chunk_bytes(message.chunk))
            return Stated(b"sum", place, message.digest)
    return None
