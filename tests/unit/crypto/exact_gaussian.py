"""The discrete Gaussian by exact rational coins: Canonne, Kamath, Steinke 2020, algorithms 1 to 3.

Slow, and without any rounding. `random` gives uniform integers; nothing else is random here.
"""

import math
from fractions import Fraction
from random import Random


def exact_draw(variance: Fraction, random: Random) -> int:
    """Draw an integer with P(x) proportional to exp(-x^2 / (2 variance))."""
    scale = math.isqrt(math.floor(variance)) + 1
    while True:
        candidate = _laplace(scale, random)
        distance = abs(candidate) - variance / scale
        if _coin_of_exponential(distance**2 / (2 * variance), random):
            return candidate


def _laplace(scale: int, random: Random) -> int:
    """Draw an integer with P(x) proportional to exp(-|x| / scale)."""
    while True:
        part = random.randrange(scale)
        if not _coin_of_exponential(Fraction(part, scale), random):
            continue
        whole = 0
        while _coin_of_exponential(Fraction(1), random):
            whole += 1
        magnitude = part + scale * whole
        is_negative = random.randrange(2) == 1
        if not (is_negative and magnitude == 0):  # Or zero would come twice as often.
            return -magnitude if is_negative else magnitude


def _coin_of_exponential(exponent: Fraction, random: Random) -> bool:
    """Toss a coin that is heads with probability exp(-exponent), exponent >= 0."""
    while exponent > 1:
        if not _coin_of_exponential(Fraction(1), random):
            return False
        exponent -= 1
    tosses = 1
    while _coin(exponent / tosses, random):
        tosses += 1
    return tosses % 2 == 1


def _coin(chance: Fraction, random: Random) -> bool:
    return random.randrange(chance.denominator) < chance.numerator
