"""Threshold shares of a scalar (Shamir, CACM 1979) over Z_L, L the order of the Ed25519 group.

A share's x is 1 + the holder's rank: x = 0 would be the secret itself. Dealing, rebuilding and the
test of consistency are one thing: a matrix of public numbers times a matrix of secret scalars. The
products are those of 16-bit limbs in binary64, which is exact, and the reduction modulo L is
libsodium's: as with a loop over libsodium's scalars, which takes 25 times as long, neither branches
nor addresses depend on a secret. Python's integers hold public numbers only.

Whether shares lie on one polynomial is tested with a random word of the dual code (Cascudo &
David, SCRAPE, ACNS 2017, lemma 1): one product a share, where interpolating each left-over share
would take `threshold` products.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from nacl.bindings import crypto_core_ed25519_scalar_reduce

from p2pfl_crypto.hashing import hash_parts

SCALAR_BYTES = 32
WIDE_BYTES = 64
"""Entropy for one scalar: twice its length, so that the reduction leaves no bias (2^-260)."""
SHARE_COUNT_MAX = 255  # Above any cohort; a sum of 255 products of scalars still fits 64 bytes.
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_ZERO = bytes(SCALAR_BYTES)
_LIMBS = 16  # Of 16 bits each.
_MATRICES_KEPT = 4  # Of powers of points, which are public, and the same in each round of a cohort.

Limbs = npt.NDArray[np.float64]


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
    # The comparison ends at the first digit that differs from L's, which is nearly always the top.
    if int.from_bytes(scalar, "little") >= GROUP_ORDER:
        raise InvalidShare("the scalar is not reduced modulo L")


def _require_scalars(scalars: Sequence[bytes]) -> None:
    """Refuse, as `require_scalar` does, whichever of many is no scalar."""
    if set(map(len, scalars)) == {SCALAR_BYTES}:
        # What is below 2^252 is below L, and of scalars drawn at random all but 2^-128 are.
        tops = np.frombuffer(b"".join(scalars), np.uint8)[SCALAR_BYTES - 1 :: SCALAR_BYTES]
        if not (tops >> 4).any():
            return
    for scalar in scalars:
        require_scalar(scalar)


def entropy_bytes_for(threshold: int) -> int:
    """Count the bytes of entropy that `share_secrets` takes for each secret."""
    return (threshold - 1) * WIDE_BYTES


def share_secrets(
    secrets: Sequence[bytes], threshold: int, xs: Sequence[int], entropy: bytes
) -> list[list[bytes]]:
    """Split secrets so that any `threshold` shares of one restore it and fewer say nothing.

    Args:
        secrets: scalars modulo L, 32 bytes each.
        threshold: number of shares that restore one, at least 1.
        xs: distinct points of the holders, 1 <= x < L.
        entropy: `entropy_bytes_for(threshold)` uniform secret bytes for each secret, in order,
            used for nothing else.

    Returns:
        For each secret, the share of each x, 32 bytes.

    Raises:
        ValueError: the threshold or a point is out of range, or the entropy has another length.
    """
    for secret in secrets:
        require_scalar(secret)
    _require_points(xs)
    if not 1 <= threshold <= len(xs):
        raise ValueError(f"a threshold of {threshold} among {len(xs)} holders")
    wanted = len(secrets) * entropy_bytes_for(threshold)
    if len(entropy) != wanted:
        raise ValueError(f"{len(secrets)} secrets at {threshold} take {wanted} bytes of entropy")
    drawn = [
        scalar_of(entropy[start : start + WIDE_BYTES])
        for start in range(0, len(entropy), WIDE_BYTES)
    ]
    polynomials = [
        [secret, *drawn[place * (threshold - 1) : (place + 1) * (threshold - 1)]]
        for place, secret in enumerate(secrets)
    ]
    by_holder = _products(_power_limbs(tuple(xs), threshold), _limbs(polynomials))
    return [list(shares) for shares in zip(*by_holder, strict=True)]


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
        _require_points(holders)
        # Points are public, so these are Python's integers, which are faster and not constant-time.
        first = holders[:threshold]
        above = math.prod(first)
        inverses = _inverses([math.prod(other - x for other in first if other != x) for x in first])
        weights = [
            _encode(above // x * inverse) for x, inverse in zip(first, inverses, strict=True)
        ]
        duals = _inverses(
            [
                math.prod(x - other for other in holders if other != x)
                for x in (holders if len(holders) > threshold else ())
            ]
        )
        return cls(holders, threshold, tuple(weights), tuple(duals))

    def rebuild(self, shares: Mapping[int, bytes]) -> bytes:
        """Restore one secret, as `rebuild_all` does."""
        return self.rebuild_all([shares])[0]

    def rebuild_all(self, dealings: Sequence[Mapping[int, bytes]]) -> list[bytes]:
        """Restore many secrets.

        Args:
            dealings: for each secret its shares by x, one for each of `xs`.

        Returns:
            The secrets, 32 bytes each.

        Raises:
            InvalidShare: a share is missing or no scalar.
            InconsistentShares: some secret's shares do not lie on one polynomial of degree
                threshold - 1.
        """
        values = [self._values(shares) for shares in dealings]
        if not values:
            return []
        _require_scalars([share for shares in values for share in shares])
        if self.duals:
            for shares in values:
                self._require_one_polynomial(shares)
        first = [shares[: self.threshold] for shares in values]
        return _products(_limbs([self.weights]), _limbs(first))[0]

    def _values(self, shares: Mapping[int, bytes]) -> list[bytes]:
        try:
            return [shares[x] for x in self.xs]
        except KeyError as missing:
            raise InvalidShare(f"the share at {missing} is missing") from None

    def dual_word(self, values: Sequence[bytes]) -> list[bytes]:
        """Draw a word of the dual code by the shares: times theirs it is 0 if they are consistent.

        The dealer must not know the word before its shares are fixed, so they are hashed into it.
        With n holders and threshold t, H the two hashes of 32 bytes and v_i = `duals`:
        w_i = v_i * sum_k c_k x_i^k for k < n - t, c_k = H("p2pfl/dual-low", seed, LE32(k)) +
        2^256 H("p2pfl/dual-high", seed, LE32(k)), and seed = H("p2pfl/dual", shares in order).

        Args:
            values: the shares of one secret in order of `xs`, 32 bytes each; more of them than
                `threshold`.

        Returns:
            One scalar for each share.
        """
        seed = hash_parts(b"p2pfl/dual", *values)
        coefficients = [
            int.from_bytes(
                hash_parts(b"p2pfl/dual-low", seed, k.to_bytes(4, "little"))
                + hash_parts(b"p2pfl/dual-high", seed, k.to_bytes(4, "little")),
                "little",
            )
            % GROUP_ORDER
            for k in range(len(self.xs) - self.threshold)
        ]
        word = []
        for x, dual in zip(self.xs, self.duals, strict=True):
            value = 0
            for coefficient in reversed(coefficients):
                value = (value * x + coefficient) % GROUP_ORDER
            word.append(_encode(value * dual))
        return word

    def _require_one_polynomial(self, values: list[bytes]) -> None:
        if _products(_limbs([self.dual_word(values)]), _limbs([values])) != [[_ZERO]]:
            raise InconsistentShares("the shares do not lie on one polynomial")


def _encode(number: int) -> bytes:
    return (number % GROUP_ORDER).to_bytes(SCALAR_BYTES, "little")


def _require_points(xs: Sequence[int]) -> None:
    if len(xs) > SHARE_COUNT_MAX:
        raise ValueError(f"at most {SHARE_COUNT_MAX} shares, not {len(xs)}")
    if len(dict.fromkeys(xs)) != len(xs):
        raise ValueError("a point comes twice")
    for x in xs:
        if not 1 <= x < GROUP_ORDER:
            raise ValueError(f"x = {x}: a point is at least 1, since 0 holds the secret itself")


def _powers(x: int, count: int) -> list[int]:
    powers = [1]
    while len(powers) < count:
        powers.append(powers[-1] * x % GROUP_ORDER)
    return powers


@lru_cache(maxsize=_MATRICES_KEPT)
def _power_limbs(xs: tuple[int, ...], count: int) -> Limbs:
    """Return the first `count` powers of each point, as `_limbs` has them; read-only."""
    limbs = _limbs([[_encode(power) for power in _powers(x, count)] for x in xs])
    limbs.flags.writeable = False
    return limbs


def _inverses(numbers: Sequence[int]) -> list[int]:
    """Invert many numbers modulo L at the cost of one inversion (Montgomery, 1987)."""
    before = [1]
    for number in numbers:
        before.append(before[-1] * number % GROUP_ORDER)
    inverse = pow(before[-1], -1, GROUP_ORDER)
    inverses = []
    for number, product in zip(reversed(numbers), reversed(before[:-1]), strict=True):
        inverses.append(inverse * product % GROUP_ORDER)
        inverse = inverse * number % GROUP_ORDER
    return inverses[::-1]


def _products(left: Limbs, right: Limbs) -> list[list[bytes]]:
    """Multiply each row by each column: inner products modulo L of at most 255 scalars.

    Args:
        left: rows, as `_limbs` writes them.
        right: columns, likewise.
    """
    row_count, column_count = len(left), len(right)
    # Sums of 255 products of two limbs stay below 2^40, so that binary64 holds them exactly. One
    # small product for each pair: BLAS shares a large one among threads, which then spin for work.
    terms = left.transpose(0, 2, 1)[:, None] @ right[None]
    by_limb = terms.astype(np.int64)
    wide = np.zeros((row_count, column_count, 2 * _LIMBS), np.int64)
    for place in range(_LIMBS):
        wide[:, :, place : place + _LIMBS] += by_limb[:, :, place]
    for place in range(2 * _LIMBS - 1):  # Carry.
        wide[:, :, place + 1] += wide[:, :, place] >> 16
        wide[:, :, place] &= 0xFFFF
    numbers = wide.astype("<u2").tobytes()
    reduced = [
        scalar_of(numbers[start : start + WIDE_BYTES])
        for start in range(0, len(numbers), WIDE_BYTES)
    ]
    return [reduced[start : start + column_count] for start in range(0, len(reduced), column_count)]


def _limbs(scalars: Sequence[Sequence[bytes]]) -> Limbs:
    """Write scalars as 16-bit limbs, the lowest first: float64[rows, length, 16]."""
    joined = b"".join([scalar for row in scalars for scalar in row])
    limbs = np.frombuffer(joined, "<u2").astype(np.float64)
    return limbs.reshape(len(scalars), -1, _LIMBS)
