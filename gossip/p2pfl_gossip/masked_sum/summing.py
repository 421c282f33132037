"""SUM: work out each chunk's sum, and agree on it.

Owners work sums out, and so do *deputies*: members that fetch the masked chunks, hold them against
the manifests that the quorum fixes, and add them up again. The first two of a chunk's live owners
and deputies are its *vouchers*: as a rule its owners. A sum counts

- that we worked out ourselves;
- of which both vouchers signed the same digest;
- of which m + 1 owners and deputies signed the same digest: one of them is honest.

Deputies step in where only one owner is left, where two members disagree, and where nothing came in
time. So a sum that counts is the true one, unless both vouchers lie alike; and a crash after the
vote costs no chunk.

What the sums are for is another matter: a cohort's mean (mean_summing.py), or a group's next model
(group_summing.py).
"""

from abc import ABC, abstractmethod
from collections import Counter

from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.core import Core, chunk_bytes
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.jobs import (
    ChunkSum,
    Digested,
    DigestSum,
    Unmask,
)
from p2pfl_gossip.masked_sum.messages import (
    Ballot,
    Fetch,
    SessionMessage,
    SumDigest,
    SumHeader,
    Wanted,
)
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.voting import Voting


class Summing(ABC):
    """The last phase, as owner, as deputy, and as receiver.

    Attributes:
        members: U3.
    """

    def __init__(
        self, core: Core, revealing: Revealing, exchange: Exchange, voting: Voting
    ) -> None:
        self._core, self._revealing = core, revealing
        self._exchange, self._voting = exchange, voting
        self.members: tuple[int, ...] = ()  # U3
        self._ballot = b""
        # By chunk.
        self._live: dict[int, tuple[int, ...]] = {}
        self._deputies: dict[int, tuple[int, ...]] = {}
        self._deputised: dict[int, int] = {}  # How often we asked for its parts.
        # For which we are to step in once the masks are known, by how many deputies were.
        self._called: dict[int, int] = {}
        self._summing: dict[int, None] = {}
        self._own: dict[int, ChunkSum] = {}
        self._said: dict[int, dict[int, SumDigest]] = {}
        self._bodies: dict[int, dict[bytes, Masked]] = {}
        self._arriving: dict[tuple[int, int], None] = {}
        self._refused: dict[int, int] = {}
        self._asked: dict[int, None] = {}
        self._served: dict[tuple[int, int], int] = {}
        self._waits = 0

    def start(self) -> None:
        """Reveal, then sum what is ours to sum and wait for the rest."""
        core, voting = self._core, self._voting
        ballot = voting.certified
        assert ballot is not None
        self._ballot = ballot.digest()
        self.members = core.unpack(ballot.members)
        dropped = tuple(r for r in self._exchange.members if r not in self.members)
        digests = ballot.manifest_digests
        split = (digests[at : at + 32] for at in range(0, len(digests), 32))
        self._exchange.follow(dict(zip(self.members, split, strict=True)))
        named = voting.named_owners(ballot)
        self._set_places(ballot)
        self._exchange.on_deputy_chunk(lambda _chunk, _member: self._sum_what_is_complete())
        core.set_timer("sums", core.cohort.patience.sums_s, self._repair_sums)
        for chunk, sender in self._refused.items():
            core.fetch(sender, Wanted.SUM, chunk)
        # Who owns nothing is given shares when it is to step in.
        told = self._sum_our_chunks if core.rank in named else None
        tau2 = self._exchange.tau2
        self._revealing.start(tau2, self._ballot, self.members, dropped, named, told)
        self._finish_if_decided()

    @abstractmethod
    def _decide(self, chunk: int) -> None:
        """Take a chunk's sum, if one counts and is here."""

    @abstractmethod
    def _is_taken(self, chunk: int) -> bool:
        """Whether a chunk's sum was taken, so that no body of it is of use."""

    @abstractmethod
    def _finish_if_decided(self) -> None:
        """End the phase once nothing is missing."""

    @abstractmethod
    def _repair_sums(self) -> None:
        """Ask again for sums, and have deputies step in."""

    @abstractmethod
    def _note_ownerless(self, chunk: int) -> None:
        """Note that the ballot names no owner of a chunk."""

    def _set_places(self, ballot: Ballot) -> None:
        cohort = self._core.cohort
        for chunk in range(cohort.chunk_count):
            owners = self._voting.live_owners(ballot, chunk)
            if not owners:
                self._note_ownerless(chunk)
                continue
            self._live[chunk] = owners
            self._said[chunk], self._bodies[chunk] = {}, {}
            ring = cohort.ring_of(chunk, self._exchange.members)
            self._deputies[chunk] = tuple(
                rank for rank in ring if rank in self.members and rank not in owners
            )

    def _vouchers(self, chunk: int) -> tuple[int, ...]:
        """Return the two whose word is enough where they agree."""
        return (*self._live[chunk], *self._deputies[chunk])[:2]

    # As owner and deputy

    def _sum_our_chunks(self) -> None:
        for chunk, owners in self._live.items():
            if self._core.rank in owners:
                self._sum(chunk)
            elif chunk not in self._called:
                self._step_in(chunk)
        for chunk, count in self._called.items():
            if self._quorum(chunk) is None:
                self._deputise(chunk, count)

    def _step_in(self, chunk: int) -> None:
        """Step in at once where an owner is alone, and where vouchers disagree or are away."""
        if self._quorum(chunk) is not None:
            return
        said, live, vouchers = self._said[chunk], self._live[chunk], self._vouchers(chunk)
        words = {said[rank].digest: None for rank in vouchers if rank in said}
        if len(words) > 1 or any(self._is_away(chunk, rank) for rank in vouchers):
            coming = sum(rank not in said and not self._is_away(chunk, rank) for rank in live)
            self._deputise(chunk, self._deputies_needed(chunk) - coming)
        elif len(live) == 1:
            self._deputise(chunk, 1)

    def _is_away(self, chunk: int, rank: int) -> bool:
        """Whether a member cannot be reached, and has not told its sum of a chunk."""
        return rank in self._core.gone and rank not in self._said[chunk]

    def _digest_counts(self, chunk: int) -> Counter[bytes]:
        """Count the members that signed each digest."""
        return Counter(said.digest for said in self._said[chunk].values())

    def _deputies_needed(self, chunk: int) -> int:
        """Return how many deputies it takes, with those that spoke, for m + 1 equal digests.

        They are more as deputies contradict, so that a lie costs a fetch, and no deadline.
        """
        said = self._said[chunk]
        spoken = sum(rank in said for rank in self._deputies[chunk])
        most = max(self._digest_counts(chunk).values(), default=0)
        return spoken + self._core.cohort.liars_max + 1 - most

    def _deputies_after(self, chunk: int, turn: int) -> int:
        """Return how many deputies step in where nothing came in time: m + 1, then all.

        An owner's word may count beside them, so that one of them may be silent as well.
        """
        if turn:
            return len(self._deputies[chunk])
        return max(self._core.cohort.liars_max + 1, self._deputies_needed(chunk))

    def _deputise(self, chunk: int, count: int) -> None:
        """Step in for a chunk if we are among its first `count` deputies that can be reached."""
        core = self._core
        able = [rank for rank in self._deputies[chunk] if not self._is_away(chunk, rank)]
        if core.rank not in able[:count] or chunk in self._summing or chunk in self._own:
            return
        if self._revealing.masks is None:
            self._called[chunk] = count
            self._revealing.want(self._sum_our_chunks)
            return
        attempt = self._deputised.get(chunk, 0)
        self._deputised[chunk] = attempt + 1
        for member in self.members:
            if self._exchange.held(chunk, member) is not None:
                continue
            self._exchange.expect(chunk, member)
            if member == core.rank:
                self._exchange.keep_own(chunk)
                continue
            for source in self._sources(chunk, member, attempt):
                core.fetch(source, Wanted.CHUNK, chunk, member)
        self._sum_what_is_complete()

    def _sources(self, chunk: int, member: int, attempt: int) -> tuple[int, ...]:
        """Choose whom to ask for a member's chunk.

        An owner that has spoken is alive, and deputies share the load of those that have. Where it
        did not give all, or cannot be reached, or is silent for long, the member is asked as well.
        """
        core, said, live = self._core, self._said[chunk], self._live[chunk]
        alive = [rank for rank in live if rank in said]
        owners = alive or [rank for rank in live if rank not in core.gone] or live
        owner = owners[(self._deputies[chunk].index(core.rank) + attempt) % len(owners)]
        is_silent = owner not in said and (self._waits > 0 or owner in core.gone)
        return (owner, member) if attempt or is_silent else (owner,)

    def _sum_what_is_complete(self) -> None:
        for chunk in self._deputised:
            if all(self._exchange.held(chunk, member) is not None for member in self.members):
                self._sum(chunk)

    def _sum(self, chunk: int) -> None:
        masks = self._revealing.masks
        if chunk in self._summing or chunk in self._own or masks is None:
            return
        bodies = [self._exchange.held(chunk, member) for member in self.members]
        present = tuple(body for body in bodies if body is not None)
        if len(present) != len(bodies):
            return
        self._summing[chunk] = None
        self._core.work(Unmask(present, masks, self._ballot, chunk), self._on_summed)

    def _on_summed(self, result: ChunkSum) -> None:
        core, chunk = self._core, result.chunk
        del self._summing[chunk]
        self._own[chunk] = result
        self._bodies[chunk][result.digest] = result.body
        signature = core.sign(b"sum", self._ballot, chunk_bytes(chunk), result.digest)
        said = SumDigest(
            core.cohort.session, self._ballot, core.rank, chunk, result.digest, signature
        )
        self._said[chunk][core.rank] = said
        if self._live[chunk][0] == core.rank:
            for rank in core.others:
                self._send_sum(rank, chunk)
        else:
            core.broadcast(said)
        self._blame_liars(chunk)
        self._decide(chunk)

    def _send_sum(self, receiver: int, chunk: int) -> None:
        own = self._own[chunk]
        self._send_body(receiver, self._said[chunk][self._core.rank], own.body)

    def _send_body(self, receiver: int, said: SumDigest, body: Masked) -> None:
        """Send a sum behind somebody's signed digest of it."""
        header = SumHeader(
            said.session, said.ballot, said.member, said.chunk, said.digest, said.signature
        )
        self._core.send_body(receiver, header, body, body.nbytes, lambda _ok: None)

    def _blame_liars(self, chunk: int) -> None:
        """Name those that signed another sum than the one that we worked out."""
        own = self._own.get(chunk)
        if own is None:
            return
        for rank, said in self._said[chunk].items():
            if said.digest != own.digest:
                self._core.blame(rank, "false_sum", said)

    # As receiver

    def _require_place(self, rank: int, chunk: int) -> None:
        if chunk >= self._core.cohort.chunk_count:
            raise RemoteProtocolError("no_such_chunk")
        if chunk not in self._live or rank not in (*self._live[chunk], *self._deputies[chunk]):
            raise RemoteProtocolError("not_an_owner")

    def _require_author(self, sender: int, member: int) -> None:
        """Refuse what is signed by another than its sender."""
        if member != sender:
            raise RemoteProtocolError("not_your_sum")

    def on_digest(self, sender: int, message: SumDigest) -> None:
        """Count what an owner or deputy found."""
        core = self._core
        self._require_author(sender, message.member)
        if message.ballot != self._ballot:
            raise RemoteProtocolError("wrong_ballot")
        self._require_place(message.member, message.chunk)
        self._note(message)
        if core.phase == phases.REVEAL:
            self._decide(message.chunk)

    def _note(self, said: SumDigest) -> None:
        core = self._core
        known = self._said[said.chunk].get(said.member)
        if known == said:
            return
        number = chunk_bytes(said.chunk)
        core.verify(said.member, b"sum", said.signature, said.ballot, number, said.digest)
        if known is not None:
            if known.digest != said.digest:  # Else it has signed the same twice, which is no lie.
                core.blame(said.member, "two_sums", known, said)
            return
        self._said[said.chunk][said.member] = said
        self._blame_liars(said.chunk)
        if said.chunk not in self._deputised:
            self._step_in(said.chunk)

    def body_bytes(self, sender: int, header: SumHeader) -> int | None:
        """Return the size of a sum's body, or None if it is not wanted."""
        core = self._core
        if core.phase < phases.REVEAL:
            if header.chunk < core.cohort.chunk_count:
                self._refused[header.chunk] = sender
            return None
        if header.ballot != self._ballot:
            raise RemoteProtocolError("wrong_ballot")
        self._require_author(sender, header.member)
        self._require_place(header.member, header.chunk)
        self._note(self._said_by(header))
        self._decide(header.chunk)
        if (
            core.phase != phases.REVEAL
            or self._said[header.chunk][header.member].digest != header.digest  # Another one.
            or self._is_taken(header.chunk)
            or header.digest in self._bodies[header.chunk]
            or (header.chunk, sender) in self._arriving
        ):
            return None
        return core.cohort.body_bytes(header.chunk)

    @staticmethod
    def _said_by(header: SumHeader) -> SumDigest:
        return SumDigest(
            header.session,
            header.ballot,
            header.member,
            header.chunk,
            header.digest,
            header.signature,
        )

    def on_body(self, sender: int, header: SumHeader, body: Masked) -> None:
        """Take a sum's body and have its digest checked."""
        chunk, key = header.chunk, (header.chunk, sender)
        if (
            self._core.phase != phases.REVEAL
            or key in self._arriving
            or body.nbytes != self._core.cohort.body_bytes(chunk)
        ):
            return
        self._arriving[key] = None

        def done(result: Digested) -> None:
            del self._arriving[key]
            if self._core.phase != phases.REVEAL:
                return
            if result.digest != header.digest:
                self._core.disconnect(sender, "digest_mismatch")
                return
            self._bodies[chunk][result.digest] = body
            self._decide(chunk)

        self._core.work(DigestSum(self._ballot, chunk, body), done)

    def _quorum(self, chunk: int) -> bytes | None:
        """Return the digest of a chunk's sum that counts, if there is one; see the module."""
        own = self._own.get(chunk)
        if own is not None:
            return own.digest
        for digest, count in self._digest_counts(chunk).items():
            if count > self._core.cohort.liars_max:
                return digest
        vouched = [self._said[chunk].get(rank) for rank in self._vouchers(chunk)]
        if len(vouched) == 2 and vouched[0] is not None and vouched[1] is not None:
            first, second = vouched[0].digest, vouched[1].digest
            return first if first == second else None
        return None

    # What may have been lost

    def _ask_for_body(self, chunk: int, digest: bytes) -> None:
        """Ask at once for a sum that counts, if the primary has not found it: it brings another."""
        said, rank = self._said[chunk], self._core.rank
        primary = said.get(self._live[chunk][0])
        if chunk in self._asked or (primary is not None and primary.digest == digest):
            return
        self._asked[chunk] = None
        holders = self._holders(chunk, digest)
        self._core.fetch(holders[rank % len(holders)], Wanted.SUM, chunk)

    def _holders(self, chunk: int, digest: bytes) -> list[int]:
        """Return who found a chunk's sum to be that of a digest."""
        return [rank for rank, said in self._said[chunk].items() if said.digest == digest]

    def release(self) -> None:
        """Drop all sums; the outcome has its own copy."""
        self._own.clear()
        self._bodies.clear()

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for; a sum is sent as a body, twice at most to each asker."""
        if fetch.what == Wanted.SUM:
            key = (asker, fetch.first)
            if self._served.get(key, 0) < SERVES_MAX and self._serve(asker, fetch.first):
                self._served[key] = self._served.get(key, 0) + 1
        return None

    def _serve(self, asker: int, chunk: int) -> bool:
        """Send a sum that we have to whoever asks; tell whether we had it."""
        if chunk not in self._own:
            return False
        self._send_sum(asker, chunk)
        return True
