"""Runs that differ in their seed alone: in common is the method, all else is luck."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from statistics import NormalDist, fmean, stdev
from typing import TypeAlias

from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import method_name

Look: TypeAlias = Callable[[RunResult], float | None]

CONFIDENCE = 0.95
INTERVAL_FROM = 3
"""Runs from which an interval is given. Of two, Student's t makes it six times their range: what
is shown of two is the range itself."""

T_QUANTILES = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600)
"""Student's t at 0.975 for 1 to 8 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of a figure over runs, and where it lies; `low` and `high` are it, of one run."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def half(self) -> float | None:
        """Half of the interval's width; None where there is no interval of confidence."""
        return (self.high - self.low) / 2 if self.count >= INTERVAL_FROM else None


@dataclass(frozen=True, slots=True)
class Repetitions:
    """One scenario, run with one seed or several.

    Attributes:
        name: for people.
        runs: by the names that they were given.
    """

    name: str
    runs: Mapping[str, RunResult]

    @property
    def first(self) -> RunResult:
        """One of the runs, for what they have in common."""
        return next(iter(self.runs.values()))

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds, in order of the runs."""
        return [run.scenario.seed for run in self.runs.values()]


def interval_of(values: Iterable[float | None]) -> Interval | None:
    """Return the mean over runs with its 95 % interval by Student's t; of two runs, their range.

    Figures that are missing or not finite are left out; None where none is left.
    """
    found = [value for value in values if value is not None and math.isfinite(value)]
    if not found:
        return None
    mean = fmean(found)
    if len(found) < INTERVAL_FROM:
        return Interval(mean, min(found), max(found), len(found))
    half = t_quantile(len(found) - 1) * stdev(found) / math.sqrt(len(found))
    return Interval(mean, mean - half, mean + half, len(found))


def t_quantile(degrees: int) -> float:
    """Return Student's t at 0.975; beyond 8 degrees by Cornish and Fisher's expansion."""
    if degrees <= len(T_QUANTILES):
        return T_QUANTILES[degrees - 1]
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / degrees**power for power, term in enumerate(terms)))


def repetitions_of(runs: Mapping[str, RunResult]) -> list[Repetitions]:
    """Put runs together that differ in their seed alone, and name what each of them is."""
    groups: dict[str, dict[str, RunResult]] = {}
    for name, run in runs.items():
        groups.setdefault(_without_seed(run), {})[name] = run
    found = list(groups.values())
    methods = [method_name(next(iter(group.values())).scenario) for group in found]
    titles = [_title(group) for group in found]
    if len(set(methods)) == len(methods):
        notes = [f"{len(group)} seeds" if len(group) > 1 else next(iter(group)) for group in found]
    else:
        twice = [title for title, count in Counter(titles).items() if count > 1]
        methods = [
            next(iter(group)) if title in twice else title
            for title, group in zip(titles, found, strict=True)
        ]
        notes = [f"{len(group)} seeds" if len(group) > 1 else "" for group in found]
    return [
        Repetitions(f"{method} ({note})" if note else method, group)
        for method, note, group in zip(methods, notes, found, strict=True)
    ]


def _title(group: Mapping[str, RunResult]) -> str:
    """Name repetitions by what their names begin with; else by their scenario."""
    names = list(group)
    if len(names) == 1:
        return names[0]
    same = "".join(
        letters[0] for letters in takewhile(lambda it: len(set(it)) == 1, zip(*names, strict=False))
    )
    return same.rstrip("-_. 0123456789") or next(iter(group.values())).scenario.name


def _without_seed(run: RunResult) -> str:
    """Write down all that repetitions have in common."""
    same = {"seed": 1, "name": "same", "description": ""}
    inputs = run.inputs
    known = "" if inputs is None else f"{inputs.train} {inputs.code}"
    return f"{run.world} {known} {run.scenario.model_copy(update=same).model_dump_json()}"


def paired(one: Repetitions, other: Repetitions, figure: Look) -> Interval | None:
    """Return by how much a figure of one scenario is above another's, over the seeds of both.

    Runs of one seed share what is drawn, so that their difference is of the method alone.
    """
    others = {run.scenario.seed: figure(run) for run in other.runs.values()}
    differences = []
    for seed, run in {run.scenario.seed: run for run in one.runs.values()}.items():
        mine, theirs = figure(run), others.get(seed)
        if mine is not None and theirs is not None:
            differences.append(mine - theirs)
    return interval_of(differences)
