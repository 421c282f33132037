"""Members of masked cohorts with slow disks: who sums nothing is fastest, and nobody follows it."""

from typing import Any

import pytest
from sampled import sampled

from p2pfl_simulations import make_scenario, run

SLOW: dict[str, Any] = {
    "peers": 10,
    "rounds": 6,
    "learning": {"task": "digits"},
    "averaging": {"algorithm": "cohorts", "cohort_size": 5},
    "disk": {"kind": "slow"},
    "evaluation": {"baselines": []},
}


@pytest.mark.parametrize("seed", sampled(range(2), every=2))
@pytest.mark.parametrize("deadline_s", [0.7, 1.0])
def test_nobody_gives_its_sum_up_to_follow_a_member_that_has_none(
    deadline_s: float, seed: int
) -> None:
    averaging = {**SLOW["averaging"], "deadline_s": deadline_s}
    result = run(make_scenario({**SLOW, "seed": seed, "averaging": averaging}))
    assert result.counters["persisted"] > 100
    assert [row.ended for row in result.rounds] == [10] * 6
    assert not [event for event in result.events if event.kind in ("round_lost", "caught_up")]
