"""Runs that differ in their seed alone are one scenario; whatever else differs is told."""

import dataclasses
import math
from typing import Any

import pytest
from example_runs import RunMaker

from p2pfl.learner.inputs import Inputs
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.comparability import NAMES_MAX, warnings_of
from p2pfl_simulations.results.contest import Contest
from p2pfl_simulations.results.repetitions import (
    interval_of,
    paired,
    repetitions_of,
    t_quantile,
)
from p2pfl_simulations.results.run import PROCESSES, RunResult
from p2pfl_simulations.results.summary import summarise

INPUTS = Inputs(train="a1", test="b2", split="c3", code="p2pfl-peer 1")


def seeded(make_run: RunMaker, seed: int, mean: float | None = None, **scenario: Any) -> RunResult:
    """Make a run that is told apart by its seed alone, with a mean at the end."""
    run = make_run(rounds=2, seed=seed, **scenario)
    run.inputs = dataclasses.replace(INPUTS, test=f"t{seed}", split=f"s{seed}")
    if mean is not None:
        run.rounds[-1].own_mean = mean
    return run


def told(**runs: RunResult) -> list[str]:
    return warnings_of(repetitions_of(runs))


def contest_of(**runs: RunResult) -> Contest:
    """Hold runs against each other by what their last round says."""
    summaries = {
        name: dataclasses.replace(
            summarise(run), own_mean=run.rounds[-1].own_mean, own_worst=run.rounds[-1].own_worst
        )
        for name, run in runs.items()
    }
    return Contest(repetitions_of(runs), summaries, "own")


def test_the_quantile_is_students() -> None:
    """Source: NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2."""
    table = {1: 12.706, 2: 4.303, 5: 2.571, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179, 30: 2.042}
    for degrees, quantile in {**table, 60: 2.000, 100: 1.984}.items():
        assert t_quantile(degrees) == pytest.approx(quantile, abs=6e-4)
    quantiles = [t_quantile(degrees) for degrees in range(1, 200)]
    assert quantiles == sorted(quantiles, reverse=True)


def test_an_interval_is_that_of_the_mean_and_a_range_of_two() -> None:
    three = interval_of([0.1, 0.2, 0.6, None, math.nan])
    assert three is not None
    half = 4.303 * 0.2645751311 / math.sqrt(3)  # The standard deviation of three, by hand.
    assert (three.low, three.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-3)
    assert three.half == pytest.approx(half, rel=1e-3)
    assert three.mean == pytest.approx(0.3)
    assert three.count == 3
    two = interval_of([0.1, 0.5])
    assert two is not None
    assert (two.mean, two.low, two.high, two.half) == (0.3, 0.1, 0.5, None)
    one = interval_of([2.0])
    assert one is not None
    assert (one.low, one.high, one.half) == (2.0, 2.0, None)
    assert interval_of([None, math.inf]) is None


def test_runs_of_one_scenario_are_together_whatever_they_are_called(make_run: RunMaker) -> None:
    plain = {f"plain-{seed}": seeded(make_run, seed, name=f"p{seed}") for seed in (1, 2, 3)}
    other = {"other": seeded(make_run, 1, averaging={"algorithm": "epidemic", "fanout": 2})}
    groups = repetitions_of({**plain, **other})
    assert [group.name for group in groups] == [
        "plain cohorts of 4 (3 seeds)",
        "Epidemic Learning, fanout 2 (other)",
    ]
    assert [list(group.runs) for group in groups] == [list(plain), ["other"]]
    assert groups[0].seeds == [1, 2, 3]


