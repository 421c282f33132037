"""A few seeds of any_order.py; more by `python tests/any_order.py --seeds 100:400`."""

import any_order
import pytest


@pytest.mark.parametrize("seed", range(36))
def test_every_member_finishes_whatever_disks_jobs_and_crashes_did(seed: int) -> None:
    any_order.check(seed)


def test_the_seeds_above_have_all_disks_and_crashes_in_every_stage() -> None:
    groups = [any_order.check(seed) for seed in range(12)]
    assert sum(group.crashes for group in groups) > 50
    kinds = {any_order.draw(seed)[0].disk.kind for seed in range(36)}
    assert kinds == {"none", "ssd", "slow", "drawn"}
