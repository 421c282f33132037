"""Each named limit of our libp2p: what reaches it passes, one more is refused."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from daemon_links import identity

from p2pfl.libp2p import (
    DEFAULT_LIMITS,
    DialFailed,
    Host,
    Stream,
    __main__,
    dialer,
    host,
    identify,
    link,
    liveness,
    multiaddr,
    noise,
    noise_xx,
    ping,
    send_queue,
    stream,
    varint,
    yamux,
    yamux_frames,
)
from p2pfl.libp2p.admission import Admission
from p2pfl.libp2p.counters import Counters
from p2pfl.libp2p.errors import (
    LimitReached,
    LocalFault,
    MalformedBytes,
    RemoteFault,
    StreamReset,
)
from p2pfl.libp2p.protobuf import encode_fields
from p2pfl.libp2p.send_queue import SendQueue
from p2pfl.libp2p.yamux_frames import HEADER_BYTES, Flag, FrameType, encode_header
from p2pfl.libp2p.yamux_streams import WindowBudget
from p2pfl_crypto.identity import PeerId

ALICE, BOB = identity(0), identity(1)
WINDOW = 1 << 20
"""Of the streams that a batch is taken from: more than fits into one."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, for as long as a slow machine may take."""

    async def bounded() -> None:
        async with asyncio.timeout(60.0):
            await main()

    asyncio.run(bounded())


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Host, Host]]:
    """A host that has dialled, and one that listens."""
    async with Host(ALICE) as dialling, Host(BOB) as listening:
        await dialling.dial(BOB.peer_id, await listening.listen("/ip4/127.0.0.1/tcp/0"))
        yield dialling, listening


# --- codecs -----------------------------------------------------------------------------------


def test_bytes_of_a_varint() -> None:
    largest = b"\xff" * (varint.VARINT_BYTES_MAX - 1) + b"\x7f"
    assert varint.decode_varint_untrusted(largest, 0) == ((1 << 63) - 1, len(largest))
    with pytest.raises(MalformedBytes, match="varint_too_long"):
        varint.decode_varint_untrusted(b"\xff" + largest, 0)


@pytest.mark.parametrize(
    ("field", "content", "count_max"),
    [
        (2, multiaddr.Multiaddr("ip4", "127.0.0.1", 1).encode(), identify.ADDRESSES_MAX),
        (3, b"/a", identify.PROTOCOLS_MAX),
    ],
)
def test_things_that_an_identification_lists(field: int, content: bytes, count_max: int) -> None:
    whole = encode_fields([(field, content)] * count_max)
    told = identify.decode_identification_untrusted(whole)
    assert max(len(told.protocols), len(told.listens_on)) == count_max
    with pytest.raises(MalformedBytes, match="protobuf_field_repeated"):
        identify.decode_identification_untrusted(whole + encode_fields([(field, content)]))


@pytest.mark.parametrize("field", [3, 5, 6])
def test_bytes_of_a_text_of_an_identification(field: int) -> None:
    text = b"a" * identify._TEXT_BYTES_MAX
    identify.decode_identification_untrusted(encode_fields([(field, text)]))
    with pytest.raises(MalformedBytes, match="identify_text_too_long"):
        identify.decode_identification_untrusted(encode_fields([(field, text + b"a")]))


def test_bytes_of_an_identification() -> None:
    bare = identify.encode_identification(identify.Identification(BOB.public_key))
    padding = identify.MESSAGE_BYTES_MAX - len(bare) - len(encode_fields([(9, bytes(1 << 15))]))
    longest = bare + encode_fields([(9, bytes((1 << 15) + padding))])
    assert len(longest) == identify.MESSAGE_BYTES_MAX

    async def main() -> None:
        async with linked() as (asking, answering):

            def answer_with(message: bytes) -> None:
                async def answer(one: Stream) -> None:
                    await one.write_message(message)

                answering.set_handler(identify.PROTOCOL, answer)

            answer_with(longest)
            assert (await asking.identify(BOB.peer_id)).peer_id == BOB.peer_id
            answer_with(longest + encode_fields([(9, b"")]))
            with pytest.raises(MalformedBytes, match="message_too_long"):
                await asking.identify(BOB.peer_id)

    run(main)


def test_protocols_that_a_host_takes_streams_for() -> None:
    async def drop(one: Stream) -> None:
        one.close()

    async def main() -> None:
        async with Host(ALICE) as full:
            for number in range(host._HANDLERS_MAX - 2):  # Two are its own: identify and ping.
                full.set_handler(f"/{number}", drop)
            full.set_handler("/0", drop)
            with pytest.raises(LocalFault, match="more than"):
                full.set_handler("/one-more", drop)

    run(main)


