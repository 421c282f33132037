"""Charters: their canonical bytes, what cannot be one, and who leads."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import LedgerGroup, charter_of, identity_of, item_of

from p2pfl_gossip.ledger.charter import (
    CHARTER_BYTES_MAX,
    Charter,
    CharterMember,
    Epoch,
    RefusedCharter,
    encode_charter,
    read_charter,
)
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.records import MalformedFrame, replaced


def test_a_charter_is_read_as_it_was_written() -> None:
    """The bytes name it: the same again after a round trip."""
    charter = charter_of(range(1, 129))
    encoded = encode_charter(charter)
    assert len(encoded) < CHARTER_BYTES_MAX
    assert read_charter(encoded) == charter
    assert read_charter(encoded).digest() == charter.digest()


def test_a_charter_has_a_largest_size() -> None:
    """128 members with the longest names, and the longest state, still fit; more bytes do not."""
    items = [item_of(0.0)]
    items += [
        StateItem(f"s{'x' * 31}"[:31] + chr(97 + i), "float32", 9, bytes(32)) for i in range(7)
    ]
    members = tuple(
        CharterMember(identity_of(i).public_key, "é" * 61 + f"{i:03}") for i in range(1, 129)
    )
    charter = charter_of((), members=members, state=tuple(items))
    assert len(encode_charter(charter)) <= CHARTER_BYTES_MAX
    with pytest.raises(MalformedFrame):
        read_charter(encode_charter(charter).ljust(CHARTER_BYTES_MAX + 1, b"\0"))


@given(st.data())
@settings(max_examples=150)
def test_only_canonical_bytes_are_a_charter(data: st.DataObject) -> None:
    """Whatever byte is changed: refused, or a charter that has just these bytes."""
    encoded = bytearray(encode_charter(charter_of(range(1, 6))))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        charter = read_charter(bytes(encoded))
    except MalformedFrame:
        return
    assert encode_charter(charter) == encoded


def test_a_longer_form_of_a_number_is_refused() -> None:
    """msgpack writes 20 in one byte; in two it is the same number, and another digest."""
    encoded = encode_charter(charter_of(range(1, 6), rounds=20))
    other = encoded.replace(b"\x14\xcb", b"\xcc\x14\xcb", 1)
    assert other != encoded
    with pytest.raises(MalformedFrame, match="canonical"):
        read_charter(other)


def test_no_charter_at_all_is_refused() -> None:
    """The encoding of nothing."""
    with pytest.raises(MalformedFrame, match="canonical bytes of a charter"):
        read_charter(b"\xc0")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"clip": 0.0}, "clip is 0"),
        ({"clip": math.nan}, "clip is nan"),
        ({"clip": math.inf}, "clip is inf"),
        ({"relay_s": 0.0}, "relay_s is 0"),
        ({"progress_s": -1.0}, "progress_s is -1"),
        ({"patience_s": -0.5}, "patience_s is -0.5"),
        ({"patience_s": math.nan}, "patience_s is nan"),
        ({"patience_s": math.inf}, "patience_s is inf"),
        ({"version": 2}, "version 2"),
        ({"state": (StateItem("momentum", "float32", 6, bytes(32)),)}, "first item"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, Any], why: str) -> None:
    """By the name of the setting."""
    with pytest.raises(RefusedCharter, match=why):
        Epoch.founded(charter_of(range(1, 6), **fields))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_is_above_zero(weight: float) -> None:
    """By the member's name."""
    charter = charter_of(range(1, 6))
    odd = replaced(charter.members[3], weight=weight)
    with pytest.raises(RefusedCharter, match="weight of m4"):
        Epoch.founded(replaced(charter, members=(*charter.members[:3], odd, charter.members[4])))


@pytest.mark.parametrize("size", [0, 4])
def test_fewer_than_five_are_no_group(size: int) -> None:
    """They would show each other's updates."""
    with pytest.raises(RefusedCharter, match=f"not {size}"):
        Epoch.founded(charter_of(range(1, size + 1)))


def test_more_than_128_are_no_group() -> None:
    """Beyond, they gossip in cohorts; and such a charter is not even read."""
    charter = charter_of(range(1, 130))
    with pytest.raises(RefusedCharter, match="not 129"):
        Epoch.founded(charter)
    with pytest.raises(MalformedFrame):
        read_charter(encode_charter(charter))
    assert Epoch.founded(charter_of(range(1, 129))).size == 128


def test_a_key_stands_for_one_member() -> None:
    """Else it would vote twice."""
    with pytest.raises(RefusedCharter, match="twice"):
        Epoch.founded(charter_of((1, 2, 3, 4, 1)))


@pytest.mark.parametrize("name", ["", " ", "m1 ", "a\nb", "\x1b[2J", "\u202em1"])
def test_a_name_can_be_printed(name: str) -> None:
    """It is shown on screens and in logs, and a charter may come from anybody."""
    charter = charter_of(range(1, 6))
    odd = replaced(charter.members[4], name=name)
    with pytest.raises(RefusedCharter, match="is no name"):
        Epoch.founded(replaced(charter, members=(*charter.members[:4], odd)))


