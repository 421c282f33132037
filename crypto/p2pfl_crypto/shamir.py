"""Threshold shares of a scalar (Shamir, CACM 1979) over Z_L, L the order of the Ed25519 group.

The arithmetic is libsodium's, which is designed to take the same time for every value; Python's
integers are not. A share's x is 1 + the holder's rank: x = 0 would be the secret itself.

Whether shares lie on one polynomial is tested with a random word of the dual code (Cascudo &
David, SCRAPE, ACNS 2017, lemma 1): one product a share, where interpolating each left-over share
would take `threshold` products.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nacl.bindings import (
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
)

from p2pfl_crypto.hashing import hash_parts

SCALAR_BYTES = 32
WIDE_BYTES = 64
"""Entropy for one scalar: twice its length, so that the reduction leaves no bias (2^-260)."""
SHARE_COUNT_MAX = 1024  # Far above any cohort; bounds the quadratic work of a rebuild.
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_ZERO = bytes(SCALAR_BYTES)


class InvalidShare(ValueError):
    """A share is no scalar, or there are too few of them."""


class InconsistentShares(ValueError):
    """The shares do not lie on one polynomial: whoever dealt them cheated."""


def scalar_of(entropy: bytes) -> bytes:
    """Reduce 64 uniform bytes to a uniform scalar modulo L (32 bytes, little-endian)."""
    if len(entropy) != WIDE_BYTES:
        raise ValueError(f"a scalar is drawn from {WIDE_BYTES} bytes, not {len(entropy)}")
    return crypto_core_ed25519_scalar_reduce(entropy)


def require_scalar(scalar: bytes) -> None:
    """Refuse what is not the one encoding of a scalar modulo L.

    Raises:
        InvalidShare: not 32 bytes, or a number of L or more.
    """
    if len(scalar) != SCALAR_BYTES:
        raise InvalidShare(f"a scalar has {SCALAR_BYTES} bytes, not {len(scalar)}")
    if crypto_core_ed25519_scalar_reduce(scalar + bytes(WIDE_BYTES - SCALAR_BYTES)) != scalar:
        raise InvalidShare("the scalar is not reduced modulo L")


def entropy_bytes_for(threshold: int) -> int:
    """Count the bytes of entropy that `share_secret` takes at this threshold."""
    return (threshold - 1) * WIDE_BYTES


def share_secret(secret: bytes, threshold: int, xs: Sequence[int], entropy: bytes) -> list[bytes]:
    """Split a secret so that any `threshold` shares restore it and fewer say nothing.

    Args:
        secret: scalar modulo L, 32 bytes.
        threshold: number of shares that restore it, at least 1.
        xs: distinct points of the holders, 1 <= x < L.
        entropy: `entropy_bytes_for(threshold)` uniform secret bytes, used for nothing else.

    Returns:
        The share of each x, 32 bytes.

    Raises:
        ValueError: the threshold or a point is out of range, or the entropy has another length.
    """
    require_scalar(secret)
    points = _points(xs)
    if not 1 <= threshold <= len(xs):
        raise ValueError(f"a threshold of {threshold} among {len(xs)} holders")
    if len(entropy) != entropy_bytes_for(threshold):
        raise ValueError(
            f"a threshold of {threshold} takes {entropy_bytes_for(threshold)} bytes of entropy"
        )
    coefficients = [secret] + [
        scalar_of(entropy[start : start + WIDE_BYTES])
        for start in range(0, len(entropy), WIDE_BYTES)
    ]
    return [_evaluate(coefficients, point) for point in points]


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Rebuilds many secrets from shares of the same holders; the weights are worked out once.

    Attributes:
        xs: points of the holders, at least `threshold` of them.
        threshold: number of shares that restore a secret.
        weights: Lagrange weights at 0 of the first `threshold` points.
        duals: 1 / prod(x_i - x_j) over all other holders j, for the test of consistency.
    """

    xs: tuple[int, ...]
    threshold: int
    weights: tuple[bytes, ...]
    duals: tuple[int, ...]

    @classmethod
    def of(cls, xs: Iterable[int], threshold: int) -> "Rebuilder":
        """Work out the weights for holders `xs`.

        Raises:
            InvalidShare: fewer holders than the threshold.
            ValueError: a point is out of range or comes twice.
        """
        holders = tuple(xs)
        if threshold < 1:
            raise ValueError(f"a threshold of {threshold}")
        if len(holders) < threshold:
            raise InvalidShare(f"{len(holders)} shares, and {threshold} restore a secret")
        _points(holders)
        # Points are public, so these are Python's integers, which are faster and not constant-time.
        weights = []
        for x in holders[:threshold]:
            others = [other for other in holders[:threshold] if other != x]
            above, below = math.prod(others), math.prod(other - x for other in others)
            weights.append(_encode(above * pow(below, -1, GROUP_ORDER)))
        duals = [
            pow(math.prod(x - other for other in holders if other != x), -1, GROUP_ORDER)
            for x in (holders if len(holders) > threshold else ())
        ]
        return cls(holders, threshold, tuple(weights), tuple(duals))

    def rebuild(self, shares: Mapping[int, bytes]) -> bytes:
        """Restore a secret.

        Args:
            shares: share by x, one for each of `xs`.

        Returns:
            The secret, 32 bytes.

        Raises:
            InvalidShare: a share is missing or no scalar.
            InconsistentShares: the shares do not lie on one polynomial of degree threshold - 1.
        """
        values = []
        for x in self.xs:
            if x not in shares:
                raise InvalidShare(f"the share at {x} is missing")
            require_scalar(shares[x])
            values.append(shares[x])
        if self.duals:
            self._require_one_polynomial(values)
        return _inner_product(self.weights, values[: self.threshold])

    def _require_one_polynomial(self, values: list[bytes]) -> None:
        # The dealer must not know the word before its shares are fixed, so they are hashed into it.
        degree = len(self.xs) - self.threshold - 1
        seed = hash_parts(b"p2pfl/dual", *values)
        coefficients = [
            int.from_bytes(
                hash_parts(b"p2pfl/dual-low", seed, k.to_bytes(4, "little"))
                + hash_parts(b"p2pfl/dual-high", seed, k.to_bytes(4, "little")),
                "little",
            )
            % GROUP_ORDER
            for k in range(degree + 1)
        ]
        word = []
        for x, dual in zip(self.xs, self.duals, strict=True):
            value = 0
            for coefficient in reversed(coefficients):
                value = (value * x + coefficient) % GROUP_ORDER
            word.append(_encode(value * dual))
        if _inner_product(word, values) != _ZERO:
            raise InconsistentShares("the shares do not lie on one polynomial")


def _encode(number: int) -> bytes:
    return (number % GROUP_ORDER).to_bytes(SCALAR_BYTES, "little")


def _points(xs: Sequence[int]) -> list[bytes]:
    if len(xs) > SHARE_COUNT_MAX:
        raise ValueError(f"at most {SHARE_COUNT_MAX} shares, not {len(xs)}")
    if len(dict.fromkeys(xs)) != len(xs):
        raise ValueError("a point comes twice")
    for x in xs:
        if not 1 <= x < GROUP_ORDER:
            raise ValueError(f"x = {x}: a point is at least 1, since 0 holds the secret itself")
    return [x.to_bytes(SCALAR_BYTES, "little") for x in xs]


def _evaluate(coefficients: Sequence[bytes], point: bytes) -> bytes:
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:  # Horner
        value = crypto_core_ed25519_scalar_mul(value, point)
        value = crypto_core_ed25519_scalar_add(value, coefficient)
    return value


def _inner_product(left: Sequence[bytes], right: Sequence[bytes]) -> bytes:
    total = _ZERO
    for a, b in zip(left, right, strict=True):
        total = crypto_core_ed25519_scalar_add(total, crypto_core_ed25519_scalar_mul(a, b))
    return total
