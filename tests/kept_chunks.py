"""A member whose update never reaches the others, though it does all else."""

from changed_actions import ChangedActions

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.masked_sum.messages import ChunkHeader


class KeepsChunks(ChangedActions):
    """An honest member whose words never reach the others."""

    def __init__(self, inner: GroupMember) -> None:
        super().__init__(inner)
        self.is_keeping = True

    def changed(self, actions: list[Action]) -> list[Action]:
        return [
            it
            for it in actions
            if not (
                self.is_keeping and isinstance(it, SendBulk) and isinstance(it.header, ChunkHeader)
            )
        ]
