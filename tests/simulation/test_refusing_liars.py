"""Liars that refuse what takes t members, or the sums that they own: what comes of a group."""

from typing import Any

import pytest
from test_liars import document

from p2pfl.learner.learner import make_learner
from p2pfl_simulations import make_scenario
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.results.masked_sums import MaskedSums
from p2pfl_simulations.simulation import Simulation

PEERS, LIARS = 7, [1, 4]
"""As many as may lie."""
AVERAGING = {
    "algorithm": "group",
    "deadline_s": 0.5,
    "patience_s": 1.0,
    "clip": 1000.0,
    "retries": 20,
}


def simulate(
    strategy: str, rounds: int = 8, *, audit: str = "name", **arguments: Any
) -> MaskedSums:
    """Run with all checkers, and demand that all honest members have all models."""
    liars = {"strategy": strategy, "peers": LIARS, "arguments": arguments}
    scenario = make_scenario(
        document(
            liars,
            peers=PEERS,
            rounds=rounds,
            time_limit_s=300,
            averaging=AVERAGING | {"audit": audit},
        )
    )
    learner = make_learner(scenario.learning, peer_count=PEERS, seed=1, folder=None)
    checkers = (*all_checkers(), AllFinish())
    simulation = Simulation(scenario, learner, lambda _: None, folder=None, checkers=checkers)
    simulation.run()
    result = simulation.result()
    assert [row.ended for row in result.rounds] == [PEERS - len(LIARS)] * rounds
    assert result.masked_sums is not None
    return result.masked_sums


@pytest.mark.parametrize("by", ["manifest", "receipt"])
def test_who_gives_one_member_another_version_is_named(by: str) -> None:
    sums = simulate("one-short", by=by)
    assert set(sums.blamed) <= {f"two_{by}s", "two_versions"}
    assert f"two_{by}s" in sums.blamed


def test_who_gives_one_member_another_header_is_named() -> None:
    sums = simulate("one-short", by="header")
    assert list(sums.blamed) == ["two_headers"]
    assert set(sums.aborted) <= {"no_agreement"}


@pytest.mark.parametrize("audit", ["name", "off"])
def test_who_gives_one_member_no_share_is_left_out(audit: str) -> None:
    """Nobody else can see it. That member is left out as well, when it is the turn of both."""
    sums = simulate("one-short", rounds=20, audit=audit, by="share")
    assert not sums.blamed
    assert list(sums.aborted) == ["no_agreement"]
    assert sums.aborted["no_agreement"] < 25  # 91 where nobody is missed.


@pytest.mark.parametrize("audit", ["name", "off"])
def test_owners_that_keep_a_sum_and_their_words_are_left_out(audit: str) -> None:
    sums = simulate("withheld-sums", audit=audit)
    assert not sums.blamed
    assert list(sums.aborted) == ["sums_missing"]


@pytest.mark.parametrize(
    "arguments", [{"share": 0.5}, {"signs": True, "words": True}, {"words": True}]
)
def test_a_sum_that_some_were_given_or_others_can_work_out_is_not_lost(
    arguments: dict[str, Any],
) -> None:
    sums = simulate("withheld-sums", **arguments)
    assert not sums.blamed
    assert not sums.aborted


def test_owners_that_sign_a_sum_and_keep_it_are_left_out_all_the_same() -> None:
    sums = simulate("withheld-sums", signs=True)
    assert not sums.blamed
    assert list(sums.aborted) == ["sums_missing"]
