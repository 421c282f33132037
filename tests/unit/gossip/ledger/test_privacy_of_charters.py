"""What a charter may say of privacy."""

from typing import Any

import pytest
from ledger_group import charter_of, item_of, member_of, model_of
from private_group import privacy_of

from p2pfl_gossip.ledger.approving import kind_of_change
from p2pfl_gossip.ledger.charter import (
    NEW_STATE,
    Bounds,
    CharterMember,
    Epoch,
    RefusedCharter,
)
from p2pfl_gossip.ledger.entries import Head, Kind, features_of
from p2pfl_gossip.ledger.privacy import (
    _FEATURE_BYTES_MAX,
    FEATURE,
    SHARES_MIN,
    Privacy,
    PrivateSum,
    read_feature,
    still,
    why_not,
)
from p2pfl_gossip.records import MalformedFrame, replaced

EQUAL = tuple(
    CharterMember(it.key, it.name, it.controller, 1.0, it.governance)
    for it in map(member_of, range(1, 6))
)


def founded(privacy: Privacy, **fields: Any) -> Epoch:
    return Epoch.founded(charter_of((), **{"members": EQUAL, "privacy": privacy} | fields))


def test_a_private_charter_is_founded() -> None:
    epoch = founded(privacy_of(5, rounds=20))
    assert epoch.least == epoch.threshold == 4
    assert founded(privacy_of(5, rounds=20, least=5)).least == 5
    (feature,) = features_of(epoch, Kind.SUM)
    assert feature.name == FEATURE
    assert len(feature.value) < _FEATURE_BYTES_MAX
    assert read_feature(feature.value).least == 4
    assert features_of(epoch, Kind.EMPTY) == ()


def test_operators_alone_have_a_private_group_do_no_more_rounds() -> None:
    """Each charter has budgets reserved anew: one after the other would spend without end."""
    bounds = Bounds(30, 1.0, 8.0, 40.0, 1.0, 8.0, running=True)
    private = founded(privacy_of(5, rounds=20), bounds=bounds).charter
    for present, kind in ((private, "founding"), (replaced(private, privacy=None), "running")):
        after = replaced(present, present=present.digest(), rounds=30)
        assert Epoch.founded(present).followed_by(after).charter is after
        assert kind_of_change(present, after) == kind
        assert kind_of_change(present, replaced(after, rounds=19)) == "running"
        assert kind_of_change(present, replaced(after, rounds=20, patience_s=9.0)) == "running"


def test_what_an_entry_says_is_bounded_and_strict() -> None:
    for value in (b"", b"\x00", bytes(_FEATURE_BYTES_MAX + 1)):
        with pytest.raises(MalformedFrame):
            read_feature(value)
    assert PrivateSum.__struct_fields__[0] == "unit"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"unit": 2}, "is not known"),
        ({"trust": 2}, "is not known"),
        ({"unit": 1, "rows": 0, "rate_units": 2**32, "trust": 1}, "without others' noise"),
        ({"rate_units": 0}, "rate is 0"),
        ({"rate_units": 2**32 + 1}, "rate is 1"),
        ({"unit": 1, "rows": 0}, "1 for whole members"),
        ({"unit": 1, "rate_units": 2**32}, "1000 rows"),
        ({"rows": 0}, "0 rows"),
        ({"noise_units": 0}, "noise is 0"),
        ({"spends": 19}, "19 spends do not pay for 20 rounds"),
        ({"colluding": 2}, "2 members that collude"),
        ({"least": 3}, "3 members in a sum"),
        ({"least": 6}, "6 members in a sum"),
        ({"steps": 0}, "0 local steps"),
        ({"steps": 2}, "2 local steps"),
        ({"delta": 0.0}, "delta is 0"),
        ({"delta": 1.1e-4}, "at most 0.0001"),
        ({"rate_first": 0.1}, "learning rates"),
        ({"rate_last": 0.0}, "learning rates"),
        ({"rate_first": float("inf")}, "learning rates"),
        ({"momentum": 1.0}, "momentum is 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"table": bytes(32)}, "another table"),
        ({"clip": 0.0}, "a clip is positive"),
        ({"noise_units": 2**12}, "less than 8 times"),
        ({"noise_units": 2**34}, "more than one part in 16"),
    ],
)
def test_figures_that_cannot_be_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedCharter, match=why):
        founded(privacy_of(5, rounds=20, **fields))


def test_shares_of_noise_must_remain() -> None:
    """Of seven, two may collude: of five in a sum three shares remain, and no fewer may."""
    members = tuple(
        CharterMember(it.key, it.name, it.controller, 1.0, it.governance)
        for it in map(member_of, range(1, 8))
    )
    privacy = privacy_of(7, rounds=20, least=5, colluding=2)
    assert founded(privacy, members=members).charter.privacy == privacy
    assert privacy.shares == SHARES_MIN
    four = privacy_of(5, rounds=20)
    assert four.shares == SHARES_MIN
    figures = {"rounds": 20, "weights": (1.0,) * 4, "entries": 10}
    told = why_not(
        replaced(four, least=3),
        members=4,
        threshold=3,
        liars_max=1,
        **figures,  # type: ignore[arg-type]
    )
    assert told is not None
    assert "at least 3 must remain" in told


def test_weights_are_alike_where_rows_are_drawn() -> None:
    with pytest.raises(RefusedCharter, match="weights are not alike"):
        Epoch.founded(charter_of(range(1, 6), privacy=privacy_of(5, rounds=20)))


def test_momentum_is_a_part_of_the_state() -> None:
    privacy = privacy_of(5, rounds=20, momentum=0.9)
    first = (item_of(0.0), still(len(model_of(0.0))))
    epoch = founded(privacy, state=first)
    with pytest.raises(RefusedCharter, match="'momentum' of zeros"):
        founded(privacy)
    following = replaced(epoch.charter, present=epoch.digest)
    assert epoch.followed_by(following).number == 1
    anew = replaced(following, start=NEW_STATE, state=(item_of(1.0),))
    with pytest.raises(RefusedCharter, match="'momentum' of zeros"):
        epoch.followed_by(anew)
    plain = founded(privacy_of(5, rounds=20))
    later = replaced(plain.charter, present=plain.digest, privacy=privacy)
    with pytest.raises(RefusedCharter, match="beside the model"):
        plain.followed_by(later)
    back = replaced(following, start=Head(0, 1, b"e" * 32))
    with pytest.raises(RefusedCharter, match="goes back to no earlier entry"):
        epoch.followed_by(back)
