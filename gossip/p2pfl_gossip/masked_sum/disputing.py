"""After a false total: who made it so.

All proofs hold, and their commitments do not add up to the sketch of the sum. So somebody committed
to another sketch, or with another blinding, than its masked words have. Each of U3 then says what
it shares with each other one, as commitments, and its own sketch hidden by that
(p2pfl_crypto.audit.disputes). It is found out

- who says what does not fit its own commitment: everybody sees it;
- who says another thing of a pair than the other end: the honest end shows what X25519 gave the
  two, with a proof against both advertised keys. Its partner lies, so nothing is lost;
- who says another sketch of a chunk than its masked words have: whoever holds that chunk sees it,
  and gives it to those who want to see it themselves;
- who says two things to two members: they show each other both.

Whoever has found a lie says so, signed. The words of m + 1 members are evidence: one is honest.

*Why no honest member is named.* An honest member accuses only whom it has found out itself, by that
one's own signed statements. One that follows the rules says one thing, once a session; it fits its
commitment, and its words, and what X25519 gave for the keys that it names in it, of which nobody
can show another value. The keys are those of the list, or its statement is taken by nobody; and
of two ends that are honest both say the same, as they have one K, one tau2 and one seed.

*What stays unnamed.* Who says nothing is left out for a while (ledger/backoff.py), as is a pair
whose ends differ and of which neither shows anything. Where all is in order, a chunk's sum is
false, or a member's part of a chunk of which only liars hold the words.
"""

from collections.abc import Callable

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.transcripts import audit_secret
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.audit_jobs import AuditedSum, OwnInput
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.dispute_jobs import (
    CheckPair,
    CheckParts,
    CheckStatement,
    Judged,
    Layout,
    MakeStatement,
    OpenPair,
    PairOpened,
    StatementMade,
)
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.group_summing import GroupSumming
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Accused,
    AuditProof,
    DisputeStatement,
    PairShown,
    Wanted,
)
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.sharing import Sharing

WAITS = 5
"""Waits for sums that a dispute lasts: statements, what is shown, chunks, accusations, one more."""


