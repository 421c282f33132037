"""The shelf: the items of states that a member can give to others, by their digests.

What is on it, the ledger decides: the head's, and those of entries that it signed. Whoever asks
gets pages of chunk digests as messages, and chunks as bodies straight from the vector, which is
neither copied nor hashed again.

A member that asks and asks gets a bounded amount: one request leads to at most
`CHUNKS_PER_REQUEST_MAX` chunks, some requests of one member are under way at once, and in a period
it gets each item a few times. The rest is refused by a word, so that it asks elsewhere.
"""

from collections.abc import Collection
from dataclasses import dataclass

from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Send,
    Ticket,
    Vector,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateMessage,
    StateRefusal,
    StateRequest,
    page_count,
    page_of,
)
from p2pfl_gossip.ledger.states import Bytes, StateItem, bytes_of_vector

GIVING_MAX = 4
"""Requests of one member under way: a fetch has two at a time, and a state may have two items."""

GIVEN_MAX = 4
"""How often a member gets all of an item in one period: it may restart, and lose what it had."""

GIVEN_CHUNKS_MIN = 32
"""Chunks and pages that a member gets in one period, however small the item: links lose some, and
who asks the same of several holders takes a page of each."""

GIVING_PERIOD_S = 600.0
"""After that long a member is given all of an item again; what is final may be held for years."""


@dataclass(frozen=True, slots=True)
class _Held:
    item: StateItem
    values: Bytes
    chunk_digests: bytes

    @property
    def allowance(self) -> int:
        """Chunks and pages that one member gets in one period."""
        whole = self.item.chunk_count + page_count(self.item)
        return max(GIVEN_MAX * whole, GIVEN_CHUNKS_MIN)


@dataclass(slots=True)
class _Given:
    since_s: float
    count: int = 0


class Shelf:
    """What a member can give; it answers members only, which the caller sees to.

    Args:
        desk: for what is sent; of this machine alone.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._held: dict[bytes, _Held] = {}
        self._giving: dict[PeerId, dict[tuple[bytes, int], Ticket]] = {}
        self._given: dict[bytes, dict[PeerId, _Given]] = {}

    def hold(self, item: StateItem, vector: Vector, chunk_digests: bytes) -> None:
        """Have an item at hand for others.

        Args:
            item: what it is known by.
            vector: float32[item.length]; nobody writes to it from now on.
            chunk_digests: of its chunks, joined.

        Raises:
            LocalProtocolError: the digests are not those of the item, or the length is another.
        """
        if len(vector) != item.length or not item.is_list(chunk_digests):
            raise LocalProtocolError(f"not the item: {item}")
        values = bytes_of_vector(vector)
        values.flags.writeable = False
        self._held[item.digest] = _Held(item, values, chunk_digests)

    def drop(self, digest: bytes) -> None:
        """Give an item to nobody any more; what is being sent goes on."""
        self._held.pop(digest, None)
        self._given.pop(digest, None)

    def keep_only(self, digests: Collection[bytes]) -> None:
        """Drop all but these items."""
        for digest in [digest for digest in self._held if digest not in digests]:
            self.drop(digest)

    def holds(self, digest: bytes) -> bool:
        """Tell whether an item is at hand."""
        return digest in self._held

    def on_message(self, now_s: float, sender: PeerId, message: StateMessage) -> list[Action]:
        """Answer what a member asks for, or raise RemoteProtocolError and change nothing."""
        match message:
            case StateRequest():
                return self._on_request(now_s, sender, message)
            case ChunksRequest():
                return self._on_chunks_request(now_s, sender, message)
            case ChunksCancel():
                ticket = self._giving.get(sender, {}).get((message.digest, message.first))
                return [] if ticket is None else [CancelSend(ticket)]
        raise RemoteProtocolError("unexpected_message")

    def _on_request(self, now_s: float, sender: PeerId, asked: StateRequest) -> list[Action]:
        held = self._held.get(asked.digest)
        if held is None:
            return [Send(sender, StateRefusal(asked.digest))]
        if asked.page >= page_count(held.item):
            raise RemoteProtocolError("no_such_page")
        if not self._may_give(now_s, sender, held, 1):
            return [Send(sender, StateRefusal(asked.digest))]
        page = page_of(held.chunk_digests, asked.page)
        return [Send(sender, StateChunkDigests(asked.digest, asked.page, page))]

    def _on_chunks_request(
        self, now_s: float, sender: PeerId, asked: ChunksRequest
    ) -> list[Action]:
        held = self._held.get(asked.digest)
        if held is None:
            return [Send(sender, StateRefusal(asked.digest))]
        if asked.first + asked.count > held.item.chunk_count:
            raise RemoteProtocolError("no_such_chunk")
        giving = self._giving.setdefault(sender, {})
        key = (asked.digest, asked.first)
        if key in giving:
            return []  # It is coming.
        if len(giving) >= GIVING_MAX or not self._may_give(now_s, sender, held, asked.count):
            return [Send(sender, StateRefusal(asked.digest))]

        def sent(_now_s: float, _ok: bool) -> list[Action]:
            del giving[key]
            return []

        part = held.values[held.item.bytes_of(asked.first, asked.count)]
        header = StateChunks(asked.digest, asked.first, asked.count)
        sending = self._desk.send_bulk(sender, header, (part,), len(part), sent)
        assert sending.ticket is not None
        giving[key] = sending.ticket
        return [sending]

    def _may_give(self, now_s: float, sender: PeerId, held: _Held, count: int) -> bool:
        """Count what a member is about to get; tell whether it may."""
        by_member = self._given.setdefault(held.item.digest, {})
        given = by_member.get(sender)
        if given is None or now_s - given.since_s >= GIVING_PERIOD_S:
            given = by_member[sender] = _Given(now_s)
        if given.count + count > held.allowance:
            return False
        given.count += count
        return True
