"""After a false total: who made it so.

All proofs hold, and their commitments do not add up to the sketch of the sum. So somebody committed
to another sketch, or with another blinding, than its masked words have. Each of U3 then says what
it shares with each other one, as commitments, and its own sketch hidden by that
(p2pfl_crypto.audit.disputes). It is found out

- who says what does not fit its own commitment, or does not know the secret of its own key:
  everybody sees it;
- who says another thing of a pair than the other end: the honest end shows what X25519 gave the
  two, with a proof against both advertised keys. Its partner lies, and has proved that it knows
  its own secret, so nothing is lost;
- who says another sketch of a chunk than its masked words have: whoever holds that chunk sees it,
  and gives it to those who want to see it themselves (accusing.py);
- who says two things to two members: all tell each other by digests which statements they go by,
  and show each other both.

*Why no honest member is named.* An honest member accuses only whom it has found out itself, by that
one's own signed statements. One that follows the rules says one thing, once a session; it fits its
commitment, and its words, and what X25519 gave for the keys that it names in it, of which nobody
can show another value. The keys are those of the list, or its statement is taken by nobody; and
of two ends that are honest both say the same, as they have one K, one tau2 and one seed.

*What stays unnamed.* Who says nothing, or speaks late, is left out for a while (ledger/backoff.py),
as is a pair whose ends differ and of which neither shows anything. Where all is in order, a chunk's
sum is false, or a member's part of a chunk of which only liars hold the words: then deputies fetch
the words of all from their authors, and work the sums out again (group_summing.py). Who withholds
its words from them is left out as well.
"""

from collections.abc import Callable

from p2pfl_crypto.transcripts import audit_secret
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.accusing import Accusing
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.audit_jobs import AuditedSum, OwnInput
from p2pfl_gossip.masked_sum.core import SESSION_TIMER, Core
from p2pfl_gossip.masked_sum.dispute_jobs import (
    CheckPair,
    CheckParts,
    CheckStatement,
    Judged,
    Layout,
    MakeStatement,
    StatementMade,
)
from p2pfl_gossip.masked_sum.disputed_pairs import DisputedPairs
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import (
    AuditProof,
    DisputeStatement,
    PairShown,
    StatementsHeld,
    Wanted,
)
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.sharing import Sharing

WAITS = 5
"""Waits for sums that a dispute lasts: statements, what is shown, chunks, accusations, one more."""

SILENT_AFTER = 3
"""Waits after which whose statement is not here counts as silent, whatever it says later. Were it
heard to the end, it could contradict all others too late for them to show anything."""

OWN_WAITS = 20
"""Waits more until our own statement is made: of long models and many members that takes minutes,
and all members as long. From then on time is counted."""

RECOUNT_WAITS = 6
"""Waits for sums that it takes to work sums out again, where all statements are in order."""

NO_STATEMENT = bytes(32)


