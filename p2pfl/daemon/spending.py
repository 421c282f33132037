"""A peer's budget: reserved before a private charter is joined, spent before a byte leaves.

The budget is of the data set, over all groups that its owner joins (p2pfl.privacy.budget). A peer
whose budget does not pay for a charter rests, and says what would fit. What was written down as
spent stays so, whatever comes of the round.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from p2pfl.charter.charter_file import CharterFile
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.group.privacy_settings import mechanism_of
from p2pfl.privacy.budget.book import BudgetRefused, BudgetStanding, BudgetState
from p2pfl.privacy.budget.ledger import BudgetLedger, open_ledger
from p2pfl.privacy.claims import Claim, claims_of
from p2pfl.privacy.errors import PrivacyError
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.learning import WorkFailed
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.entries import EntryStep, Kind
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_gossip.masked_sum.jobs import Granted, Spend
from p2pfl_gossip.records import Record

NO_BUDGET = (
    "the charter asks for privacy, and peer.toml names no budget of these data: open one (p2pfl"
    " privacy open), and set budget and budget_anchor"
)

MORE = (
    ": this member gives nothing more under this charter. Only an amended charter (p2pfl charter"
    " propose) reserves anew, if the budget pays for it"
)


_UNITS = {
    None: "row, or per person where the task says whose a row is",
    False: "row, not per patient",
    True: "person",
}

_OVER = {
    BudgetState.CLOSED: "; closed, so that the rest is free again",
    BudgetState.FORFEITED: "; forfeited, so that all count as spent",
}


class Spending:
    """What one peer reserves and spends. From any thread."""

    def __init__(self, folder: PeerFolder, config: PeerConfig) -> None:
        self._path = None if config.budget is None else folder.path / config.budget
        anchor = config.budget_anchor
        self._anchor = None if anchor is None else folder.path / anchor
        self._lock = threading.Lock()
        self._ledger: BudgetLedger | None = None  # As it was read last.
        self._refused: dict[bytes, tuple[tuple[int, int], str]] = {}
        self._claims: dict[bytes, list[Claim]] = {}
        self._settled: tuple[object, ...] = ()

    def fault(self, file: CharterFile) -> str:
        """Reserve what a charter may cost; say why that cannot be, or nothing.

        What is reserved already stays as it is; what was forfeited since pays for nothing.
        """
        privacy = file.charter.privacy
        if privacy is None:
            return ""
        if self._path is None or self._anchor is None:
            return NO_BUDGET
        stamp = _changed_ns(self._path), _changed_ns(self._anchor)
        before = self._refused.get(file.digest)
        if before is not None and before[0] == stamp:
            return before[1]
        try:
            with self._budget() as ledger:
                standing = _reserve(ledger, file.digest, privacy)
                if standing.state is BudgetState.FORFEITED:
                    raise BudgetRefused(f"the budget of these data was forfeited{MORE}")
        except PrivacyError as error:
            self._refused[file.digest] = (stamp, str(error))
            return str(error)
        self._refused.pop(file.digest, None)
        self._begin_claims(file, privacy)
        return ""

    @contextmanager
    def _budget(self) -> Iterator[BudgetLedger]:
        """Hold the ledger, as it is now; one that failed is opened anew the next time.

        Raises:
            PrivacyError: it is damaged or restored, or cannot be read.
        """
        assert self._path is not None
        assert self._anchor is not None
        with self._lock:
            ledger, self._ledger = self._ledger, None
            if ledger is None:
                ledger = open_ledger(self._path, self._anchor)
            else:
                ledger.look()
            yield ledger
            self._ledger = ledger

    def _begin_claims(self, file: CharterFile, privacy: Privacy) -> None:
        """Work out what each adversary can learn, beside all else: that takes seconds."""
        if file.digest in self._claims:
            return
        self._claims[file.digest] = []
        mechanism = mechanism_of(privacy, len(file.charter.members))

        def work() -> None:
            self._claims[file.digest] = claims_of(mechanism, privacy.spends, privacy.delta)

        threading.Thread(target=work, name="claims", daemon=True).start()

    def spend(self, job: Spend) -> Record:
        """Write down that a vector is about to leave; grant it once that is on the disk."""
        if not job.is_private:
            return Granted()
        if self._path is None or self._anchor is None:
            return WorkFailed(NO_BUDGET)
        try:
            with self._budget() as ledger:
                ledger.spend(job.charter.hex(), epoch=job.epoch, round=job.round, session=0)
        except PrivacyError as error:
            return WorkFailed(str(error))
        return Granted()

    def presume(self, epoch: Epoch, first: int, last: int) -> str:
        """Charge rounds that may have been sent and forgotten: our journal was behind.

        Returns:
            Why that cannot be written; empty if it was, or nothing is to be.
        """
        if epoch.charter.privacy is None or self._path is None or self._anchor is None:
            return ""
        try:
            with self._budget() as ledger:
                ledger.presume(epoch.digest.hex(), epoch=epoch.number, first=first, last=last)
        except PrivacyError as error:
            return str(error)
        return ""

    def settle(self, history: History, own: PeerId, void: Sequence[bytes] = ()) -> str:
        """Take back what a history proves was not given, and free what charters have left.

        A spend comes back where a certified sum of its round is without us: nobody has removed the
        mask of that vector, and no later one of the round is. What is left of a charter is free
        once it has come to its last height, or another charter has followed, and that is final. So
        is what was reserved for charters in whose place another one came.

        Args:
            history: ours.
            own: our peer.
            void: digests of charters that follow one which another has followed.

        Returns:
            Why that cannot be written; empty if it was, or nothing is to be.
        """
        private = [it for it in history.epochs if it.charter.privacy is not None]
        if not (private or void) or self._path is None or self._anchor is None:
            return ""
        final = history.final and history.final.head
        state = history.head.head, final, len(history.epochs), tuple(void)
        if state == self._settled:
            return ""
        try:
            with self._budget() as ledger:
                for epoch in private:
                    _settle_charter(ledger, history, epoch, own)
                for digest in void:
                    _free(ledger, digest.hex(), history.head.entry.digest().hex())
        except PrivacyError as error:
            return str(error)
        self._settled = state
        return ""

    def over(self, file: CharterFile) -> str:
        """Say of a charter under which this member gives no more why that is, and what goes on."""
        privacy = file.charter.privacy
        if privacy is None or self._path is None or self._anchor is None:
            return NO_BUDGET
        try:
            with self._budget() as ledger:
                standing = ledger.book.charters.get(file.digest.hex())
        except PrivacyError as error:
            return str(error)
        if standing is None or standing.left:
            return f"its budget refused an update{MORE}"
        return (
            f"all {standing.reserved.rounds:,} updates that the charter pays for are spent, those"
            f" of lost rounds too{MORE}"
        )

    def claims(self, file: CharterFile) -> list[dict[str, Any]]:
        """Say what each adversary can learn, soon after the charter is reserved; else nothing."""
        return [
            {**asdict(it), "epsilon": it.epsilon if isfinite(it.epsilon) else None}
            for it in self._claims.get(file.digest, [])
        ]

    def told(self, file: CharterFile, *, is_by_person: bool | None = None) -> str:
        """Say what a charter promises and what was spent of it.

        Args:
            file: the charter.
            is_by_person: whether the task says whose each row is; None while it is not loaded.
        """
        privacy = file.charter.privacy
        if privacy is None:
            return "not private: no noise is added"
        unit = "member" if privacy.rows == 0 else _UNITS[is_by_person]
        said = f"per {unit}, delta {privacy.delta:.2g}, {privacy.colluding} may collude"
        if self._path is None or self._anchor is None:
            return f"{said}; {NO_BUDGET}"
        try:
            with self._budget() as ledger:
                standing = ledger.book.charters.get(file.digest.hex())
        except PrivacyError as error:
            return f"{said}; {error}"
        if standing is None:
            return f"{said}; nothing is reserved"
        reserved = standing.reserved
        over = _OVER.get(standing.state, "")
        return (
            f"epsilon {reserved.epsilon:.3g} {said}; spent {standing.spent:,} of"
            f" {reserved.rounds:,} rounds{over}"
        )


def _reserve(ledger: BudgetLedger, digest: bytes, privacy: Privacy) -> BudgetStanding:
    """Reserve by the charter's own figures: an epsilon that somebody names plays no part."""
    return ledger.reserve(
        digest.hex(),
        rate_units=privacy.rate_units,
        noise=privacy.noise_units / 2**20,
        steps=privacy.steps,
        rounds=privacy.spends,
    )


