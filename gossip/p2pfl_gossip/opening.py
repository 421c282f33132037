"""The opening of a network: no peer begins before all members are there.

`Opening` is a machine around a peer, and passes every input on to it once the network is open. A
member says that it is ready, to all. It begins when everybody has said so, or as soon as it hears
of a member that has begun, by a frame of that one's peer or by its answer: then all were ready.

Members compare what they would average (comparison.py): each message here names the sender's
description. Whoever has another one than we is never ready, says nothing that counts, and is told
apart by name. This goes on once the group is open, for members that are started again.

Losing a message only delays: a timer asks for what is missing, and members that have begun go on
answering. A member that lies can stay away, or claim another description, so that nobody begins; or
make others begin while somebody is away, as if that one had dropped out. It cannot have models
averaged that differ: not even whom it made begin takes anything of a member with another
description.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from random import Random

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    Disconnect,
    LocalProtocolError,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    Vector,
)
from p2pfl_gossip.askings import Askings
from p2pfl_gossip.comparison import Comparison, DescriptionRequest, Present
from p2pfl_gossip.description import (
    DESCRIPTION_RECORD,
    Description,
    DescriptionPage,
    encode_page,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Digest, Message
from p2pfl_gossip.roster import Roster

ASKED_MAX = 8
"""Members asked at each tick. What a single member knows reaches a thousand in about four ticks."""

ASKINGS_MAX = 8
"""Times that one member is told our whole description in each deadline.

