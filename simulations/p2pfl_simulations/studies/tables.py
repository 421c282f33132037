"""Tables of a study as Markdown and LaTeX: means over seeds, and differences to the baseline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pfl.cli.figures import told_figure, told_gain
from p2pfl.cli.quantities import data_size, duration, scientific
from p2pfl_simulations.results.repetitions import Interval
from p2pfl_simulations.studies.drawn import best_first
from p2pfl_simulations.studies.gathered import FIGURES, Results
from p2pfl_simulations.studies.plan import Condition

_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "−": "$-$",
    }
)
SHOWN = (
    "own_mean", "own_worst", "gain", "gained", "lost", "even", "least_gain", "common_mean",
    "consensus_distance", "bytes_per_peer", "rounds_lost", "virtual_s",
)  # fmt: skip
COMPARED = ("own_mean", "own_worst", "common_mean")
TITLES = {
    "own_mean": "mean",
    "own_worst": "worst peer",
    "gain": "gain over local",
    "gained": "peers that gain",
    "lost": "that lose",
    "even": "no clear difference",
    "least_gain": "least gain of a peer",
    "common_mean": "common test set",
    "consensus_distance": "consensus",
    "bytes_per_peer": "sent per peer",
    "rounds_lost": "rounds lost",
    "virtual_s": "virtual time",
}
POINTS = " points"


@dataclass(frozen=True)
class Table:
    """A table of text; `figures_from` is the first column that holds figures."""

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures_from: int


def tables_of(results: Results) -> list[Table]:
    """Return the table of means, and that of differences where there is a baseline."""
    found = [_means(results)]
    if results.study.baseline:
        found.append(_differences(results))
    return found


def markdown(table: Table) -> str:
    """Write a table as Markdown."""
    rule = ["---" if index < table.figures_from else "---:" for index in range(len(table.head))]
    lines = [table.head, rule, *table.rows]
    return "".join(f"| {' | '.join(_piped(cell) for cell in line)} |\n" for line in lines)


def latex(table: Table) -> str:
    """Write a table as LaTeX, with the rules of booktabs."""
    columns = "".join(
        "l" if index < table.figures_from else "r" for index in range(len(table.head))
    )

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"

    return "\n".join(
        [
            f"% {table.title}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(table.head),
            r"\midrule",
            *map(line, table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _means(results: Results) -> Table:
    axes = list(results.conditions[0].axes)
    names = [
        name
        for name in SHOWN
        if any(results.mean(condition, name) is not None for condition in results.conditions)
    ]
    rows = []
    for condition in _in_order(results):
        found = [results.mean(condition, name) for name in names]
        seeds = len(results.runs_of(condition))
        cells = [_mean(results, name, it) for name, it in zip(names, found, strict=True)]
        rows.append([*(condition.axes.get(axis, "") for axis in axes), str(seeds), *cells])
    head = [*map(_axis, axes), "seeds", *(TITLES[name] for name in names)]
    title = f"{results.primary.title}: means over seeds, ± half of the 95 % interval"
    if results.study.random is not None:
        title += "; the best draw first"
    return Table("means", title, head, rows, len(axes))


def _in_order(results: Results) -> list[Condition]:
    """Return conditions as the study has them; draws by what they reached, failed ones last."""
    if results.study.random is None:
        return results.conditions
    ranked = [it for it, _ in best_first(results)]
    return [*ranked, *(it for it in results.conditions if it not in ranked)]


def _differences(results: Results) -> Table:
    axes = list(results.conditions[0].axes)
    names = [
        name
        for name in COMPARED
        if any(results.against_baseline(it, name) is not None for it in results.conditions)
    ]
    rows = []
    for condition in _in_order(results):
        found = [results.against_baseline(condition, name) for name in names]
        if any(it is not None for it in found):
            cells = [_difference(results, it) for it in found]
            rows.append([*(condition.axes.get(axis, "") for axis in axes), *cells])
    against = ", ".join(f"{axis} {value}" for axis, value in results.study.baseline.items())
    title = f"Difference to {against}, paired by seed: mean and 95 % interval; * it is not 0"
    return Table(
        "differences", title, [*map(_axis, axes), *(TITLES[it] for it in names)], rows, len(axes)
    )


def _mean(results: Results, name: str, interval: Interval | None) -> str:
    if interval is None:
        return ""
    write = writer_of(results, name)
    told = write(interval.mean)
    if interval.half is None:
        return told
    half = write(interval.half).removesuffix(" %").removeprefix("+")
    if told.endswith(POINTS):
        return f"{told.removesuffix(POINTS)} ± {half}"
    return f"{told} ± {half}"


def _difference(results: Results, interval: Interval | None) -> str:
    if interval is None:
        return ""

    def write(value: float) -> str:
        return told_gain(results.primary, value)

    if interval.half is None:
        return write(interval.mean)
    clear = " *" if interval.low > 0 or interval.high < 0 else ""
    return f"{write(interval.mean)} [{write(interval.low)}, {write(interval.high)}]{clear}"


def writer_of(results: Results, name: str) -> Callable[[float], str]:
    """Return how a figure is written for people."""
    assert name in FIGURES
    primary = results.primary
    if name in ("gain", "least_gain"):
        return lambda value: told_gain(primary, value)
    if name.startswith(("own_", "common_")):
        return lambda value: told_figure(primary, value)
    return {
        "consensus_distance": scientific,
        "bytes_per_peer": data_size,
        "virtual_s": duration,
    }.get(name, lambda value: f"{value:,.1f}".removesuffix(".0"))


def _axis(axis: str) -> str:
    return axis.rpartition(".")[2]


def _piped(cell: str) -> str:
    return cell.replace("|", "\\|")
