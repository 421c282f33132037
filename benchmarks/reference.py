"""Does the simulator reach the accuracy that plain arrays reach? The in-house reference.

    ./scripts/bench reference [--quick] [--only NAME ...] [--seeds N] [--save] [--plot]

Fashion-MNIST, 96 peers, Dirichlet(0.1) label skew (peers under 32 rows get 32 random ones more),
MLP 784-64-10 with weights from U(-1/sqrt(inputs), 1/sqrt(inputs)) and zero biases; 600 rounds of
one SGD step on 32 rows drawn with replacement, rate 0.1 and 0.01 from round 450 on, then one
averaging with equal weights. Accuracy is of every peer on all 10,000 test images, after the last
averaging. Everything goes through the peers, by frames.

``--plot`` draws docs/images/reference.svg from the saved curves.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from measuring import (
    RESULTS,
    ROOT,
    Clock,
    Failed,
    Figures,
    describe,
    give,
    machine,
    peak_memory_mb,
    run_apart,
    save,
    say,
    table,
)
from options import positive
from plotting import Curve, draw

PEERS, ROUNDS, EVALUATE_EVERY = 96, 600, 30
TOLERANCE_POINTS = 1.0

NETWORKS: dict[str, dict[str, Any]] = {
    "disjoint cohorts of 8": {"algorithm": "cohorts", "cohort_size": 8, "masking": "none"},
    # Modelled: the models of real masked sums, bit for bit, in a fraction of their time.
    "masked cohorts of 8": {"algorithm": "cohorts", "cohort_size": 8, "masking": "modelled"},
    "masked cohorts of 16, 20% dropout": {
        "algorithm": "cohorts",
        "cohort_size": 16,
        "masking": "modelled",
        "deadline_s": 1.0,
    },
    "EL-7": {"algorithm": "epidemic", "fanout": 7},
    "static 7-regular": {"algorithm": "dsgd", "topology": {"kind": "regular", "degree": 7}},
    "one-peer exponential": {"algorithm": "dsgd", "topology": {"kind": "exponential"}},
    "ring": {"algorithm": "dsgd", "topology": {"kind": "ring"}},
    # The exact mean of all by a server: 190 bodies a round, where one cohort of 96 takes 18,240.
    "full averaging": {"algorithm": "fedavg"},
    "local only": {"algorithm": "none"},
}

FAULTS: dict[str, dict[str, Any]] = {
    # Gone for longer than an exchange takes, and back before the next.
    "masked cohorts of 16, 20% dropout": {
        "dropout": {"probability": 0.2, "offline_s": {"kind": "constant", "mean_s": 0.25}}
    },
}

EXPECTED = {  # Mean and worst peer, seeds.
    "disjoint cohorts of 8": (84.1, 84.0, 3),
    "masked cohorts of 8": (84.1, 84.0, 1),
    "masked cohorts of 16, 20% dropout": (83.8, 80.2, 1),
    "EL-7": (84.1, 83.5, 3),
    "static 7-regular": (84.0, 83.5, 3),
    "one-peer exponential": (82.6, 79.3, 3),
    "ring": (79.5, 73.9, 1),
    "full averaging": (84.6, 84.6, 1),
    "local only": (35.1, 19.2, 1),
}
"""What the same recipe gave as stacked arrays times a mixing matrix, with other random draws and
without peers, frames or a clock: the figures to reach."""

CURVES = {  # Name -> what the plot calls it, and its colours on light and dark ground.
    "full averaging": ("full averaging", "#8a8f98", "#9aa0aa"),
    "disjoint cohorts of 8": ("disjoint cohorts of 8", "#0b66c3", "#58a6ff"),
    "EL-7": ("Epidemic Learning, 7", "#b35900", "#f0a35e"),
    "ring": ("ring", "#1a7f37", "#56d364"),
    "local only": ("every peer alone", "#b62324", "#ff7b72"),
}


def measure(name: str, seed: int, rounds: int) -> Figures:
    """Run one network with one seed."""
    from p2pfl_simulations.running import run
    from p2pfl_simulations.scenario import make_scenario

    scenario = make_scenario(
        {
            "name": name,
            "seed": seed,
            "peers": PEERS,
            "rounds": rounds,
            "checkpoint_every": 0,
            "learning": {
                "task": "fashion-mnist",
                "options": {"hidden": [64], "initialisation": "zero-biases"},
                "partition": {"kind": "dirichlet", "alpha": 0.1, "minimum_rows": 32},
                "held_out": 0,  # As the plain arrays train: on all rows.
                "training": {
                    "learning_rate": 0.1,
                    "schedule": [[450, 0.01]],
                    "batch_size": 32,
                    "steps": 1,
                    "sampling": "replacement",
                },
            },
            "averaging": NETWORKS[name],
            "faults": FAULTS.get(name, {}),
            # With latencies drawn anew for each body, one of a later round may overtake another,
            # and whoever hears it awaits the earlier one no longer: in a ring 2.5% of all bodies
            # were left out. A mixing matrix knows no such thing.
            "network": {"latency": {"kind": "constant", "mean_s": 0.02}},
            "evaluation": {"every": EVALUATE_EVERY, "baselines": []},
        }
    )
    clock = Clock()
    result = run(scenario)
    measured = [row for row in result.rounds if row.common_mean is not None]
    last = measured[-1]
    assert last.round == rounds - 1
    assert last.common_mean is not None
    assert last.common_worst is not None
    return {
        "name": name,
        "seed": seed,
        "mean": 100 * last.common_mean,
        "worst": 100 * last.common_worst,
        "curve": [[row.round + 1, row.common_mean, row.common_worst] for row in measured],
        "lost": sum(row.lost for row in result.rounds),
        "incomplete": sum(row.incomplete for row in result.rounds),
        "frames": result.counters["frames_sent"],
        "bytes_per_peer": result.counters["bytes_sent"] / PEERS,
        "events": result.counters["events"],
        "peak_mb": peak_memory_mb(),
        "digest": result.digest,
        **clock.figures(),
    }


def rows(found: dict[str, list[Figures]], *, is_whole: bool) -> list[tuple[object, ...]]:
    """Return the table's rows, with the distance to what was expected of whole runs."""
    lines: list[tuple[object, ...]] = []
    for name, runs in found.items():
        mean, worst = (sum(run[key] for run in runs) / len(runs) for key in ("mean", "worst"))
        expected_mean, expected_worst, expected_seeds = EXPECTED[name]
        distance = max(abs(mean - expected_mean), abs(worst - expected_worst))
        lines.append(
            (
                name,
                len(runs),
                f"{mean:.1f} / {worst:.1f}",
                f"{expected_mean} / {expected_worst} ({expected_seeds})",
                f"{distance:.1f}",
                ("yes" if distance <= TOLERANCE_POINTS else "NO") if is_whole else "-",
                f"{sum(run['bytes_per_peer'] for run in runs) / len(runs) / 1e6:.0f}",
                f"{sum(run['cpu_s'] for run in runs) / len(runs):.0f}",
            )
        )
    return lines


