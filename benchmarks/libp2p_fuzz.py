"""Fuzzes each libp2p machine with mutated valid sessions; only the declared error may come out.

    ./scripts/bench libp2p-fuzz [--count N] [--seed N] [--only NAME ...] [--coverage]

Reports how many inputs were refused by which reason, how deep they got (steps that the machine took
before it refused, or to the end), and, with --coverage, which branches of the machines' files were
reached. Any other exception is printed with the input and the seed that made it.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from options import at_least, natural

from p2pfl.libp2p.errors import LimitReached, LocalFault, RemoteFault
from p2pfl.libp2p.identify import (
    Identification,
    decode_identification_untrusted,
    encode_identification,
)
from p2pfl.libp2p.multiaddr import decode_multiaddr_untrusted, parse_multiaddr
from p2pfl.libp2p.multistream import (
    HEADER,
    MultistreamDialer,
    MultistreamListener,
    encode_message,
)
from p2pfl.libp2p.noise import (
    NoiseChannel,
    NoiseHandshake,
    decode_payload_untrusted,
    encode_payload,
    sealed_bytes,
    sign_payload,
)
from p2pfl.libp2p.noise_xx import CipherState
from p2pfl.libp2p.protobuf import encode_fields
from p2pfl.libp2p.yamux import CONTROL_BYTES_MAX, Yamux
from p2pfl.libp2p.yamux_events import DataReceived, StreamOpened, WindowGrown
from p2pfl.libp2p.yamux_frames import (
    INITIAL_WINDOW_BYTES,
    Flag,
    FrameType,
    GoAwayCode,
    encode_header,
)
from p2pfl.libp2p.yamux_streams import WindowBudget
from p2pfl_crypto.identity import Identity

FOLDER = Path(__file__).parents[1] / "p2pfl" / "libp2p"
ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
YAMUX = "/yamux/1.0.0"
INTERESTING = (0, 1, 2, 3, 10, 12, 0x7F, 0x80, 0xFF)
WORDS = (0, 1, 12, 0xFFFF, INITIAL_WINDOW_BYTES, INITIAL_WINDOW_BYTES + 1, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass
class Report:
    """What came of the inputs to one machine."""

    count: int = 0
    accepted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    depths: list[int] = field(default_factory=list)


Fuzzer = Callable[[Random], int]
"""Makes one input, feeds it and returns the depth; a refusal carries it as `depth`."""


def mutate(rng: Random, valid: bytes) -> bytes:
    """Change a valid input in one to four places, or, one time in sixteen, nowhere."""
    data = bytearray(valid)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(7)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1 and at < len(data):
            data[at] = rng.choice(INTERESTING)
        elif what == 2:
            del data[at : at + rng.randrange(1, 8)]
        elif what == 3:
            data[at:at] = data[at : at + rng.randrange(1, 40)]
        elif what == 4:
            data[at:at] = rng.randbytes(rng.randrange(1, 12))
        elif what == 5:
            del data[at:]
        else:
            data[at : at + 4] = rng.choice(WORDS).to_bytes(4, "big")
    return bytes(data)


def pieces(rng: Random, data: bytes) -> Iterator[bytes]:
    """Cut an input as a socket might."""
    while data:
        size = rng.choice((len(data), len(data), rng.randrange(1, len(data) + 1), 1))
        yield data[:size]
        data = data[size:]


class Deep(Exception):
    """A refusal, with how deep the input got."""

    def __init__(self, reason: str, depth: int) -> None:
        super().__init__(reason)
        self.reason, self.depth = reason, depth


def decoder(decode: Callable[[bytes], object], valid: list[bytes]) -> Fuzzer:
    def one(rng: Random) -> int:
        data = mutate(rng, rng.choice(valid))
        try:
            decode(data)
        except RemoteFault as error:
            raise Deep(error.reason, 0) from None
        return 1

    return one


def identify_fuzzer() -> Fuzzer:
    addresses = tuple(map(parse_multiaddr, ("/ip4/10.1.2.3/tcp/4", "/dns/a.example/tcp/5")))
    told = Identification(
        ALICE.public_key, ("/a/1", "/b/1"), addresses, addresses[0], "agent", "version"
    )
    unknown = bytes.fromhex("58ff01" + "51" + "11" * 8 + "5a03616263" + "5d" + "22" * 4)
    many = encode_fields([(3, b"/a")] * 120)
    nothing = encode_identification(Identification(public_key=None))
    endless = bytes.fromhex("5801") * 256
    valid = [encode_identification(told), unknown + encode_identification(told)]
    valid += [many, many * 3, nothing, endless, endless + bytes.fromhex("5801")]
    return decoder(decode_identification_untrusted, valid)


def multiaddr_fuzzer() -> Fuzzer:
    texts = ("/ip4/1.2.3.4/tcp/5", "/ip6/::1/tcp/6", "/dns/a.b/tcp/7", "/dns6/c/tcp/8")
    valid = [parse_multiaddr(text).encode() for text in texts]
    named = [parse_multiaddr(text).with_peer(BOB.peer_id).encode() for text in texts]
    return decoder(decode_multiaddr_untrusted, [*valid, *named, b"\x04" * 401])


def payload_fuzzer() -> Fuzzer:
    payload = encode_payload(sign_payload(ALICE, bytes(32), (YAMUX, "/mplex/6.7.0")))
    return decoder(decode_payload_untrusted, [payload, payload + encode_fields([(3, b"x")])])


def multistream_fuzzer(*, dialer: bool) -> Fuzzer:
    names = ("/a", "/b/1", "/c")
    header = encode_message(HEADER)
    if dialer:
        valid = [
            header + encode_message("/a") + b"rest",
            header + encode_message("na") + encode_message("/b/1"),
            header + encode_message("na") * 3,
        ]
    else:
        valid = [
            header + encode_message("/b/1") + b"rest",
            header + encode_message("ls") + encode_message("/x") + encode_message("/a"),
            header + encode_message("/x") * 17,
        ]

    def one(rng: Random) -> int:
        machine = MultistreamDialer(names) if dialer else MultistreamListener(names.__contains__)
        depth = 0
        try:
            for piece in pieces(rng, mutate(rng, rng.choice(valid))):
                if machine.protocol is not None:
                    break
                depth += bool(machine.receive_untrusted(piece))
        except RemoteFault as error:
            raise Deep(error.reason, depth) from None
        assert len(machine._buffer) <= 300 + 40
        return depth + (machine.protocol is not None)

    return one


def handshake(
    who: Identity, number: int, *, initiator: bool, muxers: tuple[str, ...]
) -> NoiseHandshake:
    static, ephemeral = (
        X25519PrivateKey.from_private_bytes(bytes([number + i]) * 32) for i in (0, 1)
    )
    return NoiseHandshake(
        who,
        initiator=initiator,
        static=static,
        ephemeral=ephemeral,
        muxers=muxers,
        admit=lambda _: None,
    )


def copied(machine: NoiseHandshake) -> NoiseHandshake:
    """An independent machine in the same state, which is all values."""
    twin = copy.copy(machine)
    twin._noise = copy.copy(machine._noise)
    twin._buffer = bytearray(machine._buffer)
    return twin


def noise_fuzzer() -> Fuzzer:
    """Each of the three messages mutated on its way; payloads mutated before they are sealed."""
    initiator = handshake(ALICE, 1, initiator=True, muxers=(YAMUX,))
    responder = handshake(BOB, 10, initiator=False, muxers=(YAMUX,))
    first = initiator.start()
    answering = copied(responder)
    second = answering.receive_untrusted(first)
    finishing = copied(initiator)
    third = finishing.receive_untrusted(second)
    stages = [(responder, first), (initiator, second), (answering, third)]
    payload = encode_payload(sign_payload(BOB, bytes(32), (YAMUX,)))

    def one(rng: Random) -> int:
        stage = rng.randrange(3)
        if rng.randrange(8) == 0:  # An attacker with keys of its own sends what it likes.
            sender, stage = copied(responder), 1
            sender._payload = mutate(rng, rng.choice((payload, sender._payload)))
            machine, data = copied(initiator), sender.receive_untrusted(first)
        else:
            machine, data = copied(stages[stage][0]), mutate(rng, stages[stage][1])
        try:
            for piece in pieces(rng, data):
                if machine.complete:
                    break
                machine.receive_untrusted(piece)
            if machine.complete:
                machine.agreed_muxer()
                machine.split()
        except RemoteFault as error:
            raise Deep(error.reason, stage) from None
        return stage + machine.complete

    return one


def channel_fuzzer() -> Fuzzer:
    key = bytes(range(32))
    sealing = NoiseChannel(CipherState(key), CipherState(key))
    valid = b""
    for length in (5, 0, 100, 1):
        sealed = bytearray(sealed_bytes(length) or 18)
        if length:
            sealing.seal_into(memoryview(bytes(length)), memoryview(sealed))
            valid += sealed

    def one(rng: Random) -> int:
        machine = NoiseChannel(CipherState(key), CipherState(key))
        opened, kept, depth = memoryview(bytearray(1000)), b"", 0
        try:
            for piece in pieces(rng, mutate(rng, valid)):
                kept += piece
                used, filled = machine.open_into_untrusted(memoryview(kept), opened)
                assert filled <= used <= len(kept)
                kept = kept[used:]
                depth += filled > 0
        except RemoteFault as error:
            raise Deep(error.reason, depth) from None
        return depth

    return one


def yamux_session(rng: Random) -> bytes:
    """What a well-behaved dialler might send: streams opened, used, finished, reset."""
    frames, streams, next_id = bytearray(), list[int](), 1
    for _ in range(rng.randrange(2, 12)):
        what = rng.randrange(9)
        if what <= 1 or not streams:
            streams.append(next_id)
            body = rng.randbytes(rng.choice((0, 0, 3)))
            kind = FrameType.DATA if body else FrameType.WINDOW_UPDATE
            frames += encode_header(kind, Flag.SYN, next_id, len(body)) + body
            next_id += 2
        elif what <= 4:
            big = rng.randrange(60) == 0
            body = bytes(200_000) if big else rng.randbytes(rng.choice((1, 10, 100)))
            flag = rng.choice((0, 0, 0, Flag.FIN))
            stream_id = rng.choice(streams)
            frames += encode_header(FrameType.DATA, flag, stream_id, len(body)) + body
            if flag:
                streams.remove(stream_id)
        elif what == 5:
            frames += encode_header(FrameType.WINDOW_UPDATE, 0, rng.choice(streams), 1000)
        elif what == 6:
            flag = rng.choice((Flag.FIN, Flag.RST))
            frames += encode_header(FrameType.WINDOW_UPDATE, flag, streams.pop(), 0)
        elif what == 7:
            flag = rng.choice((Flag.SYN, Flag.ACK))
            frames += encode_header(FrameType.PING, flag, 0, rng.randrange(1 << 32))
        else:
            frames += encode_header(FrameType.WINDOW_UPDATE, Flag.ACK, 2, rng.randrange(9))
    if rng.randrange(8) == 0:
        frames += encode_header(FrameType.GO_AWAY, 0, 0, 0)
    if rng.randrange(200) == 0:
        frames += encode_header(FrameType.PING, Flag.SYN, 0, 1) * (CONTROL_BYTES_MAX // 12 + 2)
    return bytes(frames)


def yamux_fuzzer() -> Fuzzer:  # noqa: C901 - one input, told in order.
    """The driver acts too: reads, writes, finishes, resets, at random, between events."""

    def act(machine: Yamux, rng: Random, stream_id: int, unread: dict[int, int]) -> None:
        what = rng.randrange(12)
        try:
            if what <= 4:
                machine.consume(stream_id, unread.pop(stream_id, 0), rng.random())
            elif what <= 6:
                machine.reset(stream_id)
            elif what == 7:
                machine.data_header(stream_id, min(5, machine.send_window(stream_id)))
            elif what == 8:
                machine.finish(stream_id)
            elif what == 9:
                machine.open_stream(0.0)
            elif what == 10:
                machine.ping(7)
            elif rng.randrange(20) == 0:
                machine.go_away(GoAwayCode.NORMAL)
        except (LocalFault, LimitReached):
            return  # The driver asked for what the stream's state or a limit does not allow.

    def one(rng: Random) -> int:
        budget = WindowBudget(1 << 20)
        machine = Yamux(
            dialer=False,
            inbound_streams_max=rng.choice((1, 3, 100)),
            outbound_streams_max=3,
            window_bytes_max=1 << 20,
            budget=budget,
        )
        machine.round_trip_s = rng.choice((None, 0.5))
        machine.open_stream(0.0)
        if rng.randrange(2):
            machine.open_stream(0.0)
        depth, unread = 0, dict[int, int]()
        try:
            for piece in pieces(rng, mutate(rng, yamux_session(rng))):
                for event in machine.receive_untrusted(memoryview(piece), rng.random()):
                    depth += 1
                    if isinstance(event, DataReceived):
                        held = unread.get(event.stream_id, 0) + len(event.data)
                        assert held <= 1 << 20
                        unread[event.stream_id] = held
                    if isinstance(event, DataReceived | StreamOpened | WindowGrown):
                        act(machine, rng, event.stream_id, unread)
                assert len(machine.control) <= CONTROL_BYTES_MAX + 4096
        except RemoteFault as error:
            raise Deep(error.reason, depth) from None
        finally:
            machine.close()
            assert budget.left == 1 << 20
        return depth

    return one


FUZZERS: dict[str, Callable[[], Fuzzer]] = {
    "identify": identify_fuzzer,
    "multiaddr": multiaddr_fuzzer,
    "noise-payload": payload_fuzzer,
    "multistream-dialer": lambda: multistream_fuzzer(dialer=True),
    "multistream-listener": lambda: multistream_fuzzer(dialer=False),
    "noise-handshake": noise_fuzzer,
    "noise-channel": channel_fuzzer,
    "yamux": yamux_fuzzer,
}
MACHINE_FILES = (
    "varint.py",
    "protobuf.py",
    "identify.py",
    "multiaddr.py",
    "multistream.py",
    "noise.py",
    "noise_xx.py",
    "yamux.py",
    "yamux_frames.py",
    "yamux_streams.py",
)


def fuzz(name: str, count: int, seed: int) -> Report:
    """Feed `count` inputs to one machine, all drawn from `seed`."""
    one, report = FUZZERS[name](), Report()
    for number in range(count):
        rng = Random(f"{seed}/{name}/{number}")
        report.count += 1
        try:
            depth = one(rng)
            report.accepted += 1
        except Deep as refusal:
            report.reasons[refusal.reason] += 1
            depth = refusal.depth
        except BaseException:
            print(f"{name}: input {number} of seed {seed}", file=sys.stderr)
            raise
        report.depths.append(depth)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=at_least(2), default=1_000_000, help="inputs a machine")
    parser.add_argument("--seed", type=natural, default=1)
    parser.add_argument("--only", nargs="+", choices=list(FUZZERS), default=list(FUZZERS))
    parser.add_argument("--coverage", action="store_true", help="measure branches; 10 times slower")
    arguments = parser.parse_args()
    if arguments.coverage:
        measure_branches(arguments.count, arguments.seed, arguments.only)
        return
    for name in arguments.only:
        begun = time.process_time()
        report = fuzz(name, arguments.count, arguments.seed)
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.reasons.most_common())
        deciles = statistics.quantiles(report.depths, n=10)
        print(
            f"{name}: {report.count} inputs, {report.accepted} taken; depth median "
            f"{statistics.median(report.depths):.0f}, 9th decile {deciles[-1]:.0f}, deepest "
            f"{max(report.depths)}; {time.process_time() - begun:.0f} CPU s\n    {reasons}",
            flush=True,
        )


def measure_branches(count: int, seed: int, names: list[str]) -> None:
    """Run again under coverage, from the imports on, and tell the branches that were reached."""
    with tempfile.TemporaryDirectory() as folder:
        data, told = Path(folder) / "data", Path(folder) / "told.json"
        tool = [sys.executable, "-m", "coverage"]
        # What our own callers may do wrong is no matter of bytes from outside.
        rules = Path(folder) / "rules"
        rules.write_text(
            "[report]\nexclude_also =\n    raise LocalFault\n    raise InvalidMultiaddr\n"
        )
        include = "--include=" + ",".join(str(FOLDER / name) for name in MACHINE_FILES)
        this = [__file__, "--count", str(count), "--seed", str(seed), "--only", *names]
        run = [*tool, "run", "--branch", include, f"--data-file={data}", *this]
        subprocess.run(run, check=True)
        subprocess.run(
            [*tool, "json", "--quiet", f"--rcfile={rules}", f"--data-file={data}", "-o", str(told)],
            check=True,
        )
        report = json.loads(told.read_text())
    for path, found in report["files"].items():
        summary, missed = found["summary"], found["missing_branches"]
        reached, total = summary["covered_branches"], summary["num_branches"]
        print(f"{Path(path).name}: {reached} of {total} branches; missed: {missed}")
    totals = report["totals"]
    share = totals["covered_branches"] / totals["num_branches"]
    print(f"all: {totals['covered_branches']} of {totals['num_branches']} branches, {share:.1%}")


if __name__ == "__main__":
    main()
