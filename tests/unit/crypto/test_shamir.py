"""Shares against plain integer Lagrange interpolation, which nobody here wrote into shamir.py."""

import hashlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfl_crypto.shamir import (
    GROUP_ORDER,
    InconsistentShares,
    InvalidShare,
    Rebuilder,
    entropy_bytes_for,
    scalar_of,
    share_secrets,
)


def integer(scalar: bytes) -> int:
    return int.from_bytes(scalar, "little")


def scalar(number: int) -> bytes:
    return (number % GROUP_ORDER).to_bytes(32, "little")


def interpolate(points: dict[int, int], at: int) -> int:
    """Lagrange's formula with Python's integers."""
    total = 0
    for x, y in points.items():
        numerator = denominator = 1
        for other in points:
            if other != x:
                numerator = numerator * (at - other) % GROUP_ORDER
                denominator = denominator * (x - other) % GROUP_ORDER
        total += y * numerator * pow(denominator, -1, GROUP_ORDER)
    return total % GROUP_ORDER


@st.composite
def dealings(draw: st.DrawFn) -> tuple[bytes, int, list[int], list[bytes], Random]:
    count = draw(st.integers(1, 14))
    threshold = draw(st.integers(1, count))
    random = Random(draw(st.integers(0, 2**32)))
    xs = random.sample(range(1, 40), count)
    secret = scalar(random.getrandbits(300))
    entropy = random.randbytes(entropy_bytes_for(threshold))
    return secret, threshold, xs, share_secrets([secret], threshold, xs, entropy)[0], random


@given(dealings())
def test_any_threshold_of_shares_restore_as_integer_lagrange_does(
    dealing: tuple[bytes, int, list[int], list[bytes], Random],
) -> None:
    secret, threshold, xs, shares, random = dealing
    held = dict(zip(xs, shares, strict=True))
    for size in (threshold, len(xs), random.randint(threshold, len(xs))):
        chosen = random.sample(xs, size)
        rebuilt = Rebuilder.of(chosen, threshold).rebuild(held)
        assert rebuilt == secret
        points = {x: integer(held[x]) for x in chosen[:threshold]}
        assert interpolate(points, 0) == integer(secret)


@given(dealings())
def test_the_shares_are_values_of_the_polynomial_that_the_entropy_gives(
    dealing: tuple[bytes, int, list[int], list[bytes], Random],
) -> None:
    _, threshold, xs, _, random = dealing
    entropy = random.randbytes(entropy_bytes_for(threshold))
    secret = scalar(random.getrandbits(300))
    coefficients = [integer(secret)] + [
        int.from_bytes(entropy[i : i + 64], "little") for i in range(0, len(entropy), 64)
    ]
    expected = [sum(c * x**k for k, c in enumerate(coefficients)) % GROUP_ORDER for x in xs]
    assert [integer(s) for s in share_secrets([secret], threshold, xs, entropy)[0]] == expected


@given(dealings())
def test_one_share_less_fits_every_secret(
    dealing: tuple[bytes, int, list[int], list[bytes], Random],
) -> None:
    secret, threshold, xs, shares, _ = dealing
    held = dict(zip(xs[: threshold - 1], shares[: threshold - 1], strict=True))
    with pytest.raises(InvalidShare):
        Rebuilder.of(held, threshold)
    # Whatever other secret is claimed, some polynomial passes through it and all these shares.
    other = (integer(secret) + 1) % GROUP_ORDER
    points = {0: other} | {x: integer(y) for x, y in held.items()}
    completed = held | {99: scalar(interpolate(points, 99))}
    if threshold > 1:
        assert integer(Rebuilder.of(completed, threshold).rebuild(completed)) == other


@given(dealings(), st.data())
def test_a_share_off_the_polynomial_is_seen_when_there_is_one_to_spare(
    dealing: tuple[bytes, int, list[int], list[bytes], Random], data: st.DataObject
) -> None:
    _, threshold, xs, shares, random = dealing
    held = dict(zip(xs, shares, strict=True))
    liar = data.draw(st.sampled_from(xs))
    held[liar] = scalar(integer(held[liar]) + random.randint(1, 2**200))
    if len(xs) > threshold:
        with pytest.raises(InconsistentShares):
            Rebuilder.of(xs, threshold).rebuild(held)


