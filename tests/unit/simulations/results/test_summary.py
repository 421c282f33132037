"""What a run's figures say."""

import math

import pytest
from example_runs import RunMaker

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.run import GainRow, MeanGain, RunResult
from p2pfl_simulations.results.summary import summarise, without_baselines
from p2pfl_simulations.results.verdict import headline, mood_of, verdict


def test_figures_are_of_the_last_evaluated_round(make_run: RunMaker) -> None:
    run = make_run(peers=16, rounds=5)
    run.rounds[4].own_mean = run.rounds[4].common_mean = None
    run.rounds[4].common_local_mean = 0.99
    summary = summarise(run)
    assert summary.evaluated_round == 4
    assert summary.common_mean == run.rounds[3].common_mean
    assert summary.common_local_mean == run.rounds[3].common_local_mean
    assert summary.bytes_per_peer == 5 * 20_000
    assert summary.online == run.rounds[4].online
    assert summary.lost == sum(row.lost for row in run.rounds)
    assert summary.peer_rounds == 5 * 16


def test_own_figures_are_of_each_peers_model_that_counts_with_gains_or_without(
    make_run: RunMaker,
) -> None:
    """The last one that was measured, be it of an earlier round; or the best on validation rows."""
    run = make_run(peers=3, rounds=3, cohort_size=3)
    figures = {0: (0.1, 0.2, 0.9), 1: (0.3, 0.8, 0.5), 2: (0.4, 0.7, None)}
    run.peers = [row for row in run.peers if figures[row.peer][row.round] is not None]
    for row in run.peers:
        row.own = {"accuracy": figures[row.peer][row.round] or 0.0, "auroc": row.round / 4}
    with_gains = summarise(run)
    assert with_gains.own_mean == pytest.approx((0.9 + 0.5 + 0.7) / 3)
    assert with_gains.own_worst == 0.5
    assert with_gains.own_figures["auroc"] == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert with_gains.own_local_mean is not None
    run.rounds[-1].own_mean = run.rounds[-1].own_local_mean = 0.123
    bare = summarise(without_baselines(run))
    assert (bare.own_mean, bare.own_worst) == (with_gains.own_mean, with_gains.own_worst)
    assert bare.own_figures == with_gains.own_figures
    assert bare.own_local_mean is None
    assert run.rounds[-1].own_local_mean == 0.123
    for row in run.peers:
        row.validation = {"accuracy": 1 - row.own["accuracy"]}
    assert summarise(run).own_mean == pytest.approx((0.1 + 0.3 + 0.4) / 3)


def test_a_run_in_which_no_models_were_averaged_claims_nothing(make_run: RunMaker) -> None:
    run = make_run(peers=6, cohort_size=6, rounds=2)
    run.model, run.gains, run.mean_gain, run.pooled_gain = None, [], None, None
    summary = summarise(run)
    assert not summary.has_model
    assert (summary.own_mean, summary.own_worst, summary.own_figures) == (None, None, {})
    assert headline(summary) == (
        "No common model: in 2 rounds of 6 peers no two models were averaged."
    )
    assert "nothing to gain by joining" in verdict(summary)
    assert mood_of(summary) == ""
    with pytest.raises(ValueError, match="has no common model"):
        run.require_model()


def outcome(run: RunResult, *intervals: tuple[float, float, float]) -> None:
    """Give a run's peers gains, each with its interval."""
    run.gains = [
        GainRow(peer, f"peer-{peer}", 40, 10, 0.8, 0.7, 0.9, *figures)
        for peer, figures in enumerate(intervals)
    ]


UP, DOWN, UNCLEAR = (0.3, 0.1, 0.5), (-0.2, -0.4, -0.1), (0.04, -0.1, 0.2)


