"""Checkers follow the members of a group from epoch to epoch: ranks move, and fewer are enough."""

import pytest
from ledger_world import first_model, identity_of, make_charter

from p2pfl_gossip.actions import Persist, Report, Send
from p2pfl_gossip.events import EpochBegun
from p2pfl_gossip.ledger.charter import NONE, Epoch
from p2pfl_gossip.ledger.entries import EntryStep, first_entry
from p2pfl_gossip.ledger.messages import GroupAdvert, Rest
from p2pfl_gossip.masked_sum.messages import Coin, SumsSeen
from p2pfl_simulations.checkers.auditing import AuditHolds
from p2pfl_simulations.checkers.base import Checker, Violation, Watched
from p2pfl_simulations.checkers.ledger import SaysOnce
from p2pfl_simulations.checkers.membership import SameMembers
from p2pfl_simulations.checkers.write_ahead import WriteAhead

SIZE = 5
PEERS = [identity_of(index).peer_id for index in range(SIZE)]
STAY = (0, 2, 3, 4)
"""Member 1 is expelled: whoever is behind it has another rank."""

EXPELLED = Report(EpochBegun(1, tuple(PEERS[index] for index in STAY)))
HEAD = EntryStep(first_entry(Epoch.founded(make_charter(range(SIZE))))).head


def watch(checker: Checker) -> SameMembers:
    """Start a checker; return the one that tells it of members, after member 1 was expelled."""
    watched = Watched(
        peers=PEERS,
        liars=frozenset(),
        initial=first_model(4),
        rounds=3,
        has_cohorts=False,
        hides_models=True,
        partners_of=lambda _index, _round: (),
        is_group=True,
    )
    members = SameMembers()
    members.start(watched)
    checker.start(watched)
    for host in STAY:
        members.on_action(1.0, host, EXPELLED)
    return members


def advert(rank: int, key: int, epoch: int = 1) -> Send:
    said = GroupAdvert(
        epoch=epoch,
        round=4,
        member=rank,
        head=HEAD,
        head_signature=bytes(64),
        charter=NONE,
        rest=Rest.NONE,
        spends=0,
        named=(),
        share_key=bytes([key]) * 31 + b"\0",
        mask_key=bytes(32),
        signature=bytes(64),
    )
    return Send(PEERS[0], said)


def test_an_epoch_has_the_same_members_at_all() -> None:
    members = watch(SaysOnce())
    other = Report(EpochBegun(1, tuple(PEERS[:4])))
    with pytest.raises(Violation, match=r"peer 3 begins epoch 1 with \(0, 1, 2, 3\)"):
        members.on_action(2.0, 3, other)


def test_nobody_honest_speaks_in_an_epoch_that_has_not_begun() -> None:
    members = watch(SaysOnce())
    with pytest.raises(Violation, match="speaks in epoch 2, which nobody has begun"):
        members.on_action(2.0, 3, advert(2, key=1, epoch=2))


def test_what_a_member_says_twice_is_found_at_its_new_rank() -> None:
    checker = SaysOnce()
    watch(checker)
    checker.on_action(2.0, 3, advert(2, key=1))
    checker.on_action(2.0, 3, advert(3, key=1))  # Member 4's, passed on.
    with pytest.raises(Violation, match="peer 3 advertises twice for round 4"):
        checker.on_action(2.0, 3, advert(2, key=2))


def test_what_a_member_says_before_it_is_kept_is_found_at_its_new_rank() -> None:
    checker = WriteAhead()
    watch(checker)
    checker.on_input(1.0, 3, "on_start", ({},))
    checker.on_action(1.0, 3, Persist({"incarnation": bytes(8)}))
    checker.on_action(2.0, 3, advert(3, key=1))
    with pytest.raises(Violation, match="GroupAdvert before it has recorded its advert"):
        checker.on_action(2.0, 3, advert(2, key=1))


@pytest.mark.parametrize(("signers", "is_enough"), [(STAY[:3], True), (STAY[:2], False)])
def test_coins_take_t_of_the_members_that_there_are(
    signers: tuple[int, ...], is_enough: bool
) -> None:
    checker = AuditHolds()
    members = watch(checker)
    session, ballot, sums = (bytes([number]) * 32 for number in range(3))
    for rank, host in enumerate(STAY):
        members.on_action(2.0, host, advert(rank, key=1))
        if host in signers:
            seen = SumsSeen(session, rank, ballot, sums, bytes(64))
            checker.on_action(2.0, host, Send(PEERS[0], seen))
    coin = Send(PEERS[0], Coin(session, sums, bytes(32)))
    if is_enough:
        checker.on_action(3.0, 2, coin)
        return
    with pytest.raises(Violation, match="shows its coin when 2 of 3 have signed"):
        checker.on_action(3.0, 2, coin)
