"""Members that leave, and peers' keys that are revoked, while the group goes on."""

import pytest
from ledger_world import LedgerWorld, approval_by, governor_of, identity_of, make_charter, member_of
from sampled import sampled

from p2pfl_gossip import events
from p2pfl_gossip.ledger.approvals import Approval, RefusedApproval, Says
from p2pfl_gossip.ledger.departing import departed
from p2pfl_gossip.ledger.entries import Kind, out_of
from p2pfl_gossip.ledger.evidence_book import EvidenceBook
from p2pfl_gossip.ledger.participation import Cause, participation
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import replaced


def words(group: LedgerWorld, index: int, says: Says) -> list[Approval]:
    return [approval_by(governor_of(index), group.charter, says)]


def depart(group: LedgerWorld, told: int, leaver: int, says: Says = Says.LEAVE) -> None:
    """Hand a member's word in to a peer, its own or another."""
    member, now_s = group.member(told), group.queue.now_s
    group.hosts[told].queue.push(member.depart(now_s, words(group, leaver, says)))


@pytest.mark.parametrize("told", sampled([4, 1], every=2), ids=["its own peer", "another's peer"])
def test_a_member_leaves_by_itself(told: int) -> None:
    group = LedgerWorld(6, rounds=40)
    group.start()
    group.run(40.0, at=[(6.2, lambda: depart(group, told, 4))])
    leaver, other = group.member(4), group.member(0)
    assert leaver.state is State.LEFT
    assert events.MemberDeparted(identity_of(4).peer_id, False) in group.watcher.events[0]
    assert out_of(group.epoch, other.history.head.entry) == {4}
    last = next(it for it in participation(other.history) if it.name == "m4")
    assert last.cause == Cause.OUT
    assert other.round > last.last_height + 5
    # Whoever is out is in no model, and is not weighed any more.
    entry = other.history.head.entry
    assert entry.kind == Kind.SUM
    assert entry.weight == 5.0


