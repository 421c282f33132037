"""From the averaging settings of a group to each peer's averaging machine.

The simulator and the daemon both build their peers here, so that they run the same ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy.typing as npt

from p2pfl.group.cohort_sizes import with_cohort_size
from p2pfl.group.own_parts import own_graph, own_rule
from p2pfl.group.settings import (
    AgeGossipSettings,
    AveragingSettings,
    CohortSettings,
    DsgdSettings,
    EpidemicSettings,
    FedAvgSettings,
    GroupSettings,
    NoAveragingSettings,
    OwnRuleSettings,
    PushSumSettings,
    RobustSettings,
    TopologySettings,
    require_fit,
)
from p2pfl.plugins import GRAPHS, is_plugin
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.averaging.age_gossip import AgeGossip
from p2pfl_gossip.averaging.alone import Alone
from p2pfl_gossip.averaging.base import Averaging
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import make_fedavg
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.averaging.own_rule import RuleAveraging
from p2pfl_gossip.averaging.push_sum import PushSum
from p2pfl_gossip.averaging.robust.registry import (
    RobustError,
    RobustRule,
    liars_among,
    require_bearable,
)
from p2pfl_gossip.averaging.robust_neighbours import RobustNeighbours
from p2pfl_gossip.cohorts import CohortError, Cohorts, draw_cohorts, draw_grid_cohorts, grid_sides
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.cohort import Patience
from p2pfl_gossip.masked_sum.core import Entropy
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.roster import Roster
from p2pfl_gossip.topology import (
    TOPOLOGIES,
    Neighbourhood,
    Topology,
    TopologyError,
    make_topology,
)
from p2pfl_gossip.topology.base import regular

SESSION_DEADLINES = 20
"""A session's time to live: twice what its waits come to if each takes a whole deadline."""

MakeAveraging = Callable[[int, Desk], Averaging]
"""Makes the averaging machine of the peer of an index, given a desk for it alone."""


class AveragingError(Exception):
    """Settings that do not fit the group; the message says what to change."""


@dataclass(frozen=True)
class Group:
    """What averaging machines are made of, beside their settings.

    Attributes:
        roster: all members.
        initial: float32[d], the common start.
        draw_seed: public seed of graphs and cohorts.
        group_id: bytes that name the group in masked sums.
        identity_of: the identity of a peer that machines are made for; signs in masked sums.
        entropy_of: secret bytes for a peer's next life.
        masked_cohorts: the machine of each kind of masked sums that may be had here, by the value
            of `averaging.masking`. Only a simulation adds to it.
        folder: where own rules and graphs are imported from.
        takes_plugins: whether there may be any: members of a real group have not agreed on them.
    """

    roster: Roster
    initial: Vector
    draw_seed: bytes
    group_id: bytes
    identity_of: Callable[[int], Identity]
    entropy_of: Callable[[int], Entropy]
    masked_cohorts: Mapping[str, type[MaskedCohorts]] = field(
        default_factory=lambda: {"real": MaskedCohorts}
    )
    folder: Path | None = None
    takes_plugins: bool = False


def clip_of(settings: AveragingSettings) -> float | None:
    """Return the largest magnitude that masked sums of whole models carry; None without them.

    A group's clip is of the norm of an update, and is none of these.
    """
    if isinstance(settings, CohortSettings) and settings.masking != "none":
        return settings.clip
    return None


def make_averaging(settings: AveragingSettings, group: Group) -> MakeAveraging:
    """Return a function that makes the averaging machine of a peer.

    Raises:
        AveragingError: the topology or the cohorts cannot be, or such masks are not to be had.
        PluginError: an own rule or graph cannot be used.
    """
    try:
        make = _maker(settings, group)
        if group.roster.peers:
            make(0, Desk())  # Here an impossible graph shows, before anything runs.
    except (TopologyError, CohortError, RobustError) as error:
        raise AveragingError(str(error)) from None
    return make


