"""Whether a member's own governance keys have signed what holds: no other word has it give."""

from collections.abc import Callable, Sequence

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.ledger.approvals import Approval
from p2pfl_gossip.ledger.approving import has_signed, kind_of_change
from p2pfl_gossip.ledger.charter import Epoch

SaidOf = Callable[[int], Sequence[Approval]]
"""What was said of the charter of an epoch, by its number."""


def consents(epochs: Sequence[Epoch], peer: PeerId, said_of: SaidOf) -> bool:
    """Whether a member's own governance keys have signed what holds.

    That is the last charter that changed what only such keys can, or one since. The founding is
    not asked for: nobody begins before all keys have signed it.

    Args:
        epochs: all that have begun.
        peer: the member's.
        said_of: what was said of the charter of an epoch, by its number.
    """
    for number in range(len(epochs) - 1, 0, -1):
        epoch = epochs[number]
        rank = epoch.rank_of(peer)
        if rank is None:
            return False
        governance = epoch.charter.members[rank].governance
        if not governance.keys or has_signed(governance, epoch.digest, said_of(number)):
            return True
        if kind_of_change(epochs[number - 1].charter, epoch.charter) == "founding":
            return False
    return True