def test_characters_of_an_address() -> None:
    """No address is as long: only what it is refused for tells."""
    text = "/dns/a/tcp/1/".ljust(multiaddr.MULTIADDR_TEXT_MAX, "x")
    with pytest.raises(multiaddr.InvalidMultiaddr, match="is not /ip4"):
        multiaddr.parse_multiaddr(text)
    with pytest.raises(multiaddr.InvalidMultiaddr, match="is too long"):
        multiaddr.parse_multiaddr(text + "x")


def test_bytes_of_an_address() -> None:
    encoded = multiaddr.Multiaddr("ip4", "127.0.0.1", 1).encode()
    encoded = encoded.ljust(multiaddr.MULTIADDR_BYTES_MAX, b"\x01")
    with pytest.raises(MalformedBytes, match="multiaddr_unsupported"):
        multiaddr.decode_multiaddr_untrusted(encoded)
    with pytest.raises(MalformedBytes, match="multiaddr_too_long"):
        multiaddr.decode_multiaddr_untrusted(encoded + b"\x01")


def test_characters_of_a_host_name() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(longest) == multiaddr._HOST_NAME_MAX
    assert multiaddr.parse_multiaddr(f"/dns/{longest}/tcp/1").host == longest
    with pytest.raises(multiaddr.InvalidMultiaddr, match="is not a host name"):
        multiaddr.parse_multiaddr(f"/dns/{longest}a/tcp/1")


# --- Noise ------------------------------------------------------------------------------------


