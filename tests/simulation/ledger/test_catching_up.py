"""A member that was away takes head and model from others, of whom some give false chunks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from changed_actions import ChangedActions
from ledger_world import LedgerWorld

from p2pfl_gossip.actions import Action, Disconnect, PeerId, SendBulk
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.state_messages import StateChunks
from p2pfl_gossip.ledger.states import CHUNK_ENTRIES
from p2pfl_gossip.memory import vector_memory

ENTRIES = 2 * CHUNK_ENTRIES + 100
AWAY = 6

Change = Callable[[Action], Action | None]


class Changed(ChangedActions):
    """A member whose actions are changed one by one, or held back."""

    def __init__(self, inner: GroupMember, change: Change) -> None:
        super().__init__(inner)
        self._change = change

    def changed(self, actions: list[Action]) -> list[Action]:
        changed = [self._change(action) for action in actions]
        return [action for action in changed if action is not None]


def false_chunks(action: Action) -> Action:
    """Spoil chunks of states."""
    if isinstance(action, SendBulk) and isinstance(action.header, StateChunks):
        parts = tuple(np.frombuffer(part, np.uint8) ^ 1 for part in action.parts)
        return SendBulk(
            action.receiver, action.header, parts, action.size_bytes, ticket=action.ticket
        )
    return action


def no_chunks(action: Action) -> Action | None:
    """Hold chunks of states back."""
    is_chunk = isinstance(action, SendBulk) and isinstance(action.header, StateChunks)
    return None if is_chunk else action


def group_with(bad: dict[int, Change], ended: list[tuple[PeerId, str]]) -> LedgerWorld:
    """Make a group of seven; note the links that the member that was away ends."""

    def note(action: Action) -> Action:
        if isinstance(action, Disconnect):
            ended.append((action.peer, action.reason))
        return action

    def wrap(index: int, member: GroupMember) -> Any:
        change = note if index == AWAY else bad.get(index)
        return member if change is None else Changed(member, change)

    return LedgerWorld(7, entries=ENTRIES, rounds=2, wrap=wrap)


@pytest.mark.parametrize("back_s", [20.0, 300.0])
def test_who_was_away_has_the_model_though_some_give_false_chunks_or_none(back_s: float) -> None:
    """While others work, and after they have finished; no more than m = 2 of seven are bad."""
    ended: list[tuple[PeerId, str]] = []
    group = group_with({0: false_chunks, 1: no_chunks}, ended)
    away = group.hosts[AWAY]
    vector_memory(ENTRIES).take().fill(7)  # Nothing is right by chance.
    group.start()
    group.run(
        600.0,
        at=[
            (0.5, lambda: group.world.take_offline(away, "killed", kills=True)),
            (back_s, lambda: group.world.bring_online(away, "started")),
        ],
    )
    assert group.are_finished()
    head = group.member(2).history.head
    assert group.member(AWAY).history.head.head == head.head
    assert np.array_equal(group.member(AWAY).vector, group.member(2).vector)
    assert ended == [(group.hosts[0].peer_id, "false_chunk")]


def test_who_gives_false_chunks_loses_its_link() -> None:
    """With all signers but one lying about chunks, the model comes from that one."""
    ended: list[tuple[PeerId, str]] = []
    group = group_with(dict.fromkeys(range(5), false_chunks), ended)
    away = group.hosts[AWAY]
    group.start()
    group.run(
        600.0,
        at=[
            (0.5, lambda: group.world.take_offline(away, "killed", kills=True)),
            (300.0, lambda: group.world.bring_online(away, "started")),
        ],
    )
    assert np.array_equal(group.member(AWAY).vector, group.member(2).vector)
    assert {reason for _, reason in ended} == {"false_chunk"}
