"""The record: as it was written, damaged at each byte, forged in each field, with gaps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ledger_group import LedgerGroup, item_of, two_epochs

from p2pfl_gossip.ledger.charter import NONE, encode_charter
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Head, Strike
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History, founding_record
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate, Finality
from p2pfl_gossip.ledger.record import (
    _CODEC,
    ITEM_BYTES_MAX,
    MARK,
    DamagedRecord,
    RecordEnd,
    RecordGap,
    _item_digest,
    read_record,
    record_from_journal,
    write_record,
)
from p2pfl_gossip.ledger.standing import STANDING_RECORD, Standing
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.records import MalformedFrame, Message, replaced


def pack(*messages: Message) -> bytes:
    """Write a record of any messages, with right digests."""
    data, digest = MARK, NONE
    for message in messages:
        body = _CODEC.encode(message)
        digest = _item_digest(digest, body)
        data += len(body).to_bytes(4, "little") + body + digest
    return data


def unpack(data: bytes) -> list[Message]:
    """Read a record's messages, unchecked."""
    messages, place = [], len(MARK)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        messages.append(_CODEC.decode_untrusted(data[place + 4 : place + 4 + length]))
        place += 4 + length + 32
    return messages


def ends_of(data: bytes) -> list[int]:
    """Where each item ends."""
    ends, place = [], len(MARK)
    while place < len(data):
        place += 36 + int.from_bytes(data[place : place + 4], "little")
        ends.append(place)
    return ends


def chain(history: History) -> list[Head]:
    """Heads from the head down."""
    heads = [history.head.head]
    while (step := history.step(heads[-1])) is not None and step.entry.round:
        heads.append(step.entry.base)
    return heads


def full() -> tuple[LedgerGroup, LedgerGroup, History]:
    """Two epochs with a proof of finality of the new one."""
    old, new, history = two_epochs()
    step = history.step(history.head.entry.base)
    assert step is not None
    history.add_final(new.finality(step.head))
    return old, new, history


OLD, NEW, HISTORY = full()
RECORD = write_record(HISTORY)


def test_a_record_is_read_as_it_was_written() -> None:
    """The same history, and the same bytes again."""
    read = read_record(RECORD)
    assert chain(read) == chain(HISTORY)
    assert [epoch.digest for epoch in read.epochs] == [epoch.digest for epoch in HISTORY.epochs]
    assert read.final == HISTORY.final
    assert read.gap() is None
    assert write_record(read) == RECORD
    kinds = [type(message).__name__ for message in unpack(RECORD)]
    assert kinds == [
        "Charter",
        *["EntryCertificate"] * 2,
        "Closing",
        *["EntryCertificate"] * 2,
        "Finality",
        "RecordEnd",
    ]


def test_a_group_that_has_done_nothing_has_a_record() -> None:
    """Its charter and the end."""
    history = History(OLD.epoch)
    read = read_record(write_record(history))
    assert read.head.head == history.first.head
    assert read.final is None


def test_right_after_an_epochs_end() -> None:
    """Its proof is the latest."""
    old, _, history = two_epochs()
    closing = history.closings(0)[0]
    short = History(old.epoch)
    for round_ in (1, 3):
        old.extend(short, old.sum_entry(short.head, round_))
    short.close_epoch(closing)
    step = short.step(EntryStep(closing.certificate.entry).head)
    assert step is not None
    short.head = step
    read = read_record(write_record(short))
    assert read.final == short.final
    assert read.epoch.number == 1


def test_entries_of_the_old_epoch_may_follow_its_end() -> None:
    """A member that did not see the proof yet repeated the charter; the new epoch is above that."""
    old = LedgerGroup(5)
    history = old.history(1)
    charter = old.next_charter(rounds=30)
    entry = old.empty_entry(history.head, 3, charter.digest())
    step = old.extend(history, entry)
    old.extend(history, old.empty_entry(step, 5, charter.digest()))
    history.close_epoch(old.closing(entry, charter))
    new = old.following(charter)
    new.extend(history, new.sum_entry(history.head, 7))
    read = read_record(write_record(history))
    assert chain(read) == chain(history)
    assert len(chain(read)) == 5


def test_damage_at_any_byte_is_named_by_its_item() -> None:
    """Each byte of a small record, changed; before it all is in order, and it is not taken."""
    ends = ends_of(RECORD)
    assert ends[-1] == len(RECORD)
    for place in range(len(RECORD)):
        damaged = bytearray(RECORD)
        damaged[place] ^= 1 << (place % 8)
        item = sum(end <= place for end in ends)
        with pytest.raises(DamagedRecord) as told:
            read_record(bytes(damaged))
        assert told.value.item == item, place
        assert (told.value.name == "the file") == (place < len(MARK))


