"""Whom we leave out of the lists that we lead, for a while, as a round was void by its silence.

A sum takes t members in each of its steps, and an owner of each chunk; where it is audited, each
member of a list has to prove its length. So some members of a list that then say nothing make the
round void, for all. That proves nothing: they may have crashed, or their links may
be down. So nobody is named for it, and no member follows another's word: each keeps count of what
it saw itself, and acts on it only where it leads. A member that was silent in a void round is in
none of our lists of the next round; after a second time of the next 4, then 16, then 64
(exponential backoff). Whoever was in many certified rounds since has one time forgiven.

So a member that is always silent makes void a number of our rounds that grows as the logarithm of
all, and one that is silent now and then one of some `FORGIVEN_AFTER`. Rounds that liars lead are
theirs: as many as there are liars. A member that failed once and is back is listed one round later.

What came to a certificate after all was not void, and where a proof comes that somebody lied, the
silence may be the lie's: either takes back what was noted of the round.

It is not kept: after a start, or in another epoch, all are trusted anew.
"""

from collections.abc import Mapping
from typing import TypeVar

from p2pfl_gossip.ledger.seat import Seat

FACTOR = 4
"""By which each further time lasts longer."""

LEVEL_MAX = 4
"""From then on 64 rounds: a member that is mended meanwhile is listed again after that."""

FORGIVEN_AFTER = 64
"""Certified rounds that a member is in, before one time is forgiven. Were it few, a liar would be
silent, be good, and be silent again."""

TAKEN_BACK_MAX = 8
"""Rounds of which it is remembered who was silent: proofs come by the adverts of the next ones."""

Item = TypeVar("Item")


class SilenceBackoff:
    """Silence in void rounds, by member, as we saw it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._levels: dict[int, int] = {}
        self._until: dict[int, int] = {}  # The last round of which it is not in our list.
        self._given: dict[int, int] = {}  # Certified rounds since, at this level.
        # By round who was silent, and by how much that raised its level.
        self._of: dict[int, dict[int, int]] = {}

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        self._levels.clear()
        self._until.clear()
        self._given.clear()
        self._of.clear()

    def on_absent(self, round_: int, member: int, *, present: int = 0) -> None:
        """Note that a round was void, and that a member's word of it had not come.

        Args:
            round_: the round.
            member: its rank.
            present: the round that we are in, if it is a later one: the while begins now.
        """
        if member == self._seat.rank:
            return
        before = self._levels.get(member, 0)
        level = min(before + 1, LEVEL_MAX)
        self._of.setdefault(round_, {})[member] = level - before
        while len(self._of) > TAKEN_BACK_MAX:
            del self._of[min(self._of)]
        self._levels[member], self._given[member] = level, 0
        self._until[member] = max(round_, present) + FACTOR ** (level - 1)

    def take_back(self, round_: int) -> None:
        """Forget who was silent in a round: it is certified, or somebody's lie made it void."""
        for member, raised_by in self._of.pop(round_, {}).items():
            # It may have been forgiven meanwhile.
            self._levels[member] = max(self._levels[member] - raised_by, 0)
            if not any(later > round_ and member in self._of[later] for later in self._of):
                self._until[member] = 0

    def on_given(self, member: int) -> None:
        """Note that a member's update is in a certified sum."""
        level = self._levels.get(member, 0)
        if not level:
            return
        self._given[member] += 1
        if self._given[member] == FORGIVEN_AFTER:
            self._levels[member], self._given[member] = level - 1, 0

    def leaves_out(self, member: int, round_: int) -> bool:
        """Whether a member is not waited for in a round, nor listed if others are enough."""
        return self._until.get(member, 0) >= round_

    def choose(self, round_: int, ready: Mapping[int, Item], least: int) -> dict[int, Item]:
        """Return whom to list of those that are ready, in their order.

        At most m are left out, those that were silent most often: were there more, not all of them
        would lie. And none as long as too few are left: with too few there is no round at all.
        """
        silent = sorted(
            (member for member in ready if self.leaves_out(member, round_)),
            key=lambda member: (-self._levels[member], -self._until[member], member),
        )
        count = min(self._seat.epoch.liars_max, max(len(ready) - least, 0))
        return {member: item for member, item in ready.items() if member not in silent[:count]}
