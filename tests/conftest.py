"""What processes of the tests have in common: one core each, and no stale compiled modules.

pytest-xdist starts a worker for each core. Left to themselves, torch and BLAS would start a thread
for each core in each worker: they would wait for each other in busy loops, which took more
time than the work itself. Processes that tests start have the setting from here too.
"""

import os
import sys

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """Compile nothing to disk from here on.

    Tests write a module, import it and change it. Python tells a compiled module by its source's
    size and second, so the next import within a second could be of what was there before.
    """
    sys.dont_write_bytecode = True
