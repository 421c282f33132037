"""Two owners that show each half of the members another sum: the round is lost, and both named."""

from typing import Any

import msgspec
import numpy as np
from changed_actions import ChangedActions
from ledger_world import LedgerWorld, identity_of

from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.events import MemberBlamed
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.masked_sum.messages import SumDigest, SumHeader

LIARS = (1, 2)
replace: Any = msgspec.structs.replace


class TwoFaced(ChangedActions):
    """An honest member whose sums of the chunks that both liars own are others for each half."""

    def __init__(self, index: int, inner: GroupMember) -> None:
        super().__init__(inner)
        self.index = index

    def changed(self, actions: list[Action]) -> list[Action]:
        return [self.lie(action) for action in actions]

    def lie(self, action: Action) -> Any:
        match action:
            case Send(message=SumDigest() as said):
                return replace(action, message=self.false(said, action.receiver)[0])
            case SendBulk(header=SumHeader() as said):
                header, body = self.false(said, action.receiver)
                return action if header is said else replace(action, header=header, parts=(body,))
        return action

    def false(self, said: Any, receiver: Any) -> tuple[Any, Any]:
        sessions = self.inner._started.parts.sessions._sessions.values()
        cohort = next(it.cohort for it in sessions if it.cohort.session == said.session)
        everybody = tuple(range(cohort.size))
        if set(cohort.owners_of(said.chunk, everybody)) != set(LIARS):
            return said, None
        half = (cohort.rank_of(receiver) or 0) % 2
        body = np.full(cohort.body_bytes(said.chunk) // 4, half, np.uint32)
        digest = sum_digest(said.ballot, said.chunk, body.data.cast("B"))
        number = said.chunk.to_bytes(8, "little")
        statement = (cohort.session, said.ballot, number, digest)
        rank = said.member
        signature = sign_statement(identity_of(self.index), b"sum", rank, *statement)
        return replace(said, digest=digest, signature=signature), body


def test_they_are_named_by_what_both_halves_were_told_and_are_out() -> None:
    def wrap(index: int, member: GroupMember) -> Any:
        return TwoFaced(index, member) if index in LIARS else member

    world = LedgerWorld(7, rounds=6, wrap=wrap)
    world.start()
    world.run(600.0)
    honest = [index for index in range(7) if index not in LIARS]
    accused = {
        (event.member, event.fault)
        for index in honest
        for event in world.watcher.events[index]
        if isinstance(event, MemberBlamed)
    }
    assert accused == {(identity_of(index).peer_id, "two_sums") for index in LIARS}
    assert world.are_finished(honest)
    assert len({model.tobytes() for model in world.models(honest)}) == 1
