"""Writes what byzfl's aggregators make of drawn models: the oracle of our robust rules.

    scripts/setup-interop --byzfl
    .venvs/byzfl/bin/python benchmarks/sides/with_byzfl.py >tests/vectors/robust_rules.json

`import byzfl` wants torchvision, seaborn and matplotlib for its benchmark suite. A stub package in
its place, with the path of the real one, imports its aggregators with torch alone.
"""

import importlib
import json
import sys
import sysconfig
import types
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = "byzfl, by benchmarks/sides/with_byzfl.py"


def aggregators() -> tuple[Any, Any]:
    """Import byzfl's aggregators, and what may be done before them."""
    stub = types.ModuleType("byzfl")
    stub.__path__ = [str(Path(sysconfig.get_paths()["purelib"]) / "byzfl")]
    sys.modules["byzfl"] = stub
    found = [importlib.import_module(f"byzfl.aggregators.{name}") for name in MODULES]
    return found[0], found[1]


MODULES = ("aggregators", "preaggregators")


def drawn(seed: int, count: int, length: int, liars: int) -> Any:
    """Draw models, of which the last ones are far away and alike."""
    rng = np.random.default_rng(seed)
    models = rng.normal(size=(count, length)) + rng.normal(size=length)
    models[count - liars :] = 10 * rng.normal(size=length)
    return models


def case(seed: int, count: int, length: int, liars: int, spread: bool) -> dict[str, Any]:
    """Have byzfl average some models by each of its rules."""
    rules, before = aggregators()
    models = drawn(seed, count, length, 0 if spread else liars)
    mixed = before.NNM(liars)(models.copy())
    found = {
        "trimmed-mean": rules.TrMean(liars)(models.copy()),
        "median": rules.Median()(models.copy()),
        "geometric-median": rules.GeometricMedian(nu=1e-9, T=2000)(models.copy()),
        "krum": rules.Krum(liars)(models.copy()),
        "multi-krum": rules.MultiKrum(liars)(models.copy()),
        "centred-clipping": rules.CenteredClipping(L=3, tau=2.0)(models.copy()),
        "nnm": mixed,
        "nnm, trimmed-mean": rules.TrMean(liars)(mixed.copy()),
        "nnm, multi-krum": rules.MultiKrum(liars)(mixed.copy()),
    }
    results = {name: value.tolist() for name, value in found.items()}
    return {"models": models.tolist(), "liars": liars, "radius": 2.0, "results": results}


def main() -> None:
    """Write the vectors to standard output."""
    cases = [
        case(0, 20, 8, 4, spread=True),
        case(1, 20, 8, 4, spread=False),
        case(2, 9, 5, 3, spread=False),
        case(3, 32, 6, 6, spread=True),
    ]
    json.dump({"source": SOURCE, "byzfl": version("byzfl"), "cases": cases}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
