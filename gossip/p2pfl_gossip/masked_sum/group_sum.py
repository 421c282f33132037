"""A group's masked sum: all members learn the sums of their deltas, chunk by chunk.

The ledger gathers the keys before the session, and says what the sums lead to after it. Nothing is
decoded here: no member's own values take the place of a sum, and no weight travels with it.

Do not begin a session of a later round before this one has come to REVEAL, or has ended: one
journal serves all of a group's sessions, and never are there two with chunks unsent. From then on
it may go on beside the next one, until `abandon`.
"""

from p2pfl_crypto.identity import Identity
from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Action, PeerId, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.auditing import Auditing
from p2pfl_gossip.masked_sum.core import Blame, Core, Entropy
from p2pfl_gossip.masked_sum.disputing import Disputing
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.gathered import Gathered, GatheredKeys
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Spend
from p2pfl_gossip.masked_sum.journal import SessionJournal
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    AuditProof,
    Coin,
    CoinShares,
    CoinSum,
    DisputeStatement,
    Fetch,
    PairShown,
    SessionMessage,
    StatementsHeld,
    SumsSeen,
)
from p2pfl_gossip.masked_sum.phases import AUDITED_WINDOWS, GROUP_WINDOWS, NAMED_WINDOWS, Phase
from p2pfl_gossip.masked_sum.session import Aborted, Session
from p2pfl_gossip.masked_sum.tossing import Tossing
from p2pfl_gossip.records import Record

__all__ = ["Aborted", "GroupSum", "Sums"]


class Sums(Record, frozen=True):
    """The end of a group's session with its sums; the same for all members that have them.

    Attributes:
        members: U3, ranks whose deltas are in the sums, ascending.
        ballot: digest of what t members voted for.
        chunks: the sum of each chunk and its digest; None where the ballot names no owner, so that
            the chunk is void. Whether a sum is in range is for the encoding to say.
        blames: who broke the protocol, as far as it was known then.
        late: members whose proof came late, where the sums are audited: each member's own view.
    """

    members: tuple[int, ...]
    ballot: bytes
    chunks: tuple[ChunkSum | None, ...]
    blames: tuple[Blame, ...]
    late: tuple[int, ...] = ()


class GroupSum(Session[GroupSumming]):
    """One member's side of one round's session.

    Args:
        cohort: the epoch's members and this round.
        identity: ours; signs what we say.
        delta: float32[d], what training has changed, shrunk to the clip; or uint32[d], words that
            hold their noise, where the cohort takes these. Read-only from now on.
            None if we have nothing to put in: then we help the others, and are not in U3.
        gathered: the keys of the list that we follow.
        entropy: gives uniform secret bytes that no other session gets, not after a restart either.
        records: what earlier incarnations asked to `Persist`.
        desk: of whoever composes; the session works at a sub-desk of it.

    Raises:
        NotFinite: the delta holds a NaN or an infinity; names the first.
        ValueError: the delta is of another form.
        LocalProtocolError: the identity is none of the epoch's, or what was gathered is not in
            order.
    """

    windows = GROUP_WINDOWS

    def __init__(
        self,
        cohort: EpochCohort,
        identity: Identity,
        delta: Vector | Masked | None,
        gathered: Gathered,
        *,
        entropy: Entropy,
        records: dict[str, bytes | Vector],
        desk: Desk,
    ) -> None:
        core = self.core_type(cohort, identity, entropy, desk.sub(self.on_answer))
        super().__init__(
            core,
            SessionJournal(cohort.group, records),
            GatheredKeys(core, gathered),
            delta,
            cohort.weights[core.rank],
            make_summing=GroupSumming,
            spend=Spend(cohort.epoch, cohort.round, cohort.charter, cohort.is_private),
        )
        self.outcome: Sums | Aborted | None = None
        self._auditing: Auditing | None = None
        self._disputing: Disputing | None = None
        if cohort.is_audited:
            self.windows = NAMED_WINDOWS if cohort.names_liars else AUDITED_WINDOWS
            self._audit(core, cohort)

    def _audit(self, core: Core, cohort: EpochCohort) -> None:
        parts = (self._sharing, self._agreement, self._summing)
        tossing = Tossing(core, self._journal, *parts)
        self._disputing = disputing = Disputing(
            core,
            self._keys,
            sharing=self._sharing,
            agreement=self._agreement,
            exchange=self._exchange,
            revealing=self._revealing,
            summing=self._summing,
        )
        self._auditing = Auditing(
            core,
            cohort,
            self._keys,
            tossing,
            sharing=self._sharing,
            agreement=self._agreement,
            masking=self._masking,
            summing=self._summing,
            disputing=disputing,
        )
        self._handlers |= {
            SumsSeen: tossing.on_seen,
            Coin: tossing.on_coin,
            CoinShares: tossing.on_coin_shares,
            CoinSum: tossing.on_coin_sum,
            AuditProof: self._auditing.on_proof,
            DisputeStatement: disputing.on_statement,
            StatementsHeld: disputing.on_held,
            PairShown: disputing.on_shown,
            Accusation: disputing.accusing.on_accusation,
        }

    def ask_digests(self, now_s: float, peer: PeerId) -> list[Action]:
        """Ask a member by which signed digests it took its sums.

        For where members come to different sums: two that one signer gave are told of in `blames`.
        """
        core = self._begin(now_s)
        if core.phase in (Phase.REVEAL, Phase.AUDIT, Phase.DONE) and not self._is_over:
            self._summing.ask_digests(self._rank_of(peer))
        return self._end()

    @property
    def is_disputing(self) -> bool:
        """Whether members find out who made the total false; that ends by a time of its own."""
        is_open = self._disputing is not None and self._disputing.is_open
        return is_open and not self._is_ended()

    def _is_ended(self) -> bool:
        return self.outcome is not None

    def _set_outcome(self) -> None:
        summing = self._summing
        self.outcome = Sums(
            members=summing.members,
            ballot=summing.ballot,
            chunks=tuple(summing.sums.get(chunk) for chunk in range(self._core.cohort.chunk_count)),
            blames=self.blames,
            late=() if self._auditing is None else self._auditing.late,
        )

    def _set_aborted(self, aborted: Aborted) -> None:
        self.outcome = aborted

    def _absent(self) -> tuple[int, ...]:
        match self._core.aborted_in:
            case Phase.AGREE:
                return self._agreement.absent
            case Phase.VOTE:
                return self._voting.absent
            case Phase.REVEAL:
                return self._summing.absent
            case Phase.AUDIT if self._auditing is not None:
                return self._auditing.absent
        return ()

    def _begin_audit(self) -> None:
        assert self._auditing is not None
        self._auditing.start()

    def _answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        return None if self._auditing is None else self._auditing.answer(asker, fetch)

    def _on_done(self) -> None:
        """Go on giving sums until the session's time is up, or it is abandoned."""

    def _on_gone_late(self) -> None:
        if self._core.phase == Phase.REVEAL:
            self._summing.on_gone()

    def _on_session_over(self) -> None:
        if self._core.phase == Phase.REVEAL:
            self._core.abort("sums_missing")
        elif self._core.phase == Phase.AUDIT and self._auditing is not None:
            self._core.abort(self._auditing.reason)
        super()._on_session_over()
