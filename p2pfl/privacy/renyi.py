"""Accounting by Renyi divergences: our own line, and the check of every other figure.

For integer orders a, one release with noise z and rate p has

    (a - 1) D_a = log sum over k of C(a, k) (1 - p)^(a - k) p^k exp((k^2 - k) / (2 z^2))

(Mironov, Talwar, Zhang, "Renyi Differential Privacy of the Sampled Gaussian Mechanism", 2019,
section 3.3). Their theorem is of real noise. **It holds of our integers too, with equality**: for
an integer shift u and noise D on the integers, the sum over x of D(x - u)^k D(x)^(1 - k) is
exp((k^2 - k) |u|^2 / (2 sigma^2)) times the sum over x of exp(-|x - k u|^2 / (2 sigma^2)), which
is the same for every integer k u. So the moments of integer orders are those of real noise; and
x -> u - x swaps the two neighbours, which is all that their proof that the other direction is no
larger needs of the noise.

The noise of h members sums to D up to a factor of exp(10 h exp(-pi^2 sigma_m^2)) an entry, for
both neighbours together (Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism",
ICML 2021): no difference at all for sigma_m above 87,000. For two draws, of deviations s and t,
completing the square leaves the wanted weight of z times a sum of exp(-(x - c)^2 / (2 r^2)) over
the integers x, where c goes by z and r^2 = s^2 t^2 / (s^2 + t^2). By Poisson's formula that sum
varies with c by a factor of less than exp(5 exp(-2 pi^2 r^2)). Of k draws and one more, r^2 is
sigma_m^2 k / (k + 1), at least a half of it; and h draws are h - 1 such steps.

Divergences of one order add up over releases that follow each other, whatever each learns from
those before (Mironov, "Renyi Differential Privacy", CSF 2017). What (D_a, a) says of epsilon is
from Canonne, Kamath, Steinke, NeurIPS 2020 (and Balle et al., AISTATS 2020):

    epsilon = D_a + log((a - 1) / a) - (log delta + log a) / (a - 1).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from p2pfl.privacy.releases import RATE_UNITS, Releases

Floats = npt.NDArray[np.float64]

ORDERS: tuple[int, ...] = (*range(2, 129), 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024)
_LOG_FACTORIALS = np.array([math.lgamma(number + 1) for number in range(max(ORDERS) + 1)])


def divergences(releases: Sequence[Releases]) -> Floats:
    """Return D_a of all these releases together, for each of `ORDERS`: float64[orders]."""
    total = np.zeros(len(ORDERS))
    for one in releases:
        total += one.count * np.array(_curve(one.rate_units, one.noise))
    return total


def divergence(releases: Releases, order: int) -> float:
    """Return D_a of these releases, of one integer order."""
    return releases.count * _of_order(releases.rate_units, releases.noise, order)


def epsilon_of(divergence_of_order: Floats, delta: float) -> float:
    """Return the least epsilon that divergences of `ORDERS` give, not below 0."""
    orders = np.array(ORDERS, float)
    found = divergence_of_order + np.log1p(-1 / orders)
    found -= (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(found.min()))


def budget_of(order: int, epsilon: float, delta: float) -> float:
    """Return the divergence of one order that (epsilon, delta) allows; negative if none."""
    return epsilon - math.log1p(-1 / order) + (math.log(delta) + math.log(order)) / (order - 1)


def best_order(epsilon: float, delta: float) -> int:
    """Return the order by which plain Gaussian noise gets most out of (epsilon, delta)."""
    # A Gaussian has D_a = a s: the largest s that an order allows.
    return max(ORDERS, key=lambda order: budget_of(order, epsilon, delta) / order)


@lru_cache(maxsize=4096)
def _curve(rate_units: int, noise: float) -> tuple[float, ...]:
    return tuple(_of_order(rate_units, noise, order) for order in ORDERS)


@lru_cache(maxsize=65536)
def _of_order(rate_units: int, noise: float, order: int) -> float:
    if rate_units == RATE_UNITS:
        return order / (2 * noise**2)
    rate = rate_units / RATE_UNITS
    taken = np.arange(order + 1)
    terms = _LOG_FACTORIALS[order] - _LOG_FACTORIALS[taken] - _LOG_FACTORIALS[order - taken]
    terms += (order - taken) * math.log1p(-rate) + taken * math.log(rate)
    terms += (taken.astype(float) ** 2 - taken) / (2 * noise**2)
    largest = float(terms.max())
    moment = largest + math.log(math.fsum(np.exp(terms - largest)))
    return max(0.0, moment) / (order - 1)
