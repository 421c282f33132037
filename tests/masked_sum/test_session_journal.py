"""What one member writes of its sessions, and what that forbids: nothing is said or sent twice."""

from typing import Any

import pytest

from p2pfl_gossip.masked_sum.journal import Refused, SessionJournal, Step, read_record
from p2pfl_gossip.records import MalformedFrame

GROUP = b"a group"
SAID = b"s" * 32


class Disk:
    """Holds what a journal asked to persist, as a member finds it when it comes back."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    def journal(self, group: bytes = GROUP) -> SessionJournal:
        return SessionJournal(group, dict(self.records))

    def session(self, round_: int, attempt: int, *steps: Step) -> None:
        """Have one member begin a session and come to some of its steps."""
        journal = self.journal()
        self.records |= journal.begin(round_, attempt).records
        for step in steps:
            self.records |= journal.advance(step, SAID).records


@pytest.mark.parametrize(
    ("before", "round_", "attempt", "reason"),
    [
        ([], 0, 0, None),
        ([(3, 1)], 3, 0, "replayed"),
        ([(3, 1)], 3, 1, "replayed"),
        ([(3, 1)], 3, 2, None),
        ([(3, 1)], 2, 9, "replayed"),
        ([(3, 1)], 4, 0, None),
        ([(0, 0)], 0, 1, None),
        ([(0, 0, Step.ACKED, Step.SPENT)], 0, 1, "spent"),
        ([(3, 1, Step.ACKED, Step.SPENT)], 3, 2, "spent"),
        ([(3, 1, Step.ACKED, Step.SPENT, Step.VOTED, Step.SIGNED)], 3, 2, "spent"),
        ([(3, 1, Step.ACKED, Step.SPENT)], 4, 0, None),
        # A member with nothing to put in votes all the same.
        ([(3, 1, Step.ACKED, Step.VOTED)], 3, 2, None),
        # What was spent stays so.
        ([(3, 1, Step.SPENT), (4, 0)], 4, 1, None),
        ([(3, 1, Step.SPENT), (4, 0, Step.ACKED)], 3, 9, "replayed"),
    ],
)
def test_which_sessions_may_begin(
    before: list[Any], round_: int, attempt: int, reason: str | None
) -> None:
    disk = Disk()
    for session in before:
        disk.session(*session)
    if reason is None:
        disk.journal().begin(round_, attempt)
    else:
        with pytest.raises(Refused) as refused:
            disk.journal().begin(round_, attempt)
        assert refused.value.reason == str(refused.value) == reason


def test_a_refusal_holds_for_the_member_that_is_still_running_too() -> None:
    journal = Disk().journal()
    journal.begin(3, 0)
    journal.advance(Step.SPENT, SAID)
    with pytest.raises(Refused, match="spent"):
        journal.begin(3, 1)


def test_what_is_written() -> None:
    journal = Disk().journal()
    fields = []
    for persist in (
        journal.begin(3, 1),
        journal.advance(Step.ACKED, b"a" * 32),
        journal.advance(Step.SPENT, b"b" * 32),
        journal.advance(Step.VOTED, b"c" * 32),
        journal.advance(Step.SIGNED, b"d" * 32),
        journal.begin(4, 0),
    ):
        ((key, stored),) = persist.records.items()
        assert key == f"masked_sum/{GROUP.hex()}"
        assert isinstance(stored, bytes)
        it = read_record(stored)
        fields.append((it.round, it.attempt, it.step, it.spent_rounds, it.said[:1]))
    assert fields == [
        (3, 1, 0, 0, b"\0"),
        (3, 1, 1, 0, b"a"),
        (3, 1, 2, 4, b"b"),
        (3, 1, 3, 4, b"c"),
        (3, 1, 4, 4, b"d"),
        (4, 0, 0, 4, b"\0"),
    ]


@pytest.mark.parametrize("step", [Step.BEGUN, Step.ACKED])
def test_no_step_is_noted_twice_or_out_of_order(step: Step) -> None:
    journal = Disk().journal()
    journal.begin(3, 0)
    journal.advance(Step.ACKED, SAID)
    with pytest.raises(AssertionError):
        journal.advance(step, SAID)


def test_each_group_has_a_record_of_its_own() -> None:
    disk = Disk()
    disk.session(3, 0, Step.SPENT)
    disk.journal(b"another group").begin(0, 0)


@pytest.mark.parametrize("stored", [b"", b"x", [1.0]])
def test_a_record_that_is_none_is_refused(stored: Any) -> None:
    disk = Disk()
    disk.session(3, 0)
    (key,) = disk.records
    with pytest.raises(MalformedFrame):
        SessionJournal(GROUP, {key: stored})
