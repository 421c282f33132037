"""Who must approve a charter: each fault of documents and keys, by what is missing or refused."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import (
    approval_by,
    approvals_by,
    bounds_of,
    charter_of,
    governance_of,
    governor_of,
    identity_of,
    member_of,
)

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.ledger import approvals as approving
from p2pfl_gossip.ledger.approvals import (
    APPROVALS_BYTES_MAX,
    APPROVALS_MAX,
    Approval,
    RefusedApproval,
    Says,
    approval_of,
    encode_approvals,
    in_order,
    read_approvals,
    require_signed,
)
from p2pfl_gossip.ledger.approving import (
    ApprovalStanding,
    check_amendment,
    check_founding,
    check_succession,
    kind_of_change,
)
from p2pfl_gossip.ledger.charter import (
    FOREVER,
    NEW_STATE,
    NONE,
    Charter,
    Epoch,
    RefusedCharter,
    Succeeds,
)
from p2pfl_gossip.ledger.states import Head
from p2pfl_gossip.masked_sum.cohort import liars_max_of, threshold_of
from p2pfl_gossip.records import MalformedFrame, replaced

PRESENT = charter_of(range(1, 8), bounds=bounds_of())


def following(numbers: Sequence[int] = range(1, 8), **fields: Any) -> Charter:
    """A charter that is to follow, of these members."""
    members = tuple(member_of(number) for number in numbers)
    return replaced(PRESENT, present=PRESENT.digest(), **({"members": members} | fields))


def founding(charter: Charter | None = None) -> Charter:
    """A following one with a change of the founding class."""
    return charter or following(retries=1)


def check(charter: Charter, *approvals: Approval) -> ApprovalStanding:
    return check_amendment(PRESENT, charter, approvals)


# --- the class of a change ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"rounds": 30},
        {"rounds": 1},
        {"clip": 4.0},
        {"patience_s": 0.0},
        {"relay_s": 1.0},
        {"running": b"r" * 32},
        {"not_before": 77},
        {"nonce": bytes(32)},
        {},
    ],
)
def test_what_is_within_bounds_is_a_running_change(fields: dict[str, Any]) -> None:
    assert kind_of_change(PRESENT, following(**fields)) == "running"


@pytest.mark.parametrize(
    "fields",
    [
        {"rounds": 31},
        {"clip": 8.1},
        {"clip": 3.9},
        {"patience_s": 40.1},
        {"relay_s": 0.9},
        {"relay_s": 4.1},
        {"progress_s": 1.0},
        {"retries": 9},
        {"until": 10**9},
        {"notice_s": 0},
        {"bounds": replaced(PRESENT.bounds, clip_max=1e9)},
        {"bounds": replaced(PRESENT.bounds, running=False), "running": b"r" * 32},
        {"terms": b"t" * 32},
        {"start": NEW_STATE},
        {"start": Head(0, 3, b"e" * 32)},
        {"version": 3},
        {"members": charter_of(range(1, 7)).members},
        {"members": charter_of(range(1, 9)).members},
        {"members": PRESENT.members[::-1]},
        {"members": (replaced(PRESENT.members[0], weight=9.0), *PRESENT.members[1:])},
        {"members": (replaced(PRESENT.members[0], key=b"k" * 32), *PRESENT.members[1:])},
        {"members": (replaced(PRESENT.members[0], controller="other"), *PRESENT.members[1:])},
    ],
)
def test_all_else_is_a_founding_change(fields: dict[str, Any]) -> None:
    assert kind_of_change(PRESENT, following(**fields)) == "founding"


def test_without_bounds_nothing_is_a_running_change() -> None:
    present = charter_of(range(1, 8))
    for fields in ({"rounds": 21}, {"clip": 4.0}, {"patience_s": 1.0}, {"running": b"r" * 32}):
        after = replaced(present, present=present.digest(), **fields)
        assert kind_of_change(present, after) == "founding"


def test_going_back_once_does_not_make_later_changes_founding() -> None:
    """`start` is of one change."""
    back = replaced(PRESENT, start=NEW_STATE)
    after = replaced(back, present=back.digest(), start=None, rounds=22)
    assert kind_of_change(back, after) == "running"


# --- running changes ----------------------------------------------------------------------------


def by_peers(charter: Charter, numbers: Sequence[int]) -> list[Approval]:
    return [approval_by(identity_of(number), charter) for number in numbers]


def test_t_peers_approve_a_running_change() -> None:
    charter = following(rounds=30)
    assert not check(charter, *by_peers(charter, range(1, 5))).is_enough
    standing = check(charter, *by_peers(charter, range(1, 6)))
    assert standing.is_enough
    assert standing.approved == ("m1", "m2", "m3", "m4", "m5")


def test_what_a_running_change_lacks_is_told_by_name() -> None:
    charter = following(rounds=30)
    standing = check(charter, *by_peers(charter, (1, 2, 3)))
    assert standing.missing == ("2 more of the peers of m4, m5, m6 and m7",)


def test_governance_keys_do_not_stand_for_peers_nor_peers_for_them() -> None:
    """A stolen daemon cannot amend."""
    charter = following(rounds=30)
    assert check(charter, *approvals_by(charter, range(1, 8))).approved == ()
    charter = founding()
    standing = check(charter, *by_peers(charter, range(1, 8)))
    assert not standing.is_enough
    assert standing.approved == ()


# --- founding changes ---------------------------------------------------------------------------


def test_two_thirds_of_those_that_stay_approve_a_founding_change() -> None:
    charter = founding()
    standing = check(charter, *approvals_by(charter, range(1, 5)))
    assert standing.missing == ("1 more of m5, m6 and m7",)
    assert check(charter, *approvals_by(charter, range(1, 6))).is_enough


@pytest.mark.parametrize("n", range(5, 129))
def test_who_approves_suffices_for_the_new_quorum_and_liars_do_not(n: int) -> None:
    """For each size, and each number of newcomers: signers are t of the new, and more than m."""
    for stay in (n, n - 1):
        wanted = threshold_of(stay)
        assert wanted > liars_max_of(n)
        for newcomers in range(max(0, 5 - stay), 129 - stay):
            assert wanted + newcomers >= threshold_of(stay + newcomers)


def test_a_sixth_is_admitted_with_its_own_keys() -> None:
    charter = following(range(1, 9))
    votes = approvals_by(charter, range(1, 6))
    newcomer = [*approvals_by(charter, [8]), approval_by(identity_of(8), charter)]
    assert check(charter, *votes, *newcomer).is_enough
    assert check(charter, *votes, *newcomer).approved == ("m1", "m2", "m3", "m4", "m5", "m8")


@pytest.mark.parametrize("has", ["nothing", "governance", "peer"])
def test_a_newcomer_that_never_signed_is_named(has: str) -> None:
    charter = following(range(1, 9))
    signed = approvals_by(charter, range(1, 8))
    if has == "governance":
        signed += approvals_by(charter, [8])
    if has == "peer":
        signed.append(approval_by(identity_of(8), charter))
    standing = check(charter, *signed)
    assert not standing.is_enough
    assert all(line.startswith("m8: ") for line in standing.missing)
    assert len(standing.missing) == {"nothing": 2, "governance": 1, "peer": 1}[has]


def test_one_is_expelled_against_its_will_and_has_no_vote() -> None:
    charter = following(range(1, 7))
    assert check(charter, *approvals_by(charter, range(1, 6))).is_enough
    # 4 of the 6 that stay do not suffice, with the vote of the one that goes beside.
    assert not check(charter, *approvals_by(charter, (1, 2, 3, 4, 7))).is_enough


def test_at_most_one_leaves_against_its_will() -> None:
    charter = following(range(1, 6))
    signed = approvals_by(charter, range(1, 6))
    standing = check(charter, *signed)
    assert [line for line in standing.missing if "m6 and m7" in line]
    assert check(charter, *signed, *approvals_by(charter, [7])).is_enough


def test_who_goes_has_no_vote() -> None:
    """It may agree to go; of those that stay as many must approve as without its word."""
    charter = following(range(1, 7))
    few, enough = range(1, 5), range(1, 6)
    assert not check(charter, *approvals_by(charter, [*few, 7])).is_enough
    assert check(charter, *approvals_by(charter, enough)).is_enough


def test_who_said_that_it_leaves_is_not_thrown_out() -> None:
    """Words of leaving, about the charter in force, come with the approvals."""
    charter = following(range(1, 6))
    leaves = approval_by(governor_of(7), PRESENT, says=Says.LEAVE)
    assert check(charter, *approvals_by(charter, range(1, 6)), leaves).is_enough


def test_five_swap_one_in_one_charter() -> None:
    """Below five there is no group: who goes and who comes stand in one charter."""
    present = charter_of(range(1, 6))
    four = replaced(present, present=present.digest(), members=charter_of(range(1, 5)).members)
    epoch = Epoch.founded(present)
    with pytest.raises(RefusedCharter, match="not 4"):
        epoch.followed_by(four)
    numbers = (1, 2, 3, 4, 6)
    swap = replaced(present, present=present.digest(), members=charter_of(numbers).members)
    signed = [
        *approvals_by(swap, (1, 2, 3)),
        *approvals_by(swap, [6]),
        approval_by(identity_of(6), swap),
    ]
    assert check_amendment(present, swap, signed).is_enough
    epoch.followed_by(swap)


# --- keys ---------------------------------------------------------------------------------------


def with_member(number: int, **fields: Any) -> Charter:
    """A following charter in which one member has other fields."""
    members = [
        replaced(member_of(number), **fields) if n == number else member_of(n) for n in range(1, 8)
    ]
    return following(members=tuple(members))


def test_a_member_of_several_keys_votes_by_its_threshold() -> None:
    present = charter_of(range(1, 8))
    two_of_three = governance_of(1, keys=3, threshold=2)
    members = (replaced(present.members[0], governance=two_of_three), *present.members[1:])
    present = replaced(present, members=members)
    charter = replaced(present, present=present.digest(), retries=1)
    others = approvals_by(charter, range(2, 6))
    one = approval_by(governor_of(1, 0), charter)
    standing = check_amendment(present, charter, [*others, one])
    assert standing.missing == ("1 more of m1 (1 of 2 keys), m6 and m7",)
    # One key twice is one key.
    again = approval_by(governor_of(1, 0), charter, until=5)
    assert not check_amendment(present, charter, [*others, one, again]).is_enough
    two = approval_by(governor_of(1, 2), charter)
    assert check_amendment(present, charter, [*others, one, two]).is_enough


def test_a_new_key_signs_itself() -> None:
    charter = with_member(1, governance=governance_of(1, keys=2, threshold=2))
    signed = approvals_by(charter, range(1, 8))
    standing = check(charter, *signed)
    assert len(standing.missing) == 1
    assert "m1: new key" in standing.missing[0]
    assert check(charter, *signed, approval_by(governor_of(1, 1), charter)).is_enough


def test_a_new_peer_key_signs_itself() -> None:
    charter = with_member(1, key=identity_of(50).public_key)
    signed = approvals_by(charter, range(1, 8))
    assert check(charter, *signed).missing == ("m1: its new peer's key has not signed",)
    assert check(charter, *signed, approval_by(identity_of(50), charter)).is_enough


def test_lost_keys_are_replaced_after_notice_unless_an_old_one_objects() -> None:
    charter = with_member(7, governance=governance_of(70))
    signed = [*approvals_by(charter, range(1, 6)), approval_by(governor_of(70), charter)]
    standing = check(charter, *signed)
    assert standing.is_enough
    assert standing.replaced == ("m7",)
    objection = approval_by(governor_of(7), charter, says=Says.OBJECT)
    standing = check(charter, *signed, objection)
    assert not standing.is_enough
    assert standing.objected == ("m7",)
    assert "objects to other keys for it" in standing.missing[0]


def test_nobody_else_stops_a_replacement() -> None:
    charter = with_member(7, governance=governance_of(70))
    signed = [*approvals_by(charter, range(1, 6)), approval_by(governor_of(70), charter)]
    objection = approval_by(governor_of(6), charter, says=Says.OBJECT)
    standing = check(charter, *signed, objection)
    assert standing.is_enough
    assert standing.objected == ("m6",)


def test_who_changes_its_own_keys_needs_no_notice() -> None:
    charter = with_member(7, governance=governance_of(70))
    signed = [*approvals_by(charter, range(1, 8)), approval_by(governor_of(70), charter)]
    assert check(charter, *signed).replaced == ()


def test_other_keys_for_one_and_throwing_out_another_are_too_many() -> None:
    charter = replaced(with_member(6, governance=governance_of(60)))
    charter = replaced(charter, members=charter.members[:6])
    signed = [*approvals_by(charter, range(1, 6)), approval_by(governor_of(60), charter)]
    assert [line for line in check(charter, *signed).missing if "m6 and m7" in line]


def test_a_stolen_governance_key_below_its_threshold_is_no_vote() -> None:
    present = replaced(
        PRESENT,
        members=tuple(
            replaced(member, governance=governance_of(n, keys=2, threshold=2))
            for n, member in enumerate(PRESENT.members, 1)
        ),
    )
    charter = replaced(present, present=present.digest(), retries=1)
    stolen = [approval_by(governor_of(number, 1), charter) for number in range(1, 8)]
    assert check_amendment(present, charter, stolen).approved == ()


# --- controllers --------------------------------------------------------------------------------


def with_controllers(names: Sequence[str]) -> Charter:
    members = tuple(
        replaced(member, controller=name)
        for member, name in zip(PRESENT.members, names, strict=True)
    )
    return replaced(PRESENT, members=members)


def test_many_members_of_one_controller_do_not_decide_alone() -> None:
    present = with_controllers(["trust"] * 5 + ["b", "c"])
    charter = replaced(present, present=present.digest(), retries=1)
    standing = check_amendment(present, charter, approvals_by(charter, range(1, 6)))
    assert standing.missing == ("members of 2 more of the controllers b and c",)
    assert check_amendment(present, charter, approvals_by(charter, range(1, 8))).is_enough


def test_nor_do_controllers_of_few_members() -> None:
    """Three of four controllers are two thirds of these, and three of seven members are not."""
    present = with_controllers(["trust"] * 4 + ["b", "c", "d"])
    charter = replaced(present, present=present.digest(), retries=1)
    standing = check_amendment(present, charter, approvals_by(charter, (5, 6, 7)))
    assert standing.missing == ("2 more of m1, m2, m3 and m4",)
    assert check_amendment(present, charter, approvals_by(charter, (3, 4, 5, 6, 7))).is_enough


# --- foundings and successions ------------------------------------------------------------------


def all_keys(charter: Charter, numbers: Sequence[int]) -> list[Approval]:
    return [*approvals_by(charter, numbers), *by_peers(charter, numbers)]


def test_every_key_signs_a_founding() -> None:
    assert check_founding(PRESENT, all_keys(PRESENT, range(1, 8))).is_enough
    standing = check_founding(PRESENT, all_keys(PRESENT, range(1, 7)))
    assert standing.approved == tuple(f"m{number}" for number in range(1, 7))
    assert [line[:2] for line in standing.missing] == ["m7", "m7"]


def test_a_group_without_governance_keys_is_not_amended() -> None:
    members = tuple(
        replaced(member, governance=governance_of(0, keys=0)) for member in PRESENT.members
    )
    present = replaced(PRESENT, members=members)
    Epoch.founded(present)
    charter = replaced(present, present=present.digest(), retries=1)
    standing = check_amendment(present, charter, [])
    assert any("no governance keys" in line for line in standing.missing)
    assert any("no governance keys" in line for line in check_founding(present, []).missing)


HEAD = Head(0, 9, b"e" * 32)


def test_a_group_succeeds_another_by_the_keys_of_all_its_members() -> None:
    succeeds = Succeeds(PRESENT.digest(), PRESENT.digest(), HEAD)
    charter = charter_of(range(1, 6), nonce=b"2" * 32, succeeds=succeeds)
    signed = all_keys(charter, range(1, 6))
    assert check_succession(PRESENT, charter, signed).is_enough
    # Five that are left do not speak for seven where one of them is silent.
    charter = charter_of((1, 2, 3, 4, 8), nonce=b"2" * 32, succeeds=succeeds)
    signed = all_keys(charter, (1, 2, 3, 4, 8))
    standing = check_succession(PRESENT, charter, signed)
    assert standing.missing == ("1 more of m5, m6 and m7",)
    signed += approvals_by(charter, [6])
    assert check_succession(PRESENT, charter, signed).is_enough


def test_who_succeeds_names_the_last_charter() -> None:
    for succeeds in (None, Succeeds(PRESENT.digest(), NONE, HEAD)):
        charter = charter_of(range(1, 6), succeeds=succeeds)
        with pytest.raises(RefusedCharter, match="succeeds another"):
            check_succession(PRESENT, charter, [])


# --- approvals that are none --------------------------------------------------------------------


def _expelled() -> Approval:
    return approval_by(governor_of(9), founding())


def _altered(**fields: Any) -> Approval:
    return replaced(approval_by(governor_of(1), founding()), **fields)


FALSE: dict[str, tuple[Callable[[], Approval], str]] = {
    "of another charter": (
        lambda: approval_by(governor_of(1), following(retries=2)),
        "another charter",
    ),
    "approving the charter in force": (
        lambda: approval_by(governor_of(1), PRESENT),
        "another charter",
    ),
    "by an expelled member": (_expelled, "of no member"),
    "by a stranger": (lambda: approval_by(Identity(b"?" * 32), founding()), "of no member"),
    "in another key's name": (
        lambda: _altered(key=GovernanceKey("ed25519", governor_of(2).public_key).encoded),
        "not verify",
    ),
    "for longer": (lambda: _altered(until=FOREVER - 1), "not verify"),
    "turned into an objection": (lambda: _altered(says=Says.OBJECT), "not verify"),
    "with a changed signature": (lambda: _altered(signature=bytes(64)), "not verify"),
    "saying nothing known": (lambda: _altered(says=5), "nothing that a key can say"),
}


@pytest.mark.parametrize("name", FALSE)
def test_what_is_no_approval_is_refused(name: str) -> None:
    """By its key, in one line; beside good ones too."""
    make, why = FALSE[name]
    charter = founding()
    with pytest.raises(RefusedApproval, match=why):
        check(charter, *approvals_by(charter, range(2, 8)), make())


def test_a_charter_that_follows_another_one_is_refused() -> None:
    """A quorum of an old epoch cannot fork the history: its charter names an old one."""
    charter = replaced(founding(), present=b"o" * 32)
    with pytest.raises(RefusedCharter, match="another one than that in force"):
        check_amendment(PRESENT, charter, approvals_by(charter, range(1, 8)))


def test_a_key_has_one_use_over_charters_too() -> None:
    peer = GovernanceKey("ed25519", identity_of(3).public_key).encoded
    charter = with_member(1, governance=replaced(governance_of(1), keys=(peer,)))
    members = (
        *charter.members[:2],
        replaced(charter.members[2], key=identity_of(33).public_key),
        *charter.members[3:],
    )
    charter = replaced(charter, members=members)
    Epoch.founded(PRESENT).followed_by(charter)
    with pytest.raises(RefusedCharter, match="a key has one use"):
        check(charter)


def test_a_signer_that_gives_something_else_is_found_at_once() -> None:
    key = GovernanceKey("ed25519", governor_of(1).public_key)
    with pytest.raises(RefusedApproval, match="not verify"):
        approval_of(NONE, Says.APPROVE, key, 5, governor_of(2).sign)
    with pytest.raises(RefusedApproval, match="64 bytes"):
        approval_of(NONE, Says.APPROVE, key, 5, lambda message: message)


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedApproval, match="prime-order"):
        require_signed(_altered(key=b"\x01" + bytes(32)))
    with pytest.raises(RefusedApproval, match="no kind of key"):
        require_signed(_altered(key=b"\x07" + bytes(32)))


# --- bytes --------------------------------------------------------------------------------------

CHARTER = founding()
SIGNED = tuple(approvals_by(CHARTER, range(1, 6)))


def test_approvals_are_read_as_they_were_written() -> None:
    encoded = encode_approvals(SIGNED[::-1])
    assert read_approvals(encoded) == in_order(SIGNED)
    assert encode_approvals(read_approvals(encoded)) == encoded


def test_approvals_in_another_order_or_twice_are_refused() -> None:
    codec = approving._CODEC
    for approvals in (in_order(SIGNED)[::-1], (SIGNED[0], SIGNED[0])):
        encoded = codec.encode(approving._Approvals(approvals))
        with pytest.raises(MalformedFrame):
            read_approvals(encoded)


def test_approvals_that_are_cut_off_are_refused() -> None:
    encoded = encode_approvals(SIGNED)
    for size in range(len(encoded)):
        with pytest.raises(MalformedFrame):
            read_approvals(encoded[:size])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_is_refused_somewhere(data: st.DataObject) -> None:
    """Where they are read, or where they are checked: never is a changed one counted."""
    encoded = bytearray(encode_approvals(SIGNED))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises((MalformedFrame, RefusedApproval)):
        check_amendment(PRESENT, CHARTER, read_approvals(bytes(encoded)))


def test_the_longest_approvals_fit() -> None:
    """As many as there may be, of the longest keys; and not one more."""
    long = replaced(SIGNED[0], key=b"\x02" * 34, until=FOREVER, says=3)
    many = [replaced(long, charter=n.to_bytes(32, "big")) for n in range(APPROVALS_MAX)]
    assert len(encode_approvals(many)) <= APPROVALS_BYTES_MAX
    assert len(read_approvals(encode_approvals(many))) == APPROVALS_MAX
    with pytest.raises(MalformedFrame):
        read_approvals(encode_approvals([*many, long]))


def test_of_two_words_of_one_key_the_longer_lasting_counts() -> None:
    short, long = (approval_by(governor_of(1), CHARTER, until=until) for until in (5, 9))
    assert in_order([short, long]) == in_order([long, short]) == (long,)
