"""Random scenarios by seed: faults until a drawn time, then the network heals and all must finish.

    python -m tests.simulation.sweep --seeds 100:400

For each seed it draws an algorithm, sizes, links and faults, runs the peers, and demands:

- Once nothing goes wrong any more, every peer finishes all rounds, within the time that deadlines
  add up to: nobody stalls.
- No two different models are called the complete mean of the same cohort and round.
- Honest peers are never refused a frame.
- In runs without faults, the bytes sent are exactly those of the algorithm's formula.
- The tables count each peer at most once in a round.

A failure prints one line, with the command that replays it.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from p2pfl.learner.learner import make_learner
from p2pfl_gossip import events, wire
from p2pfl_gossip.actions import Event
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.catch_up import FETCH_DEADLINES
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.group import Speeds, make_peers, make_roster
from p2pfl_simulations.network import Network
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.scenario import FaultSettings, Scenario, make_scenario
from p2pfl_simulations.world import Host, World

ENTRIES = 64  # Of a model of the task in integers.
ALGORITHMS = ("cohorts",) * 6 + ("grid", "dsgd", "epidemic", "push-sum", "age-gossip", "fedavg")


class Violation(AssertionError):
    """What must hold does not."""


@dataclass(frozen=True)
class Draw:
    """One seed's scenario, and when its faults end."""

    scenario: Scenario
    is_faulty: bool
    heal_s: float


def draw(seed: int) -> Draw:
    """Draw a scenario."""
    rng = Random(f"{seed}/sweep")
    algorithm = rng.choice(ALGORITHMS)
    peers = 16 if algorithm == "grid" else rng.randint(2, 24)
    is_faulty = rng.random() < 0.8
    document: dict[str, Any] = {
        "name": f"sweep-{seed}",
        "seed": seed,
        "peers": peers,
        "rounds": rng.randint(2, 40) if is_faulty else rng.randint(2, 8),
        "checkpoint_every": rng.choice([1, 1, 1, 0, 2, 3]),
        "learning": {"task": "integers", "training": {"steps": rng.randint(1, 4)}},
        "averaging": _averaging(rng, algorithm, peers, is_faulty),
        "network": {
            "latency": rng.choice(
                [
                    {"kind": "constant", "mean_s": 0.05},
                    {"kind": "exponential", "mean_s": 0.05},
                    {"kind": "lognormal", "median_s": 0.02, "sigma": 1.0},
                    {"kind": "uniform", "low_s": 0.0, "high_s": 0.2},
                ]
            ),
            "bandwidth_bytes_per_s": 10 ** rng.uniform(4.3, 7),
        },
        "compute": {"step_s": rng.choice([0.01, 0.3]), "speed_spread": rng.choice([1.0, 1.0, 4.0])},
        "evaluation": {"every": rng.randint(1, 4), "baselines": []},
    }
    heal_s = 0.0
    if not is_faulty and algorithm not in ("cohorts", "grid"):
        # Where a body of the next round overtakes one of this, its receiver no longer waits for
        # the latter, and answers it with its round: some bytes more than the formula's.
        document["network"]["latency"] = {"kind": "constant", "mean_s": 0.05}
    if is_faulty:
        heal_s = rng.uniform(3, 30)
        document["network"]["loss"] = rng.choice([0.0, 0.0, 0.02, 0.1, 0.3])
        document["faults"] = _faults(rng, heal_s)
    return Draw(make_scenario(document), is_faulty, heal_s)


