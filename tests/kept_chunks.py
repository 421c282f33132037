"""A member whose update never reaches the others, though it does all else."""

from typing import Any

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.masked_sum.messages import ChunkHeader


class KeepsChunks:
    """An honest member whose words never reach the others."""

    def __init__(self, inner: GroupMember) -> None:
        self.inner, self.is_keeping = inner, True

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not name.startswith("on_"):
            return found

        def given(*arguments: Any) -> Any:
            answer = found(*arguments)
            if isinstance(answer, tuple):
                return answer[0], self.kept(answer[1])
            return self.kept(answer)

        return given

    def kept(self, actions: list[Action]) -> list[Action]:
        return [
            it
            for it in actions
            if not (
                self.is_keeping and isinstance(it, SendBulk) and isinstance(it.header, ChunkHeader)
            )
        ]
