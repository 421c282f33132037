"""The peers of a scenario: identities, roster, settings and averaging machines."""

from collections.abc import Callable
from itertools import count
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.averaging.age_gossip import AgeGossip
from p2pfl_gossip.averaging.alone import Alone
from p2pfl_gossip.averaging.base import Averaging, Tickets
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import make_fedavg
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.averaging.push_sum import PushSum
from p2pfl_gossip.cohorts import CohortError, Cohorts, draw_cohorts, draw_grid_cohorts, grid_sides
from p2pfl_gossip.learning import Train
from p2pfl_gossip.masked_sum.cohort import Patience
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import Settings
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import Topology, TopologyError, make_topology
from p2pfl_simulations.draws import stream
from p2pfl_simulations.masking import SeededEntropy
from p2pfl_simulations.scenario import (
    AgeGossipSettings,
    CohortSettings,
    DsgdSettings,
    EpidemicSettings,
    FedAvgSettings,
    NoAveragingSettings,
    PushSumSettings,
    Scenario,
    ScenarioError,
    TopologySettings,
)

SESSION_DEADLINES = 20
"""A session's time to live: twice what its waits come to if each takes a whole deadline."""

MakeAveraging = Callable[[int, Tickets], Averaging]
"""Makes the averaging machine of the peer of an index."""


def make_identity(scenario: Scenario, index: int) -> Identity:
    """Give a peer its identity, by the seed."""
    seed = scenario.seed.to_bytes(8, "little")
    return Identity(hash_parts(b"p2pfl/sim-id", seed, index.to_bytes(8, "little")))


def make_roster(scenario: Scenario) -> Roster:
    """Admit all peers, in order."""
    return Roster(make_identity(scenario, index).peer_id for index in range(scenario.peers))


def make_peers(scenario: Scenario, roster: Roster, initial: Vector) -> Callable[[int], Peer]:
    """Return a function that makes the peer of an index, for its start or restart."""
    evaluated = evaluated_peers(scenario)
    make_averaging = averaging_maker(scenario, roster, initial)

    def make_peer(index: int) -> Peer:
        every = scenario.evaluation.every if index in evaluated else 0
        return Peer(
            index=index,
            roster=roster,
            settings=Settings(
                rounds=scenario.rounds,
                deadline_s=scenario.averaging.deadline_s,
                weigh_by_samples=scenario.averaging.weights == "samples",
                checkpoint_every=scenario.checkpoint_every,
                evaluate_every=every,
            ),
            initial=initial,
            make_averaging=lambda tickets: make_averaging(index, tickets),
            seed=str(scenario.seed),
        )

    return make_peer


def evaluated_peers(scenario: Scenario) -> frozenset[int]:
    """Draw the peers whose models are evaluated."""
    count = scenario.evaluation.peers
    if count is None or count >= scenario.peers:
        return frozenset(range(scenario.peers))
    return frozenset(stream(scenario.seed, "evaluated").sample(range(scenario.peers), count))


def averaging_maker(scenario: Scenario, roster: Roster, initial: Vector) -> MakeAveraging:
    """Return a function that makes the averaging machine of a peer.

    Raises:
        ScenarioError: the topology or the cohorts cannot be; the message says what to change.
    """
    try:
        make = _averaging_maker(scenario, roster, initial)
        if roster.peers:
            make(0, count())  # Here an impossible graph shows, before anything runs.
    except (TopologyError, CohortError) as error:
        raise ScenarioError(f"averaging: {error}") from None
    return make


