"""The peers of a scenario: identities, roster, settings and averaging machines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np

from p2pfl.group.averaging import (
    AveragingError,
    Group,
    MakeAveraging,
    make_averaging,
    peer_settings,
)
from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.founding import found
from p2pfl.group.settings import GroupSettings
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Train, TrainPrivately
from p2pfl_gossip.ledger.charter import (
    Bounds,
    CharterMember,
    Epoch,
    Governance,
    RefusedCharter,
    Succeeds,
)
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.board import Board
from p2pfl_simulations.costs import protocol_job_s
from p2pfl_simulations.draws import array_stream, drawer, evaluated_peers, stream
from p2pfl_simulations.masking import SeededEntropy, SimulatedCohorts, SimulatedGroupSum
from p2pfl_simulations.running_peer import RunningPeer
from p2pfl_simulations.scenario import Scenario, ScenarioError, masking_of
from p2pfl_simulations.whole_machines import WholeCohorts, WholeGroupSum
from p2pfl_simulations.whole_member import WholeMember
from p2pfl_simulations.whole_sums import WholeSums

IDENTITIES_KEPT = 2048
"""Identities that are made once, of which operators ask for all again and again; 1 KB each."""

ROUNDS_MAX = 2**31
"""Of a simulated group, by its peers' word: a plan may give it any number."""


@lru_cache(maxsize=IDENTITIES_KEPT)
def make_identity(seed: int, index: int) -> Identity:
    """Give a peer its identity, by the seed."""
    return Identity(
        hash_parts(b"p2pfl/sim-id", seed.to_bytes(8, "little"), index.to_bytes(8, "little"))
    )


@lru_cache(maxsize=IDENTITIES_KEPT)
def make_governor(seed: int, index: int) -> Identity:
    """Give a member of a group its governance key, by the seed."""
    return Identity(
        hash_parts(b"p2pfl/sim-gov", seed.to_bytes(8, "little"), index.to_bytes(8, "little"))
    )


def governance_key(seed: int, index: int) -> bytes:
    """Return that key's public half, as charters have it."""
    return GovernanceKey("ed25519", make_governor(seed, index).public_key).encoded


def draw_seed(seed: int) -> bytes:
    """Return what stands for the seed of graphs and cohorts that members would agree on."""
    return hash_parts(b"p2pfl/sim-draw", seed.to_bytes(8, "little"))


def make_roster(scenario: Scenario) -> Roster:
    """Admit all peers, in order."""
    return Roster(make_identity(scenario.seed, index).peer_id for index in range(scenario.peers))


WAVE_DRAWS = 1000
"""Latencies whose mean is how long a wave of what members say to all is open."""


class MakePeer(Protocol):
    """Makes the peer of an index; with a desk, where another machine is around it."""

    def __call__(self, index: int, desk: Desk | None = None) -> RunningPeer:
        """Make it, for its start or restart."""


@dataclass(frozen=True)
class Predecessor:
    """What a group goes on from that succeeds another one.

    Attributes:
        succeeds: that group, and the entry that it certified.
        model: float32[d], the entry's.
    """

    succeeds: Succeeds
    model: Vector


def make_peers(
    scenario: Scenario,
    roster: Roster,
    initial: Vector,
    sample_count: Callable[[int], int],
    folder: Path | None = None,
    privacy: Privacy | None = None,
    invitations: Mapping[int, bytes] = MappingProxyType({}),
    succeeds: Succeeds | None = None,
) -> MakePeer:
    """Return what makes the peers of a scenario.

    Args:
        scenario: what to run.
        roster: of all peers.
        initial: float32[d], the first model.
        sample_count: a peer's rows.
        folder: where own rules and graphs are imported from.
        privacy: what the scenario's plan says to a charter; None where it has none.
        invitations: as of `make_members`.
        succeeds: the group that theirs succeeds; None if there is none.

    Raises:
        PluginError: an own rule or graph cannot be used.
        ScenarioError: they cannot average so; the message says what to change.
    """
    if isinstance(scenario.averaging, GroupSettings):
        epoch = founding_epoch(scenario, initial, sample_count, privacy, succeeds)
        return make_members(scenario, epoch, initial, invitations)
    return make_gossips(scenario, roster, initial, folder)