def _averaging(rng: Random, algorithm: str, peers: int, is_faulty: bool) -> dict[str, Any]:
    # Without faults no deadline passes: nobody is ever late.
    common = {"deadline_s": rng.choice([0.5, 2.0, 5.0]) if is_faulty else 1e4}
    match algorithm:
        case "cohorts":
            size = rng.randint(2, min(8, peers))
            return {"algorithm": "cohorts", "cohort_size": size, "masking": "none", **common}
        case "grid":
            grid = {"cohort_size": 4, "grid": True, "masking": "none"}
            return {"algorithm": "cohorts", **grid, **common}
        case "dsgd":
            kind = rng.choice(["ring", "complete", "exponential"])
            return {"algorithm": "dsgd", "topology": {"kind": kind}, **common}
        case "push-sum":
            kind = rng.choice(["ring", "complete", "exponential"])
            return {"algorithm": "push-sum", "topology": {"kind": kind}, **common}
        case "epidemic" | "age-gossip":
            fanout = rng.randint(1, min(4, peers - 1))
            return {"algorithm": algorithm, "fanout": fanout, **common}
    return {"algorithm": algorithm, **common}


def _faults(rng: Random, heal_s: float) -> dict[str, Any]:
    faults: dict[str, Any] = {}
    if rng.random() < 0.4:
        faults["churn"] = {
            "session_s": {"kind": "exponential", "mean_s": rng.uniform(2, 20)},
            "offline_s": {"kind": "exponential", "mean_s": rng.uniform(0.5, 10)},
            "share": rng.random(),
        }
    if rng.random() < 0.5:
        faults["dropout"] = {
            "probability": rng.uniform(0, 0.4),
            "offline_s": {"kind": "uniform", "low_s": 0.0, "high_s": rng.uniform(0, 10)},
            "silent": rng.random() < 0.5,
        }
    if rng.random() < 0.4:
        faults["crash"] = {
            "probability": rng.uniform(0, 0.3),
            "restart_s": {"kind": "exponential", "mean_s": rng.uniform(0.1, 5)},
        }
    if rng.random() < 0.3:
        faults["stragglers"] = {"share": rng.random() / 2, "factor": rng.uniform(1, 10)}
    if rng.random() < 0.3:
        start_s = rng.uniform(0, heal_s / 2)
        faults["partitions"] = [
            {
                "start_s": start_s,
                "duration_s": rng.uniform(0.1, heal_s - start_s),
                "shares": [rng.uniform(0.1, 1) for _ in range(rng.randint(2, 3))],
            }
        ]
    return faults


class Checker:
    """Watches what peers report, and stops the world once all have finished, if it `stops`.

    It is the last observer: others may think that the run is over before.
    """

    def __init__(self, *, has_cohorts: bool) -> None:
        self.stops = False
        self.world: World
        self._has_cohorts = has_cohorts
        self._means: dict[tuple[int, tuple[int, ...]], tuple[int, bytes]] = {}

    def on_report(self, now_s: float, host: Host, event: Event) -> None:
        self.world.is_over = self.stops and self.all_finished()
        if isinstance(event, events.RoundEnded) and self._has_cohorts:
            if not np.isfinite(event.vector).all():
                raise Violation(f"peer {host.index} ends round {event.round} with no finite model")
            if event.complete and event.expected > 1:
                self._compare(host, event)

    def _compare(self, host: Host, event: events.RoundEnded) -> None:
        assert isinstance(host.machine, Peer)
        cohort = tuple(sorted((host.index, *host.machine.partners(event.round))))
        model = event.vector.tobytes()
        other, first = self._means.setdefault((event.round, cohort), (host.index, model))
        if model != first:
            raise Violation(
                f"peers {other} and {host.index} end round {event.round} with different complete"
                f" means of cohort {cohort}"
            )

    def on_incident(self, now_s: float, host: Host | None, kind: str, detail: str) -> None:
        self.world.is_over = False

    def all_finished(self) -> bool:
        return all(
            isinstance(host.machine, Peer) and host.machine.state is State.FINISHED
            for host in self.world.hosts
        )


