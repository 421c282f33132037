"""Try the stack by hand, against itself or any libp2p peer on TCP: `python -m p2pfl.libp2p --help`.

python -m p2pfl.libp2p listen --port 4001 --into received/
python -m p2pfl.libp2p dial /ip4/127.0.0.1/tcp/4001/p2p/12D3Koo...
python -m p2pfl.libp2p ping /ip4/127.0.0.1/tcp/4001/p2p/12D3Koo...
python -m p2pfl.libp2p send /ip4/127.0.0.1/tcp/4001/p2p/12D3Koo... model.safetensors
"""

import argparse
import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from p2pfl.libp2p import (
    Host,
    Libp2pError,
    MalformedBytes,
    Multiaddr,
    PeerEvent,
    PeerUp,
    RemoteFault,
    Stream,
    parse_multiaddr,
)
from p2pfl_crypto.identity import SEED_BYTES, Identity, PeerId

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

FILE_PROTOCOL = "/p2pfl/file/1"
_PARTIAL = ".partial"  # Ends the name of a file that is not whole yet.
_NAME_BYTES_MAX = 255 - len(_PARTIAL)  # 255: of a file name on common file systems.
_DIGEST_BYTES = 32
_CHUNK_BYTES = 1 << 20
_PINGS = 5


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m p2pfl.libp2p", description=_summary())
    parser.add_argument("--seed", type=_seed, help="64 hex digits; a random identity by default")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listen = commands.add_parser("listen", help="listen, answer pings, take files")
    listen.add_argument("--host", default="127.0.0.1", help="IP address (%(default)s)")
    listen.add_argument("--port", type=int, default=0, help="0 for any that is free")
    listen.add_argument("--into", type=Path, help="folder for received files; refused without")
    listen.set_defaults(run=_listen)
    for name, told, command in (
        ("dial", "connect, and tell what the peer tells of itself", _dial),
        ("ping", f"measure {_PINGS} round trips", _ping),
        ("send", "send a file to a peer that listens with --into", _send),
    ):
        each = commands.add_parser(name, help=told)
        each.add_argument("address", type=parse_multiaddr, help="/ip4/.../tcp/.../p2p/...")
        if name == "send":
            each.add_argument("file", type=Path)
        each.set_defaults(run=command)
    arguments = parser.parse_args()
    chosen: Callable[[Host, argparse.Namespace], Coroutine[None, None, None]] = arguments.run

    async def connected() -> None:
        async with Host(Identity(arguments.seed or os.urandom(SEED_BYTES))) as host:
            await chosen(host, arguments)

    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(connected())
    except (Libp2pError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


async def _listen(host: Host, arguments: argparse.Namespace) -> None:
    address = Multiaddr("ip6" if ":" in arguments.host else "ip4", arguments.host, arguments.port)
    host.watch(_tell)
    if arguments.into is not None:
        folder: Path = arguments.into
        folder.mkdir(parents=True, exist_ok=True)
        host.set_handler(FILE_PROTOCOL, lambda stream: _take_file(stream, folder))
    for opened in await host.listen(address):
        _say(str(opened))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


async def _dial(host: Host, arguments: argparse.Namespace) -> None:
    peer_id = await _connected(host, arguments.address)
    told = await host.identify(peer_id)
    _say(f"agent      {told.agent_version!r}, {told.protocol_version!r}")
    _say(f"sees us at {told.observed}")
    for address in told.listens_on:
        _say(f"listens on {address}")
    for protocol in told.protocols:
        _say(f"speaks     {protocol!r}")


async def _ping(host: Host, arguments: argparse.Namespace) -> None:
    peer_id = await _connected(host, arguments.address)
    for _ in range(_PINGS):
        _say(f"{await host.ping(peer_id) * 1e3:.3f} ms")


async def _send(host: Host, arguments: argparse.Namespace) -> None:
    peer_id = await _connected(host, arguments.address)
    path: Path = arguments.file
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                yield chunk

    begun_s = time.perf_counter()
    async with await host.open_stream(peer_id, FILE_PROTOCOL) as stream:
        await stream.write_message(path.name.encode())
        sent = await stream.write_from(chunks())
        stream.finish()
        if await stream.read_exactly(_DIGEST_BYTES) != digest.digest():
            raise RemoteFault("file_digest")
    seconds = time.perf_counter() - begun_s
    _say(f"sent {sent} bytes in {seconds:.2f} s: {sent / seconds / 1e6:.0f} MB/s")


async def _take_file(stream: Stream, folder: Path) -> None:
    """Take a name, then the content to the end; answer with the content's BLAKE2b-256."""
    name = _file_name_untrusted(bytes(await stream.read_message(_NAME_BYTES_MAX) or b""))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    partial = folder / f"{name}{_PARTIAL}"
    count = 0
    try:
        with partial.open("xb") as file:  # By hand, a loop held up by the disk does no harm.
            while data := await stream.read():
                file.write(data)
                digest.update(data)
                count += len(data)
        partial.replace(folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    await stream.write(digest.digest())
    _say(f"{name!r}: {count} bytes from {stream.peer_id}")


def _file_name_untrusted(encoded: bytes) -> str:
    try:
        name = encoded.decode()
    except UnicodeDecodeError:
        raise MalformedBytes("file_name") from None
    if not name.isprintable() or name.startswith(".") or "/" in name or "\\" in name or not name:
        raise MalformedBytes("file_name")
    return name


async def _connected(host: Host, address: Multiaddr) -> PeerId:
    if address.peer_id is None:
        raise RemoteFault("no_peer_id_in_address")
    begun_s = time.perf_counter()
    await host.dial(address.peer_id, [address])
    _say(f"connected to {address.peer_id} in {(time.perf_counter() - begun_s) * 1e3:.1f} ms")
    return address.peer_id


def _tell(event: PeerEvent) -> None:
    _say(f"{'up  ' if isinstance(event, PeerUp) else 'down'} {event.peer_id}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _seed(text: str) -> bytes:
    seed = bytes.fromhex(text)
    if len(seed) != SEED_BYTES:
        raise ValueError
    return seed


def _summary() -> str:
    return "Listen, dial, ping and send a file over libp2p by hand."


if __name__ == "__main__":
    main()