class MakeGossip(Protocol):
    """Makes the peer of an index, of those that gossip; as `MakePeer`."""

    def __call__(self, index: int, desk: Desk | None = None) -> Peer:
        """Make it, for its start or restart."""


def make_gossips(
    scenario: Scenario, roster: Roster, initial: Vector, folder: Path | None = None
) -> MakeGossip:
    """Return what makes the peers of a scenario that gossip, in cohorts or otherwise."""
    evaluated = evaluated_peers(scenario)
    make = averaging_maker(scenario, roster, initial, folder)

    def make_peer(index: int, desk: Desk | None = None) -> Peer:
        every = scenario.evaluation.every if index in evaluated else 0
        return Peer(
            index=index,
            roster=roster,
            settings=peer_settings(
                scenario.averaging,
                rounds=scenario.rounds,
                checkpoint_every=scenario.checkpoint_every,
                evaluate_every=every,
            ),
            initial=initial,
            make_averaging=lambda desk: make(index, desk),
            seed=str(scenario.seed),
            desk=desk,
        )

    return make_peer


def founding_epoch(
    scenario: Scenario,
    initial: Vector,
    sample_count: Callable[[int], int],
    privacy: Privacy | None = None,
    succeeds: Succeeds | None = None,
) -> Epoch:
    """Found the group of a scenario.

    Args:
        scenario: whose averaging is a group's.
        initial: float32[d], the first model.
        sample_count: a peer's rows: its weight, where weights go by samples.
        privacy: how sums are made private; None if they are not.
        succeeds: the group that this one succeeds; None if there is none.

    Raises:
        ScenarioError: such a group cannot be.
    """
    settings = scenario.averaging
    assert isinstance(settings, GroupSettings)
    members = [charter_member(scenario, index, sample_count) for index in scenario.founders]
    terms = scenario.learning.model_dump_json(exclude={"data_dir", "metrics"}).encode()
    try:
        return found(
            settings,
            members=members,
            nonce=hash_parts(b"p2pfl/sim-group", scenario.seed.to_bytes(8, "little")),
            rounds=scenario.rounds,
            initial=initial,
            terms=hash_parts(b"p2pfl/sim-agreed", terms),
            bounds=Bounds(rounds_max=ROUNDS_MAX),
            privacy=privacy,
            succeeds=succeeds,
        )
    except RefusedCharter as error:
        raise ScenarioError(f"averaging: {error}") from None


def charter_member(
    scenario: Scenario, index: int, sample_count: Callable[[int], int]
) -> CharterMember:
    """Write a member as a charter of a scenario's group has it."""
    by_samples = scenario.averaging.weights == "samples"
    return CharterMember(
        make_identity(scenario.seed, index).public_key,
        name=f"peer-{index}",
        controller=f"peer-{index}",
        weight=float(sample_count(index)) if by_samples else 1.0,
        governance=Governance(1, (governance_key(scenario.seed, index),)),
    )


def make_members(
    scenario: Scenario,
    founding: Epoch,
    initial: Vector,
    invitations: Mapping[int, bytes] = MappingProxyType({}),
) -> MakePeer:
    """Return what makes the members of a scenario's group.

    Args:
        scenario: of the group.
        founding: its first epoch.
        initial: float32[d], the first model.
        invitations: by index, of those that have been admitted since: a view, which grows.
    """
    evaluated = evaluated_peers(scenario)
    entropy = SeededEntropy(scenario.seed)
    is_modelled = masking_of(scenario) == "modelled"
    member_type = WholeMember if is_modelled else GroupMember
    session_type = WholeGroupSum if is_modelled else SimulatedGroupSum

    def make_member(index: int, desk: Desk | None = None) -> RunningPeer:
        every = scenario.evaluation.every if index in evaluated else 0
        return member_type(
            founding=founding,
            identity=make_identity(scenario.seed, index),
            initial=initial,
            settings=peer_settings(
                scenario.averaging,
                rounds=scenario.rounds,
                checkpoint_every=scenario.checkpoint_every,
                evaluate_every=every,
            ),
            seed=f"{scenario.seed}/{index}",
            entropy=entropy.of(index),
            desk=desk,
            session_type=session_type,
            invitation=invitations.get(index),
        )

    return make_member


