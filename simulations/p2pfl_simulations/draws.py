"""Draws from a scenario's distributions: one seeded stream per purpose."""

from collections.abc import Callable
from random import Random

import numpy as np

from p2pfl_crypto.hashing import hash_parts
from p2pfl_simulations.scenario import Distribution

BLOCK = 4096
"""Numbers drawn at once: NumPy then costs some 20 ns a number, a tenth of the standard library."""


def stream(seed: int, purpose: str) -> Random:
    """Return the random stream of a purpose."""
    return Random(f"{seed}/{purpose}")


def array_stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random stream of a purpose, for many numbers at once."""
    digest = hash_parts(b"p2pfl/sim-stream", str(seed).encode(), purpose.encode())
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def sampler(distribution: Distribution, rng: np.random.Generator) -> Callable[[], float]:
    """Return a function that draws a duration in seconds."""
    match distribution.kind:
        case "constant":
            mean_s = distribution.mean_s or 0.0
            return lambda: mean_s
        case "uniform":
            low_s, high_s = distribution.low_s or 0.0, distribution.high_s or 0.0
            return _in_blocks(lambda: rng.uniform(low_s, high_s, BLOCK))
        case "exponential":
            mean_s = distribution.mean_s or 0.0
            return _in_blocks(lambda: rng.exponential(mean_s, BLOCK))
        case "lognormal":
            median_s, sigma = distribution.median_s or 1.0, distribution.sigma or 0.0
            return _in_blocks(lambda: median_s * rng.lognormal(0.0, sigma, BLOCK))


def _in_blocks(draw: Callable[[], np.ndarray]) -> Callable[[], float]:
    block: list[float] = []

    def sample() -> float:
        if not block:
            block.extend(draw().tolist()[::-1])
        return block.pop()

    return sample
