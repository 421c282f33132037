"""What a member holds of the group's history, over epochs, with gaps, and after a restart."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import (
    LedgerGroup,
    approval_by,
    approvals_by,
    charter_of,
    identity_of,
    item_of,
    two_epochs,
)

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.charter import NEW_STATE, NONE, RefusedCharter, Succeeds
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.history import (
    CLOSING_PREFIX,
    ENTRY_PREFIX,
    FINAL_RECORD,
    History,
    entry_key,
)
from p2pfl_gossip.ledger.record import require_follows
from p2pfl_gossip.records import MalformedFrame, replaced


def steps_of(history: History) -> list[EntryStep]:
    """All entries from the head down."""
    found = [history.head]
    while found[-1].entry.round:
        below = history.step(found[-1].entry.base)
        assert below is not None
        found.append(below)
    return found


def kept_of(history: History, old: LedgerGroup) -> dict[str, Any]:
    """What such a history has asked to keep."""
    copy = History(old.epoch)
    kept: dict[str, Any] = {}
    for closing in history.closings(0):
        kept |= copy.close_epoch(closing)
    for step in reversed(steps_of(history)):
        certificate = history.certificate(step.head)
        if certificate is not None:
            kept |= copy.add(step, certificate)
    return kept


def test_the_first_entry_is_there_from_the_start() -> None:
    """It needs no certificate, and is final."""
    group = LedgerGroup(5)
    history = History(group.epoch)
    assert history.head.head == history.first.head == group.first.head
    assert history.certificate(history.first.head) is None
    assert history.is_final(history.first.head)
    assert history.gap() is None
    assert history.closings(0) == []


@given(st.sets(st.integers(1, 40), min_size=1, max_size=8), st.data())
@settings(max_examples=25, deadline=None)
def test_descent_is_the_chain_of_bases(rounds: set[int], data: st.DataObject) -> None:
    """Of any two entries the later descends from the earlier, and an orphan from neither."""
    group = GROUP
    ascending = sorted(rounds)
    history = group.history(*ascending)
    chain = steps_of(history)[::-1]
    assert [step.entry.round for step in chain] == [0, *ascending]
    for place, later in enumerate(chain):
        for other, earlier in enumerate(chain):
            assert history.descends(later.head, earlier.head) == (other <= place)
    beside = data.draw(st.integers(0, len(ascending) - 1))
    orphan = group.sum_entry(chain[beside], 50, value=-1.0)
    step = history.check(group.certificate(orphan))
    history.add(step, group.certificate(orphan))
    for place, other_step in enumerate(chain):
        assert history.descends(step.head, other_step.head) == (place <= beside)
    assert not history.descends(history.head.head, step.head)


GROUP = LedgerGroup(5)


def test_over_epochs_history_is_one() -> None:
    """Descent, finality and ends of epochs, across the change of members."""
    old, new, history = two_epochs()
    chain = steps_of(history)
    assert [step.entry.round for step in chain] == [8, 6, 4, 3, 1, 0]
    assert [step.entry.epoch for step in chain] == [1, 1, 0, 0, 0, 0]
    assert history.descends(chain[0].head, chain[3].head)
    assert not history.descends(chain[3].head, chain[0].head)
    assert history.epoch.number == 1
    assert history.closings(0)[0].certificate.entry == chain[2].entry
    assert history.closings(1) == []
    assert not history.is_final(chain[1].head)
    history.add_final(new.finality(chain[1].head))
    assert history.is_final(chain[1].head)
    assert history.is_final(chain[4].head)
    assert not history.is_final(chain[0].head)
    assert old.epoch.digest != new.epoch.digest


def test_the_end_of_an_epoch_makes_its_last_entry_final() -> None:
    """Also for whom the proof was shown as a whole: else members disagree about empty lists."""
    _, _, history = two_epochs()
    last = history.closings(0)[0].certificate.entry
    assert history.is_final(EntryStep(last).head)


def test_a_certificate_is_checked_in_its_epoch() -> None:
    """One of an epoch that has not begun here cannot be."""
    old, new, history = two_epochs()
    fresh = History(old.epoch)
    certificate = history.certificate(history.head.head)
    assert certificate is not None
    with pytest.raises(RemoteProtocolError, match="unknown_epoch"):
        fresh.check(certificate)
    assert history.check(certificate).head == history.head.head
    forged = replaced(certificate, signatures=bytes(64 * 4))
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        history.check(forged)
    # Members of the old epoch certify nothing of the new one, were they t of both.
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        history.check(new.certificate(certificate.entry, (4, 1, 2, 3)))


def test_an_epoch_ends_once_in_its_turn() -> None:
    """By its own proof."""
    _, _, history = two_epochs()
    closing = history.closings(0)[0]
    with pytest.raises(RemoteProtocolError, match="wrong_epoch"):
        history.close_epoch(closing)
    with pytest.raises(RemoteProtocolError, match="wrong_epoch"):
        history.check_closing(closing)
    assert history.epoch.number == 1


def test_the_latest_proof_of_finality_is_held() -> None:
    """An earlier one changes nothing; one of another epoch is passed over, whoever shows it."""
    old, new, history = two_epochs()
    chain = steps_of(history)
    assert history.add_final(old.finality(chain[3].head)) == {}
    proof = new.finality(chain[0].head)
    assert list(history.add_final(proof)) == [FINAL_RECORD]
    assert history.add_final(new.finality(chain[1].head)) == {}
    assert history.final == proof
    fresh = History(old.epoch)
    assert fresh.add_final(proof) == {}  # It cannot be checked yet, and is nobody's fault.
    assert fresh.final is None


def test_a_proof_that_is_none_is_refused() -> None:
    """And not held."""
    group = LedgerGroup(5)
    history = group.history(1)
    proof = replaced(group.finality(history.head.head), signatures=bytes(64 * 4))
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        history.add_final(proof)
    assert history.final is None


def test_a_gap_is_named_from_above() -> None:
    """The highest entry that is missing; filled, the next one."""
    group = LedgerGroup(5)
    whole = group.history(1, 2, 4, 7)
    chain = steps_of(whole)
    history = History(group.epoch)
    top = whole.certificate(chain[0].head)
    assert top is not None
    history.add(chain[0], top)
    history.head = chain[0]
    missing = []
    while (gap := history.gap()) is not None:
        missing.append(gap)
        assert not history.descends(history.head.head, history.first.head)
        certificate = whole.certificate(gap)
        assert certificate is not None
        history.add(history.check(certificate), certificate)
    assert missing == [step.head for step in chain[1:4]]
    assert history.descends(history.head.head, history.first.head)


def test_an_entry_is_kept_once() -> None:
    """Under a name that ascends with the history."""
    group = LedgerGroup(5)
    history = History(group.epoch)
    certificate = group.certificate(group.sum_entry(group.first, 1))
    step = history.check(certificate)
    assert list(history.add(step, certificate)) == [entry_key(step.head)]
    assert history.add(step, certificate) == {}
    heads = [Head(0, 9, NONE), Head(0, 10, NONE), Head(0, 2**40, NONE), Head(1, 1, NONE)]
    keys = [entry_key(head) for head in heads]
    assert keys == sorted(keys)


def test_after_a_restart_it_is_the_same() -> None:
    """Epochs, entries, head and finality."""
    old, new, history = two_epochs()
    kept = kept_of(history, old) | history.add_final(new.finality(history.head.head))
    restored = History.restored(old.epoch, kept, history.head.head)
    assert [step.head for step in steps_of(restored)] == [step.head for step in steps_of(history)]
    assert [epoch.digest for epoch in restored.epochs] == [epoch.digest for epoch in history.epochs]
    assert restored.closings(0) == history.closings(0)
    assert restored.final == history.final
    assert restored.is_final(history.head.head)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda kept, _: kept.update({FINAL_RECORD: np.zeros(3, np.float32)}), "is bytes"),
        (lambda kept, _: kept.update({FINAL_RECORD: b"\xc1"}), "malformed"),
        (lambda kept, entry: kept.update({FINAL_RECORD: kept[entry]}), "another kind"),
        (lambda kept, entry: kept.update({entry: kept[FINAL_RECORD]}), "another kind"),
        (lambda kept, entry: kept.update({f"{CLOSING_PREFIX}0": kept[entry]}), "another kind"),
        (lambda kept, _: kept.pop(f"{CLOSING_PREFIX}{0:08x}"), "lacks the end of epoch 0"),
        (lambda kept, entry: kept.pop(entry), "lacks its head"),
    ],
)
def test_a_kept_history_that_is_not_in_order_is_refused(change: Any, why: str) -> None:
    """By what is wrong with it."""
    old, new, history = two_epochs()
    kept = kept_of(history, old) | history.add_final(new.finality(history.head.head))
    assert any(key.startswith(ENTRY_PREFIX) for key in kept)
    change(kept, entry_key(history.head.head))
    with pytest.raises(MalformedFrame, match=why):
        History.restored(old.epoch, kept, history.head.head)


def test_an_epoch_is_a_value() -> None:
    """Nobody changes one that has begun."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        GROUP.epoch.number = 3  # type: ignore[misc]


