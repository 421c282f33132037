"""How tests run while mutants are tested: the fast ones first, and Hypothesis with few examples.

Whether a test fails is all that counts: the first one that does ends the run. A small example of
why takes most of Hypothesis's time, so none is shrunk, and the same ones are drawn each time.
"""

import pytest
from hypothesis import Phase, settings
from mutmut.state import state

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
