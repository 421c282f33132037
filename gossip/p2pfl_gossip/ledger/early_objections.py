"""Objections to what nobody has approved here yet: it may become a proposal, and they count."""

from collections.abc import Iterable

from p2pfl_gossip.ledger.approvals import Approval, Says
from p2pfl_gossip.ledger.charter import Charter

EARLY_OF_ONE_MAX = 4
"""Objections of one key that are kept before what they object to is a proposal: to as many as two
members may have open."""


class EarlyObjections:
    """Those of members' governance keys, a few of each key: the last ones."""

    def __init__(self) -> None:
        self._of: dict[bytes, dict[bytes, Approval]] = {}  # By key, those to each charter.

    def to(self, charter: bytes) -> list[Approval]:
        """Return those to a charter, by its digest."""
        return [of[charter] for of in self._of.values() if charter in of]

    def hold(self, present: Charter, said: Iterable[Approval]) -> None:
        """Keep what members' keys say against a charter that is no proposal yet."""
        keys = {key for member in present.members for key in member.governance.keys}
        for approval in said:
            if approval.says == Says.OBJECT and approval.key in keys:
                of = self._of.setdefault(approval.key, {})
                of.pop(approval.charter, None)
                of[approval.charter] = approval
                if len(of) > EARLY_OF_ONE_MAX:
                    del of[next(iter(of))]

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        self._of.clear()
