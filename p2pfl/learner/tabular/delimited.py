"""Texts of delimited values, row by row, by Python's own reader."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from p2pfl.learner.errors import LearningError
from p2pfl.learner.tabular.headers import check_header, own_words

if TYPE_CHECKING:
    import _csv

DELIMITERS = (",", ";", "\t", "|")
HEADER_CHARACTERS_MAX = 16 * 1024 * 1024
"""Of a first line with its end; a longer one is no header."""

ROW_CHARACTERS_MAX = 16 * 1024 * 1024
"""Of a row with all lines that its quotes hold together: far more than a row of numbers has, and
little enough to be read whole."""


def delimited_columns(path: Path, *, delimiter: str | None, encoding: str) -> list[str]:
    """Return the names in a CSV file's first line; see `delimited_rows`."""
    with _opened(path, (), delimiter, encoding) as (reader, _):
        return _names(path, reader)


def delimited_rows(
    path: Path, columns: Sequence[str], *, delimiter: str | None, encoding: str
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield rows of a CSV file, each with its line from 1 and the values of `columns`.

    Args:
        path: the file; a byte order mark is passed over.
        columns: names in its first line.
        delimiter: None takes the one that parts the first line into most of `columns`.
        encoding: of its letters, as Python names it.

    Raises:
        LearningError: it cannot be read; one line that names file, line and remedy.
    """
    with _opened(path, columns, delimiter, encoding) as (reader, lines):
        yield from _rows(path, columns, reader, lines)


class _Lines:
    """Lines of a file for a CSV reader, of bounded length, and so many for one row."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file
        self._number = self._row_characters = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(ROW_CHARACTERS_MAX + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._row_characters += len(line)
        if self._row_characters > ROW_CHARACTERS_MAX:
            raise LearningError(
                f"{self._path}, line {self._number}: a row has more than {ROW_CHARACTERS_MAX:,}"
                " characters; each row is to be a line of its own, and a quote is to be closed"
            )
        return line

    def end_row(self) -> None:
        """Begin to count anew, as a row is whole."""
        self._row_characters = 0


@contextmanager
def _opened(
    path: Path, columns: Sequence[str], delimiter: str | None, encoding: str
) -> Iterator[tuple["_csv.Reader", "_Lines"]]:
    encoding = _checked_encoding(path, encoding)
    try:
        header = _first_line(path, encoding)
        with path.open(encoding=encoding, newline="") as file:
            chosen = delimiter or _find_delimiter(path, columns, header)
            lines = _Lines(path, file)
            reader = csv.reader(lines, delimiter=chosen, strict=True)
            try:
                yield reader, lines
            except csv.Error as error:
                raise LearningError(f"{path}, line {reader.line_num}: {error}") from None
    except OSError as error:
        raise LearningError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        line = _undecodable_line(path, encoding)
        raise LearningError(
            f"{path}, line {line}: its letters are not {encoding.removesuffix('-sig')}; save it as"
            f' UTF-8, or say encoding = "cp1252" (or another) in {own_words(path).name}'
        ) from None


def _names(path: Path, reader: "_csv.Reader") -> list[str]:
    header = next(reader, None)
    if not header:
        raise LearningError(f"{path} is empty: its first line has no names of columns")
    return [name.strip() for name in header]


def _rows(
    path: Path, columns: Sequence[str], reader: "_csv.Reader", lines: _Lines
) -> Iterator[tuple[int, Sequence[str]]]:
    names = _names(path, reader)
    places = check_header(path, columns, names)
    count = 0
    first = reader.line_num + 1
    lines.end_row()
    for values in reader:
        lines.end_row()
        number, first = first, reader.line_num + 1
        if not values:
            continue  # A blank line.
        if len(values) != len(names):
            raise LearningError(
                f"{path}, line {number}: {len(values)} values, but the first line names"
                f" {len(names)} columns; put a value that has a delimiter in quotes"
            )
        count += 1
        yield number, [values[place].strip() for place in places]
    if not count:
        raise LearningError(f"{path} has a first line, but no rows")


def _checked_encoding(path: Path, encoding: str) -> str:
    """Return the encoding, one that passes over a mark; refuse one that the file's mark denies."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise LearningError(
            f"{path}: there is no encoding {encoding!r}; utf-8 and cp1252 are two"
        ) from None
    try:
        with path.open("rb") as file:
            mark = file.read(4)
    except OSError as error:
        raise LearningError(f"cannot read {path}: {error.strerror}") from None
    if mark[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not name.startswith("utf-16"):
        raise LearningError(
            f'{path} is UTF-16, by its first bytes; save it as UTF-8, or say encoding = "utf-16" in'
            f" {own_words(path).name}"
        )
    if mark.startswith(b"PK\x03\x04"):
        raise LearningError(f"{path} is a spreadsheet or archive, no text; export it as CSV")
    return "utf-8-sig" if name == "utf-8" else name


def _first_line(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, newline="") as file:
        line = file.readline(HEADER_CHARACTERS_MAX + 1)
    if len(line) > HEADER_CHARACTERS_MAX:
        raise LearningError(
            f"{path}: its first line has more than {HEADER_CHARACTERS_MAX} characters; it is to"
            " have the names of the columns, and each row a line of its own"
        )
    return line


def _find_delimiter(path: Path, columns: Sequence[str], line: str) -> str:
    if path.suffix == ".tsv":
        return "\t"

    def found(delimiter: str) -> tuple[int, int]:
        try:
            names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            return 0, 0
        return len(set(names) & set(columns)), len(names)

    return max(DELIMITERS, key=found)  # The first of equal ones.


def _undecodable_line(path: Path, encoding: str) -> int:
    decoder = codecs.getincrementaldecoder(encoding)()
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError:
                return number
    return number
