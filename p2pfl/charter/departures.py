"""What a member says alone of the charter in force, in words for people."""

from p2pfl_gossip.ledger.approvals import Says

DEPARTURES = {
    Says.LEAVE: "leaves the group",
    Says.WITHDRAW: (
        "leaves the group and asks that later models are not built on rounds with its rows"
    ),
    Says.REVOKE: "takes its peer's key back",
}


def departure_line(name: str, says: Says) -> str:
    """Tell what a member has said."""
    return f"{name} {DEPARTURES[says]}, by its own keys"
