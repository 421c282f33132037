"""What one owner of a chunk has of a member that another cannot reach.

A link between two members may be down while both are up. Then an owner asks its co-owners for what
it cannot get itself. Who asks, lacks it: so where all owners ask each other, nobody has it, and
nobody waits. A co-owner that has not asked may still get the chunk, and then passes it on.
"""

from collections import Counter
from collections.abc import Iterable

ASKS_MAX = 1536
"""Of one member that wait: an owner of every chunk can lack as many of one other member."""


class PassingOn:
    """Who asked whom for which chunk of which member, among the owners of it."""

    def __init__(self) -> None:
        # By (chunk, member): whom we asked, who asked us, and who brought it too early.
        self._asked: dict[tuple[int, int], dict[int, None]] = {}
        self._askers: dict[tuple[int, int], dict[int, None]] = {}
        self._early: dict[tuple[int, int], int] = {}
        self._asks: Counter[int] = Counter()

    def ask(self, chunk: int, member: int, owners: Iterable[int]) -> list[int]:
        """Note that these are asked; return those that were not asked before."""
        asked = self._asked.setdefault((chunk, member), {})
        new = [owner for owner in owners if owner not in asked]
        asked.update(dict.fromkeys(new))
        return new

    def may_come(self, chunk: int, member: int, owners: Iterable[int]) -> bool:
        """Whether one of these owners has not said that it lacks the chunk itself."""
        askers = self._askers.get((chunk, member), {})
        return any(owner not in askers for owner in owners)

    def on_asked(self, asker: int, chunk: int, member: int) -> None:
        """Note a co-owner that lacks what we lack as well: it gets it once we have it."""
        if self._asks[asker] < ASKS_MAX:
            self._asks[asker] += 1
            self._askers.setdefault((chunk, member), {})[asker] = None

    def on_early(self, sender: int, chunk: int, member: int) -> None:
        """Note whom we asked and who brought a chunk before we could tell whether it is right."""
        if sender in self._asked.get((chunk, member), ()):
            self._early[chunk, member] = sender

    def take_early(self, member: int) -> list[tuple[int, int]]:
        """Return (sender, chunk) of what came too early of a member whose manifest is here."""
        keys = [key for key in self._early if key[1] == member]
        return [(self._early.pop(key), key[0]) for key in keys]

    def take_askers(self, chunk: int, member: int) -> list[int]:
        """Return those that wait for a chunk that has come."""
        return list(self._askers.pop((chunk, member), ()))
