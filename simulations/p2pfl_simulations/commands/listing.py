"""`p2pfl scenarios` and `p2pfl list`."""

from dataclasses import asdict
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from p2pfl.cli.errors import BadInput
from p2pfl.cli.listing import show_rows
from p2pfl.plugins import known_plugins
from p2pfl.plugins.finding import OWN
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
NO_OPTIONS = frozenset({"algorithm", "deadline_s", "weights"})
"""Keys that name a part, or that parts have alike: no options of the one."""

KINDS_OF_THEIR_OWN = frozenset({"liars", "availability", "own"})
"""Keys of `[faults]` that name parts of other kinds, or plug-ins."""


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
        rows += _shipped_rows(name)
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


def _shipped_rows(kind: str) -> list[dict[str, str]]:
    """Return the rows of what ships by tables of settings, as no plug-in."""
    from p2pfl.group.settings import AveragingSettings
    from p2pfl.learner.settings import PartitionSettings
    from p2pfl_simulations.fault_settings import FaultSettings
    from p2pfl_simulations.world_settings import DISTRIBUTIONS

    if kind == "averaging":
        rows = _variants(AveragingSettings, "algorithm")
    elif kind == "partitions":
        rows = _variants(PartitionSettings, "kind")
    elif kind == "faults":
        others = KINDS_OF_THEIR_OWN
        fields = FaultSettings.model_fields.items()
        rows = [(name, _table_of(it.annotation)) for name, it in fields if name not in others]
    elif kind == "latencies":
        told = "A distribution, for every message alike; set network.latency."
        return [
            {
                "kind": kind,
                "name": name,
                "from": "p2pfl",
                "options": ", ".join(it),
                "description": told,
            }
            for name, it in DISTRIBUTIONS.items()
        ]
    else:
        return []
    key = "kind" if kind == "partitions" else ""
    return [
        {
            "kind": kind,
            "name": name,
            "from": "p2pfl",
            "options": ", ".join(it for it in table.model_fields if it not in {*NO_OPTIONS, key}),
            "description": " ".join((table.__doc__ or "").split()),
        }
        for name, table in rows
    ]


def _variants(union: Any, key: str) -> list[tuple[str, type[BaseModel]]]:
    """Return the tables that a key tells apart, by its value; an own part's has rows elsewhere."""
    tables = [
        (get_args(it.model_fields[key].annotation)[0], it) for it in get_args(union)[0].__args__
    ]
    return [(name, table) for name, table in tables if name != OWN]


def _table_of(annotation: Any) -> type[BaseModel]:
    """Return the table of ``Table | None`` or ``tuple[Table, ...]``."""
    found: type[BaseModel] = get_args(annotation)[0]
    return found
