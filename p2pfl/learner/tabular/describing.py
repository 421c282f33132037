"""A schema drafted from tables: types, ranges, categories, and the tables' own constants.

It is what members compare, and agree on by hand. It tells whoever gets it the range, mean and
deviation of every column, and the names of all categories.
"""

import datetime
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomli_w

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.headers import SITE_FILE
from p2pfl.learner.tabular.schema import CATEGORIES_MAX, MISSING
from p2pfl.learner.tabular.sites import Site, SiteFile

BOOLEANS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"}, {"1", "0"})
LINE_CHARACTERS_MAX = 100
CATEGORIES_DRAFTED_MAX = 200
"""A column of more texts is no category, but free text or a number of a patient: it is left out."""


_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


@dataclass
class _Seen:
    """What is known of a column so far, without keeping its values."""

    count: int = 0
    missing: int = 0
    texts: set[str] = field(default_factory=set)
    mean: float = 0.0
    squares: float = 0.0  # Sum of squared differences to the mean (Welford, Technometrics 1962).
    low: float = math.inf
    high: float = -math.inf
    is_number: bool = True
    is_date: bool = True
    days: tuple[str, str] | None = None  # First and last; `texts` may not have all of them.
    with_comma: str = ""  # Where a number has a decimal comma first that its site does not tell.

    def add(self, value: Any, site: Site, number: int) -> None:
        """Look at one more value, in row `number` of a site, as that site writes values."""
        text = "" if value is None or value != value else str(value).strip()
        if text in MISSING:
            self.missing += 1
            return
        text = _as_all_write(text, site.words)
        self.count += 1
        if len(self.texts) <= CATEGORIES_MAX:
            self.texts.add(text)
        if self.is_number:
            if not self.with_comma and _has_decimal_comma(text):
                self.with_comma = f"{site.table}, {site.unit} {number}"
            self._add_number(text.replace(",", ".") if _has_decimal_comma(text) else text)
        self.is_date = self.is_date and _is_day(text)
        if self.is_date:
            first, last = self.days or (text, text)
            self.days = min(first, text), max(last, text)

    def _add_number(self, text: str) -> None:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or "_" in text:
            self.is_number = False
            return
        step = number - self.mean
        self.mean += step / self.count
        self.squares += step * (number - self.mean)
        self.low, self.high = min(self.low, number), max(self.high, number)

    def drafted(self, *, is_target: bool) -> dict[str, Any] | None:
        """Return what a schema says of the column; None where it says nothing."""
        if not self.count or len(self.texts) < 2:
            return None
        lower = {text.lower() for text in self.texts}
        if any(lower <= pair for pair in BOOLEANS):
            frequent = {"missing": "drop"} if self.missing else {}
            return {"type": "boolean"} | frequent
        if self.is_number:
            drafted: dict[str, Any] = {
                "type": "number",
                "range": [self.low, self.high],
                "mean": _short(self.mean),
                "deviation": _short(math.sqrt(self.squares / self.count)),
            }
            rule = "drop" if is_target else "mean"
        elif self.is_date and self.days:
            first, last = map(datetime.date.fromisoformat, self.days)
            drafted, rule = {"type": "date", "range": [first, last]}, "mean"
        elif len(self.texts) <= CATEGORIES_DRAFTED_MAX:
            drafted, rule = {"type": "category", "categories": sorted(self.texts)}, "drop"
        else:
            return None
        return drafted | ({"missing": rule} if self.missing else {})


def describe_tables(sites: Sequence[Site], *, target: str) -> str:
    """Draft a schema from tables, as TOML with comments.

    Args:
        sites: the tables; all of them have the columns of the first.
        target: the column to predict.

    Raises:
        LearningError: a table cannot be read, has no such column, or has numbers with a decimal
            comma that its site file does not tell.
    """
    names = sites[0].columns()
    if target not in names:
        raise LearningError(
            f"{sites[0].table} has no column {target!r} to predict; it has {', '.join(names)}"
        )
    seen = {name: _Seen() for name in names}
    for site in sites:
        for number, values in site.rows(names):
            for column, value in zip(seen.values(), values, strict=True):
                column.add(value, site, number)
    for name, found in seen.items():
        if found.is_number and found.with_comma:
            raise LearningError(
                f"{found.with_comma}, column {name!r}: a number with a decimal comma; write two"
                f' lines into a file NAME{SITE_FILE} beside that table: file = "NAME.csv" and'
                ' decimal = ","'
            )
    return "\n".join(_lines(seen, target, sites)) + "\n"


def _lines(seen: dict[str, _Seen], target: str, sites: Sequence[Site]) -> Iterator[str]:
    total = seen[target].count + seen[target].missing
    yield f"# Drafted from {', '.join(site.table.name for site in sites)}: {total} rows."
    yield "# Ranges, means, deviations and categories are those of these tables alone: agree on"
    yield "# them with the other members, and widen ranges to what can occur."
    yield f"target = {tomli_w.dumps({'x': target}).partition('= ')[2].strip()}"
    for name, column in seen.items():
        drafted = column.drafted(is_target=name == target)
        key = tomli_w.dumps({name: 0}).rpartition(" = ")[0]
        yield ""
        if drafted is None:
            if name == target:
                raise LearningError(
                    f"column {name!r} cannot be predicted: it has one value alone, or more than"
                    f" {CATEGORIES_DRAFTED_MAX} texts"
                )
            yield f"# {key} is left out: one value alone, or too many texts for categories."
            continue
        yield f"[columns.{key}]  # {column.count} values, {column.missing} missing"
        yield written(drafted).strip()


def written(document: Mapping[str, Any]) -> str:
    """Write a schema's document as TOML, with each list in one line, as people write ranges."""
    text = tomli_w.dumps(document)
    lists = re.compile(r"^([^\n=]+ = )\[\n((?:    [^\n]*,\n)+)\]$", re.MULTILINE)

    def in_one_line(found: re.Match[str]) -> str:
        items = [line.strip().removesuffix(",") for line in found[2].splitlines()]
        line = f"{found[1]}[{', '.join(items)}]"
        return line if len(line) <= LINE_CHARACTERS_MAX else found[0]

    return lists.sub(in_one_line, text)


def _as_all_write(text: str, words: SiteFile) -> str:
    """Return a text of a site as others write it: with a decimal point, days as ISO has them."""
    if words.decimal == "," and _has_decimal_comma(text):
        return text.replace(",", ".")
    try:
        return datetime.datetime.strptime(text, words.date_format).date().isoformat()
    except ValueError:
        return text


def _has_decimal_comma(text: str) -> bool:
    return "," in text and _DECIMAL_COMMA.fullmatch(text) is not None


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == len("2026-01-01")


def _short(number: float) -> float:
    return float(f"{number:.6g}")
