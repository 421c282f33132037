"""A few seeds of any_order.py; more by `python tests/any_order.py --seeds 100:400`."""

import any_order
import pytest
from sampled import sampled

SEEDS = range(36)
EVERY = 5


@pytest.mark.parametrize("seed", sampled(SEEDS, EVERY))
def test_every_member_finishes_whatever_disks_jobs_and_crashes_did(seed: int) -> None:
    any_order.check(seed)


def test_the_seeds_above_have_all_disks_and_crashes_in_every_stage() -> None:
    kinds = {any_order.draw(seed)[0].disk.kind for seed in SEEDS[::EVERY]}
    assert kinds == {"none", "ssd", "slow", "drawn"}
    assert sum(any_order.check(seed).crashes for seed in SEEDS[: 3 * EVERY : EVERY]) > 20
