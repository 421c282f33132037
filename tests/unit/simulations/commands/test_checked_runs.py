"""`p2pfl simulate --check`."""

from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl_simulations.checkers.agreement import OneMean
from p2pfl_simulations.checkers.base import Violation

SMALL = (
    *("simulate", "quick", "--rounds", "1", "--quiet", "--out", "here"),
    *("--set", "learning={task='integers'}", "--set", "evaluation={baselines=[]}"),
)


def test_a_violation_is_one_line_and_exit_code_1(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: object) -> None:
        raise Violation("peers 1 and 2 end round 0 with [different] means")

    monkeypatch.setattr(OneMean, "on_action", find)
    assert p2pfl(*SMALL).code == 0
    ended = p2pfl(*SMALL[:-4], "--out", "there", *SMALL[-4:], "--check")
    assert ended.code == 1
    assert ended.err == "Violated: peers 1 and 2 end round 0 with [different] means\n"
    assert not Path("there").exists()


def test_a_run_without_a_violation_is_as_any_other(p2pfl: P2pfl) -> None:
    ended = p2pfl(*SMALL, "--check")
    assert ended.code == 0
    assert Path("here/report.html").is_file()
