"""The status names who gives no update now, why, and what there is to do."""

from typing import Any

import pytest

from p2pfl.cli.peer_running import _part
from p2pfl.cli.resting import QUIET, RESTS, resting_lines
from p2pfl_gossip.ledger.messages import Rest


def status(*rests: str | None, why: str = "") -> dict[str, Any]:
    """The status of m0, whose members rest so."""
    members = [{"name": f"m{rank}", "rests": rest} for rank, rest in enumerate(rests)]
    return {"name": "m0", "ledger": {"members": members}, "charter": {"why": why}}


def test_each_member_that_rests_is_named_with_the_remedy() -> None:
    told = list(resting_lines(status(None, "task", "finished", "charter", "rests", "paused")))
    why, remedy = RESTS["task"]
    assert told == [
        f"m1 rests: {why}; there: {remedy}",
        "m4 rests, for a reason that this version does not know",
        "m5 rests: its operator paused it; there: p2pfl peer resume",
    ]


def test_of_ourselves_the_charters_own_line_is_enough() -> None:
    assert list(resting_lines(status("lapsed", why="the charter is over since 2026-01-01"))) == []
    (told,) = resting_lines(status("start"))
    assert told.startswith("m0 rests: its journal is older")


def test_where_members_gossip_nobody_rests() -> None:
    assert list(resting_lines({"name": "m0", "ledger": None, "charter": None})) == []


def test_there_is_a_line_for_each_way_to_rest() -> None:
    known = {rest.name.lower() for rest in Rest if rest is not Rest.NONE}
    assert known == {*RESTS, *QUIET}


@pytest.mark.parametrize(
    ("last_height", "out_for", "told"),
    [
        (3, 0, "in 9 of 9"),  # The group has gone back: heights have begun again.
        (12, 2, "in 9 of 9, last in 12: late"),  # It joined at height 5, say.
        (0, 9, "in 9 of 9, never in: late"),
    ],
)
def test_who_is_out_is_told_by_models_since(last_height: int, out_for: int, told: str) -> None:
    share = {"heights_in": 9, "heights": 9, "last_height": last_height, "out_for": out_for}
    assert str(_part(share | {"why_out": "late", "is_overdue": False})) == told
