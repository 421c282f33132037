"""A charter that expels the leader of the very turn in which it comes into force."""

import pytest
from ledger_world import LedgerWorld, make_charter

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupList
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message

SIZE = 6
CARRIED, FINAL = 3, 4
"""Rounds: whose entry carries the charter, and whose adverts make that entry final."""


@pytest.mark.parametrize(
    ("led", "is_silent"),
    [(CARRIED, False), (CARRIED, True), (FINAL, False)],
    ids=["lists its own end", "is silent in its turn", "leads the round of the proof"],
)
def test_the_leader_of_the_turn_is_expelled(
    monkeypatch: pytest.MonkeyPatch, led: int, *, is_silent: bool
) -> None:
    group = LedgerWorld(SIZE, rounds=3)
    expelled = group.epoch.leaders(led)[0]
    staying = [index for index in range(SIZE) if index != expelled]
    charter = make_charter(staying, present=group.epoch.digest, rounds=4)
    turns: dict[int, set[int]] = {}
    hear = GroupMember.on_message

    def spy(it: GroupMember, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        if isinstance(message, GroupList) and message.epoch == 0:
            turns.setdefault(message.round, set()).add(message.turn)
        return hear(it, now_s, sender, message)

    monkeypatch.setattr(GroupMember, "on_message", spy)
    host = group.hosts[expelled]
    faults = [(2.0, lambda: group.world.take_offline(host, "frozen"))] if is_silent else []
    group.start()
    group.run(100.0, at=[(2.0, lambda: group.approve(charter, staying)), *faults])

    (closing,) = group.member(staying[0]).history.closings(0)
    assert (closing.certificate.entry.round, closing.round) == (CARRIED, FINAL)
    assert turns[CARRIED] == {1 if is_silent else 0}
    assert group.are_finished(staying)
    assert {group.member(index).round for index in staying} == {4}
    assert len({group.member(index).history.head.head for index in staying}) == 1
    assert {group.member(index).epoch.digest for index in staying} == {charter.digest()}
    # It may see the end of its own epoch, and no entry above it.
    assert group.member(expelled).history.head.entry.epoch == 0
    if not is_silent:
        assert group.member(expelled).state is State.LEFT
