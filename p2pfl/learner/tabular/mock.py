"""Made-up rows of a schema: for a first run before anybody may see a row that is real."""

import datetime
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from p2pfl.learner.streams import raw_draws, uniforms
from p2pfl.learner.tabular.schema import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    NumberColumn,
    Schema,
)
from p2pfl.learner.tabular.values import AnyColumn, Numbers

NORMAL = NormalDist()
MISSING_SHARE = 0.05
"""Of the values of a column that may lack some."""

NOISE = 0.3
"""Of the target, beside 1 for all that the inputs say."""

TEST_EVERY = 5
"""One row in so many is marked as a test row, where the schema has a column for that."""

Texts = list[str]


def mock_rows(schema: Schema, *, rows: int, seed: int) -> Iterator[Texts]:
    """Yield the names of a schema's columns, then made-up rows, as texts.

    Inputs are drawn by their agreed constants, each by itself. The target follows from them in a
    way that is the same for every seed: so the tables of several seeds are sites of one problem.
    Nothing is learnt from any real row.

    Args:
        schema: says what the columns are.
        rows: how many, at least 1.
        seed: the same seed gives the same rows.
    """
    columns: dict[str, Texts] = {}
    score: Numbers = np.zeros(rows)
    squares = 0.0
    for name, column in schema.inputs.items():
        draws = uniforms(raw_draws([f"{seed}/mock/{name}"], rows))[0]
        texts, meaning = _drawn(column, draws)
        weight = 2 * float(uniforms(raw_draws([f"mock/weight/{name}"], 1))[0, 0]) - 1
        score += weight * meaning
        squares += weight**2
        if column.missing != "refuse":
            lacks = uniforms(raw_draws([f"{seed}/mock/{name}/missing"], rows))[0] < MISSING_SHARE
            texts = [
                schema.missing_values[0] if lack else text
                for lack, text in zip(lacks, texts, strict=True)
            ]
        columns[name] = texts
    noise = _normal(uniforms(raw_draws([f"{seed}/mock/noise"], rows))[0])
    score = (score / max(squares, 1e-9) ** 0.5 + NOISE * noise) / (1 + NOISE**2) ** 0.5
    columns[schema.target] = _target(schema.columns[schema.target], score)
    if schema.split is not None:
        columns[schema.split] = [
            Schema.SPLIT[row % TEST_EVERY == TEST_EVERY - 1] for row in range(rows)
        ]
    if schema.unit is not None:
        columns[schema.unit] = [f"{seed}-{row}" for row in range(rows)]
    yield list(columns)
    yield from (list(row) for row in zip(*columns.values(), strict=True))


def _drawn(column: AnyColumn, draws: Numbers) -> tuple[Texts, Numbers]:
    """Return values by their draws in [0, 1), and what each means for the target, near N(0, 1)."""
    if isinstance(column, CategoryColumn):
        codes = np.minimum((draws * len(column.categories)).astype(int), len(column.categories) - 1)
        meanings = np.linspace(-1.5, 1.5, len(column.categories))
        return [column.categories[code] for code in codes], meanings[codes]
    if isinstance(column, BooleanColumn):
        return ["true" if draw < 0.5 else "false" for draw in draws], np.where(draws < 0.5, 1, -1)
    if isinstance(column, DateColumn):
        low, high = column.days()
        days = np.floor(low + draws * (high - low + 1))
        first = datetime.date(1970, 1, 1)
        texts = [(first + datetime.timedelta(days=int(day))).isoformat() for day in days]
        return texts, (draws - 0.5) * 12**0.5
    constants = column.constants()
    assert constants is not None, "the schema refuses numbers without constants"
    mean, deviation = constants
    return _numbers(column, mean + deviation * _normal(draws)), _normal(draws)


def _target(column: AnyColumn, score: Numbers) -> Texts:
    if isinstance(column, NumberColumn):
        constants = column.constants()
        assert constants is not None, "the schema refuses numbers without constants"
        return _numbers(column, constants[0] + constants[1] * score)
    shares = np.array([NORMAL.cdf(float(it)) for it in score])
    if isinstance(column, CategoryColumn):
        count = len(column.categories)
        return [column.categories[min(int(share * count), count - 1)] for share in shares]
    return ["true" if share > 0.5 else "false" for share in shares]


def _numbers(column: NumberColumn, values: Numbers) -> Texts:
    low, high = column.range or (-np.inf, np.inf)
    return [f"{value:.6g}" for value in np.clip(values, low, high)]


def _normal(draws: npt.NDArray[np.float64]) -> Numbers:
    return np.array([NORMAL.inv_cdf(min(max(float(it), 1e-9), 1 - 1e-9)) for it in draws])
