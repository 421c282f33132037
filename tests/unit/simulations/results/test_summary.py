"""What a run's figures say."""

import math

import pytest
from example_runs import RunMaker

from p2pfl_simulations.results.summary import headline, summarise, verdict


def test_figures_are_of_the_last_evaluated_round(make_run: RunMaker) -> None:
    run = make_run(peers=16, rounds=5)
    run.rounds[4].accuracy_mean = None
    run.rounds[4].local_mean = 0.99
    summary = summarise(run)
    assert summary.accuracy_round == 4
    assert summary.accuracy_mean == run.rounds[3].accuracy_mean
    assert summary.local_mean == run.rounds[3].local_mean
    assert summary.bytes_per_peer == 5 * 20_000
    assert summary.online == run.rounds[4].online
    assert summary.lost == sum(row.lost for row in run.rounds)
    assert summary.peer_rounds == 5 * 16


@pytest.mark.parametrize(
    ("mean", "local", "pooled", "said"),
    [
        (
            0.90,
            0.60,
            0.95,
            "Worth it: +30.0 points over local only. Pooling all data would add 5.0 points.",
        ),
        (
            0.50,
            0.60,
            0.95,
            (
                "Not worth it: −10.0 points against local only."
                " Pooling all data would add 45.0 points."
            ),
        ),
        (
            0.605,
            0.60,
            0.604,
            "No clear gain over local only (+0.5 points). As good as pooling all data.",
        ),
        (0.90, None, 0.80, "That is 10.0 points above pooling all data."),
    ],
)
def test_the_verdict_weighs_both_baselines(
    make_run: RunMaker, mean: float, local: float | None, pooled: float, said: str
) -> None:
    run = make_run(rounds=1)
    row = run.rounds[0]
    row.accuracy_mean, row.local_mean, row.pooled = mean, local, pooled
    row.accuracy_worst = None
    assert verdict(summarise(run)) == said


def test_the_headline_names_what_was_measured(make_run: RunMaker) -> None:
    run = make_run(peers=16, rounds=1)
    row = run.rounds[0]
    row.accuracy_mean, row.local_mean, row.pooled = 0.889, 0.646, 0.954
    assert headline(summarise(run)) == (
        "16 peers reach 88.9 % together, against 64.6 % each alone and 95.4 % with all data in"
        " one place."
    )
    row.local_mean = row.pooled = None
    assert headline(summarise(run)) == "16 peers reach 88.9 % together."
    row.accuracy_mean = math.nan
    assert headline(summarise(run)) == "16 peers, 1 round: no accuracy was measured."


def test_a_run_that_was_stopped_before_its_first_round(make_run: RunMaker) -> None:
    run = make_run(rounds=1)
    run.rounds, run.peers = [], []
    summary = summarise(run)
    assert summary.accuracy_round is None
    assert summary.bytes_per_peer == 0
    assert summary.online is None
    assert "no accuracy" in headline(summary)
    assert "Nothing can be said" in verdict(summary)
