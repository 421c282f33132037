"""The members of a group, in the order of their admission."""

from collections.abc import Iterable

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import RemoteProtocolError


class Roster:
    """An ordered, immutable list of members; a member's index is its place in it.

    All protocols name members by index; only actions and inputs, which face the driver, name them
    by peer id.
    """

    __slots__ = ("_indices", "peers")

    def __init__(self, peers: Iterable[PeerId]) -> None:
        self.peers = tuple(peers)
        self._indices = {peer: index for index, peer in enumerate(self.peers)}
        if len(self._indices) != len(self.peers):
            raise ValueError("a peer is on the roster twice")

    def __len__(self) -> int:
        return len(self.peers)

    def index_untrusted(self, peer: PeerId) -> int:
        """Return the index of a peer, or raise RemoteProtocolError if it is no member."""
        index = self._indices.get(peer)
        if index is None:
            raise RemoteProtocolError("not_a_member")
        return index