class Disputing:
    """One member's side of a dispute, and what it gives others that have one.

    Attributes:
        is_open: whether the total is false here.
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
        self.is_open = False
        self._early: dict[int, DisputeStatement] = {}
        self._statements: dict[int, DisputeStatement] = {}
        self._pairs: dict[tuple[int, int], None] = {}  # Whose ends differ, lower rank first.
        self._shown: dict[tuple[int, int], PairShown] = {}  # By who shows, and the other.
        self._unchecked: list[PairShown] = []  # The first of them is being checked.
        self._accused: dict[int, None] = {}  # By us.
        self._words: dict[int, dict[int, Accusation]] = {}  # By accused, then by accuser.
        self._wanted: dict[tuple[int, int], None] = {}  # Chunks that an accuser is to give.
        self._served: dict[tuple[int, int], int] = {}
        self._waits = 0

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
        """Members that said nothing, or that left it open which end of a pair lied."""
        silent = dict.fromkeys(rank for rank in self._members if rank not in self._statements)
        for pair in self._pairs:
            if not any(rank in self._accused for rank in pair):
                silent |= dict.fromkeys(pair)
        silent.pop(self._core.rank, None)
        return tuple(sorted(silent))

    def tell(self, proof_of: Callable[[int], AuditProof | None]) -> None:
        """Have audit proofs found by `proof_of`, by member."""
        self._proof_of = proof_of

    def start(self, audited: AuditedSum, seed: bytes, own: OwnInput | None) -> None:
        """Begin: the total is false. `own` is what we put in."""
        core, cohort = self._core, self._core.cohort
        self.is_open, self._audited, self._seed = True, audited, seed
        core.set_timer("dispute", cohort.patience.sums_s, self._repair)
        core.set_timer("end", WAITS * cohort.patience.sums_s, self._finish)
        self._exchange.on_deputy_chunk(self._on_chunk)
        self._revealing.want(self._check_all_parts)
        if own is not None:
            dealt = self._sharing.dealt
            assert dealt is not None
            pairs = {rank: dealt.pair_keys[rank] for rank in self._members if rank != core.rank}
            draft = self._draft()
            core.work(MakeStatement(draft, self._layout, own, self._members, pairs), self._on_made)
        early, self._early = self._early, {}
        for sender, message in early.items():
            try:
                self.on_statement(sender, message)
            except RemoteProtocolError as error:
                core.disconnect(sender, error.reason)

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
            sketch=b"",
            lifts=b"",
            points=b"",
            parts=b"",
            signature=bytes(64),
        )

    def _on_made(self, made: StatementMade) -> None:
        core, said = self._core, made.statement
        said = said.signed(core.sign(b"statement", said.digest()))
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
        elif known.digest() != message.digest() and self._accuse(message.member):
            for said in (known, message):
                core.broadcast(said)

    def _answer_dispute(self, sender: int, message: DisputeStatement) -> None:
        """Keep what comes before we see the false total ourselves; or show why we see none."""
        if message.member == sender:
            self._early.setdefault(sender, message)
        if self._core.phase == phases.DONE:
            self._compare_commitments(sender, message)

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
        for other, said in list(self._statements.items()):
            if other != member:
                self._compare_ends(said, message)

    def _on_found(self, member: int, found: Judged) -> None:
        if not found.holds:
            self._accuse(member)

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
        if self._accuse(message.member):
            for proof in (known, message):
                self._core.broadcast(proof)

    # Pairs

    def _compare_ends(self, one: DisputeStatement, other: DisputeStatement) -> None:
        low, high = sorted((one.member, other.member))
        points = [
            said.points_of(self._members)[end]
            for said, end in ((one, other.member), (other, one.member))
        ]
        if points[0] == points[1] or (low, high) in self._pairs:
            return
        self._pairs[low, high] = None
        for said, end in ((one, other), (other, one)):
            if end.member != self._core.rank:
                self._core.send(end.member, said)
        if self._core.rank in (low, high):
            self._open(high if self._core.rank == low else low)
        for shown in list(self._shown.values()):
            if {shown.member, shown.other} == {low, high}:
                self._check_pair(shown)

    def _context(self, member: int, other: int) -> bytes:
        ranks = member.to_bytes(4, "little") + other.to_bytes(4, "little")
        return hash_parts(b"p2pfl/pair-shown", self._core.cohort.session, ranks)

    def _open(self, other: int) -> None:
        core, keys = self._core, self._keys
        context = self._context(core.rank, other)
        purpose = b"open" + other.to_bytes(4, "little")
        job = OpenPair(
            scalar=keys.secrets.mask_scalar,
            own_key=keys.mask_keys[core.rank],
            other_key=keys.mask_keys[other],
            context=context,
            entropy=audit_secret(keys.secrets.rounding, purpose, core.cohort.session)[:32],
        )

        def done(result: PairOpened) -> None:
            if result.opened:
                shown = PairShown(core.cohort.session, core.rank, other, result.opened)
                core.broadcast(shown)
                self.on_shown(core.rank, shown)

        core.work(job, done)

    def on_shown(self, sender: int, message: PairShown) -> None:
        """Take what one end of a pair shows: it proves itself."""
        key = (message.member, message.other)
        if any(rank not in self._members for rank in key):
            raise RemoteProtocolError("not_in_sum")
        if message.member != sender:
            raise RemoteProtocolError("not_your_pair")
        if not self.is_open or key in self._shown:
            return
        self._shown[key] = message
        if (min(key), max(key)) in self._pairs:
            self._check_pair(message)

    def _check_pair(self, shown: PairShown) -> None:
        self._unchecked.append(shown)
        if len(self._unchecked) == 1:
            self._check_next_pair()

    def _check_next_pair(self) -> None:
        """Check one after the other, and none of whom we have found out: a liar has many pairs."""
        core, keys = self._core, self._keys.mask_keys
        unchecked = self._unchecked
        while unchecked and {unchecked[0].member, unchecked[0].other} & set(self._accused):
            del unchecked[0]
        if not unchecked:
            return
        shown = unchecked[0]
        ranks = (shown.member, shown.other)
        job = CheckPair(
            opened=shown.opened,
            own_key=keys[shown.member],
            other_key=keys[shown.other],
            context=self._context(*ranks),
            ranks=ranks,
            seed=self._seed,
            tau1=self._sharing.tau1,
            tau2=self._agreement.tau2,
            layout=self._layout,
        )

        def done(found: Judged) -> None:
            for rank, end in (ranks, ranks[::-1]) if found.holds else ():
                if self._statements[rank].points_of(self._members)[end] != found.point:
                    self._accuse(rank)
            del self._unchecked[0]
            self._check_next_pair()

        core.work(job, done)

    # Parts

    def _check_all_parts(self) -> None:
        for member in list(self._statements):
            if member != self._core.rank:
                self._check_parts(member)

    def _check_parts(self, member: int, chunks: tuple[int, ...] = ()) -> None:
        """Hold what a member says of chunks against its words, of those that we hold."""
        if self._revealing.masks is None or member not in self._statements:
            return
        bodies = {}
        for chunk in chunks or self._summing.sums:
            body = self._exchange.held(chunk, member)
            if body is not None:
                bodies[chunk] = body
        masks = self._revealing.masks_of(member)
        layout = self._layout
        for chunk, body in bodies.items():
            job = CheckParts(self._statements[member], layout, {chunk: body}, masks)
            self._core.work(job, self._on_part(member, chunk))

    def _on_part(self, member: int, chunk: int) -> Callable[[Judged], None]:
        def done(found: Judged) -> None:
            if not found.holds:
                self._accuse(member, chunk)

        return done

    def _on_chunk(self) -> None:
        for chunk, member in list(self._wanted):
            if self._exchange.held(chunk, member) is not None:
                del self._wanted[chunk, member]
                self._check_parts(member, (chunk,))

    # Accusations

    def _accuse(self, member: int, chunk: int | None = None) -> bool:
        """Say that a member lied; return whether that is news."""
        core = self._core
        if member in self._accused or member == core.rank:
            return False
        self._accused[member] = None
        place = core.cohort.chunk_count if chunk is None else chunk
        signature = core.sign(b"accuse", member.to_bytes(4, "little"))
        word = Accusation(core.cohort.session, core.rank, member, place, signature)
        core.broadcast(word)
        self._count(word)
        return True

    def on_accusation(self, sender: int, message: Accusation) -> None:
        """Count a member's word, whoever brings it; look ourselves at what it may show us."""
        core = self._core
        for rank in (message.accuser, message.member):
            core.require_member(rank)
        if message.accuser in self._words.get(message.member, {}):
            return
        body = message.member.to_bytes(4, "little")
        core.verify(message.accuser, b"accuse", message.signature, body)
        told = sum(message.accuser in of for of in self._words.values())
        self._count(message)
        key = (message.chunk, message.member)
        # Of each accuser m chunks are looked at: an honest one accuses no more members.
        is_wanted = self.is_open and message.chunk in self._summing.sums
        if not is_wanted or told >= core.cohort.liars_max or message.member in self._accused:
            return
        if self._exchange.held(*key) is None:
            self._wanted[key] = None
            self._exchange.expect(*key)
            core.fetch(sender, Wanted.CHUNK, *key)

    def _count(self, word: Accusation) -> None:
        core = self._core
        words = self._words.setdefault(word.member, {})
        words[word.accuser] = word
        needed = core.cohort.liars_max + 1
        if len(words) == needed:
            accusers = tuple(sorted(words))
            evidence = Accused(
                core.cohort.session,
                core.cohort.pack(accusers),
                b"".join(words[rank].signature for rank in accusers),
            )
            core.blame(word.member, "false_statement", evidence)

    # What may have been lost, and the end

    def _repair(self) -> None:
        core = self._core
        for shown in self._shown.values():
            if shown.member == core.rank:
                core.broadcast(shown)
        for words in self._words.values():
            if core.rank in words:
                core.broadcast(words[core.rank])
        for member in self._members:
            if member not in self._statements:
                other = (core.rank + (1 << self._waits)) % core.cohort.size
                for rank in dict.fromkeys((member, other)):
                    core.fetch(rank, Wanted.STATEMENT, member)
        self._waits += 1
        core.set_timer("dispute", core.cohort.patience.sums_s, self._repair)

    def answer(self, asker: int, member: int) -> DisputeStatement | None:
        """Find a member's statement for who asks; a few times."""
        key = (asker, -1 - member)
        served = self._served.get(key, 0)
        if member not in self._statements or served >= SERVES_MAX:
            return None
        self._served[key] = served + 1
        return self._statements[member]

    def _finish(self) -> None:
        self._core.abort("false_total")
