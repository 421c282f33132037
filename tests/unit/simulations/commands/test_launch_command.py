"""`p2pfl launch`: what it refuses, what it says, and that no process stays behind."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl_gossip.actions import Action, Report
from p2pfl_gossip.events import RoundEnded
from p2pfl_simulations.checkers.agreement import OneMean
from p2pfl_simulations.checkers.base import Violation
from p2pfl_simulations.results.folder import read_run

SMALL = (
    "--processes",
    "2",
    *("--set", "averaging={algorithm='cohorts', cohort_size=2, masking='none'}"),
    *("--set", "learning={task='integers'}"),
    *("--set", "evaluation={baselines=[]}"),
    *("--set", "compute={}"),  # All as fast as they can.
    *("--set", "faults={}"),
)
MODELLED = "averaging={algorithm='cohorts', cohort_size=5, masking='modelled'}"
LYING = "faults={liars={strategy='slow', share=0.1}}"
TIMEOUT_S = 60.0


def test_wrong_input_is_refused_before_a_process_starts(p2pfl: P2pfl) -> None:
    for arguments, told in (
        (("nowhere",), "nowhere"),
        (("quick", "--processes", "1"), "peers"),
        (("quick", "--set", MODELLED), "set averaging.masking to 'real' or 'none'"),
        (("quick", "--set", LYING), "processes do not lie: faults.liars is for simulated runs"),
        (("quick", "--processes", "many"), "--processes"),
        (("quick", "--set", "averaging.cohort_sise=3"), "did you mean 'cohort_size'?"),
    ):
        ended = p2pfl("launch", *arguments)
        assert ended.code == 2
        assert told in ended.err
        assert "Traceback" not in ended.err
        assert not Path("runs").exists()


def test_a_launch_tells_of_real_time_and_no_digest_and_is_not_replayed(p2pfl: P2pfl) -> None:
    ended = p2pfl("launch", "quick", *SMALL, "--set", "rounds=2", "--out", "run")
    assert ended.code == 0
    assert "real time" in ended.out
    assert "Run of real processes" in Path("run/report.html").read_text()
    for told in (ended.out, ended.err, Path("run/report.html").read_text()):
        assert "virtual time" not in told.lower()
        assert "digest" not in told
    assert json.loads(Path("run/summary.json").read_text())["world"] == "processes"
    replayed = p2pfl("replay", "run")
    assert replayed.code == 2
    assert replayed.err == (
        "p2pfl: run is of real processes, and no two such runs are alike: p2pfl simulate"
        " run/scenario.toml runs its scenario in the simulated world\n"
    )


DYING = """
import os
from p2pfl.learner.tasks.integers import Integers

class Dying(Integers):
    steps = 0
    def step(self, vector, inputs, targets, rate):
        if os.getcwd().endswith("peer-1"):
            Dying.steps += 1
            if Dying.steps > self.after:
                os._exit(7)
        return super().step(vector, inputs, targets, rate)
    def __init__(self, after=0):
        super().__init__()
        self.after = after
