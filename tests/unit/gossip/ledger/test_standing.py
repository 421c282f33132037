"""What a member has said: each promise of it, kept before it is said, and after a restart."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_group import LedgerDisk, LedgerGroup, item_of, model_of

from p2pfl_gossip.actions import LocalProtocolError
from p2pfl_gossip.ledger.entries import EntryStep, origin
from p2pfl_gossip.ledger.standing import (
    SIGNED_MAX,
    STANDING_RECORD,
    SignedEntry,
    Standing,
    model_key,
    read_standing,
)
from p2pfl_gossip.records import MalformedFrame

GROUP = LedgerGroup(5)
FIRST = GROUP.first


def signed_of(step: EntryStep) -> SignedEntry:
    """Member 0's signature of an entry."""
    return GROUP.signed_entry(0, step.entry)


def step_of(round_: int, value: float | None = None, base: EntryStep = FIRST) -> EntryStep:
    """A sum of a round."""
    return EntryStep(GROUP.sum_entry(base, round_, value=value))


def test_before_anything_was_said() -> None:
    """Any round may be advertised and signed."""
    standing = Standing({})
    assert standing.advert_round == 0
    assert standing.may_sign(1)
    assert standing.signed(1) is None
    assert standing.spends_from(origin(GROUP.epoch, FIRST.entry)) == 0


def test_adverts_grow() -> None:
    """A round is advertised for once, and no earlier one after it."""
    disk = LedgerDisk(GROUP)
    disk.write(disk.standing.advertise(GROUP.advert(0, 5)))
    disk.restart()
    assert disk.standing.advert_round == 5
    for round_ in (5, 4):
        with pytest.raises(LocalProtocolError, match="earlier"):
            disk.standing.advertise(GROUP.advert(0, round_))
    disk.write(disk.standing.advertise(GROUP.advert(0, 6)))


def test_heads_never_fall() -> None:
    """Neither in adverts nor in what is kept."""
    disk = LedgerDisk(GROUP)
    one, other = step_of(1), step_of(2)
    disk.certify(other)
    disk.write(disk.standing.advertise(GROUP.advert(0, 3, other.head)))
    disk.restart()
    with pytest.raises(LocalProtocolError, match="earlier head"):
        disk.standing.advertise(GROUP.advert(0, 4, one.head))
    for lower in (one, other):
        with pytest.raises(LocalProtocolError, match="heads rise"):
            disk.standing.certify(lower, model_of(1.0), {})


def test_a_round_is_signed_once() -> None:
    """Also after a restart, and whatever the entry is."""
    disk = LedgerDisk(GROUP)
    disk.sign(step_of(3))
    disk.restart()
    assert not disk.standing.may_sign(3)
    with pytest.raises(LocalProtocolError, match="once"):
        disk.standing.sign(signed_of(step_of(3, value=7.0)), model_of(7.0))
    assert disk.standing.may_sign(2)
    assert disk.standing.may_sign(4)
    signed = disk.standing.signed(3)
    assert signed is not None
    assert signed.entry == step_of(3).entry


def test_what_was_signed_long_ago_is_not_signed_again() -> None:
    """At most so many entries are kept; rounds up to those that went are closed."""
    disk = LedgerDisk(GROUP)
    for round_ in range(1, SIGNED_MAX + 3):
        disk.sign(step_of(round_))
    disk.restart()
    assert len(disk.standing.record.signed) == SIGNED_MAX == len(disk.models)
    for round_ in (1, 2):
        assert disk.standing.signed(round_) is None
        assert not disk.standing.may_sign(round_)


def test_a_later_entry_may_be_signed_before_an_earlier_one() -> None:
    """The one signed first goes first; then nothing up to its round is signed any more."""
    disk = LedgerDisk(GROUP)
    disk.sign(step_of(20))
    for round_ in range(1, SIGNED_MAX + 1):
        disk.sign(step_of(round_))
    assert not disk.standing.may_sign(20)
    assert not disk.standing.may_sign(15)
    assert disk.standing.may_sign(21)


