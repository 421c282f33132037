"""Owns chunks, and keeps their sums."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Reveal, SumDigest, SumHeader
from p2pfl_simulations.liars.liar import Liar


class WithheldSums(Liar):
    """Owns chunks, and gives their sums to nobody, or to some only.

    Args:
        share: of the peers, those with the lowest index, who are given none.
        signs: whether it signs the sums' digests all the same, as one that has given them.
        words: whether others are given its own words, so that they can work the sums out.
    """

    in_groups = True

    def __init__(self, share: float = 1.0, *, signs: bool = False, words: bool = False) -> None:
        self._share, self._signs, self._words = share, signs, words
        self._revealed = b""  # The session in which owners have all words that they need.

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Keep sums, and its words once they are out of owners' hands only."""
        if not isinstance(action, Send | SendBulk):
            return (action,)
        said = action.message if isinstance(action, Send) else action.header
        if isinstance(said, Reveal):
            self._revealed = said.session
        if self.me.index_of(action.receiver) >= self._share * len(self.me.peers):
            return (action,)
        if isinstance(said, ChunkHeader) and said.session == self._revealed:
            return (action,) if self._words else ()
        if isinstance(said, SumHeader) and self._signs:
            digest = SumDigest(
                said.session, said.ballot, said.member, said.chunk, said.digest, said.signature
            )
            return (Send(action.receiver, digest),)
        is_kept = isinstance(said, SumHeader) or (isinstance(said, SumDigest) and not self._signs)
        return () if is_kept else (action,)