def require_possible(
    settings: AveragingSettings, peer_count: int, rounds: int, seed: bytes
) -> None:
    """Check that so many peers can average so, before any of them is there.

    Args:
        settings: how they average.
        peer_count: how many they are.
        rounds: that they do.
        seed: of graphs and cohorts, 32 bytes.

    Raises:
        AveragingError: they cannot; the message says what to change.
    """
    try:
        require_fit(settings, peer_count)
        settings = with_cohort_size(settings, peer_count, rounds)
        if isinstance(settings, CohortSettings):
            _cohorts(peer_count, settings, seed)(0)
        elif isinstance(settings, OwnRuleSettings):
            raise AveragingError(f"averaging by {settings.plugin!r}{_FOR_SIMULATIONS}")
        elif isinstance(settings, (DsgdSettings, PushSumSettings)):
            _topology(settings.topology, peer_count, seed)
        robust_rule(settings, peer_count, seed)
    except (ValueError, RobustError) as error:  # TopologyError and CohortError among them.
        raise AveragingError(str(error)) from None


def robust_rule(
    settings: AveragingSettings, peer_count: int, seed: bytes, group: Group | None = None
) -> RobustRule | None:
    """Return the rule that takes the mean's place, if any does.

    Args:
        settings: whose cohort size is known.
        peer_count: how many peers there are.
        seed: of graphs and cohorts; of the order of buckets, too.
        group: where own graphs are taken.

    Raises:
        RobustError: some peer averages fewer models than the rule can bear its liars among.
    """
    match settings:
        case CohortSettings(robust=RobustSettings() as robust):
            cohorts = _cohorts(peer_count, settings, seed)(0)
            counts = [len(cohorts.members(index)) for index in range(peer_count)]
        case DsgdSettings(robust=RobustSettings() as robust):
            graph = _topology(settings.topology, peer_count, seed, group)
            counts = [1 + len(graph.neighbourhood(0, i).in_neighbours) for i in range(peer_count)]
        case FedAvgSettings(robust=RobustSettings() as robust):
            counts = [peer_count]
        case _:
            return None
    least = min(counts)
    liars = liars_among(least) if robust.liars == "auto" else robust.liars
    rule = RobustRule(robust.rule, liars, robust.first, robust.radius, seed)
    if rule.is_centred_on_own and not isinstance(settings, DsgdSettings):
        raise RobustError(
            f"the rule {rule.name!r} is for gossip on a graph: set averaging.algorithm to 'dsgd',"
            " or take another rule"
        )
    require_bearable(rule, least)
    return rule


def _maker(settings: AveragingSettings, group: Group) -> MakeAveraging:
    seed, initial = group.draw_seed, group.initial
    model: _Model = {"roster": group.roster, "length": len(initial), "dtype": initial.dtype}
    peers = len(group.roster)
    deadline_s = settings.deadline_s
    rule = robust_rule(settings, peers, seed, group)
    match settings:
        case GroupSettings():
            raise AveragingError("a group keeps a ledger: its members are made of its charter")
        case CohortSettings():
            return _cohort_maker(settings, group, model, rule)
        case DsgdSettings():
            topology = _topology(settings.topology, peers, seed, group)
            if rule is not None:
                return _robust_maker(rule, model, deadline_s, topology.neighbourhood)
            return lambda index, desk: Dsgd(
                index=index, topology=topology, deadline_s=deadline_s, desk=desk, **model
            )
        case PushSumSettings():
            topology = _topology(settings.topology, peers, seed, group)
            return lambda index, desk: PushSum(
                index=index, topology=topology, deadline_s=deadline_s, desk=desk, **model
            )
        case EpidemicSettings():
            return lambda index, desk: EpidemicLearning(
                index=index,
                fanout=settings.fanout,
                seed=seed,
                deadline_s=deadline_s,
                desk=desk,
                **model,
            )
        case AgeGossipSettings():
            return lambda index, _desk: AgeGossip(
                index=index, fanout=settings.fanout, seed=seed, **model
            )
        case FedAvgSettings():
            return lambda index, desk: make_fedavg(
                index=index, deadline_s=deadline_s, desk=desk, rule=rule, **model
            )
        case OwnRuleSettings():
            return _own_rule(settings, group, model)
        case NoAveragingSettings():
            return lambda _index, _desk: Alone()


class _Model(TypedDict):
    """What every averaging machine must know of the group and its models."""

    roster: Roster
    length: int
    dtype: npt.DTypeLike


def _robust_maker(
    rule: RobustRule,
    model: _Model,
    deadline_s: float,
    neighbourhood_of: Callable[[int, int], Neighbourhood],
) -> MakeAveraging:
    return lambda index, desk: RobustNeighbours(
        rule=rule,
        neighbourhood_of=lambda round_: neighbourhood_of(round_, index),
        index=index,
        deadline_s=deadline_s,
        desk=desk,
        **model,
    )


