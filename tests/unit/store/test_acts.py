"""An operator's acts: a chain in which every change of a line is seen."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pfl.store import acts
from p2pfl.store.acts import ACTS_FILE, Act, add_act, chain_digests, read_acts
from p2pfl.store.errors import StoreError

AT = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
ACTS = [Act("task approved", AT, {"bundle": f"{number:064x}"}) for number in range(3)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for act in ACTS:
        add_act(tmp_path, act)
    return tmp_path / ACTS_FILE


def test_acts_come_back_in_order(file: Path) -> None:
    assert read_acts(file.parent)[0] == ACTS
    assert file.stat().st_mode & 0o777 == 0o600
    last = add_act(file.parent, ACTS[0])
    assert read_acts(file.parent) == ([*ACTS, ACTS[0]], last)


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_acts(tmp_path) == ([], "00" * 32)


def test_the_chain_has_a_digest_before_the_first_act_and_after_each(tmp_path: Path) -> None:
    assert chain_digests(tmp_path) == ["00" * 32]
    told = [add_act(tmp_path, act) for act in ACTS]
    assert chain_digests(tmp_path) == ["00" * 32, *told]
    assert len(set(told)) == len(ACTS)


def test_the_digest_is_that_of_the_last_line(tmp_path: Path) -> None:
    digests = [add_act(tmp_path, ACTS[0]) for _ in range(2)]
    assert digests == [
        "102edadc7ce4cd76dd901b2bb838a7623c859ec25d06e85d62935783aa4eba84",
        "f4b4626f8e6e0ef0116e2c5124a2ede966ef565cde3b492493f875c542e32567",
    ]


def test_a_line_is_the_same_in_whatever_order_facts_are_given(tmp_path: Path) -> None:
    facts = [("charter", "00"), ("bundle", "11")]
    one, other = (Act("signed", AT, dict(given)) for given in (facts, facts[::-1]))
    digest = add_act(tmp_path, one)
    (tmp_path / ACTS_FILE).unlink()
    assert add_act(tmp_path, other) == digest


def test_times_are_written_in_utc_wherever_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        add_act(tmp_path, Act("signed", AT.astimezone(), {}))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert b'"at": "2026-12-01T09:30:00Z"' in (tmp_path / ACTS_FILE).read_bytes()
    assert read_acts(tmp_path)[0] == [Act("signed", AT, {})]


def test_every_changed_bit_is_seen(file: Path) -> None:
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        )
        is_last_line = place > content[:-1].rfind(b"\n")
        if is_last_line:
            # What nobody has hashed yet shows only where it breaks the form.
            continue
        with pytest.raises(StoreError, match=r"line \d"):
            read_acts(file.parent)


@pytest.mark.parametrize("order", [[1, 2], [0, 2], [0, 2, 1], [1, 0, 2], [0, 0, 1, 2]], ids=str)
def test_a_line_left_out_moved_or_doubled_is_seen(file: Path, order: list[int]) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[place] for place in order))
    with pytest.raises(StoreError, match="is not what was written, or one before it is missing"):
        read_acts(file.parent)
    before = file.read_bytes()
    with pytest.raises(StoreError, match=re.escape(str(file))):
        add_act(file.parent, ACTS[0])
    assert file.read_bytes() == before


def test_a_line_cut_off_is_seen(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StoreError, match="line 3 is cut off"):
        read_acts(file.parent)


@pytest.mark.parametrize("line", [b"[]", b"{}", b"\xff", b"null", b'{"act": 1, "at": 2}'])
def test_what_is_no_act_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / ACTS_FILE).write_bytes(line + b"\n")
    with pytest.raises(StoreError, match="line 1 is not what was written"):
        read_acts(tmp_path)


def test_bytes_of_acts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "ACTS_BYTES_MAX", file.stat().st_size)
    read_acts(file.parent)
    monkeypatch.setattr(acts, "ACTS_BYTES_MAX", file.stat().st_size - 1)
    with pytest.raises(StoreError, match="is longer than"):
        read_acts(file.parent)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*: No such file"):
        add_act(tmp_path / "none", ACTS[0])
