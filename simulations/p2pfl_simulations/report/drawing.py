"""A chart that can be taken along: its drawing, and the numbers behind it."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from p2pfl_simulations.report.standalone import standalone
from p2pfl_simulations.results.run import RoundRow

Cell: TypeAlias = str | int | float | None

DIGITS = 10  # Of a number in a table: more than a chart shows, and than two machines agree on.


@dataclass(frozen=True, slots=True)
class Drawing:
    """One chart.

    Attributes:
        name: of its files, without an ending.
        picture: SVG for the page, which has the style sheet; empty where there is nothing to draw.
        columns: of its numbers.
        rows: the numbers, a cell for each column; None where there is none.
    """

    name: str
    picture: str
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()

    def __bool__(self) -> bool:
        return bool(self.picture)

    def svg(self) -> str:
        """Write the drawing as a file of its own."""
        return standalone(self.picture)

    def csv(self) -> str:
        """Write the numbers as comma-separated values, column names first."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([[_cell(value) for value in row] for row in self.rows])
        return table.getvalue()


def by_round(rows: Iterable[RoundRow], figures: Sequence[str]) -> list[list[Cell]]:
    """Return the round, from 1 as people count, and some figures of each row."""
    return [[row.round + 1, *(getattr(row, name) for name in figures)] for row in rows]


def save_drawings(drawings: Iterable[Drawing], folder: Path) -> list[Path]:
    """Write each drawing as an SVG and a CSV file into a folder, which is made if need be.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawing in filter(None, drawings):
        for ending, content in (("svg", drawing.svg()), ("csv", drawing.csv())):
            path = folder / f"{drawing.name}.{ending}"
            path.write_text(content, encoding="utf-8")
            written.append(path)
    return written


def _cell(value: Cell) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
