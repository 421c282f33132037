"""A peer knows nothing but its inputs: no path of references leads from it to the world."""

import gc
import types
from collections import deque
from typing import Any

import pytest

from p2pfl.learner.learner import Learner, make_learner
from p2pfl_gossip.peer import Peer
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.fault_settings import FaultSettings
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.scenario import Scenario, make_scenario
from p2pfl_simulations.simulation import Simulation
from p2pfl_simulations.trace import Trace
from p2pfl_simulations.world import World

ORACLES = (
    World, SimulatedHost, Network, EventQueue, FaultInjector, Recorder, Workshop, Trace, Simulation,
    Scenario, FaultSettings, Learner,
)  # fmt: skip

ALGORITHMS: dict[str, dict[str, Any]] = {
    "cohorts": {"cohort_size": 4, "masking": "none"},
    "masked cohorts": {"algorithm": "cohorts", "cohort_size": 6, "clip": 65536.0},
    "dsgd": {"topology": {"kind": "ring"}},
    "epidemic": {"fanout": 3},
    "push-sum": {"topology": {"kind": "exponential"}},
    "age-gossip": {"fanout": 1},
    "fedavg": {},
    "none": {},
}


def reachable(start: Any) -> dict[int, tuple[Any, int | None]]:
    """Follow all references but those that code has by its place: modules, classes, globals.

    Returns each object, by id, with the id of the one that referred to it.
    """
    found: dict[int, tuple[Any, int | None]] = {id(start): (start, None)}
    queue = deque([start])
    while queue:
        current = queue.popleft()
        if isinstance(current, (type, types.ModuleType, types.CodeType, types.FrameType)):
            continue
        referents = gc.get_referents(current)
        if isinstance(current, types.FunctionType):
            module_globals = id(current.__globals__)
            referents = [one for one in referents if id(one) != module_globals]
        for referent in referents:
            if id(referent) not in found:
                found[id(referent)] = (referent, id(current))
                queue.append(referent)
    return found


def path_to(found: dict[int, tuple[Any, int | None]], target: int) -> str:
    names, place = [], target
    while True:
        thing, before = found[place]
        names.append(f"{type(thing).__name__}: {thing!r:.80}")
        if before is None:
            return " <- ".join(names)
        place = before


def oracles_of(machine: Any) -> list[str]:
    found = reachable(machine)
    return [path_to(found, key) for key, (thing, _) in found.items() if isinstance(thing, ORACLES)]


def _running(algorithm: str, options: dict[str, Any]) -> Simulation:
    scenario = make_scenario(
        {
            "peers": 8,
            "rounds": 6,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": algorithm, "deadline_s": 1.0, **options},
            "network": {"bandwidth_bytes_per_s": 5e3},
            "faults": {"crash": {"probability": 0.1, "restart_s": {"mean_s": 0.5}}},
            "evaluation": {"baselines": []},
        }
    )
    learner = make_learner(scenario.learning, peer_count=8, seed=1, folder=None)
    simulation = Simulation(scenario, learner, lambda _: None)
    simulation.world.start()
    return simulation


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_peer_can_reach_the_world(algorithm: str) -> None:
    simulation = _running(algorithm, ALGORITHMS[algorithm])
    world = simulation.world
    seen = 0
    for moment in range(1, 7):  # In the middle of training, of exchanges, of bodies on their way.
        world.run(0.07 * moment)
        for host in world.hosts:
            if isinstance(host.machine, Peer):
                assert oracles_of(host.machine) == []
                seen += 1
    assert seen > 20


def test_a_peer_that_peeks_is_found() -> None:
    # The walk finds what hides in attributes, closures, bound methods and partial objects.
    world = _running("cohorts", ALGORITHMS["cohorts"]).world
    machine: Any = world.hosts[0].machine
    for peek in (world, lambda: world, world.run, [{"a": (world.queue,)}], world.hosts[1]):
        machine._averaging.peek = peek
        assert oracles_of(machine)
    machine._averaging.peek = None
    assert oracles_of(machine) == []
