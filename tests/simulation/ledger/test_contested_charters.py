"""Charters that somebody contests, does not answer, or judges by a wrong clock."""

import pytest
from ledger_world import (
    LedgerWorld,
    approval_by,
    governor_of,
    make_charter,
    member_of,
    parcel_of,
)

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.charter import Charter, Governance
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.records import replaced

STRANGER = 99
"""Whose governance key is to stand in the place of the last member's."""


def other_keys(group: LedgerWorld, size: int) -> Charter:
    """Give the last member another governance key, without its own word."""
    new = GovernanceKey("ed25519", governor_of(STRANGER).public_key).encoded
    last = replaced(member_of(size - 1), governance=Governance(1, (new,)))
    charter = make_charter(range(size), present=group.epoch.digest, rounds=9)
    return replaced(charter, members=(*charter.members[:-1], last))


def objection(charter: Charter, index: int) -> Parcel:
    """Object to a charter with a member's governance key."""
    said = (approval_by(governor_of(index), charter, says=Says.OBJECT),)
    return replaced(parcel_of(charter, ()), approvals=said)


@pytest.mark.parametrize("objects", [True, False], ids=["objects", "is lost"])
def test_keys_are_replaced_unless_their_owner_objects(*, objects: bool) -> None:
    """The objection is handed to one member; all hosts have let the charter come by then."""
    group = LedgerWorld(7, rounds=4)
    charter = other_keys(group, 7)
    # One that was replaced approves for itself by its new key; it takes the other five besides.
    parcel = parcel_of(charter, [0, 1, 2, 3, 4, STRANGER])

    def object_to_it() -> None:
        if objects:
            group.propose(2, objection(charter, 6))

    def let_come() -> None:
        for index in range(7):
            group.hear(index, due=(charter.digest(),))

    at = [(5.0, lambda: group.propose(0, parcel)), (15.0, object_to_it), (25.0, let_come)]
    group.start()
    group.run(300.0, at=at)
    digests = {group.member(index).epoch.digest for index in range(7)}
    assert digests == {group.epoch.digest if objects else charter.digest()}
    assert group.member(0).round == (4 if objects else 9)


def test_what_nobody_answers_ends_and_leaves_room_for_another() -> None:
    group = LedgerWorld(5, rounds=4)
    unanswered = make_charter(range(5), present=group.epoch.digest, rounds=8, retries=9)
    answered = make_charter(range(5), present=group.epoch.digest, rounds=9)

    def end() -> None:
        for index in range(5):
            group.hear(index, void=(unanswered.digest(),))

    group.start()
    group.run(60.0, at=[(5.0, lambda: group.approve(unanswered, range(5), [0, 1, 2]))])
    assert [len(group.member(index).proposals.open) for index in range(5)] == [1] * 5
    assert [group.member(index).round for index in range(5)] == [4] * 5
    group.run(90.0, at=[(61.0, end)])
    assert [group.member(index).proposals.open for index in range(5)] == [[]] * 5
    group.run(300.0, at=[(91.0, lambda: group.approve(answered, range(5)))])
    assert {group.member(index).epoch.digest for index in range(5)} == {answered.digest()}
    assert group.member(4).round == 9


def test_one_whose_clock_is_days_ahead_rests_alone_and_follows_a_renewal() -> None:
    """Its calendar says that charter and renewal are over; the others' does not."""
    group = LedgerWorld(5, rounds=6)
    renewal = make_charter(range(5), present=group.epoch.digest, rounds=9, until=2**40)

    def renew() -> None:
        group.approve(renewal, range(4))
        group.hear(4, rest=Rest.LAPSED, void=(renewal.digest(),))

    group.start()
    group.run(20.0, at=[(0.0, lambda: group.hear(4, rest=Rest.LAPSED))])
    group.run(300.0, at=[(21.0, renew)])
    assert {group.member(index).epoch.digest for index in range(5)} == {renewal.digest()}
    assert [group.member(index).round for index in range(5)] == [9] * 5
    assert group.member(4).vector.tobytes() == group.member(0).vector.tobytes()
    assert group.times_in(group.member(0).vector, 4) == 0  # It has all models, and is in none.