def _settle_charter(ledger: BudgetLedger, history: History, epoch: Epoch, own: PeerId) -> None:
    charter, rank = epoch.digest.hex(), epoch.rank_of(own)
    standing = ledger.book.charters.get(charter)
    if standing is None or standing.state is not BudgetState.OPEN or rank is None:
        return
    for step in _sums(history, epoch):
        given = (epoch.number, step.entry.round, 0)
        if rank not in (epoch.unpack(step.entry.members) or ()) and given in standing.spends:
            proof = step.entry.digest().hex()
            ledger.give_back(charter, epoch=given[0], round=given[1], session=0, proof=proof)
    head = history.head.head
    is_followed = epoch.number < history.epoch.number
    is_done = not is_followed and history.height >= epoch.charter.rounds
    if is_followed or (is_done and history.is_final(head)):
        end = history.closings(epoch.number)[0].certificate.entry if is_followed else None
        ledger.close(charter, proof=(end or history.head.entry).digest().hex())


def _free(ledger: BudgetLedger, charter: str, proof: str) -> None:
    standing = ledger.book.charters.get(charter)
    if standing is not None and standing.state is BudgetState.OPEN:
        ledger.close(charter, proof=proof)


def _sums(history: History, epoch: Epoch) -> list[EntryStep]:
    """Return the sums of an epoch that we hold, newest first."""
    found: list[EntryStep] = []
    step: EntryStep | None = history.head
    while step is not None and step.entry.round and step.entry.epoch >= epoch.number:
        if step.entry.epoch == epoch.number and step.entry.kind == Kind.SUM:
            found.append(step)
        step = history.step(step.entry.base)
    return found


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
