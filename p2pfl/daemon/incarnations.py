"""One identity that runs in two processes: told to all, and the later process ends itself.

An *incarnation* is one process of a member: named by the Noise key that it drew when it started,
which each link proves (`p2pfl.libp2p.admission`). A member that is linked to two living ones keeps
the first, takes no frames of the second, and has both learn of each other:

    member  -> one      Twin(two)              to each, on a stream of its own
    one     -> member   Alive(one, began, two, signature)
    member  -> two      Alive of one           and the other way round

`Alive` says, signed by the identity's key: "I, `nonce`, began at `began_ms` and know of `other`."
Only a holder of the key can make one, and only after `other` was drawn: so it proves to `other`
that another process was alive with its key after it had started itself. Nobody else can make it,
and one of an earlier life names another `other`. A lying member can keep quiet, and no more.

Of two that know this, the one that began later, by its own clock, ends; where both say the same,
the one of the larger nonce. Both judge alike, so exactly one ends, however many members tell them
and in whatever order. A wrong clock can end the earlier one instead: still one, and told to all.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from p2pfl.libp2p import Connection, Host, Libp2pError, PeerDoubled, PeerEvent, Stream
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity, InvalidIdentity, PeerId, public_key_of, verify
from p2pfl_gossip.records import Codec, Digest, MalformedFrame, Message, Signature, UInt63

FRAME_BYTES_MAX = 256
"""Of one message: nonces, a time and a signature."""

EXCHANGE_TIMEOUT_S = 4.0
"""For one question and its answer; a refused connection lives a second longer."""

TOLD_MAX = 64
"""Pairs of processes that are remembered as told of: one line each, not one at each dial."""


class Twin(Message, frozen=True, tag=1):
    """I see another process of yours, `nonce`."""

    nonce: Digest


class Alive(Message, frozen=True, tag=2):
    """I, the process `nonce` that began at `began_ms` (Unix time), know of `other`."""

    nonce: Digest
    began_ms: UInt63
    other: Digest
    signature: Signature


MESSAGES = Twin | Alive

_CODEC = Codec(MESSAGES, frame_bytes_max=FRAME_BYTES_MAX)


@dataclass(frozen=True)
class Incarnation:
    """Our own process.

    Attributes:
        identity: whose.
        group_id: what statements are bound to.
        nonce: its Noise key, 32 bytes.
        began_ms: when it started, Unix time.
    """

    identity: Identity
    group_id: bytes
    nonce: bytes
    began_ms: int

    def state(self, other: bytes) -> Alive:
        """Say that we are alive and know of another process."""
        statement = _statement(self.group_id, self.nonce, self.began_ms, other)
        return Alive(self.nonce, self.began_ms, other, self.identity.sign(statement))

    def ends_for(self, alive: Alive) -> bool:
        """Tell whether we are the one to end, being shown that another process is alive.

        Raises:
            InvalidIdentity: it shows nothing: not signed by our key, or about another process.
        """
        require_alive(alive, self.identity.peer_id, self.group_id)
        if alive.other != self.nonce or alive.nonce == self.nonce:
            raise InvalidIdentity("a statement about another process")
        return (alive.began_ms, alive.nonce) < (self.began_ms, self.nonce)


def incarnation_protocol(prefix: str) -> str:
    """Return the protocol by which processes of one member learn of each other.

    It is all that a refused process is served of its group's.
    """
    return f"{prefix}/incarnation"


def require_alive(alive: Alive, peer: PeerId, group_id: bytes) -> None:
    """Check who made a statement.

    Raises:
        InvalidIdentity: not that peer.
    """
    statement = _statement(group_id, alive.nonce, alive.began_ms, alive.other)
    verify(public_key_of(peer), statement, alive.signature)


def _statement(group_id: bytes, nonce: bytes, began_ms: int, other: bytes) -> bytes:
    return hash_parts(b"p2pfl/alive", group_id, nonce, began_ms.to_bytes(8, "little"), other)


class Incarnations:
    """Finds members that run twice, and learns it of ourselves.

    Args:
        host: tells incarnations apart.
        own: our process.
        prefix: what the group's protocol names begin with.
        on_twice: called with a member that is seen to run twice, once for each pair of processes.
        on_other: called once it is proved that another process has our key, with whether we are
            the one to end; once for each such process.
    """

    def __init__(
        self,
        host: Host,
        own: Incarnation,
        *,
        prefix: str,
        on_twice: Callable[[PeerId], None],
        on_other: Callable[[bool], None],
    ) -> None:
        self._host, self._own = host, own
        self._protocol = incarnation_protocol(prefix)
        self._on_twice, self._on_other = on_twice, on_other
        self._told: dict[tuple[Any, ...], None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        host.set_handler(self._protocol, self._serve, for_refused=True)
        self._unwatch = host.watch(self._on_peer)

    async def close(self) -> None:
        """Tell nobody any more."""
        self._unwatch()
        self._host.set_handler(self._protocol, None)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _on_peer(self, event: PeerEvent) -> None:
        if not isinstance(event, PeerDoubled):
            return
        one, two = event.kept.incarnation, event.refused.incarnation
        if self._is_news("twice", event.peer_id, *sorted((one, two))):
            self._on_twice(event.peer_id)
        task = asyncio.get_running_loop().create_task(self._introduce(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _introduce(self, event: PeerDoubled) -> None:
        """Have two processes of a member learn of each other; what they say is theirs to check."""
        kept, refused = event.kept, event.refused
        statements = await asyncio.gather(
            self._ask(kept, refused.incarnation), self._ask(refused, kept.incarnation)
        )
        await asyncio.gather(
            *(
                self._pass_on(connection, alive)
                for connection, alive in zip((refused, kept), statements, strict=True)
                if alive is not None
            )
        )
        refused.close("another_incarnation")

    async def _ask(self, connection: Connection, other: bytes) -> Alive | None:
        try:
            async with (
                asyncio.timeout(EXCHANGE_TIMEOUT_S),
                await connection.open_stream([self._protocol]) as stream,
            ):
                await stream.write_message(_CODEC.encode(Twin(other)))
                answer = await stream.read_message(FRAME_BYTES_MAX)
                alive = _CODEC.decode_untrusted(answer or b"")
                if not isinstance(alive, Alive):
                    return None
                require_alive(alive, connection.peer_id, self._own.group_id)
                return alive
        except (Libp2pError, MalformedFrame, InvalidIdentity, TimeoutError):
            return None  # It is dying, or no peer of ours; it stays refused.

    async def _pass_on(self, connection: Connection, alive: Alive) -> None:
        try:
            async with (
                asyncio.timeout(EXCHANGE_TIMEOUT_S),
                await connection.open_stream([self._protocol]) as stream,
            ):
                await stream.write_message(_CODEC.encode(alive))
                stream.finish()
                await stream.read()  # Until it was taken: the connection may be closed after.
        except (Libp2pError, TimeoutError):
            return

    async def _serve(self, stream: Stream) -> None:
        """Answer a member that sees two of us, or learn from it."""
        frame = await stream.read_message(FRAME_BYTES_MAX)
        try:
            message = _CODEC.decode_untrusted(frame or b"")
            if isinstance(message, Twin) and message.nonce != self._own.nonce:
                await stream.write_message(_CODEC.encode(self._own.state(message.nonce)))
            elif isinstance(message, Alive):
                is_later = self._own.ends_for(message)
                if self._is_news("other", message.nonce):
                    self._on_other(is_later)
        except (MalformedFrame, InvalidIdentity):
            stream.reset()  # It proves nothing.

    def _is_news(self, *what: Any) -> bool:
        if what in self._told:
            return False
        self._told[what] = None
        if len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        return True
