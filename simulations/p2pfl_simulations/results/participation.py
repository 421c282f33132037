"""Who took part in a group's models: rows of a run, from the history that its members agree on."""

from collections.abc import Mapping, Sequence

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import Cause, participation
from p2pfl_simulations.results.run import ParticipationRow

OVERDUE_HEIGHTS = 5
"""Models in a row without a member's rows, from which it is named."""


def participation_rows(
    history: History, causes: Mapping[PeerId, Cause], index_of: Mapping[PeerId, int]
) -> list[ParticipationRow]:
    """Count in how many models each member of the present epoch is.

    Args:
        history: of the member that is furthest.
        causes: why members were out last, as far as that is known.
        index_of: the members' indices.
    """
    return [
        ParticipationRow(
            peer=index_of[share.peer],
            name=share.name,
            weight=share.weight,
            heights_in=share.heights_in,
            heights=share.heights,
            last_height=share.last_height,
            cause=str(share.cause or ""),
            out_for=share.out_for,
        )
        for share in participation(history, causes)
    ]


def overdue_sentence(rows: Sequence[ParticipationRow]) -> str:
    """Name the members whose rows have been in no model for long; empty where there are none."""
    late = [row for row in rows if row.out_for >= OVERDUE_HEIGHTS]
    if not late:
        return ""
    named = ", ".join(row.name for row in late[:8]) + (" ..." if len(late) > 8 else "")
    return f"In none of the last {OVERDUE_HEIGHTS} models: {named}."
