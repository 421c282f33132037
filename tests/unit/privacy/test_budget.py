"""A dataset's ledger: its table of states, its table of faults, and that nothing is regained."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from p2pfl.privacy.accounting import account
from p2pfl.privacy.budget import ledger_file
from p2pfl.privacy.budget.book import Book, BudgetRefused, BudgetState
from p2pfl.privacy.budget.ledger import (
    BudgetLedger,
    DamagedLedger,
    RestoredLedger,
    create,
    forfeit,
    open_ledger,
)
from p2pfl.privacy.budget.ledger_file import ANCHOR_BYTES_MAX
from p2pfl.privacy.budget.records import (
    LINE_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    START,
    BudgetOpened,
    Closed,
    Forfeited,
    Presumed,
    Record,
    Reserved,
    Returned,
    Spent,
    encode,
    read_line,
)
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.releases import Releases
from p2pfl.privacy.renyi import best_order, budget_of, divergence

ONE, TWO, PROOF = "1" * 64, "2" * 64, "f" * 64
RATE, NOISE, DELTA = 2**28, 3.0, 1e-5
ORDER = best_order(4.0, DELTA)
A_ROUND = divergence(Releases(RATE, NOISE, 1), ORDER)
BUDGET = budget_of(ORDER, 4.0, DELTA)
MOST = int(BUDGET / A_ROUND)  # Rounds that fit by divergences of one order.


def book() -> Book:
    return Book(BudgetOpened("0" * 32, "wards", 4.0, DELTA, ORDER))


def reserved(charter: str = ONE, rounds: int = 3, *, alone: bool = False) -> Reserved:
    return Reserved(charter, RATE, NOISE, 1, rounds, 1.0, alone)


# Book: the table of states.

ACTIONS: dict[str, Record] = {
    "reserve": reserved(),
    "spend": Spent(ONE, 1, 7, 0),
    "presume": Presumed(ONE, 1, 4, 5, 2),
    "give back": Returned(ONE, 1, 1, 0, PROOF),
    "close": Closed(ONE, PROOF),
}


def in_state(state: BudgetState | None) -> Book:
    made = book()
    if state is None:
        return made
    made.take(reserved())
    made.take(Spent(ONE, 1, 1, 0))
    if state is BudgetState.CLOSED:
        made.take(Closed(ONE, PROOF))
    if state is BudgetState.FORFEITED:
        made.take(Forfeited(made.charged_in_full))
    return made


@pytest.mark.parametrize(
    ("state", "action", "refusal"),
    [
        (None, "reserve", None),
        (None, "spend", "has no reservation"),
        (None, "presume", "has no reservation"),
        (None, "give back", "has no reservation"),
        (None, "close", "has no reservation"),
        (BudgetState.OPEN, "reserve", "has its reservation already"),
        (BudgetState.OPEN, "spend", None),
        (BudgetState.OPEN, "presume", None),
        (BudgetState.OPEN, "give back", None),
        (BudgetState.OPEN, "close", None),
        (BudgetState.CLOSED, "reserve", "has its reservation already"),
        (BudgetState.CLOSED, "spend", "is closed"),
        (BudgetState.CLOSED, "presume", "is closed"),
        (BudgetState.CLOSED, "give back", "is closed"),
        (BudgetState.CLOSED, "close", "is closed"),
        (BudgetState.FORFEITED, "reserve", "has its reservation already"),
        (BudgetState.FORFEITED, "spend", "is forfeited"),
        (BudgetState.FORFEITED, "presume", "is forfeited"),
        (BudgetState.FORFEITED, "give back", "is forfeited"),
        (BudgetState.FORFEITED, "close", "is forfeited"),
    ],
)
def test_the_table_of_states(state: BudgetState | None, action: str, refusal: str | None) -> None:
    made = in_state(state)
    before = (made.charged, made.charged_in_full)
    if refusal is None:
        made.take(ACTIONS[action])
        return
    with pytest.raises(BudgetRefused, match=refusal):
        made.take(ACTIONS[action])
    assert (made.charged, made.charged_in_full) == before


@pytest.mark.parametrize(
    ("figures", "refusal"),
    [
        ({"epsilon": 0.0}, "epsilon is positive and finite"),
        ({"epsilon": float("inf")}, "epsilon is positive and finite"),
        ({"delta": 1.0}, "delta is above 0 and below 1"),
        ({"delta": 0.0}, "delta is above 0 and below 1"),
        ({"order": 1}, "an order is 2 or more"),
    ],
)
def test_a_file_that_opens_with_an_impossible_budget_is_refused(
    figures: dict[str, float], refusal: str
) -> None:
    """Whoever can write the file can chain it rightly."""
    opening = msgspec.structs.replace(book().opened, **figures)
    with pytest.raises(PrivacyError, match=refusal):
        Book(opening)


def test_what_counts_in_each_state() -> None:
    """OPEN and FORFEITED count all rounds, CLOSED those that were spent."""
    assert in_state(None).charged == 0
    assert in_state(BudgetState.OPEN).charged == pytest.approx(3 * A_ROUND)
    assert in_state(BudgetState.CLOSED).charged == pytest.approx(A_ROUND)
    assert in_state(BudgetState.FORFEITED).charged == pytest.approx(3 * A_ROUND)
    closed = in_state(BudgetState.CLOSED)
    assert closed.charged_in_full == pytest.approx(3 * A_ROUND)
    closed.take(Forfeited(closed.charged_in_full))
    assert closed.charged == pytest.approx(3 * A_ROUND)


def test_a_member_that_has_spent_all_rests() -> None:
    made = book()
    made.take(reserved(rounds=3))
    made.take(Spent(ONE, 1, 1, 0))
    made.take(Spent(ONE, 1, 1, 1))
    made.take(Presumed(ONE, 1, 2, 9, 8))  # No more than were left.
    assert made.charters[ONE].left == 0
    with pytest.raises(
        BudgetRefused, match=r"all 3 rounds of charter 1{12} are spent; the member r"
    ):
        made.take(Spent(ONE, 1, 10, 0))


def test_a_session_is_spent_once_and_comes_back_once() -> None:
    made = in_state(BudgetState.OPEN)
    with pytest.raises(BudgetRefused, match="is spent already: no vector is sent twice"):
        made.take(Spent(ONE, 1, 1, 0))
    made.take(Returned(ONE, 1, 1, 0, PROOF))
    assert made.charters[ONE].left == 3
    with pytest.raises(BudgetRefused, match="was not spent"):
        made.take(Returned(ONE, 1, 1, 0, PROOF))


def test_reservations_add_up_to_the_budget_and_no_further() -> None:
    made = book()
    made.take(reserved(ONE, MOST - 5))
    figures = {"rate_units": RATE, "noise": NOISE, "steps": 1, "epsilon": 0.1}
    assert made.reservation(TWO, rounds=5, **figures).alone is False  # type: ignore[arg-type]
    with pytest.raises(BudgetRefused, match=r"6 rounds do not fit .*; 5 rounds of this noise"):
        made.reservation(TWO, rounds=6, **figures)  # type: ignore[arg-type]
    made.take(Closed(ONE, PROOF))
    assert made.reservation(TWO, rounds=MOST, **figures).rounds == MOST  # type: ignore[arg-type]


def test_the_first_charter_may_have_the_tighter_figure_and_then_nothing_follows() -> None:
    made = book()
    figures = {"rate_units": RATE, "noise": NOISE, "steps": 1, "rounds": MOST + 20}
    first = made.reservation(ONE, epsilon=3.9, **figures)  # type: ignore[arg-type]
    assert first.alone
    with pytest.raises(BudgetRefused, match="the owner allows 4; "):
        made.reservation(ONE, epsilon=4.1, **figures)  # type: ignore[arg-type]
    made.take(first)
    assert made.epsilon == 3.9
    made.take(Closed(ONE, PROOF))
    with pytest.raises(BudgetRefused, match="not even after its end"):
        made.reservation(TWO, epsilon=0.1, **figures | {"rounds": 1})  # type: ignore[arg-type]


def test_what_all_costs_is_the_owners_epsilon_when_all_is_charged() -> None:
    made = book()
    made.take(reserved(ONE, MOST))
    assert 3.9 < made.epsilon <= 4.0
    assert book().epsilon == 0


@pytest.mark.parametrize(
    ("record", "refusal"),
    [
        (BudgetOpened("0" * 32, "wards", 4.0, DELTA, ORDER), "opened once"),
        (reserved(alone=True), "says 'alone' where it is not"),
        (Presumed(ONE, 1, 5, 4, 1), "has no reservation"),
        (Forfeited(float("nan")), "counts every charter in full"),
    ],
)
def test_records_that_cannot_follow(record: Record, refusal: str) -> None:
    with pytest.raises(PrivacyError, match=refusal):
        book().take(record)


@pytest.mark.parametrize("count", [0, 3])
def test_presumed_rounds_are_those_between(count: int) -> None:
    made = in_state(BudgetState.OPEN)
    with pytest.raises(BudgetRefused, match="of rounds 4 to 5 not"):
        made.take(Presumed(ONE, 1, 4, 5, count))


def test_forfeiting_less_than_all_is_refused() -> None:
    made = in_state(BudgetState.CLOSED)
    with pytest.raises(BudgetRefused, match="in full"):
        made.take(Forfeited(made.charged))


# Ledger: files, and the table of faults.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a charter of 5 rounds, two of them spent, and its anchor."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "data").mkdir()
    (folder / "safe").mkdir()
    made = create(
        *(folder / "data" / "budget", folder / "safe" / "anchor"),
        dataset="wards",
        epsilon=4.0,
        delta=DELTA,
        entropy=bytes(16),
    )
    made.reserve(ONE, rate_units=RATE, noise=NOISE, steps=1, rounds=5)
    made.spend(ONE, epoch=1, round=1, session=0)
    made.spend(ONE, epoch=1, round=2, session=0)
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "here")
    return tmp_path / "here"


def opened(folder: Path) -> BudgetLedger:
    return open_ledger(folder / "data" / "budget", folder / "safe" / "anchor")


def test_a_ledger_is_what_was_written(folder: Path) -> None:
    standing = opened(folder).book.charters[ONE]
    assert (standing.state, standing.spent, standing.left) == (BudgetState.OPEN, 2, 3)
    cost = account([Releases(RATE, NOISE, 5)], DELTA).epsilon
    assert standing.reserved.epsilon == pytest.approx(cost)
    assert [type(record) for record in opened(folder).records] == [
        BudgetOpened,
        Reserved,
        Spent,
        Spent,
    ]


def test_reserving_again_changes_nothing_and_other_figures_are_refused(folder: Path) -> None:
    made = opened(folder)
    made.reserve(ONE, rate_units=RATE, noise=NOISE, steps=1, rounds=5)
    assert len(made.records) == 4
    with pytest.raises(BudgetRefused, match="reserved with other figures"):
        made.reserve(ONE, rate_units=RATE, noise=NOISE, steps=1, rounds=6)
    with pytest.raises(PrivacyError, match="64 hexadecimal digits"):
        made.reserve("one", rate_units=RATE, noise=NOISE, steps=1, rounds=5)


def test_a_charter_that_does_not_fit_is_not_written(folder: Path) -> None:
    made = opened(folder)
    with pytest.raises(BudgetRefused, match="do not fit beside what other charters hold"):
        made.reserve(TWO, rate_units=RATE, noise=NOISE, steps=1, rounds=10_000)
    assert len(opened(folder).records) == 4


def test_what_may_have_been_sent_is_presumed(folder: Path) -> None:
    """Rounds 3 to 5 were entered and forgotten; of 4 a certificate names others only."""
    made = opened(folder)
    made.presume(ONE, epoch=1, first=3, last=5, certified_without=[4, 9, 4])
    assert opened(folder).book.charters[ONE].spent == 4
    made.presume(ONE, epoch=1, first=6, last=5)
    made.presume(ONE, epoch=1, first=6, last=6, certified_without=[6])
    assert len(made.records) == 5


def test_closing_frees_the_rest_once(folder: Path) -> None:
    made = opened(folder)
    made.close(ONE, proof=PROOF)
    made.close(ONE, proof=PROOF)
    assert len(made.records) == 5
    assert opened(folder).book.charged == pytest.approx(2 * A_ROUND)


def test_a_certificate_without_us_gives_back(folder: Path) -> None:
    opened(folder).give_back(ONE, epoch=1, round=2, session=0, proof=PROOF)
    assert opened(folder).book.charters[ONE].spent == 1


def writes(monkeypatch: pytest.MonkeyPatch, dies_at: int, *, before: bool) -> None:
    """Let the n-th change to the disk fail: before it happens, or after it did."""
    count = 0

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == dies_at and before:
                raise OSError(28, "No space left on device")
            done = real(*arguments)
            if count == dies_at:
                raise OSError(28, "No space left on device")
            return done

        return call

    for name in ("write", "fsync", "ftruncate"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    monkeypatch.setattr(Path, "replace", dying(Path.replace))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("dies_at", range(1, 8))
def test_a_failure_at_any_write_regains_nothing(folder: Path, dies_at: int, before: bool) -> None:
    """What was told to be spent is; what failed lets nothing leave, and all later calls fail."""
    made = opened(folder)
    acknowledged = 2
    with pytest.MonkeyPatch.context() as patches:
        writes(patches, dies_at, before=before)
        with suppress(PrivacyError):
            made.spend(ONE, epoch=1, round=3, session=0)
            acknowledged = 3
    if acknowledged == 2:
        with pytest.raises(PrivacyError, match="open it again"):
            made.spend(ONE, epoch=1, round=4, session=0)
    again = opened(folder)
    assert acknowledged <= again.book.charters[ONE].spent <= 3
    again.spend(ONE, epoch=1, round=5, session=0)
    assert opened(folder).book.charters[ONE].spent >= acknowledged + 1


def test_lines_are_read_again_only_where_somebody_else_has_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each spend would cost as much as all before it."""
    one, two = opened(folder), opened(folder)
    read: list[int] = []

    def noting(line: bytes, before: bytes, number: int) -> tuple[Record, bytes]:
        read.append(number)
        return read_line(line, before, number)

    monkeypatch.setattr(ledger_file, "read_line", noting)
    one.look()
    one.spend(ONE, epoch=1, round=3, session=0)
    one.spend(ONE, epoch=1, round=4, session=0)
    assert read == []
    two.spend(ONE, epoch=1, round=5, session=0)
    assert read == [1, 2, 3, 4, 5, 6]
    with pytest.raises(BudgetRefused, match="all 5 rounds"):
        one.spend(ONE, epoch=1, round=6, session=0)
    assert len(read) == 6 + 7


