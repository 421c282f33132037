"""The simulated world: the very same peers under churn and dropout.

>>> from p2pfl_simulations import load_scenario, run
>>> result = run(load_scenario("hospitals"))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pfl_simulations.notebook import Run, read_run, run
    from p2pfl_simulations.progress import RunProgress
    from p2pfl_simulations.results.run import EndedEarly
    from p2pfl_simulations.scenario import Scenario, ScenarioError, load_scenario, make_scenario

__all__ = [
    "EndedEarly",
    "Run",
    "RunProgress",
    "Scenario",
    "ScenarioError",
    "load_scenario",
    "make_scenario",
    "read_run",
    "run",
]

_HOMES = {
    "EndedEarly": "results.run",
    "Run": "notebook",
    "RunProgress": "progress",
    "read_run": "notebook",
    "run": "notebook",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line answers `--help` without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'scenario')}"), name)
