"""How fast peers come to agree, measured on the models they report, beside the theory of each.

    ./scripts/bench theory

Whole peers exchange encoded frames in the simulated world; nothing is trained. Prints the table of
docs/algorithms.md. tests/simulation/test_theory.py holds every row to its tolerance.
"""

import argparse
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from p2pfl_gossip.averaging.age_gossip import AgeGossip
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.push_sum import PushSum
from p2pfl_gossip.cohorts import draw_cohorts, draw_grid_cohorts
from p2pfl_gossip.topology import (
    BaseGraph,
    Complete,
    OnePeerExponential,
    RandomRegular,
    Ring,
    Star,
    Topology,
    Torus,
)
from p2pfl_simulations.exchanges import Exchanges, contraction, normal_models

SEED = b"theory"
LENGTH = 128
Row = tuple[str, str, str]


def in_cohorts(draw: Any, *, index: int, **member: Any) -> CohortAveraging:
    """Make a machine whose cohorts are drawn by `draw(round)`."""
    return CohortAveraging(
        index=index, members_of=lambda round: draw(round=round).members(index), **member
    )


def age_gossip(seed: bytes, **member: Any) -> AgeGossip:
    """Make a machine that sends to one peer a round, and waits for nobody."""
    del member["deadline_s"], member["desk"]
    return AgeGossip(fanout=1, seed=seed, **member)


def eigenvalues() -> Iterator[Row]:
    """Static graphs: how much of its slowest mode a round leaves."""
    formulas: list[tuple[str, Topology, float | None]] = [
        ("ring, n=100", Ring(100), 1 / 3 + 2 / 3 * math.cos(2 * math.pi / 100)),
        ("torus 10 x 10", Torus(100), 1 / 5 + 2 / 5 * (1 + math.cos(2 * math.pi / 10))),
        ("star, n=100", Star(100), 1 - 1 / 100),
        ("7-regular, n=100", RandomRegular(100, 7, SEED), None),
    ]
    for name, topology, formula in formulas:
        numbers, vectors = np.linalg.eigh(topology.mixing_matrix(0))
        models = [np.array([3.0 + entry]) for entry in vectors[:, -2]]
        run = Exchanges(models, partial(Dsgd, topology=topology), rounds=10).run()
        values = np.sqrt(run.variances())
        theory = f"{formula:.6f}" if formula else f"{numbers[-2]:.6f} (of this graph)"
        yield f"{name}: lambda_2", theory, f"{float((values[-1] / values[0]) ** 0.1):.6f}"


def exact_means() -> Iterator[Row]:
    """Sequences of graphs that reach the exact mean: how far the farthest entry is from it."""
    for name, topology in (
        ("complete, n=40", Complete(40)),
        ("one-peer exponential, n=64", OnePeerExponential(64)),
        ("Base-2, n=25", BaseGraph(25, 1)),
        ("Base-3, n=25", BaseGraph(25, 2)),
        ("Base-2, n=100", BaseGraph(100, 1)),
        ("Base-3, n=100", BaseGraph(100, 2)),
    ):
        rounds = topology.period
        assert rounds is not None
        models = normal_models(topology.peer_count, LENGTH)
        run = Exchanges(models, partial(Dsgd, topology=topology), rounds=rounds).run()
        left = run.farthest(rounds - 1)
        yield f"{name}: left after {rounds} rounds", "0", f"{left:.0e}"
    for sides in ((8, 8), (8, 12), (4, 4, 4)):
        grid = partial(in_cohorts, partial(draw_grid_cohorts, SEED, sides=sides))
        run = Exchanges(normal_models(math.prod(sides), LENGTH), grid, rounds=len(sides)).run()
        name = " x ".join(map(str, sides))
        left = run.farthest(len(sides) - 1)
        yield f"grid {name}: left after {len(sides)} rounds", "0", f"{left:.0e}"
    exponential = partial(Dsgd, topology=OnePeerExponential(100))
    values = Exchanges(normal_models(100, 1024), exponential, rounds=7).run().variances()
    yield (
        "one-peer exponential, n=100: rms left after 7 rounds",
        "3.53%",
        f"{100 * math.sqrt(values[-1] / values[0]):.2f}%",
    )


def contractions() -> Iterator[Row]:
    """Random exchanges: what a round leaves of the variance of independent models."""
    n, s = 96, 8
    local = (1 - (1 - s / (n - 1)) ** n) / s - 1 / (n - 1)
    measured = contraction(n, LENGTH, 40, partial(EpidemicLearning, fanout=s, seed=SEED))
    yield "EL-Local, n=96, s=8: variance a round", f"{local:.4f}", f"{measured:.4f}"
    oracle = (1 - s / (n - 1)) / (s + 1)
    redrawn = partial(Dsgd, topology=RandomRegular(n, s, SEED, redrawn=True))
    measured = contraction(n, LENGTH, 40, redrawn)
    yield "EL-Oracle, n=96, s=8: variance a round", f"{oracle:.4f}", f"{measured:.4f}"
    disjoint = (n - s) / (s * (n - 1))
    drawn = partial(draw_cohorts, SEED, peer_count=n, cohort_size=s)
    measured = contraction(n, LENGTH, 40, partial(in_cohorts, drawn))
    yield "disjoint cohorts, n=96, g=8: variance a round", f"{disjoint:.4f}", f"{measured:.4f}"
    mean_power = (1 - 5 / 9 / 99) ** 99
    theory = (100 * (0.2 + 0.8 * mean_power) - 1) / 99
    shares = []
    for seed in range(30):
        make = partial(age_gossip, bytes([seed]))
        run = Exchanges(normal_models(100, LENGTH, seed), make, rounds=2).run()
        left = np.square(run.after(1) - run.models.mean(axis=0)).mean()
        shares.append(left / run.variances()[0])
    yield (
        "age gossip, n=100, fanout 1: variance, second round",
        f"{theory:.4f}",
        f"{float(np.mean(shares)):.4f}",
    )


def push_sums() -> Iterator[Row]:
    """Push-sum under loss: how far the farthest entry is from the mean of all initial models."""
    for name, topology, rounds in (
        ("8-regular, n=100", RandomRegular(100, 8, SEED), 110),
        ("one-peer exponential, n=32", OnePeerExponential(32), 420),
    ):
        models = normal_models(topology.peer_count, LENGTH)
        make = partial(PushSum, topology=topology)
        run = Exchanges(models, make, rounds=rounds, loss=0.3).run()
        yield (
            f"push-sum, {name}, 30% loss: error after {rounds} rounds",
            "below 1e-12",
            f"{run.farthest(rounds - 1):.0e}",
        )


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    print("| measured | theory | by exchange of frames |\n|---|---|---|")
    for rows in (eigenvalues, exact_means, contractions, push_sums):
        for row in rows():
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
