"""The record of a group: its history as a file, which anybody can check without the group.

The file holds, in this order, the founding charter, the entries with their certificates, the ends
of epochs in place of the entries that they prove, the latest proof that an entry is final, and its
own end::

    mark of 16 bytes | item | item | ...
    item: length as LE32 | message | digest of 32 bytes over the digest before and the message

By the digests damage is found where it is. By the signatures nobody makes another history: from the
founding charter on, each certificate, charter and proof is checked as a member does, and each entry
against its base.
"""

from collections.abc import Iterator

from p2pfl_crypto.hashing import DIGEST_BYTES, hash_parts
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.ledger.charter import NONE, Charter, Epoch, RefusedCharter, read_charter
from p2pfl_gossip.ledger.entries import (
    Entry,
    EntryStep,
    Head,
    Kind,
    empty_entry,
    height_from,
    out_of,
    weight_in_force,
)
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate, Finality
from p2pfl_gossip.ledger.standing import STANDING_RECORD, read_standing
from p2pfl_gossip.records import Codec, MalformedFrame, Message, UInt32

RECORD_FILE = "ledger.bin"
"""What it is called in a run's folder."""

MARK = b"p2pfl ledger 1\n\0"

ITEM_BYTES_MAX = 256 * 1024
"""A certificate, a charter and a proof, each of 128 members."""

_LENGTH_BYTES = 4


class RecordEnd(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=165):
    """The last item: nothing is missing before it.

    Attributes:
        entries: how many are above.
        head: the last of them.
    """

    entries: UInt32
    head: Head


class RecordGap(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=166):
    """The entries up to one are not here; all after this item is above it, and checked.

    Before it are the ends of epochs that lie below, as far as what is above needs them.
    """

    entry: Head


_Item = Charter | EntryCertificate | Closing | Finality | RecordEnd | RecordGap

_CODEC = Codec(_Item, frame_bytes_max=ITEM_BYTES_MAX)


