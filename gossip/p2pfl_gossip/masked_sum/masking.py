"""CHUNK, as a member: mask the vector chunk by chunk and send each chunk to its owners.

From here on the vector is spent. A chunk is one byte string, ever: all that goes into it is fixed
by tau2 and the member's secrets, so whoever asks again gets the same bytes.
"""

from collections.abc import Callable

import numpy as np

from p2pfl_crypto.masks import Mask, Masked, MaskStreams
from p2pfl_crypto.transcripts import pair_mask_key, rounding_key, self_mask_key
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.core import Core, chunk_bytes
from p2pfl_gossip.masked_sum.jobs import MaskChunk, MaskedChunk, Secrets
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Manifest
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.sharing import Sharing

MASK_JOBS_MAX = 2
"""Chunks masked at once: two threads double the rate; more would only hold more memory."""
SECOND_JOB_ENTRIES = 2**18
"""A shorter vector is masked by one job at a time: a second one makes all ciphers anew, which takes
as long as 40 KB of each stream."""
UNSENT_BYTES_MAX = 64 * 2**20
"""Masked bytes that wait for a link before the next chunk is masked: 16 chunks of 4 MiB. A vector
of any length needs no second copy, and one slow owner does not hold up the others at once."""


class Masking:
    """What a member of U2 sends of its vector.

    Attributes:
        is_giving: whether there is a vector.
        vector: what is given; empty if there is nothing.
        weight: ours.
        clipped: entries of our vector that lay beyond the clip.
        headers: signed digests of the chunks that were masked so far, by chunk.
        rounding_key: by which the vector is encoded; empty before.
    """

    def __init__(
        self,
        core: Core,
        secrets: Secrets,
        sharing: Sharing,
        agreement: Agreement,
        vector: Vector | Masked | None,
        weight: float,
    ) -> None:
        self._core, self._secrets = core, secrets
        self._sharing, self._agreement = sharing, agreement
        self.is_giving = vector is not None
        self.vector: Vector | Masked = np.empty(0, np.float32) if vector is None else vector
        self.weight = weight
        self.clipped = 0
        self.headers: dict[int, ChunkHeader] = {}
        self._masks: tuple[Mask, ...] = ()
        self._idle_streams: list[MaskStreams] = []
        self.rounding_key = b""
        self._queue: list[int] = []
        self._unsent_bytes = 0
        self._keep: Callable[[ChunkHeader, Masked], None] = lambda _header, _body: None
        self._publish: Callable[[Manifest], None] = lambda _manifest: None

    def start(
        self,
        keep: Callable[[ChunkHeader, Masked], None],
        publish: Callable[[Manifest], None],
    ) -> None:
        """Mask and send all chunks.

        Args:
            keep: takes the chunks that we own ourselves.
            publish: takes the manifest, once all chunks are masked.
        """
        cohort = self._core.cohort
        self._keep, self._publish = keep, publish
        self._derive_masks()
        # Each member starts elsewhere, so that no owner gets all first chunks at once.
        count = cohort.chunk_count
        start = self._core.rank * count // cohort.size
        self._queue = [(start + k) % count for k in range(count)]
        self._mask_next()

    def _derive_masks(self) -> None:
        dealt, secrets = self._sharing.dealt, self._secrets
        rank, tau2 = self._core.rank, self._agreement.tau2
        assert dealt is not None
        masks = [Mask(self_mask_key(secrets.seed, tau2, rank))]
        for other in self._agreement.members:
            if other != rank:
                key = pair_mask_key(dealt.pair_keys[other], tau2, rank, other)
                masks.append(Mask(key, 1 if other > rank else -1))
        self._masks = tuple(masks)
        jobs = MASK_JOBS_MAX if len(self.vector) >= SECOND_JOB_ENTRIES else 1
        self._idle_streams = [MaskStreams(masks) for _ in range(jobs)]
        # Of the session, not of tau2: the secret is of this session alone, in which one vector is
        # masked once. So the rounding does not depend on keys that others drew.
        self.rounding_key = rounding_key(secrets.rounding, self._core.cohort.session, rank)

    def _mask_next(self) -> None:
        while (
            self._queue
            and self._idle_streams
            and (self._unsent_bytes < UNSENT_BYTES_MAX or not self._unsent_bytes)
        ):
            streams = self._idle_streams.pop()

            def done(result: MaskedChunk, streams: MaskStreams = streams) -> None:
                self._idle_streams.append(streams)
                self._on_masked(result)

            self._core.work(self._job(self._queue.pop(0), streams), done)

    def again(self, chunk: int, done: Callable[[ChunkHeader, Masked], None]) -> None:
        """Mask a chunk of ours once more; `done` takes the same bytes as the first time."""
        self._core.work(
            self._job(chunk, MaskStreams(self._masks)),
            lambda result: done(self._header_of(result), result.body),
        )

    def _job(self, chunk: int, streams: MaskStreams) -> MaskChunk:
        return MaskChunk(
            encoding=self._core.cohort.encoding,
            entries=self.vector[self._core.cohort.entries_of(chunk)],
            weight=self.weight,
            rounding_key=self.rounding_key,
            streams=streams,
            tau2=self._agreement.tau2,
            rank=self._core.rank,
            chunk=chunk,
        )

    def _on_masked(self, result: MaskedChunk) -> None:
        core = self._core
        self.clipped += result.clipped
        header = self._header_of(result)
        if core.phase == Phase.CHUNK:
            for owner in core.cohort.owners_of(result.chunk, self._agreement.members):
                if owner == core.rank:
                    self._keep(header, result.body)
                else:
                    self.send(owner, header, result.body)
            self._mask_next()
        if len(self.headers) == core.cohort.chunk_count:
            self._publish(self._manifest())

    def _header_of(self, result: MaskedChunk) -> ChunkHeader:
        """Return the signed header of a chunk that was masked, for the first time or again."""
        core, tau2 = self._core, self._agreement.tau2
        known = self.headers.get(result.chunk)
        if known is not None:
            assert known.digest == result.digest  # One byte string per chunk, ever.
            return known
        signature = core.sign(b"chunk", tau2, chunk_bytes(result.chunk), result.digest)
        header = ChunkHeader(
            core.cohort.session, tau2, core.rank, result.chunk, result.digest, signature
        )
        self.headers[result.chunk] = header
        return header

    def send(self, receiver: int, header: ChunkHeader, body: Masked) -> None:
        """Send a chunk, ours or another's, and count what waits for its link."""
        size = body.nbytes
        self._unsent_bytes += size

        def done(_ok: bool) -> None:
            self._unsent_bytes -= size
            if self._core.phase == Phase.CHUNK:
                self._mask_next()

        self._core.send_body(receiver, header, body, size, done)

    def forget(self) -> None:
        """Drop all masks and the vector, and mask nothing again."""
        self.vector = self.vector[:0].copy()
        self.headers.clear()
        self._queue.clear()
        self._idle_streams.clear()
        self._masks, self.rounding_key = (), b""

    def _manifest(self) -> Manifest:
        core, tau2 = self._core, self._agreement.tau2
        count = core.cohort.chunk_count
        digests = b"".join(self.headers[chunk].digest for chunk in range(count))
        unsigned = Manifest(core.cohort.session, tau2, core.rank, digests, bytes(64))
        signature = core.sign(b"manifest", unsigned.digest())
        return Manifest(core.cohort.session, tau2, core.rank, digests, signature)
