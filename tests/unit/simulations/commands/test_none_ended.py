"""A run in which no round ended: why is told in one line, the exit code is 1, nothing is left."""

from pathlib import Path

import pytest
from calling import P2pfl

AWAY = "faults={churn={session_s={mean_s=1}, offline_s={mean_s=60}}}"
TASK = "learning={task='integers'}"


def test_a_group_that_is_never_together_says_what_a_model_takes(
    p2pfl: P2pfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = p2pfl(
        *("simulate", "quick", "-q", "--peers", "8", "--out", "run", "--set", TASK),
        *("--set", "averaging={algorithm='group', clip=1.0}", "--set", AWAY),
        *("--set", "time_limit_s=60"),
    )
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("No round ended within ")
    for told in ("of 8 peers were offline at the end (churn)", "a model takes 6 of 8 members"):
        assert told in ended.err
    assert "no masked sum came about" in ended.err
    assert not Path("run").exists()


def test_threads_change_no_digest(p2pfl: P2pfl, tmp_path: Path) -> None:
    small = ("simulate", "quick", "-q", "--rounds", "1", "--set", TASK, "--json")
    runs = [p2pfl(*small, "--threads", n, "--out", str(tmp_path / n)) for n in ("1", "2")]
    digests = [line for run in runs for line in run.out.splitlines() if '"digest"' in line]
    assert len(digests) == 2
    assert len(set(digests)) == 1
    assert p2pfl(*small, "--threads", "0").code == 2
