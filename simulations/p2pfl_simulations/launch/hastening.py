"""A scenario whose trainings and faults go by faster: hours of virtual time as minutes.

What a machine or a network needs stays as it is: `averaging.deadline_s` above all.
"""

from typing import Any

from p2pfl.group.settings import GroupSettings
from p2pfl.learner.settings import SettingsTable
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.world_settings import PluginTable

SECONDS = "_s"
"""What the names of durations end with; those of distributions, too."""


def hastened(scenario: Scenario, factor: float) -> Scenario:
    """Divide by a factor how long steps and trainings take, and when and how long things go wrong.

    A group's patience with members that work is divided as well. Times of plug-ins stay.
    """
    if factor == 1:
        return scenario
    compute, learning, averaging = scenario.compute, scenario.learning, scenario.averaging
    training = learning.training
    if training.seconds is not None:
        training = training.model_copy(update={"seconds": training.seconds / factor})
    if isinstance(averaging, GroupSettings):
        patience_s = averaging.patience_s / factor
        averaging = averaging.model_copy(update={"patience_s": patience_s})
    return scenario.model_copy(
        update={
            "compute": compute.model_copy(update={"step_s": compute.step_s / factor}),
            "learning": learning.model_copy(update={"training": training}),
            "averaging": averaging,
            "faults": _divided(scenario.faults, factor),
        }
    )


def _divided(value: Any, factor: float, name: str = "") -> Any:
    if isinstance(value, float) and name.endswith(SECONDS):
        return value / factor
    if isinstance(value, tuple) and value:
        return tuple(_divided(one, factor) for one in value)
    if isinstance(value, SettingsTable) and not isinstance(value, PluginTable):
        divided = {key: _divided(one, factor, key) for key, one in value}
        return value.model_copy(
            update={key: one for key, one in divided.items() if one is not getattr(value, key)}
        )
    return value
