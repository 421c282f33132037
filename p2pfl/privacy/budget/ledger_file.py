"""The two files of a dataset's ledger: its lines, and the anchor that says how many there are."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from p2pfl.privacy.budget.book import Book
from p2pfl.privacy.budget.records import (
    LINE_BYTES_MAX,
    START,
    BudgetOpened,
    DamagedLedger,
    Record,
    read_line,
)
from p2pfl.privacy.errors import PrivacyError
from p2pfl.store.files import PRIVATE, replace_file

LEDGER_BYTES_MAX = 256 * 1024 * 1024  # A million spends: more than any budget has.
ANCHOR_BYTES_MAX = 1024

Stamp: TypeAlias = tuple[int, int, int, int]
"""What tells that nobody has written a file since: inode, size, and the times of both changes."""


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept outside the backup.

    Attributes:
        ledger: the ledger's own number.
        length: how many records it had.
        head: digest of the last of them.
        in_full: divergence of all charters ever joined, each counted in full.
    """

    ledger: str
    length: int
    head: str
    in_full: float


@dataclass
class LedgerLines:
    """What a file holds: whole lines, how many bytes they take, and its stamp."""

    book: Book
    records: list[Record]
    digests: list[bytes]
    size: int
    stamp: Stamp


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for other processes; the lock ends with this one in any way.

    Raises:
        PrivacyError: the lock's file cannot be made.
    """
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise PrivacyError(f"cannot lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_ledger(path: Path, known: LedgerLines | None = None) -> LedgerLines:
    """Read all whole lines; the rest of one that was never finished does not count.

    Args:
        path: of the file.
        known: what it held before; it holds so still if nobody has written it since.

    Raises:
        DamagedLedger: it is not as it was written.
        PrivacyError: it cannot be read.
    """
    try:
        stamp = stamp_of(path)
        if known is not None and known.stamp == stamp:
            return known
        if stamp[1] > LEDGER_BYTES_MAX + LINE_BYTES_MAX:
            raise DamagedLedger(f"{path} is larger than any ledger")
        content = path.read_bytes()
    except OSError as error:
        raise PrivacyError(f"cannot read {path}: {error.strerror}") from error
    *lines, rest = content.split(b"\n")
    records: list[Record] = []
    digests: list[bytes] = []
    book: Book | None = None
    try:
        for number, line in enumerate(lines, 1):
            record, digest = read_line(line, digests[-1] if digests else START, number)
            if book is None:
                if not isinstance(record, BudgetOpened):
                    raise DamagedLedger("the first record does not open it")
                book = Book(record)
            else:
                book.take(record)
            records.append(record)
            digests.append(digest)
    except DamagedLedger as error:
        raise DamagedLedger(f"{path}: {error}") from error
    except PrivacyError as error:
        raise DamagedLedger(f"{path}: line {len(digests) + 1} cannot follow: {error}") from error
    if book is None:
        raise DamagedLedger(f"{path}: there is no whole record")
    return LedgerLines(book, records, digests, len(content) - len(rest), stamp)


def extend(
    path: Path, anchor: Path, read: LedgerLines, record: Record, line: bytes, digest: bytes
) -> None:
    """Put a record at the end of a ledger that was read, flushed, and move the anchor.

    Raises:
        OSError: one of the two cannot be written.
    """
    _write_at(path, read.size, line)
    read.records.append(record)
    read.digests.append(digest)
    read.size += len(line)
    read.stamp = stamp_of(path)
    write_anchor(anchor, read)


def stamp_of(path: Path) -> Stamp:
    """Tell one state of a file from another.

    Raises:
        OSError: there is none.
    """
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _write_at(path: Path, size: int, line: bytes) -> None:
    """Cut off what was never finished, append, flush."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        left = memoryview(line)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_anchor(path: Path, read: LedgerLines) -> None:
    """Write how far a ledger is, in place of what the anchor said before.

    Raises:
        OSError: it cannot be written.
    """
    opened = read.book.opened
    anchor = Anchor(
        opened.ledger, len(read.digests), read.digests[-1].hex(), read.book.charged_in_full
    )
    replace_file(path, msgspec.json.encode(anchor) + b"\n", mode=PRIVATE)


def read_anchor(path: Path) -> Anchor | None:
    """Read an anchor; None if there is none.

    Raises:
        PrivacyError: it is there, and no anchor.
    """
    with suppress(FileNotFoundError):
        try:
            with path.open("rb") as file:
                content = file.read(ANCHOR_BYTES_MAX + 1)
            anchor = msgspec.json.decode(content, type=Anchor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise PrivacyError(f"cannot read {path}: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PrivacyError(f"{path} is no anchor of a ledger: {error}") from error
        if len(content) > ANCHOR_BYTES_MAX or anchor.length < 1:
            raise PrivacyError(f"{path} is no anchor of a ledger")
        return anchor
    return None