def test_an_open_ledger_sees_that_its_file_was_restored_or_changed(folder: Path) -> None:
    path = folder / "data" / "budget"
    old = path.read_bytes()
    made = opened(folder)
    made.spend(ONE, epoch=1, round=3, session=0)
    present = path.read_bytes()
    path.write_bytes(old)
    with pytest.raises(RestoredLedger, match="has 4 of 5 records"):
        made.look()
    path.write_bytes(present.replace(b'"round":1', b'"round":7'))  # As long as before.
    with pytest.raises(DamagedLedger, match="line 3 is not what was written there"):
        made.look()
    path.write_bytes(present)
    made.look()
    (folder / "safe" / "anchor").unlink()
    with pytest.raises(RestoredLedger, match="is missing"):
        made.spend(ONE, epoch=1, round=4, session=0)


def test_a_failing_disk_is_told_in_one_line(folder: Path) -> None:
    made = opened(folder)
    with pytest.MonkeyPatch.context() as patches:
        writes(patches, 3, before=True)
        with pytest.raises(PrivacyError, match="No space left on device; nothing leaves before it"):
            made.spend(ONE, epoch=1, round=3, session=0)


def test_a_spend_is_flushed_before_its_anchor_moves(folder: Path) -> None:
    """All seven changes of a spend, in order; the test above lets each of them fail."""
    made = opened(folder)
    seen: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            seen.append(name)
            return real(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patches:
        for name in ("write", "fsync", "ftruncate"):
            patches.setattr(os, name, noting(name, getattr(os, name)))
        patches.setattr(Path, "replace", noting("replace", Path.replace))
        made.spend(ONE, epoch=1, round=3, session=0)
    of_ledger, of_anchor = ["ftruncate", "write", "fsync"], ["fsync", "fsync", "replace", "fsync"]
    assert seen == of_ledger + of_anchor


@pytest.mark.parametrize("kept", [1, 40, 120])
def test_a_line_that_was_never_finished_is_cut_off(folder: Path, kept: int) -> None:
    path = folder / "data" / "budget"
    line, _ = encode(Spent(ONE, 1, 3, 0), bytes.fromhex(opened(folder).head))
    path.write_bytes(path.read_bytes() + line[:kept])
    made = opened(folder)
    assert made.book.charters[ONE].spent == 2
    made.spend(ONE, epoch=1, round=4, session=0)
    assert opened(folder).book.charters[ONE].spent == 3


def test_every_older_ledger_is_refused(folder: Path) -> None:
    """Each state that a backup could have kept, but the last."""
    path = folder / "data" / "budget"
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        with pytest.raises(RestoredLedger, match=rf"has {kept} of 4 records: it was restored"):
            opened(folder)
    path.write_bytes(b"".join(lines))
    opened(folder)


def test_a_restored_ledger_that_was_used_since_is_refused(folder: Path) -> None:
    path = folder / "data" / "budget"
    old = path.read_bytes()
    made = opened(folder)
    made.spend(ONE, epoch=1, round=3, session=0)
    line, _ = encode(Spent(ONE, 1, 4, 0), bytes.fromhex(_head(old)))
    path.write_bytes(old + line)
    with pytest.raises(RestoredLedger, match=r"record 5 of .* is not the one that was there"):
        opened(folder)


def _head(content: bytes) -> str:
    return content.splitlines()[-1].split(b" ")[0].decode()


def test_an_open_ledger_sees_that_it_was_restored(folder: Path) -> None:
    path = folder / "data" / "budget"
    made = opened(folder)
    old = path.read_bytes()
    made.spend(ONE, epoch=1, round=3, session=0)
    path.write_bytes(old)
    with pytest.raises(RestoredLedger):
        made.spend(ONE, epoch=1, round=4, session=0)


def test_a_missing_anchor_is_refused_and_forfeits_all(folder: Path) -> None:
    (folder / "safe" / "anchor").unlink()
    with pytest.raises(RestoredLedger, match=r"is missing: .* forfeit counts the whole budget"):
        opened(folder)
    made = forfeit(folder / "data" / "budget", folder / "safe" / "anchor")
    assert made.book.charged == pytest.approx(BUDGET)
    with pytest.raises(BudgetRefused, match="is forfeited"):
        made.spend(ONE, epoch=1, round=3, session=0)
    with pytest.raises(BudgetRefused, match="not one round of this noise"):
        opened(folder).reserve(TWO, rate_units=RATE, noise=NOISE, steps=1, rounds=1)


def test_forfeiting_counts_charters_that_only_the_anchor_remembers(folder: Path) -> None:
    path, anchor = folder / "data" / "budget", folder / "safe" / "anchor"
    backup = path.read_bytes()
    made = opened(folder)
    made.reserve(TWO, rate_units=RATE, noise=NOISE, steps=1, rounds=7)
    made.close(TWO, proof=PROOF)
    path.write_bytes(backup)
    again = forfeit(path, anchor)
    assert again.book.charged == pytest.approx((5 + 7) * A_ROUND)
    reopened = opened(folder)
    assert reopened.book.charged == pytest.approx((5 + 7) * A_ROUND)
    # What is left is for others.
    reopened.reserve("3" * 64, rate_units=RATE, noise=NOISE, steps=1, rounds=1)


def test_another_ledger_under_the_anchor_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    create(
        *(other / "budget", tmp_path / "anchor"),
        dataset="wards",
        epsilon=4.0,
        delta=DELTA,
        entropy=bytes([1]) * 16,
    )
    path, anchor = folder / "data" / "budget", folder / "safe" / "anchor"
    shutil.copy(other / "budget", path)
    with pytest.raises(RestoredLedger, match="that of another ledger: one was replaced"):
        opened(folder)
    with pytest.raises(PrivacyError, match="name this one's"):
        forfeit(path, anchor)


def test_any_changed_byte_is_found(folder: Path) -> None:
    path = folder / "data" / "budget"
    content = path.read_bytes()
    for at in range(0, len(content) - 1, 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(PrivacyError):
            opened(folder)


@pytest.mark.parametrize("change", ["left out", "put in", "swapped"])
def test_lines_out_of_place_are_found(folder: Path, change: str) -> None:
    path = folder / "data" / "budget"
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "left out": [*lines[:2], lines[3]],
        "put in": [*lines[:3], lines[2], lines[3]],
        "swapped": [*lines[:2], lines[3], lines[2]],
    }[change]
    path.write_bytes(b"".join(changed))
    with pytest.raises(DamagedLedger, match=r"line [34] is not what was written there"):
        opened(folder)


def test_a_chain_of_records_that_cannot_follow_is_refused(folder: Path) -> None:
    """Whoever can write the file can make a chain; its records must still be possible."""
    path = folder / "data" / "budget"
    line, _ = encode(Spent(TWO, 1, 3, 0), bytes.fromhex(opened(folder).head))
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DamagedLedger, match=r"line 5 cannot follow: charter 2{12} has no reserv"):
        opened(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"record":"spent"}',
        b'{"record":"bought"}',
        b'{"record":"closed","charter":"1","proof":"2","more":1}',
        b'{"record": "closed","charter":"1","proof":"2"}',
        b"\xff",
        b"",
    ],
)
def test_lines_of_another_form_are_refused(text: bytes) -> None:
    from p2pfl_crypto.hashing import hash_parts

    digest = hash_parts(b"p2pfl/budget", START, text)
    with pytest.raises(DamagedLedger, match="line 1 is "):
        read_line(digest.hex().encode() + b" " + text, START, 1)


