"""What a member sees of the others, and what they say that they see: asked, answered, gathered.

A running peer and `p2pfl peer check` do the same: try to dial each member without connecting to it,
and ask each that is linked for its view. A running peer does so now and then by itself, so that a
pair without a link is named on all sides.

**Whose word moves what.** What others say is kept as what they say, and shown so. No averaging
decision rests on it: a member that lies about a pair misleads people, and no peer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from p2pfl.daemon.links import LINKS_KEPT_MAX, NOT_YET, UP, protocol_version
from p2pfl.daemon.view_messages import (
    MEMBERS_MAX,
    PROTOCOL,
    VIEW_BYTES_MAX,
    Seen,
    View,
    ViewRequest,
    decode_untrusted,
    encode,
)
from p2pfl.libp2p import DialFailed, Host, Libp2pError, ProtocolRefused, Stream
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.records import MalformedFrame

AT_ONCE = 8
"""Members that are dialled, or asked, at a time."""

FRESH_S = 5.0
"""How long a dial's outcome counts as fresh: so often at most all are dialled, whoever asks."""

DIALS_TIMEOUT_S = 12.0
"""For dialling everybody before an answer; who has not been tried by then is told as untried."""

ASK_TIMEOUT_S = 20.0
"""For one member's answer, its dials included."""

LOOK_EVERY_S = 300.0
"""Between the looks of a running peer."""

FIRST_LOOK_S = 15.0
"""After its start: links stand by then, or are known not to."""

OK, UNTRIED = "ok", "untried"
"""Outcomes of a dial; any other is the reason why it failed."""


@dataclass(frozen=True)
class Tried:
    """The last dial of a member: its outcome, the round trip if it led there, and when."""

    outcome: str
    round_trip_s: float | None
    at_s: float


@dataclass(frozen=True)
class HeardView:
    """What a member has said.

    Attributes:
        view: as it said.
        round_trip_s: of the link to it, if known.
        clock_ahead_s: by how much its clock is ahead of ours, give or take half a round trip.
        at_s: when, by the event loop's clock.
    """

    view: View
    round_trip_s: float | None
    clock_ahead_s: float
    at_s: float


