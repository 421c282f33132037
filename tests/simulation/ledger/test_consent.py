"""Whose keys have not signed, whose operator has not approved, whose time is over: rests."""

from ledger_world import LedgerWorld, approval_by, governor_of, identity_of, make_charter
from ledger_world import parcel_of as parcel

from p2pfl.daemon.ledger_standing import ledger_status
from p2pfl_gossip.ledger.charter import Charter
from p2pfl_gossip.ledger.entries import Kind
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.ledger.participation import Cause
from p2pfl_gossip.records import replaced


def sums_of(history: History, epoch: int) -> list[tuple[int, ...]]:
    """Whose updates are in the models of an epoch."""
    step, found = history.head, []
    while step.entry.round:
        entry = step.entry
        if entry.kind == Kind.SUM and entry.epoch == epoch:
            found.append(history.epochs[epoch].unpack(entry.members) or ())
        below = history.step(entry.base)
        assert below is not None
        step = below
    return found


def late(charter: Charter, index: int) -> Parcel:
    """A signature that comes after the charter."""
    said = approval_by(governor_of(index), charter)
    return replaced(parcel(charter, ()), approvals=(said,))


def test_who_has_not_signed_gives_nothing_until_it_does() -> None:
    group = LedgerWorld(7, rounds=4)
    charter = make_charter(range(7), present=group.epoch.digest, rounds=20, retries=9)
    group.start()
    group.run(30.0, at=[(6.0, lambda: group.approve(charter, range(7), [0, 1, 2, 3, 4]))])
    history = group.member(0).history
    before = len(sums_of(history, 1))
    assert before >= 2
    assert all(members == (0, 1, 2, 3, 4) for members in sums_of(history, 1))
    assert group.member(5).proposals.rest == Rest.UNSIGNED
    assert group.member(0).causes[identity_of(5).peer_id] == Cause.UNSIGNED
    unsigned = {identity_of(index).peer_id: Cause.UNSIGNED for index in (5, 6)}
    for index in (0, 5):  # As others see it, and as it is.
        assert group.member(index).resting == unsigned
        told = ledger_status(group.member(index), identity_of(index).peer_id)["members"]
        assert [it["rests"] for it in told] == [None] * 5 + ["unsigned"] * 2
    group.run(200.0, at=[(31.0, lambda: group.propose(5, late(charter, 5)))])
    assert group.are_finished()
    assert sums_of(history, 1)[0] == (0, 1, 2, 3, 4, 5)
    assert group.member(6).vector.tobytes() == group.member(0).vector.tobytes()


def test_a_lapsed_charter_stops_work_and_is_renewed() -> None:
    """Dates stop work, never repair: the group amends while all of it rests."""
    group = LedgerWorld(5, rounds=30)
    renewed = make_charter(range(5), present=group.epoch.digest, rounds=30, until=2**40)

    def lapse() -> None:
        for index in range(5):
            group.hear(index, rest=Rest.LAPSED)

    def renew() -> None:
        group.approve(renewed, range(5))
        for index in range(5):
            group.hear(index, rest=Rest.NONE, due=(renewed.digest(),))

    group.start()
    group.run(20.0, at=[(10.0, lapse)])
    height = group.member(0).round
    assert 0 < height < 30
    group.run(200.0)
    assert group.member(0).round == height
    group.run(260.0, at=[(201.0, renew)])
    assert {group.member(index).epoch.digest for index in range(5)} == {renewed.digest()}
    assert group.member(0).round > height


def test_whose_task_is_not_approved_rests_alone() -> None:
    group = LedgerWorld(5, rounds=3)
    group.start()
    group.run(100.0, at=[(0.0, lambda: group.hear(4, rest=Rest.TASK))])
    assert group.are_finished()
    assert set(sums_of(group.member(0).history, 0)) == {(0, 1, 2, 3)}


def test_too_few_that_consent_make_no_model_and_amend() -> None:
    group = LedgerWorld(5, rounds=30)
    changed = make_charter(range(5), present=group.epoch.digest, rounds=30, retries=9)
    back = make_charter(range(5), present=changed.digest(), rounds=30, retries=8)

    def task() -> None:
        for index in (3, 4):
            group.hear(index, rest=Rest.TASK, due=(changed.digest(),))

    group.start()
    group.run(60.0, at=[(5.0, lambda: group.approve(changed, range(5))), (5.1, task)])
    assert {group.member(index).epoch.number for index in range(5)} == {1}
    assert sums_of(group.member(0).history, 1) == []

    def amend() -> None:
        group.approve(back, range(5))
        for index in (3, 4):
            group.hear(index, due=(back.digest(),))

    group.run(120.0, at=[(60.5, amend)])
    assert {group.member(index).epoch.digest for index in range(5)} == {back.digest()}
    assert sums_of(group.member(0).history, 2)


def test_t_peers_change_what_the_bounds_let_them() -> None:
    """No governance key is asked for, and nobody rests for it."""
    group = LedgerWorld(5, rounds=3)
    charter = make_charter(range(5), present=group.epoch.digest, rounds=6, patience_s=1.0)
    group.start()
    group.run(200.0, at=[(4.0, lambda: group.approve(charter, range(5), []))])
    assert {group.member(index).epoch.digest for index in range(5)} == {charter.digest()}
    assert group.are_finished()
    assert group.member(0).round == 6
