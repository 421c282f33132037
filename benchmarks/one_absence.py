"""What two sums of a group tell of a member that is in one of them only: no liar, no chosen list.

    ./scripts/bench one-absence

Members go on from one model in rounds r and r + 1, and one of them is absent in the second, by
chance. The difference of the two sums is its update, and what the others' updates changed between.
Printed: the cosine of that difference with the update; how often the absent member is the one whose
update it fits best; and the same where the curious one is a member and takes its own updates out.
Masks hide nothing of this: both sums are what the group makes public to its members. Only noise
bounds it.
"""

import argparse
from collections.abc import Mapping
from statistics import median

import numpy as np
import numpy.typing as npt
from options import at_least, natural

from p2pfl.learner.learner import make_learner
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations import make_scenario

Update = npt.NDArray[np.float64]

TRAININGS = {
    "one full batch": {"steps": 1, "batch_size": 4096},
    "2 steps of 32 rows": {"steps": 2},
    "8 steps of 32 rows": {"steps": 8},
    "20 steps of 32 rows": {"steps": 20},
}


def main() -> int:
    """Train, take differences, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=at_least(5), default=16)
    parser.add_argument("--warm-up", type=natural, default=3, help="rounds before the two")
    options = parser.parse_args()
    print(f"{options.peers} members, digits; medians over all members as the absent one")
    print(f"{'training':24} {'cosine':>8} {'identified':>11}")
    for name, training in TRAININGS.items():
        cosines, hits = _differences(options.peers, options.warm_up, training)
        print(f"{name:24} {median(cosines):8.2f} {hits:>8} of {len(cosines)}")
    return 0


def _differences(
    peers: int, warm_up: int, training: Mapping[str, float]
) -> tuple[list[float], int]:
    scenario = make_scenario(
        {
            "peers": peers,
            "rounds": warm_up + 2,
            "learning": {"task": "digits", "training": {"learning_rate": 0.1, **training}},
        }
    )
    learner = make_learner(scenario.learning, peer_count=peers, seed=1, folder=None)
    model = learner.initial_vector().astype(np.float32)
    sums: list[list[Update]] = []
    for round_ in range(warm_up + 2):
        jobs = [
            (peer, Train(round_, model, f"absence/{peer}/train/{round_}")) for peer in range(peers)
        ]
        updates = []
        for result in learner.run(jobs):
            assert isinstance(result, Trained)
            updates.append(result.vector.astype(np.float64) - model)
        sums.append(updates)
        model = (model + np.sum(updates, axis=0) / peers).astype(np.float32)
    first, second = sums[-2], sums[-1]
    cosines, hits = [], 0
    for absent in range(peers):
        difference = np.sum(first, axis=0) - (np.sum(second, axis=0) - second[absent])
        fits = [_cosine(difference, update) for update in first]
        cosines.append(fits[absent])
        hits += int(np.argmax(fits)) == absent
    return cosines, hits


def _cosine(one: Update, other: Update) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


if __name__ == "__main__":
    raise SystemExit(main())
