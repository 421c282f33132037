"""The report of a study: one page, and its tables and figures as files of their own."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from p2pfl.cli.quantities import plural
from p2pfl_simulations.report.comparison_charts import compared_rows, curves
from p2pfl_simulations.report.drawing import Drawing, save_drawings
from p2pfl_simulations.report.page import box, page, section, table
from p2pfl_simulations.report.pdf import can_write_pdf, write_pdf
from p2pfl_simulations.results.comparability import warnings_of
from p2pfl_simulations.results.repetitions import Repetitions
from p2pfl_simulations.studies.drawn import BEST, DRAWN, best_first, drawn_charts
from p2pfl_simulations.studies.gathered import Results, write_table
from p2pfl_simulations.studies.tables import Table, latex, markdown, tables_of

REPORT, TABLES, FIGURES = "report.html", "tables", "figures"

LINES_MAX = 8
"""Curves of one chart; with more conditions there is a chart for each value of the other axes."""

CHARTS_MAX = 24


def write_report(results: Results, folder: Path) -> list[Path]:
    """Write the table, the page, and tables and figures to be taken along; return the files."""
    tables, drawings = tables_of(results), drawings_of(results)
    written = [write_table(results, folder)]
    (folder / TABLES).mkdir(exist_ok=True)
    for found in tables:
        for ending, content in (("md", markdown(found)), ("tex", latex(found))):
            path = folder / TABLES / f"{found.name}.{ending}"
            path.write_text(content, encoding="utf-8")
            written.append(path)
    written += save_drawings((it for it, _ in drawings), folder / FIGURES)
    if can_write_pdf():
        for drawing, _ in drawings:
            if drawing:
                path = folder / FIGURES / f"{drawing.name}.pdf"
                write_pdf(drawing.svg(), path)
                written.append(path)
    path = folder / REPORT
    path.write_text(render_study(results, tables, drawings), encoding="utf-8")
    return [*written, path]


def drawings_of(results: Results) -> list[tuple[Drawing, str]]:
    """Draw mean curves with their bands, facet by facet; each with a line on what it shows.

    Of a random draw: the final figure by each key, and the curves of the best draws.
    """
    found = [] if results.study.random is None else drawn_charts(results)
    for number, (title, groups) in enumerate(_facets(results)[:CHARTS_MAX]):
        rows = compared_rows(groups)
        for figure in ("mean", "worst"):
            drawing = curves(f"{figure}-{number + 1}", groups, f"{rows}_{figure}")
            found.append((drawing, f"{figure} over peers{title and f', {title}'}"))
    return found


def render_study(
    results: Results, tables: Sequence[Table], drawings: Sequence[tuple[Drawing, str]]
) -> str:
    """Write the page."""
    study, runs = results.study, len(results.runs)
    groups = results.repetitions()
    notes = [f"{plural(len(results.failures), 'cell')} failed; the last table tells why"]
    notes = (notes if results.failures else []) + _warnings(groups)
    return page(
        f"Study {study.name}",
        "<header>",
        f'<p class="kicker">Study of {plural(len(results.conditions), "condition")},'
        f" {plural(runs, 'run')}</p>",
        f"<h1>{escape(study.name)}</h1>",
        f'<p class="verdict">{escape(study.description.strip())}</p>',
        *(f'<p class="warning">{escape(told)}</p>' for told in notes),
        "</header>",
        *(section(it.title, "", _html(it)) for it in tables),
        *(
            section(f"{results.primary.title}, {told}", _note(results, drawing), box(drawing))
            for drawing, told in drawings
            if drawing
        ),
        section("What failed", "", _failures(results)),
    )


def _warnings(groups: Sequence[Repetitions]) -> list[str]:
    return list(warnings_of(groups)) if len(groups) > 1 else []


def _facets(results: Results) -> list[tuple[str, list[Repetitions]]]:
    """Part the conditions into charts of few lines, by the values of all axes but one."""
    shown = [it for it in results.conditions if results.runs_of(it)]
    axes = list(shown[0].axes)
    if results.study.random is not None:
        best = [it for it, _ in best_first(results)[:LINES_MAX]]
        title = f"the best {len(best)} of {len(shown)} draws" if len(shown) > len(best) else ""
        return [(title, [Repetitions(it.axes["name"], results.runs_of(it)) for it in best])]
    if len(shown) <= LINES_MAX or len(axes) < 2:
        return [("", results.repetitions())]
    of_lines = axes[0]
    parts: dict[str, list[Repetitions]] = {}
    for condition in shown:
        rest = {axis: value for axis, value in condition.axes.items() if axis != of_lines}
        title = ", ".join(f"{axis.rpartition('.')[2]} {value}" for axis, value in rest.items())
        line = Repetitions(condition.axes[of_lines], results.runs_of(condition))
        parts.setdefault(title, []).append(line)
    return list(parts.items())


def _note(results: Results, drawing: Drawing) -> str:
    """Say what an interval is of, and which dots stand out."""
    of_draws = drawing.name.startswith(DRAWN)
    best = f"In green: the best {BEST} draws. " if of_draws else ""
    most = max(len(results.runs_of(it)) for it in results.conditions)
    if most < 2:
        return best.strip()
    of_two = "; of two, their range." if most == 2 else "."
    shown = "Bars" if of_draws else "Shaded"
    return f"{best}{shown}: the 95 % interval of the mean over seeds{of_two}"


def _html(found: Table) -> str:
    rows = [[escape(cell) for cell in row] for row in found.rows]
    return table(found.head, rows, figures_from=found.figures_from)


def _failures(results: Results) -> str:
    if not results.failures:
        return ""
    rows = [[escape(name), escape(told)] for name, told in sorted(results.failures.items())]
    return table(["cell", "what happened"], rows, figures_from=2)