@pytest.mark.parametrize(
    "is_out", sampled([False, True], every=2), ids=["by its word", "by an entry"]
)
def test_nobody_waits_for_who_has_left_where_too_few_have_an_update(
    is_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link may stand. Such a round is left after a relay time, and not after a session's."""
    leaves_s, fails_s = (2.2, 6.0) if is_out else (6.2, 4.0)
    group = LedgerWorld(6, rounds=100)
    group.worker.fails = lambda index, _job: index == 2 and fails_s < group.queue.now_s < 30.0
    if is_out:  # Then it is all the same what it was put out for.
        monkeypatch.setattr(EvidenceBook, "departed", property(lambda _book: []))
    group.start()
    group.run(45.0, at=[(leaves_s, lambda: depart(group, 4, 4))])
    lost = [it for it in group.watcher.events[0] if isinstance(it, events.RoundLost)]
    assert len(lost) >= 4
    history = group.member(0).history
    assert out_of(group.epoch, history.head.entry) == {4}
    assert history.height > 8


def test_who_has_left_stays_away_after_a_restart() -> None:
    group = LedgerWorld(6, rounds=12)
    host = group.hosts[4]

    def kill() -> None:
        group.world.take_offline(host, "killed", kills=True)

    def start() -> None:
        group.world.bring_online(host, "started")

    group.start()
    group.run(60.0, at=[(6.2, lambda: depart(group, 4, 4)), (12.0, kill), (13.0, start)])
    assert group.member(4).state is State.LEFT
    others = [index for index in range(6) if index != 4]
    assert group.are_finished(others)


def test_who_died_before_anybody_had_its_word_says_it_when_it_is_started_again() -> None:
    """Its links have broken as it leaves; the word is in its journal alone."""
    group = LedgerWorld(6, rounds=40)
    host, others = group.hosts[4], [index for index in range(6) if index != 4]

    def leave_unheard() -> None:
        for index in others:
            group.world.cut(host, group.hosts[index])
        depart(group, 4, 4)

    def kill() -> None:
        group.world.take_offline(host, "killed", kills=True)

    def start() -> None:
        assert not any(group.member(index).departures for index in others)
        for index in others:
            group.world.mend(host, group.hosts[index])
        group.world.bring_online(host, "started")

    group.start()
    group.run(40.0, at=[(6.2, leave_unheard), (6.3, kill), (12.0, start)])
    assert group.member(4).state is State.LEFT
    assert out_of(group.epoch, group.member(0).history.head.entry) == {4}


def test_a_revoked_peer_stops_and_comes_back_with_another_key() -> None:
    """Host 6 has the member's new peer key; the next charter gives the place to it."""
    group = LedgerWorld(6, hosts=7, rounds=30)
    again = replaced(member_of(6), name="m4", controller="m4", governance=member_of(4).governance)
    members = (*group.charter.members[:4], again, group.charter.members[5])
    charter = make_charter(range(6), present=group.epoch.digest, rounds=30)
    charter = replaced(charter, members=members)
    stopped: list[State] = []
    group.start()
    group.run(
        200.0,
        at=[
            (6.2, lambda: depart(group, 4, 4, Says.REVOKE)),
            (8.9, lambda: stopped.append(group.member(4).state)),
            (9.0, lambda: group.approve(charter, [0, 1, 2, 3, 5], [0, 1, 2, 3, 4])),
        ],
    )
    assert stopped == [State.LEFT]  # At once, and not by the charter that follows.
    assert group.member(6).epoch.digest == charter.digest()
    assert group.are_finished([0, 1, 2, 3, 5, 6])
    shares = {share.name: share for share in participation(group.member(0).history)}
    # Its share goes on where it was: a member is the same as long as its name is.
    assert shares["m4"].heights == 30
    assert shares["m4"].heights_in > 10


def test_a_stolen_peers_key_alone_sends_nobody_away() -> None:
    group = LedgerWorld(6, rounds=3)
    group.start()
    group.run(5.0)
    stolen = [approval_by(identity_of(4), group.charter, Says.LEAVE)]
    with pytest.raises(RefusedApproval, match="not the words of one member"):
        group.member(1).depart(5.0, stolen)


@pytest.mark.parametrize("says", [Says.LEAVE, Says.WITHDRAW])
def test_who_leaves_together_goes_in_one_charter_that_says_by_whose_word(says: Says) -> None:
    """Nobody carries their words to the proposal: members have them, before it or after."""
    group = LedgerWorld(7, rounds=30)
    charter = make_charter(range(5), present=group.epoch.digest, rounds=12)
    group.start()
    group.run(
        200.0,
        at=[
            (2.2, lambda: depart(group, 5, 5)),
            (3.0, lambda: group.approve(charter, range(5), range(5))),
            (6.2, lambda: depart(group, 1, 6, says)),
        ],
    )
    assert group.are_finished(range(5))
    withdraws = says is Says.WITHDRAW
    assert (
        events.MemberDeparted(identity_of(6).peer_id, False, withdraws) in group.watcher.events[0]
    )
    for index in range(5):
        history = group.member(index).history
        assert history.epoch.digest == charter.digest()
        said = departed(history.epochs[0].charter, history.approvals_of(1))
        assert said == {"m5": Says.LEAVE, "m6": says}


def test_of_those_that_leave_no_word_counts_where_the_next_charter_keeps_them() -> None:
    group = LedgerWorld(7, rounds=30)
    charter = make_charter(range(7), present=group.epoch.digest, rounds=12)
    group.start()
    group.run(
        100.0,
        at=[
            (2.2, lambda: depart(group, 5, 5)),
            (6.0, lambda: group.approve(charter, range(5), range(5))),
        ],
    )
    history = group.member(0).history
    assert history.epoch.digest == charter.digest()
    assert departed(history.epochs[0].charter, history.approvals_of(1)) == {}


def test_who_has_left_is_not_thrown_out_by_the_next_charter() -> None:
    """So that it goes together with one that is."""
    group = LedgerWorld(7, rounds=30)
    charter = make_charter(range(5), present=group.epoch.digest, rounds=12)
    said = words(group, 6, Says.LEAVE)
    group.start()
    group.run(3.0)
    group.approve(charter, range(5), [0, 1, 2, 3, 4])
    (proposal,) = group.member(0).proposals.open
    assert proposal.standing is not None
    assert not proposal.standing.is_enough
    group.propose(0, replaced(proposal.parcel, approvals=tuple(said)))
    group.run(200.0)
    assert {group.member(index).epoch.digest for index in range(5)} == {charter.digest()}
    assert group.are_finished(range(5))