class Sweep:
    """The world of one seed."""

    def __init__(self, drawn: Draw) -> None:
        self.drawn = drawn
        scenario = drawn.scenario
        learner = make_learner(
            scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None
        )
        roster, queue = make_roster(scenario), EventQueue()
        speeds = Speeds(scenario, learner.steps)
        self.training_s = speeds.round_s(scenario.peers)
        self.recorder = Recorder(scenario, lambda _round, _vector: 0.0, lambda _row: None)
        self.faults = FaultInjector(scenario.faults, seed=scenario.seed, training_s=self.training_s)
        self.checker = Checker(has_cohorts=scenario.averaging.algorithm == "cohorts")
        self.world = World(
            peer_ids=roster.peers,
            make_machine=make_peers(scenario, roster, learner.initial_vector()),
            network=Network(
                scenario.network, peer_count=scenario.peers, seed=scenario.seed, queue=queue
            ),
            queue=queue,
            workshop=Workshop(learner),
            duration_s=speeds.duration_s,
            observers=(self.recorder, self.faults, self.checker),
        )
        self.checker.world = self.world
        self.recorder.start(self.world)
        self.faults.start(self.world)

    def run(self) -> None:
        """Run to the end, or raise Violation."""
        world, drawn = self.world, self.drawn
        world.start()
        world.run(drawn.heal_s)
        if drawn.is_faulty:
            self._heal()
        started_s = max(world.queue.now_s, drawn.heal_s)
        self.checker.stops = True
        world.is_over = self.checker.all_finished()
        world.run(started_s + self._time_to_finish_s())
        self._check_finished()
        self._check_refusals()
        self._check_tables()
        if not drawn.is_faulty:
            self.checker.stops = world.is_over = False  # What is on its way counts as well.
            world.run(math.inf)
            self._check_bytes()

    def _heal(self) -> None:
        """End all faults, for good."""
        world = self.world
        world.split(None)
        world.network.is_lost = lambda: False  # type: ignore[method-assign]
        # Faults that are planned already strike nobody who has finished.
        self.faults._settings = FaultSettings()
        self.faults._finished = set(range(len(world.hosts)))
        for host in world.hosts:
            world.bring_online(host, "healed")

    def _time_to_finish_s(self) -> float:
        """Return how long all rounds may take once nothing goes wrong.

        A round is training, and two deadlines (of a client of FedAvg, too). Before the first one, a
        search may be under way: a seek, a fetch that nobody answers, another seek and fetch.
        """
        scenario = self.drawn.scenario
        deadline_s = min(scenario.averaging.deadline_s, 100.0)
        slack_s = 5.0  # Latencies, and the time on the links.
        round_s = max(self.training_s) + 2 * deadline_s + slack_s
        search_s = 2 * (1 + FETCH_DEADLINES) * deadline_s + slack_s
        return search_s + (scenario.rounds + 1) * round_s

    def _check_finished(self) -> None:
        if self.checker.all_finished():
            return
        waiting = [
            f"{host.index} {host.machine.state} in round {host.machine.round}"
            for host in self.world.hosts
            if isinstance(host.machine, Peer) and host.machine.state is not State.FINISHED
        ]
        raise Violation(
            f"at {self.world.queue.now_s:.1f} s, {self._time_to_finish_s():.1f} s after the end of"
            f" faults, have not finished: {', '.join(waiting)}"
        )

    def _check_refusals(self) -> None:
        refused = {
            name: count
            for name, count in self.world.counters.items()
            if name.startswith("protocol_error")
        }
        if refused:
            raise Violation(f"honest peers were refused: {refused}")

    def _check_tables(self) -> None:
        peers = self.drawn.scenario.peers
        for row in self.recorder.rows():
            if not 0 <= row.ended <= peers or row.lost != peers - row.ended:
                raise Violation(f"round {row.round} was ended by {row.ended} of {peers} peers")
            if not 0 <= row.incomplete <= row.ended:
                raise Violation(f"{row.incomplete} of {row.ended} ends were incomplete")
            if not 0 <= row.online <= peers:
                raise Violation(f"{row.online} of {peers} peers were online")
        keys = [(row.round, row.peer) for row in self.recorder.peers]
        if len(set(keys)) != len(keys):
            raise Violation("a peer was evaluated twice in a round")

    def _check_bytes(self) -> None:
        rounds = range(self.drawn.scenario.rounds)
        expected = sum(self._bytes_of_round(round_) for round_ in rounds)
        if self.world.bytes_sent != expected:
            raise Violation(f"{self.world.bytes_sent} bytes were sent, not {expected}")

    def _bytes_of_round(self, round_: int) -> int:
        """Return what the peers send in a round in which nobody is late, by the formula."""
        scenario = self.drawn.scenario
        peers, model = scenario.peers, 4 * ENTRIES
        machines = [host.machine for host in self.world.hosts]
        partners = [m.partners(round_) for m in machines if isinstance(m, Peer)]
        match scenario.averaging.algorithm:
            case "cohorts":
                total = 0
                for others in partners:  # Of each member: parts to all owners, means to all.
                    size = len(others) + 1
                    bitmap = bytes((size + 7) // 8)
                    total += len(others) * (_size(PartHeader(round_, 1.0)))
                    total += len(others) * (_size(MeanHeader(round_, bitmap)))
                # A cohort of n moves 2 (n - 1) models; so each member, 2 (n - 1)/n of one.
                cohorts = {tuple(sorted((peer, *others))) for peer, others in enumerate(partners)}
                return total + sum(2 * (len(cohort) - 1) * model for cohort in cohorts)
            case "dsgd":
                edges = self._edges(round_)
                return edges * (_size(VectorHeader(round_, 1.0)) + model)
            case "push-sum":
                edges = self._edges(round_)
                return edges * (_size(RunningSumHeader(round_, 0, 1.0)) + 2 * model)
            case "epidemic":
                sends = peers * scenario.averaging.fanout
                return sends * (_size(VectorHeader(round_, 1.0)) + model)
            case "age-gossip":
                sends = peers * scenario.averaging.fanout
                return sends * (_size(AgedModelHeader(1.0)) + model)
            case "fedavg":
                there, back = _size(VectorHeader(round_, 1.0)), _size(GlobalModelHeader(round_))
                return (peers - 1) * (there + back + 2 * model)
        raise ValueError(scenario.averaging.algorithm)

    def _edges(self, round_: int) -> int:
        """Count the sends of one round along a topology of the draw."""
        peers = self.drawn.scenario.peers
        match self.drawn.scenario.averaging.topology.kind:  # type: ignore[union-attr]
            case "ring":
                return 2 * peers if peers > 2 else peers
            case "complete":
                return peers * (peers - 1)
        return peers  # One-peer exponential: each sends to one.


def _size(header: Message) -> int:
    return len(wire.encode(header))


def check(seed: int) -> None:
    """Run one seed; raise Violation with the line that replays it."""
    drawn = draw(seed)
    # Push-sum may run away where a peer is cut off for long; only its liveness is looked at.
    is_wild = drawn.scenario.averaging.algorithm == "push-sum"
    try:
        with np.errstate(over="ignore" if is_wild else "raise"):
            Sweep(drawn).run()
    except Exception as error:
        scenario = drawn.scenario
        kind = "" if isinstance(error, Violation) else f"{type(error).__name__}: "
        raise Violation(
            f"seed {seed} ({scenario.averaging.algorithm}, {scenario.peers} peers): {kind}{error};"
            f" replay: python -m tests.simulation.sweep --seeds {seed}:{seed + 1}"
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(description="Random scenarios, faults and healing, by seed.")
    parser.add_argument("--seeds", default="0:100", help="first and one past the last, 0:100")
    first, _, last = parser.parse_args().seeds.partition(":")
    failed = 0
    for seed in range(int(first), int(last)):
        try:
            check(seed)
        except Violation as violation:
            failed += 1
            print(violation, flush=True)
    print(f"{int(last) - int(first)} seeds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
