"""Writes tests/vectors/trace_digests.json anew: `python -m tests.simulation.trace_digests`.

To be run, and its result looked at, where a change is meant to change what peers say or when.
"""

import json
from pathlib import Path
from typing import Any

from p2pfl_simulations import make_scenario, run

PATH = Path(__file__).parents[1] / "vectors" / "trace_digests.json"


def main() -> None:
    document: dict[str, Any] = json.loads(PATH.read_text())
    for case in document["runs"]:
        result = run(make_scenario(case["scenario"]))
        case["digest"] = result.digest
        case["model_begins"] = result.require_model()[:4].tolist()
        case["ended"] = [row.ended for row in result.rounds]
    PATH.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
