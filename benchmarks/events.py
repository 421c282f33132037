"""How many events a second the simulated world handles, with no training and no models.

    ./scripts/bench events [--peers N] [--events N] [--repetitions N] [--save]

Every peer pings a random other one on a timer: `StatusRequest` goes out, `Status` comes back. All
goes the way of every run: encoded by the wire's codec, over a link with drawn latency, decoded,
handled by the machine's `on_message`, its actions carried out, all in the trace. An event is a
frame so handled, or a timer.
"""

import argparse
import json
import sys
from itertools import count
from pathlib import Path
from random import Random

from measuring import (
    Clock,
    Figures,
    Sampler,
    describe,
    give,
    machine,
    median,
    peak_memory_mb,
    run_apart,
    save,
    settle,
    spread,
    table,
    take_turns,
)
from options import positive

from p2pfl_gossip.actions import Action, PeerId, RemoteProtocolError, Send, SetTimer, Vector
from p2pfl_gossip.catch_up import Status, StatusRequest
from p2pfl_gossip.records import Message
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.network import Network
from p2pfl_simulations.world import World
from p2pfl_simulations.world_settings import NetworkSettings

PERIOD_S = 1.0
TARGET_PER_S = 100_000


class Pinger:
    """A machine that asks a random peer for its round, once a period, and answers who asks it."""

    def __init__(self, index: int, peers: tuple[PeerId, ...]) -> None:
        self._peers, self._start = peers, Random(f"events/{index}").random()
        self._asked = int(self._start * len(peers))
        self._tickets = count(1)
        self.answers = 0

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin at a random moment of the first period."""
        return [SetTimer(next(self._tickets), now_s + self._start * PERIOD_S)]

    def on_timer(self, now_s: float, ticket: int) -> list[Action]:
        """Ask somebody, and set the next timer."""
        # Any other peer, by a linear congruence: a generator of its own for each of thousands of
        # machines would be most of what they do.
        self._asked = (self._asked * 1_664_525 + 1_013_904_223) % 2**32
        return [
            Send(self._peers[self._asked % len(self._peers)], StatusRequest()),
            SetTimer(next(self._tickets), now_s + PERIOD_S),
        ]

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Answer a question, count an answer."""
        if type(message) is StatusRequest:
            return [Send(sender, Status(self.answers))]
        if type(message) is not Status:
            raise RemoteProtocolError("unexpected_message")
        self.answers += 1
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Ask others."""
        return []


def part_of(file: str) -> str | None:
    """Name the part that a source file belongs to."""
    parts = {
        "p2pfl_simulations/trace.py": "trace",
        "p2pfl_simulations/event_queue.py": "event queue",
        "p2pfl_simulations/network.py": "links",
        "p2pfl_simulations/draws.py": "links",
        "p2pfl_simulations/world.py": "world",
        "p2pfl_gossip/records.py": "codec",
        "benchmarks/events.py": "the machines",
    }
    return next((part for place, part in parts.items() if place in file), None)


def measure(peers: int, events: int, *, sample: bool) -> Figures:
    """Run the world until so many events have been."""
    ids = tuple(PeerId(f"peer-{index}") for index in range(peers))
    queue = EventQueue()
    network = Network(NetworkSettings(), peer_count=peers, seed=1, queue=queue)
    world = World(
        peer_ids=ids,
        make_machine=lambda index: Pinger(index, ids),  # type: ignore[arg-type, return-value]
        network=network,
        queue=queue,
    )
    world.start()
    # Three events a period and peer: the timer, the question, the answer.
    duration_s = events / 3 / peers * PERIOD_S
    settle()
    clock = Clock()
    shares = {}
    if sample:
        with Sampler(part_of) as sampler:
            world.run(duration_s)
        shares = sampler.shares()
    else:
        world.run(duration_s)
    took = clock.figures()
    handled = world.counters["frames"] + world.counters["timers"]
    return {
        **took,
        "events": handled,
        "frames": world.counters["frames"],
        "timers": world.counters["timers"],
        "events_per_s": handled / took["wall_s"],
        "events_per_cpu_s": handled / took["cpu_s"],
        "peak_mb": peak_memory_mb(),
        "digest": world.trace.hexdigest(),
        "shares": shares,
    }


def main() -> None:
    """Measure, each repetition in a process of its own."""
    parser = argparse.ArgumentParser(prog="./scripts/bench events", description=__doc__)
    parser.add_argument("--peers", type=positive, default=10_000)
    parser.add_argument("--events", type=positive, default=1_000_000)
    parser.add_argument("--repetitions", type=positive, default=5)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/events.json")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.apart:
        give(measure(**json.loads(arguments.apart)))
        return

    def run(*, sample: bool) -> Figures:
        spec = {"peers": arguments.peers, "events": arguments.events, "sample": sample}
        return run_apart(Path(__file__), ["--apart", json.dumps(spec)])

    print(describe(machine()), end="\n\n", flush=True)
    taken = take_turns({"timed": lambda: run(sample=False)}, arguments.repetitions).get("timed")
    if not taken:
        sys.exit(1)
    where = run(sample=True)
    print(
        table(
            (f"{arguments.peers:,} peers, median of {len(taken)}", "figure"),
            (
                ("events (frames and timers)", f"{taken[0]['events']:,}"),
                ("events/s (range)", spread(taken, "events_per_s")),
                ("events/CPU-s (range)", spread(taken, "events_per_cpu_s")),
                ("target", f"{TARGET_PER_S:,}"),
                ("peak MB", f"{median(taken, 'peak_mb'):,.0f}"),
                ("digests agree", "yes" if len({run["digest"] for run in taken}) == 1 else "NO"),
            ),
        ),
        end="\n\n",
    )
    print(
        table(
            ("where the time goes", "share"),
            ((part, f"{share:.0%}") for part, share in where["shares"].items()),
        )
    )
    if arguments.save:
        save("events", {"timed": taken, "where": where})


if __name__ == "__main__":
    main()