An honest member asks at its tick, when it hears of one that has begun, and when a link comes up;
whatever more it asks is not answered, and it asks again.
"""

WAITS_NAMED_MAX = 8
"""Members that a report names: enough to go and look."""


class Ready(Message, frozen=True, tag=7):
    """I am there; if `asks`, say whether you are. `description`: see `Present`."""

    asks: bool
    description: Digest


class Begun(Message, frozen=True, tag=8):
    """All members were ready, and I have begun. `description`: see `Present`."""

    description: Digest


OPENING_MESSAGES = Ready | Begun | Present | DescriptionRequest | DescriptionPage


class OpeningStage(StrEnum):
    """Where a member is in the opening."""

    NEW = "new"
    READY = "ready"  # Not everybody has said so.
    OPEN = "open"
    LEFT = "left"


NEXT_STAGES = {
    OpeningStage.NEW: {OpeningStage.READY, OpeningStage.OPEN},
    OpeningStage.READY: {OpeningStage.OPEN, OpeningStage.LEFT},
    OpeningStage.OPEN: set(),
    OpeningStage.LEFT: set(),
}


class Opening(DeskMachine):
    """A member of a network, from before it opens.

    Args:
        index: its place in the roster.
        roster: all members.
        deadline_s: the time between two askings.
        draw_seed: of cohorts and graphs, 32 bytes: kept, since what was drawn holds for good.
        description: what it would average.
        make_peer: makes the peer, given the draw seed and a desk for it; called once.
        rng: draws whom to ask.
    """

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        deadline_s: float,
        draw_seed: bytes,
        description: Description,
        make_peer: Callable[[bytes, Desk], Peer],
        rng: Random,
    ) -> None:
        self._index, self._roster, self._deadline_s = index, roster, deadline_s
        self._draw_seed, self._make_peer, self._rng = draw_seed, make_peer, rng
        self._stage = OpeningStage.NEW
        self._peer: Peer | None = None
        self._records: dict[str, bytes | Vector] = {}
        self._comparison = Comparison(description, index)
        self._description = description
        # Membership and size only, of both.
        self._ready = {index}
        self._begun: set[int] = set()
        self._page_askings = Askings(deadline_s, ASKINGS_MAX * description.page_count)
        self._asked: set[int] = set()  # Who got a request since the last tick; membership only.
        self._is_paused = False
        self._told: events.OpeningWaits | None = None
        self._desk = Desk()

    @property
    def peer(self) -> Peer | None:
        """The peer, once the group is open."""
        return self._peer

    @property
    def round(self) -> int:
        """The round that the peer is in; 0 before the group is open."""
        return self._peer.round if self._peer else 0

    @property
    def state(self) -> str:
        """Where the member is, for people: of the opening, then of its peer."""
        if self._peer is not None:
            return self._peer.state
        if self._stage is OpeningStage.READY:
            if self._comparison.differing:
                differ = len(self._comparison.differing)
                return f"opening: {differ} of {len(self._roster)} members differ from this one"
            return f"opening: waits for {len(self._awaited())} of {len(self._roster)} members"
        return self._stage

    # --- start, end, commands -------------------------------------------------------------------

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Take part in the opening, or go on with the peer if the group was open before."""
        if self._stage is not OpeningStage.NEW:
            raise LocalProtocolError("started twice")
        self._records = records
        if "draw_seed" in records:
            if records["draw_seed"] != self._draw_seed:
                raise LocalProtocolError("the persisted draw seed is not of this network")
            return self._start_peer(now_s)
        return self._take_part(now_s)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave at once. A pause holds from the peer's first round on, which is done."""
        if self._peer is not None:
            return self._peer.on_command(now_s, command)
        if self._stage is OpeningStage.NEW:
            raise LocalProtocolError(f"asked to {command} before the start")
        if self._stage is OpeningStage.LEFT:
            return []
        if command is Command.LEAVE:
            self._enter(OpeningStage.LEFT)
            return [*self._desk.close(), Report(events.Left(0))]
        self._is_paused = command is Command.PAUSE
        return []

    # --- frames and links -----------------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if isinstance(message, OPENING_MESSAGES):
            return self._on_opening_message(now_s, index, message)
        if index in self._comparison.differing:
            return []
        if self._peer is not None:
            return self._peer.on_message(now_s, sender, message)
        actions = self._on_begun(now_s, index)
        peer = self.peer
        if peer is None:
            return actions
        try:
            return actions + peer.on_message(now_s, sender, message)
        except RemoteProtocolError as error:
            # The peer has begun, which cannot be undone by raising.
            return [*actions, Disconnect(sender, error.reason)]

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether a body is wanted, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if isinstance(header, OPENING_MESSAGES):
            raise RemoteProtocolError("unexpected_message")
        if index in self._comparison.differing:
            return False, []
        if self._peer is not None:
            return self._peer.on_bulk_begin(now_s, sender, bulk, header)
        actions = self._on_begun(now_s, index)
        peer = self.peer
        if peer is None:
            return False, actions
        try:
            is_wanted, more = peer.on_bulk_begin(now_s, sender, bulk, header)
        except RemoteProtocolError as error:
            return False, [*actions, Disconnect(sender, error.reason)]
        return is_wanted, actions + more

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take the next bytes of a body."""
        return self._running().on_bulk_chunk(now_s, sender, bulk, chunk)

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take a whole body."""
        return self._running().on_bulk_end(now_s, sender, bulk, trailer)

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke."""
        return self._running().on_bulk_lost(now_s, sender, bulk)

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Tell a member that can be reached now what it may lack from us.

        Our description is told before anything of the peer: it or we may have been started again.
        """
        index = self._roster.index_untrusted(peer)
        if self._stage is OpeningStage.LEFT or (self._peer and self._peer.state is State.LEFT):
            return []
        message: Message = Present(self._comparison.digest)
        if self._stage is OpeningStage.OPEN:
            message = Begun(self._comparison.digest)
        elif self._stage is OpeningStage.READY:
            message = self._say_ready(index)
        actions: list[Action] = [Send(peer, message)]
        actions += self._request(self._comparison.ask_again(index))
        return actions if self._peer is None else actions + self._peer.on_peer_up(now_s, peer)

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Nothing before the peer has begun: the timer asks again."""
        return [] if self._peer is None else self._peer.on_peer_down(now_s, peer)

    # --- the opening ----------------------------------------------------------------------------

    def _take_part(self, now_s: float) -> list[Action]:
        self._enter(OpeningStage.READY)
        actions: list[Action] = [
            Send(self._roster.peers[other], self._say_ready(other)) for other in self._others()
        ]
        actions += self._go_on(now_s)
        if self._stage is OpeningStage.OPEN:  # In a network of one.
            return actions
        return actions + self._set_timer(now_s)

    def _on_opening_message(self, now_s: float, sender: int, message: Message) -> list[Action]:
        if self._stage is OpeningStage.LEFT or (self._peer and self._peer.state is State.LEFT):
            return []
        peer_id = self._roster.peers[sender]
        if isinstance(message, DescriptionRequest):
            if not self._page_askings.may_answer(now_s, sender):
                return []
            return [Send(peer_id, self._comparison.page(message))]
        if isinstance(message, DescriptionPage):
            return self._on_page(now_s, sender, message)
        actions: list[Action] = []
        if isinstance(message, Present | Ready | Begun):
            actions += self._on_described(sender, message.description)
        if isinstance(message, Begun):
            return actions + self._on_begun(now_s, sender)
        if isinstance(message, Ready) and self._comparison.is_alike(sender):
            self._ready.add(sender)
        actions += self._go_on(now_s)
        if self._stage is OpeningStage.OPEN:
            actions.append(Send(peer_id, Begun(self._comparison.digest)))
        elif isinstance(message, Ready) and message.asks and self._stage is OpeningStage.READY:
            actions.append(Send(peer_id, Ready(False, self._comparison.digest)))
        return actions

    def _on_described(self, sender: int, digest: bytes) -> list[Action]:
        """Note what a member would average; find out in what it differs, if it does."""
        was_different = self._comparison.differing.get(sender)
        actions = self._request(self._comparison.on_told(sender, digest))
        if not self._comparison.is_alike(sender):
            self._ready.discard(sender)
            self._begun.discard(sender)
        elif was_different is not None:
            actions.append(Report(events.MemberAgrees(self._roster.peers[sender])))
        return actions

    def _on_page(self, now_s: float, sender: int, page: DescriptionPage) -> list[Action]:
        """Name the first difference; or ask a member that has none but rounding to say more."""
        found, requests = self._comparison.on_page(sender, page)
        actions = self._request(requests)
        peer_id = self._roster.peers[sender]
        if found is not None:
            actions.append(
                Report(
                    events.MemberDiffers(peer_id, found.what, found.name, found.theirs, found.ours)
                )
            )
        elif self._comparison.is_alike(sender) and self._stage is OpeningStage.READY:
            # What it said before did not count.
            actions.append(Send(peer_id, self._say_ready(sender)))
        return actions

    def _on_begun(self, now_s: float, sender: int) -> list[Action]:
        """Begin as well, as somebody has; ask that one for what we lack to do so."""
        if (
            self._stage in (OpeningStage.OPEN, OpeningStage.LEFT)
            or sender in self._comparison.differing
        ):
            return []
        if self._comparison.is_alike(sender):
            self._begun.add(sender)
            return self._go_on(now_s)
        # Whoever has begun sends much: a few requests in each deadline are enough.
        if sender in self._asked or len(self._asked) >= ASKED_MAX:
            return []
        self._asked.add(sender)
        # Its answer tells its description.
        return [Send(self._roster.peers[sender], self._say_ready(sender))]

    def _go_on(self, now_s: float) -> list[Action]:
        """Begin once everybody is ready."""
        if self._stage is not OpeningStage.READY or not self._may_begin():
            return []
        actions = self._desk.cancel_timer("asking")
        actions += [Persist(self._to_records()), Report(events.Opened())]
        return actions + self._start_peer(now_s)

    def _may_begin(self) -> bool:
        """Whether all are ready; or somebody has begun, which is so only if all were.

        Somebody may say that it has begun to bring members together that differ. So where one
        differs, one member's word is not enough: one of those who say it must be honest.
        """
        enough = liars_max_of(len(self._roster)) + 1 if self._comparison.differing else 1
        return len(self._ready) == len(self._roster) or len(self._begun) >= enough

    def _start_peer(self, now_s: float) -> list[Action]:
        self._enter(OpeningStage.OPEN)
        self._peer = peer = self._make_peer(self._draw_seed, self._desk.sub())
        records, self._records = self._records, {}
        actions = peer.on_start(now_s, records)
        return actions + peer.on_command(now_s, Command.PAUSE) if self._is_paused else actions

    def _ask(self) -> list[Action]:
        """Ask some of those that we wait for, drawn at random."""
        awaited = self._awaited()
        drawn = self._rng.sample(awaited, min(ASKED_MAX, len(awaited)))
        message = Ready(True, self._comparison.digest)
        return [Send(self._roster.peers[other], message) for other in drawn]

    def _say_ready(self, member: int) -> Ready:
        return Ready(member not in self._ready, self._comparison.digest)

    def _request(self, requests: Sequence[tuple[int, DescriptionRequest]]) -> list[Action]:
        return [Send(self._roster.peers[member], request) for member, request in requests]

    def _report_waiting(self) -> list[Action]:
        differing = self._comparison.differing
        awaited = [member for member in self._awaited() if member not in differing]
        event = events.OpeningWaits(
            count=len(awaited),
            members=tuple(self._roster.peers[member] for member in awaited[:WAITS_NAMED_MAX]),
        )
        if event == self._told or not awaited:  # Who differs is named by itself.
            return []
        self._told = event
        return [Report(event)]

    def _awaited(self) -> tuple[int, ...]:
        """The members that we wait for, in roster order."""
        return tuple(index for index in range(len(self._roster)) if index not in self._ready)

    def _others(self) -> list[int]:
        return [index for index in range(len(self._roster)) if index != self._index]

    # --- records, timer, state ------------------------------------------------------------------

    def _to_records(self) -> dict[str, bytes | Vector | None]:
        """What a restarted process goes on from; no keys of the peer's.

        The description is kept so that a task that was changed meanwhile is told at the start.
        """
        return {
            "draw_seed": self._draw_seed,
            DESCRIPTION_RECORD: encode_page(self._description.page(0)),
        }

    def _set_timer(self, now_s: float) -> list[Action]:
        return self._desk.set_timer("asking", now_s + self._deadline_s, self._on_asking_due)

    def _on_asking_due(self, now_s: float) -> list[Action]:
        """Ask again for what is missing."""
        self._asked.clear()
        actions = [*self._report_waiting(), *self._request(self._comparison.ask_again())]
        return [*actions, *self._ask(), *self._set_timer(now_s)]

    def _enter(self, stage: OpeningStage) -> None:
        if stage not in NEXT_STAGES[self._stage]:
            raise LocalProtocolError(f"from {self._stage} to {stage}")
        self._stage = stage

    def _running(self) -> Peer:
        if self._peer is None:
            raise LocalProtocolError("told of what no peer has asked for: none has begun")
        return self._peer
