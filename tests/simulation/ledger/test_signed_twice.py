"""A liar signs its sums twice, alike: no lie that others could be shown, and it stops nobody."""

from typing import Any

from changed_actions import ChangedActions
from ledger_world import LedgerWorld, identity_of
from other_signature import signed_otherwise

from p2pfl_crypto.statements import statement_digest
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.events import MemberBlamed
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.masked_sum.messages import SumDigest
from p2pfl_gossip.records import replaced

N, LIAR = 7, 3
HEARERS = {identity_of(index).peer_id for index in (0, 1, 2)}
"""m + 1: had each of them a proof that the others refuse, no list that names the liar would get t
signatures, ever."""


class SaysTwice(ChangedActions):
    """Says each of its sums once more to some, with another signature."""

    def changed(self, actions: list[Action]) -> list[Action]:
        return [each for action in actions for each in self.twice(action)]

    def twice(self, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, SumDigest) or action.receiver not in HEARERS:  # type: ignore[union-attr]
            return [action]
        body = (said.session, said.ballot, said.chunk.to_bytes(8, "little"), said.digest)
        statement = statement_digest(b"sum", said.member, *body)
        other = replaced(said, signature=signed_otherwise(identity_of(LIAR), statement))
        return [action, Send(action.receiver, other)]  # type: ignore[union-attr]


def test_who_signs_one_sum_twice_is_not_named_and_stops_nobody() -> None:
    def wrap(index: int, member: GroupMember) -> Any:
        return SaysTwice(member) if index == LIAR else member

    world = LedgerWorld(N, rounds=4, wrap=wrap)
    world.start()
    world.run(600.0)
    honest = [index for index in range(N) if index != LIAR]
    events = [event for index in honest for event in world.watcher.events[index]]
    assert not any(isinstance(event, MemberBlamed) for event in events)
    assert world.are_finished(honest)
