"""Speed of the libp2p stack beside others: two processes on loopback, all in one run.

    ./scripts/bench libp2p [--quick] [--only NAME ...] [--before COMMIT]

Other libp2p implementations come from scripts/setup-interop, gRPC from the same environment;
hivemind is measured where `scripts/setup-interop --hivemind` has made its environment.
Rounds of all implementations are interleaved, so that a busy machine is as busy for each; medians
are told, and CPU seconds, which a busy machine disturbs less than seconds. ``--before`` has an
earlier commit of ours take turns as well, with the libraries of today.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from shutil import which
from typing import Any, Self

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from earlier import Earlier, add_before, earlier_code
from measuring import ROOT, Failed
from options import positive
from rich.console import Console
from rich.table import Table

SIDES = ROOT / "benchmarks" / "sides"
OTHER = str(ROOT / ".venvs/py-libp2p/bin/python")
COMMANDS = {
    "p2pfl": [sys.executable, str(SIDES / "libp2p_peer.py")],
    "py-libp2p": [OTHER, str(ROOT / "tests/interop/py_peer.py")],
    "js-libp2p": ["node", str(ROOT / "tests/interop/js/peer.mjs")],
    "gRPC + TLS": [OTHER, str(SIDES / "libp2p_grpc_peer.py")],
    "hivemind": [
        str(ROOT / ".venvs/hivemind/bin/python"),
        str(SIDES / "libp2p_hivemind_peer.py"),
    ],
}
# What there is no equal to: gRPC opens no streams; hivemind connects through a daemon.
NOT_MEASURED = {("gRPC + TLS", "open"), ("hivemind", "connect"), ("hivemind", "open")}
MB = 1_000_000
# Bytes, streams, rounds.
LOADS = {
    "1 MB": (1 * MB, 1, 5),
    "20 MB": (20 * MB, 1, 5),
    "200 MB": (200 * MB, 1, 5),
    "4 x 50 MB": (200 * MB, 4, 3),
    "1 GB": (1000 * MB, 1, 3),
}
QUICK = {"20 MB": (20 * MB, 1, 3), "200 MB": (200 * MB, 1, 3)}
REPEATS = {"connect": 20, "open": 200, "request": 1000}
CONNECT_TURNS = 4
NOISE_BYTES = 65519


class Peer:
    """One child process; of earlier code of ours, if it is given."""

    def __init__(self, name: str, earlier: Earlier | None) -> None:
        self._name, self._environment = name, {} if earlier is None else earlier.environment

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *COMMANDS[self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # py-libp2p logs every connection that ends.
            limit=1 << 20,
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                "GRPC_VERBOSITY": "ERROR",
                **self._environment,
            },
        )
        self.address: str = (await self._answer())["addresses"][0]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        answer = await self._answer()
        assert "error" not in answer, f"{self._name}: {answer}"
        return answer

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"{self._name} died"
        answer: dict[str, Any] = json.loads(line)
        return answer


async def measure(
    loads: dict[str, tuple[int, int, int]], names: list[str], earlier: Earlier | None
) -> dict[str, Any]:
    """Seconds of every round and CPU seconds per GB of both ends together."""
    found: dict[str, Any] = {name: {} for name in names}
    async with AsyncExitStack() as stack:
        pairs = {}
        for name in names:
            code = earlier if earlier is not None and name == earlier.label("p2pfl") else None
            sender = await stack.enter_async_context(Peer(name, code))
            receiver = await stack.enter_async_context(Peer(name, code))
            pairs[name] = sender, receiver
        for _ in range(CONNECT_TURNS):
            for name, (sender, receiver) in pairs.items():
                if (name, "connect") in NOT_MEASURED:
                    continue
                count = 1 + REPEATS["connect"] // CONNECT_TURNS
                spent = await sender.do("connect_timed", address=receiver.address, count=count)
                found[name].setdefault("connect", []).extend(spent["seconds"][1:])
        for sender, receiver in pairs.values():
            await sender.do("dial", address=receiver.address)
        for load, (count, streams, rounds) in loads.items():
            for _ in range(rounds):
                for name, (sender, receiver) in pairs.items():
                    before = [(await end.do("cpu"))["seconds"] for end in (sender, receiver)]
                    told = await sender.do("sum", bytes=count, streams=streams)
                    assert told["bytes"] == count, (name, told)
                    after = [(await end.do("cpu"))["seconds"] for end in (sender, receiver)]
                    found[name].setdefault(load, []).append(told["seconds"])
                    cpu = [(b - a) / count * 1e9 for a, b in zip(before, after, strict=True)]
                    found[name].setdefault(f"cpu {load}", []).append(cpu)
        for name, (sender, _) in pairs.items():
            for what in ("open", "request"):
                if (name, what) not in NOT_MEASURED:
                    spent = await sender.do(f"{what}_timed", count=REPEATS[what])
                    found[name][what] = spent["seconds"]
    return found


def floor() -> dict[str, float]:
    """CPU seconds per GB that no stack can go below: sealing, opening, and a socket's copies."""
    aead, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    plain, sealed = bytearray(NOISE_BYTES), bytearray(NOISE_BYTES + 16)
    rounds = 3000

    def cpu_of(step: Any) -> float:
        begun = time.process_time()
        for _ in range(rounds):
            step()
        return (time.process_time() - begun) / (rounds * NOISE_BYTES) * 1e9

    costs = {
        "seal": cpu_of(lambda: aead.encrypt_into(nonce, plain, None, sealed)),
        "open": cpu_of(lambda: aead.decrypt_into(nonce, sealed, None, plain)),
    }
    # Both ends of the socket in this process: the CPU time is that of the two together.
    listening = socket.create_server(("127.0.0.1", 0))
    sending = socket.create_connection(listening.getsockname())
    receiving, _ = listening.accept()
    block, room = bytes(4 * NOISE_BYTES), bytearray(4 * NOISE_BYTES)
    begun = time.process_time()

    def send() -> None:
        for _ in range(rounds):
            sending.sendall(block)

    writer = threading.Thread(target=send)
    writer.start()
    left = rounds * len(block)
    while left:
        left -= receiving.recv_into(room)
    writer.join()
    costs["loopback"] = (time.process_time() - begun) / (rounds * len(block)) * 1e9
    for each in (listening, sending, receiving):
        each.close()
    return costs


