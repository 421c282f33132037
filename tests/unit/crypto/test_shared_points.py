"""Showing what X25519 gave two members."""

from hashlib import sha256

import pytest

from p2pfl_crypto.audit.curve import add
from p2pfl_crypto.audit.shared_points import (
    InvalidOpening,
    _lift,
    is_on_curve,
    open_shared,
    prove_possession,
    read_opened,
    require_possession,
)
from p2pfl_crypto.key_agreement import agree, public_key_of
from p2pfl_crypto.shamir import GROUP_ORDER

SECRETS = [sha256(bytes([place])).digest() for place in range(12)]
KEYS = [public_key_of(secret) for secret in SECRETS]


def opened(one: int, other: int, key: bytes | None = None) -> bytes:
    return open_shared(SECRETS[one], KEYS[one], key or KEYS[other], b"context", b"e" * 32)


@pytest.mark.parametrize("other", range(1, 12))
def test_what_is_shown_is_what_both_have(other: int) -> None:
    """Whatever the signs are that Montgomery's form leaves out."""
    shared = agree(SECRETS[0], KEYS[other])
    assert read_opened(opened(0, other), KEYS[0], KEYS[other], b"context") == shared
    assert read_opened(opened(other, 0), KEYS[other], KEYS[0], b"context") == shared


def small_order_twin() -> bytes:
    """Key 1 with a part of order 2 added: (0, -1) on Ed25519's form."""
    minus_one = (2**255 - 20).to_bytes(32, "little")
    y = int.from_bytes(add(_lift(KEYS[1]), minus_one), "little") & (2**255 - 1)
    prime = 2**255 - 19
    return ((1 + y) * pow(1 - y, -1, prime) % prime).to_bytes(32, "little")


def test_a_part_of_small_order_changes_nothing() -> None:
    twin = small_order_twin()
    assert twin != KEYS[1]
    shared = agree(SECRETS[0], twin)
    assert shared == agree(SECRETS[0], KEYS[1])
    assert read_opened(opened(0, 1, twin), KEYS[0], twin, b"context") == shared


def test_who_has_a_key_with_such_a_part_shows_nothing() -> None:
    with pytest.raises(InvalidOpening, match="not a point of the prime-order group"):
        read_opened(opened(1, 0), small_order_twin(), KEYS[0], b"context")


@pytest.mark.parametrize("place", [0, 31, 32, 63, 64, 90])
def test_another_byte_shows_nothing(place: int) -> None:
    changed = bytearray(opened(0, 1))
    changed[place] ^= 1
    with pytest.raises(InvalidOpening):
        read_opened(bytes(changed), KEYS[0], KEYS[1], b"context")


@pytest.mark.parametrize(
    ("own", "other", "context"),
    [(2, 1, b"context"), (0, 2, b"context"), (1, 0, b"context"), (0, 1, b"another")],
)
def test_it_is_of_two_keys_and_one_purpose(own: int, other: int, context: bytes) -> None:
    with pytest.raises(InvalidOpening, match="not the one that the two keys share"):
        read_opened(opened(0, 1), KEYS[own], KEYS[other], context)


def test_another_point_is_not_shown_by_the_same_secret() -> None:
    """What a liar would need to have an honest member named: another K for the same two keys."""
    false = opened(0, 2)
    with pytest.raises(InvalidOpening, match="not the one"):
        read_opened(false[:32] + opened(0, 1)[32:], KEYS[0], KEYS[1], b"context")


def test_numbers_are_reduced() -> None:
    shown = opened(0, 1)
    response = int.from_bytes(shown[64:], "little") + GROUP_ORDER
    with pytest.raises(InvalidOpening, match="not reduced"):
        read_opened(shown[:64] + response.to_bytes(32, "little"), KEYS[0], KEYS[1], b"context")
    with pytest.raises(InvalidOpening, match="96 bytes"):
        read_opened(shown[:-1], KEYS[0], KEYS[1], b"context")


def test_half_of_all_numbers_are_keys_of_no_point() -> None:
    """X25519 takes them all the same; no honest member has one."""
    assert all(map(is_on_curve, KEYS))
    on = [is_on_curve(sha256(bytes([place, 1])).digest()[:31] + b"\0") for place in range(64)]
    assert 16 < sum(on) < 48
    assert not is_on_curve((2**255 - 20).to_bytes(32, "little"))


def possession(place: int) -> bytes:
    return prove_possession(SECRETS[place], KEYS[place], b"context", b"e" * 32)


@pytest.mark.parametrize("place", range(4))
def test_who_has_a_secret_proves_it(place: int) -> None:
    """Whatever the sign is of the point that the key is of."""
    require_possession(possession(place), KEYS[place], b"context")


def doubled(key: bytes) -> bytes:
    """A key made of another: whoever has the other's secret would share twice as much by it."""
    y = int.from_bytes(add(_lift(key), _lift(key)), "little") & (2**255 - 1)
    prime = 2**255 - 19
    return ((1 + y) * pow(1 - y, -1, prime) % prime).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("key", "context"),
    [
        (KEYS[1], b"context"),
        (KEYS[0], b"another"),
        (doubled(KEYS[0]), b"context"),
        (small_order_twin(), b"context"),
        ((2**255 - 20).to_bytes(32, "little"), b"context"),
    ],
)
def test_it_is_of_one_key_and_one_place(key: bytes, context: bytes) -> None:
    with pytest.raises(InvalidOpening):
        require_possession(possession(0), key, context)


@pytest.mark.parametrize("place", [0, 31, 32, 60])
def test_another_byte_of_it_proves_nothing(place: int) -> None:
    changed = bytearray(possession(0))
    changed[place] ^= 1
    with pytest.raises(InvalidOpening):
        require_possession(bytes(changed), KEYS[0], b"context")


def test_its_numbers_are_reduced() -> None:
    proof = possession(0)
    response = int.from_bytes(proof[32:], "little") + GROUP_ORDER
    with pytest.raises(InvalidOpening, match="not reduced"):
        require_possession(proof[:32] + response.to_bytes(32, "little"), KEYS[0], b"context")
    with pytest.raises(InvalidOpening, match="64 bytes"):
        require_possession(proof[:-1], KEYS[0], b"context")
