"""What liars do to a model: strategy, share and mode, on digits and Fashion-MNIST.

    ./scripts/bench liars                                  # a small part: one seed, 10 % liars
    ./scripts/bench liars --shares .05 .1 .2 --seeds 3 --data digits/dirichlet
    ./scripts/bench liars --out liars.json                 # Goes on where it stopped.

Accuracy is of the final model on the common test rows, in percent; of a backdoor, the share of
marked test rows that get the liars' label, too, in brackets; `lost` is a model whose outputs are
not finite. Of several seeds it is the mean, and the lowest to the highest. In the modes `mean`,
`masked` and `audited-long` liars' updates are as long as they like; in the others they have norm S,
the most that a bound on lengths lets pass.
Peers that average by a rule do so at a server, which is honest: all of a complete cohort would come
to the same, in n times the work.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from options import fraction, positive

from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.draws import stream
from p2pfl_simulations.liars.registry import shipped_liars
from p2pfl_simulations.results.run import RunResult

STRATEGIES = ("ipm", "alie", "sign-flip", "label-flip", "gaussian", "backdoor")
CLIP = 0.7
"""S: about the median norm of honest updates with four steps. Digits: 0.6 at first, 0.4 at the end,
the longest 1.1. Fashion-MNIST: 1.3 to 0.7, the longest 1.9 (IID) and 4.1 (Dirichlet)."""
GROUP = {"algorithm": "group", "clip": CLIP, "deadline_s": 2.0}
SERVER = {"algorithm": "fedavg"}
ROBUST = ("nnm+trimmed-mean", "median", "geometric-median", "multi-krum", "centred-clipping")
BUCKETED = ("bucketing+trimmed-mean", "bucketing+median", "bucketing+geometric-median")
UNBOUNDED = ("mean", "masked", "audited-long")
"""Where liars' updates are as long as they like."""
MODES = (*UNBOUNDED, "in-bounds", "audited", *ROBUST, *BUCKETED)
DATA: dict[str, dict[str, Any]] = {
    "digits/iid": {"task": "digits"},
    "digits/dirichlet": {
        "task": "digits",
        "partition": {"kind": "dirichlet", "alpha": 0.5},
    },
    "fashion/iid": {"task": "fashion-mnist"},
    "fashion/dirichlet": {
        "task": "fashion-mnist",
        "partition": {"kind": "dirichlet", "alpha": 0.5},
    },
}


@dataclass(frozen=True)
class Cell:
    """One run."""

    data: str
    mode: str
    strategy: str
    share: float
    seed: int
    peers: int
    rounds: int

    @property
    def liars(self) -> int:
        """How many lie."""
        return round(self.share * self.peers)


@dataclass(frozen=True)
class Figure:
    """What came of it; shares of one. No accuracy: the model's outputs are not finite."""

    accuracy: float | None
    marked: float | None
    lost: int
    blamed: int


def averaging_of(cell: Cell) -> dict[str, Any]:
    """Return how peers average in a mode."""
    match cell.mode:
        case "mean":
            return SERVER
        case "masked":
            return GROUP | {"masking": "real", "audit": "off"}
        case "in-bounds":
            return GROUP | {"masking": "modelled", "audit": "off"}
        case "audited" | "audited-long":
            return GROUP | {"masking": "real", "audit": "void"}
    before, _, rule = cell.mode.rpartition("+")
    robust = {"rule": rule, "first": before or "none", "liars": max(1, cell.liars)}
    return {**SERVER, "robust": robust}


def simulate(cell: Cell) -> Figure:
    """Run one cell."""
    faults: dict[str, Any] = {}
    if cell.liars:
        drawn = stream(cell.seed, "bench liars").sample(range(1, cell.peers), cell.liars)
        entry: dict[str, Any] = {"strategy": cell.strategy, "peers": sorted(drawn)}
        faults["liars"] = entry if cell.mode in UNBOUNDED else {**entry, "norm": CLIP}
    training = {"steps": 4, "learning_rate": 0.2, "batch_size": 16}
    result = run(
        make_scenario(
            {
                "seed": cell.seed,
                "peers": cell.peers,
                "rounds": cell.rounds,
                "learning": {**DATA[cell.data], "training": training, "held_out": 0},
                "averaging": averaging_of(cell),
                "evaluation": {"every": cell.rounds, "peers": 1, "baselines": []},
                "faults": faults,
            }
        ),
        threads=1,
    )
    return figure_of(result)


