"""`p2pfl roster create --from-scenario`: a scenario as the roster of a trial."""

from typing import Any

from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.group import draw_seed
from p2pfl_simulations.scenario import load_scenario


def roster_document(name: str) -> dict[str, Any]:
    """Return what a scenario has to say of a group: the rest of it is the simulated world's."""
    with input_errors():
        scenario = load_scenario(name)
    document = scenario.model_dump(
        mode="json",
        exclude_none=True,
        include={"name", "description", "seed", "rounds", "checkpoint_every", "averaging"},
    )
    learning = scenario.learning.model_dump(
        mode="json", exclude_none=True, exclude={"data_dir", "metrics"}
    )
    return document | {
        "learning": learning,
        "evaluate_every": scenario.evaluation.every,
        "draw_seed": draw_seed(scenario.seed).hex(),
    }
