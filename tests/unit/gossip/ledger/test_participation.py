"""The table of participation, from the history alone, and why a member was out of a sum."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import LedgerGroup, two_epochs

from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.participation import (
    HEIGHTS_OVERDUE,
    Cause,
    entries_of,
    overdue,
    participation,
    warning_of,
    why_out,
)

GROUP = LedgerGroup(5)


def history_of(*rounds: tuple[int, ...]) -> History:
    """A history with one sum a round, of these members."""
    history = History(GROUP.epoch)
    for round_, members in enumerate(rounds, start=1):
        GROUP.extend(history, GROUP.sum_entry(history.head, round_, members=members))
    return history


def test_before_the_first_model_nobody_is_overdue() -> None:
    """And there is no share to tell."""
    shares = participation(History(GROUP.epoch))
    assert [(share.name, share.heights, share.share) for share in shares] == [
        (f"m{number}", 0, None) for number in range(1, 6)
    ]
    assert overdue(shares) == []


def test_each_member_has_its_share_its_last_height_and_why() -> None:
    """In the order of members, with their names and weights."""
    shares = participation(
        history_of((0, 1, 2, 3), (0, 1, 2, 3, 4), (0, 1, 2, 4), (0, 1, 2, 4)),
        {GROUP.epoch.members[3]: Cause.LATE, GROUP.epoch.members[4]: Cause.SILENT},
    )
    rows = [
        (s.name, s.weight, s.heights_in, s.heights, s.share, s.last_height, s.out_for, s.cause)
        for s in shares
    ]
    assert rows == [
        ("m1", 2.0, 4, 4, 1.0, 4, 0, None),
        ("m2", 3.0, 4, 4, 1.0, 4, 0, None),
        ("m3", 4.0, 4, 4, 1.0, 4, 0, None),
        ("m4", 5.0, 2, 4, 0.5, 2, 2, Cause.LATE),
        ("m5", 6.0, 3, 4, 0.75, 4, 0, None),
    ]
    assert [share.peer for share in shares] == list(GROUP.epoch.members)


@given(st.lists(st.sets(st.integers(0, 4), min_size=4), max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_table_is_what_the_entries_say(rounds: list[set[int]]) -> None:
    """Member by member."""
    shares = participation(history_of(*(tuple(sorted(members)) for members in rounds)))
    for rank, share in enumerate(shares):
        inside = [height for height, members in enumerate(rounds, start=1) if rank in members]
        assert share.heights_in == len(inside)
        assert share.heights == len(rounds)
        assert share.last_height == max(inside, default=0)
        assert share.out_for == len(rounds) - share.last_height


def test_entries_without_a_sum_count_for_nobody() -> None:
    """They are no models."""
    history = history_of((0, 1, 2, 3))
    GROUP.extend(history, GROUP.empty_entry(history.head, 3))
    shares = participation(history)
    assert [share.heights for share in shares] == [1] * 5
    assert [share.out_for for share in shares] == [0, 0, 0, 0, 1]


def test_over_epochs_a_member_keeps_its_count_and_a_newcomer_begins() -> None:
    """Whatever their ranks are; who left is in the table no more."""
    _, _, history = two_epochs()
    assert [entry.height for entry in entries_of(history)] == [1, 2, 2, 3, 4]
    shares = participation(history)
    assert [(share.name, share.heights_in, share.heights) for share in shares] == [
        ("m1", 4, 4),
        ("m2", 4, 4),
        ("m3", 4, 4),
        ("m4", 4, 4),
        ("m6", 2, 2),
    ]


def test_above_a_gap_the_table_says_what_is_known() -> None:
    """A member that came later has the entries from its head on."""
    whole = history_of((0, 1, 2, 3), (0, 1, 2, 4), (0, 1, 2, 3))
    history = History(GROUP.epoch)
    history.head = whole.head
    certificate = whole.certificate(whole.head.head)
    assert certificate is not None
    history.add(whole.head, certificate)
    assert [share.heights for share in participation(history)] == [1] * 5


def test_who_is_proven_to_lie_is_shown_as_out() -> None:
    """Whatever we saw of it."""
    history = history_of((0, 1, 2, 3, 4))
    entry = GROUP.sum_entry(history.head, 2, members=(0, 1, 2, 3), out=b"\x10")
    GROUP.extend(history, entry)
    shares = participation(history, {GROUP.epoch.members[4]: Cause.LATE})
    assert shares[4].cause == Cause.OUT


def test_whose_rows_are_in_no_model_for_long_is_told_by_name() -> None:
    """After five models, or as many as are asked for; also if it never was in one."""
    history = history_of((0, 1, 2, 3, 4), *[(0, 1, 2, 4)] * 4)
    causes = {GROUP.epoch.members[3]: Cause.UNREACHABLE}
    shares = participation(history, causes)
    assert overdue(shares) == []
    assert [share.name for share in overdue(shares, 4)] == ["m4"]
    GROUP.extend(history, GROUP.sum_entry(history.head, 6, members=(0, 1, 2, 4)))
    (told,) = overdue(participation(history, causes))
    assert told.out_for == HEIGHTS_OVERDUE
    assert warning_of(told) == "m4: its rows are not in the last 5 models (last time: unreachable)"
    (told,) = overdue(participation(history_of((0, 1, 2, 3))), 1)
    assert warning_of(told) == "m5: its rows are not in the last model"


LISTED = {rank: GROUP.advert(rank, 4) for rank in (0, 1, 2, 3)}
OTHER_HEAD = Head(0, 2, bytes(32))

CASES: list[tuple[str, dict[str, Any], Cause | None]] = [
    ("its update is in", {"members": (0, 1, 2, 3, 4)}, None),
    ("it lied", {"out": (4,), "gone": True}, Cause.OUT),
    ("listed, and did not deliver", {"listed": {4: GROUP.advert(4, 4), **LISTED}}, Cause.DROPPED),
    ("no link", {"gone": True, "works": True}, Cause.UNREACHABLE),
    ("it works", {"works": True}, Cause.LATE),
    ("nothing was heard", {}, Cause.SILENT),
    ("ready, and not listed", {"adverts": {4: GROUP.advert(4, 4)}}, Cause.LEFT_OUT),
    ("another head", {"adverts": {4: GROUP.advert(4, 4, OTHER_HEAD)}}, Cause.BEHIND),
    ("a later version's reason", {"adverts": {4: GROUP.advert(4, 4, rest=77)}}, Cause.RESTS),
    *(
        (f"rests: {rest.name}", {"adverts": {4: GROUP.advert(4, 4, rest=rest)}}, Cause(word))
        for rest in Rest
        if (word := rest.name.lower()) != "none"
    ),
]


@pytest.mark.parametrize(
    ("seen", "cause"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_why_a_member_is_not_in_a_sum(seen: dict[str, Any], cause: Cause | None) -> None:
    """By what another one saw of the round."""
    known: dict[str, Any] = {
        "members": (0, 1, 2, 3),
        "out": (),
        "listed": LISTED,
        "adverts": LISTED,
        "works": False,
        "gone": False,
    }
    assert why_out(4, **known | seen) == cause