@pytest.mark.parametrize(
    ("gains", "mean", "pooled", "said"),
    [
        (
            [UP, UP, DOWN],
            (0.1333, 0.02, 0.25),
            (0.05, 0.01, 0.09),
            (
                "Worth it for most: +13.3 points on average (+2.0 to +25.0 with 95% confidence)."
                " The worst loser is peer-2: −20.0 points (−40.0 to −10.0, 10 rows). Pooling"
                " all data would add 5.0 points (+1.0 to +9.0)."
            ),
        ),
        (
            [UP, UNCLEAR, UNCLEAR],
            (0.2, 0.02, 0.25),
            (-0.05, -0.09, -0.01),
            (
                "Worth it: +20.0 points on average (+2.0 to +25.0 with 95% confidence)."
                " Nobody surely loses; the least gain is peer-1's: +4.0 points (−10.0 to +20.0, 10"
                " rows). That is 5.0 points above pooling all data (−9.0 to −1.0)."
            ),
        ),
        (
            [DOWN, UNCLEAR, UNCLEAR],
            (-0.02, -0.04, -0.01),
            None,
            (
                "Not worth it: −2.0 points on average (−4.0 to −1.0 with 95% confidence). The worst"
                " loser is peer-0: −20.0 points (−40.0 to −10.0, 10 rows)."
            ),
        ),
        (
            [UP, UP, UP],
            (0.03, -0.01, 0.05),
            (0.03, -0.01, 0.05),
            (
                "No clear gain: +3.0 points on average (−1.0 to +5.0 with 95% confidence). Nobody"
                " loses; peer-0 gains least: +30.0 points (+10.0 to +50.0, 10 rows). Pooling all"
                " data would make no clear difference (−1.0 to +5.0)."
            ),
        ),
    ],
)
def test_the_verdict_goes_by_intervals_and_names_the_worst_loser(
    make_run: RunMaker,
    gains: list[tuple[float, float, float]],
    mean: tuple[float, float, float],
    pooled: tuple[float, float, float] | None,
    said: str,
) -> None:
    run = make_run(peers=3, cohort_size=3, rounds=1)
    outcome(run, *gains)
    run.mean_gain = MeanGain(*mean)
    run.pooled_gain = None if pooled is None else MeanGain(*pooled)
    summary = summarise(run)
    assert verdict(summary) == said
    mood = {"Worth": "good", "Not": "bad", "No": "even"}[said.split()[0]]
    assert mood_of(summary) == mood


def test_the_headline_counts_whom_the_run_served(make_run: RunMaker) -> None:
    run = make_run(peers=6, cohort_size=6, rounds=1)
    outcome(run, UP, UP, DOWN, UNCLEAR)
    run.gains.append(GainRow(4, "peer-4", 40, 0, None, None, None, None, None, None))
    assert headline(summarise(run)) == (
        "Of 6 peers 2 gain by joining, 1 loses, 1 shows no clear difference and 1 cannot be"
        " measured, each on test rows of its own."
    )
    run.gains, run.mean_gain = [], None
    for row in run.peers:
        row.own = {"accuracy": 0.889}
    assert headline(summarise(run)) == (
        "6 peers reach 88.9 % (accuracy), each on test rows of its own."
    )
    for row in run.peers:
        row.own = {}
    run.rounds[0].own_mean, run.rounds[0].common_mean = None, 0.75
    assert headline(summarise(run)) == ("6 peers reach 75.0 % (accuracy), on one common test set.")
    assert "No peer has test rows of its own (learning.held_out)" in verdict(summarise(run))
    run.rounds[0].common_mean = math.nan
    assert headline(summarise(run)) == "6 peers, 1 round: no accuracy was measured."


def test_figures_of_another_direction_are_told_in_their_unit(make_run: RunMaker) -> None:
    run = make_run(peers=3, cohort_size=3, rounds=1)
    run.primary = PrimaryMetric("rmse", larger_is_better=False)
    for row in run.peers:
        row.own = {"rmse": 0.6 + row.peer / 10}
    outcome(run, (12.3, 1.0, 20.0), (-4.5, -6.0, -3.0))
    run.mean_gain, run.pooled_gain = MeanGain(4.0, 1.0, 7.0), None
    summary = summarise(run)
    assert verdict(summary) == (
        "Worth it: +4 of RMSE on average (+1 to +7 with 95% confidence). The worst"
        " loser is peer-1: −4.5 (−6 to −3, 10 rows)."
    )
    assert summary.own_worst == 0.8
    assert mood_of(summary) == "good"


def test_means_of_figures_leave_out_who_cannot_tell_them(make_run: RunMaker) -> None:
    run = make_run(peers=2, cohort_size=2, rounds=1)
    run.peers[0].own, run.peers[1].own = {"auroc": 0.75, "loss": 1.0}, {"auroc": math.nan}
    summary = summarise(run)
    assert summary.own_figures == {"auroc": 0.75, "loss": 1.0}
    assert summary.own_undefined == {"auroc": 1, "loss": 1}


def test_a_run_that_was_stopped_before_its_first_round(make_run: RunMaker) -> None:
    run = make_run(rounds=1)
    run.rounds, run.peers, run.gains = [], [], []
    summary = summarise(run)
    assert summary.evaluated_round is None
    assert summary.bytes_per_peer == 0
    assert summary.online is None
    assert "no accuracy" in headline(summary)
    assert "Nothing can be said" in verdict(summary)