def test_records_come_back_as_they_were() -> None:
    before = START
    for record in (
        *ACTIONS.values(),
        BudgetOpened("0" * 32, "Stationen", 4.0, DELTA, 6),
        Forfeited(0.5),
    ):
        line, digest = encode(record, before)
        assert read_line(line[:-1], before, 1) == (record, digest)
        before = digest


def test_a_line_is_as_long_as_stated_and_no_longer() -> None:
    empty, _ = encode(BudgetOpened("0" * 32, "", 4.0, DELTA, 6), START)
    longest = "a" * (LINE_BYTES_MAX - len(empty))
    line, _ = encode(BudgetOpened("0" * 32, longest, 4.0, DELTA, 6), START)
    assert len(line) == LINE_BYTES_MAX
    with pytest.raises(PrivacyError, match="takes 1025 bytes, more than 1024"):
        encode(BudgetOpened("0" * 32, longest + "a", 4.0, DELTA, 6), START)


def test_two_openings_share_a_file(folder: Path) -> None:
    """As two peers with one data set do: each sees what the other wrote."""
    one, other = opened(folder), opened(folder)
    for number in (3, 4):
        one.spend(ONE, epoch=1, round=number, session=0)
    other.spend(ONE, epoch=9, round=1, session=0)
    with pytest.raises(BudgetRefused, match="are spent; the member rests"):
        one.spend(ONE, epoch=1, round=5, session=0)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n", b"[1]", b'{"ledger":1}'])