class DamagedRecord(ValueError):
    """A record is not what its members certified.

    Attributes:
        item: its place in the file; the founding charter is 0.
        name: of the item, for people.
        why: what is wrong with it.
    """

    def __init__(self, item: int, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.item, self.name, self.why = item, name, why


# --- writing ------------------------------------------------------------------------------------


def write_record(history: History) -> bytes:
    """Write the history below a head; where it has a gap, from above that on."""
    pieces, digest = [MARK], NONE
    for item in _items(history):
        body = _CODEC.encode(item)
        digest = _item_digest(digest, body)
        pieces += [len(body).to_bytes(_LENGTH_BYTES, "little"), body, digest]
    return b"".join(pieces)


def _items(history: History) -> Iterator[Message]:
    yield history.epochs[0].charter
    # Ends of epochs that we know by their proofs alone, above our head, are no part of it yet.
    closings = {
        head: closing
        for closing in history.closings(0)
        if (head := _head_of(closing.certificate)).place <= history.head.head.place
    }
    heads = _heads(history)
    # The end of an epoch that lies below a gap is needed all the same, to check what is above.
    yield from [closing for head, closing in closings.items() if head not in heads]
    gap = history.gap()
    if gap is not None:
        yield RecordGap(gap)
    for head in heads:
        certificate = history.certificate(head)
        assert certificate is not None
        yield closings.get(head, certificate)
    final = history.final
    if final is not None and (final.head in heads or final.head in closings):
        yield final
    yield RecordEnd(len(heads), history.head.head)


def _heads(history: History) -> dict[Head, None]:
    """Return the entries above the first one or above a gap, ascending."""
    found = []
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        found.append(step.head)
        step = history.step(step.entry.base)
    return dict.fromkeys(reversed(found))


def _head_of(certificate: EntryCertificate) -> Head:
    return EntryStep(certificate.entry).head


def _item_digest(before: bytes, body: bytes) -> bytes:
    return hash_parts(b"p2pfl/item", before, body)


# --- reading ------------------------------------------------------------------------------------


def read_record(data: bytes) -> History:
    """Check a record, all of it, and return its history.

    Where the record begins above a gap, `History.gap` names the entry that is missing, and what is
    below it is not vouched for but by the certificates above.

    Raises:
        DamagedRecord: names the first item that is not in order: first of those whose bytes are
            not as they were written, then of those that do not follow from what is before them.
    """
    messages = _read_items(data)
    checker = _Checker(has_gap=any(isinstance(it, RecordGap) for it in messages))
    for place, message in enumerate(messages):
        try:
            checker.take(message)
        except RemoteProtocolError as error:
            why = _WHY.get(error.reason, error.reason)
            raise _damaged(messages[:place], why, message) from None
        except RefusedCharter as error:
            raise _damaged(messages[:place], str(error), message) from None
    if not checker.is_over:
        raise _damaged(messages, "it is missing: the record is cut off")
    assert checker.history is not None
    return checker.history


def _read_items(data: bytes) -> list[Message]:
    if data[: len(MARK)] != MARK:
        raise DamagedRecord(0, "the file", "it is no record of a ledger")
    messages: list[Message] = []
    place, digest = len(MARK), NONE
    while place < len(data):
        if messages and isinstance(messages[-1], RecordEnd):
            raise _damaged(messages, "there is more after it")
        length = int.from_bytes(data[place : place + _LENGTH_BYTES], "little")
        start = place + _LENGTH_BYTES
        place = start + length + DIGEST_BYTES
        if length > ITEM_BYTES_MAX or place > len(data):
            raise _damaged(messages, "it is cut off, or its length is damaged")
        body = data[start : start + length]
        digest = _item_digest(digest, body)
        if digest != data[start + length : place]:
            raise _damaged(messages, "its bytes are not those that were written")
        try:
            messages.append(_CODEC.decode_untrusted(body))
        except MalformedFrame as error:
            raise _damaged(messages, f"it is no message of a ledger ({error})") from None
    return messages


def _damaged(before: list[Message], why: str, message: Message | None = None) -> DamagedRecord:
    """Name the item after some others: by the entries among these, unless it is none itself."""
    place = len(before)
    if place == 0:
        return DamagedRecord(place, "the founding charter", why)
    if isinstance(message, Finality):
        return DamagedRecord(place, "the proof that an entry is final", why)
    if isinstance(message, RecordEnd) or isinstance(before[-1], (Finality, RecordEnd)):
        return DamagedRecord(place, "the end of the record", why)
    entries = [_entry_of(item) for item in before if isinstance(item, EntryCertificate | Closing)]
    last = f"after that of round {entries[-1].round}" if entries else "the first"
    return DamagedRecord(place, f"entry {len(entries) + 1} ({last})", why)


def _entry_of(item: EntryCertificate | Closing) -> Entry:
    return item.certificate.entry if isinstance(item, Closing) else item.entry


def record_from_journal(records: dict[str, bytes | Vector]) -> bytes:
    """Write the record of what a member's journal holds.

    Raises:
        MalformedFrame: the journal holds no ledger, or not in order.
    """
    charter = records.get(FOUNDING_RECORD)
    if not isinstance(charter, bytes):
        raise MalformedFrame("it holds no ledger")
    try:
        founding = Epoch.founded(read_charter(charter))
    except RefusedCharter as error:
        raise MalformedFrame(str(error)) from None
    stored = records.get(STANDING_RECORD)
    head = read_standing(stored).head if isinstance(stored, bytes) else None
    return write_record(History.restored(founding, records, head))


class _Checker:
    """Takes the items in their order; raises RemoteProtocolError or RefusedCharter.

    Args:
        has_gap: whether one is among them: ends of epochs before it are below it, even the end of
            the first one by the very first entry.
    """

    def __init__(self, *, has_gap: bool) -> None:
        self._has_gap = has_gap
        self.history: History | None = None
        self.is_over = False
        self._entries = 0
        self._gap: Head | None = None
        self._is_below_gap = False
        self._is_proven = False
        self._begins: list[int] = []  # The round above which the entries of each later epoch are.

    def take(self, message: Message) -> None:
        """Take the next item."""
        history = self.history
        if history is None:
            if not isinstance(message, Charter):
                raise RemoteProtocolError("no_charter")
            self.history = History(Epoch.founded(message))
            return
        if self.is_over or (self._is_proven and not isinstance(message, RecordEnd)):
            raise RemoteProtocolError("out_of_order")
        match message:
            case EntryCertificate():
                self._extend(history, message)
            case Closing():
                self._close(history, message)
            case RecordGap():
                if self._entries or self._gap is not None:
                    raise RemoteProtocolError("out_of_order")
                self._gap, self._is_below_gap = message.entry, False
            case Finality():
                self._finish(history, message)
            case RecordEnd():
                # Below a gap there are ends of epochs alone, and above one there are entries.
                if self._is_below_gap or (self._gap is not None and not self._entries):
                    raise RemoteProtocolError("nothing_above")
                if (message.entries, message.head) != (self._entries, history.head.head):
                    raise RemoteProtocolError("other_end")
                self.is_over = True
            case _:
                raise RemoteProtocolError("out_of_order")

    def _extend(self, history: History, certificate: EntryCertificate) -> None:
        step = history.check(certificate)
        entry = step.entry
        if entry.epoch and entry.round <= self._begins[entry.epoch - 1]:
            raise RemoteProtocolError("before_its_epoch")
        if self._entries or self._gap is None:
            require_follows(history.epochs[entry.epoch], history.head, entry)
        elif entry.base != self._gap:
            raise RemoteProtocolError("other_base")
        history.add(step, certificate)
        history.head = step
        self._entries += 1

    def _close(self, history: History, closing: Closing) -> None:
        """Take the end of an epoch, which holds the entry that it proves."""
        history.check_closing(closing)
        base = closing.certificate.entry.base
        is_first = not self._has_gap and base == history.first.head
        if self._entries or self._gap is not None or is_first:
            self._extend(history, closing.certificate)
        else:
            self._is_below_gap = True
        history.close_epoch(closing)
        self._begins.append(closing.round)

    def _finish(self, history: History, proof: Finality) -> None:
        is_known = history.final is not None and proof == history.final
        if not is_known and (history.step(proof.head) is None or not history.add_final(proof)):
            raise RemoteProtocolError("other_final")
        self._is_proven = True


def require_follows(epoch: Epoch, base: EntryStep, entry: Entry) -> None:
    """Check an entry of an epoch against the one before it, as far as both say it.

    Raises:
        RemoteProtocolError: it does not follow.
    """
    before = base.entry
    if entry.base != base.head:
        raise RemoteProtocolError("other_base")
    is_same_epoch = before.epoch == entry.epoch
    carried = before.next_charter if is_same_epoch else NONE
    if carried not in (NONE, entry.next_charter):
        raise RemoteProtocolError("charter_dropped")
    if entry.kind == Kind.EMPTY:
        if entry != empty_entry(epoch, entry.round, base, entry.next_charter):
            raise RemoteProtocolError("not_empty")
        return
    out, members = out_of(epoch, before), epoch.unpack(entry.members) or ()
    if carried != NONE:
        raise RemoteProtocolError("sum_after_charter")
    if entry.height != height_from(epoch, before) + 1 or entry.height > epoch.charter.rounds:
        raise RemoteProtocolError("wrong_height")
    if len(members) < epoch.least or out.intersection(members):
        raise RemoteProtocolError("wrong_members")
    if entry.weight != weight_in_force(epoch, out):
        raise RemoteProtocolError("wrong_weight")
    if NONE in (entry.listed, entry.ballot, entry.sums):
        raise RemoteProtocolError("no_sum")
    forms = [(item.name, item.dtype, item.length) for item in entry.state]
    if forms != [(item.name, item.dtype, item.length) for item in epoch.charter.state]:
        raise RemoteProtocolError("wrong_state")
    if not out.issubset(epoch.unpack(entry.out) or ()):
        raise RemoteProtocolError("wrong_out")


_WHY = {
    "bad_approval": "an approval of its next charter is none",
    "bad_bitmap": "it names members that there are not",
    "bad_charter": "its next charter is none that can follow",
    "bad_start": "its next charter goes back to what is no end of an epoch",
    "bad_signature": "a signature is not its member's",
    "bad_signatures": "a signature is missing, or one is too many",
    "base_ahead_of_round": "it is of an earlier round than its base",
    "before_its_epoch": "it is of a round before its epoch began",
    "charter_dropped": "its base carries a charter, and it does not",
    "no_charter": "a record begins with a charter",
    "no_sum": "it names no list, ballot or sum",
    "nothing_above": "there are no entries above the ends of epochs, or above the gap",
    "not_approved": "its next charter was not approved by enough of its members",
    "not_a_quorum": "not exactly t members signed it",
    "not_empty": "it is an entry without a sum, and differs from its base",
    "other_base": "it does not follow the entry before it",
    "other_charter": "its next charter is another than its entry names",
    "other_end": "the entries are not those that were written",
    "other_final": "it proves nothing that is in the record",
    "out_of_order": "it is not in its place",
    "sum_after_charter": "its base carries a charter, after which there are no sums",
    "unknown_entry": "it is of a form that this version does not know",
    "unknown_epoch": "its epoch has not begun",
    "wrong_epoch": "it is of another group, epoch or charter",
    "wrong_height": "its height is not one more than its base's, or more than the charter wants",
    "wrong_members": "too few members are in it, or one that was out",
    "wrong_out": "a member that was out is not any more",
    "wrong_round": "its proof is not of the round after it",
    "wrong_state": "its state has other items than the charter's",
    "wrong_weight": "its weight is not that of its members",
}
