"""Machines of modelled masked sums that have whole sessions done at once (whole_sums.py).

Up to the list of keys, and from the sum on, they say and do what those of modelled.py do. In
between they ask for the sum with all others, and are given it or told to come to it themselves.
"""

from p2pfl_crypto.transcripts import rounding_key
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.group_sum import Sums
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.journal import Step
from p2pfl_gossip.masked_sum.machine import Summed
from p2pfl_gossip.masked_sum.mean_summing import MeanSumming
from p2pfl_gossip.masked_sum.session import LastPhase, Session
from p2pfl_gossip.records import Record
from p2pfl_simulations.modelled import ModelledGroupSum, ModelledSum
from p2pfl_simulations.whole_sums import TakePart, WholeSum


class WholeSession(Session[LastPhase]):
    """What both kinds of sessions do where they are done at once."""

    _whole: WholeSum | None = None

    def _begin_dealing(self) -> None:
        """Ask for the sum, with all of U1. What an audit takes is said message by message."""
        if self._core.cohort.is_audited:
            super()._begin_dealing()
            return
        core, keys, masking = self._core, self._keys, self._masking
        self._core.work(
            TakePart(
                cohort=core.cohort,
                tau1=keys.tau1,
                dealers=keys.dealers,
                turn=core.turn,
                rank=core.rank,
                is_anybody_gone=any(rank in core.gone for rank in keys.dealers),
                vector=masking.vector if masking.is_giving else None,
                weight=masking.weight,
                rounding_key=rounding_key(keys.secrets.rounding, core.cohort.session, core.rank),
            ),
            self._on_whole,
        )

    def _on_whole(self, result: Record) -> None:
        if not isinstance(result, WholeSum):
            super()._begin_dealing()
            return
        core, journal = self._core, self._journal
        core.entropy(0)  # A dealing draws once: so the next session draws what it would have.
        journal.advance(Step.ACKED, result.tau2)
        if self._masking.is_giving:
            self._exchange.is_spent = True
            journal.advance(Step.SPENT, result.tau2)
        core.actions.append(journal.advance(Step.VOTED, result.ballot))  # Holds all of them.
        self._masking.clipped = result.clipped.get(core.rank, 0)
        self._take_whole(result)
        for phase in (phases.AGREE, phases.CHUNK, phases.VOTE, phases.REVEAL, phases.DONE):
            core.advance(phase)

    def _take_whole(self, whole: WholeSum) -> None:
        """Note the sum, before the session is done."""
        self._whole = whole
        self._summing.members = whole.members


class WholeGroupSum(WholeSession[GroupSumming], ModelledGroupSum):
    """A group's session, done at once where nothing goes wrong."""

    def _set_outcome(self) -> None:
        whole = self._whole
        if whole is None:
            super()._set_outcome()
        else:
            self.outcome = Sums(whole.members, whole.ballot, whole.chunks, self.blames)


class WholeMaskedSum(WholeSession[MeanSumming], ModelledSum):
    """A drawn cohort's session, done at once where nothing goes wrong."""

    def _take_whole(self, whole: WholeSum) -> None:
        super()._take_whole(whole)
        assert whole.mean is not None
        self._summing.digest = whole.mean.digest

    def _set_outcome(self) -> None:
        whole = self._whole
        if whole is None:
            super()._set_outcome()
            return
        assert whole.mean is not None
        self.outcome = Summed(
            mean=whole.mean.vector,
            members=tuple(self._core.cohort.members[rank] for rank in whole.members),
            kept={},
            weight_total=whole.mean.weight_total,
            clipped=self._masking.clipped,
            blames=self.blames,
        )


class WholeCohorts(MaskedCohorts):
    """Masked cohorts whose sessions are done at once where nothing goes wrong."""

    session_type = WholeMaskedSum
