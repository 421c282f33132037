# mypy: disable-error-code="no-any-return"
"""How fast peers come to agree, measured on the models they report, against the theory of each.

Whole peers exchange encoded frames in the simulated world (`p2pfl_simulations.exchanges`). Where a
figure is a mean over random draws, the tolerance is four or more standard errors of the mean.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.averaging.age_gossip import AgeGossip
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging
from p2pfl_gossip.averaging.dsgd import Dsgd
from p2pfl_gossip.averaging.epidemic import EpidemicLearning
from p2pfl_gossip.averaging.fedavg import make_fedavg
from p2pfl_gossip.averaging.push_sum import PushSum
from p2pfl_gossip.cohorts import Cohorts, draw_cohorts, draw_grid_cohorts
from p2pfl_gossip.learning import Train
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
from p2pfl_simulations.exchanges import Exchanges, MakeAveraging, contraction, normal_models

SEED = b"theory"
LENGTH = 128


def in_cohorts(draw: Callable[[int], Cohorts]) -> MakeAveraging:
    def make(*, index: int, **member: Any) -> CohortAveraging:
        return CohortAveraging(
            index=index, members_of=lambda round: draw(round).members(index), **member
        )

    return make


def age_gossip(seed: bytes) -> MakeAveraging:
    def make(**member: Any) -> AgeGossip:
        del member["deadline_s"], member["desk"]  # Nobody is waited for.
        return AgeGossip(fanout=1, seed=seed, **member)

    return make


def slowest_mode(topology: Topology) -> tuple[float, npt.NDArray[np.float64]]:
    """Return lambda_2 of a symmetric W, and its eigenvector."""
    values, vectors = np.linalg.eigh(topology.mixing_matrix(0))
    return float(values[-2]), vectors[:, -2]


@pytest.mark.parametrize(
    ("topology", "second"),
    [
        (Ring(100), 1 / 3 + 2 / 3 * math.cos(2 * math.pi / 100)),
        (Torus(100), 1 / 5 + 2 / 5 * (1 + math.cos(2 * math.pi / 10))),
        (Star(100), 1 - 1 / 100),
        (RandomRegular(100, 7, SEED), None),
    ],
    ids=repr,
)
def test_static_graphs_contract_by_the_second_eigenvalue(
    topology: Topology, second: float | None
) -> None:
    found, mode = slowest_mode(topology)
    if second is not None:
        assert found == pytest.approx(second, abs=1e-12)
    # Models that differ along the slowest mode: each round is to shrink them by lambda_2 exactly.
    models = [np.array([3.0 + amplitude]) for amplitude in mode]
    run = Exchanges(models, partial(Dsgd, topology=topology), rounds=10).run()
    shrinking = np.sqrt(run.variances())
    np.testing.assert_allclose(shrinking[1:] / shrinking[:-1], found, rtol=1e-12)


def test_the_ring_of_a_hundred_has_the_published_eigenvalue() -> None:
    assert slowest_mode(Ring(100))[0] == pytest.approx(0.998684, abs=5e-7)


@pytest.mark.parametrize(
    ("topology", "rounds"),
    [
        (Complete(40), 1),
        (OnePeerExponential(64), 6),
        (BaseGraph(25, 1), 9),
        (BaseGraph(25, 2), 6),
        (BaseGraph(100, 1), 11),
        (BaseGraph(100, 2), 8),
        (BaseGraph(97, 4), None),
    ],
    ids=repr,
)
def test_some_graphs_give_the_exact_mean(topology: Topology, rounds: int | None) -> None:
    period = topology.period
    assert period is not None
    assert period == (rounds or period)
    run = Exchanges(
        normal_models(topology.peer_count, LENGTH), partial(Dsgd, topology=topology), rounds=period
    ).run()
    assert run.farthest(period - 1) < 5e-16 * period
    if period > 1:
        assert run.farthest(period - 2) > 0.01


def test_one_peer_exponential_leaves_a_remainder_where_n_is_no_power_of_two() -> None:
    # After 7 rounds a peer has heard 28 of 100 peers twice: sum of (2/128 - 1/100)^2, 28 times,
    # and (1/128 - 1/100)^2, 72 times, is the share of the variance that is left; its root is 3.5%.
    share = 28 * (2 / 128 - 1 / 100) ** 2 + 72 * (1 / 128 - 1 / 100) ** 2
    share *= 100 / 99  # Of the variance around the peers' own mean.
    assert math.sqrt(share) == pytest.approx(0.0353, abs=1e-4)
    values = (
        Exchanges(
            normal_models(100, 1024), partial(Dsgd, topology=OnePeerExponential(100)), rounds=7
        )
        .run()
        .variances()
    )
    assert values[-1] / values[0] == pytest.approx(share, rel=0.05)


def test_epidemic_learning_local() -> None:
    n, fanout = 96, 8
    chance = fanout / (n - 1)
    theory = (1 - (1 - chance) ** n) / fanout - 1 / (n - 1)
    assert theory == pytest.approx(0.1144, abs=5e-5)
    measured = contraction(n, LENGTH, 14, partial(EpidemicLearning, fanout=fanout, seed=SEED))
    assert measured == pytest.approx(theory, rel=0.027)


@pytest.mark.long
def test_epidemic_learning_oracle() -> None:
    n, degree = 96, 8
    theory = (1 - degree / (n - 1)) / (degree + 1)
    assert theory == pytest.approx(0.1018, abs=5e-5)
    topology = RandomRegular(n, degree, SEED, redrawn=True)
    measured = contraction(n, LENGTH, 12, partial(Dsgd, topology=topology))
    assert measured == pytest.approx(theory, rel=0.016)


@pytest.mark.parametrize(("n", "size"), [(96, 8), pytest.param(60, 5, marks=pytest.mark.long)])
def test_disjoint_random_cohorts(n: int, size: int) -> None:
    theory = (n - size) / (size * (n - 1))
    if (n, size) == (96, 8):
        assert theory == pytest.approx(0.1158, abs=5e-5)
    measured = contraction(
        n, LENGTH, 12, in_cohorts(lambda round: draw_cohorts(SEED, round, n, size))
    )
    assert measured == pytest.approx(theory, rel=0.04)


@pytest.mark.parametrize("sides", [(8, 8), (8, 12), (4, 4, 4)])
def test_the_grid_gives_the_exact_mean_after_as_many_rounds_as_sides(
    sides: tuple[int, ...],
) -> None:
    run = Exchanges(
        normal_models(math.prod(sides), LENGTH),
        in_cohorts(lambda round: draw_grid_cohorts(SEED, round, sides)),
        rounds=len(sides),
    ).run()
    assert run.farthest(len(sides) - 1) < 1e-15
    assert run.farthest(len(sides) - 2) > 0.1


def test_federated_averaging_is_exact_in_one_round() -> None:
    run = Exchanges(
        normal_models(40, LENGTH),
        make_fedavg,
        rounds=1,
    ).run()
    assert run.farthest(0) < 1e-15
    np.testing.assert_array_equal(run.after(0), np.tile(run.after(0)[0], (40, 1)))


@pytest.mark.parametrize(
    "topology", [RandomRegular(60, 6, SEED), Star(20), BaseGraph(23, 2)], ids=repr
)
def test_push_sum_mixes_as_its_graph_does_where_nothing_is_lost(topology: Topology) -> None:
    models = normal_models(topology.peer_count, LENGTH)
    by_push_sum = Exchanges(models, partial(PushSum, topology=topology), rounds=12).run()
    by_dsgd = Exchanges(models, partial(Dsgd, topology=topology), rounds=12).run()
    np.testing.assert_allclose(by_push_sum.after(11), by_dsgd.after(11), atol=1e-14)


def test_push_sum_is_exact_on_the_one_peer_exponential_graph() -> None:
    run = Exchanges(
        normal_models(64, LENGTH), partial(PushSum, topology=OnePeerExponential(64)), rounds=6
    ).run()
    assert run.farthest(5) < 1e-14


def test_push_sum_finds_the_mean_though_thirty_percent_of_all_messages_are_lost() -> None:
    run = Exchanges(
        normal_models(24, LENGTH),
        partial(PushSum, topology=RandomRegular(24, 6, SEED)),
        rounds=110,
        loss=0.3,
    ).run()
    assert run.farthest(109) < 1e-12
    assert run.farthest(40) > 1e-8  # It takes its time: this is no accident of exactness.


@pytest.mark.long
def test_push_sum_survives_loss_on_a_directed_graph_that_varies() -> None:
    run = Exchanges(
        normal_models(16, LENGTH),
        partial(PushSum, topology=OnePeerExponential(16)),
        rounds=420,
        loss=0.3,
    ).run()
    assert run.farthest(419) < 1e-12


def test_age_gossip_merges_as_a_poisson_number_of_models_would() -> None:
    # In the second round ages are 2 (own) and 1 (heard), so a merge keeps 2/3. With k models heard
    # the sum of squared weights is q_k = 1/5 + 4/5 (4/9)^k, as q_k = 4/9 q_{k-1} + 1/9; and k is
    # binomial. Models are drawn without replacement: var = (n q - 1) / (n - 1).
    n, seeds = 100, 12
    mean_power = (1 - 5 / 9 / (n - 1)) ** (n - 1)
    theory = (n * (0.2 + 0.8 * mean_power) - 1) / (n - 1)
    measured = []
    for seed in range(seeds):
        models = normal_models(n, LENGTH, seed)
        run = Exchanges(models, age_gossip(bytes([seed])), rounds=2).run()
        values = [np.square(run.after(1) - run.models.mean(axis=0)).mean(), run.variances()[0]]
        measured.append(values[0] / values[1])
    assert np.mean(measured) == pytest.approx(theory, rel=0.045)


def test_age_gossip_brings_peers_of_different_speeds_together() -> None:
    run = Exchanges(
        normal_models(50, LENGTH),
        age_gossip(SEED),
        rounds=40,
        training_s=lambda peer: 1.0 + peer % 4,
    ).run()
    values = run.variances()
    assert values[-1] < 1e-3 * values[0]
    last = run.after(39)
    assert (last.max(axis=0) <= run.models.max(axis=0)).all()
    assert (last.min(axis=0) >= run.models.min(axis=0)).all()


@pytest.mark.long
def test_stochastic_gradient_push_finds_the_optimum_of_all_despite_loss() -> None:
    # Peer i's loss is |x - target_i|^2 / 2: all together have their optimum at the mean target.
    n, rounds = 16, 150
    targets = np.array(normal_models(n, LENGTH, seed=2))

    def train(peer: int, job: Train) -> Vector:
        rate = 0.2 * 0.97**job.round
        return job.vector - rate * (job.vector - targets[peer])

    run = Exchanges(
        normal_models(n, LENGTH),
        partial(PushSum, topology=RandomRegular(n, 4, SEED)),
        rounds=rounds,
        loss=0.2,
        training=train,
    ).run()
    assert np.abs(run.after(rounds - 1) - targets.mean(axis=0)).max() < 0.05
