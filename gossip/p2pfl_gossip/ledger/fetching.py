"""Gets one item of a state by its digest, from several holders at once, any of whom may lie.

First every holder is asked for the chunk digests. The first list that the item's digest confirms
counts; whoever says another is a liar. Then all holders are asked for ranges of chunks at once
(chunk_asking.py). Chunks are written in place as they come (intake.py) and checked by their
digests. A false one ends its bringer's link, and what that one was asked for is asked of others.
Nobody can hold the fetch up: not who is silent, and not who trickles.

A fetch never fails. Chunks that are here stay; when all holders have failed, `is_stalled` says so,
and it goes on with the next holder that is named.

Chunks are hashed by jobs, one of a body at a time. 100 MB from four holders over loopback, on two
busy cores, took 1.05 times as long as one plain body so, and 1.27 times where the inputs hashed:
the links keep the event loop busy, and a thread hashes beside it.
"""

from collections.abc import Sequence

import numpy as np

from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Disconnect,
    PeerId,
    RemoteProtocolError,
    Send,
    Vector,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.chunk_asking import ChunkAsking, idle_of
from p2pfl_gossip.ledger.chunk_map import ChunkMap
from p2pfl_gossip.ledger.holders import Holder, HolderState
from p2pfl_gossip.ledger.intake import ArrivingBody, Intake
from p2pfl_gossip.ledger.state_messages import (
    StateChunkDigests,
    StateChunks,
    StateMessage,
    StateRefusal,
    StateRequest,
    page_count,
)
from p2pfl_gossip.ledger.states import ChunksDigested, DigestChunks, StateItem
from p2pfl_gossip.records import Record

HOLDERS_IN_USE_MAX = 8
"""Asked at once; others take the place of those that fail. More would not fill our link better."""

LOSSES_MAX = 3
"""Bodies of one holder lost in a row, without one chunk; then it counts as stalled."""

SILENCE_FACTOR = 4
"""A holder has stalled when it was silent for that many times the longest silence that ended."""

SILENCE_MIN_S = 1.0
"""No holder has stalled before: it may be training, and its answers late by that."""

GRACE_MIN_S = 0.02
"""After the first holder, the others have as long as that one took to tell what they hold, and at
least this; then chunks are shared out among those that have."""


class Fetched(Record, frozen=True):
    """The end of a fetch: the item's vector, float32[length], read-only, and its chunk digests."""

    vector: Vector
    chunk_digests: bytes


