"""How fast the simulator trains, beside others, on one task.

    ./scripts/bench simulate [--quick] [--save] [--only PART ...]

Fashion-MNIST, an MLP of 784-128-10 (101,770 parameters), IID rows over 1,000 peers, SGD with rate
0.1 and batches of 32, one local epoch a round, cohorts of 8. Parts: ``contest`` (ours and others,
taking turns), ``variants`` (jitter, slow peers, churn), ``growth`` (100 to 10,000 peers), ``large``
(10,000 peers, each with a model of its own), ``where`` (what the time goes into).
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from environments import NotInstallable, python_of
from measuring import (
    RESULTS,
    Failed,
    Figures,
    describe,
    machine,
    median,
    run_apart,
    save,
    say,
    spread,
    table,
    take_turns,
)

SIDES = Path(__file__).resolve().parent / "sides"
PEERS, ROUNDS = 1000, 5
REPETITIONS = 3

VARIANTS: dict[str, dict[str, Any]] = {
    "as above": {},
    "latency jitter: lognormal, sigma 1.5": {
        "network": {"latency": {"kind": "lognormal", "median_s": 0.02, "sigma": 1.5}}
    },
    "speeds spread 4x": {"compute": {"speed_spread": 4.0}},
    "10% of the peers churn": {
        "checkpoint_every": 1,
        "averaging": {
            "algorithm": "cohorts",
            "cohort_size": 8,
            "masking": "none",
            "deadline_s": 0.5,
        },
        "faults": {
            "churn": {
                "share": 0.1,
                "session_s": {"kind": "exponential", "mean_s": 0.3},
                "offline_s": {"kind": "exponential", "mean_s": 0.3},
            }
        },
    },
}

LARGE: dict[str, dict[str, Any]] = {
    "Fashion-MNIST, 6 rows a peer": {"rows_per_peer": 6},
    "Fashion-MNIST, 60 rows a peer": {"rows_per_peer": 60},
    "digits, 14 rows a peer": {"task": "digits", "rows_per_peer": 14},
}


def ours(**spec: Any) -> Figures:
    """Run our side once."""
    return run_apart(SIDES / "ours.py", [json.dumps(spec)])


def contest(repetitions: int, folder: Path, names: list[str]) -> dict[str, Any]:
    """Let all contestants train the same task, in turns."""
    data = str(folder / "task.npz")
    run_apart(SIDES / "data.py", [data, json.dumps({"peers": PEERS})])

    def other(script: str, python: Path | None = None, **spec: Any) -> Any:
        arguments = [data, json.dumps({"peers": PEERS, "rounds": ROUNDS, **spec})]
        return lambda: run_apart(SIDES / script, arguments, python=python)

    contestants: dict[str, Any] = {
        "p2pfl, cohorts of 8": lambda: ours(peers=PEERS, rounds=ROUNDS),
        "a plain torch loop": other("torch_loop.py"),
    }
    for name, label, script, spec in (
        ("pfl", "pfl 0.6.0 (server, no gossip)", "with_pfl.py", {}),
        ("gossipy", "gossipy 0.0.1 (pairs)", "with_gossipy.py", {}),
        ("flower", "Flower on Ray", "with_flower.py", {"rounds": 2, "cohort": 100}),
    ):
        if name in names:
            try:
                contestants[label] = other(script, python_of(name), **spec)
            except NotInstallable as reason:
                say(f"{label}: not installed: {reason}")
    taken = {name: runs for name, runs in take_turns(contestants, repetitions).items() if runs}
    first = next(iter(taken))
    reference = median(taken[first], "updates_per_s")
    rows = []
    for name, runs in taken.items():
        rate = median(runs, "updates_per_s")
        cpu = "-"
        if "cpu_s" in runs[0]:
            cpu = f"{sorted(run['updates'] / run['cpu_s'] for run in runs)[len(runs) // 2]:,.0f}"
        accuracy = f"{median(runs, 'accuracy'):.1%}" if "accuracy" in runs[0] else "-"
        memory = f"{median(runs, 'peak_mb'):,.0f}"
        others = f"{reference / rate:.2f}"
        rows.append((name, spread(runs, "updates_per_s"), others, cpu, memory, accuracy))
    print(
        table(
            (
                f"{PEERS:,} peers, median of {repetitions}",
                "updates/s (range)",
                "ours is x times",
                "updates/CPU-s",
                "peak MB",
                "accuracy",
            ),
            rows,
        )
    )
    run = taken[first][0]
    print(
        f"\nFrames {run['frames']:,.0f} (formula {run['frames_by_formula']:,}), bytes"
        f" {run['bytes']:,.0f} (formula {run['bytes_by_formula']:,}) in {ROUNDS} rounds; evaluation"
        f" of 10 peers on 2,000 rows took {median(taken[first], 'evaluation_s'):.2f} s beside;"
        f" mean batch {run['mean_batch']:.0f}; {run['batching']}.\n"
    )
    if (run["frames"], run["bytes"]) != (run["frames_by_formula"], run["bytes_by_formula"]):
        raise SystemExit("frames or bytes differ from the formula")
    return taken


def variants(repetitions: int) -> dict[str, Any]:
    """Run ours with what makes rounds uneven."""
    taken = take_turns(
        {
            name: (partial(ours, peers=PEERS, rounds=ROUNDS, settings=settings))
            for name, settings in VARIANTS.items()
        },
        repetitions,
    )
    print(
        table(
            ("variant", "updates/s (range)", "updates/CPU-s", "mean batch", "rounds lost", "MB"),
            (
                (
                    name,
                    spread(runs, "updates_per_s"),
                    f"{median(runs, 'updates') / median(runs, 'cpu_s'):,.0f}",
                    f"{median(runs, 'mean_batch'):.0f}",
                    f"{median(runs, 'lost'):.0f} of {PEERS * ROUNDS:,}",
                    f"{median(runs, 'peak_mb'):,.0f}",
                )
                for name, runs in taken.items()
                if runs
            ),
        ),
        end="\n\n",
    )
    return taken


def growth(repetitions: int) -> dict[str, Any]:
    """Run ours with more and more peers."""
    counts = (100, 300, 1000, 3000, 10_000)
    taken = take_turns(
        {
            f"{peers:,}": (
                partial(ours, peers=peers, rounds=2 if peers > PEERS else ROUNDS, rows_per_peer=60)
            )
            for peers in counts
        },
        repetitions,
    )
    print(_table_by_size("peers (60 rows each)", taken), end="\n\n")
    return taken


def large() -> dict[str, Any]:
    """Run ours with 10,000 peers, two rounds."""
    taken = take_turns(
        {name: (partial(ours, peers=10_000, rounds=2, **spec)) for name, spec in LARGE.items()},
        1,
    )
    print(_table_by_size("10,000 peers, two rounds", taken), end="\n\n")
    return taken


def where() -> Figures:
    """Sample where the time goes."""
    run = ours(peers=PEERS, rounds=ROUNDS, sample=True)
    print(
        table(
            ("where the wall time goes", "share"),
            ((part, f"{share:.0%}") for part, share in run["shares"].items()),
        ),
        end="\n\n",
    )
    return run


def _table_by_size(title: str, taken: dict[str, list[Figures]]) -> str:
    return table(
        (
            title,
            "updates/s",
            "updates/CPU-s",
            "CPU-s",
            "peak MB",
            "frames",
            "GB",
            "events",
            "as formula",
        ),
        (
            (
                name,
                f"{median(runs, 'updates_per_s'):,.0f}",
                f"{median(runs, 'updates') / median(runs, 'cpu_s'):,.0f}",
                f"{median(runs, 'cpu_s'):.1f}",
                f"{median(runs, 'peak_mb'):,.0f}",
                f"{runs[0]['frames']:,.0f}",
                f"{runs[0]['bytes'] / 1e9:.2f}",
                f"{runs[0]['events']:,.0f}",
                "yes"
                if (runs[0]["frames"], runs[0]["bytes"])
                == (runs[0]["frames_by_formula"], runs[0]["bytes_by_formula"])
                else "NO",
            )
            for name, runs in taken.items()
            if runs
        ),
    )


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="./scripts/bench simulate", description=__doc__)
    parts = ("contest", "variants", "growth", "large", "where")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--others", nargs="*", default=["pfl", "gossipy"], help="and flower")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--quick", action="store_true", help="one repetition, ours and pfl alone")
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/simulate.json"
    )
    arguments = parser.parse_args()
    repetitions = 1 if arguments.quick else arguments.repetitions
    others = ["pfl"] if arguments.quick else arguments.others
    print(describe(machine()), end="\n\n", flush=True)
    found: Figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for part in arguments.only:
                if part == "contest":
                    found[part] = contest(repetitions, Path(folder), others)
                elif part == "variants":
                    found[part] = variants(repetitions)
                elif part == "growth":
                    found[part] = growth(1)
                elif part == "large":
                    found[part] = large()
                else:
                    found[part] = where()
    except Failed as failure:
        raise SystemExit(str(failure)) from None
    if arguments.save:
        file = RESULTS / "simulate.json"  # Parts of earlier runs stay.
        earlier = json.loads(file.read_text()) if file.is_file() else {}
        save("simulate", {**earlier, **found, "machine": machine()})


if __name__ == "__main__":
    main()
