"""What private rounds reach through simulated peers: small tables, epsilon 1 to 8.

    ./scripts/bench private-utility --peers 8 16 --epsilons 1 2 4 8 --tasks digits breast-cancer

Each run is a whole simulation: lots, noise, masked sums, certificates. Every member is there, and
u_min is t, the most noise that the claim allows for; p = 1/16, 200 rounds, clip 1, as the design's
table. Learning rates are those of its note on small data (0.5 to 2), chosen by nobody's test rows.
Prints the accuracy on common test rows, which nobody trains on, beside that of all rows without
noise. A run takes some minutes; start it with nice.
"""

import argparse
from typing import Any

from measuring import table

from p2pfl_gossip.ledger.privacy import RATE_UNITS
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import make_scenario

RATES = {"digits": 2.0, "breast-cancer": 1.0}


def accuracy(task: str, peers: int, epsilon: float, seed: int, rounds: int) -> float:
    """Return the last model's accuracy on common test rows."""
    privacy: dict[str, Any] = {
        "epsilon": epsilon,
        "rate": "1/16",
        "spares": 0,
        "least": 2 * peers // 3 + 1,
        "learning_rate": RATES[task],
    }
    document: dict[str, Any] = {
        "name": f"{task}-{peers}-{epsilon:g}",
        "seed": seed,
        "peers": peers,
        "rounds": rounds,
        "learning": {"task": task, "held_out": 0.01},
        "averaging": {"algorithm": "group", "masking": "modelled"},
        "evaluation": {"every": rounds, "peers": 1, "baselines": []},
        "privacy": privacy,
    }
    result = run(make_scenario(document))
    return float(result.rounds[-1].common_mean)


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(RATES), choices=list(RATES))
    parser.add_argument("--peers", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    rows = []
    for task in arguments.tasks:
        for peers in arguments.peers:
            cells = [f"{task}, n = {peers}"]
            for epsilon in arguments.epsilons:
                found = [
                    accuracy(task, peers, epsilon, seed, arguments.rounds)
                    for seed in range(1, arguments.seeds + 1)
                ]
                cells.append(f"{sum(found) / len(found):.3f}")
                print(cells[0], epsilon, cells[-1], flush=True)
            rows.append(cells)
    print(f"rates are multiples of 1/{RATE_UNITS}")
    print(table(["", *(f"epsilon {it:g}" for it in arguments.epsilons)], rows))


if __name__ == "__main__":
    main()
