"""How many members must be in a sum: each brings a share of the noise.

A charter states `least`, the fewest members of a sum; nobody votes for one of fewer, so its noise
is known before the round. The more that are required, the less noise each brings, and the more
rounds are refused because somebody is away.
"""

import math

from p2pfl.privacy.errors import PrivacyError

REFUSED_SHARE_MAX = 0.05
"""The planner takes the largest number that refuses at most so many rounds."""

MEMBERS_MIN, MEMBERS_MAX = 5, 128


def quorum(members: int) -> int:
    """Return t = floor(2n / 3) + 1: a sum of fewer is never opened."""
    return 2 * members // 3 + 1


def liars_max(members: int) -> int:
    """Return m = ceil(n / 3) - 1: the members that may lie in all that is claimed."""
    return -(-members // 3) - 1


def refused_share(members: int, least: int, drops: float) -> float:
    """Return the share of rounds in which fewer than `least` members are there.

    Args:
        members: n.
        least: members that must be in the sum.
        drops: each member's chance of being away, by itself.
    """
    return math.fsum(
        math.comb(members, there) * (1 - drops) ** there * drops ** (members - there)
        for there in range(least)
    )


def least_present(members: int, drops: float) -> int:
    """Return the largest requirement that refuses at most `REFUSED_SHARE_MAX` of rounds.

    Raises:
        PrivacyError: the number of members or the chance is out of range.
    """
    if not MEMBERS_MIN <= members <= MEMBERS_MAX:
        raise PrivacyError(f"a group has {MEMBERS_MIN} to {MEMBERS_MAX} members, not {members}")
    if not 0 <= drops < 1:
        raise PrivacyError(f"a member's chance to be away is 0 or more and below 1, not {drops}")
    least = quorum(members)
    while least < members and refused_share(members, least + 1, drops) <= REFUSED_SHARE_MAX:
        least += 1
    return least