def test_a_certificate_drops_what_is_below() -> None:
    """Earlier rounds are signed no more, and only models that are still needed are kept."""
    disk = LedgerDisk(GROUP)
    for round_ in (1, 2, 3):
        disk.sign(step_of(round_))
    disk.certify(step_of(2))
    disk.restart()
    assert not disk.standing.may_sign(1)
    assert [signed.entry.round for signed in disk.standing.record.signed] == [2, 3]
    wanted = sorted(model_key(item_of(value).digest) for value in (2.0, 3.0))
    assert disk.models == wanted
    assert sorted(model_key(digest) for digest in disk.standing.models) == wanted


def test_a_model_of_two_entries_stays_while_one_is_needed() -> None:
    """An empty entry has the state of its base."""
    disk = LedgerDisk(GROUP)
    disk.certify(step_of(1))
    empty = EntryStep(GROUP.empty_entry(step_of(1), 3))
    disk.write(disk.standing.sign(signed_of(empty), model_of(1.0)))
    assert disk.models == [model_key(item_of(1.0).digest)]
    disk.write(disk.standing.certify(empty, model_of(1.0), {}))
    assert disk.models == [model_key(item_of(1.0).digest)]
    disk.certify(step_of(4, base=empty))
    assert disk.models == [model_key(item_of(4.0).digest)]


def test_other_records_are_kept_with_the_head() -> None:
    """In one step, so that no head is without its certificate."""
    disk = LedgerDisk(GROUP)
    action = disk.standing.certify(step_of(1), model_of(1.0), {"ledger/entry/x": b"x"})
    assert sorted(action.records) == [
        "ledger/entry/x",
        model_key(item_of(1.0).digest),
        STANDING_RECORD,
    ]


def test_sitting_out_ends_above_the_round() -> None:
    """Until then nothing is signed; nothing of the rounds up to that entry's ever is."""
    disk = LedgerDisk(GROUP)
    disk.write(disk.standing.sit_out(4))
    disk.write(disk.standing.sit_out(2))  # What is shown later makes it no shorter.
    disk.restart()
    assert disk.standing.record.sits_out == 4
    assert not disk.standing.may_sign(9)
    with pytest.raises(LocalProtocolError, match="once"):
        disk.standing.sign(signed_of(step_of(9)), model_of(9.0))
    disk.certify(step_of(4))
    assert disk.standing.record.sits_out == 4
    disk.certify(step_of(6))
    disk.restart()
    assert disk.standing.record.sits_out == 0
    assert not disk.standing.may_sign(5)
    assert not disk.standing.may_sign(6)
    assert disk.standing.may_sign(7)


def test_who_sits_out_for_round_zero_still_sits_out() -> None:
    """0 stands for 'does not'."""
    disk = LedgerDisk(GROUP)
    disk.write(disk.standing.sit_out(0))
    assert not disk.standing.may_sign(1)


def test_after_a_start_nothing_up_to_the_last_advert_is_signed() -> None:
    """Whatever was under way then."""
    disk = LedgerDisk(GROUP)
    disk.write(disk.standing.advertise(GROUP.advert(0, 5)))
    disk.restart()
    disk.write(disk.standing.begin_life())
    disk.restart()
    assert not disk.standing.may_sign(5)
    assert disk.standing.may_sign(6)


def test_updates_from_one_model_are_counted() -> None:
    """Another model begins at none."""
    disk = LedgerDisk(GROUP)
    first, other = (origin(GROUP.epoch, step.entry) for step in (FIRST, step_of(3)))
    disk.write(disk.standing.spend(first, 1))
    disk.write(disk.standing.spend(first, 3))
    disk.restart()
    assert disk.standing.spends_from(first) == 2
    assert disk.standing.record.spent_round == 3
    assert disk.standing.spends_from(other) == 0
    disk.write(disk.standing.allow_one_more())
    disk.restart()
    assert disk.standing.spends_from(first) == 1
    disk.write(disk.standing.spend(other, 4))
    assert disk.standing.spends_from(other) == 1