@pytest.mark.parametrize("is_end", [True, False], ids=["an end", "no end"])
def test_an_epoch_starts_from_no_entry_but_an_end(is_end: bool) -> None:
    """And from the state of that entry; whoever shows another end is refused."""
    group = LedgerGroup(5)
    history = group.history(1, 3)
    start = history.first if is_end else history.head
    charter = group.next_charter(start=start.head, state=start.entry.state)
    closing = group.closing(group.empty_entry(history.head, 4, charter.digest()), charter)
    if is_end:
        history.check_closing(closing)
        history.close_epoch(closing)
        assert (history.begins_anew, history.height) == (True, 0)
        return
    for act in (history.check_closing, history.close_epoch):
        with pytest.raises(RemoteProtocolError, match="bad_start"):
            act(closing)
    assert history.epoch.number == 0


def test_members_that_know_an_end_by_other_entries_go_back_alike() -> None:
    """An entry with a charter is repeated until one is final: any of these ends an epoch."""
    group = LedgerGroup(5)
    charter = group.next_charter()
    first, repeated = group.history(1, 3), group.history(1, 3)
    entry = group.empty_entry(first.head, 4, charter.digest())
    step = group.extend(repeated, entry)
    later = group.empty_entry(step, 5, charter.digest())
    first.close_epoch(group.closing(entry, charter))
    repeated.close_epoch(group.closing(later, charter))
    ends = [EntryStep(it.closings(0)[0].certificate.entry) for it in (first, repeated)]
    assert ends[0].head != ends[1].head
    for end in ends:
        back = group.following(charter).next_charter(start=end.head, state=end.entry.state)
        for history in (first, repeated):
            history.require_start(back)
            other = replaced(back, state=(item_of(9.0),))
            with pytest.raises(RemoteProtocolError, match="bad_start"):
                history.require_start(other)


