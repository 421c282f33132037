"""What a charter says of privacy in tests, and a world whose members make their sums private."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ledger_world import LedgerWorld, ToyWorker, first_model, pull_of

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_encoding import add_noise
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import LotSummed, TrainPrivately, WorkFailed
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Kind
from p2pfl_gossip.ledger.privacy import Privacy, PrivateTrust, PrivateUnit, still
from p2pfl_gossip.ledger.private_jobs import noise_for
from p2pfl_gossip.ledger.states import StateItem, digest_state
from p2pfl_gossip.masked_sum.cohort import liars_max_of, threshold_of
from p2pfl_gossip.masked_sum.jobs import Spend
from p2pfl_gossip.records import Record, replaced

CLIP = 1.0


def privacy_of(members: int, *, rounds: int = 3, **fields: Any) -> Privacy:
    """Privacy of records in a group; its figures fit, unless the test asks for others."""
    known: dict[str, Any] = {
        "unit": PrivateUnit.RECORD,
        "trust": PrivateTrust.COALITION,
        "rate_units": 2**30,
        "noise_units": 2**20,
        "clip": CLIP,
        "spends": rounds + 4,
        "colluding": liars_max_of(members),
        "least": threshold_of(members),
        "rows": 1000,
        "steps": 1,
        "delta": 1e-5,
        "rate_first": 2.0,
        "rate_last": 0.5,
        "momentum": 0.0,
        "table": bytes(32),
    } | fields
    privacy = Privacy(**known)
    if "table" in fields:
        return privacy
    return replaced(privacy, table=privacy.width(members).digest)


class PrivateWorker(ToyWorker):
    """Sums lots of one unit each, whose gradient points against what training adds.

    Attributes:
        words: what members gave, in order.
        loses: whose pass over the lot fails.
        denies: whose budget grants no spend.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words: list[tuple[int, Masked]] = []
        self.loses: Callable[[int], bool] = lambda _index: False
        self.denies: Callable[[int], bool] = lambda _index: False

    def _do(self, index: int, job: Job) -> Record:
        if isinstance(job, Spend) and self.denies(index):
            return WorkFailed("all is spent")
        if not isinstance(job, TrainPrivately):
            return super()._do(index, job)
        if self.loses(index):
            return WorkFailed("the loss became NaN")
        encoding = job.lot.encoding
        quanta = encoding.encode(-pull_of(index, encoding.entries).astype(np.float64))
        words = add_noise(quanta, noise_for(encoding, job.entropy))
        words.flags.writeable = False
        self.words.append((index, words))
        return LotSummed(words, 0)


class PrivateWorld(LedgerWorld):
    """Members whose charter asks for privacy."""

    worker: PrivateWorker

    def __init__(
        self,
        size: int,
        *,
        entries: int = 64,
        rounds: int = 3,
        privacy: dict[str, Any] | None = None,
        **charter: Any,
    ) -> None:
        said = privacy_of(size, rounds=rounds, **(privacy or {}))
        state: tuple[StateItem, ...] = (digest_state("model", first_model(entries)).item,)
        if said.momentum:
            state = (*state, still(entries))
        known: dict[str, Any] = {"state": state, "privacy": said}
        super().__init__(size, entries=entries, rounds=rounds, **known | charter)
        self.privacy = said

    def make_worker(self) -> PrivateWorker:
        return PrivateWorker()

    def certified(self, index: int = 0) -> list[Entry]:
        """The entries of sums that a member holds, ascending."""
        history = self.member(index).history
        found: list[Entry] = []
        step: EntryStep | None = history.head
        while step is not None and step.entry.round:
            found.append(step.entry)
            step = history.step(step.entry.base)
        return [entry for entry in reversed(found) if entry.kind == Kind.SUM]