def plot(found: dict[str, list[Figures]]) -> None:
    """Draw the curves of the first seed."""
    path = ROOT / "docs" / "images" / "reference.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    curves = [
        Curve(label, light, dark, [(r, mean, worst) for r, mean, worst in found[name][0]["curve"]])
        for name, (label, light, dark) in CURVES.items()
        if found.get(name)
    ]
    path.write_text(
        draw(
            curves,
            title="96 peers, skewed labels, no coordinator: test accuracy",
            subtitle="Fashion-MNIST, Dirichlet 0.1; line: mean of the peers, band: down to the"
            " worst peer",
            x_label="rounds (of one SGD step each)",
        )
    )
    say(f"drawn: {path.relative_to(ROOT)}")


def main() -> None:
    """Run the networks, one process each."""
    parser = argparse.ArgumentParser(prog="./scripts/bench reference", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=positive, help="of each network, instead of as expected")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 30 rounds, of which nothing is expected"
    )
    parser.add_argument("--save", action="store_true", help="add to results/reference.json")
    parser.add_argument("--plot", action="store_true", help="draw the saved curves")
    parser.add_argument("--apart", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.apart:
        give(measure(**json.loads(arguments.apart)))
        return
    if arguments.quick and arguments.save:
        parser.error("what --quick gives is not saved")
    rounds = EVALUATE_EVERY if arguments.quick else ROUNDS
    file = RESULTS / "reference.json"
    saved = json.loads(file.read_text())["networks"] if file.is_file() else {}
    if arguments.plot:
        plot(saved)
        return
    print(describe(machine()), end="\n\n", flush=True)
    found: dict[str, list[Figures]] = {}
    for name in arguments.only:
        for seed in range(arguments.seeds or (1 if arguments.quick else EXPECTED[name][2])):
            say(f"{name}, seed {seed}")
            spec = json.dumps({"name": name, "seed": seed, "rounds": rounds})
            try:
                figures = run_apart(Path(__file__), ["--apart", spec], timeout_s=7200)
            except Failed as failure:
                sys.exit(str(failure))
            say(f"  {figures['mean']:.2f} / {figures['worst']:.2f}, {figures['cpu_s']:.0f} CPU-s")
            found.setdefault(name, []).append(figures)
            if arguments.save:
                save("reference", {"networks": {**saved, **found}})
    head = ("network", "seeds", "mean / worst", "expected (seeds)", "points off", "within 1")
    lines = rows(found, is_whole=not arguments.quick)
    print(table((*head, "MB sent a peer", "CPU-s a run"), lines))
    if any(line[5] == "NO" for line in lines):
        sys.exit("a figure is further off than it may be")


if __name__ == "__main__":
    main()
