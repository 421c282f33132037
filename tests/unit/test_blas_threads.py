"""Figures that do not depend on how many threads BLAS takes: a run gives the same bits anywhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from p2pfl_gossip.averaging.robust.centres import (
    centred_clipping,
    clipped_sum,
    geometric_median,
    self_centred_clipping,
)
from p2pfl_simulations.liars.poisoning import length_of, shortened, stretched
from p2pfl_simulations.results.recorder import _Spread

ENTRIES = 101_770  # OpenBLAS shares as many among its threads.
MODELS = np.random.default_rng(1).standard_normal((11, ENTRIES))
WEIGHTS = np.linspace(0.5, 1.5, 11) / 11


def distance() -> float:
    spread = _Spread()
    for model in MODELS:
        spread.add(model.astype(np.float32))
    return spread.consensus_distance()


FIGURES: dict[str, Callable[[], Any]] = {
    "geometric median": lambda: geometric_median(MODELS),
    "centred clipping": lambda: centred_clipping(MODELS, None),
    "self-centred clipping": lambda: self_centred_clipping(MODELS, 0, WEIGHTS, 0.2, None),
    "clipped sum": lambda: clipped_sum(MODELS, 0, WEIGHTS, 0.2),
    "a liar's length": lambda: [length_of(it) for it in MODELS],
    "a liar's update, made longer": lambda: [stretched(it, 400.0) for it in MODELS],
    "a liar's update, made shorter": lambda: [shortened(it, 0.7) for it in MODELS],
    "consensus distance": distance,
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_the_same_bits_whatever_the_threads_of_blas(name: str) -> None:
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            found.append(np.asarray(FIGURES[name](), np.float64).tobytes())
    assert found[0] == found[1] == found[2]
