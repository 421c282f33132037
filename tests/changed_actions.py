"""A member whose actions are changed before they reach its host: what a liar's wrapper does."""

from typing import Any

from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.member import GroupMember


class ChangedActions:
    """An honest member; a subclass says what becomes of its actions."""

    def __init__(self, inner: GroupMember) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not name.startswith("on_"):
            return found

        def given(*arguments: Any) -> Any:
            answer = found(*arguments)
            if isinstance(answer, tuple):
                return answer[0], self.changed(answer[1])
            return self.changed(answer)

        return given

    def changed(self, actions: list[Action]) -> list[Action]:
        """Return what reaches the host."""
        raise NotImplementedError
