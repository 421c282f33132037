"""A shortage that passes is waited out, and nothing else is."""

import errno
import sqlite3

import pytest

from p2pfl.shortages import PATIENCE_S, PAUSE_S, is_passing, wait_out


class Step:
    """Fails by the given errors, in turn, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.pauses: list[float] = []

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def wait_out(self) -> str:
        return wait_out(self, pause=self.pauses.append)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_passes_is_waited_out(number: int) -> None:
    step = Step(OSError(number, "short"), OSError(number, "short"))
    assert step.wait_out() == "done"
    assert step.pauses == [PAUSE_S] * 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EFBIG])
def test_a_full_or_broken_disk_is_told_at_once(number: int) -> None:
    step = Step(OSError(number, "full"))
    with pytest.raises(OSError, match="full"):
        step.wait_out()
    assert step.pauses == []


def test_a_shortage_that_stays_is_told_in_the_end() -> None:
    step = Step(*[OSError(errno.EMFILE, "short")] * 10_000)
    with pytest.raises(OSError, match="short"):
        step.wait_out()
    assert sum(step.pauses) == pytest.approx(PATIENCE_S, abs=2 * PAUSE_S)


def test_a_database_that_cannot_open_its_file_is_tried_again_and_a_damaged_one_is_not() -> None:
    with pytest.raises(sqlite3.OperationalError) as cannot_open:
        sqlite3.connect("file:/nowhere/at/all?mode=ro", uri=True)
    assert is_passing(cannot_open.value)
    assert not is_passing(sqlite3.DatabaseError("file is not a database"))