def _in_cohorts(cohorts_of: Callable[[int], Cohorts]) -> Callable[[int, int], Neighbourhood]:
    """Return who is in a peer's cohort of a round, as its neighbours."""

    def neighbourhood(round_: int, index: int) -> Neighbourhood:
        members = cohorts_of(round_).members(index)
        return regular(tuple(member for member in members if member != index))

    return neighbourhood


def _cohort_maker(
    settings: CohortSettings, group: Group, model: _Model, rule: RobustRule | None
) -> MakeAveraging:
    cohorts_of = _cohorts(len(group.roster), settings, group.draw_seed)
    if settings.masking != "none":
        return _masked_maker(settings, group, cohorts_of)
    if rule is not None:
        return _robust_maker(rule, model, settings.deadline_s, _in_cohorts(cohorts_of))
    return lambda index, desk: CohortAveraging(
        index=index,
        members_of=lambda round_: cohorts_of(round_).members(index),
        deadline_s=settings.deadline_s,
        desk=desk,
        **model,
    )


def _masked_maker(
    settings: CohortSettings, group: Group, cohorts_of: Callable[[int], Cohorts]
) -> MakeAveraging:
    machine = group.masked_cohorts.get(settings.masking)
    if machine is None:
        raise AveragingError(
            f"masking = {settings.masking!r} hides nothing and is for simulations only;"
            " set masking to 'real'"
        )
    deadline_s = settings.deadline_s
    patience = Patience(
        gather_s=deadline_s,
        takeover_s=deadline_s,
        chunks_s=2 * deadline_s,
        sums_s=deadline_s,
        session_s=SESSION_DEADLINES * deadline_s,
    )
    return lambda index, desk: machine(
        index=index,
        roster=group.roster,
        identity=group.identity_of(index),
        group=group.group_id,
        length=len(group.initial),
        cohort_of=lambda round_, member: cohorts_of(round_).members(member),
        clip=settings.clip,
        weight_max=settings.weight_max if settings.weights == "samples" else 1.0,
        patience=patience,
        entropy=group.entropy_of(index),
        desk=desk,
    )


def _cohorts(peer_count: int, settings: CohortSettings, seed: bytes) -> Callable[[int], Cohorts]:
    size = settings.cohort_size
    if size == "auto":
        raise AveragingError("a cohort size is left open that must be known by now")
    if settings.grid:
        sides = grid_sides(peer_count, size)
        return lambda round_: draw_grid_cohorts(seed, round_, sides)
    return lambda round_: draw_cohorts(seed, round_, peer_count, size)


_FOR_SIMULATIONS = (
    " is for simulations only: members of a group have agreed on no code but the task's"
)


def _own_rule(settings: OwnRuleSettings, group: Group, model: _Model) -> MakeAveraging:
    if not group.takes_plugins:
        raise AveragingError(f"averaging by {settings.plugin!r}{_FOR_SIMULATIONS}")
    topology = _topology(settings.topology, len(group.roster), group.draw_seed, group)
    rule_of = own_rule(settings, group.folder, topology, model["dtype"])
    return lambda index, desk: RuleAveraging(
        rule=rule_of(),
        index=index,
        topology=topology,
        deadline_s=settings.deadline_s,
        desk=desk,
        **model,
    )


def _topology(
    settings: TopologySettings, peer_count: int, seed: bytes, group: Group | None = None
) -> Topology:
    if settings.kind not in TOPOLOGIES and is_plugin(GRAPHS, settings.kind):
        if group is None or not group.takes_plugins:
            raise AveragingError(f"the topology {settings.kind!r}{_FOR_SIMULATIONS}")
        return own_graph(settings, peer_count, seed, group.folder)
    if settings.options:
        raise TopologyError(f"the topology {settings.kind!r} takes no options; remove them")
    return make_topology(
        settings.kind,
        peer_count,
        seed,
        degree=settings.degree,
        probability=settings.probability,
        k=settings.k,
    )


def peer_settings(
    averaging: AveragingSettings, *, rounds: int, checkpoint_every: int, evaluate_every: int
) -> PeerSettings:
    """Return what a peer of a group with such averaging goes by."""
    return PeerSettings(
        rounds=rounds,
        deadline_s=averaging.deadline_s,
        weigh_by_samples=averaging.weights == "samples",
        checkpoint_every=checkpoint_every,
        evaluate_every=evaluate_every,
    )
