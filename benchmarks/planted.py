"""Takes checks out of the product one by one, and sees that the named test fails without each.

    ./scripts/bench planted                   # all, about two seconds each on a quiet core
    ./scripts/bench planted signature         # those whose name holds a word: refusal, limit, ...

Each is planted in a copy of its package, in a process of its own; the product is not touched. A
fault that no test noticed is printed, and the exit code is 1. They are listed in
tests/checks/planted_faults.py.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "checks"))

from planted_faults import PLANTED
from planting import is_noticed


def main() -> int:
    """Plant the faults and print what was noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only faults whose name holds it")
    word = parser.parse_args().word
    faults = [fault for fault in PLANTED if word in fault.name]
    if not faults:
        parser.error(f"no fault's name holds {word!r}")
    missed, started = [], time.monotonic()
    for fault in faults:
        with tempfile.TemporaryDirectory() as folder:
            noticed, output = is_noticed(fault, Path(folder))
        print(f"{'noticed' if noticed else 'MISSED ':8} {fault.name}: {fault.test}", flush=True)
        if not noticed:
            missed.append(fault.name)
            print(output)
    seconds = time.monotonic() - started
    print(f"{len(faults) - len(missed)} of {len(faults)} noticed, in {seconds:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
