"""A schema: what the columns of every member's table mean, and how they become numbers.

It is a TOML file that the members agree on, or a table of the task's options. All that turns a
value into a number stands in it: so the same value is the same number at every member.
"""

import datetime
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from p2pfl.explaining import explain
from p2pfl.learner.errors import LearningError
from p2pfl.learner.partitions import SITE
from p2pfl.learner.settings import SettingsTable

SCHEMA_BYTES_MAX = 4 * 1024 * 1024  # Ten thousand columns, with room.
COLUMNS_MAX = 10_000
CATEGORIES_MAX = 10_000
ONE_HOT_MAX = 12
"""Categories with an input each; a column of more has a learnt embedding."""

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Column(SettingsTable):
    indicator: bool = False
    """Whether the model gets a further input that is 1 where the value is missing."""


class NumberColumn(_Column):
    """A number. The model gets ``(x - mean) / deviation``."""

    type: Literal["number"]
    range: tuple[Finite, Finite] | None = None
    """Least and largest value; one outside is refused, as a slip of the pen."""
    mean: Finite | None = None
    """With `deviation`, agreed constants; without both, those of even values in `range`."""
    deviation: Positive | None = None
    missing: Literal["refuse", "mean", "drop"] = "refuse"
    """`"mean"` takes `mean` for a missing value; `"drop"` leaves the row out."""

    @model_validator(mode="after")
    def _has_constants(self) -> "NumberColumn":
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("mean and deviation go together: give both, or neither and a range")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("range is [least, largest], and the first is below the second")
        return self

    def constants(self) -> tuple[float, float] | None:
        """Return mean and deviation, or None where neither they nor a range are given."""
        if self.mean is not None and self.deviation is not None:
            return self.mean, self.deviation
        if self.range is not None:
            low, high = self.range
            return (low + high) / 2, (high - low) / math.sqrt(12)
        return None


class DateColumn(_Column):
    """A day, as 2026-11-25. The model gets days since 1970, shifted and scaled as a number."""

    type: Literal["date"]
    range: tuple[datetime.date, datetime.date]
    """First and last day."""
    missing: Literal["refuse", "mean", "drop"] = "refuse"
    """`"mean"` takes the middle of `range`."""

    @model_validator(mode="after")
    def _is_ordered(self) -> "DateColumn":
        if not self.range[0] < self.range[1]:
            raise ValueError("range is [first, last], and the first is before the last")
        return self

    def days(self) -> tuple[float, float]:
        """Return the range in days since 1970."""
        return days_of(self.range[0]), days_of(self.range[1])

    def constants(self) -> tuple[float, float]:
        """Return mean and deviation of even days in the range, in days since 1970."""
        low, high = self.days()
        return (low + high) / 2, (high - low) / math.sqrt(12)


class CategoryColumn(_Column):
    """One of a list of categories."""

    type: Literal["category"]
    categories: Annotated[tuple[str, ...], Field(min_length=2, max_length=CATEGORIES_MAX)]
    """All of them, as they stand in the tables; numbers in quotes."""
    unknown: Literal["refuse", "other"] = "refuse"
    """`"other"` takes any further value as one more category."""
    missing: Literal["refuse", "most-frequent", "drop"] = "refuse"
    most_frequent: str | None = None
    """What `missing = "most-frequent"` takes, by agreement."""

    @field_validator("categories")
    @classmethod
    def _differ(cls, categories: tuple[str, ...]) -> tuple[str, ...]:
        twice = (
            [name for name in categories if categories.count(name) > 1]
            if len(set(categories)) < len(categories)
            else []
        )
        if twice:
            raise ValueError(f"category {twice[0]!r} comes twice")
        return categories

    @model_validator(mode="after")
    def _knows_the_most_frequent(self) -> "CategoryColumn":
        if (self.missing == "most-frequent") != (self.most_frequent is not None):
            raise ValueError('missing = "most-frequent" and most_frequent go together')
        if self.most_frequent is not None and self.most_frequent not in self.categories:
            raise ValueError(f"most_frequent {self.most_frequent!r} is none of the categories")
        return self

    @property
    def code_count(self) -> int:
        """Codes that a value can have: one a category, and one for others where they may be."""
        return len(self.categories) + (self.unknown == "other")


