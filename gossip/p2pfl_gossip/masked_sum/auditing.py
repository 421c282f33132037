"""AUDIT: what all sums hold is bounded, before anybody says that they count.

A masked sum shows no member's input, so nobody sees how long it is. After the sums are known, each
member of U3 commits to a short sketch of what it put in, and proves that the sketch is short; the
commitments must add up to the sketch of the sum, which all know (docs/audit-proof.md).

1. SEEN: a member signs the digest of all sums that it has, once. With t of one digest the sums are
   fixed: two certificates would need a member that signed both.
2. COIN: only then do members show their shares of a third secret that each dealt at the start. The
   sum of these secrets is the sketches' seed. So nobody knew it when inputs or sums could be bent.
3. PROOF: each of U3 sends its commitment and its proof. Who sends none, or a false one, makes the
   round void; a false one is signed, and proves who sent it to anybody.

All that have the proofs come to the same end. A round whose audit fails is void: its sums count for
nothing, and the vectors stay spent.

Silence proves nothing, and nobody is named for it. But whoever leads later rounds may leave out for
a while who was silent (ledger/backoff.py). So all that one honest member has, all get: else a liar
would speak to some, and have the others found silent.
"""

import numpy as np

from p2pfl_crypto.shamir import GROUP_ORDER, scalar_of
from p2pfl_crypto.transcripts import audit_secret, pair_blinding, proof_digest
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.audit_jobs import (
    MEAN_NORM_MAX,
    CheckProofs,
    OwnInput,
    ProofsChecked,
    ShownBy,
    Sketched,
    SketchRound,
    bound_of,
)
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.disputing import Disputing
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.masking import Masking
from p2pfl_gossip.masked_sum.messages import AuditProof, Fetch, SessionMessage, Wanted
from p2pfl_gossip.masked_sum.sharing import Sharing
from p2pfl_gossip.masked_sum.tossing import Tossing

LATE_AFTER = 4
"""Waits for sums, from the audit's start: whose proof is not here then, is late. What one honest
member has by then, all have long before the session ends."""

ENDS_AFTER = 10
"""Waits for sums, from the audit's start: whose proof is not here then, makes the round void. By
then it was asked for five times, of others too. What a liar costs by waiting is not more."""