def test_a_word_that_is_known_beforehand_does_not_pass() -> None:
    # Errors orthogonal to the plain dual word 1 / prod(x_i - x_j) would pass a fixed check.
    xs, threshold = [1, 2, 3, 4, 5], 2
    (shares,) = share_secrets([scalar(7)], threshold, xs, bytes(range(64)))
    dual = []
    for x in xs:
        below = 1
        for other in xs:
            if other != x:
                below = below * (x - other) % GROUP_ORDER
        dual.append(pow(below, -1, GROUP_ORDER))
    errors = [dual[1], -dual[0] % GROUP_ORDER, 0, 0, 0]
    assert sum(e * d for e, d in zip(errors, dual, strict=True)) % GROUP_ORDER == 0
    held = {
        x: scalar(integer(share) + error)
        for x, share, error in zip(xs, shares, errors, strict=True)
    }
    with pytest.raises(InconsistentShares):
        Rebuilder.of(xs, threshold).rebuild(held)


@pytest.mark.parametrize(("count", "threshold"), [(2, 1), (4, 3), (5, 2), (9, 4)])
def test_the_word_of_the_dual_code_is_that_of_the_formula(count: int, threshold: int) -> None:
    def digest(label: bytes, *parts: bytes) -> bytes:
        text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        return hashlib.blake2b(text, digest_size=32, person=label).digest()

    xs = [3 * place + 2 for place in range(count)]
    shares = [scalar(1000 + 7**x) for x in xs]  # On no polynomial: the word is fixed all the same.
    seed = digest(b"p2pfl/dual", *shares)
    expected = []
    for x in xs:
        below = 1
        for other in xs:
            below *= x - other if other != x else 1
        polynomial = 0
        for k in range(count - threshold):
            low, high = (
                integer(digest(label, seed, k.to_bytes(4, "little")))
                for label in (b"p2pfl/dual-low", b"p2pfl/dual-high")
            )
            polynomial += (low + 2**256 * high) * x**k
        expected.append(scalar(polynomial * pow(below, -1, GROUP_ORDER)))
    assert Rebuilder.of(xs, threshold).dual_word(shares) == expected
    with pytest.raises(ValueError, match="shorter"):  # No share to spare, so no word.
        Rebuilder.of(xs[:threshold], threshold).dual_word(shares[:threshold])


@pytest.mark.parametrize(("count", "threshold"), [(2, 1), (3, 1), (3, 2), (7, 4), (7, 1)])
def test_shares_of_a_polynomial_of_one_degree_more_are_refused(count: int, threshold: int) -> None:
    # A test with one coefficient less would take just these.
    xs = list(range(1, count + 1))
    entropy = Random(5).randbytes(entropy_bytes_for(threshold + 1))
    (shares,) = share_secrets([scalar(7)], threshold + 1, xs, entropy)
    with pytest.raises(InconsistentShares):
        Rebuilder.of(xs, threshold).rebuild(dict(zip(xs, shares, strict=True)))


@pytest.mark.parametrize("x", [0, -1, GROUP_ORDER])
def test_a_point_at_zero_would_be_the_secret_and_is_refused(x: int) -> None:
    with pytest.raises(ValueError, match="point"):
        share_secrets([scalar(5)], 2, [1, x], bytes(64))


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        share_secrets([scalar(5)], 2, [1, 1], bytes(64))
    with pytest.raises(ValueError, match="threshold"):
        share_secrets([scalar(5)], 3, [1, 2], bytes(128))
    with pytest.raises(ValueError, match="entropy"):
        share_secrets([scalar(5)], 2, [1, 2], bytes(63))
    with pytest.raises(InvalidShare, match="reduced"):
        share_secrets([GROUP_ORDER.to_bytes(32, "little")], 1, [1], b"")
    with pytest.raises(InvalidShare, match="bytes"):
        Rebuilder.of([1], 1).rebuild({1: b""})
    with pytest.raises(InvalidShare, match="missing"):
        Rebuilder.of([1], 1).rebuild({})


def test_many_secrets_are_dealt_and_restored_as_one_by_one() -> None:
    random = Random(3)
    secrets, xs, threshold = [scalar(random.getrandbits(300)) for _ in range(5)], [9, 2, 4, 7], 3
    size = entropy_bytes_for(threshold)
    entropy = random.randbytes(5 * size)
    dealt = share_secrets(secrets, threshold, xs, entropy)
    for place, secret in enumerate(secrets):
        part = entropy[place * size : (place + 1) * size]
        assert dealt[place : place + 1] == share_secrets([secret], threshold, xs, part)
    dealings = [dict(zip(xs, shares, strict=True)) for shares in dealt]
    assert Rebuilder.of(xs, threshold).rebuild_all(dealings) == secrets
    dealings[3][7] = scalar(1)
    with pytest.raises(InconsistentShares):
        Rebuilder.of(xs, threshold).rebuild_all(dealings)
    assert Rebuilder.of(xs, threshold).rebuild_all([]) == []


