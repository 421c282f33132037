"""Accounting by privacy loss distributions: the engine is `dp-accounting`, an extra.

Adding and removing a unit are both dominated by a fixed pair of distributions, and pairs compose
whatever each release learns from those before (Zhu, Dong, Wang, "Optimal Accounting of
Differential Privacy via Characteristic Function", AISTATS 2022). The engine rounds losses up, so
its epsilon is an upper bound; `interval` says how finely.

This is the only module that imports the engine; that takes seconds, so it does when asked.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from p2pfl.privacy.errors import EngineMissing
from p2pfl.privacy.releases import Releases

Floats = npt.NDArray[np.float64]

INSTALL = "pip install 'p2pfl-peer[privacy]'"


@dataclass(frozen=True)
class LossDistribution:
    """What a number of releases loses, of neighbours one of which has a unit more."""

    _engine: Any

    def epsilon(self, delta: float) -> float:
        """Return an upper bound of epsilon."""
        return float(self._engine.get_epsilon_for_delta(delta))

    def deltas(self, epsilons: Floats) -> Floats:
        """Return upper bounds of delta: float64, as many, for epsilons that do not fall.

        All at once: the engine then walks over all losses once, and not once for each.
        """
        return np.asarray(self._engine.get_delta_for_epsilon(epsilons), dtype=np.float64)


def require_engine() -> None:
    """Make sure that the engine can be imported.

    Raises:
        EngineMissing: it is not installed; the message says how to.
    """
    _engine()


def lose(
    releases: Sequence[Releases], *, interval: float, replacing: bool = False
) -> LossDistribution:
    """Compose releases.

    Args:
        releases: at least one.
        interval: losses are rounded up to multiples of it.
        replacing: neighbours differ by one unit's rows, not by its being there.

    Raises:
        EngineMissing: the engine is not installed.
    """
    engine = _engine()
    relations = engine.NeighboringRelation
    relation = relations.REPLACE_ONE if replacing else relations.ADD_OR_REMOVE_ONE
    parts = [_lose_one(engine, one, relation, interval) for one in releases]
    total = parts[0]
    for part in parts[1:]:
        total = total.compose(part)
    return LossDistribution(total)


def lose_in_several(releases: Releases, units: int, *, interval: float) -> LossDistribution:
    """Compose releases for somebody who is several units, each drawn by itself.

    Raises:
        EngineMissing: the engine is not installed.
    """
    rate = releases.rate
    chances = [
        comb(units, taken) * rate**taken * (1 - rate) ** (units - taken)
        for taken in range(units + 1)
    ]
    engine = _engine()
    one = engine.pld.privacy_loss_distribution.from_mixture_gaussian_mechanism(
        standard_deviation=releases.noise,
        sensitivities=list(range(units + 1)),
        sampling_probs=chances,
        value_discretization_interval=interval,
    )
    return LossDistribution(one.self_compose(releases.count))


def _lose_one(engine: Any, one: Releases, relation: Any, interval: float) -> Any:
    make = engine.pld.privacy_loss_distribution.from_gaussian_mechanism
    settings = {"value_discretization_interval": interval, "neighboring_relation": relation}
    if one.takes_all:  # So many Gaussians are one of less noise, exactly.
        return make(one.noise / math.sqrt(one.count), **settings)
    return make(one.noise, sampling_prob=one.rate, **settings).self_compose(one.count)


def _engine() -> Any:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError as missing:
        raise EngineMissing(
            f"accounting for privacy needs dp-accounting, which is not installed ({missing});"
            f" install it with  {INSTALL}"
        ) from missing
    logging.getLogger("absl").setLevel(logging.ERROR)
    del pld
    return dp_accounting