class Auditing:
    """One member's side of the audit of a group's sum, from its seed on.

    Attributes:
        late: members whose proof was not here after a good while.
    """

    def __init__(
        self,
        core: Core,
        cohort: EpochCohort,
        keys: SessionKeys,
        tossing: Tossing,
        *,
        sharing: Sharing,
        agreement: Agreement,
        masking: Masking,
        summing: GroupSumming,
        disputing: Disputing,
    ) -> None:
        self._core, self._cohort, self._keys, self._tossing = core, cohort, keys, tossing
        self._sharing, self._agreement = sharing, agreement
        self._masking, self._summing, self._disputing = masking, summing, disputing
        self._proofs: dict[int, AuditProof] = {}
        disputing.tell(self._proofs.get)
        self._early: dict[int, AuditProof] = {}  # Of those that know the seed before us.
        self._sketched: Sketched | None = None
        self._is_checking = False
        self._served: dict[tuple[int, int], int] = {}
        self._askers: dict[int, dict[int, None]] = {}  # Of proofs that we lack as well.
        self._waits = 0
        self.late: tuple[int, ...] = ()

    @property
    def absent(self) -> tuple[int, ...]:
        """Members without whose word the audit does not end."""
        if not self._tossing.seed:
            return self._tossing.absent
        if self._disputing.is_open:
            return self._disputing.absent
        return tuple(rank for rank in self._summing.members if rank not in self._proofs)

    @property
    def reason(self) -> str:
        """What is missing, as a short word."""
        if self._disputing.is_open:
            return "false_total"
        return "proofs_missing" if self._tossing.seed else self._tossing.reason

    def start(self) -> None:
        """Begin: all sums are here."""
        core = self._core
        core.set_timer("audit", core.cohort.patience.sums_s, self._repair)
        core.set_timer("late", LATE_AFTER * core.cohort.patience.sums_s, self._note_late)
        core.set_timer("proofs", ENDS_AFTER * core.cohort.patience.sums_s, self._end_if_missing)
        self._tossing.start(self._sketch)

    def _note_late(self) -> None:
        self.late = self.absent

    def _end_if_missing(self) -> None:
        if not self._is_checking:
            self._core.abort(self.reason)

    def _sketch(self) -> None:
        """Sketch the sum, and our own input if it is in it."""
        core, summing = self._core, self._summing
        early, self._early = self._early, {}
        for sender, message in early.items():
            self._keep_proof(sender, message)
        totals = tuple((chunk, summing.sums[chunk].body) for chunk in sorted(summing.sums))
        own = self._own_input() if core.rank in summing.members else None
        job = SketchRound(self._tossing.audited, self._tossing.seed, totals, own)
        core.work(job, self._on_sketched)

    def _own_input(self) -> OwnInput:
        core, cohort, masking = self._core, self._cohort, self._masking
        return OwnInput(
            encoding=cohort.deltas,
            parts=tuple(
                (chunk, np.asarray(masking.vector[cohort.entries_of(chunk)], np.float32))
                for chunk in sorted(self._summing.sums)
            ),
            weight=masking.weight,
            rounding_key=masking.rounding_key,
            bound=bound_of(cohort.deltas, masking.weight, cohort.vector_entries),
            blinding=self._blinding(),
            entropy=self._entropy(b"proof"),
            rank=core.rank,
        )

    def _blinding(self) -> bytes:
        """Add up what we share with each of U3, so that over all of U3 nothing is left."""
        core, dealt, tau2 = self._core, self._sharing.dealt, self._agreement.tau2
        assert dealt is not None
        total = 0
        for other in self._summing.members:
            if other != core.rank:
                wide = pair_blinding(dealt.pair_keys[other], tau2, core.rank, other)
                shared = int.from_bytes(scalar_of(wide), "little")
                total += shared if other > core.rank else -shared
        return (total % GROUP_ORDER).to_bytes(32, "little")

    def _entropy(self, purpose: bytes) -> bytes:
        return audit_secret(self._keys.secrets.rounding, purpose, self._core.cohort.session)[:32]

    def _on_sketched(self, result: Sketched) -> None:
        core, cohort, audited = self._core, self._cohort, self._tossing.audited
        self._sketched = result
        if result.proof:
            said = (audited.ballot, audited.sums, self._tossing.seed, result.commitment)
            signature = core.sign(b"proof", proof_digest(*said, result.proof))
            proof = AuditProof(cohort.session, core.rank, *said, result.proof, signature)
            self._take_proof(proof)
            core.broadcast(proof)
        self._check_if_all()

    def _is_mean_too_long(self) -> bool:
        """Whether the sum moves the model by more than so many clips, which are Q w / W quanta.

        w is the weight of all that may take part, by which the model is moved. Looked at last: who
        made it too long has no proof, or a false one, or makes the total false.
        """
        assert self._sketched is not None
        encoding = self._cohort.deltas
        weight = self._cohort.weight_of(self._cohort.leaders)
        unit = encoding.quantum_max * weight / encoding.weight_max
        return self._sketched.sum_norm > MEAN_NORM_MAX * unit

    def on_proof(self, sender: int, message: AuditProof) -> None:
        """Keep a member's proof, from whoever has it; all are checked together."""
        core = self._core
        core.require_member(message.member)
        if message.member not in self._summing.members:
            raise RemoteProtocolError("not_in_sum")
        audited = self._tossing.audited
        if message.ballot != audited.ballot:
            raise RemoteProtocolError("wrong_sums")
        if not self._tossing.require_ours(message.sums):
            return
        known = self._proofs.get(message.member)
        if known is not None:
            if self._cohort.names_liars and known.digest() != message.digest():
                core.verify(message.member, b"proof", message.signature, message.digest())
                self._disputing.on_other_proof(known, message)
            return
        if not self._tossing.seed:
            if sender == message.member:
                self._early.setdefault(sender, message)
            return
        if message.seed != self._tossing.seed:
            raise RemoteProtocolError("wrong_seed")
        core.verify(message.member, b"proof", message.signature, message.digest())
        self._take_proof(message)
        self._check_if_all()

    def _take_proof(self, proof: AuditProof) -> None:
        """Keep a proof, and give it to whoever asked for it when we lacked it."""
        self._proofs[proof.member] = proof
        for asker in self._askers.pop(proof.member, ()):
            self._core.send(asker, proof)

    def _keep_proof(self, sender: int, message: AuditProof) -> None:
        """Take what came before we knew the seed."""
        try:
            self.on_proof(sender, message)
        except RemoteProtocolError as error:
            self._core.disconnect(sender, error.reason)

    def _check_if_all(self) -> None:
        core, members = self._core, self._summing.members
        if self._sketched is None or any(rank not in self._proofs for rank in members):
            return
        if self._is_checking:
            return
        self._is_checking = True
        encoding, entries = self._cohort.deltas, self._cohort.vector_entries
        shown = tuple(
            ShownBy(
                rank=rank,
                commitment=self._proofs[rank].commitment,
                proof=self._proofs[rank].proof,
                bound=bound_of(encoding, self._cohort.weights[rank], entries),
            )
            for rank in members
        )
        core.work(
            CheckProofs(
                audited=self._tossing.audited,
                seed=self._tossing.seed,
                shown=shown,
                sum_sketch=self._sketched.sum_sketch,
                entropy=self._entropy(b"check"),
            ),
            self._on_checked,
        )

    def _on_checked(self, result: ProofsChecked) -> None:
        core = self._core
        for rank in result.invalid:
            core.blame(rank, "false_proof", self._proofs[rank])
        if result.invalid:
            core.abort("false_proof")
        elif not result.opens and self._cohort.names_liars:
            own = self._own_input() if core.rank in self._summing.members else None
            self._disputing.start(self._tossing.audited, self._tossing.seed, own)
        elif not result.opens:
            core.abort("false_total")
        elif self._is_mean_too_long():
            core.abort("mean_too_long")
        else:
            core.advance(phases.DONE)

    # What may have been lost

    def _repair(self) -> None:
        """Ask again for what we lack, from whoever should have it."""
        core = self._core
        turn, self._waits = self._waits, self._waits + 1
        if not self._tossing.seed:
            self._tossing.fetch_missing()
        for member in self._summing.members if self._tossing.seed else ():
            if member not in self._proofs:
                # Others at steps of 1, 2, 4, ... from us, each of whom passes on what it gets.
                other = (core.rank + (1 << turn)) % core.cohort.size
                for rank in dict.fromkeys((member, other)):
                    core.fetch(rank, Wanted.PROOF, member)
        # More and more rarely: nobody answers one member's questions without end.
        wait_s = core.cohort.patience.sums_s * max(1, turn - 1)
        core.set_timer("audit", wait_s, self._repair)

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for; a proof is given twice at most to each asker."""
        if fetch.what == Wanted.STATEMENT:
            self._disputing.on_asked(asker, fetch.first)
            return None
        if fetch.what != Wanted.PROOF:
            return self._tossing.answer(asker, fetch)
        key = (asker, fetch.first)
        served = self._served.get(key, 0)
        if served >= SERVES_MAX:
            return None
        if fetch.first not in self._proofs:
            if fetch.first in self._summing.members:
                self._askers.setdefault(fetch.first, {})[asker] = None
            return None
        self._served[key] = served + 1
        return self._proofs[fetch.first]
