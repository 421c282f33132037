"""Who joins says nothing in a history that leads elsewhere than its invitation."""

import pytest
from ledger_world import LedgerWorld, identity_of, make_charter

from p2pfl_gossip import events
from p2pfl_gossip.ledger.history import invitation_of, joined_at
from p2pfl_gossip.peer_state import State


def grown(invitation: bytes | None) -> LedgerWorld:
    """A group of five that admits member 5."""
    group = LedgerWorld(
        5, hosts=6, rounds=4, invitation=lambda index: invitation if index == 5 else None
    )
    charter = make_charter(range(6), present=group.epoch.digest, rounds=8)
    group.start()
    group.run(300.0, at=[(9.0, lambda: group.approve(charter, range(5)))])
    return group


@pytest.fixture(scope="module")
def right() -> bytes:
    """What a member's own ledger says of the newcomer."""
    told = {joined_at(grown(None).member(rank).history, identity_of(5).peer_id) for rank in (0, 3)}
    (invitation,) = told
    assert invitation is not None
    return invitation


def test_with_the_right_invitation_it_takes_part(right: bytes) -> None:
    group = grown(right)
    assert group.are_finished()
    assert group.times_in(group.member(5).vector, 5) > 0
    # A founder has none, and so asks for none.
    assert joined_at(group.member(0).history, identity_of(0).peer_id) is None


def test_in_another_history_it_stops_and_says_so_at_each_start(right: bytes) -> None:
    other = invitation_of(bytes(32), bytes(32))
    assert other != right
    group = grown(other)
    assert group.are_finished(range(5))
    assert group.member(5).state is State.LEFT
    assert group.times_in(group.member(0).vector, 5) == 0
    told = group.watcher.events[5]
    assert events.OtherHistory() in told
    assert not any(isinstance(it, events.Opened | events.RoundStarted) for it in told)
    group.world.take_offline(group.hosts[5], "a restart", kills=True)
    group.world.bring_online(group.hosts[5], "a restart")
    group.run(400.0)
    assert group.member(5).state is State.LEFT
    assert group.watcher.events[5].count(events.OtherHistory()) == 2


@pytest.mark.parametrize("is_over", [False, True])
def test_a_newcomer_finds_the_way_where_no_founder_is_in_reach(is_over: bool) -> None:
    """Members speak to it, at the end of all rounds too: it asks whoever is ahead."""
    group = LedgerWorld(5, hosts=7, rounds=1, training_s=lambda _: 15.0, patience_s=40.0)
    newcomer = group.hosts[6]
    first = make_charter(range(6), present=group.epoch.digest, rounds=1)
    second = make_charter(range(7), present=first.digest(), rounds=1 if is_over else 4)
    for founder in range(5):
        group.world.cut(group.hosts[founder], newcomer)
    group.start()
    group.world.take_offline(newcomer, "comes later", kills=True)
    group.run(
        200.0 if is_over else 110.0,
        at=[
            (5.0, lambda: group.approve(first, range(5))),
            (60.0, lambda: group.approve(second, range(6))),
            (160.0 if is_over else 75.0, lambda: group.world.bring_online(newcomer, "comes")),
        ],
    )
    assert group.are_finished(range(6)) == is_over
    assert {group.member(index).epoch.digest for index in range(7)} == {second.digest()}
