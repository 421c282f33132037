"""`p2pfl scenarios` and `p2pfl list`."""

from dataclasses import asdict
from difflib import get_close_matches

from p2pfl.cli.errors import BadInput
from p2pfl.cli.listing import show_rows
from p2pfl.plugins import known_plugins
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


COLUMNS = ("kind", "name", "from", "options", "description")


def list_parts(kinds: list[str], *, as_json: bool) -> None:
    """List what may be named in a scenario: what ships and what is installed, by kind.

    Raises:
        BadInput: there is no such kind.
    """
    from p2pfl_gossip.topology import TOPOLOGIES
    from p2pfl_simulations.plugins import KINDS

    for name in kinds:
        if name not in KINDS:
            near = get_close_matches(name, KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
            raise BadInput(f"no parts are called {name!r}; {hint}")
    rows = []
    for name in kinds or list(KINDS):
        if name == "topologies":
            rows += [
                {
                    "kind": name,
                    "name": it.name,
                    "from": "p2pfl",
                    "options": it.parameter or "",
                    "description": it.description,
                }
                for it in TOPOLOGIES.values()
            ]
        if name == "averaging":
            rows += _averaging_rows()
        for found in known_plugins(KINDS[name]):
            row = asdict(found)
            row["from"] = row.pop("source")
            row["kind"] = name
            rows.append(
                {key: row[key] for key in ("kind", "name", "from", "options", "description")}
            )
    if not rows and not as_json:
        print(f"None ships or is installed; name your own: {KINDS[kinds[0]].key} = 'module:Class'")
        return
    show_rows(rows, as_json=as_json, first_sentence=True)


def _averaging_rows() -> list[dict[str, str]]:
    from typing import get_args

    from p2pfl.group.settings import AveragingSettings, OwnRuleSettings

    union, *_ = get_args(AveragingSettings)
    return [
        {
            "kind": "averaging",
            "name": get_args(it.model_fields["algorithm"].annotation)[0],
            "from": "p2pfl",
            "options": ", ".join(
                name
                for name in it.model_fields
                if name not in {"algorithm", "deadline_s", "weights"}
            ),
            "description": " ".join((it.__doc__ or "").split()),
        }
        for it in get_args(union)
        if it is not OwnRuleSettings
    ]
