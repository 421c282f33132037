"""A check's findings: what is wrong is one line with its remedy, and what is well is no problem."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from scripted import IDS

from p2pfl.daemon.check_report import Check, report
from p2pfl.daemon.view_messages import Seen, View
from p2pfl.daemon.views import HeardView
from p2pfl.group.cards import Member

GROUP = bytes(32)
NAMES = ("us", "oslo", "turin")
MEMBERS = tuple(
    Member(name=name, peer_id=IDS[it], addresses=(f"/ip4/127.0.0.1/tcp/400{it}",))
    for it, name in enumerate(NAMES)
)


def seen(index: int, link: str = "up", dial: str = "ok") -> Seen:
    return Seen(IDS[index], link, dial, 1500 if dial == "ok" else None)


def view(*those: Seen) -> View:
    return View("1.0", "/p2pfl/1", GROUP, 0, True, False, those)


def heard(index: int, *, clock_ahead_s: float = 0.0, **changes: Any) -> HeardView:
    others = [seen(it) for it in range(3) if it != index]
    return HeardView(
        msgspec.structs.replace(view(*others), **changes), 0.0015, clock_ahead_s, at_s=0.0
    )


WELL = Check(MEMBERS, 0, view(seen(1), seen(2)), {IDS[index]: heard(index) for index in (1, 2)})


def with_oslo(own: Seen | None = None, said: HeardView | None = None, **changes: Any) -> Check:
    """All is well but for oslo: what we see of it, and what it has said."""
    others: Mapping[Any, HeardView] = {IDS[2]: heard(2)} | ({} if said is None else {IDS[1]: said})
    return replace(WELL, own=view(own or seen(1), seen(2)), heard=others, **changes)


def test_a_group_in_which_all_is_well() -> None:
    found = report(WELL)
    assert (found["ok"], found["problems"], found["notes"]) == (True, [], [])
    oslo, _turin = found["members"]
    assert oslo["name"] == "oslo"
    assert (oslo["dial"], oslo["dials_us"], oslo["link"]) == ("ok", "ok", "up")
    assert (oslo["round_trip_ms"], oslo["clock_ahead_ms"]) == (1.5, 0.0)
    assert len(found["pairs"]) == 6


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (
            with_oslo(seen(1, "unreachable", "unreachable")),
            "oslo cannot be reached at /ip4/127.0.0.1/tcp/4001 (nobody answers at its addresses)",
        ),
        (with_oslo(seen(1, "wrong_peer_id", "wrong_peer_id")), "somebody else answers at"),
        (with_oslo(seen(1, "closed_by_peer")), "oslo answers at its address and turns us away"),
        (with_oslo(seen(1, "other_group_or_version")), "oslo is another group's"),
        (with_oslo(silent={IDS[1]: "older_version"}), "oslo runs a version of p2pfl that knows no"),
        (with_oslo(silent={IDS[1]: "no_answer"}), "oslo is connected, and has not answered"),
        (with_oslo(said=heard(1, group=bytes([1] * 32))), "oslo has group 0101010101010101, and"),
        (with_oslo(said=heard(1, software="0.9")), "oslo runs p2pfl 0.9 (/p2pfl/1), and we 1.0"),
        (with_oslo(said=heard(1, protocol="/p2pfl/2")), "oslo runs p2pfl 1.0 (/p2pfl/2), and we"),
        (with_oslo(said=heard(1, is_second=True)), "oslo is linked to another process that runs"),
        (with_oslo(said=heard(1), twice=frozenset({IDS[1]})), "oslo runs twice"),
        (
            with_oslo(said=heard(1, seen=(seen(0), seen(2, "dial_timeout"))), own=seen(1)),
            None,
        ),
    ],
)
def test_each_problem_is_one_line(check: Check, told: str | None) -> None:
    found = report(check)
    if told is None:  # Turin says that the link is there.
        assert found["ok"]
        return
    assert not found["ok"]
    (problem,) = found["problems"]
    assert problem.startswith(told)
    assert "\n" not in problem
    assert ":" in problem or ";" in problem, "no remedy"


def test_a_pair_of_others_without_a_link_is_a_problem_by_their_word() -> None:
    apart = {
        IDS[1]: heard(1, seen=(seen(0), seen(2, "unreachable", "unreachable"))),
        IDS[2]: heard(2, seen=(seen(0), seen(1, "dial_timeout", "dial_timeout"))),
    }
    (problem,) = report(replace(WELL, heard=apart))["problems"]
    assert problem.startswith(("oslo and turin have no link", "turin and oslo have no link"))
    assert "oslo says: nobody answers" in problem
    assert "turin says: no answer" in problem


def test_one_direction_is_enough_and_noted() -> None:
    one_way = with_oslo(seen(1, "up", "unreachable"), heard(1))
    found = report(one_way)
    assert found["ok"]
    assert found["notes"][0].startswith("oslo cannot be dialled at")
    nobody = {
        IDS[it]: heard(it, seen=(seen(0, "up", "dial_timeout"), seen(3 - it))) for it in (1, 2)
    }
    found = report(replace(WELL, heard=nobody))
    assert found["ok"]
    assert found["notes"][0].startswith("nobody who answers can dial this peer at")


def test_a_clock_that_is_far_off_is_noted() -> None:
    (note,) = report(with_oslo(said=heard(1, clock_ahead_s=-125.0)))["notes"]
    assert note.startswith("the clock of oslo is 125 s behind ours")
