"""Runs that are killed go on, to the digest of one that never was."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import P2pfl

from p2pfl.learner.learner import Learner
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, WorkFailed
from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.kept_results import HEADER_BYTES_MAX, KeptResults, KeptResultsError

SCENARIO: dict[str, Any] = {
    "peers": 5,
    "rounds": 4,
    "learning": {"task": "digits", "training": {"steps": 1, "local": {"kind": "scaffold"}}},
    "averaging": {"algorithm": "dsgd"},
    "faults": {"crash": {"probability": 0.2, "restart_s": {"mean_s": 0.1}}},
}
TOML = """
peers = 4
rounds = 5
learning.task = "integers"
averaging = { algorithm = "dsgd" }
"""


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the learner die after so many calls."""
    whole = Learner._run

    def after(calls: int) -> list[int]:
        left = [calls]

        def run_(self: Learner, jobs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return whole(self, jobs)

        monkeypatch.setattr(Learner, "_run", run_)
        return left

    return after


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, killed_after: Any) -> None:
    scenario = make_scenario(SCENARIO)
    left = killed_after(10_000)
    whole, path = run(scenario), tmp_path / "kept"
    third = (10_000 - left[0]) // 3
    sizes = []
    for calls in (third, third, third):  # Early, late, and in its baselines.
        killed_after(calls)
        with pytest.raises(Killed):
            run(scenario, kept=path)
        sizes.append(path.stat().st_size)
        with path.open("ab") as file:
            file.write(b"torn off in the midst of a result")
    assert sizes == sorted(set(sizes))
    killed_after(10_000)
    ended = run(scenario, kept=path)
    assert ended.digest == whole.digest
    assert ended.rounds == whole.rounds
    assert ended.gains == whole.gains
    killed_after(0)  # All is known by now: nothing is learnt again.
    assert run(scenario, kept=path).digest == whole.digest


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    document = {**SCENARIO, "rounds": 1, "evaluation": {"baselines": []}}
    run(make_scenario(document), kept=tmp_path / "kept")
    with pytest.raises(KeptResultsError, match="of a run with another scenario"):
        run(make_scenario({**document, "seed": 2}), kept=tmp_path / "kept")
    (tmp_path / "other").write_bytes(b"something else\n")
    with pytest.raises(KeptResultsError, match="holds no results"):
        run(make_scenario(document), kept=tmp_path / "other")


def test_every_kind_of_result_comes_back_as_it_was(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    vector = np.arange(5, dtype=np.float32)
    own = {"head": np.ones((2, 3), np.float32), "none": np.zeros(0, np.float32)}
    train = Train(1, vector, "stream", own)
    results: list[Any] = [
        Trained(vector + 1, 7, float("inf"), own),
        Evaluated({"accuracy": 0.1 + 0.2}, {"auroc": float("nan")}, {}),
        WorkFailed("the loss became nan"),
    ]
    jobs: list[Any] = [train, Evaluate(1, vector, own), Train(1, vector, "other", own)]
    with closing(KeptResults(tmp_path / "kept", {"scenario": "it"})) as kept:
        for job, result in zip(jobs, results, strict=True):
            kept.keep("", 3, job, result)
    again = KeptResults(tmp_path / "kept", {"scenario": "it"})
    request.addfinalizer(again.close)
    trained, evaluated, failed = (again.find("", 3, job) for job in jobs)
    assert isinstance(trained, Trained)
    assert trained.vector.tolist() == [1, 2, 3, 4, 5]
    assert {name: it.shape for name, it in trained.own.items()} == {"head": (2, 3), "none": (0,)}
    assert (trained.sample_count, trained.loss) == (7, float("inf"))
    assert isinstance(evaluated, Evaluated)
    assert evaluated.metrics == {"accuracy": 0.1 + 0.2}
    assert np.isnan(evaluated.own["auroc"])
    assert failed == results[2]
    others = [
        again.find("pooled", 3, train),
        again.find("", 4, train),
        again.find("", 3, Train(2, vector, "stream", own)),
        again.find("", 3, Train(1, vector + 1, "stream", own)),
        again.find("", 3, Train(1, vector, "stream", {"head": own["head"] * 2})),
        again.find("", 3, Train(1, vector, "stream")),
    ]
    assert others == [None] * 6
    assert again.found == 3


def test_a_damaged_result_and_what_follows_are_worked_out_again(tmp_path: Path) -> None:
    vector, path = np.ones(4, np.float32), tmp_path / "kept"
    sizes = []
    for round_ in range(3):
        with closing(KeptResults(path, {})) as kept:
            kept.keep("", 0, Train(round_, vector, "s"), Trained(vector, 1, 0.0))
        sizes.append(path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[sizes[0] + 40] ^= 1
    path.write_bytes(content)
    with closing(KeptResults(path, {})) as again:
        found = [again.find("", 0, Train(round_, vector, "s")) for round_ in range(3)]
    assert [it is not None for it in found] == [True, False, False]
    assert path.stat().st_size == sizes[0]


def test_settings_that_are_too_long_to_be_kept_are_refused_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    room = HEADER_BYTES_MAX - len(json.dumps({"format": 1, "of": ""}) + "\n")
    with closing(KeptResults(path, {"of": "x" * room})) as kept:
        kept.keep("", 0, Train(0, np.ones(4, np.float32), "s"), WorkFailed("no"))
    before = path.read_bytes()
    with pytest.raises(KeptResultsError, match="1,048,577 bytes cannot be kept"):
        KeptResults(path, {"of": "x" * (room + 1)})
    assert path.read_bytes() == before
    with closing(KeptResults(path, {"of": "x" * room})) as again:
        assert again.find("", 0, Train(0, np.ones(4, np.float32), "s")) == WorkFailed("no")


def test_the_command_goes_on(p2pfl: P2pfl, killed_after: Any) -> None:
    Path("it.toml").write_text(TOML)
    whole = json.loads(p2pfl("simulate", "it.toml", "--out", "whole", "-q", "--json").out)
    killed_after(4)
    with pytest.raises(Killed):
        p2pfl("simulate", "it.toml", "--out", "killed", "--resumable", "-q")
    names = {it.name for it in Path("killed").iterdir()}
    assert names == {"scenario.toml", "under_way.json", "results.kept"}
    shutil.move("it.toml", "moved.toml")  # The folder has all that it needs.
    killed_after(10_000)
    ended = json.loads(p2pfl("simulate", "--resume", "killed", "-q", "--json").out)
    assert ended["digest"] == whole["digest"]
    assert ended["own_mean"] == whole["own_mean"]
    names = {it.name for it in Path("killed").iterdir()}
    assert "summary.json" in names
    assert not names & {"under_way.json", "results.kept"}
    for arguments, told in (
        (["--resume", "killed"], "the run has come to its end"),
        (["--resume", "."], "no run that was begun with --resumable"),
        (["moved.toml", "--resume", "killed"], "takes the folder alone"),
        ([], "missing argument"),
    ):
        refused = p2pfl("simulate", *arguments)
        assert (refused.code, told in refused.err) == (2, True), refused.err
