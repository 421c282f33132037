"""Agreeing on a stream's protocol: runs the multistream machines over it under a deadline."""

import asyncio
from collections.abc import Callable

from p2pfl.libp2p.errors import ProtocolRefused, StreamFinished, StreamTimeout
from p2pfl.libp2p.multistream import MultistreamDialer, MultistreamListener
from p2pfl.libp2p.stream import Stream


async def agree_outbound(stream: Stream, machine: MultistreamDialer, timeout_s: float) -> None:
    """Propose the machine's protocols on a stream of ours, and set the stream's.

    Raises:
        ProtocolRefused: the other end speaks none of them.
        RemoteFault: the other end does not follow multistream-select.
        StreamFinished, StreamReset, StreamTimeout: no agreement came about.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await stream.write(machine.start(), None)
            while not (machine.protocol or machine.refused):
                await _step(stream, machine)
    except TimeoutError:
        raise StreamTimeout(f"no agreement on a protocol within {timeout_s} s") from None
    if machine.refused:
        raise ProtocolRefused(f"{stream.peer_id} speaks none of the protocols asked for")


async def agree_inbound(stream: Stream, speaks: Callable[[str], bool], timeout_s: float) -> None:
    """Answer proposals on a stream of the other end, and set the stream's protocol.

    Raises:
        RemoteFault: the other end does not follow multistream-select.
        StreamFinished, StreamReset, StreamTimeout: no agreement came about.
    """
    machine = MultistreamListener(speaks)
    try:
        async with asyncio.timeout(timeout_s):
            while not machine.protocol:
                await _step(stream, machine)
    except TimeoutError:
        raise StreamTimeout(f"no agreement on a protocol within {timeout_s} s") from None


async def _step(stream: Stream, machine: MultistreamDialer | MultistreamListener) -> None:
    data = await stream.read(timeout_s=None)
    if not data:
        raise StreamFinished("the stream ended before a protocol was agreed on")
    answer = machine.receive_untrusted(bytes(data))
    stream.put_back(machine.rest)
    stream.protocol = machine.protocol or ""
    if answer:
        await stream.write(answer, None)
