"""What all connections of a host have in common."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from p2pfl.libp2p.counters import Counters
from p2pfl.libp2p.limits import Limits
from p2pfl.libp2p.link import Scratch
from p2pfl.libp2p.stream import Stream
from p2pfl.libp2p.yamux_streams import WindowBudget

Handler: TypeAlias = Callable[[Stream], Awaitable[None]]


@dataclass(slots=True)
class Shared:
    """What all connections of a host have in common.

    Attributes:
        limits: of the host.
        counters: of the host.
        handlers: protocol name -> who serves its inbound streams.
        for_refused: protocols that are served also where the connection was refused; membership.
        scratch: buffers for the length of a callback.
        budget: of the growth of all receive windows.
        on_unread_excess: called where `unread_bytes` exceeds its limit.
        unread_bytes: received but not yet read by an application, over all connections.
        stream_tasks: running handlers of inbound streams, over all connections.
    """

    limits: Limits
    counters: Counters
    handlers: dict[str, Handler]
    scratch: Scratch
    budget: WindowBudget
    on_unread_excess: Callable[[], None]
    for_refused: set[str] = field(default_factory=set)
    unread_bytes: int = 0
    stream_tasks: set[asyncio.Task[None]] = field(default_factory=set)
