"""SUM: work out each chunk's sum, and agree on it.

A chunk's sum counts once two members signed the same digest of it: its owners, or an owner and a
*deputy*, a live member that fetches the masked chunks, holds them against the manifests that the
certificate fixes, and works the sum out again. A deputy steps in where only one owner is left,
where two disagree, and where nothing came in time. So a single liar falsifies nothing, and a
single crash after the vote costs no chunk.
"""

from collections import Counter
from itertools import islice

import numpy as np

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.transcripts import mean_digest
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import SERVES_MAX, Exchange
from p2pfl_gossip.masked_sum.jobs import (
    ChunkSum,
    Decoded,
    DecodeSum,
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


class Summing:
    """The last phase, as owner, as deputy, and as receiver.

    Attributes:
        members: U3.
        mean: the weighted mean, and our vector's values where there is none, once DONE.
        refusals: why a chunk keeps our values.
        weights: sum of the encoded weights of each chunk that was summed.
        digest: of the mean, once DONE; None where a chunk keeps our values.
    """

    def __init__(
        self,
        core: Core,
        revealing: Revealing,
        exchange: Exchange,
        voting: Voting,
        vector: Vector,
    ) -> None:
        self._core, self._revealing = core, revealing
        self._exchange, self._voting = exchange, voting
        self._vector = vector
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
        self._decoding: dict[int, None] = {}
        self.mean: Vector = vector
        self.refusals: dict[int, str] = {}
        self.weights: dict[int, int] = {}
        self.digest: bytes | None = None
        self._mean_digests: dict[int, bytes] = {}
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
        self.mean = np.empty_like(self._vector)
        self._exchange.on_deputy_chunk(self._sum_what_is_complete)
        core.set_timer("sums", core.cohort.patience.sums_s, self._repair_sums)
        for chunk, sender in self._refused.items():
            core.fetch(sender, Wanted.SUM, chunk)
        told = self._sum_our_chunks if self._has_part() else None
        tau2 = self._exchange.tau2
        self._revealing.start(tau2, self._ballot, self.members, dropped, named, told)
        self._finish_if_decided()

    def _set_places(self, ballot: Ballot, named: tuple[int, ...]) -> None:
        cohort, is_named = self._core.cohort, dict.fromkeys(named)
        for chunk in range(cohort.chunk_count):
            owners = self._voting.live_owners(ballot, chunk)
            if not owners:
                self.refusals[chunk] = "no_owner"
                continue
            self._live[chunk] = owners
            self._said[chunk], self._bodies[chunk] = {}, {}
            ring = cohort.ring_of(chunk, self._exchange.members)
            others = (rank for rank in ring if rank in is_named and rank not in owners)
            self._deputies[chunk] = tuple(islice(others, DEPUTIES_MAX))

    def _has_part(self) -> bool:
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
            self._deputise(chunk, 0)

    def _deputise(self, chunk: int, turn: int) -> None:
        """Step in for a chunk if we are among its first `turn` + 1 deputies."""
        core = self._core
        if (
            core.rank not in self._deputies[chunk][: turn + 1]
            or self._revealing.masks is None
            or chunk in self._summing
            or chunk in self._own
        ):
            return
        attempt = self._deputised.get(chunk, 0)
        self._deputised[chunk] = attempt + 1
        # An owner that has spoken is alive; after the owners, each member is asked for its own.
        owners = sorted(self._live[chunk], key=lambda rank: rank not in self._said[chunk])
        for member in self.members:
            if self._exchange.held(chunk, member) is not None:
                continue
            self._exchange.expect(chunk, member)
            if member == core.rank:
                self._exchange.keep_own(chunk)
                continue
            core.fetch(owners[attempt % len(owners)], Wanted.CHUNK, chunk, member)
            if attempt:
                core.fetch(member, Wanted.CHUNK, chunk, member)
        self._sum_what_is_complete()

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
        encoding = self._core.cohort.encoding
        self._core.work(Unmask(encoding, present, masks, self._ballot, chunk), self._on_summed)

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
        core, own = self._core, self._own[chunk]
        header = SumHeader(
            core.cohort.session,
            self._ballot,
            chunk,
            own.digest,
            self._said[chunk][core.rank].signature,
        )
        core.send_body(receiver, header, own.body, own.body.nbytes, lambda _ok: None)

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

    def on_digest(self, sender: int, message: SumDigest) -> None:
        """Count what an owner or deputy found."""
        core = self._core
        if message.member != sender:
            raise RemoteProtocolError("not_your_sum")
        if message.ballot != self._ballot:
            raise RemoteProtocolError("wrong_ballot")
        self._require_place(sender, message.chunk)
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
        self._require_place(sender, header.chunk)
        self._note(self._said_by(sender, header))
        self._decide(header.chunk)
        if (
            core.phase != Phase.REVEAL
            or self._said[header.chunk][sender].digest != header.digest  # A second version.
            or header.chunk in self._decoding
            or header.digest in self._bodies[header.chunk]
            or (header.chunk, sender) in self._arriving
        ):
            return None
        return core.cohort.body_bytes(header.chunk)

    @staticmethod
    def _said_by(sender: int, header: SumHeader) -> SumDigest:
        return SumDigest(
            header.session,
            header.ballot,
            sender,
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

    def _decide(self, chunk: int) -> None:
        digest = self._quorum(chunk)
        if digest is None or chunk in self._decoding or self._core.phase != Phase.REVEAL:
            return
        body = self._bodies[chunk].get(digest)
        if body is None:
            return
        self._decoding[chunk] = None

        def done(result: Decoded) -> None:
            if self._core.phase != Phase.REVEAL:
                return  # The last deadline passed meanwhile.
            if result.mean is None:
                self.refusals[chunk] = "out_of_range"
            else:
                self.mean[self._core.cohort.entries_of(chunk)] = result.mean
                self.weights[chunk] = result.weight_total
                self._mean_digests[chunk] = result.digest
            self._bodies[chunk] = {}
            self._finish_if_decided()

        encoding = self._core.cohort.encoding
        self._core.work(DecodeSum(encoding, len(self.members), body), done)

    def _finish_if_decided(self) -> None:
        core = self._core
        count = len(self.weights) + len(self.refusals)
        if core.phase == Phase.REVEAL and count == core.cohort.chunk_count:
            self._finish()

    def _refuse_other_weights(self) -> None:
        """Void the chunks whose sum of weights is another than most have.

        Each member's weight is the same in all its chunks, so sums that differ show a liar, though
        not which one. All members see the same sums, and so void the same chunks.
        """
        counts = Counter(self.weights.values())
        if len(counts) <= 1:
            return
        agreed = max(counts, key=lambda weight: (counts[weight], -weight))
        for chunk in [chunk for chunk, weight in self.weights.items() if weight != agreed]:
            del self.weights[chunk]
            self.refusals[chunk] = "other_weight"

    def _finish(self) -> None:
        core = self._core
        self._refuse_other_weights()
        for chunk in range(core.cohort.chunk_count):
            if chunk not in self.weights:
                self.refusals.setdefault(chunk, "no_sum")
                entries = core.cohort.entries_of(chunk)
                self.mean[entries] = self._vector[entries]
        if self.weights:
            self.mean.flags.writeable = False
            if not self.refusals:
                self.digest = mean_digest(
                    [self._mean_digests[chunk] for chunk in range(core.cohort.chunk_count)]
                )
            core.advance(Phase.DONE)
        else:
            core.abort("no_sum")

    # What may have been lost

    def _repair_sums(self) -> None:
        """Ask again for sums; have the next deputy step in; give up after the last."""
        core = self._core
        turn, self._waits = self._waits, self._waits + 1
        if turn > DEPUTIES_MAX:
            self._finish()
            return
        for chunk, owners in self._live.items():
            if chunk in self._decoding or chunk in self.refusals:
                continue
            digest = self._quorum(chunk)
            for rank in owners if digest is None else list(self._said[chunk]):
                if rank != core.rank:
                    core.fetch(rank, Wanted.SUM, chunk)
            if digest is None:
                self._deputise(chunk, turn)
        self._revealing.fetch_missing()
        core.set_timer("sums", core.cohort.patience.sums_s, self._repair_sums)

    def on_gone(self) -> None:
        """Nothing is decided by absence here: what is missing is asked for when it is due."""

    def release(self) -> None:
        """Drop all sums; the outcome has its own copy."""
        self._own.clear()
        self._bodies.clear()
        self._vector = self.mean = self._vector[:0].copy()

    def answer(self, asker: int, fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for; a sum is sent as a body, once to each asker."""
        if fetch.what == Wanted.SUM and fetch.first in self._own:
            key = (asker, fetch.first)
            if self._served.get(key, 0) >= SERVES_MAX:
                return None
            self._served[key] = self._served.get(key, 0) + 1
            self._send_sum(asker, fetch.first)
        return None