def test_the_first_list_of_an_epoch_that_starts_anew_is_from_its_state() -> None:
    """Whatever its base, one with a sum too; after it the epoch goes on as any."""
    group = LedgerGroup(5)
    history = group.history(1, 3)
    charter = group.next_charter(start=NEW_STATE, state=(item_of(9.0),))
    last = group.sum_entry(history.head, 4, next_charter=charter.digest())
    history.close_epoch(group.closing(last, charter))
    closing = history.closings(0)[0]
    history.head = EntryStep(closing.certificate.entry)
    assert history.head.entry.height == 3
    new = group.following(charter)
    empty = new.empty_entry(history.head, 6)
    assert (empty.height, empty.state) == (0, charter.state)
    added = new.sum_entry(history.head, 6, height=1)
    require_follows(new.epoch, history.head, added)
    for false in (new.sum_entry(history.head, 6, height=4), replaced(empty, height=3)):
        with pytest.raises(RemoteProtocolError):
            require_follows(new.epoch, history.head, false)
    new.extend(history, added)
    assert (history.begins_anew, history.height) == (False, 1)
    require_follows(new.epoch, history.head, new.sum_entry(history.head, 7))


def test_a_group_that_lost_too_many_has_a_successor() -> None:
    """It begins with a state that the old one certified; two thirds of all its members approve."""
    group = LedgerGroup(7)
    history = group.history(1, 3)
    head = history.head
    succeeds = Succeeds(group.epoch.group, group.epoch.digest, head.head)
    charter = charter_of(range(1, 6), nonce=b"2" * 32, succeeds=succeeds, state=head.entry.state)
    said = [*approvals_by(charter, range(1, 6))]
    said += [approval_by(identity_of(number), charter) for number in range(1, 6)]
    assert history.check_successor(charter, said).is_enough
    assert not history.check_successor(charter, said[1:]).is_enough
    for false, why in (
        (replaced(charter, succeeds=None), "succeeds another group, or none"),
        (replaced(charter, succeeds=replaced(succeeds, group=b"g" * 32)), "another group, or none"),
        (
            replaced(charter, succeeds=replaced(succeeds, charter=b"c" * 32)),
            "another charter of it",
        ),
        (
            replaced(charter, succeeds=replaced(succeeds, head=Head(0, 3, b"e" * 32))),
            "does not hold the entry",
        ),
        (replaced(charter, state=(item_of(77.0),)), "another state than that of its entry"),
    ):
        with pytest.raises(RefusedCharter, match=why):
            history.check_successor(false, [])
