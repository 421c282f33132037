"""Both ways with py-libp2p and js-libp2p: echo, resets, half-close, ping, identify, wrong ids."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from interop_peers import OtherPeer, why_missing

from p2pfl.libp2p import DialFailed, Host, Stream, StreamReset
from p2pfl_crypto.identity import Identity, PeerId

pytestmark = [
    pytest.mark.interop,
    pytest.mark.parametrize("name", ["py-libp2p", "js-libp2p"]),
]

US = Identity(b"interoperability".ljust(32))
SOMEBODY_ELSE = Identity(b"somebody else".ljust(32)).peer_id
ECHO_BYTES = 10_000_000
RESETS = 30
DEADLINE_S = 120.0  # Starting py-libp2p takes seconds, on a loaded machine many.


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def add_up(stream: Stream) -> None:
    total = 0
    while data := await stream.read():
        total += len(data)
    await stream.write(total.to_bytes(8, "big"))


async def refuse(stream: Stream) -> None:
    stream.reset()


def run(name: str, main: Callable[[Host, OtherPeer], Awaitable[None]]) -> None:
    """Run a test with a host of ours that listens and a peer of the other implementation."""
    reason = why_missing(name)
    if reason is not None:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S), OtherPeer(name) as other, Host(US) as host:
            await host.listen("/ip4/127.0.0.1/tcp/0")
            for protocol, handler in (("/echo/1", echo), ("/sum/1", add_up), ("/reset/1", refuse)):
                host.set_handler(protocol, handler)
            await main(host, other)

    asyncio.run(bounded())


async def echo_there_and_back(host: Host, other: OtherPeer, count: int) -> None:
    body = os.urandom(count)
    async with await host.open_stream(PeerId(other.peer_id), "/echo/1") as stream:
        async with asyncio.TaskGroup() as group:

            async def send() -> None:
                await stream.write(body)
                stream.finish()

            group.create_task(send())
            assert await stream.read_exactly(count) == body
        assert not await stream.read()


async def read_one(host: Host, peer_id: PeerId, protocol: str) -> None:
    """Open a stream and read from it; a reset may come before its protocol is agreed on."""
    await (await host.open_stream(peer_id, protocol)).read()


def test_we_dial(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        peer_id = PeerId(other.peer_id)
        await host.dial(peer_id, other.addresses)
        assert host.peers() == (peer_id,)
        await echo_there_and_back(host, other, ECHO_BYTES)
        for _ in range(RESETS):
            (await host.open_stream(peer_id, "/echo/1")).reset()
        await echo_there_and_back(host, other, 100)
        for _ in range(RESETS):
            with pytest.raises(StreamReset):
                await read_one(host, peer_id, "/reset/1")
        async with await host.open_stream(peer_id, "/sum/1") as stream:
            await stream.write(bytes(1_000_000))
            stream.finish()
            assert int.from_bytes(await stream.read_exactly(8), "big") == 1_000_000
        assert 0 < await host.ping(peer_id) < DEADLINE_S
        told = await host.identify(peer_id)
        assert told.peer_id == peer_id
        assert {"/echo/1", "/sum/1"} <= set(told.protocols)
        connection = host.connection(peer_id)
        assert connection is not None
        assert 0 < await connection.ping() < DEADLINE_S
        assert host.peers() == (peer_id,)

    run(name, main)


def test_they_dial(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        [address] = host.addresses
        await other.do("dial", address=str(address))
        assert await other.do("echo", bytes=ECHO_BYTES) | {"seconds": 0} == {
            "bytes": ECHO_BYTES,
            "same": True,
            "seconds": 0,
        }
        await other.do("resets", count=RESETS)
        assert (await other.do("echo", bytes=100))["same"]
        assert (await other.do("resets_seen", count=RESETS))["seen"] == RESETS
        assert host.counters["streams_reset_by_us"] >= RESETS
        assert (await other.do("sum", bytes=1_000_000))["bytes"] == 1_000_000
        assert (await other.do("ping"))["milliseconds"] >= 0
        told = await other.do("identify")
        assert told.get("peer", host.peer_id) == host.peer_id
        assert told.get("key", US.public_key.hex()) == US.public_key.hex()
        assert {"/echo/1", "/ipfs/ping/1.0.0"} <= set(told["protocols"])
        # The same connection carries streams that we open.
        await echo_there_and_back(host, other, 1_000_000)
        assert host.counters["connections_opened"] == 1

    run(name, main)


def test_a_wrong_peer_id_is_refused_by_both(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        bare = [address.partition("/p2p/")[0] for address in other.addresses]
        with pytest.raises(DialFailed, match="wrong_peer_id"):
            await host.dial(SOMEBODY_ELSE, bare)
        assert host.peers() == ()
        [address] = host.addresses
        told = await other.attempt("dial", address=str(address.with_peer(SOMEBODY_ELSE)))
        assert "error" in told
        assert host.peers() == ()

    run(name, main)


def test_two_that_dial_each_other_at_once_can_talk(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        [address] = host.addresses
        await asyncio.gather(
            host.dial(PeerId(other.peer_id), other.addresses),
            other.do("dial", address=str(address)),
        )
        await echo_there_and_back(host, other, 100_000)
        assert host.peers() == (other.peer_id,)

    run(name, main)


def test_a_refused_peer_is_told_by_the_end_of_the_connection(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        [address] = host.addresses
        host._allow = ()
        told = await other.attempt("dial", address=str(address))
        if "error" not in told:  # The dialler may take the handshake for done before it is refused.
            assert "error" in await other.attempt("echo", bytes=100)
        assert host.counters["handshakes_failed.not_allowed"] >= 1
        assert host.peers() == ()

    run(name, main)


def test_a_refusal_by_the_other_end_fails_the_dial(name: str) -> None:
    async def main(host: Host, other: OtherPeer) -> None:
        await other.do("refuse")
        with pytest.raises(DialFailed):
            await host.dial(PeerId(other.peer_id), other.addresses)
        assert host.peers() == ()
        assert host.counters["connections_opened"] == host.counters["connections_closed"]

    run(name, main)
