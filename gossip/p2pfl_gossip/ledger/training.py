"""What a member makes of its own rows for a sum: an update, or words that hold their noise.

| charter | training | what is given |
|---|---|---|
| not private | `Train` | the update, shrunk to the clip |
| private: whole members | `Train` | the same as integers, with noise |
| private: lots | `TrainPrivately` | a lot's clipped gradients as integers, with noise |
| private: nobody is trusted | `TrainPrivately` with local steps | the update, shrunk to the clip |

Without privacy a training that fails gives nothing. With it, it gives noise around nothing: who
stayed away would tell of its rows. Each training has entropy of its own, which is kept nowhere: so
no draw is ever made twice.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_streams import ENTROPY_BYTES
from p2pfl_gossip import events
from p2pfl_gossip.actions import Job, LocalProtocolError, Ticket, Vector
from p2pfl_gossip.learning import LotSummed, PrivateLot, Train, Trained, TrainPrivately
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.jobs import MakeUpdate, UpdateMade
from p2pfl_gossip.ledger.privacy import Privacy, PrivateUnit
from p2pfl_gossip.ledger.private_jobs import Encoding, Hidden, HideUpdate, NoiseAlone
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.own_state import Arrays, OwnState
from p2pfl_gossip.records import Record


@dataclass(frozen=True)
class Update:
    """What a training gave, until it is spent: for a sum, and the head that it is from."""

    vector: Vector | Masked
    base: EntryStep


class OwnTraining:
    """One training at a time.

    Args:
        seat: our place.
        history: what is certified.
        own: what we keep of our own from training to training.
        streams: names the random streams of trainings that are not private.
        given: is called with what came of one.
        failed: is called with the head and the reason where nothing did.

    Attributes:
        head: of the training under way; None if there is none.
    """

    def __init__(
        self,
        seat: Seat,
        history: History,
        own: OwnState,
        *,
        streams: str,
        given: Callable[[Update], None],
        failed: Callable[[EntryStep, str], None],
    ) -> None:
        self._seat, self._history, self._own, self._streams = seat, history, own, streams
        self._given, self._failed = given, failed
        self.head: EntryStep | None = None
        self._ticket: Ticket = 0
        self._base: Vector | None = None
        self._left: Arrays = {}  # By the training that an update is being made of.

    def begin(self, round_: int, base: Vector) -> None:
        """Train from the model of our head, or the one that takes its place.

        Args:
            round_: names the random stream.
            base: float32[d], read-only.
        """
        seat, height = self._seat, self._history.height
        self.head, self._base = self._history.head, base
        privacy = seat.epoch.charter.privacy
        job: Job
        if privacy is None or privacy.unit == PrivateUnit.MEMBER:
            job = Train(height, base, f"{self._streams}/train/{round_}", self._own.arrays)
        else:
            job = TrainPrivately(height, base, self._lot(privacy), self._draw())
        self._work(job, self._on_trained)

    def stop(self) -> bool:
        """Give up what is under way; tell whether there was anything."""
        if self.head is None:
            return False
        self._seat.actions += self._seat.desk.cancel_work(self._ticket)
        self.head = self._base = None
        return True

    def _work(self, job: Job, done: Callable[..., None]) -> None:
        self._ticket = self._seat.work(job, done, self._on_failed)

    def _draw(self) -> bytes:
        return self._seat.entropy(ENTROPY_BYTES)

    def _lot(self, privacy: Privacy) -> PrivateLot:
        epoch = self._seat.epoch
        size = epoch.size
        encoding = privacy.lot_encoding(size, epoch.entries)
        if privacy.is_shared:
            return PrivateLot(privacy.rate_units, encoding)
        rate = privacy.rate_of(self._history.height + 1, epoch.charter.rounds)
        # A member's own lots; all agreed on how many rows they have together.
        unit = encoding.gradient_unit(privacy.lot_expected / size)
        return PrivateLot(privacy.rate_units, encoding, privacy.steps, rate * unit)

    def _encoding(self, privacy: Privacy) -> Encoding:
        epoch = self._seat.epoch
        make = privacy.lot_encoding if privacy.takes_lots else privacy.member_encoding
        return make(epoch.size, epoch.entries)

    # --- what comes of it -------------------------------------------------------------------

    def _on_trained(self, result: Record) -> None:
        seat = self._seat
        charter = seat.epoch.charter
        assert self._base is not None
        if isinstance(result, LotSummed):
            seat.report(events.AveragingStarted(self._history.height, None))
            self._end(result.words)
            return
        if not isinstance(result, Trained):
            raise LocalProtocolError(f"training ended with {type(result).__name__}")
        # Where nobody is trusted, steps have noise, and no loss is worked out.
        loss = None if math.isnan(result.loss) else result.loss
        seat.report(events.AveragingStarted(self._history.height, loss))
        self._left = result.own
        privacy = charter.privacy
        if privacy is None or not privacy.is_shared:
            self._work(MakeUpdate(self._base, result.vector, charter.clip), self._on_update)
            return
        job = HideUpdate(
            privacy.member_encoding(seat.epoch.size, seat.epoch.entries),
            self._base,
            result.vector,
            seat.epoch.weights[seat.rank],
            max(seat.epoch.weights),
            self._draw(),
        )
        self._work(job, self._on_hidden)

    def _on_update(self, made: UpdateMade) -> None:
        assert self.head is not None
        if made.is_zero and self._seat.epoch.charter.privacy is None:
            self._on_failed("it changed nothing")
            return
        self._own.take(self._left)  # It is kept with the next model: the two belong together.
        self._tell_shrunk(made.norm, made.update)
        self._end(made.update)

    def _on_hidden(self, hidden: Hidden) -> None:
        self._own.take(self._left)
        self._end(hidden.words)

    def _tell_shrunk(self, norm: float, update: Vector) -> None:
        clip = self._seat.epoch.charter.clip
        if norm > clip:
            self._seat.report(events.UpdateShrunk(self._history.height, norm, clip, update))

    def _end(self, vector: Vector | Masked) -> None:
        assert self.head is not None
        update = Update(vector, self.head)
        self.head = self._base = None
        self._given(update)

    def _on_failed(self, reason: str) -> None:
        assert self.head is not None
        privacy = self._seat.epoch.charter.privacy
        if privacy is not None and privacy.is_shared:
            self._seat.report(events.TrainingFailed(self._history.height, reason))
            self._left = self._own.arrays
            self._work(NoiseAlone(self._encoding(privacy), self._draw()), self._on_hidden)
            return
        head, self.head, self._base = self.head, None, None
        self._failed(head, reason)
