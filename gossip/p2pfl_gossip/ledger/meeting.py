"""The meeting of a group: nobody hears a member that would average something else.

`Meeting` is a machine around a member. The members of a group have one founding charter, which
names the first state and the code of the task. A member with another task has another charter, and
none of its signatures would hold here. So members tell each other first what they would average
(comparison.py). What a member says is passed on once it is known to have what we have. Whoever
differs counts as away, and is told apart by name, with the first thing in which it differs.

Losing a message only delays: a timer asks again until all are known to have the same. Nothing is
taken on trust: a member that lies about its task can only be found different, or found to have
another charter by what it signs.
"""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    Machine,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    Vector,
)
from p2pfl_gossip.askings import Askings
from p2pfl_gossip.comparison import (
    COMPARISON_MESSAGES,
    Comparison,
    DescriptionRequest,
    Present,
)
from p2pfl_gossip.description import (
    DESCRIPTION_RECORD,
    Description,
    DescriptionPage,
    encode_page,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

ASKINGS_MAX = 8
"""Times that one member is told our whole description in each period."""

WAITS_NAMED_MAX = 8
"""Members that a report names: enough to go and look."""


class Met(Machine, Protocol):
    """What the meeting is around: a member of a group that keeps a ledger."""

    @property
    def state(self) -> State:
        """Where it is."""

    @property
    def round(self) -> int:
        """The rounds that are done."""


MetMember = TypeVar("MetMember", bound=Met)


class Meeting(DeskMachine, Generic[MetMember]):
    """A member of a group, and whom it hears.

    Args:
        index: its place in the roster.
        roster: all members.
        period_s: the time between two askings.
        description: what it would average.
        make_member: makes the member, given a desk for it; called once.

    Attributes:
        member: what it made.
    """

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        period_s: float,
        description: Description,
        make_member: Callable[[Desk], MetMember],
    ) -> None:
        self._index, self._roster, self._period_s = index, roster, period_s
        self._description = description
        self._comparison = Comparison(description, index, is_start_exact=True)
        self._askings = Askings(period_s, ASKINGS_MAX * description.page_count)
        self._desk = Desk()
        self.member = make_member(self._desk.sub(self._settle))
        self._linked: dict[int, None] = {}
        self._is_kept = False  # Whether our description is in the journal.
        self._told: events.OpeningWaits | None = None

    @property
    def round(self) -> int:
        """The rounds that are done."""
        return self.member.round

    @property
    def state(self) -> str:
        """Where the member is, for people; until it begins, whom it waits for."""
        if self.member.state is not State.CATCHING_UP or self._is_kept:
            return self.member.state
        count = len(self._roster)
        if self._comparison.differing:
            differ = len(self._comparison.differing)
            return f"opening: {differ} of {count} members differ from this one"
        return f"opening: waits for {len(self._awaited())} of {count} members"

    # --- start and commands -----------------------------------------------------------------

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Tell all what we would average, and start the member."""
        self._is_kept = DESCRIPTION_RECORD in records
        actions: list[Action] = [
            Send(self._roster.peers[other], Present(self._comparison.digest))
            for other in self._others()
        ]
        actions += self._settle(now_s, self.member.on_start(now_s, records))
        return actions + self._set_timer(now_s)

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Pass an operator's word on."""
        actions = self._settle(now_s, self.member.on_command(now_s, command))
        if self.member.state is State.LEFT:
            actions += self._desk.close()
        return actions

    # --- frames -----------------------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if self.member.state is State.LEFT:
            return []
        if isinstance(message, COMPARISON_MESSAGES):
            return self._on_comparison(now_s, index, message)
        if not self._comparison.is_alike(index):
            return self._request(self._comparison.ask_what(index))
        return self._settle(now_s, self.member.on_message(now_s, sender, message))

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether a body is wanted, or raise RemoteProtocolError and change nothing."""
        index = self._roster.index_untrusted(sender)
        if isinstance(header, COMPARISON_MESSAGES):
            raise RemoteProtocolError("unexpected_message")
        if self.member.state is State.LEFT or not self._comparison.is_alike(index):
            return False, []
        is_wanted, actions = self.member.on_bulk_begin(now_s, sender, bulk, header)
        return is_wanted, self._settle(now_s, actions)

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take the next bytes of a body."""
        return self._settle(now_s, self.member.on_bulk_chunk(now_s, sender, bulk, chunk))

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take the end of a body."""
        return self._settle(now_s, self.member.on_bulk_end(now_s, sender, bulk, trailer))

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke."""
        return self._settle(now_s, self.member.on_bulk_lost(now_s, sender, bulk))

    # --- links ------------------------------------------------------------------------------

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Tell a member that can be reached now what we would average: it or we may be new."""
        index = self._roster.index_untrusted(peer)
        if self.member.state is State.LEFT:
            return []
        self._linked[index] = None
        actions: list[Action] = [Send(peer, Present(self._comparison.digest))]
        actions += self._request(self._comparison.ask_again(index))
        if self._comparison.is_alike(index):
            actions += self._settle(now_s, self.member.on_peer_up(now_s, peer))
        return actions

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Do without a member that cannot be reached."""
        self._linked.pop(self._roster.index_untrusted(peer), None)
        return self._settle(now_s, self.member.on_peer_down(now_s, peer))

    # --- the meeting ------------------------------------------------------------------------

    def _on_comparison(
        self, now_s: float, sender: int, message: Present | DescriptionRequest | DescriptionPage
    ) -> list[Action]:
        peer = self._roster.peers[sender]
        was_alike = self._comparison.is_alike(sender)
        was_different = self._comparison.differing.get(sender)
        found = None
        match message:
            case DescriptionRequest():
                if not self._askings.may_answer(now_s, sender):
                    return []
                return [Send(peer, self._comparison.page(message))]
            case Present():
                requests = self._comparison.on_told(sender, message.description)
            case DescriptionPage():
                found, requests = self._comparison.on_page(sender, message)
        actions = self._request(requests)
        if found is not None:
            told = found.what, found.name, found.theirs, found.ours
            actions.append(Report(events.MemberDiffers(peer, *told)))
        is_alike = self._comparison.is_alike(sender)
        if is_alike and not was_alike:
            if was_different is not None:
                actions.append(Report(events.MemberAgrees(peer)))
            if sender in self._linked:
                actions += self._settle(now_s, self.member.on_peer_up(now_s, peer))
        elif was_alike and not is_alike:  # It was started again, with another task.
            actions += self._settle(now_s, self.member.on_peer_down(now_s, peer))
            actions += self._set_timer(now_s)
        return actions

    def _request(self, requests: Sequence[tuple[int, DescriptionRequest]]) -> list[Action]:
        return [Send(self._roster.peers[member], request) for member, request in requests]

    def _settle(self, _now_s: float, actions: list[Action]) -> list[Action]:
        """Keep our description once the member begins, before it says so.

        A task that is changed later is told at the next start. One that is mended before is not.
        """
        if self._is_kept:
            return actions
        for place, action in enumerate(actions):
            if isinstance(action, Report) and isinstance(action.event, events.Opened):
                self._is_kept = True
                kept = Persist({DESCRIPTION_RECORD: encode_page(self._description.page(0))})
                return [*actions[:place], kept, *actions[place:]]
        return actions

    def _others(self) -> list[int]:
        return [index for index in range(len(self._roster)) if index != self._index]

    def _awaited(self) -> list[int]:
        """The members that have not told that they have what we have."""
        return [other for other in self._others() if not self._comparison.is_alike(other)]

    def _set_timer(self, now_s: float) -> list[Action]:
        return self._desk.set_timer("asking", now_s + self._period_s, self._on_asking_due)

    def _on_asking_due(self, now_s: float) -> list[Action]:
        """Ask again for what may have been lost, as long as somebody is not known to be alike."""
        awaited = self._awaited()
        if self.member.state is State.LEFT or not awaited:
            return []
        actions = [*self._report_waiting(awaited), *self._request(self._comparison.ask_again())]
        return actions + self._set_timer(now_s)

    def _report_waiting(self, awaited: Sequence[int]) -> list[Action]:
        """Name whom we wait for, until the member begins, whenever they are others."""
        if self._is_kept:
            return []
        unknown = [other for other in awaited if other not in self._comparison.differing]
        event = events.OpeningWaits(
            needs="ready",
            count=len(unknown),
            members=tuple(self._roster.peers[member] for member in unknown[:WAITS_NAMED_MAX]),
        )
        if event == self._told or not unknown:  # Who differs is named by itself.
            return []
        self._told = event
        return [Report(event)]
