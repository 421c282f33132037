"""Peers as processes: stopped at any moment, out of room, among strangers. No test sleeps."""

import json
import re
import resource
import signal
import socket
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from calling import P2pfl
from peer_groups import CHARTER, add_setting, make_group, running, set_fault, sign_anew
from prometheus_client.parser import text_string_to_metric_families

FILE_BYTES_MAX = 64 * 1024
"""Of each file, where a disk is to be full: SQLite's log reaches that within ten rounds."""


def test_sigterm_while_the_task_loads_ends_it_at_once(tmp_path: Path) -> None:
    member = make_group(tmp_path, task="frail:Frail")[0]
    set_fault(member, "stop while loading")
    with running(member) as (peer,):
        assert peer.end() == 0
    assert peer.lines == ["p2pfl: stopped before it began\n"]


def test_sigterm_while_the_group_opens_is_a_good_end(tmp_path: Path) -> None:
    member = make_group(tmp_path)[0]
    with running(member) as (peer,):
        peer.until("listening")
        peer.stop()
        assert peer.end() == 0
    assert peer.events()[-1] == "stopped"
    assert peer.plain_lines() == []
    assert not (member / "control.sock").exists()


def test_a_group_is_stopped_and_started_again(tmp_path: Path) -> None:
    group = make_group(tmp_path)
    for _ in range(2):
        with running(*group) as peers:
            for peer in peers:
                peer.until("finished")
            for peer in peers:
                peer.stop()
                assert peer.end() == 0
                assert peer.plain_lines() == []


def test_a_second_sigterm_ends_it_amid_a_training_without_end(tmp_path: Path) -> None:
    one, two = make_group(tmp_path, task="frail:Frail")
    set_fault(one, "stop, and train for ever")
    with running(one, two) as (peer, other):
        assert peer.end() == 0
        other.stop()
        assert other.end() == 0
    assert peer.events().count("stopping") == 1
    assert peer.events()[-2:] == ["left", "stopped"]
    assert peer.plain_lines() == []
    journal = two / "journal"
    assert not list(journal.glob("*-wal")), "the journal was not closed"


def test_a_task_that_raises_costs_its_member_the_round_and_nobody_else(
    p2pfl: P2pfl, tmp_path: Path
) -> None:
    one, two = make_group(tmp_path, task="frail:Frail")
    set_fault(one, "raise")
    with running(one, two) as (peer, other):
        failed = peer.until("training_failed")
        assert failed["level"] == "error"
        told = (
            "round 0: training failed: task 'frail:Frail': ZeroDivisionError: no rows of class 1 ("
        )
        assert failed["message"].startswith(told)
        assert "frail.py, line " in failed["message"]
        told_of_it = other.until("round_ended")
        assert told_of_it["message"].startswith("round 0 ended: 1 of 2 models, peer-0: no update")
        other.until("finished")
        peer.until("finished")
        # All rounds are done, and it had no part in any: its status does not hide that.
        shown = p2pfl("peer", "status", str(one)).out
        assert re.search(r"last sum +1 of 2 models, ours not among them *\n", shown)
        assert re.search(r"own updates +in 0 of 3 rounds since it started *\n", shown)
        assert "last failure" in shown
        assert "round 2: training failed: task 'frail:Frail': ZeroDivisionError" in shown
        healthy = p2pfl("peer", "status", str(two)).out
        assert re.search(r"last sum +1 of 2 models *\n", healthy)
        assert "own updates" not in healthy
        assert "last failure" not in healthy
        for each in (peer, other):
            each.stop()
            assert each.end() == 0
        assert peer.plain_lines() == other.plain_lines() == []


def test_a_full_disk_ends_it_with_one_line_and_it_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))

    one, two = make_group(tmp_path, rounds=25)
    with running(two) as (other,):
        other.until("listening")
        with running(one, preexec_fn=limit) as (peer,):
            assert peer.end() == 3
        (line,) = peer.plain_lines()
        assert line.startswith(f"p2pfl: cannot use {Path('journal/journal.sqlite3')}: ")
        assert "what it kept before is still there" in line
        before = [entry for entry in peer.events() if entry == "round_ended"]
        assert before
        with running(one) as (again,):
            entry = again.until("round_ended")
            assert entry["round"] > 0, "it goes on, and does not begin anew"
            again.until("finished")
            again.stop()
            assert again.end() == 0
        other.stop()
        assert other.end() == 0


def test_a_member_with_another_charter_is_told_apart_on_both_sides(tmp_path: Path) -> None:
    one, two = make_group(tmp_path)
    before = (one / "charters" / CHARTER).read_bytes()
    sign_anew(one, two, rounds=4)
    (one / "charters" / CHARTER).write_bytes(before)
    with running(one, two) as peers:
        for peer, stranger in zip(peers, ("peer-1", "peer-0"), strict=True):
            told: dict[str, Any] = {}
            while told.get("reason") != "other_group_or_version":
                told = peer.until("link_down")
            assert told["level"] == "warning"
            assert told["message"].startswith(
                f"{stranger} is of another group, or has another version"
            )
        for peer in peers:
            peer.stop()
        assert [peer.end() for peer in peers] == [0, 0]