def averaging_maker(
    scenario: Scenario, roster: Roster, initial: Vector, folder: Path | None = None
) -> MakeAveraging:
    """Return a function that makes the averaging machine of a peer.

    Raises:
        ScenarioError: the topology or the cohorts cannot be; the message says what to change.
        PluginError: an own rule or graph cannot be used.
    """
    seed = scenario.seed.to_bytes(8, "little")
    entropy = SeededEntropy(scenario.seed)
    group = Group(
        roster=roster,
        initial=initial,
        draw_seed=draw_seed(scenario.seed),
        group_id=hash_parts(b"p2pfl/sim-group", seed),
        identity_of=lambda index: make_identity(scenario.seed, index),
        entropy_of=entropy.of,
        masked_cohorts={"real": SimulatedCohorts, "modelled": WholeCohorts},
        folder=folder,
        takes_plugins=True,
    )
    try:
        averaging = with_cohort_size(scenario.averaging, scenario.peers, scenario.rounds)
        return make_averaging(averaging, group)
    except AveragingError as error:
        raise ScenarioError(f"averaging: {error}") from None


def whole_sums(scenario: Scenario, speeds: "Speeds") -> WholeSums:
    """Return what does the modelled sums of a scenario whose sessions nothing goes wrong in."""
    return WholeSums(
        scenario.compute.masking,
        slowed=speeds.slowed_s,
        draw_latencies=drawer(
            scenario.network.latency, array_stream(scenario.seed, "latency of whole sums")
        ),
        bytes_per_s=scenario.network.bandwidth_bytes_per_s,
    )


def board_of(scenario: Scenario) -> Board | None:
    """Return the board of a modelled group; elsewhere each frame travels by itself."""
    settings = scenario.averaging
    if not isinstance(settings, GroupSettings) or settings.masking != "modelled":
        return None
    draw = drawer(scenario.network.latency, array_stream(scenario.seed, "latency of waves"))
    wait_s = float(np.mean(draw(WAVE_DRAWS)))
    return Board(wait_s=wait_s, progress_s=settings.said_every_s, draw_latencies=draw)


class Speeds:
    """How long work takes each peer: drawn speeds, and stragglers slower still."""

    def __init__(
        self, scenario: Scenario, steps: Callable[[int, Train | TrainPrivately], int]
    ) -> None:
        self._step_s, self._steps = scenario.compute.step_s, steps
        self._masking = scenario.compute.masking
        self._jitter = scenario.compute.jitter
        self._jitter_rng = stream(scenario.seed, "jitter")
        rng = stream(scenario.seed, "speeds")
        spread = scenario.compute.speed_spread
        # The fastest has speed 1: a spread slows down.
        self._slowness: list[float] = [spread ** rng.random() for _ in range(scenario.peers)]
        stragglers = scenario.faults.stragglers
        if stragglers:
            slow: Sequence[int]
            if stragglers.peers is not None:
                slow = stragglers.peers
            else:
                count = round((stragglers.share or 0.0) * scenario.peers)
                rng = stream(scenario.seed, "stragglers")
                slow = rng.sample(range(scenario.peers), count)
            for peer in slow:
                self._slowness[peer] *= stragglers.factor

    def duration_s(self, peer: int, job: Job) -> float:
        """Draw the virtual time of a job.

        A masked sum's by its size, training by its steps; an evaluation counts as one step.
        """
        return self._jittered(self._least_s(peer, job))

    def slowed_s(self, peer: int, least_s: float) -> float:
        """Draw how long what takes a peer of speed 1 so long takes this one."""
        return self._jittered(least_s * self._slowness[peer])

    def _jittered(self, least_s: float) -> float:
        return least_s * (1 + self._jitter * self._jitter_rng.random()) if self._jitter else least_s

    def _least_s(self, peer: int, job: Job) -> float:
        protocol_s = protocol_job_s(job, self._masking)
        if protocol_s is not None:
            return protocol_s * self._slowness[peer]
        trains = isinstance(job, Train | TrainPrivately)
        steps = self._steps(peer, job) if trains else 1  # type: ignore[arg-type]  # One of both.
        return steps * self._step_s * self._slowness[peer]

    def step_s(self, peer: int) -> float:
        """Return how long a step takes a peer."""
        return self._step_s * self._slowness[peer]

    def round_s(self, peer_count: int) -> list[float]:
        """Return how long each peer trains in round 0, for timing faults within training."""
        job = Train(0, np.empty(0, np.float32), "")
        return [self._least_s(peer, job) for peer in range(peer_count)]