def test_scenarios_of_one_method_are_called_by_their_folders(make_run: RunMaker) -> None:
    def named(**runs: RunResult) -> list[str]:
        return [group.name for group in repetitions_of(runs)]

    slow: dict[str, Any] = {"learning": {"task": "digits", "training": {"learning_rate": 0.01}}}
    runs = {f"fast_{seed}": seeded(make_run, seed) for seed in (1, 2)}
    runs |= {f"slow_{seed}": seeded(make_run, seed, **slow) for seed in (1, 2)}
    assert named(**runs) == ["fast (2 seeds)", "slow (2 seeds)"]
    assert named(one=seeded(make_run, 1), two=seeded(make_run, 1, **slow)) == ["one", "two"]
    # Two that would be called alike go by their first run.
    runs = {
        "run_1": seeded(make_run, 1),
        "run_2": seeded(make_run, 2),
        "run_3": seeded(make_run, 1, **slow),
        "run_4": seeded(make_run, 2, **slow),
    }
    assert named(**runs) == ["run_1 (2 seeds)", "run_3 (2 seeds)"]


@pytest.mark.parametrize("what", ["world", "train", "code"])
def test_other_worlds_rows_and_code_are_other_scenarios(make_run: RunMaker, what: str) -> None:
    one, other = seeded(make_run, 1), seeded(make_run, 2)
    assert len(repetitions_of({"a": one, "b": other})) == 1
    if what == "world":
        other.world = PROCESSES
    else:
        other.inputs = dataclasses.replace(INPUTS, **{what: "else"})
    assert len(repetitions_of({"a": one, "b": other})) == 2


def test_seeds_are_no_reason_to_warn(make_run: RunMaker) -> None:
    assert told(a=seeded(make_run, 1), b=seeded(make_run, 2)) == []
    assert told(a=seeded(make_run, 1), b=seeded(make_run, 1, averaging={"algorithm": "dsgd"})) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learning": {"task": "breast-cancer"}}, "Different tasks: their figures"),
        ({"learning": {"task": "digits", "options": {"hidden": [8]}}}, "options of the task"),
        ({"peers": 8}, "Different numbers of peers: each peer holds other rows. 16 in a; 8 in b."),
        (
            {"learning": {"task": "digits", "partition": {"kind": "dirichlet", "alpha": 0.1}}},
            "kind dirichlet, alpha 0.1, minimum_rows 8 in b.",
        ),
        ({"evaluation": {"peers": 4}}, "Different evaluated peers: means and the worst"),
        ({"seed": 2}, "have no seed in common"),
    ],
)
def test_settings_that_keep_runs_from_being_compared_are_told(
    make_run: RunMaker, changed: dict[str, Any], said: str
) -> None:
    averaging: dict[str, Any] = {"averaging": {"algorithm": "dsgd"}}
    one = seeded(make_run, 1)
    document = {"seed": 1, **averaging, **changed}
    other = seeded(make_run, document.pop("seed"), **document)
    (warning,) = told(a=one, b=other)
    assert said in warning


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("train", "Different rows of data: they learnt from other rows. a1 in a; else in b."),
        ("test", "Different test rows: they were measured on other rows."),
        ("split", "Different splits: peers train and test on other rows."),
        ("code", "Different code of the task: it may measure otherwise. p2pfl-peer 1 in a"),
    ],
)
def test_rows_and_code_are_compared_by_digest(make_run: RunMaker, what: str, said: str) -> None:
    one, other = seeded(make_run, 1), seeded(make_run, 1)
    assert other.inputs is not None
    other.inputs = dataclasses.replace(other.inputs, **{what: "else"})
    assert any(said in warning for warning in told(a=one, b=other))


def test_other_rounds_and_runs_that_ended_early_are_told(make_run: RunMaker) -> None:
    one, other = seeded(make_run, 1), make_run(rounds=5, seed=1)
    other.inputs = one.inputs
    assert "Different rounds: more rounds may reach more" in told(a=one, b=other)[0]
    cut = seeded(make_run, 1, averaging={"algorithm": "dsgd"})
    cut.rounds.pop()
    cut.interrupted = True
    (warning,) = told(a=one, b=cut)
    assert warning == "Ended early: b. Such a run has not reached what it would."


def test_a_seed_that_comes_twice_and_an_older_folder_are_told(make_run: RunMaker) -> None:
    (warning,) = told(a=seeded(make_run, 1), b=seeded(make_run, 1), c=seeded(make_run, 2))
    assert "has a seed twice" in warning
    old = seeded(make_run, 1)
    old.inputs = None
    assert "Of a it is not known on which rows" in told(a=old, b=seeded(make_run, 2))[-1]


