"""Charters: their canonical bytes, what cannot be one, and who leads."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import LedgerGroup, charter_of, governance_of, governor_of, identity_of, item_of
from private_group import privacy_of

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.ledger.charter import (
    AUDIT_NAME,
    AUDIT_OFF,
    AUDIT_VOID,
    CHARTER_BYTES_MAX,
    GOVERNANCE_KEYS_MAX,
    KEYS_OF_ONE_MAX,
    NETWORK_MEMBERS_MAX,
    NETWORK_MEMBERS_MIN,
    NEW_STATE,
    Bounds,
    Charter,
    CharterMember,
    Epoch,
    Governance,
    RefusedCharter,
    Succeeds,
    encode_charter,
    read_charter,
    require_network,
)
from p2pfl_gossip.ledger.states import Head, StateItem
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
        CharterMember(
            identity_of(i).public_key, "é" * 61 + f"{i:03}", "é" * 64, 1.0, governance_of(i, keys=4)
        )
        for i in range(1, 129)
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
        ({"version": 3}, "version 3"),
        ({"until": 0}, "over before it begins"),
        ({"not_before": 9, "until": 9}, "over before it begins"),
        ({"bounds": Bounds(clip_min=2.0, clip_max=1.0)}, "bounds of clip"),
        ({"bounds": Bounds(relay_s_min=-1.0)}, "bounds of relay_s"),
        ({"bounds": Bounds(patience_s_max=math.inf)}, "bounds of patience_s"),
        ({"bounds": Bounds(clip_max=math.nan)}, "bounds of clip"),
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
    """Beyond, they gossip in cohorts."""
    with pytest.raises(RefusedCharter, match="not 129"):
        Epoch.founded(charter_of(range(1, 130)))
    assert Epoch.founded(charter_of(range(1, 129))).size == 128


def test_members_of_a_network() -> None:
    """What has more is not even read."""
    least, most = NETWORK_MEMBERS_MIN, NETWORK_MEMBERS_MAX
    for size in (least, most):
        network = charter_of(range(1, size + 1))
        require_network(network)
        assert read_charter(encode_charter(network)) == network
    for size in (least - 1, most + 1):
        with pytest.raises(RefusedCharter, match=f"a network has 2 to 256 members, not {size}"):
            require_network(charter_of(range(1, size + 1)))
    with pytest.raises(MalformedFrame):
        read_charter(encode_charter(charter_of(range(1, most + 2))))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"present": bytes(31) + b"p"}, "holds for good"),
        ({"start": NEW_STATE}, "holds for good"),
        ({"succeeds": Succeeds(bytes(32), bytes(32), Head(0, 3, bytes(32)))}, "holds for good"),
        ({"privacy": privacy_of(5)}, "private, or audited"),
        ({"audit": 1}, "private, or audited"),
        ({"version": 3}, "version 3"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"state": (StateItem("momentum", "float32", 6, bytes(32)),)}, "first item"),
    ],
)
def test_a_network_that_cannot_be_is_refused(fields: dict[str, Any], why: str) -> None:
    """It has what holds of any charter, and nothing of what only a ledger can do."""
    with pytest.raises(RefusedCharter, match=why):
        require_network(charter_of(range(1, 4), **fields))


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


def with_first(charter: Charter, **fields: Any) -> Charter:
    """The same charter, its first member with other fields."""
    return replaced(charter, members=(replaced(charter.members[0], **fields), *charter.members[1:]))


def key_of(identity: Identity) -> bytes:
    return GovernanceKey("ed25519", identity.public_key).encoded


def turned(encoded: bytes) -> bytes:
    """The negative of an Ed25519 key."""
    return encoded[:-1] + bytes([encoded[-1] ^ 0x80])


OWN, PEERS, OTHERS = (
    key_of(governor_of(1)),
    key_of(identity_of(2)),
    key_of(governor_of(2)),
)


@pytest.mark.parametrize(
    ("threshold", "keys", "why"),
    [
        (0, (OWN,), "0 of 1 keys is no threshold"),
        (2, (OWN,), "2 of 1 keys is no threshold"),
        (1, (), "1 of 0 keys is no threshold"),
        (2, (OWN, OWN), "also that of m1"),
        (2, (OWN, turned(OWN)), "also that of m1"),
        (1, (PEERS,), "also that of the peer of m2"),
        (1, (turned(PEERS),), "also that of the peer of m2"),
        (1, (key_of(identity_of(1)),), "also that of the peer of m1"),
        (1, (OTHERS,), "m2: key .* is also that of m1"),
        (1, (b"\x01" + bytes(32),), "m1: an Ed25519 key is a point"),
        (1, (b"\x02" + b"\x02" + b"\xff" * 32,), "m1: a P-256 key is a point"),
        (1, (b"\x03" + bytes(32),), "no kind of key"),
    ],
)
def test_a_governance_key_has_one_use_and_one_owner(
    threshold: int, keys: tuple[bytes, ...], why: str
) -> None:
    """None stands for two members, nor for a peer; a threshold can be met."""
    charter = with_first(charter_of(range(1, 6)), governance=Governance(threshold, keys))
    with pytest.raises(RefusedCharter, match=why):
        Epoch.founded(charter)


def test_a_member_has_a_few_keys() -> None:
    """Seven; and a charter four for each of the most members that it may have."""
    most = with_first(charter_of(range(1, 6)), governance=governance_of(1, keys=KEYS_OF_ONE_MAX))
    Epoch.founded(read_charter(encode_charter(most)))
    more = with_first(most, governance=governance_of(1, keys=KEYS_OF_ONE_MAX + 1))
    with pytest.raises(MalformedFrame):
        read_charter(encode_charter(more))
    many = charter_of(range(1, 129))
    members = tuple(
        replaced(member, governance=governance_of(n, keys=4))
        for n, member in enumerate(many.members, 1)
    )
    assert GOVERNANCE_KEYS_MAX == 128 * 4
    Epoch.founded(replaced(many, members=members))
    with pytest.raises(RefusedCharter, match="at most 512 governance keys, not 513"):
        Epoch.founded(
            with_first(replaced(many, members=members), governance=governance_of(1, keys=5))
        )


def test_a_peers_key_is_one() -> None:
    """Not a point of low order, by which one signature is of every message."""
    with pytest.raises(RefusedCharter, match="prime-order"):
        Epoch.founded(with_first(charter_of(range(1, 6)), key=bytes(32)))


@pytest.mark.parametrize("name", ["", "a\nb", " x"])
def test_a_controller_has_a_name(name: str) -> None:
    with pytest.raises(RefusedCharter, match="is no name"):
        Epoch.founded(with_first(charter_of(range(1, 6)), controller=name))


def test_a_charter_goes_on_or_says_where_it_begins() -> None:
    """Another first state without a word would be another model by accident."""
    group = LedgerGroup(5)
    other = group.next_charter(state=(item_of(5.0),))
    with pytest.raises(RefusedCharter, match="must say that it starts from it"):
        group.epoch.followed_by(other)
    group.epoch.followed_by(replaced(other, start=NEW_STATE))
    with pytest.raises(RefusedCharter, match="its state is the first"):
        Epoch.founded(charter_of(range(1, 6), start=NEW_STATE))


def test_only_a_founding_charter_succeeds_a_group() -> None:
    group = LedgerGroup(5)
    succeeds = Succeeds(bytes(32), bytes(32), NEW_STATE)
    Epoch.founded(charter_of(range(1, 6), succeeds=succeeds))
    with pytest.raises(RefusedCharter, match="only a founding charter"):
        group.epoch.followed_by(group.next_charter(succeeds=succeeds))


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
            "version": 3,
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
            "not_before": 1,
            "until": 2,
            "notice_s": 1,
            "bounds": Bounds(1),
            "start": NEW_STATE,
            "succeeds": Succeeds(bytes(32), bytes(32), NEW_STATE),
            "terms": b"a" * 32,
            "running": b"a" * 32,
            "privacy": privacy_of(5, rounds=20),
            "audit": 1,
        }.items()
    ]
    assert len(others) == len(Charter.__struct_fields__)
    assert len({charter.digest(), *(other.digest() for other in others)}) == len(others) + 1


def test_an_audit_is_one_that_this_version_knows() -> None:
    for audit in (AUDIT_OFF, AUDIT_VOID, AUDIT_NAME):
        assert Epoch.founded(replaced(charter_of(range(1, 6)), audit=audit)).charter.audit == audit
    with pytest.raises(RefusedCharter, match="audit 3 is not known to this version"):
        Epoch.founded(replaced(charter_of(range(1, 6)), audit=3))


def test_sums_with_shared_noise_are_not_audited() -> None:
    """Each member's noise is longer than any bound that would hold its update."""
    charter = charter_of(range(1, 6))
    alike = tuple(replaced(member, weight=1.0) for member in charter.members)
    privacy = privacy_of(5, rounds=charter.rounds, momentum=0)
    charter = replaced(charter, members=alike, privacy=privacy)
    Epoch.founded(charter)
    charter = replaced(charter, audit=AUDIT_VOID)
    with pytest.raises(RefusedCharter, match="set audit to 'off', or privacy's trust to 'nobody'"):
        Epoch.founded(charter)
