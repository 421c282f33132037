"""A seeded part of the fuzzing of ./scripts/bench libp2p-fuzz, in every test run."""

import libp2p_fuzz as fuzzing
import pytest

COUNT = 2_000


@pytest.mark.parametrize("name", list(fuzzing.FUZZERS))
def test_only_the_declared_error_comes_out_of_a_machine(name: str) -> None:
    report = fuzzing.fuzz(name, COUNT, seed=20)
    assert report.count == COUNT
    # The inputs are neither all noise nor all valid, and there are several ways to be refused.
    assert 0 < report.accepted < COUNT
    assert len(report.reasons) >= 3 or name == "noise-channel"
    assert max(report.depths) >= 1
