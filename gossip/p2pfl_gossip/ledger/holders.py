"""Members that are said to have an item, as one who fetches it sees them: asked, slow, lying."""

from dataclasses import dataclass, field
from enum import StrEnum

from p2pfl_gossip.actions import PeerId

CHUNK_TIME_SHARE = 0.3
"""Of the last chunk in a holder's time for a chunk: some five chunks tell a new speed."""

SLOW_FACTOR = 2
"""A holder's chunks are asked of another as well where that one takes less than half the time."""


class HolderState(StrEnum):
    """What can be expected of a holder."""

    SPARE = "spare"
    """Not asked yet: enough others are."""
    PROBED = "probed"
    """Asked for the chunk digests; whether it has the item is not known yet."""
    READY = "ready"
    """It has the item."""
    REFUSED = "refused"
    """It does not, or gives no more of it now."""
    STALLED = "stalled"
    """It has let its time pass. What it was asked for may still come."""
    DOWN = "down"
    """There is no link."""
    LIAR = "liar"
    """It gave something false: nothing more is taken from it."""


@dataclass(slots=True, eq=False)
class AskedChunks:
    """Chunks that a holder was asked for, and brings in order.

    Attributes:
        first, end: the chunks, without `end`.
        position: the next one that is not here in whole.
        is_begun: whether the body has begun.
        is_counted: whether the map has them as asked for.
    """

    first: int
    end: int
    position: int
    is_begun: bool = False
    is_counted: bool = True

    @property
    def left(self) -> range:
        """Return what is still to come."""
        return range(self.position, self.end)


@dataclass(slots=True, eq=False)
class Holder:
    """One holder.

    Attributes:
        peer: who it is.
        state: see `HolderState`.
        asked: what it is to bring.
        pages: of chunk digests, as it says, by number.
        asked_s: when it was asked for those.
        heard_s: when it last brought anything, or was asked something with nothing else open.
        chunk_at_s: when it last brought a chunk, or was asked for some with nothing else open.
        chunk_s: how long it takes for a chunk; None before the first.
        latency_s: from the first question to its answer; None before it.
        losses: bodies lost since the last chunk that came.
        patience: a factor of how long it may be silent: twice for each time that it stalled.
        refuses: whether that it gives nothing is the last that it said of the item.
    """

    peer: PeerId
    state: HolderState = HolderState.SPARE
    asked: list[AskedChunks] = field(default_factory=list)
    pages: dict[int, bytes] = field(default_factory=dict)
    asked_s: float = 0.0
    heard_s: float = 0.0
    chunk_at_s: float = 0.0
    chunk_s: float | None = None
    latency_s: float | None = None
    losses: int = 0
    patience: int = 1
    refuses: bool = False

    @property
    def is_in_use(self) -> bool:
        """Tell whether something is expected of it."""
        return self.state in (HolderState.PROBED, HolderState.READY)

    @property
    def is_probed(self) -> bool:
        """Tell whether it may still say what it holds."""
        return self.state in (HolderState.PROBED, HolderState.STALLED)

    @property
    def is_waited_for(self) -> bool:
        """Tell whether its silence says anything."""
        if self.state in (HolderState.READY, HolderState.REFUSED):
            return bool(self.asked)
        return self.state == HolderState.PROBED

    def begin(self, now_s: float, *, has_list: bool) -> None:
        """Use it, from now on; where the chunk digests are known, it need not tell them."""
        self.state = HolderState.READY if has_list else HolderState.PROBED
        self.heard_s = self.asked_s = self.chunk_at_s = now_s
        self.losses = 0
        self.pages.clear()

    def answered(self, now_s: float) -> float:
        """Note that it has the item; return how long its answer took."""
        self.state, self.refuses = HolderState.READY, False
        self.latency_s = now_s - self.asked_s
        return self.latency_s

    def find(self, first: int, count: int) -> AskedChunks | None:
        """Return the range of so many chunks that it was asked for, if it was."""
        for asked in self.asked:
            if (asked.first, asked.end) == (first, first + count):
                return asked
        return None

    def note_chunk(self, now_s: float) -> None:
        """Take the time of a chunk that came."""
        taken_s = now_s - self.chunk_at_s
        if self.chunk_s is None:
            self.chunk_s = taken_s
        else:
            self.chunk_s += CHUNK_TIME_SHARE * (taken_s - self.chunk_s)
        self.chunk_at_s, self.losses, self.refuses = now_s, 0, False

    def is_to_bring(self, chunk: int) -> bool:
        """Tell whether it was asked for a chunk, and has not brought it."""
        return any(chunk in asked.left for asked in self.asked)

    def pace_s(self, now_s: float) -> float:
        """Return how long it takes for a chunk, at best."""
        return max(self.chunk_s or 0.0, now_s - self.chunk_at_s)

    def slow_at_s(self, other_s: float) -> float:
        """Return when it counts as slow, if another can bring as much in `other_s` seconds.

        It may be past: it is slow already.
        """
        chunks = sum(len(asked.left) for asked in self.asked)
        limit_s = SLOW_FACTOR * other_s
        if self.chunk_s is None or not chunks:
            return self.chunk_at_s + limit_s
        if chunks * self.chunk_s > limit_s:
            return self.chunk_at_s
        return self.chunk_at_s + limit_s / chunks