def figure_of(result: RunResult) -> Figure:
    """Take the figures of a run."""
    marked = [float(it.detail) for it in result.events if it.kind == "backdoor"]
    accuracy = result.rounds[-1].common_averaged
    named = {it.peer for it in result.events if it.kind == "member_blamed"}
    return Figure(
        accuracy=accuracy if accuracy is not None and math.isfinite(accuracy) else None,
        marked=marked[0] if marked else None,
        lost=sum(row.lost for row in result.rounds),
        blamed=len(named),
    )


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Yield what is asked for, by seed, so that a part of it is of use."""
    size = arguments.peers, arguments.rounds
    for seed in range(1, arguments.seeds + 1):
        for data in arguments.data:
            for mode in arguments.modes:
                yield Cell(data, mode, "none", 0.0, seed, *size)
                for share in arguments.shares:
                    for strategy in arguments.strategies:
                        yield Cell(data, mode, strategy, share, seed, *size)


def table(done: dict[Cell, Figure]) -> str:
    """Write accuracies, in percent, as a table for people: a column for each strategy."""
    lines = []
    for data in dict.fromkeys(cell.data for cell in done):
        here = {cell: it for cell, it in done.items() if cell.data == data}
        strategies = [
            name for name in dict.fromkeys(cell.strategy for cell in here) if name != "none"
        ]
        lines += [f"{data}:", "", f"| liars | mode | none | {' | '.join(strategies)} |"]
        lines.append("|---" * (3 + len(strategies)) + "|")
        for share in sorted({cell.share for cell in here} - {0.0}):
            for mode in dict.fromkeys(cell.mode for cell in here):
                row = [_told(here, mode, 0.0, "none")]
                row += [_told(here, mode, share, name) for name in strategies]
                lines.append(f"| {share:.0%} | {mode} | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def _told(done: dict[Cell, Figure], mode: str, share: float, strategy: str) -> str:
    found = [
        it
        for cell, it in done.items()
        if (cell.mode, cell.share, cell.strategy) == (mode, share, strategy)
    ]
    if not found:
        return "-"
    accuracies = [it.accuracy for it in found if it.accuracy is not None]
    if len(accuracies) < len(found):
        return "lost"
    told = f"{100 * mean(accuracies):.1f}"
    if len(accuracies) > 1:
        told += f" ({100 * min(accuracies):.1f} to {100 * max(accuracies):.1f})"
    marked = [it.marked for it in found if it.marked is not None]
    if not marked:
        return told
    low, high = f"{100 * min(marked):.0f}", f"{100 * max(marked):.0f}"
    return f"{told} [{low}]" if low == high else f"{told} [{low} to {high}]"


def main() -> None:
    """Run what is asked for, and print its table after each seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=["digits/dirichlet"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["mean", "in-bounds", *ROBUST])
    parser.add_argument("--strategies", nargs="+", choices=shipped_liars(), default=STRATEGIES)
    parser.add_argument("--shares", nargs="+", type=fraction, default=[0.1])
    parser.add_argument("--seeds", type=positive, default=1)
    parser.add_argument("--peers", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=40)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    done: dict[Cell, Figure] = {}
    if arguments.out is not None and arguments.out.exists():
        for line in arguments.out.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            done[Cell(**row["cell"])] = Figure(**row["figure"])
    for cell in cells(arguments):
        if cell in done:
            continue
        done[cell] = figure = simulate(cell)
        print(cell, figure, file=sys.stderr, flush=True)
        if arguments.out is not None:
            with arguments.out.open("a", encoding="utf-8") as file:
                row = {"cell": asdict(cell), "figure": asdict(figure)}
                file.write(json.dumps(row) + "\n")
    print(table({cell: done[cell] for cell in cells(arguments)}))


if __name__ == "__main__":
    main()
