"""`p2pfl simulate --check`."""

from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl_simulations import make_scenario
from p2pfl_simulations.checkers.agreement import OneMean
from p2pfl_simulations.checkers.base import Violation
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.results.run import RoundRow
from p2pfl_simulations.running import checkers_of

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


def test_that_all_finish_is_demanded_where_nothing_keeps_them_from_it() -> None:
    def asks(**settings: object) -> bool:
        averaging = {"algorithm": "cohorts", "cohort_size": 5}
        document = {"peers": 5, "learning": {}, "averaging": averaging, **settings}
        return any(isinstance(it, AllFinish) for it in checkers_of(make_scenario(document)))

    assert asks()
    assert asks(faults={"liars": {"strategy": "slow", "peers": [1]}})
    assert not asks(faults={"crash": {"probability": 0.1}})
    assert not asks(network={"loss": 0.1})
    assert not asks(time_limit_s=5)


def test_the_tables_of_a_checked_run_are_added_up(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Recorder.rows

    def rows(recorder: Recorder) -> list[RoundRow]:
        found = honest(recorder)
        found[0].ended += 1
        return found

    monkeypatch.setattr(Recorder, "rows", rows)
    ended = p2pfl(*SMALL, "--check")
    assert ended.code == 1
    assert "was ended by" in ended.err
