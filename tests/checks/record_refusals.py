"""A plugin of pytest that notes which tests come to which place of `refusals.py`.

    PYTHONPATH=tests:tests/masked_sum:tests/checks REFUSALS=/tmp/refusals.json \
        .venv/bin/python -m pytest -q -n 0 -p record_refusals tests/checks tests/unit/gossip

Who comes to a place need not fail without it: that is seen by taking it out. Called as a program,
it does so for each place that `refusals.toml` has no row for, and prints the rows:

    .venv/bin/python tests/checks/record_refusals.py /tmp/refusals.json
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from planting import is_noticed
from refusals import ROOT, TABLE, as_fault, places

_BY_LINE: dict[tuple[str, int], str] = {
    (str(ROOT / it.file), line): it.name for it in places() for line in range(it.line, it.line + 4)
}
_COMERS: dict[str, dict[str, None]] = {}
_TEST = [""]


def _came(frame: FrameType | None) -> None:
    while frame is not None:
        name = _BY_LINE.get((frame.f_code.co_filename, frame.f_lineno))
        if name is not None:
            _COMERS.setdefault(name, {})[_TEST[0]] = None
            return
        frame = frame.f_back if frame.f_back is not sys._getframe() else None


def pytest_configure() -> None:
    from p2pfl_gossip.actions import RemoteProtocolError
    from p2pfl_gossip.masked_sum.blame import Unproven
    from p2pfl_gossip.masked_sum.core import Core
    from p2pfl_gossip.masked_sum.journal import Refused

    for kind, method in (
        (RemoteProtocolError, "__init__"),
        (Refused, "__init__"),
        (Unproven, "__init__"),
        (Core, "blame"),
        (Core, "disconnect"),
    ):
        original = getattr(kind, method)

        def noted(*arguments: Any, _original: Any = original) -> Any:
            _came(sys._getframe(1))
            return _original(*arguments)

        setattr(kind, method, noted)


def pytest_runtest_setup(item: Any) -> None:
    _TEST[0] = item.nodeid


def pytest_sessionfinish() -> None:
    comers = {name: list(tests) for name, tests in _COMERS.items()}
    Path(os.environ["REFUSALS"]).write_text(json.dumps(comers))


TRIES = 4
"""Tests that are tried for one place, tables of forgeries first."""


def main() -> None:
    comers = json.loads(Path(sys.argv[1]).read_text())
    for place in places():
        if place.name in TABLE:
            continue
        tests = sorted(comers.get(place.name, []), key=lambda it: "_forgeries.py" not in it)
        for test in tests[:TRIES]:
            with tempfile.TemporaryDirectory() as folder:
                if is_noticed(as_fault(place, test), Path(folder))[0]:
                    print(f"{json.dumps(place.name)} = {json.dumps(test)}", flush=True)
                    break
        else:
            print(f"# nothing fails without {place.name}, of {len(tests)} that come", flush=True)


if __name__ == "__main__":
    main()
