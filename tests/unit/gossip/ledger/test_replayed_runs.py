"""Runs in which earlier drafts of the ledger's rules failed, against the rules that it has now."""

import numpy as np
import pytest
from ledger_group import LENGTH, LedgerGroup
from one_member import EMPTY, GROUP, PEERS, OneMember

from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_gossip.ledger.state_messages import StateRequest

THRESHOLD = GROUP.epoch.threshold
OTHERS = range(1, PEERS)
CHARTER = GROUP.next_charter(rounds=30)


def adverts_of(one: OneMember, round_: int) -> list[GroupAdvert]:
    """Take the versions of its own advert of a round."""
    found = {it for _, it in one.sent if isinstance(it, GroupAdvert) and it.round == round_}
    return sorted(found, key=lambda it: it.signature)


def test_a_certified_entry_above_does_not_make_one_final() -> None:
    """Three rounds: where a child was the proof, an entry of another branch was certified above."""
    group = LedgerGroup(5)
    history = group.history(1, 2)
    below = history.step(history.head.entry.base)
    assert below is not None
    assert not history.is_final(below.head)
    branch = EntryStep(group.sum_entry(group.first, 3))
    assert history.check(group.certificate(branch.entry)) == branch  # It can be certified still.
    history.add_final(group.finality(below.head))
    assert history.is_final(below.head)


@pytest.mark.parametrize("is_mixed", [True, False], ids=["two heads", "one head"])
def test_nobody_gives_an_update_to_a_list_whose_others_give_zeros(*, is_mixed: bool) -> None:
    """Where members with a lower head took part with zeros, the sum was one victim's update."""
    one = OneMember().raised()  # To an entry that liars have shown to it alone.
    one.done(Train, Trained(np.full(LENGTH, 1.0, np.float32), 1, 0.5))
    (own,) = adverts_of(one, 2)
    assert own.head == EMPTY.head
    head = GROUP.first.head if is_mixed else EMPTY.head
    adverts = [own, *(GROUP.advert(rank, 2, head) for rank in OTHERS)]
    for rank in OTHERS:
        one.message(rank, adverts[rank])
    leader = GROUP.epoch.leaders(2)[0]
    assert leader != 0
    one.message(leader, GROUP.listed(leader, adverts))
    course = one.member._started.parts.course
    assert course.gathering is not None
    assert (course.gathering.listed is None) == is_mixed


def test_the_proof_of_an_epoch_begins_it_for_nobody_who_lacks_its_model() -> None:
    """Where it did, members with a lower head certified an entry beside a final one."""
    one = OneMember().advertised()
    last = GROUP.sum_entry(GROUP.first, 1, value=1.0, next_charter=CHARTER.digest())
    one.message(1, GROUP.closing(last, CHARTER))
    assert one.asked(StateRequest) != []
    # The others go on in the new epoch; nobody gives it the model.
    new = GROUP.following(CHARTER)
    for rank in OTHERS:
        one.message(rank, new.advert(rank, 3, EntryStep(last).head))
    assert one.member.epoch.number == 0
    assert one.member.history.head == GROUP.first
    assert [it for _, it in one.sent if isinstance(it, GroupAdvert) and it.epoch] == []


@pytest.mark.parametrize("is_late", [True, False], ids=["advertised before", "advertises after"])
def test_an_epoch_begins_by_t_that_stand_on_its_entry_and_nobody_counts_twice(
    *, is_late: bool
) -> None:
    """Where two rounds after the entry were enough, both epochs certified an entry of one round."""
    one = OneMember().advertised()
    one.do(one.member.propose(one.now_s, GROUP.parcel(CHARTER)))
    last = GROUP.empty_entry(GROUP.first, 1, CHARTER.digest())
    named: list[Head] = [GROUP.first.head if is_late else EntryStep(last).head]
    if is_late:  # The others have reached round 2, and it has followed them with its old head.
        for rank in (3, 4):
            one.message(rank, GROUP.advert(rank, 2))
        assert len(adverts_of(one, 2)) == 1
    one.message(1, GROUP.certificate(last))
    assert one.member.history.head.entry == last
    for rank in range(1, THRESHOLD):
        one.message(rank, GROUP.advert(rank, 2, EntryStep(last).head))
    assert [it.head for it in adverts_of(one, 2)] == named
    # With its own word they are t; without it one is missing.
    assert one.member.epoch.number == (0 if is_late else 1)
