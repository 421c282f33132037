"""A cohort's masked sum: its members learn the weighted mean of their vectors, and nothing else."""

from functools import partial

from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import PeerId, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.advertising import Advertising
from p2pfl_gossip.masked_sum.certifying import Certifying, Signed
from p2pfl_gossip.masked_sum.cohort import Cohort
from p2pfl_gossip.masked_sum.core import Blame, Entropy
from p2pfl_gossip.masked_sum.journal import SessionJournal
from p2pfl_gossip.masked_sum.mean_summing import REPAIRS_MAX, MeanSumming
from p2pfl_gossip.masked_sum.messages import (
    Advert,
    AdvertList,
    Fetch,
    MeanSignature,
    MeanSignatures,
    SessionMessage,
)
from p2pfl_gossip.masked_sum.phases import WINDOWS
from p2pfl_gossip.masked_sum.session import Aborted, Session
from p2pfl_gossip.records import Record

__all__ = ["Aborted", "MaskedSum", "Summed"]


class Summed(Record, frozen=True):
    """The end of a session with a sum.

    Attributes:
        mean: float32[d], the weighted mean over `members`, and our own values in the chunks that
            `kept` names; read-only.
        members: U3, whose vectors are in the mean.
        kept: why a chunk keeps our own values, by chunk.
        weight_total: the sum of the encoded weights, of the first chunk that was summed.
        clipped: how many of our own entries lay beyond the clip.
        blames: who broke the protocol.
    """

    mean: Vector
    members: tuple[PeerId, ...]
    kept: dict[int, str]
    weight_total: int
    clipped: int
    blames: tuple[Blame, ...]


class MaskedSum(Session[MeanSumming]):
    """One member's side of one cohort's session.

    Args:
        cohort: the members and parameters.
        identity: ours; signs what we say.
        vector: float32[d], finite, read-only from now on.
        weight: ours, 0 < w <= W.
        entropy: gives uniform secret bytes that no other session gets, not after a restart either.
        records: what earlier incarnations asked to `Persist`.
        desk: of whoever composes; the session works at a sub-desk of it.

    Raises:
        NotFinite: the vector holds a NaN or an infinity; names the first.
        ValueError: the vector is of another form, or the weight out of range.
        LocalProtocolError: the identity is none of the cohort's.
    """

    windows = WINDOWS

    def __init__(
        self,
        cohort: Cohort,
        identity: Identity,
        vector: Vector,
        weight: float,
        *,
        entropy: Entropy,
        records: dict[str, bytes | Vector],
        desk: Desk,
    ) -> None:
        cohort.encoding.encode_weight(weight)
        core = self.core_type(cohort, identity, entropy, desk.sub(self.on_answer))
        journal = SessionJournal(cohort.group, records)
        self._advertising = Advertising(core)
        summing = partial(MeanSumming, cohort=cohort, vector=vector)
        super().__init__(
            core,
            journal,
            self._advertising,
            vector,
            weight,
            make_summing=summing,
            attempt=cohort.attempt,
        )
        self._certifying = Certifying(core, journal, self._summing)
        self._handlers |= {
            Advert: self._advertising.on_advert,
            AdvertList: self._advertising.on_advert_list,
            MeanSignature: self._certifying.on_signature,
            MeanSignatures: self._certifying.on_signatures,
        }
        self.outcome: Summed | Aborted | None = None

    @property
    def signed(self) -> Signed | None:
        """The mean as t members signed it; comes after the outcome, of a whole mean only."""
        return self._certifying.signed

    def _is_ended(self) -> bool:
        return self.outcome is not None

    def _set_outcome(self) -> None:
        summing = self._summing
        self.outcome = Summed(
            mean=summing.mean,
            members=tuple(self._core.cohort.members[rank] for rank in summing.members),
            kept=dict(sorted(summing.refusals.items())),
            weight_total=summing.weights[min(summing.weights)],
            clipped=self._masking.clipped,
            blames=tuple(self._core.blames),
        )

    def _set_aborted(self, aborted: Aborted) -> None:
        self.outcome = aborted

    def _on_done(self) -> None:
        # By then the last deadline of all others has passed.
        wait_s = (REPAIRS_MAX + 1) * self._core.cohort.patience.sums_s
        self._core.set_timer("release", wait_s, self._release)
        self._certifying.start()

    def _on_gone_late(self) -> None:
        # What else is missing is asked for when it is due.
        self._certifying.on_gone()

    def _answer(self, _asker: int, fetch: Fetch) -> SessionMessage | None:
        return self._certifying.answer(fetch)
