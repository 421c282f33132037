"""SUM: work out each chunk's sum, and agree on it.

A chunk's sum counts once two members signed the same digest of it: its owners, or an owner and a
*deputy*, a member that fetches the masked chunks, holds them against the manifests that the
quorum fixes, and works the sum out again. A deputy steps in where only one owner is left,
where two disagree, and where nothing came in time. So a single liar falsifies nothing, and a
single crash after the vote costs no chunk.

What the sums are for is another matter: a cohort's mean (mean_summing.py), or a group's next model
(group_summing.py).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.core import Core
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
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.voting import Voting

DEPUTIES_MAX = 2
"""Deputies of a chunk: with two owners, four members can vouch for it. Each costs a fetch of one
chunk from every member, and only chunks in trouble have any."""


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
        self._summing: dict[int, None] = {}
        self._own: dict[int, ChunkSum] = {}
        self._said: dict[int, dict[int, SumDigest]] = {}
        self._bodies: dict[int, dict[bytes, Masked]] = {}
        self._arriving: dict[tuple[int, int], None] = {}
        self._refused: dict[int, int] = {}
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
        self._exchange.forget(self.members)
        named = voting.named_owners(ballot)
        self._set_places(ballot, named)
        self._exchange.on_deputy_chunk(self._sum_what_is_complete)
        core.set_timer("sums", core.cohort.patience.sums_s, self._repair_sums)
        for chunk, sender in self._refused.items():
            core.fetch(sender, Wanted.SUM, chunk)
        told = self._sum_our_chunks if self._has_part(named) else None
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

    def _set_places(self, ballot: Ballot, named: tuple[int, ...]) -> None:
        cohort, is_named = self._core.cohort, dict.fromkeys(named)
        for chunk in range(cohort.chunk_count):
            owners = self._voting.live_owners(ballot, chunk)
            if not owners:
                self._note_ownerless(chunk)
                continue
            self._live[chunk] = owners
            self._said[chunk], self._bodies[chunk] = {}, {}
            ring = cohort.ring_of(chunk, self._exchange.members)
            others = (rank for rank in ring if rank not in owners)
            self._deputies[chunk] = self._choose_deputies(others, is_named)

    def _choose_deputies(self, others: Iterator[int], is_named: dict[int, None]) -> tuple[int, ...]:
        """Choose a chunk's deputies, in order, of the members of its ring that do not own it."""
        return tuple(islice((rank for rank in others if rank in is_named), DEPUTIES_MAX))

    def _has_part(self, named: tuple[int, ...]) -> bool:
        """Whether some chunk is, or may become, ours to sum."""
        rank = self._core.rank
        return any(rank in owners for owners in self._live.values()) or any(
            rank in deputies for deputies in self._deputies.values()
        )

    # As owner and deputy

    def _sum_our_chunks(self) -> None:
        for chunk, owners in self._live.items():
            if self._core.rank in owners:
                self._sum(chunk)
            else:
                self._step_in(chunk)

    def _step_in(self, chunk: int) -> None:
        """Step in at once where one owner is alone, or where two disagree."""
        if self._quorum(chunk) is not None:
            return
        digests = dict.fromkeys(said.digest for said in self._said[chunk].values())
        if len(digests) > 1:
            self._deputise(chunk, DEPUTIES_MAX)
        elif len(self._live[chunk]) == 1:
            self._deputise(chunk, 1)

    def _deputise(self, chunk: int, count: int) -> None:
        """Step in for a chunk if we are among its first `count` deputies."""
        core = self._core
        if (
            core.rank not in self._deputies[chunk][:count]
            or self._revealing.masks is None
            or chunk in self._summing
            or chunk in self._own
        ):
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
        """Ask an owner first, one that has spoken as it is alive; then each member for its own."""
        owners = sorted(self._live[chunk], key=lambda rank: rank not in self._said[chunk])
        owner = owners[attempt % len(owners)]
        return (owner, member) if attempt else (owner,)

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
        number = chunk.to_bytes(8, "little")
        signature = core.sign(b"sum", self._ballot, number, result.digest)
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
        if core.phase == Phase.REVEAL:
            self._decide(message.chunk)

    def _note(self, said: SumDigest) -> None:
        core = self._core
        known = self._said[said.chunk].get(said.member)
        if known == said:
            return
        number = said.chunk.to_bytes(8, "little")
        core.verify(said.member, b"sum", said.signature, said.ballot, number, said.digest)
        if known is not None:
            core.blame(said.member, "two_sums", known, said)
            return
        self._said[said.chunk][said.member] = said
        self._blame_liars(said.chunk)
        self._step_in(said.chunk)

    def body_bytes(self, sender: int, header: SumHeader) -> int | None:
        """Return the size of a sum's body, or None if it is not wanted."""
        core = self._core
        if core.phase < Phase.REVEAL:
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
            core.phase != Phase.REVEAL
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
            self._core.phase != Phase.REVEAL
            or key in self._arriving
            or body.nbytes != self._core.cohort.body_bytes(chunk)
        ):
            return
        self._arriving[key] = None

        def done(result: Digested) -> None:
            del self._arriving[key]
            if self._core.phase != Phase.REVEAL:
                return
            if result.digest != header.digest:
                self._core.disconnect(sender, "digest_mismatch")
                return
            self._bodies[chunk][result.digest] = body
            self._decide(chunk)

        self._core.work(DigestSum(self._ballot, chunk, body), done)

    def _quorum(self, chunk: int) -> bytes | None:
        """Return the digest of a chunk's sum that counts: our own, or one that two signed.

        One of the two must be an owner: deputies confirm, so that they are no further pair that
        could falsify a chunk.
        """
        own = self._own.get(chunk)
        if own is not None:
            return own.digest
        said = self._said[chunk]
        for owner in self._live[chunk]:
            if owner in said and any(
                other.digest == said[owner].digest for rank, other in said.items() if rank != owner
            ):
                return said[owner].digest
        return None

    # What may have been lost

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
