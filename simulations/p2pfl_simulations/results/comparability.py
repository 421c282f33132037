"""What keeps runs from being compared: other rounds, other data, other test rows, another task."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

from p2pfl_simulations.results.repetitions import Repetitions
from p2pfl_simulations.results.run import RunResult

Look: TypeAlias = Callable[[RunResult], object]

NAMES_MAX = 3  # Of runs that have one value; of more, the number is told.

ALIKE: Sequence[tuple[str, Look, str]] = (
    ("tasks", lambda run: run.scenario.learning.task, "their figures measure different things"),
    (
        "options of the task",
        lambda run: _settings(run.scenario.learning.options),
        "models or data may be others",
    ),
    ("code of the task", lambda run: run.inputs and run.inputs.code, "it may measure otherwise"),
    ("primary metrics", lambda run: run.primary.name, "one number stands for different things"),
    ("rows of data", lambda run: run.inputs and run.inputs.train, "they learnt from other rows"),
    ("numbers of peers", lambda run: run.scenario.peers, "each peer holds other rows"),
    (
        "partitions",
        lambda run: _settings(run.scenario.learning.partition.model_dump(exclude_none=True)),
        "the rows are spread otherwise over the peers",
    ),
    ("rounds", lambda run: run.scenario.rounds, "more rounds may reach more: compare at one round"),
)
"""What must be the same in all runs: its name, where it is found, and what follows if it is not."""

SAME_SEED: Sequence[tuple[str, Look, str]] = (
    ("test rows", lambda run: run.inputs and run.inputs.test, "they were measured on other rows"),
    ("splits", lambda run: run.inputs and run.inputs.split, "peers train and test on other rows"),
    (
        "evaluated peers",
        lambda run: run.scenario.evaluation.peers,
        "means and the worst are over other peers",
    ),
)
"""What must be the same in runs of one seed; by other seeds it is drawn anew."""


def warnings_of(groups: Sequence[Repetitions]) -> list[str]:
    """Say in a sentence each what sets runs apart beside what is to be compared."""
    runs = {name: run for group in groups for name, run in group.runs.items()}
    found = [_told(*what, runs) for what in ALIKE]
    seeds = dict.fromkeys(run.scenario.seed for run in runs.values())
    for name, look, why in SAME_SEED:
        of_a_seed = (
            {name: run for name, run in runs.items() if run.scenario.seed == seed} for seed in seeds
        )
        found.append(next(filter(None, (_told(name, look, why, it) for it in of_a_seed)), ""))
    found += [_no_common_seed(one, other) for one, other in combinations(groups, 2)][:NAMES_MAX]
    found += [_seed_twice(group) for group in groups]
    if early := [name for name, run in runs.items() if run.interrupted]:
        found.append(f"Ended early: {_listed(early)}. Such a run has not reached what it would.")
    unknown = [name for name, run in runs.items() if run.inputs is None]
    if unknown:
        found.append(
            f"Of {_listed(unknown)} it is not known on which rows and code it ran: the folder is of"
            " an older version."
        )
    return [warning for warning in found if warning]


def _told(name: str, look: Look, why: str, runs: Mapping[str, RunResult]) -> str:
    """Say that runs differ in one thing, with who has which; what is not known differs in none."""
    having: dict[str, list[str]] = {}
    for run_name, run in runs.items():
        value = look(run)
        if value is not None or name == "evaluated peers":
            having.setdefault(_shown(value), []).append(run_name)
    if len(having) < 2:
        return ""
    listed = "; ".join(f"{value} in {_listed(names)}" for value, names in having.items())
    return f"Different {name}: {why}. {listed}."


def _no_common_seed(one: Repetitions, other: Repetitions) -> str:
    if set(one.seeds) & set(other.seeds):
        return ""
    return (
        f"{one.name} and {other.name} have no seed in common: data, start and faults were drawn"
        " anew, and a part of the difference is luck."
    )


def _seed_twice(group: Repetitions) -> str:
    if len(set(group.seeds)) == len(group.seeds):
        return ""
    return f"{group.name} has a seed twice: the same run again adds nothing to an interval."


def _settings(table: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items()) or "none"


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "all" if value is None else str(value) or "none"


def _listed(names: Sequence[str]) -> str:
    if len(names) > NAMES_MAX:
        return f"{names[0]} and {len(names) - 1} others"
    return ", ".join(names)
