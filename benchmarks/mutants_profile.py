"""How tests run while mutants are tested: the fast ones first, and Hypothesis with few examples.

Whether a test fails is all that counts: the first one that does ends the run. A small example of
why takes most of Hypothesis's time, so none is shrunk, and the same ones are drawn each time.

A test that takes much more of the processor than it did without a mutant waits for what never
comes: it ends the run as well. A busy machine makes no test take more of the processor.
"""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import Phase, settings
from mutmut.state import state

LEAST_CPU_S, CPU_FACTOR = 1.0, 5.0
"""What a test may take of the processor: so much, and so many times what it took before."""

settings.register_profile(
    "mutants",
    phases=(Phase.explicit, Phase.generate),
    max_examples=25,
    derandomize=True,
    database=None,
)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in the order of what they took without a mutant."""
    took_s = state().duration_by_test
    items.sort(key=lambda item: took_s.get(item.nodeid, 0.0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give a test as much of the processor's time as it can need."""
    took_s = state().duration_by_test.get(item.nodeid)
    if not took_s:
        return (yield)  # It is run for the first time, without a mutant.
    signal.signal(signal.SIGPROF, lambda *_: os._exit(signal.SIGXCPU))
    signal.setitimer(signal.ITIMER_PROF, LEAST_CPU_S + CPU_FACTOR * took_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