def test_a_record_that_is_cut_off_anywhere_is_refused() -> None:
    """By the item that is missing."""
    ends = ends_of(RECORD)
    for place in [*range(len(MARK), len(RECORD), 7), *ends[:-1]]:
        with pytest.raises(DamagedRecord) as told:
            read_record(RECORD[:place])
        assert told.value.item == sum(end <= place for end in ends), place
    with pytest.raises(DamagedRecord, match="no record"):
        read_record(b"")
    with pytest.raises(DamagedRecord, match="end of the record: there is more after it"):
        read_record(RECORD + b"x")


def test_names_are_for_people() -> None:
    """The charter, entries by number and round, the end."""
    ends = [len(MARK), *ends_of(RECORD)]
    names = []
    for end in ends[:-1]:
        damaged = bytearray(RECORD)
        damaged[end + 4] ^= 1
        with pytest.raises(DamagedRecord) as told:
            read_record(bytes(damaged))
        names.append(told.value.name)
    assert names == [
        "the founding charter",
        "entry 1 (the first)",
        "entry 2 (after that of round 1)",
        "entry 3 (after that of round 3)",
        "entry 4 (after that of round 4)",
        "entry 5 (after that of round 6)",
        "entry 6 (after that of round 8)",
        "the end of the record",
    ]


def test_a_length_beyond_all_bounds_is_refused() -> None:
    """Before anything of it is read."""
    data = MARK + (ITEM_BYTES_MAX + 1).to_bytes(4, "little") + bytes(ITEM_BYTES_MAX + 40)
    with pytest.raises(DamagedRecord, match="length"):
        read_record(data)


# --- a forger with right digests ----------------------------------------------------------------

GROUP = LedgerGroup(5)


def record_of(*changes: Callable[[Entry], Entry], signers: Any = None) -> bytes:
    """A record of sums in rounds 1, 2, ..., each changed and then really certified."""
    messages: list[Message] = [GROUP.epoch.charter]
    base = GROUP.first
    for round_, change in enumerate(changes, start=1):
        entry = change(GROUP.sum_entry(base, round_))
        messages.append(GROUP.certificate(entry, signers))
        base = EntryStep(entry)
    return pack(*messages, RecordEnd(len(changes), base.head))


def same(entry: Entry) -> Entry:
    """No change."""
    return entry


def change(**fields: Any) -> Callable[[Entry], Entry]:
    """Change fields."""
    return lambda entry: replaced(entry, **fields)


MOMENTUM = StateItem("momentum", "float32", 6, bytes(32))
OTHER_LENGTH = StateItem("model", "float32", 7, bytes(32))

FORGED: list[tuple[str, dict[str, Any], str]] = [
    ("base", {"base": Head(0, 1, b"x" * 32)}, "does not follow the entry before"),
    ("round", {"round": 1}, "earlier round than its base"),
    ("height", {"height": 3}, "height"),
    ("the same height", {"height": 1}, "height"),
    ("too few members", {"members": b"\x07"}, "too few members"),
    ("weight", {"weight": 19.0}, "weight"),
    ("list", {"listed": NONE}, "no list, ballot or sum"),
    ("ballot", {"ballot": NONE}, "no list, ballot or sum"),
    ("sums", {"sums": NONE}, "no list, ballot or sum"),
    ("state's items", {"state": (item_of(1.0), MOMENTUM)}, "other items"),
    ("model's length", {"state": (OTHER_LENGTH,)}, "other items"),
    ("charter", {"charter": bytes(32)}, "another group, epoch or charter"),
    ("group", {"group": bytes(32)}, "another group, epoch or charter"),
    ("epoch", {"epoch": 1}, "its epoch has not begun"),
    ("members there are not", {"members": b"\xff"}, "members that there are not"),
    ("version", {"version": 2}, "a form that this version does not know"),
    ("an empty entry that is none", {"kind": 1}, "differs from its base"),
]


@pytest.mark.parametrize(
    ("fields", "why"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED]
)
def test_an_entry_that_does_not_follow_is_named(fields: dict[str, Any], why: str) -> None:
    """Even if t members signed it: so members of one group cannot rewrite what they have done."""
    with pytest.raises(DamagedRecord, match=why) as told:
        read_record(record_of(same, change(**fields)))
    assert told.value.item == 2


def test_honest_records_of_that_form_are_taken() -> None:
    """The same without a change; and strikes and next charters are members' own business."""
    read_record(record_of(same, same))
    read_record(record_of(same, change(strikes=(Strike(1, 1),), next_charter=b"c" * 32)))


def test_no_sum_is_made_beyond_the_charters_rounds() -> None:
    """Rounds are heights."""
    group = LedgerGroup(5, rounds=2)
    history = group.history(1, 2)
    read_record(write_record(history))
    group.extend(history, group.sum_entry(history.head, 3))
    with pytest.raises(DamagedRecord, match="height"):
        read_record(write_record(history))


