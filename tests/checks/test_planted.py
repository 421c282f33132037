"""Faults planted in the product are found: all of them by `./scripts/bench planted`, a few here."""

from pathlib import Path
from random import Random

import pytest
from collecting import collected
from planted_faults import PLANTED
from planting import Fault, is_noticed
from refusals import TABLE, places

SAMPLE = 2
"""Of all planted faults, in one run of the tests: each takes a process of its own."""

SEED = 10
"""Draws which; another one with each change of this number."""


def test_every_planted_fault_has_its_place_and_its_name() -> None:
    """Who moves or rewords a check takes its fault along."""
    assert [fault.name for fault in PLANTED if not fault.is_at_home()] == []
    assert len(dict.fromkeys(fault.name for fault in PLANTED)) == len(PLANTED)


def test_every_planted_fault_names_a_test_that_pytest_finds(
    pytestconfig: pytest.Config,
) -> None:
    """Who renames a test, or a case of one, renames it here: else nothing would miss the check."""
    named = {fault.test: fault.name for fault in PLANTED}
    found = collected(pytestconfig, {test.partition("::")[0] for test in named})
    whole = {name.partition("[")[0] for name in found}  # A test with all of its cases.
    assert {test: name for test, name in named.items() if test not in found | whole} == {}


def test_every_refusal_names_a_test_that_fails_without_it() -> None:
    """A new refusal, blame or disconnect in gossip needs its row in `refusals.toml`."""
    assert list(TABLE) == [place.name for place in places()]


@pytest.mark.parametrize(
    "fault", Random(f"{SEED}/planted").sample(PLANTED, SAMPLE), ids=lambda fault: fault.name
)
def test_a_planted_fault_fails_its_test(fault: Fault, tmp_path: Path) -> None:
    noticed, output = is_noticed(fault, tmp_path)
    assert noticed, output
