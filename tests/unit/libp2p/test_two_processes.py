# mypy: disable-error-code="arg-type"
"""Two processes with one identity: the first is kept while it lives, a dead one gives way."""

import asyncio

import pytest
from libp2p_fixtures import LISTEN, Events, RawPeer, identity, limits, run, until

from p2pfl.libp2p import Host, PeerDoubled, PeerDown, PeerUp, ProtocolRefused, Stream

ONE = identity(1).peer_id


def victim(**changes: float) -> Host:
    return Host(identity(2), limits=limits(**changes), tells_incarnations=True)


async def echo(stream: Stream) -> None:
    await stream.write(await stream.read())


async def echoed(host: Host, protocol: str) -> bytes:
    async with await host.open_stream(identity(2).peer_id, protocol) as stream:
        await stream.write(b"echo")
        return bytes(await stream.read())


def test_a_second_process_is_refused_while_the_first_lives() -> None:
    async def main() -> None:
        async with victim() as host, Host(identity(1)) as first, Host(identity(1)) as second:
            events = Events(host)
            host.set_handler("/ours", echo)
            host.set_handler("/told", echo, for_refused=True)
            addresses = await host.listen(LISTEN)
            await first.dial(host.peer_id, addresses)
            await events.until(PeerUp(ONE))
            kept = host.connection(ONE)
            assert kept is not None
            assert kept.incarnation == first.incarnation
            await second.dial(host.peer_id, addresses)
            with pytest.raises(ProtocolRefused):
                await second.open_stream(host.peer_id, "/ours")
            assert await echoed(second, "/told") == await echoed(first, "/ours") == b"echo"
            assert host.connection(ONE) is kept
            _up, doubled = events.seen
            assert isinstance(doubled, PeerDoubled)
            assert doubled.kept is kept
            assert doubled.refused.incarnation == second.incarnation != first.incarnation
            assert host.counters["incarnations_refused"] == 1

    run(main)


def test_the_refused_process_is_let_go_after_a_while() -> None:
    async def main() -> None:
        async with (
            victim(refused_s=0.0) as host,
            Host(identity(1)) as first,
            Host(identity(1)) as second,
        ):
            addresses = await host.listen(LISTEN)
            await first.dial(host.peer_id, addresses)
            gone = Events(second)
            await second.dial(host.peer_id, addresses)
            await gone.until(PeerUp(host.peer_id), PeerDown(host.peer_id, "gone_away"))
            assert host.connection(ONE) is not None

    run(main)


def test_a_process_whose_forerunner_does_not_answer_is_admitted() -> None:
    """As after a power cut: no end of the old connection was ever told."""

    async def main() -> None:
        async with victim(incarnation_probe_s=0.01) as host, Host(identity(1)) as second:
            events = Events(host)
            host.set_handler("/ours", echo)
            addresses = await host.listen(LISTEN)
            frozen = await RawPeer.connect(addresses[0])
            await frozen.upgrade(identity(1))
            await events.until(PeerUp(ONE))
            await second.dial(host.peer_id, addresses)
            assert await echoed(second, "/ours") == b"echo"
            await events.until(PeerUp(ONE), PeerDown(ONE, "another_incarnation"), PeerUp(ONE))
            frozen.writer.close()

    run(main)


def test_a_process_whose_forerunner_ends_meanwhile_is_admitted_at_once() -> None:
    async def main() -> None:
        async with victim(incarnation_probe_s=3600.0) as host, Host(identity(1)) as second:
            events = Events(host)
            host.set_handler("/ours", echo)
            addresses = await host.listen(LISTEN)
            frozen = await RawPeer.connect(addresses[0])
            await frozen.upgrade(identity(1))
            await events.until(PeerUp(ONE))
            await second.dial(host.peer_id, addresses)
            asked = asyncio.create_task(echoed(second, "/ours"))
            await until(lambda: host.metrics()["streams"] > 0)
            for _ in range(3):  # Its answer would have come by now.
                await second.connection(host.peer_id).ping()  # type: ignore[union-attr]
            assert not asked.done(), "it was served before the first was known to be gone"
            frozen.writer.close()
            assert await asked == b"echo"
            await events.until(PeerUp(ONE), PeerDown(ONE, "closed_by_peer"), PeerUp(ONE))

    run(main)


def test_a_process_that_was_started_again_is_in_at_once() -> None:
    async def main() -> None:
        async with victim(incarnation_probe_s=3600.0) as host:
            events = Events(host)
            host.set_handler("/ours", echo)
            addresses = await host.listen(LISTEN)
            for _ in range(3):
                async with Host(identity(1)) as process:
                    await process.dial(host.peer_id, addresses)
                    assert await echoed(process, "/ours") == b"echo"
            down = PeerDown(ONE, "gone_away")
            await events.until(*[PeerUp(ONE), down] * 3)

    run(main)


def test_hosts_of_other_implementations_may_change_their_key_at_each_connection() -> None:
    async def main() -> None:
        async with Host(identity(2)) as host, Host(identity(1)) as one, Host(identity(1)) as two:
            host.set_handler("/ours", echo)
            addresses = await host.listen(LISTEN)
            for each in (one, two):
                await each.dial(host.peer_id, addresses)
                assert await echoed(each, "/ours") == b"echo"

    run(main)
