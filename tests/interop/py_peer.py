"""A py-libp2p peer that does as it is told: one JSON command a line in, one JSON answer a line out.

Runs in a virtual environment of its own, with py-libp2p and without this project.
"""

import hashlib
import json
import os
import resource
import sys
import time

import trio
from libp2p import create_yamux_muxer_option, new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import PingService, handle_ping
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from multiaddr import Multiaddr

ECHO, SUM, RESET, PING = (
    TProtocol(name) for name in ("/echo/1", "/sum/1", "/reset/1", "/ipfs/ping/1.0.0")
)
CHUNK = 65536


async def chunks(stream):
    while True:
        try:
            data = await stream.read(CHUNK)
        except StreamEOF:
            return
        if not data:
            return
        yield data


async def echo(stream):
    try:
        async for data in chunks(stream):
            await stream.write(data)
        await stream.close_write()
    except StreamError:
        return


async def add_up(stream):
    total = 0
    async for data in chunks(stream):
        total += len(data)
    await stream.write(total.to_bytes(8, "big"))
    await stream.close_write()


async def reset(stream):
    await stream.reset()


class Peer:
    def __init__(self, host):
        self.host = host
        self.peer = None

    async def dial(self, address):
        info = info_from_p2p_addr(Multiaddr(address))
        await self.host.connect(info)
        self.peer = info.peer_id
        return {"peer": str(self.peer)}

    async def use(self, peer):
        self.peer = ID.from_base58(peer)
        return {"found": self.peer in self.host.get_network().connections}

    async def echo(self, bytes):  # noqa: A002
        stream = await self.host.new_stream(self.peer, [ECHO])
        body = (b"p2pfl" * (bytes // 5 + 1))[:bytes]
        digest, total, begun = hashlib.sha256(), 0, time.perf_counter()
        async with trio.open_nursery() as nursery:

            async def send():
                for start in range(0, bytes, CHUNK):
                    await stream.write(body[start : start + CHUNK])
                await stream.close_write()

            nursery.start_soon(send)
            async for data in chunks(stream):
                digest.update(data)
                total += len(data)
        same = digest.digest() == hashlib.sha256(body).digest()
        return {"bytes": total, "same": same, "seconds": time.perf_counter() - begun}

    async def sum(self, bytes, streams=1):  # noqa: A002
        body, begun, totals = os.urandom(1 << 20), time.perf_counter(), []

        async def send(count):
            stream = await self.host.new_stream(self.peer, [SUM])
            for start in range(0, count, len(body)):
                await stream.write(body[: min(len(body), count - start)])
            await stream.close_write()
            answer = b"".join([data async for data in chunks(stream)])
            totals.append(int.from_bytes(answer, "big"))

        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(send, bytes // streams)
        return {"bytes": sum(totals), "seconds": time.perf_counter() - begun}

    async def resets(self, count):
        for _ in range(count):
            stream = await self.host.new_stream(self.peer, [ECHO])
            await stream.reset()
        return {}

    async def resets_seen(self, count):
        """Open streams that the other end resets; one may be reset before it is agreed on.

        One that was reset before it is read reads as ended, so its own flag tells.
        """
        seen = 0
        for _ in range(count):
            try:
                stream = await self.host.new_stream(self.peer, [RESET])
                async for _ in chunks(stream):
                    pass
                seen += stream.muxed_stream.reset_received
            except (StreamReset, StreamFailure):
                seen += 1
        return {"seen": seen}

    async def refuse(self):
        """Take no connection from now on; the gate goes by addresses only."""
        self.host.get_network().connection_gate.add_to_deny_list("127.0.0.1")
        return {}

    async def ping(self):
        [milliseconds] = await PingService(self.host).ping(self.peer, 1)
        return {"milliseconds": milliseconds}

    async def identify(self):
        stream = await self.host.new_stream(self.peer, [IDENTIFY])
        answer = b"".join([data async for data in chunks(stream)])
        told = parse_identify_response(answer)
        key = told.public_key[4:]
        return {
            "key": key.hex(),
            "protocols": list(told.protocols),
            "agent": told.agent_version,
        }

    async def connect_timed(self, address, count):
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.dial(address)
            seconds.append(time.perf_counter() - begun)
            await self.host.disconnect(self.peer)
        return {"seconds": seconds}

    async def open_timed(self, count):
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            stream = await self.host.new_stream(self.peer, [ECHO])
            seconds.append(time.perf_counter() - begun)
            await stream.close_write()
            async for _ in chunks(stream):
                pass
        return {"seconds": seconds}

    async def request_timed(self, count):
        stream = await self.host.new_stream(self.peer, [ECHO])
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            await stream.write(b"x" * 100)
            got = 0
            while got < 100:
                got += len(await stream.read(100))
            seconds.append(time.perf_counter() - begun)
        await stream.reset()
        return {"seconds": seconds}

    async def cpu(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"seconds": used.ru_utime + used.ru_stime}


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main():
    key_pair = create_new_key_pair()
    noise = NoiseTransport(
        libp2p_keypair=key_pair, noise_privkey=create_noise_key_pair().private_key
    )
    host = new_host(
        key_pair=key_pair, sec_opt={NOISE: noise}, muxer_opt=create_yamux_muxer_option()
    )
    listen = Multiaddr("/ip4/127.0.0.1/tcp/0")
    async with host.run(listen_addrs=[listen]):
        for protocol, handler in ((ECHO, echo), (SUM, add_up), (RESET, reset), (PING, handle_ping)):
            host.set_stream_handler(protocol, handler)
        peer = Peer(host)
        say({"addresses": [str(each) for each in host.get_addrs()], "peer": str(host.get_id())})
        lines = trio.wrap_file(sys.stdin)
        while line := await lines.readline():
            command = json.loads(line)
            try:
                say(await getattr(peer, command.pop("do"))(**command))
            except Exception as error:  # The test is told, whatever it is.
                say({"error": f"{type(error).__name__}: {error}"})
        os._exit(0)  # Shutting py-libp2p down in order takes seconds.


trio.run(main)
