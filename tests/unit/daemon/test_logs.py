"""The log: JSON lines in the file, what suits the reader on standard error; rotated, private."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pfl.daemon import logs
from p2pfl.daemon.logs import FAILED, close_log, open_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log_path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "peer.log"
    close_log(logging.getLogger(logs.LOGGER))


def test_a_program_reads_json_lines_and_a_person_sentences(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr("sys.stderr", stream)
        log = open_log(log_path, level="info")
        log.info("berlin is connected", extra={"fields": {"event": "link_up", "member": "berlin"}})
        log.warning("oslo is gone: é", extra={"fields": {"event": "link_down"}})
        log.debug("not of this level")
        lines = stream.getvalue().splitlines()
        if stream.isatty():
            assert [line[8:] for line in lines] == [
                "  berlin is connected",
                "  warning: oslo is gone: é",
            ]
        else:
            entry = json.loads(lines[0])
            assert entry.pop("time").endswith("+00:00")
            assert entry == {
                "level": "info",
                "message": "berlin is connected",
                "event": "link_up",
                "member": "berlin",
            }
    written = [json.loads(line) for line in log_path.read_text().splitlines()]
    assert [entry["event"] for entry in written] == ["link_up", "link_down"] * 2


def test_only_its_owner_may_read_it_and_old_ones_are_put_away(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(logs, "LOG_BYTES_MAX", 200)
    log = open_log(log_path, level="info")
    for number in range(20):
        log.info("line %d", number)
    names = sorted(file.name for file in log_path.parent.iterdir())
    assert names == ["peer.log", "peer.log.1", "peer.log.2", "peer.log.3"]
    for name in names:
        file = log_path.with_name(name)
        assert file.stat().st_mode & 0o077 == 0
        assert file.stat().st_size <= 200
    assert json.loads(log_path.read_text().splitlines()[-1])["message"] == "line 19"


def test_how_a_peer_failed_is_in_the_file_and_left_to_the_command_line(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log = open_log(log_path, level="info")
    log.critical("cannot go on: x", extra={"fields": {"event": FAILED}})
    assert stream.getvalue() == ""
    assert json.loads(log_path.read_text())["message"] == "cannot go on: x"


def test_a_log_that_cannot_be_written_is_told_of_once(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    log_path.symlink_to(full)
    log = open_log(log_path, level="info")
    log.info("one")
    log.info("two")
    told = [line for line in stream.getvalue().splitlines() if line.startswith("p2pfl: ")]
    assert told == [f"p2pfl: cannot write {log_path}: [Errno 28] No space left on device"]
    assert "Traceback" not in stream.getvalue()


def test_a_line_that_a_kill_tore_spoils_no_other(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    log_path.write_text('{"time":"2026-11')
    open_log(log_path, level="info").info("again")
    torn, line = log_path.read_text().splitlines()
    assert (torn, json.loads(line)["message"]) == ('{"time":"2026-11', "again")
