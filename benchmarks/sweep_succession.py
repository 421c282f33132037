"""What members of a group that lost too many found: another group, from a state it certified."""

from sweep_shared import shared_learner

from p2pfl_gossip.ledger.approvals import Says, in_order
from p2pfl_gossip.ledger.charter import Succeeds
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.record import read_record, write_record
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_gossip.peer_state import State
from p2pfl_simulations.amendments import People, said_of
from p2pfl_simulations.checkers import Violation
from p2pfl_simulations.group import (
    Predecessor,
    charter_member,
    founding_epoch,
    make_governor,
    make_identity,
)
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.simulation import Simulation


def furthest_of(simulation: Simulation, scenario: Scenario) -> GroupMember:
    """Return the honest member that is left whose head is the highest.

    Raises:
        Violation: none has begun.
    """
    lying = {peer for entry in scenario.faults.liars for peer in entry.peers or ()}
    left = [
        host.machine
        for host in simulation.world.hosts
        if isinstance(host.machine, GroupMember)
        and host.machine.state is not State.NEW
        and host.index not in lying
    ]
    if not left:
        raise Violation("of a group that lost too many no member is left")
    return max(left, key=lambda member: member.history.head.head.place)


def succeed(simulation: Simulation, before: Scenario, after: Scenario) -> Predecessor:
    """Have the organisations of a group that lost too many approve another one that goes on.

    Args:
        simulation: of the group, as it ended.
        before: its scenario.
        after: that of the group that follows.

    Raises:
        Violation: what must hold of a successor does not.
    """
    member = furthest_of(simulation, before)
    history = read_record(write_record(member.history))
    head = history.head
    if digest_state("model", member.vector).item != head.entry.state[0]:
        raise Violation("a member that is left has not the model of its head")
    charter = history.epoch.charter
    succeeds = Succeeds(history.epoch.group, history.epoch.digest, head.head)
    learner = shared_learner(after.learning, after.peers)
    founding = founding_epoch(after, member.vector, learner.sample_count, None, succeeds).charter
    lying = {peer for entry in before.faults.liars for peer in entry.peers or ()}
    people = People(before, lambda index: charter_member(before, index, learner.sample_count))
    # Organisations outlive their computers: those whose computers are lost sign, too.
    old = [people.governor_in(i, charter) for i in range(before.peers) if i not in lying]
    quorum = old[: threshold_of(len(charter.members))]
    new = [key(after.seed, i) for i in range(after.peers) for key in (make_governor, make_identity)]
    said = [said_of(founding, Says.APPROVE, signer) for signer in (*quorum, *new)]
    standing = history.check_successor(founding, in_order(said))
    if not standing.is_enough:
        raise Violation(f"a successor that all have approved is not: {standing.missing}")
    if history.check_successor(founding, in_order(said[1:])).is_enough:
        raise Violation("a successor has all its approvals without a quorum of the group before")
    return Predecessor(succeeds, member.vector)