def test_what_is_no_anchor_is_named(folder: Path, content: bytes) -> None:
    (folder / "safe" / "anchor").write_bytes(content)
    with pytest.raises(PrivacyError, match="is no anchor of a ledger"):
        opened(folder)


def test_an_anchor_is_as_large_as_stated_and_no_larger(folder: Path) -> None:
    anchor = folder / "safe" / "anchor"
    anchor.write_bytes(anchor.read_bytes().ljust(ANCHOR_BYTES_MAX))
    assert len(opened(folder).records) == 4
    anchor.write_bytes(anchor.read_bytes() + b" ")
    with pytest.raises(PrivacyError, match="is no anchor of a ledger"):
        opened(folder)


def test_a_name_is_as_long_as_stated_and_no_longer(tmp_path: Path) -> None:
    """In characters: a name of those that take the most bytes still fits a line."""
    (tmp_path / "data").mkdir()

    def make(dataset: str) -> BudgetLedger:
        return create(
            *(tmp_path / "data" / "budget", tmp_path / "anchor"),
            dataset=dataset,
            epsilon=4.0,
            delta=DELTA,
            entropy=bytes(16),
        )

    with pytest.raises(PrivacyError, match="1 to 200 printable characters"):
        make("\U0001f3e5" * (NAME_CHARACTERS_MAX + 1))
    longest = "\U0001f3e5" * NAME_CHARACTERS_MAX
    assert make(longest).book.opened.dataset == longest


