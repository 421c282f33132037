"""Members and rosters to try things with."""

from typing import Any

from p2pfl.group.cards import Member
from p2pfl_crypto.draw_seed import commit_draw
from p2pfl_crypto.identity import Identity

NONCE = "5e" * 16
NAMES = ("berlin", "lyon", "oslo", "porto", "turin", "york")


def identity(number: int) -> Identity:
    return Identity(bytes([number + 1]) * 32)


def draw_secret(number: int) -> bytes:
    return bytes([number + 101]) * 32


def member_document(number: int) -> dict[str, Any]:
    return {
        "name": NAMES[number],
        "peer_id": str(identity(number).peer_id),
        "addresses": [f"/ip4/192.0.2.{number + 1}/tcp/4001"],
        "commitment": commit_draw(draw_secret(number)).hex(),
    }


def member(number: int) -> Member:
    return Member.model_validate(member_document(number))


def roster_document(count: int = 6, **more: Any) -> dict[str, Any]:
    return {
        "name": "hospitals",
        "nonce": NONCE,
        "averaging": {"algorithm": "cohorts", "masking": "none", "cohort_size": 2},
        "members": [member_document(number) for number in range(count)],
        **more,
    }