def test_a_record_that_is_none_is_refused() -> None:
    """Not taken for an empty one: that would have all said again."""
    with pytest.raises(MalformedFrame, match="is bytes"):
        Standing({STANDING_RECORD: np.zeros(2, np.float32)})
    with pytest.raises(MalformedFrame, match="not a standing"):
        read_standing(b"\xc0")
    for stored in (b"", b"\xc1", b"\x90"):
        with pytest.raises(MalformedFrame):
            Standing({STANDING_RECORD: stored})


def test_a_journal_without_a_model_that_it_names_is_refused() -> None:
    """It would be trained from another one, under the head's name."""
    for act in (LedgerDisk.sign, LedgerDisk.certify):
        disk = LedgerDisk(GROUP)
        act(disk, step_of(3))
        del disk.records[model_key(item_of(3.0).digest)]
        with pytest.raises(MalformedFrame, match="lacks the model"):
            disk.restart()


class AnyCourse(RuleBasedStateMachine):
    """Whatever is said in whatever order, with restarts: the promises hold on the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = LedgerDisk(GROUP)
        self.head = FIRST
        self.adverts: list[tuple[int, tuple[int, int]]] = []
        self.said: dict[int, bytes] = {}

    @rule(more=st.integers(1, 3))
    def advertise(self, more: int) -> None:
        """Advertise for a later round."""
        round_ = max(self.disk.standing.advert_round, self.head.entry.round) + more
        self.disk.write(self.disk.standing.advertise(GROUP.advert(0, round_, self.head.head)))
        self.adverts.append((round_, self.head.head.place))

    @rule(round_=st.integers(1, 30), value=st.sampled_from([1.0, 2.0]))
    def sign(self, round_: int, value: float) -> None:
        """Sign an entry, if that may be."""
        step = step_of(round_, value)
        if not self.disk.standing.may_sign(round_):
            with pytest.raises(LocalProtocolError):
                self.disk.standing.sign(signed_of(step), model_of(value))
            return
        assert round_ not in self.said
        self.said[round_] = step.head.entry
        self.disk.write(self.disk.standing.sign(signed_of(step), model_of(value)))

    @rule(more=st.integers(1, 4), value=st.sampled_from([1.0, 2.0]))
    def certify(self, more: int, value: float) -> None:
        """Come to a higher head."""
        self.head = step_of(self.head.entry.round + more, value)
        self.disk.write(self.disk.standing.certify(self.head, model_of(value), {}))

    @precondition(lambda self: self.adverts)
    @rule(more=st.integers(0, 3))
    def sit_out(self, more: int) -> None:
        """Find that the journal lacks something."""
        self.disk.write(self.disk.standing.sit_out(self.disk.standing.advert_round + more))

    @rule(begins=st.booleans())
    def restart(self, begins: bool) -> None:
        """Begin anew from the disk: the answers are the same."""
        before = self.disk.standing
        self.disk.restart()
        after = self.disk.standing
        assert after.record == before.record
        assert sorted(after.models) == sorted(before.models)
        assert [after.may_sign(r) for r in range(40)] == [before.may_sign(r) for r in range(40)]
        if begins:
            self.disk.write(after.begin_life())

    @invariant()
    def promises_hold(self) -> None:
        """Adverts ascend, and models are those of the head and of what was signed."""
        assert self.adverts == sorted(self.adverts)
        record = self.disk.standing.record
        wanted = {signed.entry.state[0].digest for signed in record.signed}
        if record.head is not None:
            wanted.add(record.model)
        assert self.disk.models == sorted(model_key(digest) for digest in wanted)


TestAnyCourse = AnyCourse.TestCase
TestAnyCourse.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