def test_refusals_when_a_ledger_is_made(folder: Path, tmp_path: Path) -> None:
    figures = {"dataset": "wards", "epsilon": 4.0, "delta": DELTA, "entropy": bytes(16)}

    def make(path: Path, anchor: Path, **changes: object) -> None:
        create(path, anchor, **figures | changes)  # type: ignore[arg-type]

    fresh, place = folder / "data" / "new", tmp_path / "elsewhere"
    with pytest.raises(PrivacyError, match="so a backup would take both"):
        make(fresh, folder / "data" / "sub" / "anchor")
    with pytest.raises(PrivacyError, match="is there already; a data set has one"):
        make(folder / "data" / "budget", place)
    with pytest.raises(PrivacyError, match="is there already, of another ledger"):
        make(fresh, folder / "safe" / "anchor")
    with pytest.raises(PrivacyError, match="positive epsilon"):
        make(fresh, place, epsilon=0.0)
    with pytest.raises(PrivacyError, match="positive epsilon"):
        make(fresh, place, delta=1.0)
    with pytest.raises(PrivacyError, match="printable"):
        make(fresh, place, dataset="a\nb")
    with pytest.raises(PrivacyError, match="16 bytes"):
        make(fresh, place, entropy=b"")
    assert not fresh.exists()
    with pytest.raises(PrivacyError, match=r"cannot read .*: No such file"):
        open_ledger(fresh, place)


