# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""Attacks by a leader that gives few members its shares, and proposes a sum with itself.

Those few can follow it, and all others cannot. Were these missed for it, each of the few would list
liars in their place.
"""

from typing import Any

import pytest
from session_driver import Rewrite
from test_disputes import session
from test_quorum_attacks import sent, signed

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Held, Proposal, Share
from p2pfl_gossip.records import replaced

LEADER = session().cohort.leader(0)
COLLUDER = (LEADER + 1) % 7
HONEST = tuple(rank for rank in range(7) if rank not in (LEADER, COLLUDER))


def dealing(to: tuple[int, ...]) -> Rewrite:
    """Deal to these alone, and propose all members all the same."""

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        said: Any = sent(action)
        if isinstance(said, Share):
            return [action] if driver.cohort.rank_of(action.receiver) in to else []
        if not isinstance(said, Proposal) or said.turn != 0:
            return [action]
        digests = driver.machines[rank]._sharing.header_digests
        other = replaced(
            said,
            members=driver.cohort.pack(range(7)),
            header_digests=b"".join(digests[it] for it in range(7)),
        )
        return [Send(action.receiver, signed(driver, other))]

    return rewrite


@pytest.mark.parametrize(("told", "missed"), [(1, ()), (2, (LEADER,))])
def test_whoever_can_follow_a_leader_misses_nobody_whom_it_gave_no_share(
    told: int, missed: tuple[int, ...]
) -> None:
    """One alone sees that the others follow the next leader; two, with the liars, are most."""
    few = HONEST[:told]
    driver = session(rewrite={LEADER: dealing((*few, COLLUDER))}).run()
    for rank in few:
        outcome = driver.machines[rank].outcome
        assert (outcome.reason, outcome.absent) == ("no_agreement", missed)


def late(by_s: float) -> Rewrite:
    """Tell whose shares one holds later than others go by it."""

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if isinstance(said, Held):
            receiver = driver.cohort.rank_of(action.receiver)
            driver.at(by_s, lambda: driver.deliver(rank, receiver, said))
            return []
        return [action]

    return rewrite


def silent(_driver: Any, _rank: int, action: Action) -> list[Action]:
    return [] if isinstance(sent(action), Share | Held) else [action]


@pytest.mark.parametrize(("by_s", "is_in_time"), [(1.4, True), (2.4, False)])
def test_a_leader_that_hears_enough_late_proposes_then_if_there_is_time(
    by_s: float, *, is_in_time: bool
) -> None:
    """As a liar deals nothing, it waits for as long as it may; others have told it most by then."""
    rewrite: dict[int, Rewrite] = dict.fromkeys(HONEST, late(by_s))
    driver = session(rewrite={**rewrite, COLLUDER: silent}).run()
    machine = driver.machines[LEADER]
    assert len(machine.outcome.members) >= driver.cohort.threshold
    assert COLLUDER not in machine.outcome.members
    turns = [it.turn for it in machine._agreement._proposals.values()]
    assert turns == ([0] if is_in_time else [1])
