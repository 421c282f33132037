"""Decides which holder is asked for which chunks of an item.

What is open is shared out at once, in ranges of about one size, so that all bring at the same time
and round trips cost little. Whoever has brought all of its own takes over a part of what another is
still to bring, where that one would need twice as long as the two of them.
"""

from dataclasses import dataclass

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.chunk_map import ChunkMap
from p2pfl_gossip.ledger.holders import AskedChunks, Holder, HolderState
from p2pfl_gossip.ledger.state_messages import (
    CHUNKS_PER_REQUEST_MAX,
    ChunksCancel,
    ChunksRequest,
)

REQUESTS_PER_HOLDER_MAX = 2
"""Under way to one holder: the second body is on its way while the first one ends."""


class ChunkAsking:
    """Asks holders for chunks of one item.

    Args:
        digest: the item's.
        chunks: which are here and asked for; kept up to date.
    """

    def __init__(self, digest: bytes, chunks: ChunkMap) -> None:
        self._digest, self._chunks = digest, chunks

    def share_out(self, now_s: float, ready: list[Holder]) -> list[Action]:
        """Ask for what is open, of each as much as gives all of them something to do."""
        actions: list[Action] = []
        free = sum(max(0, REQUESTS_PER_HOLDER_MAX - len(holder.asked)) for holder in ready)
        # Who is not free now will be soon: its part waits for it.
        share = -(-self._chunks.open_count // max(free, len(ready), 1))
        for turn in range(REQUESTS_PER_HOLDER_MAX):
            for holder in ready:
                chunks = self._chunks.open_run(min(share, CHUNKS_PER_REQUEST_MAX))
                if chunks and len(holder.asked) <= turn:
                    actions.append(self._ask(now_s, holder, chunks))
        return actions

    def _ask(self, now_s: float, holder: Holder, chunks: range) -> Action:
        if not holder.asked:
            holder.heard_s = holder.chunk_at_s = now_s
        self._chunks.ask(chunks)
        holder.asked.append(AskedChunks(chunks.start, chunks.stop, chunks.start))
        return Send(holder.peer, ChunksRequest(self._digest, chunks.start, len(chunks)))

    def take_over(
        self, now_s: float, idle: Holder, holders: list[Holder]
    ) -> tuple[list[Action], list[float]]:
        """Ask an idle holder for what another needs long for; or tell when to look again."""
        pace = _pace_of((idle, *holders))
        if pace is None:
            return [], []
        later_s: list[float] = []
        bringing = [it for it in holders if any(asked.is_counted for asked in it.asked)]
        for slow in bringing:
            for asked in slow.asked:
                half_s = pace.needs_s(len(asked.left) // 2)
                slow_at_s = slow.slow_at_s(half_s)
                if slow_at_s > now_s:
                    later_s.append(slow_at_s)
                    continue
                on_time = [it for it in bringing if it.slow_at_s(half_s) > now_s]
                missing = [
                    chunk
                    for chunk in asked.left
                    if not self._chunks.is_here(chunk)
                    and not any(other.is_to_bring(chunk) for other in on_time)
                ]
                if missing:
                    count = pace.part_of(len(missing), slow.pace_s(now_s))
                    chunks = range(missing[-count], missing[-1] + 1)
                    return [self._ask(now_s, idle, chunks)], []
        return [], later_s

    def is_of_no_use(self, asked: AskedChunks) -> bool:
        """Tell whether the next chunk of a range is here, and others are to bring the rest."""
        chunks = self._chunks
        return chunks.is_here(asked.position) and all(
            chunks.is_here(chunk) or chunks.askers(chunk) > asked.is_counted for chunk in asked.left
        )

    def cancel(self, holder: Holder, asked: AskedChunks) -> Action:
        """Tell a holder to send no more of a range."""
        return Send(holder.peer, ChunksCancel(self._digest, asked.first))

    def count(self, asked: AskedChunks) -> None:
        """Have the map count a range as asked for."""
        if not asked.is_counted:
            self._chunks.ask(asked.left)
            asked.is_counted = True

    def uncount(self, asked: AskedChunks) -> None:
        """Have the map count on a range no more: others may be asked for it."""
        if asked.is_counted:
            self._chunks.release(asked.left)
            asked.is_counted = False


@dataclass(frozen=True, slots=True)
class _Pace:
    """How fast a holder would be: seconds to its first byte, and seconds a chunk."""

    latency_s: float
    chunk_s: float

    def needs_s(self, count: int) -> float:
        """Return how long it would need for so many chunks."""
        return self.latency_s + count * self.chunk_s

    def part_of(self, count: int, other_s: float) -> int:
        """Return how many of `count` chunks it takes over from who needs `other_s` for each.

        So many that both would end together, and at least one.
        """
        part = (count * other_s - self.latency_s) / (self.chunk_s + other_s)
        return min(max(1, round(part)), count)


def _pace_of(holders: tuple[Holder, ...]) -> _Pace | None:
    """Estimate the pace of the first of these holders; None if nobody has brought anything.

    Where nothing is known of it yet, it is taken to be like the next.
    """
    chunk_s = next((it.chunk_s for it in holders if it.chunk_s is not None), None)
    latency_s = next((it.latency_s for it in holders if it.latency_s is not None), 0.0)
    return None if chunk_s is None else _Pace(latency_s, chunk_s)


def idle_of(ready: list[Holder]) -> list[Holder]:
    """Return the holders that have nothing to bring."""
    return [it for it in ready if it.state == HolderState.READY and not it.asked]
