"""One site's table as numbers, every value held against the schema.

A column's values become float64: numbers as they are, days since 1970, 0 and 1, or the code of a
category; NaN where a value is missing.
"""

import datetime
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.learner.errors import LearningError
from p2pfl.learner.exclusions import unit_text
from p2pfl.learner.tabular.schema import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    NumberColumn,
    Schema,
    days_of,
)
from p2pfl.learner.tabular.sites import Site, SiteFile

Numbers = npt.NDArray[np.float64]
AnyColumn = NumberColumn | DateColumn | CategoryColumn | BooleanColumn
Parse = Callable[[Any], float]
"""Makes a value a number, NaN if it is missing; raises ValueError with what is wrong with it."""

ROWS_MAX = 100_000_000
_BOOLEANS = {
    "1": 1.0, "true": 1.0, "yes": 1.0, "t": 1.0, "y": 1.0,
    "0": 0.0, "false": 0.0, "no": 0.0, "f": 0.0, "n": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """A site's table.

    Attributes:
        columns: float64[n] by the schema's names, in its order, NaN where missing.
        is_test: bool[n]: rows that the table holds out; None where the schema has no split.
        units: str[n]: whose each row is; None where the schema has no unit.
        dropped: rows left out, as a value is missing whose column says so.
    """

    columns: dict[str, Numbers]
    is_test: npt.NDArray[np.bool_] | None
    dropped: int = 0
    units: npt.NDArray[np.str_] | None = None

    @property
    def row_count(self) -> int:
        """Rows that are kept."""
        return len(next(iter(self.columns.values())))


def read_values(site: Site, schema: Schema) -> Values:
    """Read a site's table.

    Raises:
        LearningError: it cannot be read, or a value is not as the schema says: one line with file,
            line and column.
    """
    names = list(schema.columns)
    parsers = [make_parser(it, schema, site.words) for it in schema.columns.values()]
    kept = [array("d") for _ in names]
    drops = [it.missing == "drop" for it in schema.columns.values()]
    refuses = [it.missing == "refuse" for it in schema.columns.values()]
    marks, units = array("b"), list[str]()
    dropped = 0
    beside = [it for it in (schema.split, schema.unit) if it is not None]
    wanted = [*names, *beside]
    for number, values in site.rows(wanted):
        row: list[float] = []
        drop = False
        for place, parse in enumerate(parsers):
            try:
                value = parse(values[place])
            except ValueError as error:
                raise _fault(site, number, names[place], str(error)) from None
            if math.isnan(value):
                drop = drop or drops[place]
                if refuses[place]:
                    raise _fault(site, number, names[place], _missing(schema, names[place]))
            row.append(value)
        if drop:
            dropped += 1
            continue
        if schema.split is not None:
            marks.append(_is_test(site, number, schema.split, values[len(names)]))
        if schema.unit is not None:
            units.append(_unit(site, number, schema, values[-1]))
        for column, value in zip(kept, row, strict=True):
            column.append(value)
        if len(kept[0]) > ROWS_MAX:
            raise LearningError(f"{site.table} has more than {ROWS_MAX} rows")
    if not len(kept[0]):
        raise LearningError(
            f"{site.table} has no rows that can be used"
            + (f": {dropped} lack a value whose column says drop" if dropped else "")
        )
    columns = {
        name: np.frombuffer(column, np.float64) for name, column in zip(names, kept, strict=True)
    }
    is_test = None if schema.split is None else np.frombuffer(marks, np.int8) == 1
    return Values(columns, is_test, dropped, None if schema.unit is None else np.array(units))


def _fault(site: Site, number: int, column: str, what: str) -> LearningError:
    return LearningError(f"{site.table}, {site.unit} {number}, column {column!r}: {what}")


def _missing(schema: Schema, name: str) -> str:
    column = schema.columns[name]
    if name == schema.target:
        return 'the target is missing; fill it in, or say missing = "drop" in the schema'
    rule = "mean" if isinstance(column, (NumberColumn, DateColumn)) else "most-frequent"
    return f'the value is missing; fill it in, or say missing = "{rule}" (or "drop") in the schema'


def _is_test(site: Site, number: int, column: str, value: Any) -> bool:
    if value not in Schema.SPLIT:
        raise _fault(site, number, column, f"{value!r} is neither 'train' nor 'test'")
    return bool(value == "test")


def _unit(site: Site, number: int, schema: Schema, value: Any) -> str:
    """Return whose a row is: a row of nobody could not be left out when somebody objects."""
    assert schema.unit is not None
    if value is None or value in schema.missing_values or value != value:
        raise _fault(site, number, schema.unit, "it does not say whose the row is")
    return unit_text(value)


def make_parser(column: AnyColumn, schema: Schema, words: SiteFile) -> Parse:
    """Return what makes a site's values of a column numbers."""
    parse: Parse
    if isinstance(column, NumberColumn):
        parse = _number_parser(column, words.decimal)
    elif isinstance(column, DateColumn):
        parse = _date_parser(column, words.date_format)
    elif isinstance(column, CategoryColumn):
        parse = _category_parser(column)
    else:
        parse = _boolean
    missing = frozenset(schema.missing_values)

    def parse_or_miss(value: Any) -> float:
        if value is None or (isinstance(value, str) and value in missing) or value != value:
            return math.nan
        return parse(value)

    return parse_or_miss


def _number_parser(column: NumberColumn, decimal: str) -> Parse:
    low, high = column.range or (-math.inf, math.inf)

    def parse(value: Any) -> float:
        if isinstance(value, str):
            text = value.replace(",", ".") if decimal == "," and value.count(",") == 1 else value
            if decimal == "," and "." in value:
                raise ValueError(
                    f"{value!r} has a point, but this site's decimal mark is a comma; write numbers"
                    " without marks between thousands"
                )
            try:
                number = float(text)
            except ValueError:
                raise ValueError(_no_number(value)) from None
            if "_" in value:
                raise ValueError(_no_number(value))
        elif isinstance(value, (bool, datetime.date, bytes)):
            raise ValueError(f"{value!r} is no number")
        else:
            try:
                number = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"{value!r} is no number") from None
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not finite")
        if not low <= number <= high:
            raise ValueError(f"{value!r} is outside the range {low:g} to {high:g} of the schema")
        return number

    return parse


