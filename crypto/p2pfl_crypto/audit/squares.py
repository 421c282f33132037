"""Any number as a sum of four squares.

Source: Rabin & Shallit, "Randomized algorithms in number theory", Comm. Pure Appl. Math. 1986.
"""

import math
from collections.abc import Callable

_BY_TRIAL_MAX = 4096  # Below it, random tries find no primes to speak of.
_BASES = (2, 3, 5, 7, 11, 13)

FourSquares = tuple[int, int, int, int]


def four_squares(number: int, below: Callable[[int], int]) -> FourSquares:
    """Find four numbers whose squares add up to `number`.

    Args:
        number: at least 0.
        below: gives uniform random numbers below its argument. The time taken depends on them.

    Raises:
        ValueError: the number is negative.
    """
    if number < 0:
        raise ValueError("a negative number is no sum of squares")
    shift = 0
    while number and number % 4 == 0:
        number, shift = number // 4, shift + 1
    found = _by_trial(number) if number < _BY_TRIAL_MAX else _by_chance(number, below)
    one, two, three, four = (root << shift for root in found)
    return one, two, three, four


def _by_trial(number: int) -> FourSquares:
    for one in range(math.isqrt(number), -1, -1):
        for two in range(math.isqrt(number - one * one), -1, -1):
            rest = number - one * one - two * two
            for three in range(math.isqrt(rest), -1, -1):
                four = math.isqrt(rest - three * three)
                if three * three + four * four == rest:
                    return one, two, three, four
    raise AssertionError("Lagrange: every number is a sum of four squares")


def _by_chance(number: int, below: Callable[[int], int]) -> FourSquares:
    """Take two squares away until a prime is left that is 1 modulo 4: a sum of two squares."""
    while True:
        one = below(math.isqrt(number) + 1)
        two = below(math.isqrt(number - one * one) + 1)
        rest = number - one * one - two * two
        if rest % 4 != 1:
            continue
        pair = _two_squares(rest)
        if pair is not None:
            return one, two, *pair


def _two_squares(prime: int) -> tuple[int, int] | None:
    """Write a number as two squares if it is a prime of the form 4k + 1 (Cornacchia, 1908)."""
    if any(prime > base and pow(base, prime - 1, prime) != 1 for base in _BASES[:3]):
        return None  # Fermat's test. A composite that passes fails below.
    for base in _BASES:
        root = pow(base, (prime - 1) // 4, prime)
        if root * root % prime == prime - 1:
            break
    else:
        return None
    high, low = prime, root
    while low * low > prime:
        high, low = low, high % low
    other = math.isqrt(prime - low * low)
    return (low, other) if low * low + other * other == prime else None