"""


@pytest.mark.usefixtures("forked_launches")
def test_a_peer_that_dies_late_leaves_a_run_of_what_there_was(p2pfl: P2pfl) -> None:
    Path("dying.py").write_text(DYING)
    Path("dying.toml").write_text("peers = 2\nrounds = 8\n[learning]\ntask = 'dying:Dying'\n")
    settings = ("--set", "learning.training={steps=1}", *SMALL[2:4], *SMALL[6:])
    ended = p2pfl("launch", "dying.toml", "--out", "run", *settings,
                  "--set", "learning.options.after=3")  # fmt: skip
    assert ended.code == 2
    line = "peer-1 has ended by itself: exit code 7"
    assert f"p2pfl: {line}; the peers' logs are in run/peers\n" in ended.err
    found = read_run("run")
    assert (found.failure, found.interrupted) == (line, True)
    assert [row.round for row in found.rounds if row.own_mean is not None][:2] == [0, 1]
    assert line in " ".join(ended.out.split())
    assert line in Path("run/report.html").read_text()
    ended = p2pfl("launch", "dying.toml", "--out", "at-once", *settings)
    assert ended.code == 2
    assert f"p2pfl: {line}" in ended.err
    assert [it.name for it in Path("at-once").iterdir()] == ["peers"]


@pytest.mark.usefixtures("forked_launches")
def test_a_launch_counts_masked_sums_as_a_simulation_does(p2pfl: P2pfl) -> None:
    masked = (
        *("--set", "averaging={algorithm='cohorts', cohort_size=5, clip=65536.0}"),
        *("--set", "learning={task='integers'}", "--set", "evaluation={baselines=[]}"),
        *("--set", "peers=5", "--set", "rounds=2", "--set", "faults={}"),
    )
    sums = []
    for command in ("launch", "simulate"):
        assert p2pfl(command, "quick", *masked, "--out", command).code == 0
        summary = json.loads(Path(command, "summary.json").read_text())
        sums.append(summary["masked_sums"])
        by_phase = sum(summary["masked_sums"]["bytes_by_phase"].values())
        assert by_phase <= summary["counters"]["bytes_sent"] < 1.1 * by_phase
        assert "Masked sums" in Path(command, "report.html").read_text()
    (formed, launched_bytes), (simulated, simulated_bytes) = (
        (one["formed"], one.pop("bytes_by_phase")) for one in sums
    )
    assert formed == simulated == 2
    assert sums[0] == sums[1]
    for phase in ("advertise", "share", "chunk", "reveal"):
        assert 0.6 < launched_bytes[phase] / simulated_bytes[phase] < 1.6


def launched(folder: Path, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "p2pfl.cli.main", "launch", "quick", *SMALL),
            *("--set", f"rounds={rounds}", "--out", "run"),
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for_rounds(launch: subprocess.Popen[str]) -> list[int]:
    """Wait until a round is told of; return the numbers of the launcher's processes."""
    assert launch.stderr is not None
    while "gossip: round" not in launch.stderr.readline():
        assert launch.poll() is None
    children = Path(f"/proc/{launch.pid}/task/{launch.pid}/children").read_text()
    found = [int(number) for number in children.split()]
    assert len(found) == 2
    return found


def freeze(process: int) -> None:
    """Stop a process, and return once all its threads have: until then it is not yet frozen."""
    os.kill(process, signal.SIGSTOP)
    threads = list(Path(f"/proc/{process}/task").iterdir())
    while any((it / "stat").read_text().rpartition(")")[2].split()[0] != "T" for it in threads):
        os.sched_yield()


def wait_for_end(process: int) -> None:
    """Wait until a process that is not ours to wait for has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([descriptor], [], [], TIMEOUT_S)
        assert readable, f"process {process} goes on"
    finally:
        os.close(descriptor)


def test_ctrl_c_ends_all_processes_and_keeps_what_has_run(tmp_path: Path) -> None:
    with launched(tmp_path, 100_000) as launch:
        peers = wait_for_rounds(launch)
        launch.send_signal(signal.SIGINT)
        out, err = launch.communicate(timeout=TIMEOUT_S)
        assert launch.returncode == 130
    assert "Ended early" in out
    assert "Traceback" not in err
    assert (tmp_path / "run" / "report.html").exists()
    for peer in peers:
        assert not Path(f"/proc/{peer}").exists()


def test_a_killed_launcher_leaves_no_process_behind(tmp_path: Path) -> None:
    with launched(tmp_path, 100_000) as launch:
        running, frozen = wait_for_rounds(launch)
        freeze(frozen)
        launch.kill()
        launch.wait()
        wait_for_end(running)
        wait_for_end(frozen)
    for log in (tmp_path / "run" / "peers").glob("*/control.sock"):
        assert log.parent.name == f"peer-{1}", "only the frozen one cannot end in good order"


@pytest.mark.usefixtures("forked_launches")
def test_a_launch_is_checked_by_what_peers_report(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = OneMean.on_action
    seen: list[int] = []

    def see(checker: OneMean, now_s: float, host: int, action: Action) -> None:
        told(checker, now_s, host, action)
        seen.append(host)
        assert isinstance(action, Report)
        if isinstance(action.event, RoundEnded) and action.event.round == 1:
            raise Violation("peers 0 and 1 differ")

    monkeypatch.setattr(OneMean, "on_action", see)
    ended = p2pfl("launch", "quick", *SMALL, "--set", "rounds=2", "--quiet", "--check")
    assert ended.code == 1
    assert ended.err == "Violated: peers 0 and 1 differ\n"
    assert set(seen) == {0, 1}
