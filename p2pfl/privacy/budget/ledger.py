"""A dataset's ledger on disk, beside the data, and its anchor somewhere else.

The ledger is a file of lines (see `records`), only ever appended to. A record counts once it is on
the disk; only then may the byte leave that it speaks of. Whoever fails to write one stops: `spend`
raises, and no vector leaves.

**The anchor** is a small file outside what is backed up with the data. It says how long the ledger
was and what its last digest was. A ledger that is behind its anchor was restored from a backup: it
is refused until somebody forfeits, which counts every charter in full, those that only the anchor
remembers too. Without an anchor the whole budget is forfeited. If both are restored together, or
run twice from a copy, this file cannot tell.

| fault | outcome |
|---|---|
| the disk is full, or flushing fails | that call raises, and all later ones until it is reopened |
| power fails in the middle of a line | the line was never told to be there: it is cut off |
| power fails between ledger and anchor | the ledger is ahead: no harm; the anchor follows |
| a line is changed, left out or put in | refused, naming the line |
| an older ledger is restored | refused, until it is forfeited |
| another ledger under the same anchor | refused |
| the anchor is missing | refused, until it is forfeited |
| the anchor lies beside the ledger | refused: a backup would take both |
| two processes at once | one waits for the other; each sees what the other wrote |
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pfl.privacy.accounting import account
from p2pfl.privacy.budget import ledger_file
from p2pfl.privacy.budget.book import Book, BudgetRefused, BudgetStanding, BudgetState
from p2pfl.privacy.budget.ledger_file import (
    Anchor,
    LedgerLines,
    extend,
    locked,
    read_anchor,
    read_ledger,
    stamp_of,
    write_anchor,
)
from p2pfl.privacy.budget.records import (
    LINE_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    START,
    BudgetOpened,
    Closed,
    DamagedLedger,
    Forfeited,
    Presumed,
    Record,
    Reserved,
    Returned,
    Spent,
    encode,
)
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.releases import Releases
from p2pfl.privacy.renyi import best_order
from p2pfl.store.files import create_file

ID_BYTES = 16
_DIGEST = re.compile("[0-9a-f]{64}")


class RestoredLedger(PrivacyError):
    """A ledger is not where its anchor says: restored, replaced, or without an anchor."""


class BudgetLedger:
    """One dataset's ledger, open. Made by `create` or `open_ledger`.

    Calls block for as long as the disk takes. Not for two threads at once; other processes may use
    the same file.
    """

    def __init__(self, path: Path, anchor: Path, read: LedgerLines) -> None:
        self._path, self._anchor, self._read = path, anchor, read
        self._is_broken = False

    @property
    def book(self) -> Book:
        """What the records add up to; to read, not to change."""
        return self._read.book

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, in order."""
        return tuple(self._read.records)

    @property
    def head(self) -> str:
        """Digest of the last record, in hex."""
        return self._read.digests[-1].hex()

    def look(self) -> None:
        """Take in what others have written; the lines are read again only where somebody has.

        Raises:
            DamagedLedger: it is not as it was written.
            RestoredLedger: it is behind its anchor, or has none.
            PrivacyError: it cannot be read, or could not be written before.
        """
        with self._locked():
            pass

    def reserve(
        self, charter: str, *, rate_units: int, noise: float, steps: int, rounds: int
    ) -> BudgetStanding:
        """Reserve all rounds of a charter that is to be joined; what is reserved stays as it is.

        Args:
            charter: its digest, 64 hexadecimal digits.
            rate_units: p as a multiple of 2^-32.
            noise: z that is counted on, at the floor.
            steps: releases a round.
            rounds: T, spares too.

        Raises:
            BudgetRefused: it does not fit; the message says what would.
            PrivacyError: a figure is out of range, or the record cannot be written.
        """
        if not _DIGEST.fullmatch(charter):
            raise PrivacyError("a charter is named by its digest, 64 hexadecimal digits")
        with self._locked():
            known = self.book.charters.get(charter)
            if known is None:
                cost = account(
                    [Releases(rate_units, noise, rounds * steps)], self.book.opened.delta
                )
                self._append(
                    self.book.reservation(
                        charter,
                        rate_units=rate_units,
                        noise=noise,
                        steps=steps,
                        rounds=rounds,
                        epsilon=cost.epsilon,
                    )
                )
                return self.book.charters[charter]
            same = known.reserved
            if (same.rate_units, same.noise, same.steps, same.rounds) != (
                *(rate_units, noise),
                *(steps, rounds),
            ):
                raise BudgetRefused(
                    f"charter {charter[:12]} was reserved with other figures; one of the two is not"
                    " its plan"
                )
            return known

    def spend(self, charter: str, *, epoch: int, round: int, session: int) -> None:
        """Write that a vector is about to leave; its first byte may, once this has returned.

        Raises:
            BudgetRefused: there is no such reservation, it is over, all its rounds are spent, or
                this session is.
            PrivacyError: the record cannot be written: nothing may leave.
        """
        with self._locked():
            self._append(Spent(charter, epoch, round, session))

    def give_back(self, charter: str, *, epoch: int, round: int, session: int, proof: str) -> None:
        """Write that a certificate names a sum's members, and we are not among them.

        Args:
            charter: its digest.
            epoch: of the spend.
            round: of the spend.
            session: of the spend.
            proof: digest of the certificate, which the caller has checked.

        Raises:
            BudgetRefused: that was not spent.
            PrivacyError: the record cannot be written.
        """
        with self._locked():
            self._append(Returned(charter, epoch, round, session, proof))

    def presume(
        self,
        charter: str,
        *,
        epoch: int,
        first: int,
        last: int,
        certified_without: Collection[int] = (),
    ) -> None:
        """Charge every round that may have been sent and forgotten, if there are any.

        Args:
            charter: its digest.
            epoch: of the rounds.
            first: the first after the last that the journal has.
            last: the round that is entered now.
            certified_without: rounds whose certified members we are not among.

        Raises:
            BudgetRefused: the charter has no reservation, or is over.
            PrivacyError: the record cannot be written.
        """
        excused = sum(first <= number <= last for number in set(certified_without))
        count = last - first + 1 - excused
        if count > 0:
            with self._locked():
                self._append(Presumed(charter, epoch, first, last, count))

    def close(self, charter: str, *, proof: str) -> None:
        """Free what a charter has not spent.

        Args:
            charter: its digest.
            proof: digest of the proof that its last entry is final, which the caller has checked.

        Raises:
            BudgetRefused: the charter has no reservation, or is forfeited.
            PrivacyError: the record cannot be written.
        """
        with self._locked():
            known = self.book.charters.get(charter)
            if known is None or known.state is not BudgetState.CLOSED:
                self._append(Closed(charter, proof))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file, and know all that others have written to it."""
        if self._is_broken:
            raise PrivacyError(f"{self._path} could not be written before; open it again")
        with locked(self._path):
            self._read = read_ledger(self._path, self._read)
            _require_not_restored(self._path, self._read, self._anchor)
            yield

    def _append(self, record: Record) -> None:
        """Check a record, write it, flush it, move the anchor."""
        line, digest = encode(record, self._read.digests[-1])
        if self._read.size + len(line) > ledger_file.LEDGER_BYTES_MAX:
            raise PrivacyError(f"{self._path} is full: it has {ledger_file.LEDGER_BYTES_MAX} bytes")
        self.book.take(record)
        self._is_broken = True  # Until all is on the disk.
        try:
            extend(self._path, self._anchor, self._read, record, line, digest)
        except OSError as error:
            raise PrivacyError(
                f"cannot write {error.filename or self._path}: {error.strerror}; nothing leaves"
                " before it can be"
            ) from error
        self._is_broken = False


def create(
    path: Path, anchor: Path, *, dataset: str, epsilon: float, delta: float, entropy: bytes
) -> BudgetLedger:
    """Make a ledger and its anchor.

    Args:
        path: of the ledger, beside the data.
        anchor: of the anchor, where no backup of the data goes.
        dataset: what it is of, for people.
        epsilon: what the owner allows over all charters.
        delta: of epsilon.
        entropy: 16 bytes, the ledger's own number.

    Raises:
        PrivacyError: one of the two is there already, they lie in one folder, or cannot be made;
            the name or the budget is out of range.
    """
    _require_apart(path, anchor)
    if not 0 < len(dataset) <= NAME_CHARACTERS_MAX or not dataset.isprintable():
        raise PrivacyError(f"a data set's name has 1 to {NAME_CHARACTERS_MAX} printable characters")
    if len(entropy) != ID_BYTES:
        raise PrivacyError(f"a ledger's number has {ID_BYTES} bytes, not {len(entropy)}")
    if not (0 < epsilon < float("inf") and 0 < delta < 1):
        raise PrivacyError(
            f"a budget has a positive epsilon and a delta below 1, not {epsilon:g}, {delta:g}"
        )
    opened = BudgetOpened(entropy.hex(), dataset, epsilon, delta, best_order(epsilon, delta))
    line, digest = encode(opened, START)
    try:
        if path.exists():
            raise PrivacyError(f"{path} is there already; a data set has one budget")
        if anchor.exists():
            raise PrivacyError(f"{anchor} is there already, of another ledger; name another place")
        create_file(path, line)
        read = LedgerLines(Book(opened), [opened], [digest], len(line), stamp_of(path))
        write_anchor(anchor, read)
    except OSError as error:
        raise PrivacyError(f"cannot make {error.filename or path}: {error.strerror}") from error
    return BudgetLedger(path, anchor, read)


def open_ledger(path: Path, anchor: Path) -> BudgetLedger:
    """Open a ledger.

    Raises:
        DamagedLedger: it is not as it was written.
        RestoredLedger: it is behind its anchor, or has none.
        PrivacyError: it cannot be read.
    """
    _require_apart(path, anchor)
    with locked(path):
        read = read_ledger(path)
        _require_not_restored(path, read, anchor)
    return BudgetLedger(path, anchor, read)


def read_records(path: Path) -> BudgetLedger:
    """Read a ledger to look at it: its chain is checked, its anchor is not.

    Raises:
        DamagedLedger: it is not as it was written.
        PrivacyError: it cannot be read.
    """
    return BudgetLedger(path, path, read_ledger(path))


def forfeit(path: Path, anchor: Path) -> BudgetLedger:
    """Count every charter in full, and go on from the ledger that is here.

    Raises:
        DamagedLedger: the ledger is not as it was written.
        PrivacyError: it cannot be read or written, or the anchor is that of another ledger.
    """
    _require_apart(path, anchor)
    with locked(path):
        read = read_ledger(path)
        known = read_anchor(anchor)
        book = read.book
        if known is None:
            lost = max(book.budget, book.charged_in_full)
        elif known.ledger != book.opened.ledger:
            raise PrivacyError(f"{anchor} is the anchor of another ledger; name this one's")
        else:
            lost = max(known.in_full, book.charged_in_full)
        forfeited = Forfeited(lost)
        line, digest = encode(forfeited, read.digests[-1])
        # A full ledger still has room for one record: that all is forfeited.
        if read.size + len(line) > ledger_file.LEDGER_BYTES_MAX + LINE_BYTES_MAX:
            raise PrivacyError(f"{path} is full: it has {ledger_file.LEDGER_BYTES_MAX} bytes")
        book.take(forfeited)
        try:
            extend(path, anchor, read, forfeited, line, digest)
        except OSError as error:
            raise PrivacyError(
                f"cannot write {error.filename or path}: {error.strerror}"
            ) from error
    return BudgetLedger(path, anchor, read)


def _require_apart(path: Path, anchor: Path) -> None:
    if anchor.resolve().is_relative_to(path.resolve().parent):
        raise PrivacyError(
            f"{anchor} lies beside the ledger, so a backup would take both; name a place that is"
            " not backed up with the data"
        )


def _require_not_restored(path: Path, read: LedgerLines, place: Path) -> None:
    remedy = "; p2pfl privacy forfeit counts every charter in full and goes on"
    anchor = read_anchor(place)
    if anchor is None:
        raise RestoredLedger(
            f"{place}, the anchor of {path}, is missing: look whether that is its place; where it"
            " is lost, p2pfl privacy forfeit counts the whole budget as spent"
        )
    if anchor.ledger != read.book.opened.ledger:
        raise RestoredLedger(f"the anchor of {path} is that of another ledger: one was replaced")
    if anchor.length > len(read.digests):
        raise RestoredLedger(
            f"{path} has {len(read.digests)} of {anchor.length} records: it was restored from a"
            f" backup{remedy}"
        )
    if read.digests[anchor.length - 1].hex() != anchor.head:
        raise RestoredLedger(
            f"record {anchor.length} of {path} is not the one that was there: it was restored from"
            f" a backup and then used{remedy}"
        )


__all__ = [
    "Anchor",
    "BudgetLedger",
    "BudgetRefused",
    "DamagedLedger",
    "Reserved",
    "RestoredLedger",
    "create",
    "forfeit",
    "open_ledger",
    "read_records",
]
