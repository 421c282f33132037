"""What masked sums did in a run: how they ended, who was blamed, what they sent in which phase."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pfl_gossip.events import MaskedSumEnded, MemberBlamed
from p2pfl_gossip.ledger import messages as ledger
from p2pfl_gossip.ledger import state_messages as states
from p2pfl_gossip.masked_sum import messages
from p2pfl_gossip.records import Message

PHASES: dict[str, tuple[type[Message], ...]] = {
    "advertise": (messages.Advert, messages.AdvertList),
    "share": (messages.Share, messages.Header),
    "agree": (messages.Held, messages.Proposal, messages.Ack),
    "chunk": (messages.ChunkHeader, messages.Manifest, messages.Receipt),
    "vote": (messages.Ballot, messages.Vote),
    "reveal": (messages.Reveal,),
    "sum": (
        messages.SumHeader,
        messages.SumDigest,
        messages.MeanSignature,
        messages.MeanSignatures,
    ),
    "audit": (
        messages.SumsSeen,
        messages.Coin,
        messages.CoinShares,
        messages.CoinSum,
        messages.AuditProof,
    ),
    "dispute": (
        messages.DisputeStatement,
        messages.StatementsHeld,
        messages.PairShown,
        messages.Accusation,
    ),
    "ask again": (messages.Fetch,),
    "list": (ledger.GroupAdvert, ledger.GroupList, ledger.AdvertRequest, ledger.Progress),
    "certify": (
        ledger.EntrySignature,
        ledger.EntryCertificate,
        ledger.CertificateRequest,
        ledger.Finality,
        ledger.Closing,
        ledger.HeldRequest,
        ledger.HeldOfAsker,
        ledger.Evidence,
        ledger.EvidenceRequest,
        ledger.Parcel,
        ledger.ParcelRequest,
        ledger.ParcelsHeld,
    ),
    "models": (
        states.StateRequest,
        states.StateChunkDigests,
        states.StateRefusal,
        states.ChunksRequest,
        states.StateChunks,
        states.ChunksCancel,
    ),
}
"""Which messages belong to which phase of docs/protocol.md; bodies count with their headers. The
last three are of groups alone."""


@dataclass(frozen=True, slots=True)
class MaskedSums:
    """The masked sums of a run.

    Attributes:
        formed: cohorts of which at least one member came to an end.
        summed: those of which at least one member got the sum.
        recovered: of those summed, the ones that went on without members that had dropped out.
        aborted: the others, by the reason that most of their members gave.
        left: members without the sum of a cohort that has one, by reason; they dropped out, as a
            rule, or came too late.
        blamed: members that broke the protocol, by fault.
        kept_chunks: chunks that members kept their own values of, over all members.
        clipped_entries: entries of models beyond the clip, over all members.
        weights_capped: models that counted as `weight_max`, for being of more rows.
        shrunk: updates of a group that were longer than its clip, and shrunk to it.
        bytes_by_phase: sent by all peers.
    """

    formed: int
    summed: int
    recovered: int
    aborted: dict[str, int]
    left: dict[str, int]
    blamed: dict[str, int]
    kept_chunks: int
    clipped_entries: int
    weights_capped: int
    bytes_by_phase: dict[str, int]
    shrunk: int = 0


@dataclass(slots=True)
class _Cohort:
    round: int
    has_sum: bool = False
    is_recovered: bool = False
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class RoundSums:
    """How many of a round's cohorts were summed, recovered of those, and aborted."""

    summed: int
    recovered: int
    aborted: int


class MaskedSumTally:
    """Counts what members report of their masked sums."""

    def __init__(self) -> None:
        self._cohorts: dict[bytes, _Cohort] = {}  # By session.
        self._blamed: dict[tuple[bytes, str, str], None] = {}  # Many members name the same one.
        self._kept = self._clipped = self._capped = 0
        self.shrunk = 0

    def add(self, event: MaskedSumEnded, round_: int) -> None:
        """Take the end of a session for one member; `round_` is that of the table of rounds."""
        cohort = self._cohorts.setdefault(event.session, _Cohort(round_))
        if event.result == "summed":
            cohort.has_sum = True
            cohort.is_recovered |= event.contributors < event.members
        else:
            cohort.reasons[event.result.removeprefix("aborted: ")] += 1
        self._kept += event.kept
        self._clipped += event.clipped
        self._capped += event.is_weight_capped

    def blame(self, event: MemberBlamed) -> None:
        """Take a member's word that another broke the protocol."""
        self._blamed[event.session, event.member, event.fault] = None

    def of_round(self, round_: int) -> RoundSums:
        """Count the cohorts of a round."""
        cohorts = [it for it in self._cohorts.values() if it.round == round_]
        summed = [it for it in cohorts if it.has_sum]
        recovered = sum(it.is_recovered for it in summed)
        return RoundSums(len(summed), recovered, len(cohorts) - len(summed))

    def total(self, bytes_by_message: Mapping[str, int]) -> MaskedSums:
        """Return the figures of the whole run; bytes are by the name of a message's type."""
        cohorts = list(self._cohorts.values())
        summed = [it for it in cohorts if it.has_sum]
        left: Counter[str] = Counter()
        for cohort in summed:
            left += cohort.reasons
        aborted = Counter(it.reasons.most_common(1)[0][0] for it in cohorts if not it.has_sum)
        return MaskedSums(
            formed=len(cohorts),
            summed=len(summed),
            recovered=sum(it.is_recovered for it in summed),
            aborted=dict(aborted.most_common()),
            left=dict(left.most_common()),
            blamed=dict(Counter(fault for _, _, fault in self._blamed).most_common()),
            kept_chunks=self._kept,
            clipped_entries=self._clipped,
            weights_capped=self._capped,
            bytes_by_phase={
                phase: sum(bytes_by_message.get(kind.__name__, 0) for kind in kinds)
                for phase, kinds in PHASES.items()
            },
            shrunk=self.shrunk,
        )
