"""`p2pfl scenarios`."""

from p2pfl.cli.listing import show_rows
from p2pfl_simulations.commands.errors import input_errors
from p2pfl_simulations.results.summary import method_name
from p2pfl_simulations.scenario import load_scenario, shipped_scenarios


def list_scenarios(*, as_json: bool) -> None:
    """List the scenarios that ship."""
    with input_errors():
        loaded = {name: load_scenario(name) for name in shipped_scenarios()}
    rows = [
        {
            "scenario": name,
            "peers": scenario.peers,
            "rounds": scenario.rounds,
            "task": scenario.learning.task,
            "averaging": method_name(scenario),
            "description": scenario.description.strip(),
        }
        for name, scenario in loaded.items()
    ]
    show_rows(rows, as_json=as_json, first_sentence=True)
