"""Fixtures of the simulator's unit tests."""

import pytest
from example_runs import RunMaker, make_example


@pytest.fixture(scope="session")
def make_run() -> RunMaker:
    """Make runs by hand."""
    return make_example
