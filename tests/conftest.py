"""What all tests have in common: one core each, no stale compiled modules, sweeps on demand.

pytest-xdist starts a worker for each core. Left to themselves, torch and BLAS would start a thread
for each core in each worker: they would wait for each other in busy loops, which took more
time than the work itself. Processes that tests start have the setting from here too.
"""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache

import pytest
from collecting import COLLECTED

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

gc.disable()  # What is collected stays.


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="all cases of sweeps, not a sample")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember what was collected; leave out what is marked as long, unless it is asked for."""
    config.stash[COLLECTED] = tuple(item.nodeid for item in items)
    if not config.getoption("--long"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session", autouse=True)
def _what_members_check_alike_is_checked_once() -> Iterator[None]:
    """Remember which signatures hold, and which proofs: in one process all members check the same.

    Of proofs each member checks a sum, with weights of its own draws; one member's will do.
    """
    from p2pfl_crypto.audit.checking import ProofShown, Verdict, check_all
    from p2pfl_crypto.identity import verify

    @lru_cache(maxsize=256)
    def checked(claims: tuple[ProofShown, ...], sum_sketch: tuple[int, ...]) -> Verdict:
        return check_all(claims, sum_sketch, bytes(32))

    def check_once(claims: Sequence[ProofShown], sum_sketch: Sequence[int], _: bytes) -> Verdict:
        return checked(tuple(claims), tuple(sum_sketch))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("p2pfl_crypto.statements.verify", lru_cache(maxsize=2**15)(verify))
        patched.setattr("p2pfl_gossip.masked_sum.audit_jobs.check_all", check_once)
        yield


GARBAGE_EVERY = 20_000
"""Objects. As Python has it, 700, a tenth of the tests' time goes into looking for garbage."""


def pytest_collection_finish() -> None:
    """Compile nothing to disk from here on, and look at what is there for garbage no more.

    Tests write a module, import it and change it. Python tells a compiled module by its source's
    size and second, so the next import within a second could be of what was there before.
    """
    sys.dont_write_bytecode = True
    gc.freeze()
    gc.enable()
    gc.set_threshold(GARBAGE_EVERY, 20, 20)
