"""Which of several scenarios reached the most, and whether that is more than luck."""

from collections.abc import Mapping, Sequence

from p2pfl.cli.figures import told_figure, told_gain
from p2pfl.cli.quantities import plural
from p2pfl_simulations.results.repetitions import (
    INTERVAL_FROM,
    Interval,
    Repetitions,
    interval_of,
    paired,
)
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.results.summary import Summary

TIE = 0.01
"""Runs with fewer than three seeds in common are called equal if their figures are closer: shares
by so much, other metrics by that part of the better. A few hundred test rows tell no more."""


class Contest:
    """Scenarios held against each other by their mean primary figure.

    Args:
        groups: the scenarios, each with its runs.
        summaries: of all runs, by name.
        on: test rows that count: ``"own"`` or ``"common"``.

    Attributes:
        primary: the metric of the first.
        headline: who leads, in one sentence.
        detail: whose worst peer does best, in one sentence; may be empty.
    """

    def __init__(
        self, groups: Sequence[Repetitions], summaries: Mapping[str, Summary], on: str
    ) -> None:
        self.on, self._groups = on, groups
        self._names = {id(run): name for group in groups for name, run in group.runs.items()}
        self._summaries = summaries
        self.primary = groups[0].first.primary
        titles = dict.fromkeys(group.first.primary.title for group in groups)
        self._is_fair = len({group.first.primary for group in groups}) == 1
        if self._is_fair:
            self.headline, self.detail = self._lead(), self._fairest()
        else:
            self.headline = f"The runs are measured by different metrics: {', '.join(titles)}."
            self.detail = "No figure of one can be held against another's."

    def best(self, intervals: Sequence[Interval | None]) -> float | None:
        """Return the best mean, in the metric's direction; None where none can be told."""
        means = [it.mean for it in intervals if it is not None]
        if not means or not self._is_fair:
            return None
        return max(means) if self.primary.larger_is_better else min(means)

    def _lead(self) -> str:
        measured = self._ranked("mean")
        if not measured:
            return f"No {self.primary.title} was measured in any of the runs."
        (winner, first), rest = measured[0], measured[1:]
        best = told_figure(self.primary, first.mean)
        if len(self._groups) == 1:
            return f"{winner.name} reaches {best}, the mean of {plural(len(winner.runs), 'run')}."
        if not rest:
            return f"{winner.name} reaches {best}; in no other run it was measured."
        tied = [group.name for group, _ in rest if not self._is_clear(winner, group)]
        if len(tied) == len(rest):
            return f"No run is clearly ahead: {best} at best, with {winner.name}."
        second, runner_up = rest[0]
        if tied:
            names = [winner.name, *tied]
            return f"{', '.join(names[:-1])} and {names[-1]} lead, at {best} at best."
        gap = told_gain(self.primary, self.primary.gain(first.mean, runner_up.mean))
        return (
            f"{winner.name} does best: {best}, {gap.removeprefix('+')} better than {second.name}."
        )

    def _fairest(self) -> str:
        measured = self._ranked("worst")
        if not measured:
            return ""
        group, interval = measured[0]
        told = told_figure(self.primary, interval.mean)
        return f"The worst peer does best with {group.name}: {told}."

    def _ranked(self, figure: str) -> list[tuple[Repetitions, Interval]]:
        """Return those that were measured, the best first."""
        found = [
            (group, interval)
            for group in self._groups
            if (interval := interval_of(self._of(run, figure) for run in group.runs.values()))
        ]
        sign = -1 if self.primary.larger_is_better else 1
        return sorted(found, key=lambda entry: sign * entry[1].mean)

    def _is_clear(self, one: Repetitions, other: Repetitions) -> bool:
        """Tell whether one is better than another by more than luck."""
        difference = paired(one, other, lambda run: self._of(run, "mean"))
        if difference is not None and difference.count >= INTERVAL_FROM:
            return difference.low > 0 or difference.high < 0
        mine, theirs = (
            interval_of(self._of(run, "mean") for run in group.runs.values())
            for group in (one, other)
        )
        if mine is None or theirs is None:
            return False
        scale = 1.0 if self.primary.is_percentage else abs(mine.mean)
        return abs(mine.mean - theirs.mean) >= TIE * scale

    def _of(self, run: RunResult, figure: str) -> float | None:
        value: float | None = getattr(self._summaries[self._names[id(run)]], f"{self.on}_{figure}")
        return value
