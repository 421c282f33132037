"""The founding charter of a group, worked out from its roster by each member for itself.

All that members agree on is in the roster, but for what their task gives: the first state and the
code. So members that have the same roster, task and start come to the same charter, and to the same
name of the group in its ledger: the charter's digest. Links are named by the roster alone
(`roster_file.group_id`), so that members whose tasks differ meet, and learn in what they differ.
"""

from collections.abc import Sequence

from p2pfl.group.founding import found
from p2pfl.group.roster_file import RosterError, RosterFile, canonical_form
from p2pfl.group.settings import GroupSettings
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import public_key_of
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.description import Description
from p2pfl_gossip.ledger.charter import CharterMember, Epoch, RefusedCharter


def founding_epoch(
    roster: RosterFile,
    description: Description,
    initial: Vector,
    sample_counts: Sequence[int] | None = None,
) -> Epoch:
    """Return the first epoch of a roster's group.

    Args:
        roster: complete, of a group that keeps a ledger.
        description: of what members average.
        initial: float32[d], the first state's model.
        sample_counts: each member's rows, where the roster splits a data set among the members;
            else None, and cards say how many rows each has.

    Raises:
        RosterError: such a group cannot be; the message says what to change.
    """
    settings = roster.averaging
    if not isinstance(settings, GroupSettings) or roster.nonce is None:
        raise RosterError("only the roster of a group has a charter")
    weights: Sequence[float] = [1.0] * len(roster.members)
    if settings.weights == "samples":
        counts = sample_counts or [member.rows or 0 for member in roster.members]
        weights = [float(count) for count in counts]
    terms = hash_parts(
        b"p2pfl/agreed", canonical_form(roster), description.layout, description.code
    )
    try:
        return found(
            settings,
            members=[
                CharterMember(public_key_of(member.peer_id), member.name, member.name, weight)
                for member, weight in zip(roster.members, weights, strict=True)
            ],
            nonce=hash_parts(b"p2pfl/founders", bytes.fromhex(roster.nonce)),
            rounds=roster.rounds,
            initial=initial,
            terms=terms,
        )
    except RefusedCharter as error:
        raise RosterError(str(error)) from None