def test_who_is_out_stays_out() -> None:
    """It is in no later sum, its weight is in none, and it does not come back."""
    out = change(out=GROUP.epoch.pack([4]))

    def without(**fields: Any) -> Callable[[Entry], Entry]:
        return change(**{"members": b"\x0f", "weight": 14.0, "out": b"\x10"} | fields)

    read_record(record_of(out, without()))
    for fields, why in (
        ({"members": b"\x1f"}, "that was out"),
        ({"weight": 20.0}, "weight"),
        ({"out": b"\x00"}, "out is not any more"),
    ):
        with pytest.raises(DamagedRecord, match=why):
            read_record(record_of(out, without(**fields)))


def test_after_a_charter_there_are_no_sums_and_it_is_not_dropped() -> None:
    """Until it is final."""
    carried = change(next_charter=b"c" * 32)
    with pytest.raises(DamagedRecord, match="no sums"):
        read_record(record_of(carried, carried))
    with pytest.raises(DamagedRecord, match="it does not"):
        read_record(record_of(carried, same))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"signers": b"\x0f", "signatures": bytes(256)}, "signature is not its member's"),
        ({"signers": b"\x07", "signatures": bytes(192)}, "not exactly t"),
        ({"signers": b"\x0f", "signatures": bytes(192)}, "missing"),
        ({"signers": b"\xff", "signatures": bytes(256)}, "members that there are not"),
    ],
)
def test_a_certificate_that_is_none_is_named(fields: dict[str, Any], why: str) -> None:
    """A forger has no keys."""
    messages = unpack(RECORD)
    messages[4] = replaced(messages[4], **fields)
    with pytest.raises(DamagedRecord, match=why) as told:
        read_record(pack(*messages))
    assert told.value.item == 4


def test_an_epoch_ends_by_its_proof_alone() -> None:
    """Without it nothing of the next epoch is taken; with another charter neither."""
    messages = unpack(RECORD)
    closing = messages[3]
    assert isinstance(closing, Closing)
    with pytest.raises(DamagedRecord, match="epoch has not begun") as told:
        read_record(pack(*messages[:3], closing.certificate, *messages[4:]))
    assert told.value.item == 4
    other = encode_charter(OLD.next_charter(rounds=99))
    for fields, why in (
        ({"charter": other}, "another than its entry names"),
        ({"charter": b"x"}, "none that can follow"),
        ({"round": 9}, "round after it"),
        ({"signatures": bytes(256)}, "signature is not"),
    ):
        changed = replaced(closing, **fields)
        with pytest.raises(DamagedRecord, match=why) as told:
            read_record(pack(*messages[:3], changed, *messages[4:]))
        assert told.value.item == 3


def test_an_epoch_begins_after_the_proof_that_opens_it() -> None:
    """Round numbers are one series: none of the new epoch is in a round of the old one's proof."""
    messages = unpack(RECORD)
    closing = messages[3]
    assert isinstance(closing, Closing)
    entry = NEW.sum_entry(EntryStep(closing.certificate.entry), 5)
    with pytest.raises(DamagedRecord, match="before its epoch began"):
        read_record(pack(*messages[:4], NEW.certificate(entry), *messages[5:]))


def test_the_order_of_items_is_one() -> None:
    """A charter first, and nothing between the proof and the end."""
    messages = unpack(RECORD)
    certificate, proof, end = messages[1], messages[-2], messages[-1]
    assert isinstance(certificate, EntryCertificate)
    assert isinstance(proof, Finality)
    assert isinstance(end, RecordEnd)
    gap = RecordGap(replaced(certificate.entry.base, entry=b"x" * 32))
    nothing = RecordEnd(0, OLD.first.head)
    for items, why in (
        (messages[1:], "begins with a charter"),
        ([messages[0], *messages], "not in its place"),
        ([*messages[:-1], proof, end], "not in its place"),
        ([messages[0], proof, end], "proves nothing that is in the record"),
        ([*messages[:2], gap, *messages[2:]], "not in its place"),
        ([messages[0], gap, gap, *messages[1:]], "not in its place"),
        ([messages[0], gap, *messages[1:]], "does not follow"),
        ([messages[0], *messages[3:]], "does not follow"),
        ([messages[0], messages[3], nothing], "no entries above"),
        ([messages[0], gap, nothing], "no entries above"),
        ([*messages[:-1], replaced(end, entries=4)], "entries are not those"),
        ([*messages[:-1], replaced(end, head=certificate.entry.base)], "entries are not those"),
        ([*messages[:4], messages[5], *messages[6:]], "does not follow"),
        ([*messages[:3], messages[4], *messages[6:]], "not begun"),
        ([messages[0], replaced(proof, signatures=bytes(256)), end], "proves nothing"),
        ([*messages[:-2], replaced(proof, signatures=bytes(256)), end], "signature is not"),
        ([replaced(OLD.epoch.charter, clip=0.0), *messages[1:]], "clip is 0"),
        ([replaced(OLD.epoch.charter, clip=9.0), *messages[1:]], "another group"),
    ):
        with pytest.raises(DamagedRecord, match=why):
            read_record(pack(*items))


