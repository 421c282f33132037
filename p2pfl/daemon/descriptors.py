"""How many files and sockets this process may have open, and how they are shared out.

A daemon needs a few for itself and some for each member. What is left is for handshakes of those
who knock, members or strangers: never more, so that no crowd of strangers keeps the journal from
opening a file.
"""

import resource
from dataclasses import replace

from p2pfl.libp2p import DEFAULT_LIMITS, Limits

OPEN_MAX = 65_536
"""More is never asked for: a process that leaks should be noticed."""

OWN = 32
"""Journal, log, event loops, listening and control sockets, standard streams: about 20 are open all
the time; the rest is for a checkpoint that is written, a status that is asked for, a name that is
looked up."""

PER_MEMBER = 2
"""A link, and a dial or a second connection beside it."""

HANDSHAKES_MIN = 8
"""Even where there is no room: without any, nobody could come in."""


def raise_limit() -> int:
    """Raise the limit of open files as far as this process may; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return OPEN_MAX if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit of its own beside the hard one.
        return soft
    return wanted


def limits_for(open_max: int, members: int) -> Limits:
    """Return the limits of a host that leaves room for the peer itself and its members.

    Args:
        open_max: files and sockets that this process may have open.
        members: others in the group.
    """
    room = open_max - OWN - PER_MEMBER * members
    handshakes = max(HANDSHAKES_MIN, min(room, DEFAULT_LIMITS.handshakes_max))
    # One address gets three quarters of them, as by default, so that others can come in.
    per_address = min(DEFAULT_LIMITS.handshakes_per_address_max, handshakes * 3 // 4)
    return replace(
        DEFAULT_LIMITS, handshakes_max=handshakes, handshakes_per_address_max=per_address
    )


def too_few(open_max: int, members: int) -> str | None:
    """Say in one line that the limit is too low for the group and those who knock; None if not."""
    needed = OWN + PER_MEMBER * members + DEFAULT_LIMITS.handshakes_max
    if open_max >= needed:
        return None
    return (
        f"this process may have {open_max} files and sockets open, and {needed} are wanted for"
        f" {members} other members and those who knock: raise the hard limit (ulimit -Hn, or"
        " LimitNOFILE of the service)"
    )
