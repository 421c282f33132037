"""What connections weigh: import time, memory of held connections, leaks over many connects.

./scripts/bench libp2p-weight [--held N] [--cycles N]
"""

import argparse
import asyncio
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop
from options import positive

from p2pfl.libp2p import DEFAULT_LIMITS, Host
from p2pfl_crypto.identity import Identity

LIMITS = replace(
    DEFAULT_LIMITS,
    connections_max=100_000,
    keepalive_period_s=60.0,  # A busy machine is no fault here.
    dial_timeout_s=120.0,
    handshake_timeout_s=120.0,
    negotiation_timeout_s=120.0,
    dials_per_s=1e6,
    dials_burst=10**6,
    dials_per_peer_per_s=1e6,
    dials_per_peer_burst=10**6,
)


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def rss_kb() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def import_seconds() -> float:
    """CPU seconds of a fresh interpreter that imports the package, less those of an empty one."""

    def cpu(code: str) -> float:
        check = f"{code}; import time; print(time.process_time())"
        told = subprocess.run([sys.executable, "-c", check], capture_output=True, check=True)
        return float(told.stdout)

    return statistics.median(cpu("import p2pfl.libp2p") - cpu("pass") for _ in range(5))


async def held(count: int) -> None:
    """One host in this process listens; `count` hosts in another process dial it."""
    async with Host(identity(1), limits=LIMITS) as host:
        [address] = await host.listen("/ip4/127.0.0.1/tcp/0")
        dialling = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--dial", str(address), "--held", str(count),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert dialling.stdout is not None
        assert dialling.stdin is not None
        before = rss_kb()
        told = (await dialling.stdout.readline()).decode().strip()
        assert len(host.peers()) == count
        each = (rss_kb() - before) / count
        print(f"{count} connections held: {each:.1f} KB each for the listener; {told}", flush=True)
        dialling.stdin.close()
        await dialling.wait()


async def dial_many(address: str, count: int) -> None:
    """Hosts of one process share nothing but the interpreter; their connections are what counts."""
    peer_id = identity(1).peer_id
    hosts = [Host(identity(1000 + number), limits=LIMITS) for number in range(count)]
    before = rss_kb()
    for start in range(0, count, 50):
        await asyncio.gather(*(h.dial(peer_id, [address]) for h in hosts[start : start + 50]))
    print(f"{(rss_kb() - before) / count:.1f} KB each for the dialler", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.gather(*(host.close() for host in hosts))


async def cycles(count: int) -> None:
    """Connect, use a stream, disconnect: descriptors, tasks and memory must not grow."""
    async with Host(identity(1), limits=LIMITS) as one, Host(identity(2), limits=LIMITS) as two:
        addresses = await two.listen("/ip4/127.0.0.1/tcp/0")
        seen = []
        for number in range(count + 1):
            await one.dial(two.peer_id, addresses)
            if number % 10 == 0:
                await one.ping(two.peer_id)
            one.disconnect(two.peer_id)
            while two.peers() or one.metrics()["connections_superseded"]:
                await asyncio.sleep(0)
            if number % max(1, count // 5) == 0:
                seen.append((number, rss_kb(), descriptors(), len(asyncio.all_tasks())))
        for number, rss, files, tasks in seen:
            print(f"after {number} connects: {rss} KB, {files} descriptors, {tasks} tasks")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--held", type=positive, default=1000)
    parser.add_argument("--cycles", type=positive, default=10_000)
    parser.add_argument("--dial", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dial:
        await dial_many(arguments.dial, arguments.held)
        return
    print(f"import: {import_seconds() * 1e3:.0f} ms of CPU", flush=True)
    await held(arguments.held)
    begun_s = time.process_time()
    await cycles(arguments.cycles)
    each_ms = (time.process_time() - begun_s) / arguments.cycles * 1e3
    print(f"{each_ms:.2f} CPU ms a connect, both ends")


if __name__ == "__main__":
    os.nice(5)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main())
