"""Thirty hosts in several processes whose links, and processes, are broken at random.

    ./scripts/bench libp2p-churn [--seconds N] [--seed N]

Hosts break their own links and use each other's streams; processes are killed (SIGKILL) and started
again, or frozen (SIGSTOP) for longer than keepalive tolerates and resumed. Then everything is left
alone, and every pair that should be connected has to be; tasks, descriptors and memory of processes
that lived through it are compared with what they were before.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from options import natural, positive_real

from p2pfl.libp2p import DEFAULT_LIMITS, Backoff, Host, Keeper, Libp2pError, Multiaddr, Stream
from p2pfl_crypto.identity import Identity

PROCESSES, HOSTS_EACH, LINKS_EACH = 5, 6, 5
KEEPALIVE_S = 1.0
LIMITS = replace(
    DEFAULT_LIMITS,
    keepalive_period_s=KEEPALIVE_S,
    dial_timeout_s=3.0,
    handshake_timeout_s=3.0,
    dials_per_s=1000.0,
    dials_per_peer_per_s=100.0,
    dials_per_peer_burst=1000,
)
BACKOFF = Backoff(first_s=0.05, longest_s=2.0, stable_s=2.0)
# Told by a host that has a bug, as opposed to a peer that is gone.
BUGS = ("connections_closed.internal_error", "handlers_failed")


def identity(number: int) -> Identity:
    return Identity(number.to_bytes(32, "big"))


def links_of(seed: int) -> list[set[int]]:
    """Who keeps a link to whom: a ring, and random others; some pairs keep each other."""
    count, rng = PROCESSES * HOSTS_EACH, Random(f"{seed}/links")
    links = [{(number + 1) % count} for number in range(count)]
    for number, targets in enumerate(links):
        while len(targets) < LINKS_EACH:
            other = rng.randrange(count)
            if other != number:
                targets.add(other)
    return links


# One process of several hosts.


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def use_and_break(host: Host, rng: Random, going: asyncio.Event, done: Counter[str]) -> None:
    """Talk to random neighbours, and now and then break a link, while `going` is set."""
    while True:
        await going.wait()
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        peers = host.peers()
        if not peers:
            continue
        peer_id = rng.choice(peers)
        if rng.random() < 0.05:
            host.disconnect(peer_id, "churn")
            done["links broken"] += 1
            continue
        body = rng.randbytes(rng.choice((10, 1000, 300_000)))
        try:
            async with await host.open_stream(peer_id, "/echo", timeout_s=5.0) as stream:
                stream.timeout_s = 5.0
                async with asyncio.TaskGroup() as both:
                    both.create_task(stream.write(body))
                    if await stream.read_exactly(len(body)) != body:
                        done["echoes wrong"] += 1
                done["echoes"] += 1
        except (Libp2pError, ExceptionGroup):
            done["echoes broken off"] += 1


def usage() -> dict[str, int]:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "rss_kb": int(rss),
    }


async def child(index: int, seed: int, ports: list[int], incarnation: int) -> None:
    rng = Random(f"{seed}/{index}/{incarnation}")
    hosts, keepers, links = [], [], links_of(seed)
    going, done = asyncio.Event(), Counter[str]()
    numbers = range(index * HOSTS_EACH, (index + 1) * HOSTS_EACH)
    for number in numbers:
        host = Host(identity(number), limits=LIMITS)
        host.set_handler("/echo", echo)
        await host.listen(Multiaddr("ip4", "127.0.0.1", ports[number]))
        hosts.append(host)
        keeper = Keeper(host, backoff=BACKOFF, rng=Random(f"{seed}/{number}/{incarnation}/jitter"))
        keepers.append(keeper)
        for other in links[number]:
            peer_id = identity(other).peer_id
            keeper.keep(peer_id, [Multiaddr("ip4", "127.0.0.1", ports[other], peer_id)])
    workers = [
        asyncio.create_task(use_and_break(h, Random(rng.random()), going, done)) for h in hosts
    ]
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if line == "break":
            going.set()
        elif line == "heal":
            going.clear()
        wanted = sum(len(links[number]) for number in numbers)
        linked = sum(
            host.connection(identity(other).peer_id) is not None
            for number, host in zip(numbers, hosts, strict=True)
            for other in links[number]
        )
        metrics: Counter[str] = Counter()
        for host in hosts:
            metrics.update(host.metrics())
        told = {"wanted": wanted, "linked": linked, "done": done, "metrics": metrics} | usage()
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    for task in workers:
        task.cancel()
    for keeper in keepers:
        await keeper.close()
    begun_s = time.perf_counter()
    await asyncio.gather(*(host.close() for host in hosts))
    closed_s = time.perf_counter() - begun_s
    left = len(asyncio.all_tasks()) - 1
    sys.stdout.write(json.dumps({"closed_s": closed_s, "tasks left": left}) + "\n")


# The parent.


class Process:
    """One child, which may be killed, frozen and started again."""

    def __init__(self, index: int, seed: int, ports: list[int]) -> None:
        self._index, self._seed, self._ports = index, seed, ports
        self.incarnation = 0
        self.frozen = False

    async def start(self) -> None:
        arguments = ["--child", str(self._index), "--seed", str(self._seed)]
        arguments += ["--incarnation", str(self.incarnation), "--ports", json.dumps(self._ports)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.incarnation += 1

    async def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what.encode() + b"\n")
        line = await self.process.stdout.readline()
        assert line, f"process {self._index} died on its own: {self.process.returncode}"
        answer: dict[str, Any] = json.loads(line)
        return answer


async def healed(processes: list[Process], deadline_s: float) -> tuple[float, list[dict[str, Any]]]:
    """Wait until every link that should be there is; tell how long that took."""
    begun_s = time.monotonic()
    while True:
        told = [await process.ask("heal") for process in processes]
        missing = sum(each["wanted"] - each["linked"] for each in told)
        if missing == 0:
            return time.monotonic() - begun_s, told
        assert time.monotonic() - begun_s < deadline_s, f"{missing} links are still missing"
        await asyncio.sleep(0.2)


async def parent(seconds: float, seed: int) -> None:
    rng = Random(f"{seed}/faults")
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(PROCESSES * HOSTS_EACH)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    processes = [Process(index, seed, ports) for index in range(PROCESSES)]
    faults: Counter[str] = Counter()
    for process in processes:
        await process.start()
    took_s, before = await healed(processes, 120)
    print(f"{PROCESSES * HOSTS_EACH} hosts linked after {took_s:.1f} s", flush=True)
    for process in processes:
        await process.ask("break")
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        await asyncio.sleep(rng.uniform(1.0, 3.0))
        # The first two processes live through it all, so that leaks would show.
        process = rng.choice(processes[2:])
        if rng.random() < 0.5:
            process.process.send_signal(signal.SIGKILL)
            await process.process.wait()
            faults["SIGKILL"] += 1
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            await process.start()
            await process.ask("break")
        else:
            victim = rng.choice(processes)
            victim.process.send_signal(signal.SIGSTOP)
            faults["SIGSTOP"] += 1
            await asyncio.sleep(rng.uniform(1.0, 5.0) * KEEPALIVE_S)
            victim.process.send_signal(signal.SIGCONT)
    took_s, _ = await healed(processes, 120)
    await asyncio.sleep(8 * KEEPALIVE_S)  # Superseded connections drain, streams end.
    _, after = await healed(processes, 120)
    done: Counter[str] = Counter()
    metrics: Counter[str] = Counter()
    for told in after:
        done.update(told["done"])
        metrics.update(told["metrics"])
    print(f"faults: {dict(faults)}; {dict(done)}")
    print(f"healed after {took_s:.1f} s: every link of {sum(t['wanted'] for t in after)} is there")
    for index in (0, 1):
        pairs = {key: (before[index][key], after[index][key]) for key in usage()}
        print(f"process {index}, which lived through it, before and after: {pairs}")
    closed = {key: n for key, n in sorted(metrics.items()) if key.startswith("connections_closed.")}
    print(f"connections closed: {closed}")
    bugs = {key: metrics[key] for key in BUGS if metrics[key]} | (
        {"echoes wrong": done["echoes wrong"]} if done["echoes wrong"] else {}
    )
    ends = [await process.ask("") for process in processes]
    print(
        f"shutdown took {max(end['closed_s'] for end in ends):.2f} s at most, "
        f"tasks left: {sum(end['tasks left'] for end in ends)}"
    )
    assert not bugs, bugs
    for process in processes:
        await process.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=positive_real, default=120.0)
    parser.add_argument("--seed", type=natural, default=1)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--incarnation", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if arguments.child is None:
        asyncio.run(parent(arguments.seconds, arguments.seed))
    else:
        os.nice(5)
        uvloop.run(child(arguments.child, arguments.seed, arguments.ports, arguments.incarnation))


if __name__ == "__main__":
    main()