def test_no_two_members_have_one_name() -> None:
    """Warnings are by name."""
    charter = charter_of(range(1, 6))
    odd = replaced(charter.members[4], name="m1")
    with pytest.raises(RefusedCharter, match="two members are called m1"):
        Epoch.founded(replaced(charter, members=(*charter.members[:4], odd)))


def test_a_charter_founds_or_follows() -> None:
    """It names the one that it replaces, and nothing else follows on that."""
    group = LedgerGroup(5)
    charter = group.next_charter()
    following = group.epoch.followed_by(charter)
    assert (following.number, following.group) == (1, group.epoch.group)
    assert following.digest != following.group
    with pytest.raises(RefusedCharter, match="replaces none"):
        Epoch.founded(charter)
    with pytest.raises(RefusedCharter, match="another one"):
        following.followed_by(charter)
    with pytest.raises(RefusedCharter, match="another one"):
        group.epoch.followed_by(group.epoch.charter)


@given(
    size=st.sampled_from([5, 6, 16, 40]),
    round_=st.integers(1, 2**63 - 1),
    out=st.frozensets(st.integers(0, 39), max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_leaders_are_a_permutation_of_who_is_not_out(
    size: int, round_: int, out: frozenset[int]
) -> None:
    """Everybody once; and who is out changes nobody's order."""
    epoch = EPOCHS.setdefault(size, Epoch.founded(charter_of(range(1, size + 1))))
    leaders = epoch.leaders(round_, out)
    assert sorted(leaders) == [rank for rank in range(size) if rank not in out]
    assert leaders == tuple(rank for rank in epoch.leaders(round_) if rank not in out)


EPOCHS: dict[int, Epoch] = {}


def test_nobody_chooses_its_place_in_the_order() -> None:
    """It differs by round, group and epoch; by rank nobody comes first more often."""
    group = LedgerGroup(8)
    orders = [group.epoch.leaders(round_) for round_ in range(1, 801)]
    for rank in range(8):
        assert 60 < sum(order[0] == rank for order in orders) < 140  # 100 +- 4 deviations.
    other = LedgerGroup(8, nonce=bytes(32)).epoch
    assert [other.leaders(round_) for round_ in range(1, 9)] != orders[:8]
    following = group.following(group.next_charter()).epoch
    assert [following.leaders(round_) for round_ in range(1, 9)] != orders[:8]
    # A member's place hangs on its key alone, not on its rank among the members.
    keys = [tuple(group.epoch.keys[rank] for rank in order) for order in orders[:8]]
    moved = replaced(group.epoch.charter, members=group.epoch.charter.members[::-1])
    same_group = Epoch(group.epoch.group, 0, moved)
    found = [same_group.leaders(round_) for round_ in range(1, 9)]
    assert [tuple(same_group.keys[rank] for rank in order) for order in found] == keys


@given(
    st.sampled_from([5, 8, 9, 64, 127]).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))
    )
)
@settings(max_examples=50, deadline=None)
def test_a_set_of_ranks_is_read_as_it_was_packed(drawn: tuple[int, set[int]]) -> None:
    """Whatever the size."""
    size, ranks = drawn
    epoch = EPOCHS.setdefault(size, Epoch.founded(charter_of(range(1, size + 1))))
    assert epoch.unpack(epoch.pack(sorted(ranks))) == tuple(sorted(ranks))


def test_a_bitmap_of_another_size_is_none() -> None:
    """Too short, too long, or with ranks that nobody has."""
    epoch = LedgerGroup(9).epoch
    assert epoch.unpack(b"\xff\x01") == tuple(range(9))
    for bitmap in (b"", b"\xff", b"\xff\x01\x00", b"\x00\x02"):
        assert epoch.unpack(bitmap) is None


def test_who_is_a_member() -> None:
    """By peer id; a stranger has no rank."""
    group = LedgerGroup(5)
    ranks = [group.epoch.rank_of(identity.peer_id) for identity in group.identities]
    assert ranks == [0, 1, 2, 3, 4]
    assert group.epoch.rank_of(identity_of(99).peer_id) is None
    assert group.epoch.entries == 6
    assert (group.epoch.threshold, group.epoch.liars_max) == (4, 1)


def test_the_digest_names_every_field() -> None:
    """A charter that differs anywhere has another digest."""
    charter = charter_of(range(1, 6))
    others = [
        replaced(charter, **{name: value})
        for name, value in {
            "version": 2,
            "nonce": bytes(32),
            "present": b"p" * 32,
            "members": charter.members[:4],
            "rounds": 21,
            "clip": 9.0,
            "patience_s": 1.0,
            "relay_s": 1.0,
            "progress_s": 1.0,
            "retries": 1,
            "state": (item_of(1.0),),
            "agreed": b"a" * 32,
        }.items()
    ]
    assert len(others) == len(Charter.__struct_fields__)
    assert len({charter.digest(), *(other.digest() for other in others)}) == len(others) + 1