# --- gaps and journals --------------------------------------------------------------------------


def with_gap(*missing: int) -> History:
    """The same history without the entries of some rounds."""
    history = History(OLD.epoch)
    history.close_epoch(HISTORY.closings(0)[0])
    for head in reversed(chain(HISTORY)[:-1]):
        certificate = HISTORY.certificate(head)
        assert certificate is not None
        if head.round not in missing:
            history.add(history.check(certificate), certificate)
    history.head = HISTORY.head
    return history


def test_a_member_that_came_later_has_a_record_from_there_on() -> None:
    """The gap is named; all above it is checked."""
    for missing, gap in (((3,), 3), ((1, 3), 3), ((6,), 6)):
        history = with_gap(*missing)
        read = read_record(write_record(history))
        found = read.gap()
        assert found is not None
        assert found.round == gap
        assert read.head.head == HISTORY.head.head
        assert [epoch.number for epoch in read.epochs] == [0, 1]


def journal_of(history: History) -> dict[str, Any]:
    """What a member keeps of a history."""
    records: dict[str, Any] = dict(founding_record(history.epochs[0]))
    copy = History(history.epochs[0])
    for closing in history.closings(0):
        records |= copy.close_epoch(closing)
    for head in reversed(chain(history)[:-1]):
        certificate = history.certificate(head)
        assert certificate is not None
        records |= copy.add(EntryStep(certificate.entry), certificate)
    if history.final is not None:
        records |= copy.add_final(history.final)
    model = np.zeros(6, np.float32)
    records |= Standing({}).certify(history.head, model, {}).records
    return records


def test_the_record_of_a_journal_is_the_members() -> None:
    """What it kept says the same."""
    assert record_from_journal(journal_of(HISTORY)) == RECORD


def test_a_journal_that_is_not_checked_is_checked_by_its_record() -> None:
    """A member trusts its journal; who reads the record need not."""
    records = journal_of(HISTORY)
    certificate = HISTORY.certificate(HISTORY.head.head)
    assert certificate is not None
    key = next(key for key in records if key.endswith("8") and "entry/00000001" in key)
    records[key] = _CODEC.encode(replaced(certificate, signatures=bytes(256)))
    with pytest.raises(DamagedRecord, match="signature is not") as told:
        read_record(record_from_journal(records))
    assert told.value.name == "entry 5 (after that of round 6)"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda records: records.pop(FOUNDING_RECORD), "holds no ledger"),
        (lambda records: records.update({FOUNDING_RECORD: np.zeros(2, np.float32)}), "no ledger"),
        (lambda records: records.update({FOUNDING_RECORD: b"\xc1"}), "malformed"),
        (
            lambda records: records.update({FOUNDING_RECORD: encode_charter(OLD.next_charter())}),
            "replaces none",
        ),
        (
            lambda records: records.update(
                {FOUNDING_RECORD: encode_charter(LedgerGroup(5, rounds=7).epoch.charter)}
            ),
            "not in order",
        ),
        (lambda records: records.update({STANDING_RECORD: b"\xc0"}), "not a standing"),
    ],
)
def test_a_journal_without_a_ledger_in_order_is_told(change: Any, why: str) -> None:
    """In one line."""
    records = journal_of(HISTORY)
    change(records)
    with pytest.raises(MalformedFrame, match=why):
        record_from_journal(records)


def test_a_journal_of_another_group_is_refused() -> None:
    """A member that is started with another charter does not go on from it."""
    other = LedgerGroup(5, rounds=7)
    with pytest.raises(MalformedFrame, match="another founding charter"):
        History.restored(other.epoch, dict(founding_record(OLD.epoch)), None)


def test_a_gap_above_a_first_epoch_that_ended_with_its_first_entry() -> None:
    """A newcomer's record, that lacks entries between that end and its own."""
    group = LedgerGroup(5)
    history = History(group.epoch)
    charter = group.next_charter()
    entry = group.empty_entry(history.head, 1, charter.digest())
    history.close_epoch(group.closing(entry, charter))
    end = history.step(EntryStep(entry).head)
    assert end is not None
    new = group.following(charter)
    lacking = EntryStep(new.sum_entry(end, 3))
    history.head = lacking
    new.extend(history, new.sum_entry(lacking, 4))
    read = read_record(write_record(history))
    gap = read.gap()
    assert gap is not None
    assert (gap.round, read.head.head) == (3, history.head.head)
    assert [epoch.number for epoch in read.epochs] == [0, 1]
