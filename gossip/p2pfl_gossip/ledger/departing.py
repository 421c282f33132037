"""What members said alone of a charter: that they leave, or take a peer's key back."""

from collections.abc import Iterable

from p2pfl_gossip.ledger.approvals import DEPARTING, Approval, Says
from p2pfl_gossip.ledger.charter import Charter


def departed(charter: Charter, approvals: Iterable[Approval]) -> dict[str, Says]:
    """Return what members said alone of a charter, by name: as many of their keys as it takes.

    Args:
        charter: that they are members of.
        approvals: what keys said, each checked.
    """
    digest, found = charter.digest(), dict[str, Says]()
    said = {(it.says, it.key) for it in approvals if it.charter == digest}
    for member in charter.members:
        keys, threshold = member.governance.keys, member.governance.threshold
        for says in DEPARTING:
            if keys and sum((says, key) in said for key in keys) >= threshold:
                found[member.name] = says
    return found
