"""Whole sessions of a group: exact sums for all, with drops in each phase; what is refused."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch, outcome_of_group
from sampled import sampled
from session_faults import FAULTS, PHASES, CrashIn, draw


@pytest.mark.parametrize("n", [5, 6, 7, 8, 12, 16])
def test_without_faults_all_members_get_the_exact_sums_of_all(n: int) -> None:
    cohort, people = make_epoch(n, 403)
    driver = GroupDriver(cohort, people, n).run()
    outcomes = driver.check_exact()
    assert len(outcomes) == n
    first = outcomes[0]
    for sums in outcomes.values():
        assert sums.members == tuple(range(n))
        assert sums.blames == ()
        assert sums.ballot == first.ballot
        assert [it.digest for it in sums.chunks] == [it.digest for it in first.chunks]
    assert not driver.refusals
    assert not driver.disconnects
    model = driver.model_of(first)
    mean = sum(
        weight * delta.astype(np.float64)
        for weight, delta in zip(cohort.weights, driver.vectors, strict=True)
    ) / math.fsum(cohort.weights)
    bound = 1.5 * n * cohort.clip / cohort.deltas.quantum_max + 2**-22
    assert np.abs(model - (driver.base + mean)).max() < bound


def draw_drops(
    seed: int, members_max: int, driver_type: type[GroupDriver] = GroupDriver
) -> GroupDriver:
    """Draw a session of which up to n - t members drop out in any phase."""
    random = Random(f"{seed}/group-drops")
    n = random.randint(5, members_max)
    cohort, people = make_epoch(
        n,
        random.randint(1, 60),
        owner_count=random.choice((2, 2, 3)),
        weights=tuple(random.choice((random.uniform(0.01, 100), 100.0)) for _ in range(n)),
        leaders=tuple(random.sample(range(n), n)),
    )
    drops = random.randint(0, n - cohort.threshold)
    victims = {
        rank: (random.choice(PHASES[1:]), random.randint(0, 3 * n))
        for rank in random.sample(range(n), drops)
    }
    options: dict[str, Any] = {"tells_down": random.random() < 0.5}
    return driver_type(cohort, people, seed, before=CrashIn(victims), **options)


@pytest.mark.parametrize("seed", sampled(range(30), every=5))
def test_random_groups_with_random_drops_get_the_exact_sums(seed: int) -> None:
    driver = draw_drops(seed, members_max=12).run()
    driver.check_safety()
    outcomes = driver.check_exact()
    alive = [rank for rank in range(driver.cohort.size) if rank not in driver.dead]
    if driver.has_lost_parts():
        assert driver.reasons() == dict.fromkeys(sorted(driver.reasons()), "sums_missing")
    else:
        assert sorted(outcomes) == alive, driver.reasons()


# All phases and faults are in the sample, not all pairs.
@pytest.mark.parametrize("seed", sampled(range(len(PHASES) * len(FAULTS)), every=7))
def test_each_fault_in_each_phase_breaks_nothing(seed: int) -> None:
    phase, fault, driver = draw(seed, make_epoch, GroupDriver)
    outcome = outcome_of_group(driver.run())
    if driver.has_lost_parts() or fault == "n - t + 1 crashes":
        assert outcome != "exact for some", (phase, fault)
    else:
        assert outcome in ("exact", "chunks kept"), (phase, fault, driver.reasons())


@pytest.mark.parametrize("seed", [1045])
def test_a_leader_that_dies_while_it_speaks_splits_nobody(seed: int) -> None:
    """What it said to some is heard of before the next leader speaks."""
    _, _, driver = draw(seed, make_epoch, GroupDriver)
    assert outcome_of_group(driver.run()) == "exact"