def test_the_largest_scalars_at_the_largest_threshold_lose_no_carry() -> None:
    # Every coefficient is L - 1, and so is every other power of x = L - 1.
    largest, xs = GROUP_ORDER - 1, list(range(GROUP_ORDER - 255, GROUP_ORDER))
    entropy = scalar(largest).ljust(64, b"\0") * 254
    (shares,) = share_secrets([scalar(largest)], 255, xs, entropy)
    for x, share in zip(xs[-3:], shares[-3:], strict=True):
        power, expected = 1, 0
        for _ in range(255):
            expected += largest * power
            power = power * x % GROUP_ORDER
        assert integer(share) == expected % GROUP_ORDER
    assert Rebuilder.of(xs, 255).rebuild(dict(zip(xs, shares, strict=True))) == scalar(largest)


def test_scalars_are_reduced_as_integers_are() -> None:
    for text in (b"", b"a", b"b"):
        wide = hashlib.sha512(text).digest()
        assert integer(scalar_of(wide)) == integer(wide) % GROUP_ORDER


def test_bounds_of_a_rebuilder() -> None:
    with pytest.raises(ValueError, match="a threshold of 0"):
        Rebuilder.of([1, 2], 0)
    with pytest.raises(ValueError, match="a threshold of 0"):
        share_secrets([scalar(5)], 0, [1, 2], b"")
    with pytest.raises(InvalidShare, match="2 shares, and 3 restore"):
        Rebuilder.of([1, 2], 3)
    with pytest.raises(ValueError, match="twice"):
        Rebuilder.of([1, 2, 1], 2)
    for x in (0, GROUP_ORDER):
        with pytest.raises(ValueError, match=f"x = {x}: a point"):
            Rebuilder.of([1, x], 2)
    Rebuilder.of([1, GROUP_ORDER - 1], 1)
    # Without a share to spare there is nothing to test, and nothing is worked out for it.
    assert Rebuilder.of([1, 2], 2).duals == ()
    assert len(Rebuilder.of([1, 2, 3], 2).duals) == 3


def test_the_largest_scalar_is_one_and_the_next_number_is_not() -> None:
    largest = (GROUP_ORDER - 1).to_bytes(32, "little")
    assert share_secrets([largest], 1, [1], b"") == [[largest]]
    assert Rebuilder.of([1], 1).rebuild({1: largest}) == largest
    for wrong in (GROUP_ORDER.to_bytes(32, "little"), b"\xff" * 32, largest[:-1], largest + b"\0"):
        with pytest.raises(InvalidShare):
            Rebuilder.of([1], 1).rebuild({1: wrong})


@pytest.mark.parametrize("count", [1, 2, 3])
def test_weights_and_duals_are_those_of_lagranges_formula(count: int) -> None:
    xs = [5, 2, 11, 7][: count + 1]
    rebuilder = Rebuilder.of(xs, count)
    for x, weight in zip(xs[:count], rebuilder.weights, strict=True):
        above = below = 1
        for other in xs[:count]:
            if other != x:
                above, below = above * -other, below * (x - other)
        assert integer(weight) * below % GROUP_ORDER == above % GROUP_ORDER
    for x, dual in zip(xs, rebuilder.duals, strict=True):
        below = 1
        for other in xs:
            below *= x - other if other != x else 1
        assert dual * below % GROUP_ORDER == 1


def test_entropy_of_another_length_is_no_scalar() -> None:
    for length in (0, 32, 63, 65):
        with pytest.raises(ValueError, match="a scalar is drawn from 64 bytes"):
            scalar_of(bytes(length))
    assert entropy_bytes_for(1) == 0
    assert entropy_bytes_for(4) == 192


def test_the_largest_scalar_is_a_share_and_the_next_number_is_none() -> None:
    """Nearly all scalars are below 2^252, where a look at the top digit is enough."""
    largest = (GROUP_ORDER - 1).to_bytes(32, "little")
    small = (1).to_bytes(32, "little")
    rebuilder = Rebuilder.of([1, 2], 2)
    for shares in ({1: largest, 2: small}, {1: small, 2: largest}):
        values = [int.from_bytes(shares[x], "little") for x in (1, 2)]
        expected = (2 * values[0] - values[1]) % GROUP_ORDER
        assert rebuilder.rebuild(shares) == expected.to_bytes(32, "little")
    for number in (GROUP_ORDER, 2**253, 2**256 - 1):
        with pytest.raises(InvalidShare):
            rebuilder.rebuild_all(
                [{1: small, 2: small}, {1: small, 2: number.to_bytes(32, "little")}]
            )
    with pytest.raises(InvalidShare):
        rebuilder.rebuild({1: small, 2: small[:-1]})
    with pytest.raises(InvalidShare):
        rebuilder.rebuild({1: small + b"\0", 2: small[:-1]})