def check_metrics(port: int) -> None:
    """Hold what a finished peer of two gives to Prometheus against what it did."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.read().decode())
            for sample in family.samples
        }
    assert found["p2pfl_state", "finished"] == 1
    assert found["p2pfl_state", "training"] == 0
    assert found["p2pfl_round",] == found["p2pfl_round_seconds_count",] == 2
    assert abs(found["p2pfl_last_round_timestamp_seconds",] - time.time()) < 600
    assert found["p2pfl_link", "peer-1"] == found["p2pfl_members_linked",] == 1
    assert found["p2pfl_libp2p_connections",] == 1
    assert found["p2pfl_events_total", "round_ended"] == 2
    assert ("p2pfl_build_info", version("p2pfl-peer")) in found
    assert ("p2pfl_figure", "accuracy") in found
    assert not [name for name, *_ in found if name.endswith("_connections_total")]


def test_status_stop_pause_resume_and_logs(p2pfl: P2pfl, tmp_path: Path) -> None:
    one, two = make_group(tmp_path, rounds=2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    add_setting(one, f'metrics = "127.0.0.1:{port}"')
    assert p2pfl("peer", "status", str(one)).err == (
        f"p2pfl: no peer runs in {one}; start it with: p2pfl peer run {one}\n"
    )
    with running(one, two) as peers:
        for peer in peers:
            peer.until("finished")
        status = json.loads(p2pfl("peer", "status", str(one), "--json").out)
        assert (status["name"], status["state"], status["round"]) == ("peer-0", "finished", 2)
        assert status["figures"].keys() == {"accuracy", "loss"}
        assert [member["link"] for member in status["members"]] == ["self", "up"]
        check_metrics(port)
        assert (status["own"]["baseline_rounds"], status["own"]["gain"]) == (None, None)
        assert status["own"]["joint"] == status["figures"]["accuracy"]
        assert "p2pfl peer baseline trains it" in p2pfl("peer", "status", str(one)).out
        trained = p2pfl("peer", "baseline", str(one), "--json")
        assert trained.code == 0
        alone = json.loads(trained.out)
        assert (alone["primary"], alone["rounds"]) == ("accuracy", 2)
        own = json.loads(p2pfl("peer", "status", str(one), "--json").out)["own"]
        assert (own["local"], own["test_rows"]) == (alone["local"], alone["test_rows"])
        assert own["gain"] == pytest.approx(own["joint"] - own["local"])
        assert own["low"] <= own["gain"] <= own["high"]
        assert p2pfl("peer", "baseline", str(one)).out.startswith("alone, on ")
        shown = p2pfl("peer", "status", str(one)).out
        assert "by joining" in shown
        assert "peer-0 of " in shown
        assert "1 of 1 other members" in shown
        assert "last sum 2 of 2 models" in " ".join(shown.split())
        assert p2pfl("peer", "pause", str(one)).out.startswith("begins no further round")
        assert p2pfl("peer", "resume", str(one)).out == "goes on\n"
        stopped = p2pfl("peer", "stop", str(one))
        assert (stopped.code, stopped.out) == (0, "stopped\n")
        assert peers[0].process.wait() == 0
        peers[1].until("link_down")
        assert p2pfl("peer", "stop", str(two), "--now").code == 0
    lines = [
        json.loads(line) for line in p2pfl("peer", "logs", str(one), "--json").out.splitlines()
    ]
    assert [line["event"] for line in lines][-1] == "stopped"
    last = p2pfl("peer", "logs", str(one), "-n", "1").out
    assert last.endswith("  stopped\n")
    rest = peers[1].plain_lines()
    assert rest == []


def test_a_watched_status_ends_with_ctrl_c(
    p2pfl: P2pfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(_seconds: float) -> None:
        raise KeyboardInterrupt

    one = make_group(tmp_path)[0]
    with running(one) as (peer,):
        peer.until("listening")
        with monkeypatch.context() as patched:
            patched.setattr("p2pfl.cli.peer_running.time.sleep", ctrl_c)
            watched = p2pfl("peer", "status", str(one), "--watch", "--json")
            on_screen = p2pfl("peer", "status", str(one), "--watch")
        assert watched.code == 130
        assert json.loads(watched.out)["name"] == "peer-0"
        assert on_screen.code == 130
        assert "Traceback" not in on_screen.err
        assert "peer-0 of " in on_screen.out
        peer.process.send_signal(signal.SIGINT)
        assert peer.end() == 0


def test_commands_tell_what_is_no_peer(p2pfl: P2pfl) -> None:
    for command in ("run", "status", "stop", "pause", "resume", "logs"):
        ended = p2pfl("peer", command, "nowhere")
        assert (ended.code, ended.err) == (
            2,
            "p2pfl: there is no peer in nowhere; make one with p2pfl peer init nowhere\n",
        )


def test_a_peer_without_torch_is_small(tmp_path: Path) -> None:
    one, two = make_group(tmp_path)
    with running(one, two, anew=True) as peers:
        for peer in peers:
            peer.until("finished")
        for peer in peers:
            place = Path("/proc") / str(peer.process.pid)
            resident = next(
                line for line in (place / "status").read_text().splitlines() if "VmRSS" in line
            )
            assert int(resident.split()[1]) < 150 * 1024, resident
            loaded = (place / "maps").read_text()
            for heavy in ("/torch/", "/pyarrow/", "/sklearn/", "/scipy/", "/pandas/"):
                assert heavy not in loaded
            peer.stop()
        assert [peer.end() for peer in peers] == [0, 0]


def test_strangers_that_use_up_descriptors_end_no_peer(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    one, two = make_group(tmp_path, rounds=25)
    with running(two) as (other,), running(one, preexec_fn=limit) as (peer,):
        assert "raise the hard limit" in peer.until("few_descriptors")["message"]
        told = peer.until("listening")["addresses"][0].split("/")
        strangers = [socket.create_connection((told[2], int(told[4]))) for _ in range(200)]
        for each in (peer, other):
            each.until("finished")
        for stranger in strangers:
            stranger.close()
        for each in (peer, other):
            each.stop()
            assert each.end() == 0
    assert peer.plain_lines() == []
    assert peer.events().count("round_ended") == 25