def rows(found: dict[str, Any], loads: dict[str, tuple[int, int, int]]) -> Iterator[list[str]]:
    for name, results in found.items():
        row = [name]
        for load, (count, _, _) in loads.items():
            row.append(f"{count / statistics.median(results[load]) / MB:.0f}")
        biggest = "cpu 200 MB"
        sender, receiver = (statistics.median(end) for end in zip(*results[biggest], strict=True))
        row.append(f"{sender:.2f} + {receiver:.2f}")
        for what in ("connect", "open", "request"):
            times = results.get(what)
            row.append(f"{statistics.median(times) * 1e3:.2f}" if times else "-")
        yield row


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="20 and 200 MB only")
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS))
    parser.add_argument("--rounds", type=positive, help="of each load; more on a busy machine")
    add_before(parser)
    parser.add_argument("--json", type=Path, help="write all rounds to this file")
    arguments = parser.parse_args()
    if arguments.only != ["p2pfl"]:
        subprocess.run([str(ROOT / "scripts/setup-interop")], check=True)
    loads = QUICK if arguments.quick else LOADS
    if arguments.rounds:
        loads = {name: (*load[:2], arguments.rounds) for name, load in loads.items()}
    costs = floor()
    names = arguments.only or [name for name, command in COMMANDS.items() if which(command[0])]
    with earlier_code(arguments.before) as earlier:
        if earlier is not None:
            names = [*names, earlier.label("p2pfl")]
            script = earlier.script("sides/libp2p_peer.py", "libp2p_peer.py")
            COMMANDS[names[-1]] = [sys.executable, str(script)]
        found = await measure(loads, names, earlier)
    table = Table(title=f"MB/s, medians; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    heads = [*loads, "CPU s/GB, sender + receiver", "connect ms", "open ms", "request ms"]
    for head in ("", *heads):
        table.add_column(head, justify="left" if not head else "right")
    for row in rows(found, loads):
        table.add_row(*row)
    console = Console(width=140)
    console.print(table)
    told = ", ".join(f"{what} {seconds:.2f}" for what, seconds in costs.items())
    console.print(f"floor, CPU s/GB of both ends: {told}; together {sum(costs.values()):.2f}")
    ours = statistics.median(found["p2pfl"]["200 MB"]) if "p2pfl" in found else None
    for name, results in found.items():
        if ours is not None and name != "p2pfl":
            paired = zip(results["200 MB"], found["p2pfl"]["200 MB"], strict=True)
            ratio = statistics.median(other / mine for other, mine in paired)
            console.print(f"200 MB: {ratio:.2f} times {name} (median of paired rounds)")
            cpu = [
                statistics.median(sum(ends) for ends in it["cpu 200 MB"])
                for it in (found["p2pfl"], results)
            ]
            console.print(f"200 MB: {cpu[0] / cpu[1]:.2f} times the CPU seconds of {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"floor": costs, "rounds": found}, indent=1))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except Failed as failure:
        sys.exit(str(failure))
