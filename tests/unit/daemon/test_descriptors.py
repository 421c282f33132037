"""Descriptors: the limit is raised, shared out, and told of where it is too low."""

import resource
import subprocess
import sys

from p2pfl.daemon.descriptors import (
    HANDSHAKES_MIN,
    OPEN_MAX,
    OWN,
    PER_MEMBER,
    limits_for,
    too_few,
)
from p2pfl.libp2p import DEFAULT_LIMITS

RAISE = """
import resource
from p2pfl.daemon.descriptors import raise_limit
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def raised(soft: int, hard: int) -> list[int]:
    """What `raise_limit` returns and leaves, in a process with these limits."""
    told = subprocess.run(
        [sys.executable, "-c", RAISE],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [int(word) for word in told.split()]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert raised(64, 500) == [500, 500, 500]
    assert raised(500, 500) == [500, 500, 500]


def test_strangers_get_what_the_peer_and_its_members_leave() -> None:
    others = 10
    room = 60
    limits = limits_for(OWN + PER_MEMBER * others + room, others)
    assert (limits.handshakes_max, limits.handshakes_per_address_max) == (60, 45)
    assert limits_for(OPEN_MAX, others) == DEFAULT_LIMITS
    assert limits_for(1, others).handshakes_max == HANDSHAKES_MIN


def test_a_limit_that_is_too_low_is_told_in_one_line() -> None:
    enough = OWN + PER_MEMBER * 10 + DEFAULT_LIMITS.handshakes_max
    assert too_few(enough, 10) is None
    told = too_few(enough - 1, 10)
    assert told is not None
    assert told.startswith(f"this process may have {enough - 1} files and sockets open, and")
    assert "\n" not in told