class Views:
    """What we see, and what others say.

    Attributes:
        tried: the last dial of each member that was tried.
        heard: the last view of each member that has answered.
        silent: why a member that is linked has not answered.
        answered: who has had an answer from us.
    """

    def __init__(
        self,
        host: Host,
        *,
        addresses: Mapping[PeerId, Sequence[str]],
        group_id: bytes,
        states: Callable[[], Mapping[PeerId, str]],
        is_running: bool,
    ) -> None:
        """Answer requests from now on.

        Args:
            host: its connections are asked over; admits members only.
            addresses: of all other members.
            group_id: told to whoever asks.
            states: gives the state of the link to each, as `Links.states`.
            is_running: whether a peer runs here, or only a check.
        """
        self.tried: dict[PeerId, Tried] = {}
        self.heard: dict[PeerId, HeardView] = {}
        self.silent: dict[PeerId, str] = {}
        self.answered: set[PeerId] = set()
        self._host, self._addresses = host, dict(addresses)
        self._group_id, self._states, self._is_running = group_id, states, is_running
        self._loop = asyncio.get_running_loop()
        self._dialling: asyncio.Task[None] | None = None
        self._answering: set[PeerId] = set()
        host.set_handler(PROTOCOL, self._serve, for_refused=True)

    def admit(self, addresses: Mapping[PeerId, Sequence[str]]) -> None:
        """Look at other members from now on: an epoch has begun."""
        self._addresses = dict(addresses)
        for known in (self.tried, self.heard, self.silent):
            for peer in [peer for peer in known if peer not in addresses]:
                del known[peer]

    def own(self, *, is_second: bool = False) -> View:
        """Return what we see."""
        states = self._states()
        return View(
            software=version("p2pfl-peer"),
            protocol=protocol_version(),
            group=self._group_id,
            now_ms=int(time.time() * 1000),
            is_running=self._is_running,
            is_second=is_second,
            seen=tuple(
                self._seen(peer, states.get(peer, NOT_YET))
                for peer in list(self._addresses)[:MEMBERS_MAX]
            ),
        )

    async def gather(self, *, fresh: bool) -> None:
        """Dial all members, and ask all that are linked what they see.

        Args:
            fresh: whether they are to dial everybody first, too.
        """
        await self.dial_all(FRESH_S if not fresh else 0.0)
        await self.ask_all(fresh=fresh)

    async def dial_all(self, fresh_s: float = FRESH_S) -> None:
        """Try to dial each member whose last trial is not fresh; calls at a time share one go."""
        if self._dialling is None or self._dialling.done():
            limit_s = self._loop.time() - fresh_s
            stale = [
                peer
                for peer in self._addresses
                if peer not in self.tried or self.tried[peer].at_s < limit_s
            ]
            self._dialling = self._loop.create_task(_all_of(self._dial, stale), name="dial all")
        await asyncio.wait([self._dialling], timeout=DIALS_TIMEOUT_S)

    async def ask_all(self, *, fresh: bool) -> None:
        """Ask every member to whom there is a connection."""
        linked = [peer for peer in self._addresses if self._host.connection(peer) is not None]
        self.silent.clear()
        self.heard = {peer: heard for peer, heard in self.heard.items() if peer in linked}
        await _all_of(lambda peer: self._ask(peer, fresh=fresh), linked)

    async def look_now_and_then(self, on_looked: Callable[[], None]) -> None:
        """Gather for ever, and tell each time; not where links are made only when needed."""
        if len(self._addresses) > LINKS_KEPT_MAX:
            return
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            await self.gather(fresh=False)
            on_looked()
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Answer nobody any more."""
        self._host.set_handler(PROTOCOL, None)
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])

    # Inner workings.

    def _seen(self, peer: PeerId, link: str) -> Seen:
        tried = self.tried.get(peer)
        if tried is None:
            return Seen(peer, link, UNTRIED, None)
        round_trip_us = None
        if tried.round_trip_s is not None:
            round_trip_us = min(round(tried.round_trip_s * 1e6), 2**32 - 1)
        return Seen(peer, link, tried.outcome, round_trip_us)

    async def _dial(self, peer: PeerId) -> None:
        outcome, round_trip_s = OK, None
        try:
            round_trip_s = await self._host.probe(peer, self._addresses.get(peer, ()))
        except DialFailed as error:
            outcome = error.reason
        self.tried[peer] = Tried(outcome, round_trip_s, self._loop.time())

    async def _ask(self, peer: PeerId, *, fresh: bool) -> None:
        connection = self._host.connection(peer)
        try:
            if connection is None:
                return
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                await connection.open_stream([PROTOCOL]) as stream,
            ):
                round_trip_s = await connection.ping()
                if fresh:
                    # Twice: once for its dials, and once for its clock, which those would blur.
                    await self._answer_to(stream, fresh=True)
                before_s, asked_s = time.time(), self._loop.time()
                view = await self._answer_to(stream, fresh=False)
                took_s = self._loop.time() - asked_s
                ahead_s = view.now_ms / 1000 - (before_s + took_s / 2)
        except ProtocolRefused:
            self._fell_silent(peer, "older_version")
        except (Libp2pError, MalformedFrame, TimeoutError):
            self._fell_silent(peer, "no_answer")
        else:
            self.silent.pop(peer, None)
            self.heard[peer] = HeardView(view, round_trip_s, ahead_s, self._loop.time())

    def _fell_silent(self, peer: PeerId, reason: str) -> None:
        self.silent[peer] = reason
        self.heard.pop(peer, None)

    async def _answer_to(self, stream: Stream, *, fresh: bool) -> View:
        await stream.write_message(encode(ViewRequest(fresh)))
        answer = decode_untrusted(await stream.read_message(VIEW_BYTES_MAX) or b"")
        if not isinstance(answer, View):
            raise MalformedFrame("no view")
        return answer

    async def _serve(self, stream: Stream) -> None:
        """Answer the requests of one stream; one stream of each member at a time."""
        peer = stream.peer_id
        if peer in self._answering:
            stream.reset()
            return
        self._answering.add(peer)
        try:
            while (frame := await stream.read_message(VIEW_BYTES_MAX)) is not None:
                request = decode_untrusted(frame)
                if not isinstance(request, ViewRequest):
                    raise MalformedFrame("no request")
                if request.fresh:
                    await self.dial_all()
                await stream.write_message(encode(self.own(is_second=stream.is_refused)))
            self.answered.add(peer)
        except MalformedFrame:
            stream.reset()
        finally:
            self._answering.discard(peer)


async def _all_of(each: Callable[[PeerId], Awaitable[None]], peers: Iterable[PeerId]) -> None:
    """Do something for each peer, a few at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(peer: PeerId) -> None:
        async with slots:
            await each(peer)

    await asyncio.gather(*(one(peer) for peer in peers))


@dataclass(frozen=True)
class Unlinked:
    """Two members of whom one says, or both, that they have no link.

    Attributes:
        one, two: the members.
        said: who says so, and the reason given.
    """

    one: PeerId
    two: PeerId
    said: tuple[tuple[PeerId, str], ...]


def pairs_without_link(views: Mapping[PeerId, View]) -> list[Unlinked]:
    """Return the pairs that have no link, by what members say, ourselves among them.

    A member that nobody has a link to is away, or cannot be reached at all: it is no pair's fault.

    Args:
        views: of each member that has been heard, in the order of the charter.
    """
    links = {
        (by, PeerId(seen.peer_id)): seen.link for by, view in views.items() for seen in view.seen
    }
    linked = {peer for pair, link in links.items() if link == UP for peer in pair}
    found = []
    for one, two in links:
        both = ((one, two), (two, one))
        if both[1] in links and one > two:
            continue  # Judged from the other side.
        said = tuple((pair[0], links[pair]) for pair in both if links.get(pair, UP) != UP)
        says_up = any(links.get(pair) == UP for pair in both)
        is_known = any(reason != NOT_YET for _, reason in said)
        if said and is_known and not says_up and {one, two} <= linked:
            found.append(Unlinked(one, two, said))
    return found
