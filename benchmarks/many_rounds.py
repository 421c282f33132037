"""What the sums of many rounds tell of each member: least squares, by whoever has all sums.

    ./scripts/bench many-rounds [--members 32] [--rounds 80]

Members train on digits, rows unevenly split (Dirichlet, alpha 0.5), 4 steps of 32 rows a round. A
curious member takes who is in each sum and what each sum is, which the ledger and the models tell
all members, and solves for what each member gives on average, less what all have in common.
Printed: the median cosine of that with the truth, and how many members it fits best.

- by chance: each member is away from a round with a chance of 5 %;
- one each round: leaders that lie leave out one member after the other;
- n - t at random: leaders leave out as many as a list bears;
- cohorts of 8: no group, but cohorts drawn anew in each round, of whose sums one has all.
"""

import argparse
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from measuring import table
from options import at_least, positive

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations import make_scenario

Floats = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]  # Who is in a sum, by member.
COHORT_SIZE, AWAY, SMOOTHED = 8, 0.05, 5


def main() -> int:
    """Train, attack, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", type=positive, default=32)
    parser.add_argument("--rounds", type=at_least(2), default=80)
    options = parser.parse_args()
    if options.members % COHORT_SIZE:
        parser.error(f"--members has to be a multiple of {COHORT_SIZE}, for the cohorts")
    updates = _train(options.members, options.rounds)
    size, rng = options.members, np.random.default_rng(0)
    least = 2 * size // 3 + 1
    whole: dict[str, Callable[[int], list[Present]]] = {
        "group, by chance": lambda _round: [rng.random(size) >= AWAY],
        "group, one each round": lambda round_: [np.arange(size) != round_ % size],
        "group, n - t at random": lambda _round: [rng.permutation(size) < least],
        f"cohorts of {COHORT_SIZE}": lambda _round: [
            np.isin(np.arange(size), cohort)
            for cohort in np.split(rng.permutation(size), size // COHORT_SIZE)
        ],
    }
    lengths = [rounds for rounds in (20, 40, 80, 160) if rounds <= options.rounds]
    lengths = lengths or [options.rounds]
    rows = []
    for name, draw in whole.items():
        inside = [draw(round_) for round_ in range(options.rounds)]
        cells = []
        for rounds in lengths:
            cosine, found = _solve(updates[:, :rounds], inside[:rounds])
            cells.append(f"{cosine:.2f}, {found} of {size}")
        rows.append([name, *cells])
    print(f"{size} members, digits: median cosine, and members that were found")
    print(table(["sums", *(f"{rounds} rounds" for rounds in lengths)], rows))
    return 0


def _train(size: int, rounds: int) -> Floats:
    """Return what each member gives in each round: float[size, rounds, d]."""
    scenario = make_scenario(
        {
            "peers": size,
            "rounds": rounds,
            "learning": {
                "task": "digits",
                "training": {"steps": 4, "learning_rate": 0.1},
                "partition": {"kind": "dirichlet", "alpha": 0.5},
            },
        }
    )
    learner = make_learner(scenario.learning, peer_count=size, seed=1, folder=None)
    model = learner.initial_vector().astype(np.float32)
    found = np.empty((size, rounds, len(model)))
    for round_ in range(rounds):
        jobs = [(peer, Train(round_, model, f"many/{peer}/train/{round_}")) for peer in range(size)]
        for peer, result in enumerate(learner.run(jobs)):
            assert isinstance(result, Trained)
            found[peer, round_] = result.vector.astype(np.float64) - model
        model = (model + found[:, round_].mean(axis=0)).astype(np.float32)
    return found


def _solve(updates: Floats, inside: list[list[npt.NDArray[np.bool_]]]) -> tuple[float, int]:
    size = len(updates)
    members, sums, of = [], [], []
    for round_, parts in enumerate(inside):
        for part in parts:
            members.append(part.astype(float))
            sums.append(updates[part, round_].sum(axis=0))
            of.append(round_)
    of_round, counts = np.array(of), np.array(members).sum(axis=1, keepdims=True)
    means = np.array(sums) / counts
    # What all have in common drifts with the rounds: the mean over some around it is a guess.
    common = [means[abs(of_round - round_) <= SMOOTHED].mean(axis=0) for round_ in of]
    matrix, off = np.array(members), np.array(sums) - counts * np.array(common)
    found = np.linalg.solve(matrix.T @ matrix + np.eye(size), matrix.T @ off)
    truth = updates.mean(axis=1)
    found, truth = found - found.mean(axis=0), truth - truth.mean(axis=0)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    fits = found @ truth.T
    return float(np.median(np.diag(fits))), int((fits.argmax(axis=1) == np.arange(size)).sum())


if __name__ == "__main__":
    raise SystemExit(main())
