"""A gRPC peer with TLS for the speed bench; the same commands as `libp2p_peer.py`.

Runs in an environment that has grpcio and cryptography, without this project.
"""

import asyncio
import datetime
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from answering import Answering, answer_all, say
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Frames = AsyncIterator[bytes]
CHUNK_BYTES = 1 << 20
OPTIONS = [("grpc.max_receive_message_length", 4 << 20), ("grpc.max_send_message_length", 4 << 20)]


def certificate() -> tuple[bytes, bytes]:
    """Make a private key and a certificate for it, both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, made.public_bytes(serialization.Encoding.PEM)


async def add_up(requests: Frames, _context: object) -> bytes:
    total = 0
    async for request in requests:
        total += len(request)
    return total.to_bytes(8, "big")


async def echo(requests: Frames, _context: object) -> Frames:
    async for request in requests:
        yield request


class Peer(Answering):
    async def dial(self, address: str) -> dict[str, Any]:
        target, _, path = address.partition("|")
        self.credentials = grpc.ssl_channel_credentials(Path(path).read_bytes())
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.aio.secure_channel(target, self.credentials, options)
        await self.channel.channel_ready()
        return {}

    async def sum(self, bytes: int, streams: int = 1) -> dict[str, Any]:
        body = os.urandom(CHUNK_BYTES)

        async def send(count: int) -> int:
            async def chunks() -> Frames:
                for start in range(0, count, CHUNK_BYTES):
                    yield body[: min(CHUNK_BYTES, count - start)]

            return int.from_bytes(await self.channel.stream_unary("/bench/sum")(chunks()), "big")

        begun = time.perf_counter()
        totals = await asyncio.gather(*(send(bytes // streams) for _ in range(streams)))
        return {"bytes": sum(totals), "seconds": time.perf_counter() - begun}

    async def connect_timed(self, address: str, count: int) -> dict[str, Any]:
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.dial(address)
            seconds.append(time.perf_counter() - begun)
            await self.channel.close()
        return {"seconds": seconds}

    async def request_timed(self, count: int) -> dict[str, Any]:
        call = self.channel.stream_stream("/bench/echo")()
        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            await call.write(b"x" * 100)
            await call.read()
            seconds.append(time.perf_counter() - begun)
        await call.done_writing()
        return {"seconds": seconds}


async def main() -> None:
    private, public = certificate()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        path.write_bytes(public)
        server = grpc.aio.server(options=OPTIONS)
        handlers = {
            "sum": grpc.stream_unary_rpc_method_handler(add_up),
            "echo": grpc.stream_stream_rpc_method_handler(echo),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench", handlers)])
        port = server.add_secure_port(
            "localhost:0", grpc.ssl_server_credentials([(private, public)])
        )
        await server.start()
        say({"addresses": [f"localhost:{port}|{path}"], "peer": ""})
        peer = Peer()
        await answer_all(peer)
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
