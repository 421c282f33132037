"""Entries: canonical bytes, the order of heads, and entries that follow from their base alone."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_group import LedgerGroup, item_of

from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import (
    ENTRY_BYTES_MAX,
    Entry,
    EntryStep,
    Feature,
    Head,
    Kind,
    Strike,
    empty_entry,
    encode_entry,
    first_entry,
    out_of,
    weight_in_force,
)
from p2pfl_gossip.records import replaced

HEADS = st.builds(
    Head, st.integers(0, 3), st.integers(0, 3), st.sampled_from([bytes(32), b"\1" * 32])
)


@given(HEADS, HEADS)
def test_heads_are_ordered_by_epoch_then_round(one: Head, other: Head) -> None:
    """The place decides; where it is the same, the digest only makes the order whole."""
    if one.place != other.place:
        assert (one < other) == (one.place < other.place)
    assert (one < other) + (one > other) + (one == other) == 1


def test_the_digest_names_every_field() -> None:
    """An entry that differs anywhere has another name."""
    group = LedgerGroup(5)
    entry = group.sum_entry(group.first, 1)
    changed = {
        "version": 2,
        "kind": Kind.EMPTY,
        "group": bytes(32),
        "epoch": 1,
        "charter": bytes(32),
        "round": 2,
        "height": 2,
        "base": Head(0, 0, NONE),
        "listed": NONE,
        "ballot": NONE,
        "sums": NONE,
        "members": b"\x01",
        "weight": 1.0,
        "state": (item_of(9.0),),
        "next_charter": b"c" * 32,
        "out": b"\x01",
        "strikes": (Strike(0, 1),),
        "features": (Feature("audit", b""),),
    }
    assert tuple(changed) == Entry.__struct_fields__
    digests = {replaced(entry, **{name: value}).digest() for name, value in changed.items()}
    assert len(digests | {entry.digest()}) == len(changed) + 1


def test_the_largest_entry_fits() -> None:
    """128 members with a strike each, and eight features."""
    group = LedgerGroup(128)
    entry = group.sum_entry(
        group.first,
        2**63 - 1,
        strikes=tuple(Strike(rank, 2**32 - 1) for rank in range(128)),
    )
    assert len(encode_entry(entry)) < 4096
    full = replaced(entry, features=tuple(Feature("f" * 32, bytes(1024)) for _ in range(8)))
    assert len(encode_entry(full)) <= ENTRY_BYTES_MAX
    with pytest.raises(ValueError, match="more than"):
        encode_entry(replaced(entry, features=(Feature("f", bytes(ENTRY_BYTES_MAX)),)))


def test_the_first_entry_is_the_charters_first_state() -> None:
    """Height 0, round 0, nobody in it; another charter has another one."""
    group = LedgerGroup(5)
    entry = first_entry(group.epoch)
    assert (entry.epoch, entry.round, entry.height) == (0, 0, 0)
    assert entry.state == group.epoch.charter.state
    assert entry.digest() != first_entry(LedgerGroup(5, rounds=21).epoch).digest()


def test_an_empty_entry_is_a_function_of_its_base() -> None:
    """Same state and height; who is out and who has strikes stay so within an epoch."""
    group = LedgerGroup(5)
    base = EntryStep(group.sum_entry(group.first, 1, out=b"\x08", strikes=(Strike(2, 1),)))
    entry = empty_entry(group.epoch, 4, base, b"c" * 32)
    assert (entry.state, entry.height, entry.base) == (base.entry.state, 1, base.head)
    assert (entry.out, entry.strikes, entry.next_charter) == (b"\x08", (Strike(2, 1),), b"c" * 32)
    assert (entry.weight, entry.listed, entry.ballot, entry.sums) == (0.0, NONE, NONE, NONE)
    assert entry == empty_entry(group.epoch, 4, base, b"c" * 32)


def test_in_a_new_epoch_nobody_is_out() -> None:
    """Those were ranks of another charter."""
    group = LedgerGroup(5)
    base = EntryStep(group.sum_entry(group.first, 1, out=b"\x08", strikes=(Strike(2, 1),)))
    assert out_of(group.epoch, base.entry) == {3}
    following = group.following(group.next_charter(range(1, 8)))
    entry = empty_entry(following.epoch, 4, base, NONE)
    assert (entry.out, entry.strikes) == (b"\x00", ())
    assert out_of(following.epoch, base.entry) == frozenset()


def test_the_weight_in_force_is_the_same_in_any_order() -> None:
    """Members' weights are summed exactly, so that all write the same bytes."""
    weights = [1e16, 1.0, 1e-8, 3.0, 7e15]
    charter = LedgerGroup(5).epoch.charter
    sums = set()
    for order in itertools.permutations(range(5)):
        members = [replaced(charter.members[place], weight=weights[place]) for place in order]
        group = LedgerGroup(5, members=tuple(members))
        sums.add(weight_in_force(group.epoch, frozenset({order.index(3)})))
    exact = sum(Fraction(weight) for place, weight in enumerate(weights) if place != 3)
    assert sums == {float(exact)} == {math.fsum([1e16, 1.0, 1e-8, 7e15])}