class StateFetch:
    """Gets one item.

    Once it is over, or given up by `close`, it wants no more inputs; bodies may still come.

    Args:
        item: as a certificate fixes it.
        desk: for timers and jobs; of this machine alone.
        deadline_s: the longest that a holder may be silent; the time adapts to what comes.
        base: a vector at hand and its chunk digests; chunks that are equal are taken from it.
        asked: gets whom we ask. Answers may come late: what they were to is given up, or the same
            item is fetched anew. They are passed over, where others' are refused.

    Attributes:
        outcome: set once all is here.
    """

    def __init__(
        self,
        item: StateItem,
        *,
        desk: Desk,
        deadline_s: float,
        base: tuple[Vector, bytes] | None = None,
        asked: dict[PeerId, None] | None = None,
    ) -> None:
        self.outcome: Fetched | None = None
        self._asked = {} if asked is None else asked
        self._item, self._desk, self._deadline_s = item, desk, deadline_s
        self._base = base
        self._holders: dict[PeerId, Holder] = {}
        self._bodies: dict[int, ArrivingBody] = {}
        self._chunks = ChunkMap(item.chunk_count)
        self._asking = ChunkAsking(item.digest, self._chunks)
        self._list = b""  # The chunk digests, once they are known.
        self._intake: Intake | None = None  # From then on.
        self._is_sharing = False  # Whether chunks are asked for yet.
        self._silence_s: float | None = None  # The longest that has ended.
        self._wakes_at_s: float | None = None

    @property
    def is_stalled(self) -> bool:
        """Tell whether nothing can be expected before another holder is named."""
        return self.outcome is None and not any(
            it.is_in_use or it.is_waited_for for it in self._holders.values()
        )

    @property
    def refusal_count(self) -> int:
        """Return how many holders say that they do not give the item, and have not given any since.

        Who has it refuses, too, where we had too much of it of late.
        """
        return sum(holder.refuses for holder in self._holders.values())

    @property
    def verified_count(self) -> int:
        """Return how many of the item's chunks are here, and are what they must be."""
        return 0 if self._intake is None else self._intake.verified_count

    def takes(self, bulk: int) -> bool:
        """Tell whether a body under way is of this fetch."""
        return bulk in self._bodies

    # --- holders --------------------------------------------------------------------------------

    def start(self, now_s: float, holders: Sequence[PeerId]) -> list[Action]:
        """Begin with some holders, in order of preference."""
        return [action for peer in holders for action in self.add_holder(now_s, peer)]

    def add_holder(self, now_s: float, peer: PeerId) -> list[Action]:
        """Use one holder more, or again: who names the item anew may have it by now.

        Who has lied is not asked again.
        """
        if self.outcome is not None:
            return []
        holder = self._holders.setdefault(peer, Holder(peer))
        if holder.is_in_use or holder.state == HolderState.LIAR:
            return []
        actions: list[Action] = []
        if holder.state == HolderState.STALLED:
            holder.patience *= 2
        actions += [self._asking.cancel(holder, it) for it in holder.asked if it.is_begun]
        actions += self._leave(holder, HolderState.SPARE)
        return [*actions, *self._go_on(now_s)]

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Do without a holder whose link is gone, until it is named again."""
        holder = self._holders.get(peer)
        if holder is None or holder.state == HolderState.LIAR or self.outcome is not None:
            return []
        return [*self._leave(holder, HolderState.DOWN), *self._go_on(now_s)]

    def _use_spares(self, now_s: float) -> list[Action]:
        """Ask as many holders as are to be in use."""
        actions: list[Action] = []
        in_use = sum(holder.is_in_use for holder in self._holders.values())
        for holder in self._holders.values():
            if in_use < HOLDERS_IN_USE_MAX and holder.state == HolderState.SPARE:
                in_use += 1
                holder.begin(now_s, has_list=bool(self._list))
                self._asked[holder.peer] = None
                if not self._list:
                    actions += [
                        Send(holder.peer, StateRequest(self._item.digest, page))
                        for page in range(page_count(self._item))
                    ]
        return actions

    def _leave(self, holder: Holder, state: HolderState) -> list[Action]:
        """Expect nothing more of a holder; what it brought in whole is still looked at."""
        actions: list[Action] = []
        holder.state = state
        for body in self._bodies.values():
            if body.holder is holder:
                actions += self._end(body)
        for asked in holder.asked:
            self._asking.uncount(asked)
        holder.asked.clear()
        return actions

    def _stall(self, holder: Holder) -> None:
        """Have others bring what a holder is to bring, if it does not after all."""
        holder.state = HolderState.STALLED
        for asked in holder.asked:
            self._asking.uncount(asked)

    def _blame(self, now_s: float, holder: Holder, reason: str) -> list[Action]:
        actions: list[Action] = []
        if holder.state != HolderState.LIAR:
            actions = [*self._leave(holder, HolderState.LIAR), Disconnect(holder.peer, reason)]
        return [*actions, *self._go_on(now_s)]

    # --- the list of chunk digests --------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: StateMessage) -> list[Action]:
        """Take a holder's answer, or raise RemoteProtocolError and change nothing."""
        holder = self._holders.get(sender)
        if holder is None or holder.state == HolderState.SPARE:
            self._require_asked(sender)
            return []
        match message:
            case StateChunkDigests():
                return self._on_page(now_s, holder, message)
            case StateRefusal():
                return self._on_refusal(now_s, holder)
        raise RemoteProtocolError("unexpected_message")

    def _require_asked(self, sender: PeerId) -> None:
        if sender not in self._asked:
            raise RemoteProtocolError("not_asked_for")

    def _on_refusal(self, now_s: float, holder: Holder) -> list[Action]:
        """Ask others; bodies that have begun go on."""
        if self.outcome is not None or holder.state == HolderState.LIAR:
            return []
        holder.state, holder.refuses = HolderState.REFUSED, True
        for asked in holder.asked:
            if not asked.is_begun:
                self._asking.uncount(asked)
        holder.asked = [asked for asked in holder.asked if asked.is_begun]
        return self._go_on(now_s)

    def _on_page(self, now_s: float, holder: Holder, message: StateChunkDigests) -> list[Action]:
        pages = page_count(self._item)
        if message.page >= pages:
            raise RemoteProtocolError("no_such_page")
        if self.outcome is not None or not holder.is_probed:
            return []
        self._hear(now_s, holder)
        holder.pages[message.page] = message.chunk_digests
        if len(holder.pages) < pages:
            return []
        told = b"".join(holder.pages[page] for page in range(pages))
        holder.pages.clear()
        if told != self._list if self._list else not self._item.is_list(told):
            return self._blame(now_s, holder, "false_chunk_digests")
        latency_s = holder.answered(now_s)
        actions = [] if self._list else self._take_list(now_s, told, latency_s)
        return [*actions, *self._go_on(now_s)]

    def _take_list(self, now_s: float, told: bytes, latency_s: float) -> list[Action]:
        self._list = told
        self._intake = Intake(self._item, self._chunks, told)
        if self._base is not None and len(self._base[0]) == self._item.length:
            self._intake.take_from(*self._base)
        self._base = None
        if self._intake.verified_count == self._chunks.count:
            return self._finish(self._intake)
        return self._desk.set_timer("share", now_s + max(latency_s, GRACE_MIN_S), self._share)

    def _share(self, now_s: float) -> list[Action]:
        self._is_sharing = True
        return self._go_on(now_s)

    # --- what to do next ------------------------------------------------------------------------

    def _go_on(self, now_s: float) -> list[Action]:
        """Ask for all that can be asked for, and see to be woken when more can be."""
        if self.outcome is not None:
            return []
        actions = self._use_spares(now_s)
        holders = list(self._holders.values())
        ready = [holder for holder in holders if holder.state == HolderState.READY]
        if self._list and not any(holder.state == HolderState.PROBED for holder in holders):
            self._is_sharing = True
            actions += self._desk.cancel_timer("share")
        wakes_at_s: list[float] = []
        if self._is_sharing:
            actions += self._asking.share_out(now_s, ready)
            for idle in idle_of(ready):
                asking, later_s = self._asking.take_over(now_s, idle, holders)
                actions += asking
                wakes_at_s += later_s
        wakes_at_s += [it.heard_s + self._patience_s(it) for it in holders if it.is_waited_for]
        return [*actions, *self._wake(min(wakes_at_s, default=None))]

    def _patience_s(self, holder: Holder) -> float:
        if self._silence_s is None:
            return holder.patience * self._deadline_s
        silence_s = max(SILENCE_FACTOR * self._silence_s, SILENCE_MIN_S)
        return holder.patience * min(silence_s, self._deadline_s)

    def _hear(self, now_s: float, holder: Holder) -> None:
        """Note that a holder brought something."""
        if holder.asked and holder.is_waited_for:
            self._silence_s = max(self._silence_s or 0.0, now_s - holder.heard_s)
        elif holder.state == HolderState.STALLED and self._list:
            holder.state = HolderState.READY
            for asked in holder.asked:
                self._asking.count(asked)
        holder.heard_s = now_s

    def _wake(self, at_s: float | None) -> list[Action]:
        """See to be called at a time, or earlier: a timer that is early is set again."""
        if at_s is None or (self._wakes_at_s is not None and self._wakes_at_s <= at_s):
            return []
        self._wakes_at_s = at_s
        return self._desk.set_timer("wake", at_s, self._on_wake)

    def _on_wake(self, now_s: float) -> list[Action]:
        self._wakes_at_s = None
        for holder in self._holders.values():
            if holder.is_waited_for and now_s >= holder.heard_s + self._patience_s(holder):
                self._stall(holder)
        return self._go_on(now_s)

    # --- bodies ---------------------------------------------------------------------------------

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: StateChunks
    ) -> tuple[bool, list[Action]]:
        """Say whether chunks are wanted, or raise RemoteProtocolError."""
        holder = self._holders.get(sender)
        if holder is None:
            self._require_asked(sender)
            return False, []
        asked = holder.find(header.first, header.count)
        if asked is None or asked.is_begun or self._intake is None:
            return False, []  # It was told to send no more of it, or was asked in an earlier life.
        self._hear(now_s, holder)
        if self._asking.is_of_no_use(asked):
            holder.asked.remove(asked)
            self._asking.uncount(asked)
            return False, self._go_on(now_s)
        asked.is_begun = True
        self._bodies[bulk] = self._intake.begin(holder, asked)
        return True, []

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take bytes, or raise RemoteProtocolError."""
        body = self._bodies.get(bulk)
        if body is None:
            return []
        fresh = np.frombuffer(chunk, np.uint8)
        if len(fresh) > body.left:
            raise RemoteProtocolError("body_too_long")
        body.left -= len(fresh)
        if body.asked is None or self._intake is None:
            return []
        self._hear(now_s, body.holder)
        actions: list[Action] = []
        while len(fresh) and body.asked is not None:
            fresh = self._intake.write(body, fresh)
            if body.filled == body.size:
                actions += self._on_chunk(now_s, body, self._intake)
        return actions

    def _on_chunk(self, now_s: float, body: ArrivingBody, intake: Intake) -> list[Action]:
        """Take a chunk that has come in whole."""
        holder, asked = body.holder, body.asked
        assert asked is not None
        intake.end_chunk(body)
        holder.note_chunk(now_s)
        if asked.left and not self._asking.is_of_no_use(asked):
            return self._digest(body)
        actions = self._end(body)
        holder.asked.remove(asked)
        if asked.left:
            self._asking.uncount(asked)
            actions.append(self._asking.cancel(holder, asked))
        return [*actions, *self._go_on(now_s)]

    def on_bulk_end(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Take the end of a body, or raise RemoteProtocolError."""
        body = self._bodies.get(bulk)
        if body is None:
            return []
        if body.left:
            raise RemoteProtocolError("body_too_short")
        del self._bodies[bulk]
        return []

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body; what came of it in whole is still looked at, the rest is asked again."""
        body = self._bodies.pop(bulk, None)
        if body is None or body.asked is None:
            return []
        holder, asked = body.holder, body.asked
        actions = self._end(body)
        holder.asked.remove(asked)
        self._asking.uncount(asked)
        holder.losses += 1
        if holder.losses >= LOSSES_MAX and holder.is_in_use:
            self._stall(holder)
        return [*actions, *self._go_on(now_s)]

    def _end(self, body: ArrivingBody) -> list[Action]:
        """Take no more of a body; look at the chunks that came in whole."""
        if self._intake is not None:
            self._intake.leave(body)
        body.asked = None
        return self._digest(body)

    # --- what has come --------------------------------------------------------------------------

    def _digest(self, body: ArrivingBody) -> list[Action]:
        """Have whole chunks of a body hashed, unless earlier ones of it are: then after those."""
        whole = body.whole
        if body.is_hashing or not whole:
            return []
        body.whole, body.is_hashing = [], True

        def judge(now_s: float, digests: Sequence[bytes], *, may_blame: bool) -> list[Action]:
            body.is_hashing = False
            assert self._intake is not None
            is_right = self._intake.judge(whole, digests)
            if self._intake.verified_count == self._chunks.count:
                return self._finish(self._intake)
            actions = self._digest(body)
            if not is_right and may_blame:
                return [*actions, *self._blame(now_s, body.holder, "false_chunk")]
            return [*actions, *self._go_on(now_s)]

        def done(now_s: float, result: ChunksDigested) -> list[Action]:
            return judge(now_s, result.digests, may_blame=True)

        def failed(now_s: float, _reason: str) -> list[Action]:
            return judge(now_s, (b"",) * len(whole), may_blame=False)

        job = DigestChunks(tuple(chunk.room for chunk in whole))
        return [self._desk.work(job, done, failed)]

    def _finish(self, intake: Intake) -> list[Action]:
        """Give the vector, and tell holders to send no more."""
        intake.vector.flags.writeable = False
        self.outcome = Fetched(intake.vector, self._list)
        return self.close()

    def close(self) -> list[Action]:
        """End: nothing more is asked for or wanted."""
        actions: list[Action] = []
        for holder in self._holders.values():
            actions += [self._asking.cancel(holder, asked) for asked in holder.asked]
            holder.asked.clear()
        for body in self._bodies.values():
            body.asked = None
        return [*actions, *self._desk.close()]
