"""The phases of a masked sum, their transitions, and which message belongs to which phase."""

from collections.abc import Mapping
from enum import IntEnum
from typing import TypeAlias

from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Ack,
    Advert,
    AdvertList,
    AuditProof,
    Ballot,
    ChunkHeader,
    Coin,
    CoinShares,
    CoinSum,
    DisputeStatement,
    Fetch,
    Header,
    Held,
    Manifest,
    MeanSignature,
    MeanSignatures,
    PairShown,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    StatementsHeld,
    SumDigest,
    SumHeader,
    SumsSeen,
    Vote,
)


class Phase(IntEnum):
    """Where a member stands. Ordered: a session never goes back."""

    IDLE = 0
    ADVERTISE = 1
    """Keys are out; waits for the leader's list, then for the adverts that it names."""
    DEAL = 2
    """Works out shared secrets and shares."""
    AGREE = 3
    """Shares are out; waits for those of the others, a proposal of U2, and t ACKs."""
    CHUNK = 4
    """The vector is spent; chunks go to their owners."""
    VOTE = 5
    """The own receipt is out; waits for a ballot and t votes."""
    REVEAL = 6
    """Shares are revealed; an owner waits for t of each secret."""
    AUDIT = 7
    """All sums are here; waits for what shows that what they hold is bounded, if it is to."""
    DONE = 8
    """The outcome is known, and signed if it is whole; sums and chunks are still given."""
    ABORTED = 9
    """Nothing was learned; nothing more is said."""


# Python 3.11 finds a member of an enumeration by way of its metaclass, which takes many times as
# long as to find a name of a module. The parts of a session look at the phase all the time.
IDLE, ADVERTISE, DEAL, AGREE, CHUNK, VOTE, REVEAL, AUDIT, DONE, ABORTED = Phase

TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    Phase.IDLE: (Phase.ADVERTISE, Phase.DEAL, Phase.ABORTED),  # DEAL: keys were gathered before.
    Phase.ADVERTISE: (Phase.DEAL, Phase.ABORTED),
    Phase.DEAL: (Phase.AGREE, Phase.ABORTED),
    Phase.AGREE: (Phase.CHUNK, Phase.ABORTED),
    Phase.CHUNK: (Phase.VOTE, Phase.ABORTED),
    Phase.VOTE: (Phase.REVEAL, Phase.ABORTED),
    Phase.REVEAL: (Phase.AUDIT, Phase.DONE, Phase.ABORTED),  # AUDIT: of a sum that is audited.
    Phase.AUDIT: (Phase.DONE, Phase.ABORTED),
    Phase.DONE: (),
    Phase.ABORTED: (),
}

Windows: TypeAlias = Mapping[type[SessionMessage], tuple[Phase, Phase]]

WINDOWS: Windows = {
    Advert: (Phase.ADVERTISE, Phase.ADVERTISE),
    AdvertList: (Phase.ADVERTISE, Phase.AGREE),
    Share: (Phase.AGREE, Phase.AGREE),
    Header: (Phase.AGREE, Phase.AGREE),
    Held: (Phase.AGREE, Phase.AGREE),
    Proposal: (Phase.AGREE, Phase.AGREE),
    Ack: (Phase.AGREE, Phase.AGREE),
    ChunkHeader: (Phase.AGREE, Phase.DONE),
    Manifest: (Phase.CHUNK, Phase.VOTE),
    Receipt: (Phase.CHUNK, Phase.VOTE),
    Ballot: (Phase.CHUNK, Phase.VOTE),
    Vote: (Phase.CHUNK, Phase.VOTE),
    Reveal: (Phase.REVEAL, Phase.REVEAL),
    SumHeader: (Phase.REVEAL, Phase.REVEAL),
    SumDigest: (Phase.REVEAL, Phase.REVEAL),
    MeanSignature: (Phase.DONE, Phase.DONE),
    MeanSignatures: (Phase.DONE, Phase.DONE),
    Fetch: (Phase.ADVERTISE, Phase.DONE),
}
"""First and last phase in which a message is taken, in a cohort's session.

Before the first it is kept, since others may be ahead; after the last it is dropped, since the
sender may not know yet. A type that is not here is none of this protocol.
"""

GROUP_WINDOWS: Windows = {
    kind: window
    for kind, window in WINDOWS.items()
    if kind not in (Advert, AdvertList, MeanSignature, MeanSignatures)
} | {
    Ack: (Phase.AGREE, Phase.AUDIT),
    SumDigest: (Phase.REVEAL, Phase.DONE),
    Manifest: (Phase.CHUNK, Phase.AUDIT),
}
"""The same, in a group's session: its keys are gathered before it, and what its sums lead to is
signed after it. ACKs that come once t are there tell who has all shares, and so is to show them.
Two digests of one signer are told of later, too; and who was given another manifest than those that
voted asks for theirs."""

AUDITED_WINDOWS: Windows = {
    **GROUP_WINDOWS,
    SumsSeen: (Phase.AUDIT, Phase.DONE),
    Coin: (Phase.AUDIT, Phase.AUDIT),
    CoinShares: (Phase.AUDIT, Phase.AUDIT),
    CoinSum: (Phase.AUDIT, Phase.AUDIT),
    AuditProof: (Phase.AUDIT, Phase.AUDIT),
}
"""The same, in a session whose sum is audited. Two digests of one signer are told of later, too."""

NAMED_WINDOWS: Windows = {
    **AUDITED_WINDOWS,
    Reveal: (Phase.REVEAL, Phase.AUDIT),
    AuditProof: (Phase.AUDIT, Phase.DONE),
    DisputeStatement: (Phase.AUDIT, Phase.DONE),
    StatementsHeld: (Phase.AUDIT, Phase.AUDIT),
    PairShown: (Phase.AUDIT, Phase.AUDIT),
    Accusation: (Phase.AUDIT, Phase.DONE),
}
"""The same, where a false total leads to a dispute. Those that see none help to settle it. Who owns
no chunk asks for shares only then: it is to see for itself what others' words have."""
