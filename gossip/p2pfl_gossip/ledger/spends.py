"""Spends: how many updates a member gave, and whether it may give another.

A lost round's sum tells about what one more round tells. So one model leads to a few updates only,
and a private charter to as many as it pays for; our journal counts both. Where that is over, we
rest (`Rest.SPENT`), and say so.
"""

from collections.abc import Callable

from p2pfl_gossip.ledger.adverts import Adverts
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import EntryStep, origin
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.privacy import ABORTS_MAX
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.standing import Standing


class Spends:
    """What one member gave, from one model and under one charter.

    Args:
        seat: our place.
        standing: counts what we gave.
        history: what is certified.
        adverts: of all members, which say what they have spent.
        awaits_sum: whether a sum may still come of what we gave last.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        adverts: Adverts,
        *,
        awaits_sum: Callable[[], bool],
    ) -> None:
        self._seat, self._standing = seat, standing
        self._history, self._adverts = history, adverts
        self._awaits_sum = awaits_sum
        self._denied = NONE  # The charter under which our host lets no more be given.
        self._forgiven = (NONE, 0)  # The model whose lost updates our operator has seen: how many.

    # --- what we gave -----------------------------------------------------------------------

    def spend(self, base: EntryStep, round_: int) -> None:
        """Count an update that has left us, from a base: it is in no other session, ever."""
        epoch = self._seat.epoch
        charter = None if epoch.charter.privacy is None else epoch.digest
        self._seat.actions.append(self._standing.spend(origin(epoch, base.entry), round_, charter))

    @property
    def count(self) -> int:
        """Updates that we gave; all that we may, where our host grants no more than we know of."""
        epoch = self._seat.epoch
        privacy, charges = epoch.charter.privacy, self._standing.charges(epoch.digest)
        return charges if privacy is None or not self.has_spent_all else privacy.spends

    def deny(self) -> None:
        """Note that our host lets no more be given under the present charter."""
        self._denied = self._seat.epoch.digest

    def forgive(self) -> None:
        """Note that our operator has seen what was lost of the present model, and goes on."""
        self._forgiven = self._origin, self._standing.spends_from(self._origin)

    @property
    def _origin(self) -> bytes:
        return origin(self._seat.epoch, self._history.head.entry)

    # --- whether we may give another --------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether no update of ours may be given, from this model or at all, or be of use."""
        charter = self._seat.epoch.charter
        if charter.privacy is None:
            return self._standing.spends_from(self._origin) > charter.retries
        return self.awaits_operator or self.has_spent_all or self.is_spent_out

    @property
    def awaits_operator(self) -> bool:
        """Whether so many private updates from one model came to nothing that we give no more."""
        count = self._standing.spends_from(self._origin)
        if self._forgiven[0] == self._origin:
            count -= self._forgiven[1]
        return self._seat.epoch.charter.privacy is not None and count >= ABORTS_MAX

    @property
    def has_spent_all(self) -> bool:
        """Whether no private update is to be given any more under the present charter."""
        epoch = self._seat.epoch
        privacy = epoch.charter.privacy
        if privacy is None:
            return False
        return (
            self._denied == epoch.digest or self._standing.charges(epoch.digest) >= privacy.spends
        )

    @property
    def gives_no_more(self) -> bool:
        """Whether we have spent all, and nothing can come any more of what we gave last."""
        return self.has_spent_all and not self._awaits_sum()

    @property
    def is_spent_out(self) -> bool:
        """Whether so many have spent all that no sum can be made any more under the charter."""
        epoch = self._seat.epoch
        privacy = epoch.charter.privacy
        if privacy is None or self._awaits_sum():
            return False
        latest = [self._adverts.latest(member) for member in self._seat.others]
        spent = [it for it in latest if it is not None and it.spends >= privacy.spends]
        return self.has_spent_all + len(spent) > epoch.size - epoch.least
