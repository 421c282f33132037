"""How fast the simulator trains, beside others, on one task.

    ./scripts/bench simulate [--quick] [--save] [--only PART ...] [--before COMMIT]

Fashion-MNIST, an MLP of 784-128-10 (101,770 parameters), IID rows over 1,000 peers, SGD with rate
0.1 and batches of 32, one local epoch a round, cohorts of 8. Parts: ``contest`` (ours and others,
taking turns), ``variants`` (jitter, slow peers, churn), ``growth`` (100 to 10,000 peers), ``large``
(10,000 peers, each with a model of its own), ``where`` (what the time goes into). With ``--before``
an earlier commit of ours takes turns with us, and ratios are told.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from earlier import Earlier, add_before, earlier_code, ratios
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
from options import positive

SIDES = Path(__file__).resolve().parent / "sides"
PEERS, PEERS_MAX, ROUNDS = 1000, 10_000, 5
REPETITIONS = 3
COMPARED = {"cpu_s": "CPU seconds", "peak_mb": "peak memory"}

Contestants = dict[str, Callable[[], Figures]]

OTHERS: dict[str, tuple[str, str, dict[str, int]]] = {
    "pfl": ("pfl 0.6.0 (server, no gossip)", "with_pfl.py", {}),
    "gossipy": ("gossipy 0.0.1 (pairs)", "with_gossipy.py", {}),
    "flower": ("Flower on Ray", "with_flower.py", {"rounds": 2, "cohort": 100}),
}
"""What else trains the task: its name for people, its script, and what differs."""

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


def ours(earlier: Earlier | None = None, **spec: Any) -> Figures:
    """Run our side once, as it is or as it was."""
    if earlier is None:
        return run_apart(SIDES / "ours.py", [json.dumps(spec)])
    script, environment = earlier.script("sides/ours.py"), earlier.environment
    return run_apart(script, [json.dumps(spec)], environment=environment)


def our_turns(specs: dict[str, dict[str, Any]], earlier: Earlier | None) -> Contestants:
    """Return our contestants by their names; the earlier code follows each, if there is any."""
    found: Contestants = {}
    for name, spec in specs.items():
        found[name] = partial(ours, **spec)
        if earlier is not None:
            found[earlier.label(name)] = partial(ours, earlier, **spec)
    return found


def contest(
    repetitions: int, folder: Path, names: list[str], earlier: Earlier | None
) -> dict[str, Any]:
    """Let all contestants train the same task, in turns."""
    data = str(folder / "task.npz")
    run_apart(SIDES / "data.py", [data, json.dumps({"peers": PEERS})])

    def other(script: str, python: Path | None = None, **spec: Any) -> Any:
        arguments = [data, json.dumps({"peers": PEERS, "rounds": ROUNDS, **spec})]
        return lambda: run_apart(SIDES / script, arguments, python=python)

    spec: dict[str, Any] = {"peers": PEERS, "rounds": ROUNDS}
    contestants = our_turns({"p2pfl, cohorts of 8": spec}, earlier)
    contestants["a plain torch loop"] = other("torch_loop.py")
    for name in names:
        label, script, differs = OTHERS[name]
        try:
            contestants[label] = other(script, python_of(name), **differs)
        except NotInstallable as reason:
            say(f"{label}: not installed: {reason}")
    taken = take_turns(contestants, repetitions)
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


def variants(repetitions: int, earlier: Earlier | None) -> dict[str, Any]:
    """Run ours with what makes rounds uneven."""
    specs = {
        name: {"peers": PEERS, "rounds": ROUNDS, "settings": settings}
        for name, settings in VARIANTS.items()
    }
    taken = take_turns(our_turns(specs, earlier), repetitions)
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
            ),
        ),
        end="\n\n",
    )
    return taken


def growth(repetitions: int, peers_max: int, earlier: Earlier | None) -> dict[str, Any]:
    """Run ours with more and more peers."""
    specs = {
        f"{peers:,}": {
            "peers": peers,
            "rounds": 2 if peers > PEERS else ROUNDS,
            "rows_per_peer": 60,
        }
        for peers in (100, 300, 1000, 3000, 10_000)
        if peers <= peers_max
    }
    taken = take_turns(our_turns(specs, earlier), repetitions)
    print(_table_by_size("peers (60 rows each)", taken), end="\n\n")
    return taken


def large(repetitions: int, peers: int, earlier: Earlier | None) -> dict[str, Any]:
    """Run ours with so many peers, two rounds."""
    specs = {name: {"peers": peers, "rounds": 2, **spec} for name, spec in LARGE.items()}
    taken = take_turns(our_turns(specs, earlier), repetitions)
    print(_table_by_size(f"{peers:,} peers, two rounds", taken), end="\n\n")
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
        ),
    )


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="./scripts/bench simulate", description=__doc__)
    parts = ("contest", "variants", "growth", "large", "where")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--others", nargs="*", choices=OTHERS, default=["pfl", "gossipy"])
    parser.add_argument("--repetitions", type=positive, default=REPETITIONS)
    add_before(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one repetition, ours and pfl alone, 1,000 peers at most",
    )
    parser.add_argument(
        "--save", action="store_true", help="write benchmarks/results/simulate.json"
    )
    arguments = parser.parse_args()
    repetitions = 1 if arguments.quick else arguments.repetitions
    peers_max = PEERS if arguments.quick else PEERS_MAX
    once = repetitions if arguments.before else 1  # What is compared needs more runs than one.
    others = ["pfl"] if arguments.quick else arguments.others
    print(describe(machine()), end="\n\n", flush=True)
    found: Figures = {}
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            earlier_code(arguments.before) as earlier,
        ):
            for part in arguments.only:
                if part == "contest":
                    found[part] = contest(repetitions, Path(folder), others, earlier)
                elif part == "variants":
                    found[part] = variants(repetitions, earlier)
                elif part == "growth":
                    found[part] = growth(once, peers_max, earlier)
                elif part == "large":
                    found[part] = large(once, peers_max, earlier)
                else:
                    found[part] = where()
                if earlier is not None and part != "where":
                    print(ratios(found[part], earlier, COMPARED), end="\n\n")
    except Failed as failure:
        raise SystemExit(str(failure)) from None
    if arguments.save:
        file = RESULTS / "simulate.json"  # Parts of earlier runs stay.
        kept = json.loads(file.read_text()) if file.is_file() else {}
        save("simulate", {**kept, **found, "machine": machine()})


if __name__ == "__main__":
    main()