def test_a_full_file_takes_no_spend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round is not given, and nothing is written."""
    path = folder / "data" / "budget"
    before = path.read_bytes()
    monkeypatch.setattr(ledger_file, "LEDGER_BYTES_MAX", len(before) + 10)
    with pytest.raises(PrivacyError, match="is full"):
        opened(folder).spend(ONE, epoch=1, round=3, session=0)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("records", "refusal"),
    [((), "there is no whole record"), ((Closed(ONE, PROOF),), "the first record does not open")],
)
def test_a_file_that_does_not_open_a_ledger_is_refused(
    folder: Path, records: tuple[Record, ...], refusal: str
) -> None:
    content = b"".join(encode(record, START)[0] for record in records)
    (folder / "data" / "budget").write_bytes(content)
    with pytest.raises(DamagedLedger, match=refusal):
        opened(folder)


def test_a_file_that_is_too_large_is_not_read(folder: Path) -> None:
    with (folder / "data" / "budget").open("r+b") as file:
        file.truncate(ledger_file.LEDGER_BYTES_MAX + 10_000)
    with pytest.raises(DamagedLedger, match="larger than any ledger"):
        opened(folder)


def test_a_full_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (folder / "data" / "budget").stat().st_size
    monkeypatch.setattr(ledger_file, "LEDGER_BYTES_MAX", size - LINE_BYTES_MAX)
    assert len(opened(folder).records) == 4
    monkeypatch.setattr(ledger_file, "LEDGER_BYTES_MAX", size - LINE_BYTES_MAX - 1)
    with pytest.raises(DamagedLedger, match="larger than any ledger"):
        opened(folder)


def test_a_full_file_can_be_forfeited_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for that record is kept: else a restored ledger that is full could never go on."""
    path, place = folder / "data" / "budget", folder / "safe" / "anchor"
    monkeypatch.setattr(ledger_file, "LEDGER_BYTES_MAX", path.stat().st_size)
    forfeit(path, place)
    monkeypatch.setattr(ledger_file, "LEDGER_BYTES_MAX", path.stat().st_size - LINE_BYTES_MAX)
    with pytest.raises(PrivacyError, match="is full"):
        forfeit(path, place)


def test_an_anchor_is_what_it_says(folder: Path) -> None:
    anchor = msgspec.json.decode((folder / "safe" / "anchor").read_bytes())
    assert anchor["length"] == 4
    assert anchor["head"] == opened(folder).head
    assert anchor["in_full"] == pytest.approx(5 * A_ROUND)