def _no_number(text: str) -> str:
    if "," in text and _is_number(text.replace(".", "").replace(",", ".")):
        return (
            f'{text!r} is no number; if it has a decimal comma, say decimal = "," in the site\'s'
            " .site.toml"
        )
    return f"{text[:60]!r} is no number"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _date_parser(column: DateColumn, form: str) -> Parse:
    low, high = column.range
    cache: dict[str, float] = {}  # strptime is slow, and days repeat; at most DAYS_MAX of them.

    def parse(value: Any) -> float:
        if isinstance(value, str):
            if (known := cache.get(value)) is not None:
                return known
            try:
                day = datetime.datetime.strptime(value, form).date()
            except ValueError:
                raise ValueError(
                    f"{value[:60]!r} is no day written as {form}; date_format in the site's"
                    " .site.toml says how it is written"
                ) from None
        elif isinstance(value, datetime.datetime):
            day = value.date()
        elif isinstance(value, datetime.date):
            day = value
        else:
            raise ValueError(f"{value!r} is no date")
        if not low <= day <= high:
            raise ValueError(f"{day} is outside the range {low} to {high} of the schema")
        days = days_of(day)
        if isinstance(value, str) and len(cache) < DAYS_MAX:
            cache[value] = days
        return days

    return parse


DAYS_MAX = 100_000


def _category_parser(column: CategoryColumn) -> Parse:
    codes = {name: float(code) for code, name in enumerate(column.categories)}
    other = float(len(codes)) if column.unknown == "other" else None

    def parse(value: Any) -> float:
        text = value if isinstance(value, str) else _as_text(value)
        code = codes.get(text, other)
        if code is None:
            known = ", ".join(column.categories[:8]) + (", ..." if len(codes) > 8 else "")
            raise ValueError(f"{text[:60]!r} is none of the categories {known}")
        return code

    return parse


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # A column of integers in which some are missing.
    return str(value)


def _boolean(value: Any) -> float:
    code = _BOOLEANS.get((value if isinstance(value, str) else _as_text(value)).lower())
    if code is None:
        raise ValueError(
            f"{str(value)[:60]!r} is no boolean: write true or false, yes or no, 1 or 0"
        )
    return code
