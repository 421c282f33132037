"""A plugin of pytest that tries mutants: collects the tests once, and forks a process for each.

A mutant's process runs the tests that reach the changed function, the fast ones first, and ends
with the first that fails. Most mutants end within some milliseconds. Hypothesis draws a few
examples, the same ones each time, and shrinks none: whether a test fails is all that counts.

A test that takes much more of the processor than it did without a mutant waits for what never
comes: it ends the process as well. A busy machine makes no test take more of the processor.

Without the variable `ORDER` in the environment tests run as ever, for mutmut, which learns from
them which test reaches what.
"""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

ORDER = "P2PFL_MUTANTS"
"""Names a file with what to try: see `Order`."""

LEAST_CPU_S, CPU_FACTOR = 0.5, 2.0
"""What a test may take of the processor: so much, and so many times what it took before."""
LONGEST_S = 120.0
"""What a mutant may take by the clock: one that uses no processor waits for ever."""

settings.register_profile(
    "mutants",
    phases=(Phase.explicit, Phase.generate),
    max_examples=25,
    derandomize=True,
    database=None,
)
settings.load_profile("mutants")


class Order:
    """What to try, and what is known of the tests.

    Args:
        file: JSON: `names` of mutants, `children` to run at a time, `verdicts`, the file to which
            one line is added for each: its exit code, as mutmut has them, and its name.
        stats: mutmut's, of a run of all tests.
    """

    def __init__(self, file: Path, stats: Path) -> None:
        asked, known = json.loads(file.read_text()), json.loads(stats.read_text())
        self.names: list[str] = asked["names"]
        self.children: int = asked["children"]
        self.verdicts = Path(asked["verdicts"])
        self.took_s: dict[str, float] = known["duration_by_test"]
        self._reach: dict[str, list[str]] = known["tests_by_mangled_function_name"]

    def tests_of(self, name: str, items: dict[str, pytest.Item]) -> list[pytest.Item]:
        """Return the tests that reach a mutant, those first that took the least."""
        reach = self._reach.get(name.partition("__mutmut_")[0], [])
        found = [items[test] for test in reach if test in items]
        return sorted(found, key=lambda item: self.took_s[item.nodeid])


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Try mutants in place of running the tests, if that is asked for."""
    if ORDER not in os.environ:
        return None
    order = Order(Path(os.environ[ORDER]), Path("mutmut-stats.json"))
    items = {item.nodeid: item for item in session.items}
    with order.verdicts.open("a") as verdicts:
        for name, code in _try_all(order, items):
            print(code, name, file=verdicts, flush=True)
    return True


def _try_all(order: Order, items: dict[str, pytest.Item]) -> Iterator[tuple[str, int]]:
    """Try mutants, a few at a time; yield how each ended."""
    running: dict[int, str] = {}
    for name in order.names:
        tests = order.tests_of(name, items)
        if not tests:
            yield name, 33  # mutmut's code for a mutant that no test reaches.
            continue
        while len(running) >= order.children:
            yield _next_ended(running)
        child = os.fork()
        if not child:
            os._exit(_try(name, tests, order.took_s))
        running[child] = name
    while running:
        yield _next_ended(running)


def _next_ended(running: dict[int, str]) -> tuple[str, int]:
    child, status = os.wait()
    return running.pop(child), os.waitstatus_to_exitcode(status)


def _try(name: str, tests: Sequence[pytest.Item], took_s: dict[str, float]) -> int:
    """Run the tests with a mutant in place; return 1 with the first that fails, or 0."""
    os.environ["MUTANT_UNDER_TEST"] = name
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    for item in tests:
        signal.setitimer(signal.ITIMER_PROF, LEAST_CPU_S + CPU_FACTOR * took_s[item.nodeid])
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=None)):
            return 1
    return 0