class BooleanColumn(_Column):
    """Yes or no: 1 or 0, true or false, yes or no, in any case of letters."""

    type: Literal["boolean"]
    missing: Literal["refuse", "most-frequent", "drop"] = "refuse"
    most_frequent: bool | None = None

    @model_validator(mode="after")
    def _knows_the_most_frequent(self) -> "BooleanColumn":
        if (self.missing == "most-frequent") != (self.most_frequent is not None):
            raise ValueError('missing = "most-frequent" and most_frequent go together')
        return self


Column: TypeAlias = Annotated[
    NumberColumn | DateColumn | CategoryColumn | BooleanColumn, Field(discriminator="type")
]


class Schema(SettingsTable):
    """What members agree on: columns, target, and the rows that are held out."""

    SPLIT: ClassVar[tuple[str, str]] = ("train", "test")

    target: Annotated[str, Field(min_length=1)]
    """The column to predict: a boolean or a category to tell apart, or a number."""
    columns: Annotated[dict[str, Column], Field(min_length=2, max_length=COLUMNS_MAX)]
    """By the name that the tables have in their first line. Other columns are not read."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """A column that says ``train`` or ``test`` of each row; without it, by lot."""
    unit: Annotated[str, Field(min_length=1)] | None = None
    """A column that says whose each row is, such as a patient's number: a peer leaves the rows of
    excluded units out (`excluded` of peer.toml). The model does not see it."""
    missing_values: tuple[str, ...] = MISSING
    """How a missing value is written."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Schema":
        if self.target not in self.columns:
            raise ValueError(f"the target {self.target!r} is none of the columns")
        target = self.columns[self.target]
        if isinstance(target, DateColumn):
            raise ValueError(
                f"the target {self.target!r} is a date: a target is a boolean, a"
                " category or a number"
            )
        if target.missing not in {"refuse", "drop"} or target.indicator:
            raise ValueError(
                f"columns.{self.target}: a missing target is refused, or its row"
                ' dropped (missing = "drop"); it is never filled in'
            )
        if isinstance(target, CategoryColumn) and target.unknown == "other":
            raise ValueError(f"columns.{self.target}: a target has no unknown categories; list all")
        if self.split in self.columns:
            raise ValueError(
                f"split names {self.split!r}, which is one of the columns: rows are"
                " held out by a column that the model does not see"
            )
        if self.unit is not None and self.unit in (*self.columns, self.split, SITE):
            raise ValueError(
                f"unit names {self.unit!r}, which is one of the columns, split, or 'site': it"
                " tells whose a row is, by a column that the model does not see"
            )
        for name, column in self.columns.items():
            if isinstance(column, NumberColumn) and column.constants() is None:
                raise ValueError(
                    f"columns.{name} has neither mean and deviation nor a range: p2pfl task"
                    " describe shows a table's own, for members to agree on"
                )
        return self

    @property
    def inputs(self) -> dict[str, NumberColumn | DateColumn | CategoryColumn | BooleanColumn]:
        """The columns that the model sees, in order."""
        return {name: it for name, it in self.columns.items() if name != self.target}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target's classes, by their code; none where the target is a number."""
        target = self.columns[self.target]
        if isinstance(target, CategoryColumn):
            return target.categories
        return ("no", "yes") if isinstance(target, BooleanColumn) else ()


def days_of(day: datetime.date) -> float:
    """Return days since 1970."""
    return float((day - datetime.date(1970, 1, 1)).days)


def make_schema(document: Mapping[str, Any], *, source: str) -> Schema:
    """Check a schema that is given as nested dictionaries.

    Raises:
        LearningError: a key or value is wrong; the first fault is told, `source` begins the line.
    """
    try:
        return Schema.model_validate(document)
    except ValidationError as error:
        lines = explain(error, document, Schema, source=source).splitlines()
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise LearningError(lines[0] + more) from None


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file of the learner's; `what` says what it is to be.

    Raises:
        LearningError: it cannot be read, or is no TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SCHEMA_BYTES_MAX + 1)
    except OSError as error:
        raise LearningError(f"cannot read {what} {path}: {error.strerror}") from None
    if len(content) > SCHEMA_BYTES_MAX:
        raise LearningError(f"{path} is longer than {SCHEMA_BYTES_MAX} bytes, too long for {what}")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise LearningError(f"{path} is not TOML: it is no UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LearningError(f"{path} is not TOML: {error}") from None


def read_schema(path: Path) -> Schema:
    """Read a schema's file.

    Raises:
        LearningError: it cannot be read, or is no schema.
    """
    return make_schema(read_toml(path, "the schema"), source=str(path))