def private(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def test_bytes_of_a_message_of_the_handshake() -> None:
    def prefix(length: int) -> bytes:
        handshake = noise.NoiseHandshake(
            ALICE,
            initiator=False,
            static=private(1),
            ephemeral=private(2),
            muxers=(),
            admit=lambda _: None,
        )
        return handshake.receive_untrusted(length.to_bytes(2, "big"))

    assert prefix(noise.HANDSHAKE_MESSAGE_BYTES_MAX) == b""
    with pytest.raises(MalformedBytes, match="noise_handshake_length"):
        prefix(noise.HANDSHAKE_MESSAGE_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("field", "count_max"), [(1, noise.CERTIFICATE_HASHES_MAX), (2, noise.MUXERS_MAX)]
)
def test_things_that_a_handshake_lists(field: int, count_max: int) -> None:
    def decode(count: int) -> noise.HandshakePayload:
        bare = noise.encode_payload(noise.sign_payload(ALICE, bytes(32), ()))
        bare = bare.removesuffix(encode_fields([(4, b"")]))
        listed = encode_fields([(field, b"/a")] * count)
        return noise.decode_payload_untrusted(bare + encode_fields([(4, listed)]))

    assert len(decode(count_max).muxers) == (count_max if field == 2 else 0)
    with pytest.raises(MalformedBytes, match="protobuf_field_repeated"):
        decode(count_max + 1)


def test_bytes_of_a_noise_message() -> None:
    def write(payload_bytes: int) -> bytes:
        end = noise_xx.HandshakeXX(initiator=True, static=private(1), ephemeral=private(2))
        return end.write_message(bytes(payload_bytes))

    longest = noise_xx.MESSAGE_BYTES_MAX - noise_xx.KEY_BYTES
    assert len(write(longest)) == noise_xx.MESSAGE_BYTES_MAX
    with pytest.raises(LocalFault, match="too long"):
        write(longest + 1)


def channels() -> tuple[noise.NoiseChannel, noise.NoiseChannel]:
    """Both ends of a channel, keys agreed on."""
    there, back = bytes(32), bytes(31) + b"\x01"
    cipher = noise_xx.CipherState
    return (
        noise.NoiseChannel(cipher(there), cipher(back)),
        noise.NoiseChannel(cipher(back), cipher(there)),
    )


def seal(channel: noise.NoiseChannel, plaintext: bytes) -> bytes:
    sealed = bytearray(len(plaintext) + 1024)
    return bytes(sealed[: channel.seal_into(memoryview(plaintext), memoryview(sealed))])


def test_plaintext_of_a_noise_message() -> None:
    sealing, _ = channels()
    one = seal(sealing, bytes(noise_xx.PLAINTEXT_BYTES_MAX))
    assert int.from_bytes(one[:2], "big") == noise_xx.MESSAGE_BYTES_MAX == len(one) - 2
    two = seal(sealing, bytes(noise_xx.PLAINTEXT_BYTES_MAX + 1))
    assert two[:2] == one[:2]
    assert len(two) == len(one) + noise.MESSAGE_OVERHEAD_BYTES + 1


def test_a_framed_message_has_room_beside_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read byte by byte, the longest message is put together all the same."""
    monkeypatch.setattr(link, "READ_BYTES", 1)

    async def main() -> None:
        sealing, opening = channels()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        opened: asyncio.Queue[int] = asyncio.Queue()
        scratch = link.Scratch()
        assert len(scratch.received) == noise.FRAMED_MESSAGE_BYTES_MAX + 1
        longest = seal(sealing, bytes(noise_xx.PLAINTEXT_BYTES_MAX))
        assert len(longest) == noise.FRAMED_MESSAGE_BYTES_MAX
        receiving = link.Link(
            ours,
            opening,
            scratch,
            rest=longest[:-1],
            on_plaintext=lambda plaintext: opened.put_nowait(len(plaintext)),
            next_batch=lambda _: [],
            on_lost=lambda _: opened.put_nowait(-1),
        )
        receiving.start()
        await asyncio.get_running_loop().sock_sendall(theirs, longest[-1:])
        assert await opened.get() == noise_xx.PLAINTEXT_BYTES_MAX
        receiving.close(0.0)
        theirs.close()

    run(main)


# --- yamux ------------------------------------------------------------------------------------


def session() -> yamux.Yamux:
    return yamux.Yamux(
        dialer=True,
        inbound_streams_max=1000,
        outbound_streams_max=1000,
        window_bytes_max=WINDOW,
        budget=WindowBudget(0),
    )


def grow(machine: yamux.Yamux, stream_id: int, count: int) -> None:
    update = encode_header(FrameType.WINDOW_UPDATE, Flag.ACK, stream_id, count)
    assert list(machine.receive_untrusted(memoryview(update), 0.0))


def test_number_of_a_stream() -> None:
    machine = session()
    machine._next_id = yamux.STREAM_ID_MAX
    assert machine.open_stream(0.0) == yamux.STREAM_ID_MAX
    with pytest.raises(LimitReached, match="outbound_streams"):
        machine.open_stream(0.0)


def test_bytes_of_a_window() -> None:
    machine = session()
    stream_id = machine.open_stream(0.0)
    rest = yamux_frames.WINDOW_BYTES_MAX - machine.send_window(stream_id)
    grow(machine, stream_id, rest)
    assert machine.send_window(stream_id) == yamux_frames.WINDOW_BYTES_MAX
    with pytest.raises(RemoteFault, match=r"^yamux_window_overflow$"):
        grow(machine, stream_id, 1)


# --- what is sent at once ---------------------------------------------------------------------


class Carrier:
    """The connection of streams that a test looks at alone."""

    def __init__(self) -> None:
        self.peer_id = BOB.peer_id
        self.admission = Admission()
        self.machine = session()
        self.queue = SendQueue(self.machine)

    def open(self) -> Stream:
        stream_id = self.machine.open_stream(0.0)
        grow(self.machine, stream_id, WINDOW)
        return Stream(self, stream_id, inbound=False, timeout_s=None)

    def put(self, count: int) -> None:
        """Have a new stream send so many bytes."""
        sending = self.open()
        sending.outgoing.append(memoryview(bytes(count)))
        self.queue.add(sending)

    def batch(self) -> tuple[int, int, link.Scratch]:
        """Take a batch, and seal it; return its pieces and bytes."""
        scratch, (sealing, _), size = link.Scratch(), channels(), 0
        pieces = self.queue.next_batch(scratch.staged)
        for piece in pieces:
            size += sealing.seal_into(piece, scratch.sealed[size:])
        return len(pieces), sum(map(len, pieces)), scratch

    def send(self, stream: Stream) -> None: ...
    def consume(self, stream: Stream, count: int) -> None: ...
    def forget_unread(self, count: int) -> None: ...
    def finish_stream(self, stream: Stream) -> None: ...
    def reset_stream(self, stream: Stream) -> None: ...
    def let_stream_end(self, stream: Stream) -> None: ...


def test_bytes_of_bodies_in_a_batch() -> None:
    async def main() -> None:
        carrier = Carrier()
        carrier.put(link.BODY_BYTES_MAX + 1)
        carrier.machine.control.clear()
        assert carrier.batch()[1] == HEADER_BYTES + link.BODY_BYTES_MAX
        assert carrier.batch()[1] == HEADER_BYTES + 1

    run(main)


def test_bytes_of_a_batch_and_room_to_seal_them() -> None:
    async def main() -> None:
        carrier = Carrier()
        carrier.put(link.BODY_BYTES_MAX)
        carrier.machine.control[:] = bytes(48_000 // HEADER_BYTES * HEADER_BYTES)
        _, size, scratch = carrier.batch()
        assert size == 48_000 + HEADER_BYTES + link.BODY_BYTES_MAX
        assert size <= link.BATCH_BYTES_MAX < len(scratch.sealed)

    run(main)


def test_turns_of_a_batch() -> None:
    async def main() -> None:
        carrier = Carrier()
        for _ in range(link.TURNS_MAX + 1):
            carrier.put(1)
        carrier.machine.control.clear()
        assert carrier.batch()[1] == link.TURNS_MAX * (HEADER_BYTES + 1)
        assert carrier.batch()[1] == HEADER_BYTES + 1

    run(main)


def test_bytes_of_a_body_that_is_copied_and_pieces_of_a_batch() -> None:
    copied = send_queue._COPIED_BYTES_MAX

    async def main() -> None:
        carrier = Carrier()
        carrier.put(copied)
        carrier.machine.control.clear()
        assert carrier.batch()[0] == 1
        carrier.put(copied + 1)
        carrier.machine.control.clear()
        assert carrier.batch()[0] == 2
        most = link.BODY_BYTES_MAX // (copied + 1)
        for _ in range(most):
            carrier.put(copied + 1)
        carrier.machine.control.clear()
        assert carrier.batch()[0] == 2 * most <= link.PIECES_MAX

    run(main)


# --- streams ----------------------------------------------------------------------------------


def test_bytes_that_are_joined_of_a_chunk_and_of_a_read() -> None:
    async def main() -> None:
        async def reads(*lengths: int) -> list[int]:
            reading = Carrier().open()
            for length in lengths:
                reading.on_data(memoryview(bytes(length)))
            reading.on_finished()
            found = []
            while data := await reading.read():
                found.append(len(data))
            return found

        joined, chunk = stream._JOINED_BYTES_MAX, stream._CHUNK_BYTES_MAX
        assert await reads(1, joined - 1) == [joined]
        assert await reads(1, joined) == [1, joined]
        assert await reads(chunk - 1, 1) == [chunk]
        assert await reads(chunk, 1) == [chunk, 1]
        assert await reads(chunk + 1) == [chunk, 1]
        reading = Carrier().open()
        reading.put_back(bytes(stream.READ_BYTES_MAX + 1))
        assert len(await reading.read()) == stream.READ_BYTES_MAX
        assert len(await reading.read()) == 1

    run(main)


def test_streams_of_pings_from_one_peer() -> None:
    async def main() -> None:
        async with linked() as (asking, _):
            payload = bytes(ping.PAYLOAD_BYTES)
            for _ in range(ping.STREAMS_PER_PEER_MAX):
                pinging = await asking.open_stream(BOB.peer_id, ping.PROTOCOL)
                await pinging.write(payload)
                assert await pinging.read_exactly(len(payload)) == payload
            with pytest.raises(StreamReset):
                await asking.ping(BOB.peer_id)

    run(main)


# --- dials, keepalive, files ------------------------------------------------------------------


def test_peers_whose_dials_are_remembered() -> None:
    async def connect(*_: object) -> None:
        raise AssertionError("nobody is dialled without an address")

    async def main() -> None:
        often = 2 * dialer._BUCKETS_MAX
        limits = replace(DEFAULT_LIMITS, dials_per_peer_burst=1, dials_burst=often)
        dials = dialer.Dialer(limits, Counters(), connect)  # type: ignore[arg-type]

        async def outcome(number: int) -> str:
            with pytest.raises(DialFailed) as failed:
                await dials.dial(PeerId(str(number)), [])
            return failed.value.reason

        for number in range(dialer._BUCKETS_MAX):
            assert await outcome(number) == "address_count"
        assert await outcome(0) == "dial_rate"
        assert await outcome(dialer._BUCKETS_MAX) == "address_count"
        assert await outcome(0) == "address_count"  # Forgotten: the first to be.

    run(main)


def test_ticks_that_a_superseded_connection_may_be_busy_for() -> None:
    pulses = liveness.Liveness()
    pulses.drain()
    ticks = [pulses.tick(heard=True, busy=True) for _ in range(liveness._DRAIN_TICKS_MAX)]
    assert ticks[-1] is liveness.Pulse.DRAINED
    assert set(ticks[:-1]) == {liveness.Pulse.ALIVE}


def test_bytes_of_a_files_name(tmp_path: Path) -> None:
    """Its partial file has a longer name, which a file system takes too."""
    longest = "a" * __main__._NAME_BYTES_MAX
    refused: list[str] = []

    async def take(one: Stream) -> None:
        try:
            await __main__._take_file(one, tmp_path)
        except MalformedBytes as error:
            refused.append(error.reason)
            raise

    async def main() -> None:
        async with linked() as (sending, taking):
            taking.set_handler("/file", take)

            async def send(name: str) -> None:
                async with await sending.open_stream(BOB.peer_id, "/file") as one:
                    await one.write_message(name.encode())
                    await one.write(b"content")
                    one.finish()
                    await one.read_exactly(32)

            await send(longest)
            with pytest.raises(StreamReset):
                await send(longest + "a")

    run(main)
    assert [path.name for path in tmp_path.iterdir()] == [longest]
    assert refused == ["message_too_long"]