class Disputing:
    """One member's side of a dispute, and what it gives others that have one.

    Attributes:
        is_open: whether the total is false here.
        accusing: who was found out.
    """

    def __init__(
        self,
        core: Core,
        keys: SessionKeys,
        *,
        sharing: Sharing,
        agreement: Agreement,
        exchange: Exchange,
        revealing: Revealing,
        summing: GroupSumming,
    ) -> None:
        self._core, self._keys = core, keys
        self._sharing, self._agreement, self._exchange = sharing, agreement, exchange
        self._revealing, self._summing = revealing, summing
        self._proof_of: Callable[[int], AuditProof | None] = lambda _rank: None
        self._audited, self._seed = AuditedSum(b"", b"", b""), b""
        self.accusing = Accusing(core, exchange)
        self.is_open = False
        self._must_speak = False
        self._own_waits = OWN_WAITS  # For our own statement.
        self._silent: dict[int, None] | None = None  # None until that is known.
        self._early: dict[int, DisputeStatement] = {}
        self._statements: dict[int, DisputeStatement] = {}
        self._others: dict[int, DisputeStatement] = {}  # Second ones, of who made two.
        self._pairs = DisputedPairs(core, keys, self.accusing, self._pair_job)
        self._parts: dict[tuple[int, int], bool | None] = {}  # What checks have found; None before.
        self._served: dict[tuple[int, int], int] = {}  # Proofs, by asker and member.
        self._shown: dict[tuple[int, bytes], int] = {}  # Statements, by asker and digest.

    @property
    def _members(self) -> tuple[int, ...]:
        return self._summing.members

    @property
    def _layout(self) -> Layout:
        cohort = self._core.cohort
        found = []
        for chunk in sorted(self._summing.sums):
            entries = cohort.entries_of(chunk)
            found.append((chunk, int(entries.stop) - int(entries.start)))
        return tuple(found)

    @property
    def absent(self) -> tuple[int, ...]:
        """Members that said nothing in time, left it open which end of a pair lied, or kept words.

        Nobody, where the dispute has named somebody: others may have seen no false total then. And
        nobody where our own statement was not ready: then we have not been there in time.
        """
        if self.accusing.has_named or (self._must_speak and not self._has_spoken()):
            return ()
        silent = dict(self._missing() if self._silent is None else self._silent)
        silent |= self._pairs.unsettled({**self.accusing.accused, **silent})
        silent |= dict.fromkeys(self._summing.withholding)
        silent.pop(self._core.rank, None)
        return tuple(sorted(silent))

    def _has_spoken(self) -> bool:
        return self._core.rank in self._statements

    def _missing(self) -> dict[int, None]:
        return dict.fromkeys(rank for rank in self._members if rank not in self._statements)

    def tell(self, proof_of: Callable[[int], AuditProof | None]) -> None:
        """Have audit proofs found by `proof_of`, by member."""
        self._proof_of = proof_of

    def start(self, audited: AuditedSum, seed: bytes, own: OwnInput | None) -> None:
        """Begin: the total is false. `own` is what we put in."""
        core, cohort = self._core, self._core.cohort
        self.is_open, self._audited, self._seed = True, audited, seed
        core.cancel_timer(SESSION_TIMER)  # Who brought it about late is to have no shorter one.
        core.set_timer("dispute", cohort.patience.sums_s, self._repair)
        self._begin_waiting()
        self._exchange.on_deputy_chunk(self._on_words)
        self.accusing.start(tuple(self._summing.sums), self._check_part)
        self._revealing.want(self._check_all_parts)
        self._must_speak = own is not None
        if own is not None:
            dealt = self._sharing.dealt
            assert dealt is not None
            pairs = {rank: dealt.pair_keys[rank] for rank in self._members if rank != core.rank}
            draft = self._draft()
            job = MakeStatement(
                draft=draft,
                layout=self._layout,
                own=own,
                members=self._members,
                pairs=pairs,
                scalar=self._keys.secrets.mask_scalar,
                entropy=self._entropy(b"possession"),
            )
            core.work(job, self._on_made)
        early, self._early = self._early, {}
        for sender, message in early.items():
            try:
                self.on_statement(sender, message)
            except RemoteProtocolError as error:
                core.disconnect(sender, error.reason)

    def _begin_waiting(self) -> None:
        """Give all their time; once more as our own statement is made, which may take long."""
        core = self._core
        wait_s = core.cohort.patience.sums_s
        core.set_timer("silent", SILENT_AFTER * wait_s, self._note_silent)
        core.set_timer("end", (WAITS + self._own_waits) * wait_s, self._finish)

    def _note_silent(self) -> None:
        """Note who is silent; if all is in order but the total, have the sums worked out again."""
        core = self._core
        if self._must_speak and not self._has_spoken():
            return
        self._silent = self._missing()
        if not self._silent and not self.accusing.accused and not self._pairs.unsettled(()):
            wait_s = core.cohort.patience.sums_s
            core.set_timer("end", RECOUNT_WAITS * wait_s, self._finish)
            core.set_timer("dispute", wait_s, self._repair)  # What is asked for now takes a wait.
            self._summing.recount()

    def _on_words(self, chunk: int, member: int) -> None:
        """Hold what a member says of a chunk against its words, though others withhold theirs."""
        if member != self._core.rank:
            self._check_part(member, chunk)
        self._summing.on_words()

    def _entropy(self, purpose: bytes) -> bytes:
        return audit_secret(self._keys.secrets.rounding, purpose, self._core.cohort.session)[:32]

    def _draft(self) -> DisputeStatement:
        core, audited = self._core, self._audited
        commitments = []
        for rank in self._members:
            proof = self._proof_of(rank)
            commitments.append(bytes(32) if proof is None else proof.commitment)
        return DisputeStatement(
            session=core.cohort.session,
            member=core.rank,
            ballot=audited.ballot,
            sums=audited.sums,
            seed=self._seed,
            tau1=self._sharing.tau1,
            tau2=self._agreement.tau2,
            members=core.cohort.pack(self._members),
            keys=b"".join(self._keys.mask_keys[rank] for rank in self._members),
            commitments=b"".join(commitments),
            possession=b"",
            sketch=b"",
            lifts=b"",
            points=b"",
            parts=b"",
            signature=bytes(64),
        )

    def _on_made(self, made: StatementMade) -> None:
        core, said = self._core, made.statement
        said = said.signed(core.sign(b"statement", said.digest()))
        self._own_waits = 0
        self._begin_waiting()
        self._keep(core.rank, said)
        core.broadcast(said)

    # Statements

    def on_statement(self, sender: int, message: DisputeStatement) -> None:
        """Take what a member says, whoever brings it; two statements name it."""
        core = self._core
        core.require_member(message.member)
        if not self.is_open:
            self._answer_dispute(sender, message)
            return
        known = self._statements.get(message.member)
        if known == message:
            return
        self._require_of_this(message)
        core.verify(message.member, b"statement", message.signature, message.digest())
        if known is None:
            self._keep(sender, message)
        elif known.digest() != message.digest():
            self._others.setdefault(message.member, message)
            self.accusing.accuse(message.member)

    def _answer_dispute(self, sender: int, message: DisputeStatement) -> None:
        """Keep what comes before we see the false total ourselves; or show why we see none."""
        core, members = self._core, self._members
        if message.member == sender:
            self._early.setdefault(sender, message)
        if core.phase == phases.DONE:
            self._compare_commitments(sender, message)
        elif len(message.commitments) == 32 * len(members):
            for rank in members:  # It has all proofs.
                if self._proof_of(rank) is None:
                    core.fetch(sender, Wanted.PROOF, rank)

    def on_held(self, sender: int, message: StatementsHeld) -> None:
        """Show a member the statements that it lacks, and of who made two the one that it lacks.

        A liar may give its second one to few of us, and late: then these find it out, too few of
        them to name it, and work no sums out again. So they show it to all.
        """
        members = self._members
        if len(message.digests) != 32 * len(members):
            raise RemoteProtocolError("bad_digests")
        for place, member in enumerate(members) if self.is_open else ():
            said = self._statements.get(member)
            if said is None or self.accusing.has_told(sender, member):
                continue
            if message.digests[32 * place : 32 * place + 32] != said.digest():
                self._show(sender, said)
            elif member in self._others:
                self._show(sender, self._others[member])

    def _tell_held(self) -> None:
        core, held = self._core, self._statements
        digests = (held[rank].digest() if rank in held else NO_STATEMENT for rank in self._members)
        core.broadcast(StatementsHeld(core.cohort.session, b"".join(digests)))

    def _require_of_this(self, message: DisputeStatement) -> None:
        draft, count = self._draft(), len(self._members)
        if message.member not in self._members:
            raise RemoteProtocolError("not_in_sum")
        for name in ("ballot", "sums", "seed", "tau1", "tau2", "members", "keys"):
            if getattr(message, name) != getattr(draft, name):
                raise RemoteProtocolError("other_dispute")
        sizes = (len(message.commitments), len(message.points), len(message.parts))
        if sizes != (32 * count, 32 * count, 16 * len(self._layout)):
            raise RemoteProtocolError("bad_statement")

    def _keep(self, sender: int, message: DisputeStatement) -> None:
        core, member = self._core, message.member
        self._statements[member] = message
        if member != core.rank:
            self._compare_commitments(sender, message)
            proof = self._proof_of(member)
            assert proof is not None
            job = CheckStatement(message, self._members, proof.commitment)
            core.work(job, lambda found: self._on_found(member, found))
            self._check_parts(member)
        self._pairs.add(message, self._members)
        if not self._missing():
            self._tell_held()

    def _on_found(self, member: int, found: Judged) -> None:
        if not found.holds:
            self.accusing.accuse(member)
            return
        self._pairs.trust(member)

    def _compare_commitments(self, sender: int, message: DisputeStatement) -> None:
        """Give who holds another proof of a member than we do ours: the two name it."""
        members = self._summing.members
        if len(message.commitments) != 32 * len(members):
            return
        for place, rank in enumerate(members):
            proof = self._proof_of(rank)
            key = (sender, rank)
            if proof is None or self._served.get(key, 0) >= SERVES_MAX:
                continue
            if message.commitments[32 * place : 32 * place + 32] != proof.commitment:
                self._served[key] = self._served.get(key, 0) + 1
                self._core.send(sender, proof)

    def on_other_proof(self, known: AuditProof, message: AuditProof) -> None:
        """Take a second proof of one member, whose signature was checked: it signs one."""
        if self.accusing.accuse(message.member):
            for proof in (known, message):
                self._core.broadcast(proof)

    # Pairs

    def on_shown(self, sender: int, message: PairShown) -> None:
        """Take what one end of a pair shows: it proves itself."""
        ends = (message.member, message.other)
        if any(rank not in self._members for rank in ends):
            raise RemoteProtocolError("not_in_sum")
        if message.member != sender:
            raise RemoteProtocolError("not_your_pair")
        if self.is_open:
            self._pairs.take(message)

    def _pair_job(self, shown: PairShown, context: bytes) -> CheckPair:
        keys = self._keys.mask_keys
        return CheckPair(
            opened=shown.opened,
            own_key=keys[shown.member],
            other_key=keys[shown.other],
            context=context,
            ranks=(shown.member, shown.other),
            seed=self._seed,
            tau1=self._sharing.tau1,
            tau2=self._agreement.tau2,
            layout=self._layout,
        )

    # Parts

    def _check_all_parts(self) -> None:
        for member in list(self._statements):
            if member != self._core.rank:
                self._check_parts(member)

    def _check_parts(self, member: int) -> None:
        for chunk in self._summing.sums:
            if self._exchange.held(chunk, member) is not None:
                self._check_part(member, chunk)

    def _check_part(self, member: int, chunk: int) -> None:
        """Hold what a member says of a chunk against its words, if all that takes is here."""
        body, key = self._exchange.held(chunk, member), (member, chunk)
        if self._revealing.masks is None or member not in self._statements or body is None:
            return
        if key in self._parts:
            if self._parts[key] is not None:
                self.accusing.on_checked(*key, holds=bool(self._parts[key]))
            return
        self._parts[key] = None
        masks = self._revealing.masks_of(member)
        job = CheckParts(self._statements[member], self._layout, {chunk: body}, masks)

        def done(found: Judged) -> None:
            self._parts[key] = found.holds
            self.accusing.on_checked(*key, holds=found.holds)

        self._core.work(job, done)

    # What may have been lost, and the end

    def _repair(self) -> None:
        core = self._core
        self._pairs.repair()
        self.accusing.repair()
        self._summing.go_on_recounting()
        self._tell_held()  # Who has what we lack, shows it.
        for member in self._missing():
            core.fetch(member, Wanted.STATEMENT, member)
        core.set_timer("dispute", core.cohort.patience.sums_s, self._repair)

    def on_asked(self, asker: int, member: int) -> None:
        """Show who asks a member's statement."""
        if member in self._statements:
            self._show(asker, self._statements[member])

    def _show(self, asker: int, said: DisputeStatement) -> None:
        """Send a statement to a member; a few times."""
        key = (asker, said.digest())
        shown = self._shown.get(key, 0)
        if shown < SERVES_MAX:
            self._shown[key] = shown + 1
            self._core.send(asker, said)

    def _finish(self) -> None:
        self._core.abort("false_total")
