"""Gives the owners of one chunk other words than its manifest names."""

from collections.abc import Sequence

import numpy as np

from p2pfl_crypto.identity import PeerId
from p2pfl_crypto.transcripts import chunk_digest
from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Manifest
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class KeptWords(Liar):
    """Gives both owners of one chunk other words of it, with a manifest that fits.

    The true ones it keeps. So they hold words, as they say, and cannot bring the sum.

    Args:
        signs: whether that other manifest is signed as well; else its signature is false.
    """

    in_groups = True

    def __init__(self, *, signs: bool = True) -> None:
        self._signs = signs
        self._session, self._chunk, self._digest = b"", -1, b""
        self._first: SendBulk | None = None  # To the one owner, if it is honest.
        self._owners: tuple[PeerId, ...] = ()

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Change what these two get."""
        match action:
            case SendBulk(header=ChunkHeader() as header) if header.member == self.me.rank:
                return self._give(action, header)
            case Send(message=Manifest() as manifest) if action.receiver in self._owners:
                if (manifest.session, manifest.member) != (self._session, self.me.rank):
                    return (action,)
                return (*self._honest(), replaced(action, message=self._other(manifest)))
        return (*self._honest(), action)

    def _give(self, bulk: SendBulk, header: ChunkHeader) -> Sequence[Action]:
        if header.session != self._session:
            self._session, self._chunk, self._owners = header.session, -1, ()
        if self._owners:
            if header.chunk != self._chunk:
                return (bulk,)
            return (self._false(bulk, header),) if bulk.receiver in self._owners else ()
        first, is_honest = self._first, self.me.index_of(bulk.receiver) not in self.me.colluders
        if first is None or first.header.chunk != header.chunk:  # type: ignore[attr-defined]
            told = self._honest()
            if not is_honest:
                return (*told, bulk)
            self._first = bulk
            return told
        if not is_honest:
            return (*self._honest(), bulk)
        self._first, self._chunk = None, header.chunk
        self._owners = (first.receiver, bulk.receiver)
        return (self._false(first, header), self._false(bulk, header))

    def _honest(self) -> tuple[Action, ...]:
        """Give what was kept back of a chunk that has not two honest owners."""
        first, self._first = self._first, None
        return () if first is None else (first,)

    def _false(self, bulk: SendBulk, header: ChunkHeader) -> SendBulk:
        words = np.zeros(bulk.size_bytes // 4, np.uint32)
        words.flags.writeable = False
        self._digest = chunk_digest(header.tau2, header.member, header.chunk, words.data)
        other = self.me.signed(replaced(header, digest=self._digest))
        return replaced(bulk, header=other, parts=(words,))

    def _other(self, manifest: Manifest) -> Manifest:
        digests, at = manifest.chunk_digests, 32 * self._chunk
        changed = replaced(manifest, chunk_digests=digests[:at] + self._digest + digests[at + 32 :])
        return self.me.signed(changed) if self._signs else replaced(changed, signature=bytes(64))
