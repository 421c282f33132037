"""What a member has said in its ledger, kept before it is said.

All that the ledger promises rests on this: one advert a round, rounds grow, heads never fall, one
entry signed a round. So each is in the journal before it leaves, and a restarted member goes on
behind it.
"""

from p2pfl_gossip.actions import LocalProtocolError, Persist, Vector
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Head
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert
from p2pfl_gossip.records import Codec, Digest, MalformedFrame, Message, UInt32, UInt63, replaced

STANDING_RECORD = "ledger/standing"
MODEL_PREFIX = "ledger/model/"

SIGNED_MAX = 8
"""Signed entries whose models are kept until one of them, or a later one, is certified."""

KEPT_MAX = 4
"""Models of ends of epochs, and of starts: a group goes back to one of the last few, if at all."""

_RECORD_BYTES_MAX = 256 * 1024  # Nine entries at most, of 16 KB each.


class SignedEntry(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An entry that we signed, and our signature."""

    entry: Entry
    said: EntrySignature


class StandingRecord(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=125):
    """What a member has said.

    Attributes:
        advert: the last one; None before the first.
        head: its head; None for the first entry, which everybody has.
        model: digest of the head's model; zeros for the first one, which everybody makes itself.
        signed: the entries that it signed last, in the order in which it did.
        signed_floor: it signs nothing of rounds up to this one any more.
        sits_out: it says nothing new until an entry above this round is certified; 0 if it does.
        spent_from: names the model from which it gave updates last (`origin` of entries.py).
        spends: how many, without those that its operator let it give beyond `retries`.
        spent_round: the last round in which it gave one.
        kept: models that an epoch ended with, or may start from, the latest last.
        others: digests of what the head's state has beside the model.
        charged: the charter under which it gave private updates last.
        charges: how many; those of lost rounds too.
    """

    advert: GroupAdvert | None = None
    head: Head | None = None
    model: Digest = NONE
    signed: tuple[SignedEntry, ...] = ()
    signed_floor: UInt63 = 0
    sits_out: UInt63 = 0
    spent_from: Digest = NONE
    spends: UInt32 = 0
    spent_round: UInt63 = 0
    kept: tuple[Digest, ...] = ()
    others: tuple[Digest, ...] = ()
    charged: Digest = NONE
    charges: UInt32 = 0


_CODEC = Codec(StandingRecord | None, frame_bytes_max=_RECORD_BYTES_MAX)


def read_standing(stored: bytes) -> StandingRecord:
    """Read a record that a standing asked to persist.

    Raises:
        MalformedFrame: it is none.
    """
    record = _CODEC.decode_untrusted(stored)
    if not isinstance(record, StandingRecord):
        raise MalformedFrame("not a standing")
    return record


class Standing:
    """A member's standing; each change returns what is to be kept before it is acted upon.

    Attributes:
        models: those that are kept, by the digest of their state.
    """

    def __init__(self, records: dict[str, bytes | Vector]) -> None:
        """Take what earlier incarnations asked to persist.

        Raises:
            MalformedFrame: the record is none, or a model of it is missing.
        """
        stored = records.get(STANDING_RECORD)
        if stored is not None and not isinstance(stored, bytes):
            raise MalformedFrame("a standing is bytes")
        self._record = StandingRecord() if stored is None else read_standing(stored)
        self.models: dict[bytes, Vector] = {}
        for key, value in records.items():
            if key.startswith(MODEL_PREFIX) and not isinstance(value, bytes):
                self.models[bytes.fromhex(key.removeprefix(MODEL_PREFIX))] = value
        for digest in _wanted(self._record):
            if digest not in (NONE, *self.models):
                raise MalformedFrame(f"the journal lacks the model {digest.hex()[:16]}")

    @property
    def record(self) -> StandingRecord:
        """All of it."""
        return self._record

    @property
    def advert_round(self) -> int:
        """The last round that we advertised for; 0 before the first."""
        return self._record.advert.round if self._record.advert else 0

    def spends_from(self, origin: bytes) -> int:
        """How many updates we gave from a model, by its name."""
        return self._record.spends if self._record.spent_from == origin else 0

    def may_sign(self, round_: int) -> bool:
        """Whether we have signed no entry of a round, and may."""
        record = self._record
        return round_ > record.signed_floor and not record.sits_out and not self.signed(round_)

    def signed(self, round_: int) -> SignedEntry | None:
        """Return the entry of a round that we signed."""
        for signed in self._record.signed:
            if signed.entry.round == round_:
                return signed
        return None

    # --- what changes it --------------------------------------------------------------------

    def advertise(self, advert: GroupAdvert) -> Persist:
        """Note an advert."""
        last = self._record.advert
        if advert.round <= self.advert_round or (last and advert.head.place < last.head.place):
            raise LocalProtocolError("an advert of an earlier round, or with an earlier head")
        return self._write(advert=advert)

    def charges(self, charter: bytes) -> int:
        """How many private updates we gave under a charter."""
        return self._record.charges if self._record.charged == charter else 0

    def sign(self, signed: SignedEntry, *vectors: Vector) -> Persist:
        """Note an entry that we sign, with the vectors of the state that it leads to."""
        round_ = signed.entry.round
        if not self.may_sign(round_):
            raise LocalProtocolError("a round is signed once")
        kept = (*self._record.signed, signed)
        floor = self._record.signed_floor
        while len(kept) > SIGNED_MAX:
            floor = max(floor, kept[0].entry.round)
            kept = kept[1:]
        return self._write(self._keep(signed.entry, vectors), signed=kept, signed_floor=floor)

    def certify(
        self,
        step: EntryStep,
        vector: Vector,
        records: dict[str, bytes | Vector | None],
        others: tuple[Vector, ...] = (),
    ) -> Persist:
        """Note, with other records, that an entry is our head now; `others` go beside its model.

        Of earlier rounds nothing is signed any more: nobody needs it, and its models are gone.
        """
        record, entry = self._record, step.entry
        if record.head is not None and step.head.place <= record.head.place:
            raise LocalProtocolError("heads rise")
        kept = tuple(signed for signed in record.signed if signed.entry.round >= entry.round)
        dropped = [signed.entry.round for signed in record.signed[: len(record.signed) - len(kept)]]
        floor, sits_out = max(record.signed_floor, *dropped, 0), record.sits_out
        if sits_out and entry.round > sits_out:
            sits_out, floor = 0, max(floor, entry.round)
        records |= self._keep(entry, (vector, *others))
        return self._write(
            records,
            head=step.head,
            model=entry.state[0].digest,
            others=tuple(item.digest for item in entry.state[1:]),
            signed=kept,
            signed_floor=floor,
            sits_out=sits_out,
        )

    def spend(self, origin: bytes, round_: int, charter: bytes | None = None) -> Persist:
        """Note that an update from a model was given; a private one under a charter."""
        record = self._record
        return self._write(
            spent_from=origin,
            spends=self.spends_from(origin) + 1,
            spent_round=round_,
            charged=record.charged if charter is None else charter,
            charges=record.charges if charter is None else self.charges(charter) + 1,
        )

    def allow_one_more(self) -> Persist:
        """Note that our operator lets us give one update more from the model of the last ones."""
        return self._write(spends=self._record.spends - 1)

    def keep_model(self, digest: bytes, vector: Vector) -> Persist:
        """Keep a model that an epoch ended with, or may start from; the oldest goes."""
        record = self._record
        kept = (*(known for known in record.kept if known != digest), digest)[-KEPT_MAX:]
        records: dict[str, bytes | Vector | None] = {}
        if digest not in self.models:
            self.models[digest] = vector
            records[model_key(digest)] = vector
        return self._write(records, kept=kept)

    def sit_out(self, round_: int) -> Persist:
        """Say nothing new until an entry above a round is certified."""
        return self._write(sits_out=max(round_, self._record.sits_out, 1))

    def begin_life(self) -> Persist:
        """After a start, sign no entry of a round up to that of the last advert."""
        floor = max(self._record.signed_floor, self.advert_round)
        return self._write(signed_floor=floor)

    def _keep(self, entry: Entry, vectors: tuple[Vector, ...]) -> dict[str, bytes | Vector | None]:
        """Keep the vectors of an entry's state, those that are not kept."""
        records: dict[str, bytes | Vector | None] = {}
        for item, vector in zip(entry.state, vectors, strict=True):
            if item.digest not in self.models:
                self.models[item.digest] = vector
                records[model_key(item.digest)] = vector
        return records

    def _write(
        self, records: dict[str, bytes | Vector | None] | None = None, **changed: object
    ) -> Persist:
        self._record = record = replaced(self._record, **changed)
        kept = dict(records or {})
        wanted = _wanted(record)
        for digest in [digest for digest in self.models if digest not in wanted]:
            del self.models[digest]
            kept[model_key(digest)] = None
        return Persist({STANDING_RECORD: _CODEC.encode(record), **kept})


def _wanted(record: StandingRecord) -> list[bytes]:
    """Return the digests of all vectors that a record needs."""
    signed = [item.digest for signed in record.signed for item in signed.entry.state]
    return [record.model, *record.others, *signed, *record.kept]


def model_key(digest: bytes) -> str:
    """Name the record of a model, by the digest of its state."""
    return f"{MODEL_PREFIX}{digest.hex()}"
