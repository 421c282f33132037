"""CHUNK, MANIFEST and RECEIPT, as an owner: gather the members' chunks and say who brought them.

What a member signed in its manifest is what counts; a chunk that differs from it is refused,
whoever brought it. Before the manifest is here, a chunk is taken from its own member only: else a
liar could bring a false one first, and the member's own would be refused.
"""

from collections.abc import Callable, Iterable, Mapping

from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Job, RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.core import Core, chunk_bytes
from p2pfl_gossip.masked_sum.jobs import DigestChunk, Digested, Granted
from p2pfl_gossip.masked_sum.journal import SessionJournal, Step
from p2pfl_gossip.masked_sum.masking import Masking
from p2pfl_gossip.masked_sum.messages import (
    ChunkHeader,
    Fetch,
    Manifest,
    Receipt,
    SessionMessage,
    Wanted,
)
from p2pfl_gossip.masked_sum.passing_on import PassingOn
from p2pfl_gossip.records import Record

SERVES_MAX = 2
"""How often one member gets one body on its asking: once, and once more after a loss."""


class Exchange:
    """The third phase as an owner; it also starts our masking.

    Args:
        spend: asked before our vector is spent, if it is to be asked for.

    Attributes:
        is_spent: our vector may have been sent.
        is_late: the deadline for chunks has passed, here and so about everywhere.
        manifests: digests of the members' chunks.
        manifest_digests: of these.
        receipts: what each owner says that it holds.
    """

    def __init__(
        self,
        core: Core,
        journal: SessionJournal,
        agreement: Agreement,
        masking: Masking,
        spend: Job | None,
    ) -> None:
        self._core, self._journal = core, journal
        self._agreement, self._masking = agreement, masking
        self._spend = spend
        self.is_spent = self.is_late = False
        self._owned: dict[int, tuple[int, ...]] = {}  # Asked for often once U2 is known.
        # By (chunk, member). What we own and do not hold yet is `_missing`.
        self._missing: dict[tuple[int, int], None] = {}
        self._expected: dict[tuple[int, int], None] = {}
        self._digesting: dict[tuple[int, int], None] = {}
        self._arrived: dict[tuple[int, int], tuple[ChunkHeader, Masked]] = {}
        self._refused: dict[tuple[int, int], None] = {}
        self._served: dict[tuple[int, int, int], int] = {}
        self.manifests: dict[int, Manifest] = {}
        self.manifest_digests: dict[int, bytes] = {}
        self._certified: dict[int, bytes] = {}  # Manifests' digests, once t have voted for them.
        # By member and digest: which manifests ballots name, and those that are second versions.
        self._named: dict[tuple[int, bytes], None] = {}
        self._others: dict[tuple[int, bytes], Manifest] = {}
        self._dropped: dict[int, Manifest] = {}  # That are not those which t have voted for.
        self.receipts: dict[int, Receipt] = {}
        self._claims: dict[int, bytes] = {}  # Of who gave two receipts: what any of them says.
        self._passing_on = PassingOn()
        self._on_deputy_chunk: Callable[[int, int], None] = lambda _chunk, _member: None

    @property
    def tau2(self) -> bytes:
        """The session's transcript."""
        return self._agreement.tau2

    @property
    def members(self) -> tuple[int, ...]:
        """U2."""
        return self._agreement.members

    @property
    def listed(self) -> tuple[int, ...]:
        """U1."""
        return self._agreement.listed

    @property
    def acknowledged(self) -> tuple[int, ...]:
        """Members that said that they hold all shares of U2."""
        return self._agreement.acknowledged

    def owned(self, rank: int) -> tuple[int, ...]:
        """Return the chunks that a member owns."""
        if rank not in self._owned:
            self._owned[rank] = self._core.cohort.owned_by(rank, self.members)
        return self._owned[rank]

    def owns(self, rank: int) -> bool:
        """Whether a member owns chunks: only owners give receipts."""
        return bool(self.owned(rank))

    def start(self) -> None:
        """Spend the vector, and gather the chunks that we own."""
        core, patience = self._core, self._core.cohort.patience
        for key, (header, _) in list(self._arrived.items()):
            if header.tau2 != self.tau2:  # Of a proposal that did not get its ACKs.
                del self._arrived[key]
        if core.rank in self.members:
            self._missing = {
                (chunk, member): None for chunk in self.owned(core.rank) for member in self.members
            }
            if self._masking.is_giving:
                self._ask_to_spend()
            core.set_timer("repair", patience.chunks_s / 2, self._repair)
            core.set_timer("chunks", patience.chunks_s, self._ask_owners)
            for chunk, member in list(self._refused):
                if self._wants(chunk, member):
                    core.fetch(member, Wanted.CHUNK, chunk, member)
            self._refused.clear()
        else:
            core.advance(phases.VOTE)

    def _ask_to_spend(self) -> None:
        """Spend the vector, once we may; not after the phase, in which it could be of use."""
        if self._spend is None:
            self._spend_vector()
            return

        def done(answer: Record) -> None:
            if self._core.phase != phases.CHUNK:
                return
            if isinstance(answer, Granted):
                self._spend_vector()
            else:
                self._core.abort("not_granted")

        self._core.work(self._spend, done, or_abort="not_granted")

    def _spend_vector(self) -> None:
        self.is_spent = True
        self._core.actions.append(self._journal.advance(Step.SPENT, self.tau2))
        self._masking.start(self._keep, self._publish_manifest)

    def _keep(self, header: ChunkHeader, body: Masked) -> None:
        self._arrived[header.chunk, header.member] = (header, body)

    def _publish_manifest(self, manifest: Manifest) -> None:
        if self._core.rank not in self.manifests:
            self._take_manifest(manifest)
            self._core.broadcast(manifest)
        self._progress()

    def _take_manifest(self, manifest: Manifest) -> None:
        self.manifests[manifest.member] = manifest
        self.manifest_digests[manifest.member] = manifest.digest()
        for chunk, member in list(self._arrived):
            if member == manifest.member:
                self._check_against_manifest(chunk, member)
        for sender, chunk in self._passing_on.take_early(manifest.member):
            self._core.fetch(sender, Wanted.CHUNK, chunk, manifest.member)

    def expect(self, chunk: int, member: int) -> None:
        """Take a chunk that we do not own, for a deputy's sum."""
        self._expected[chunk, member] = None

    def keep_own(self, chunk: int) -> None:
        """Mask a chunk of ours again and keep it, for a deputy's sum."""
        if self._has(chunk, self._core.rank):
            return
        key = (chunk, self._core.rank)
        self._digesting[key] = None

        def done(header: ChunkHeader, body: Masked) -> None:
            del self._digesting[key]
            self._arrived[key] = (header, body)
            self._on_deputy_chunk(*key)

        self._masking.again(chunk, done)

    def on_deputy_chunk(self, told: Callable[[int, int], None]) -> None:
        """Have `told` called with chunk and member when one that was expected has arrived."""
        self._on_deputy_chunk = told

    def body_bytes(self, sender: int, header: ChunkHeader) -> int | None:
        """Return the size of a chunk's body, or None if it is not wanted (any more)."""
        core, cohort = self._core, self._core.cohort
        core.require_member(header.member)
        if header.chunk >= cohort.chunk_count:
            raise RemoteProtocolError("no_such_chunk")
        if core.phase == phases.AGREE:
            # The sender holds t ACKs already; we keep its chunks if we know what they are for.
            members = self._agreement.proposed_members(header.tau2)
            owns = header.member in members and core.rank in cohort.owners_of(header.chunk, members)
            if not members or not owns or sender != header.member:
                if len(self._refused) < 2 * cohort.chunk_count:
                    self._refused[header.chunk, header.member] = None
                return None
        elif header.tau2 != self.tau2:
            raise RemoteProtocolError("wrong_transcript")
        elif not self._wants(header.chunk, header.member):
            return None
        manifest = self.manifests.get(header.member)
        if manifest is None and sender != header.member:
            self._passing_on.on_early(sender, header.chunk, header.member)
            return None
        if manifest is not None and header.digest != _digest_in(manifest, header.chunk):
            self._blame_versions(header, manifest)
            return None
        if self._has(header.chunk, header.member):
            known = self._arrived.get((header.chunk, header.member))
            if known is not None and known[0].digest != header.digest:
                self._blame_versions(known[0], header)
            return None
        return cohort.body_bytes(header.chunk)

    def _wants(self, chunk: int, member: int) -> bool:
        core = self._core
        if (chunk, member) in self._expected:
            return True
        return (
            core.phase == phases.CHUNK
            and member in self.members
            and core.rank in core.cohort.owners_of(chunk, self.members)
        )

    def _has(self, chunk: int, member: int) -> bool:
        return (chunk, member) in self._arrived or (chunk, member) in self._digesting

    def on_body(self, sender: int, header: ChunkHeader, body: Masked) -> None:
        """Take a chunk's body and have its digest checked."""
        key = (header.chunk, header.member)
        if self._has(*key) or body.nbytes != self._core.cohort.body_bytes(header.chunk):
            return
        self._digesting[key] = None

        def done(result: Digested) -> None:
            del self._digesting[key]
            if result.digest != header.digest:
                self._core.disconnect(sender, "digest_mismatch")
                return
            if self.tau2 and header.tau2 != self.tau2:
                return
            self._arrived[key] = (header, body)
            self._check_against_manifest(*key)
            if key in self._expected:
                self._on_deputy_chunk(*key)
            self._progress()

        tau2, member, chunk = header.tau2, header.member, header.chunk
        self._core.work(DigestChunk(tau2, member, chunk, body), done)

    def on_manifest(self, sender: int, message: Manifest) -> None:
        """Keep a member's digests; the chunks that came before are held against them."""
        core = self._core
        rank = message.member
        core.require_member(rank)
        if message.tau2 != self.tau2 or rank not in self.members:
            raise RemoteProtocolError("wrong_transcript")
        if len(message.chunk_digests) != 32 * core.cohort.chunk_count:
            raise RemoteProtocolError("bad_manifest")
        if rank in self._certified and message.digest() != self._certified[rank]:
            return  # Of another version than the one that is summed.
        known = self.manifests.get(rank)
        if known == message:
            return
        core.verify_passed_on(
            sender, rank, b"manifest", message.signature, lambda: (message.digest(),)
        )
        if known is not None:
            if known.chunk_digests != message.chunk_digests:
                said = [(it, it.signature, (it.digest(),)) for it in (known, message)]
                if core.blame_two(rank, "two_manifests", b"manifest", *said):
                    self._take_other(message)
            elif sender != rank:  # One that was checked is better than one that was not.
                self.manifests[rank] = message
            return
        self._take_manifest(message)
        if rank in self._dropped:
            said = [(it, it.signature, (it.digest(),)) for it in (self._dropped[rank], message)]
            core.blame_two(rank, "two_manifests", b"manifest", *said)
        self._progress()

    def keep_versions(self, named: Iterable[tuple[int, bytes]]) -> None:
        """Keep such manifests, by member and digest, also of whom we hold another one.

        A ballot names them. Else a liar would give one of us another manifest than it gives the
        leader: that one could not vote, and where liars do not, each honest vote is needed.
        """
        self._named |= dict.fromkeys(named)

    def has_manifest(self, member: int, digest: bytes) -> bool:
        """Whether we hold that manifest of a member."""
        return self.manifest_digests.get(member) == digest or (member, digest) in self._others

    def _take_other(self, message: Manifest) -> None:
        """Take a second version, which is proven: in place of one that is not, or beside it."""
        key = (message.member, message.digest())
        if not self.is_manifest_proven(message.member):
            self._take_manifest(message)
        elif key in self._named:
            self._others[key] = message

    def _check_against_manifest(self, chunk: int, member: int) -> None:
        manifest = self.manifests.get(member)
        header, _ = self._arrived[chunk, member]
        if manifest is None:
            return
        if header.digest == _digest_in(manifest, chunk):
            self._missing.pop((chunk, member), None)
            for asker in self._passing_on.take_askers(chunk, member):
                if self.is_manifest_proven(member):
                    self._core.send(asker, manifest)
                    self._serve_chunk(asker, chunk, member)
            return
        del self._arrived[chunk, member]
        self._blame_versions(header, manifest)

    def _blame_versions(self, header: ChunkHeader, other: ChunkHeader | Manifest) -> None:
        """Name a member that signed two versions of a chunk; a forged header proves nothing."""
        core = self._core
        if header.member == core.rank:
            return  # We know what we signed: another one brings this in our name.
        for said in (header, other):
            if isinstance(said, ChunkHeader):
                body = (said.tau2, chunk_bytes(said.chunk), said.digest)
                if not core.is_proven(said.member, b"chunk", said.signature, *body):
                    return
            elif not self.is_manifest_proven(said.member):
                return
        core.blame(header.member, "two_versions", header, other)

    def held(self, chunk: int, member: int) -> Masked | None:
        """Return a member's chunk, if we hold the version of its manifest."""
        manifest, entry = self.manifests.get(member), self._arrived.get((chunk, member))
        if manifest is None or entry is None or entry[0].digest != _digest_in(manifest, chunk):
            return None
        return entry[1]

    def follow(self, digests: Mapping[int, bytes]) -> None:
        """Go by the manifests of a certified ballot, and drop the chunks of those not summed.

        A liar may have given us another one than to those that voted. With its words our sums would
        be false, and we would be named for them.
        """
        core = self._core
        self._certified = dict(digests)
        others = [rank for rank in digests if self.manifest_digests.get(rank) != digests[rank]]
        for rank in others:
            known = self.manifests.pop(rank, None)
            self.manifest_digests.pop(rank, None)
            if known is not None:
                self._dropped[rank] = known
            for other in core.others:
                core.fetch(other, Wanted.MANIFEST, rank)
        for key in [key for key in self._arrived if key[1] not in digests or key[1] in others]:
            del self._arrived[key]

    def release(self) -> None:
        """Drop all chunks, and mask none again."""
        self._arrived.clear()
        self._masking.forget()

    def _progress(self) -> None:
        core = self._core
        if core.phase != phases.CHUNK or core.rank not in self.manifests:
            return
        if all(member in core.gone for _, member in self._missing) and not self._may_yet_come():
            self._publish_receipt()

    def _may_yet_come(self) -> bool:
        """Ask the co-owners for what those that we cannot reach may have brought to them."""
        hopes = [self._ask_co_owners(chunk, member) for chunk, member in self._missing]
        return any(hopes)

    def _ask_co_owners(self, chunk: int, member: int) -> bool:
        core = self._core
        wanted = core.cohort.pack((member,))
        others = [
            owner
            for owner in core.cohort.owners_of(chunk, self.members)
            if owner not in (core.rank, member)
            and owner not in core.gone
            and (owner not in self.receipts or self.has_receipted(owner, chunk, wanted))
        ]
        asked = self._passing_on.ask(chunk, member, others)
        for owner in asked:
            if member not in self.manifests:
                core.fetch(owner, Wanted.MANIFEST, member)
            core.fetch(owner, Wanted.CHUNK, chunk, member)
        return self._passing_on.may_come(chunk, member, others)

    def _repair(self) -> None:
        """Ask members for what may have been lost on its way."""
        core = self._core
        for member in self.members:
            if member not in self.manifests:
                core.fetch(member, Wanted.MANIFEST, member)
        for chunk, member in self._missing:
            if member in self.manifests and not self._has(chunk, member):
                core.fetch(member, Wanted.CHUNK, chunk, member)

    def _ask_owners(self) -> None:
        """Ask the co-owners for what the members did not bring, then close."""
        core = self._core
        for chunk, member in self._missing:
            for owner in core.cohort.owners_of(chunk, self.members):
                if owner not in (core.rank, member):
                    core.fetch(owner, Wanted.CHUNK, chunk, member)
                    if member not in self.manifests:
                        core.fetch(owner, Wanted.MANIFEST, member)
        self.is_late = True
        core.set_timer("receipt", core.cohort.patience.gather_s, self._publish_receipt)

    def _publish_receipt(self) -> None:
        core = self._core
        if self.owns(core.rank):
            self._say_what_we_hold()
        core.advance(phases.VOTE)

    def _say_what_we_hold(self) -> None:
        """Sign whose words we hold, of those that cannot deny the manifest that they go with.

        A liar could give all owners of a chunk words, and a manifest that it has signed falsely,
        and the true one to all others. Nobody could work the sum out, and its owners would be
        missed for it.
        """
        core = self._core
        proven = {
            rank
            for rank in self.members
            if rank in self.manifests and core.require_proof(rank, self.is_manifest_proven)
        }
        bitmaps = b"".join(
            core.cohort.pack(
                m for m in self.members if m in proven and self.held(chunk, m) is not None
            )
            for chunk in self.owned(core.rank)
        )
        signature = core.sign(b"receipt", self.tau2, bitmaps)
        message = Receipt(core.cohort.session, self.tau2, core.rank, bitmaps, signature)
        self.receipts[core.rank] = message
        core.broadcast(message)

    def on_receipt(self, sender: int, message: Receipt) -> None:
        """Keep what an owner says that it holds."""
        core = self._core
        rank = message.owner
        core.require_member(rank)
        if message.tau2 != self.tau2 or rank not in self.members:
            raise RemoteProtocolError("wrong_transcript")
        if not self.owns(rank):
            raise RemoteProtocolError("not_an_owner")
        size = core.cohort.bitmap_bytes
        if len(message.bitmaps) != size * len(self.owned(rank)):
            raise RemoteProtocolError("bad_receipt")
        for start in range(0, len(message.bitmaps), size):
            if not core.cohort.is_bitmap(message.bitmaps[start : start + size]):
                raise RemoteProtocolError("bad_bitmap")
        known = self.receipts.get(rank)
        if known == message:
            return
        body = (message.tau2, message.bitmaps)
        core.verify_passed_on(sender, rank, b"receipt", message.signature, lambda: body)
        if known is not None and known.bitmaps != message.bitmaps:
            said = [(it, it.signature, (it.tau2, it.bitmaps)) for it in (known, message)]
            if core.blame_two(rank, "two_receipts", b"receipt", *said):
                self._take_other_receipt(message)
        elif known is None or sender != rank:
            self.receipts[rank] = message
            self._progress()

    def _take_other_receipt(self, message: Receipt) -> None:
        """Take a second version, which is proven: in place of one that is not, or beside it.

        Beside it both count. A leader may have the one and we the other, and it would be for us
        alone that what it proposes is not borne out.
        """
        owner = message.owner
        if not self.is_receipt_proven(owner):
            self.receipts[owner] = message
            return
        claims = self._claims.get(owner, self.receipts[owner].bitmaps)
        pairs = zip(claims, message.bitmaps, strict=True)
        self._claims[owner] = bytes(one | other for one, other in pairs)

    def proven(self) -> tuple[list[int], list[int]]:
        """Return whose manifests and whose receipts others can be given, of U2.

        Who signed falsely has its link ended.
        """
        manifests = [
            rank
            for rank in self.members
            if rank in self.manifests and self._core.require_proof(rank, self.is_manifest_proven)
        ]
        receipts = [
            rank
            for rank in self.members
            if rank in self.receipts and self._core.require_proof(rank, self.is_receipt_proven)
        ]
        return manifests, receipts

    def is_manifest_proven(self, rank: int) -> bool:
        """Whether others can be given the manifest that we hold of a member."""
        signature, digest = self.manifests[rank].signature, self.manifest_digests[rank]
        return self._core.is_proven(rank, b"manifest", signature, digest)

    def is_receipt_proven(self, rank: int) -> bool:
        """Whether others can be given the receipt that we hold of an owner."""
        it = self.receipts[rank]
        return self._core.is_proven(rank, b"receipt", it.signature, it.tau2, it.bitmaps)

    def receipted(self, owner: int) -> dict[int, tuple[int, ...]]:
        """Return, by chunk, the members whose chunks an owner says that it holds."""
        bitmaps = self._by_chunk(owner, self.receipts[owner].bitmaps)
        return {chunk: self._core.unpack(bitmap) for chunk, bitmap in bitmaps.items()}

    def has_receipted(self, owner: int, chunk: int, members: bytes) -> bool:
        """Whether an owner says that it holds a chunk of all members of a bitmap."""
        claims = self._claims.get(owner, self.receipts[owner].bitmaps)
        held = int.from_bytes(self._by_chunk(owner, claims)[chunk], "little")
        wanted = int.from_bytes(members, "little")
        return held & wanted == wanted

    def _by_chunk(self, owner: int, bitmaps: bytes) -> dict[int, bytes]:
        size = self._core.cohort.bitmap_bytes
        return {
            chunk: bitmaps[place * size : (place + 1) * size]
            for place, chunk in enumerate(self.owned(owner))
        }

    def on_gone(self) -> None:
        """Wait no longer for a member that cannot be reached."""
        self._progress()

    # Who asks again

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for; a chunk is sent as a body, once to each asker."""
        member = fetch.first
        if fetch.what == Wanted.MANIFEST and member in self.manifests:
            return self.manifests[member] if self.is_manifest_proven(member) else None
        if fetch.what == Wanted.RECEIPT and member in self.receipts:
            return self.receipts[member] if self.is_receipt_proven(member) else None
        if fetch.what == Wanted.CHUNK:
            self._serve_chunk(asker, fetch.first, fetch.second)
        return None

    def _serve_chunk(self, asker: int, chunk: int, member: int) -> None:
        core = self._core
        key = (asker, chunk, member)
        if chunk >= core.cohort.chunk_count or member >= core.cohort.size:
            return
        if core.phase < phases.CHUNK or (chunk, member) in self._missing:
            self._passing_on.on_asked(asker, chunk, member)
            self._progress()
        elif self._served.get(key, 0) >= SERVES_MAX:
            return
        elif (chunk, member) in self._arrived:
            self._served[key] = self._served.get(key, 0) + 1
            self._masking.send(asker, *self._arrived[chunk, member])
        elif member == core.rank and chunk in self._masking.headers:
            self._served[key] = self._served.get(key, 0) + 1
            self._masking.again(chunk, lambda header, body: self._masking.send(asker, header, body))


def _digest_in(manifest: Manifest, chunk: int) -> bytes:
    return manifest.chunk_digests[32 * chunk : 32 * chunk + 32]
