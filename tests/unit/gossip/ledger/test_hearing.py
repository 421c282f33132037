"""Who asks and asks is answered a bounded number of times."""

import pytest
from ledger_world import RELAY_S, LedgerWorld
from one_member import GROUP, OneMember

from p2pfl_gossip.actions import Action, Disconnect, RemoteProtocolError, Send
from p2pfl_gossip.ledger.hearing import ASKINGS_MAX, CERTIFICATES_MAX, LISTS_AHEAD_MAX
from p2pfl_gossip.ledger.messages import (
    AdvertRequest,
    CertificateRequest,
    Evidence,
    GroupList,
    HeldRequest,
    LedgerMessage,
    TwoEntries,
)
from p2pfl_gossip.records import replaced


@pytest.fixture(scope="module")
def group() -> LedgerWorld:
    """A group that has done its only height."""
    group = LedgerWorld(5, rounds=1)
    group.start()
    group.run(100.0)
    assert group.are_finished()
    return group


def ask(group: LedgerWorld, now_s: float, message: LedgerMessage, count: int) -> list[Action]:
    """Return what member 0 does when member 1 says something so often."""
    member, asker = group.member(0), group.hosts[1].peer_id
    return [
        action
        for _ in range(count)
        for action in member.on_message(now_s, asker, message)
        if isinstance(action, Send) and action.receiver == asker
    ]


def test_who_accuses_falsely_is_heard_once() -> None:
    """Its link ends, and what it shows after that is not looked at; what others show is."""
    one = OneMember().advertised()
    said = GROUP.entry_signature(3, GROUP.sum_entry(GROUP.first, 1))
    false = Evidence(0, 1, 3, TwoEntries(said, said))
    forged = replaced(false, proof=TwoEntries(said, replaced(said, entry=b"\xff" * 32)))

    def show(rank: int, evidence: Evidence) -> list[Action]:
        return one.machine.on_message(one.now_s, one.roster.peers[rank], evidence)

    assert show(1, false) == [Disconnect(one.roster.peers[1], "no_contradiction")]
    assert show(1, forged) == []
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        show(2, forged)


def test_certificates_are_given_so_many_times(group: LedgerWorld) -> None:
    head = group.member(0).history.head.head
    each = len(ask(group, 1000.0, CertificateRequest(head), 1))
    assert each
    asked = CERTIFICATES_MAX + 20
    assert len(ask(group, 2000.0, CertificateRequest(head), asked)) == CERTIFICATES_MAX * each
    assert len(ask(group, 2000.0 + RELAY_S, CertificateRequest(head), 1)) == each


def test_starts_are_answered_so_many_times(group: LedgerWorld) -> None:
    question = HeldRequest(0, group.member(0).history.head.head)
    answers = ask(group, 3000.0, question, ASKINGS_MAX + 20)
    assert len(answers) == ASKINGS_MAX


def test_adverts_are_given_so_many_times(group: LedgerWorld) -> None:
    round_, epoch = 2, group.epoch
    question = AdvertRequest(0, round_, epoch.pack(range(epoch.size)))
    each = len(ask(group, 4000.0, question, 1))
    assert each
    assert len(ask(group, 5000.0, question, ASKINGS_MAX + 20)) == ASKINGS_MAX * each


def test_lists_of_rounds_ahead_are_kept_so_many_times(group: LedgerWorld) -> None:
    members = group.epoch.pack(range(5))
    for ahead in range(LISTS_AHEAD_MAX + 20):
        listed = GroupList(0, 100 + ahead, 0, 0, members, bytes(160), bytes(64))
        assert ask(group, 6000.0, listed, 1) == []
    kept = group.member(0)._hearing._lists_ahead
    assert sum(len(lists) for lists in kept.values()) == LISTS_AHEAD_MAX