def test_of_many_runs_the_number_is_told(make_run: RunMaker) -> None:
    def early(count: int) -> str:
        runs = {f"run{seed}": seeded(make_run, seed) for seed in range(count)}
        for run in runs.values():
            run.interrupted = True
        (warning,) = told(**runs)
        return warning

    names = ", ".join(f"run{seed}" for seed in range(NAMES_MAX))
    assert early(NAMES_MAX).startswith(f"Ended early: {names}. ")
    assert early(NAMES_MAX + 1).startswith(f"Ended early: run0 and {NAMES_MAX} others. ")


def test_of_many_pairs_without_a_common_seed_the_first_are_told(make_run: RunMaker) -> None:
    methods: list[dict[str, Any]] = [
        {"algorithm": "dsgd"},
        {"algorithm": "epidemic", "fanout": 2},
        {"algorithm": "epidemic", "fanout": 3},
        {"algorithm": "epidemic", "fanout": 4},
    ]
    runs = {f"run{n}": seeded(make_run, n, averaging=it) for n, it in enumerate(methods)}
    assert len(repetitions_of(runs)) == 4  # Six pairs.
    assert len([it for it in told(**runs) if "no seed in common" in it]) == NAMES_MAX


def test_a_lead_must_be_more_than_luck(make_run: RunMaker) -> None:
    dsgd: dict[str, Any] = {"averaging": {"algorithm": "dsgd"}}

    def runs(ours: list[float], theirs: list[float]) -> dict[str, RunResult]:
        return {
            **{f"a{n}": seeded(make_run, n, mean) for n, mean in enumerate(ours)},
            **{f"b{n}": seeded(make_run, n, mean, **dsgd) for n, mean in enumerate(theirs)},
        }

    # Half a point in each seed, however far the seeds are apart.
    clear = contest_of(**runs([0.9, 0.8, 0.7], [0.894, 0.796, 0.695]))
    assert clear.headline == (
        "plain cohorts of 4 (3 seeds) does best: 80.0 %, 0.5 points better than"
        " DSGD on ring (3 seeds)."
    )
    # Ten points on average, of which one seed makes nearly all.
    luck = contest_of(**runs([0.9, 0.8, 0.7], [0.6, 0.81, 0.69]))
    assert "No run is clearly ahead: 80.0 % at best" in luck.headline
    assert "does best: 90.0 %" in contest_of(**runs([0.9], [0.88])).headline
    assert "No run is clearly ahead" in contest_of(**runs([0.9], [0.895])).headline
    assert "the mean of 2 runs" in contest_of(**runs([0.9, 0.8], [])).headline
    groups = repetitions_of(runs([0.9, 0.8], [0.5, 0.5]))
    difference = paired(groups[0], groups[1], lambda run: run.rounds[-1].own_mean)
    assert difference is not None
    assert difference.mean == pytest.approx(0.35)


def test_of_a_metric_that_should_fall_the_least_is_the_best(make_run: RunMaker) -> None:
    one = seeded(make_run, 1, 2.0)
    other = seeded(make_run, 1, 3.0, averaging={"algorithm": "dsgd"})
    for run in (one, other):
        run.primary = PrimaryMetric("rmse", larger_is_better=False)
        run.rounds[-1].own_worst = 4.0
    contest = contest_of(a=one, b=other)
    assert contest.headline == (
        "plain cohorts of 4 (a) does best: 2, 1 better than DSGD on ring (b)."
    )
    assert contest.best([interval_of([2.0]), interval_of([3.0]), None]) == 2.0
    other.primary = PrimaryMetric("mae", larger_is_better=False)
    mixed = contest_of(a=one, b=other)
    assert mixed.headline == "The runs are measured by different metrics: RMSE, MAE."
    assert mixed.best([interval_of([2.0])]) is None
    assert any("Different primary metrics" in it for it in told(a=one, b=other))
