"""Draws from a scenario's distributions: one seeded stream per purpose."""

from collections.abc import Callable
from random import Random

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.hashing import hash_parts
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.world_settings import Distribution

BLOCK = 4096
"""Numbers drawn at once: NumPy then costs some 20 ns a number, a tenth of the standard library."""


def stream(seed: int, purpose: str) -> Random:
    """Return the random stream of a purpose."""
    return Random(f"{seed}/{purpose}")


def array_stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random stream of a purpose, for many numbers at once."""
    digest = hash_parts(b"p2pfl/sim-stream", str(seed).encode(), purpose.encode())
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def drawer(
    distribution: Distribution, rng: np.random.Generator
) -> Callable[[int], npt.NDArray[np.float64]]:
    """Return a function that draws so many durations in seconds at once."""
    match distribution.kind:
        case "constant":
            mean_s = distribution.mean_s or 0.0
            return lambda count: np.full(count, mean_s)
        case "uniform":
            low_s, high_s = distribution.low_s or 0.0, distribution.high_s or 0.0
            return lambda count: rng.uniform(low_s, high_s, count)
        case "exponential":
            mean_s = distribution.mean_s or 0.0
            return lambda count: rng.exponential(mean_s, count)
        case "lognormal":
            median_s, sigma = distribution.median_s or 1.0, distribution.sigma or 0.0
            return lambda count: median_s * rng.lognormal(0.0, sigma, count)


def sampler(distribution: Distribution, rng: np.random.Generator) -> Callable[[], float]:
    """Return a function that draws a duration in seconds."""
    if distribution.kind == "constant":
        mean_s = distribution.mean_s or 0.0
        return lambda: mean_s
    draw, block = drawer(distribution, rng), list[float]()

    def sample() -> float:
        if not block:
            block.extend(draw(BLOCK).tolist()[::-1])
        return block.pop()

    return sample


def evaluated_peers(scenario: Scenario) -> frozenset[int]:
    """Draw the peers whose models are evaluated."""
    count = scenario.evaluation.peers
    if count is None or count >= scenario.peers:
        return frozenset(range(scenario.peers))
    return frozenset(stream(scenario.seed, "evaluated").sample(range(scenario.peers), count))
