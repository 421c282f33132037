"""A plugin of pytest that tries mutants: collects the tests once, and forks a process for each.

A mutant's process runs the tests that reach the changed function, the fast ones first, and ends
with the first that fails. Most mutants end within some milliseconds. Hypothesis draws a few
examples, the same ones each time, and shrinks none: whether a test fails is all that counts.

Before, each test is run once in the same way without a mutant, in a process of its own: so nothing
that another test left in a cache makes it look quicker than it will be. That says how much of the
processor it takes, and which modules it loads, which are loaded once, before processes are forked.
With a mutant, one that takes much more waits for what never comes: it ends the process as well. A
busy machine makes no test take more of the processor.

Without the variable `ORDER` in the environment tests run as ever, for mutmut, which learns from
them which test reaches what.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

ORDER = "P2PFL_MUTANTS"
"""Names a file with what to try: see `Order`."""

LEAST_CPU_S, CPU_FACTOR = 1.0, 5.0
"""What a test may take of the processor: so much, and so many times what it takes otherwise."""
LONGEST_S = 120.0
"""What a test may take by the clock: one that uses no processor waits for ever."""

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
        file: JSON: `names` of mutants, `children` to run at a time; `seconds` of the processor for
            the tests of one mutant, or null; `verdicts`, the file to which one line is added for
            each: its exit code, as mutmut has them, and its name; `took`, the file that keeps how
            many seconds each test takes without a mutant, and the modules that they load.
        items: all tests.
    """

    def __init__(self, file: Path, items: Sequence[pytest.Item]) -> None:
        asked = json.loads(file.read_text())
        self.names: list[str] = asked["names"]
        self.children: int = asked["children"]
        self._seconds: float | None = asked["seconds"]
        self.verdicts, self._took = Path(asked["verdicts"]), Path(asked["took"])
        reach = json.loads(Path("mutmut-stats.json").read_text())
        self._reach: dict[str, list[str]] = reach["tests_by_mangled_function_name"]
        self._items = {item.nodeid: item for item in items}
        self.took_s: dict[str, float] = {}

    def time_tests(self) -> None:
        """Run what is not timed yet, each test in a process of its own; all must pass."""
        if self._took.is_file():
            known = json.loads(self._took.read_text())
            self.took_s = known["seconds"]
            _load(known["modules"])
        for test in {test: None for name in self.names for test in self._reach_of(name)}:
            if test not in self.took_s:
                self.took_s[test] = self._time(test)
        known = {"seconds": self.took_s, "modules": list(sys.modules)}
        self._took.write_text(json.dumps(known))

    def _time(self, test: str) -> float:
        """Return what a test takes of the processor, in seconds, and load the modules it needs."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            code = int(_fails(self._items[test]))
            with os.fdopen(writing, "w") as told:
                json.dump(list(sys.modules), told)
            os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as told:
            loaded = told.read()
        _, status, used = os.wait4(child, 0)
        if status:
            raise pytest.UsageError(f"fails without a mutant: {test}")
        _load(json.loads(loaded))
        return used.ru_utime + used.ru_stime

    def _reach_of(self, name: str) -> list[str]:
        reach = self._reach.get(name.partition("__mutmut_")[0], [])
        return [test for test in reach if test in self._items]

    def tests_of(self, name: str) -> list[pytest.Item]:
        """Return the tests that reach a mutant, those first that take the least."""
        tests = sorted(self._reach_of(name), key=lambda test: self.took_s[test])
        if self._seconds is not None:
            ends_s = list(accumulate(self.took_s[test] for test in tests))
            tests = tests[: max(1, bisect_right(ends_s, self._seconds))]
        return [self._items[test] for test in tests]


def _load(modules: Sequence[str]) -> None:
    """Load what tests import as they run: else each process would, and take seconds."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(ImportError):  # Of a name that is made by another module.
                importlib.import_module(name)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Try mutants in place of running the tests, if that is asked for."""
    if ORDER not in os.environ:
        return None
    order = Order(Path(os.environ[ORDER]), session.items)
    order.time_tests()
    gc.freeze()  # Else each process would copy all there is when it collects.
    with order.verdicts.open("a") as verdicts:
        for name, code in _try_all(order):
            print(code, name, file=verdicts, flush=True)
    return True


def _try_all(order: Order) -> Iterator[tuple[str, int]]:
    """Try mutants, a few at a time; yield how each ended."""
    running: dict[int, str] = {}
    for name in order.names:
        tests = order.tests_of(name)
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
    for item in tests:
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        signal.setitimer(signal.ITIMER_PROF, LEAST_CPU_S + CPU_FACTOR * took_s[item.nodeid])
        if _fails(item):
            return 1
    return 0


def _fails(item: pytest.Item) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))
