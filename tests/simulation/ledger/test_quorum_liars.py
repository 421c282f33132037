"""Liars that stop what takes t members: who signs two things is out, who refuses is left out."""

from collections.abc import Callable
from typing import Any

import pytest
from changed_actions import ChangedActions
from ledger_world import LedgerWorld, identity_of

from p2pfl_crypto.statements import sign_statement
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.events import MaskedSumEnded, MemberBlamed
from p2pfl_gossip.ledger.charter import AUDIT_NAME
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.masked_sum.messages import Ack, Ballot, Manifest, Receipt, Share, Vote
from p2pfl_gossip.masked_sum.stated import stated_in
from p2pfl_gossip.records import replaced

N, LIARS = 7, (1, 2)
HONEST = [index for index in range(N) if index not in LIARS]
ROUNDS = 12


class Lying(ChangedActions):
    """An honest member; what it sends is what `lie` makes of it."""

    def __init__(self, index: int, inner: GroupMember, lie: Callable[..., list[Any]]) -> None:
        super().__init__(inner)
        self.index, self.lie = index, lie

    def changed(self, actions: list[Action]) -> list[Action]:
        return [each for action in actions for each in self.said(action)]

    def said(self, action: Action) -> list[Any]:
        if not isinstance(action, Send):
            return [action]
        found = self.lie(self, action.message, action.receiver)
        return [Send(action.receiver, message) for message in found]

    def signed(self, message: Any) -> Any:
        """A message with a good signature of its own."""
        stated = stated_in(message)
        assert stated is not None
        body = (message.session, *stated.place, stated.said)
        signature = sign_statement(identity_of(self.index), stated.kind, self.index, *body)
        return replaced(message, signature=signature)


def is_victim(receiver: Any) -> bool:
    return bool(receiver == identity_of(HONEST[0]).peer_id)


def two_receipts(liar: Lying, said: Any, receiver: Any) -> list[Any]:
    """Another one to one member; and no vote."""
    if isinstance(said, Vote):
        return []
    if isinstance(said, Receipt) and said.owner == liar.index and is_victim(receiver):
        return [liar.signed(replaced(said, bitmaps=bytes(len(said.bitmaps))))]
    return [said]


def no_share(_liar: Lying, said: Any, receiver: Any) -> list[Any]:
    """None to one member; and no ACK."""
    is_kept = isinstance(said, Share) and is_victim(receiver)
    return [] if is_kept or isinstance(said, Ack) else [said]


def many_ballots(liar: Lying, said: Any, _receiver: Any) -> list[Any]:
    """For the last turn that any leader has, as its own or not: who has it signs what it likes."""
    if not isinstance(said, Manifest):
        return [said]
    everybody, owners = b"\x7f", bytes([3]) * (len(said.chunk_digests) // 32)
    found = [said]
    for turn in range(N):
        for number in range(1, 10):
            digests = bytes([number]) * 32 * N
            ballot = Ballot(said.session, turn, said.tau2, everybody, owners, digests, bytes(64))
            found.append(liar.signed(ballot))
    return found


def run(lie: Callable[..., list[Any]], *, liars: tuple[int, ...] = LIARS) -> LedgerWorld:
    def wrap(index: int, member: GroupMember) -> Any:
        return Lying(index, member, lie) if index in liars else member

    world = LedgerWorld(N, rounds=ROUNDS, audit=AUDIT_NAME, wrap=wrap)
    world.start()
    world.run(1500.0)
    return world


def lost(world: LedgerWorld) -> int:
    """How many sums came to nothing for an honest member."""
    ended = [it for it in world.watcher.events[HONEST[1]] if isinstance(it, MaskedSumEnded)]
    return sum(it.result != "summed" for it in ended)


def named(world: LedgerWorld) -> set[tuple[Any, str]]:
    return {
        (event.member, event.fault)
        for index in HONEST
        for event in world.watcher.events[index]
        if isinstance(event, MemberBlamed)
    }


def test_who_gives_one_member_another_receipt_is_out() -> None:
    world = run(two_receipts)
    assert world.are_finished(HONEST)
    assert (identity_of(LIARS[0]).peer_id, "two_receipts") in named(world)
    assert {who for who, _ in named(world)} <= {identity_of(index).peer_id for index in LIARS}
    for index in HONEST:
        assert world.member(index)._started.parts.evidence.holds(LIARS[0])


def test_liars_that_keep_a_share_from_one_and_their_acks_are_left_out() -> None:
    world = run(no_share)
    assert world.are_finished(HONEST)
    assert named(world) == set()
    assert 0 < lost(world) < 12


@pytest.mark.parametrize("liar", [1, 5])
def test_a_liar_that_floods_its_turn_with_ballots_is_out(liar: int) -> None:
    world = run(many_ballots, liars=(liar,))
    honest = [index for index in range(N) if index != liar]
    assert world.are_finished(honest)
    assert (identity_of(liar).peer_id, "two_ballots") in named(world)
    for index in honest:
        assert world.member(index)._started.parts.evidence.holds(liar)