def _averaging_maker(scenario: Scenario, roster: Roster, initial: Vector) -> MakeAveraging:
    settings = scenario.averaging
    seed = hash_parts(b"p2pfl/sim-draw", scenario.seed.to_bytes(8, "little"))
    model: _Model = {"roster": roster, "length": len(initial), "dtype": initial.dtype}
    deadline_s = settings.deadline_s
    match settings:
        case CohortSettings():
            cohorts_of = _cohorts(scenario.peers, settings, seed)
            if settings.masking == "real":
                return _masked_maker(scenario, settings, cohorts_of, model)
            return lambda index, tickets: CohortAveraging(
                index=index,
                members_of=lambda round_: cohorts_of(round_).members(index),
                deadline_s=deadline_s,
                tickets=tickets,
                **model,
            )
        case DsgdSettings():
            topology = _topology(settings.topology, scenario.peers, seed)
            return lambda index, tickets: Dsgd(
                index=index, topology=topology, deadline_s=deadline_s, tickets=tickets, **model
            )
        case PushSumSettings():
            topology = _topology(settings.topology, scenario.peers, seed)
            return lambda index, tickets: PushSum(
                index=index, topology=topology, deadline_s=deadline_s, tickets=tickets, **model
            )
        case EpidemicSettings():
            return lambda index, tickets: EpidemicLearning(
                index=index,
                fanout=settings.fanout,
                seed=seed,
                deadline_s=deadline_s,
                tickets=tickets,
                **model,
            )
        case AgeGossipSettings():
            return lambda index, _tickets: AgeGossip(
                index=index, fanout=settings.fanout, seed=seed, **model
            )
        case FedAvgSettings():
            return lambda index, tickets: make_fedavg(
                index=index, deadline_s=deadline_s, tickets=tickets, **model
            )
        case NoAveragingSettings():
            return lambda _index, _tickets: Alone()


class _Model(TypedDict):
    """What every averaging machine must know of the group and its models."""

    roster: Roster
    length: int
    dtype: npt.DTypeLike


def _masked_maker(
    scenario: Scenario,
    settings: CohortSettings,
    cohorts_of: Callable[[int], Cohorts],
    model: _Model,
) -> MakeAveraging:
    entropy = SeededEntropy(scenario.seed)
    group = hash_parts(b"p2pfl/sim-group", scenario.seed.to_bytes(8, "little"))
    deadline_s = settings.deadline_s
    patience = Patience(
        gather_s=deadline_s,
        takeover_s=deadline_s,
        chunks_s=2 * deadline_s,
        sums_s=deadline_s,
        session_s=SESSION_DEADLINES * deadline_s,
    )
    return lambda index, tickets: MaskedCohorts(
        index=index,
        roster=model["roster"],
        identity=make_identity(scenario, index),
        group=group,
        length=model["length"],
        members_of=lambda round_: cohorts_of(round_).members(index),
        clip=settings.clip,
        weight_max=settings.weight_max if settings.weights == "samples" else 1.0,
        patience=patience,
        entropy=entropy.of(index),
        tickets=tickets,
    )


def _cohorts(peer_count: int, settings: CohortSettings, seed: bytes) -> Callable[[int], Cohorts]:
    if settings.grid:
        sides = grid_sides(peer_count, settings.cohort_size)
        return lambda round_: draw_grid_cohorts(seed, round_, sides)
    return lambda round_: draw_cohorts(seed, round_, peer_count, settings.cohort_size)


def _topology(settings: TopologySettings, peer_count: int, seed: bytes) -> Topology:
    return make_topology(
        settings.kind,
        peer_count,
        seed,
        degree=settings.degree,
        probability=settings.probability,
        k=settings.k,
    )


class Speeds:
    """How long work takes each peer: drawn speeds, and stragglers slower still."""

    def __init__(self, scenario: Scenario, steps: Callable[[int, Train], int]) -> None:
        self._step_s, self._steps = scenario.compute.step_s, steps
        rng = stream(scenario.seed, "speeds")
        spread = scenario.compute.speed_spread
        # The fastest has speed 1: a spread slows down.
        self._slowness: list[float] = [spread ** rng.random() for _ in range(scenario.peers)]
        stragglers = scenario.faults.stragglers
        if stragglers:
            count = round(stragglers.share * scenario.peers)
            for peer in stream(scenario.seed, "stragglers").sample(range(scenario.peers), count):
                self._slowness[peer] *= stragglers.factor

    def duration_s(self, peer: int, job: Job) -> float:
        """Return the virtual time of a job: its training steps; an evaluation counts as one."""
        steps = self._steps(peer, job) if isinstance(job, Train) else 1
        return steps * self._step_s * self._slowness[peer]

    def round_s(self, peer_count: int) -> list[float]:
        """Return how long each peer trains in round 0, for timing faults within training."""
        job = Train(0, np.empty(0, np.float32), "")
        return [self.duration_s(peer, job) for peer in range(peer_count)]
