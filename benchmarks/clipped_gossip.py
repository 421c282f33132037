"""ClippedGossip on the graphs of its paper: the published figures, and ours beside them.

    ./scripts/bench clipped-gossip                          # on Fashion-MNIST
    ./scripts/bench clipped-gossip --mnist FOLDER           # on MNIST, as published

After He, Karimireddy and Jaggi (arXiv 2202.01545), figures 4 and 6: 900 rounds of one step of 32
rows, rate .01, momentum .9 that each peer keeps over rounds.

- *alike*, *unlike*: 20 peers, all honest, in two cliques that one edge joins. With unlike data one
  clique holds the labels 0 to 4, the other one 5 to 9, and all that they know of each other comes
  over that edge: a rule that takes its far end for a liar keeps them apart for good.
- *ring*, *outnumbered*: a ring of five honest peers, each with two liars beside it that drive it
  away from the others (dissensus, epsilon 1.5); in the second, one peer has a third liar, more than
  any rule here is told of.

MNIST is not bundled and nothing downloads it: FOLDER holds its four IDX files, packed by gzip or
not.

Departures: a perceptron with 64 hidden units, and not two layers of convolutions with dropout, so
orders and distances are to be compared, not figures; Metropolis-Hastings weights, of which the
authors' differ a little in cliques, and on the ring give a peer's own model 5/9 and not 1/5; each
peer draws its batches anew from its 960 rows, and does not take the same ones again and again.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from options import positive

from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.plugins import Graph, Split

ROUNDS = 900
IN_STEP = {"latency": {"kind": "constant", "mean_s": 0.0001}, "bandwidth_bytes_per_s": 1e12}
"""Links so quick that all begin a round before anybody ends it, as the authors' do."""

BATCH, BATCHES = 32, 30
"""Rows of a step, and steps of what the authors call an epoch: they see no row beyond these."""

FILES = [
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]
HONEST_OF_RING = 5
RULES = ("gossip", "self-centred clipping", "geometric median", "trimmed mean")
ALIKE = {"kind": "iid", "rows_per_peer": BATCH * BATCHES}


@dataclass(frozen=True)
class Setting:
    """What is run, and what the authors publish of it.

    Attributes:
        peers: all of them.
        graph: the plug-in.
        partition: of rows.
        published: last figures on MNIST, in percent, by rule: of the mean of all honest models.
        liars: how many of the last peers lie.
        borne: f, what rules are told.
        radius: of self-centred clipping.
    """

    peers: int
    graph: str
    partition: Mapping[str, Any]
    published: Mapping[str, float]
    liars: int = 0
    borne: int = 1
    radius: float = 1.0


def _published(*figures: float) -> dict[str, float]:
    return dict(zip(RULES, figures, strict=True))


def _without_gossip(*figures: float) -> dict[str, float]:
    return dict(zip(RULES[1:], figures, strict=True))


SETTINGS = {
    "unlike": Setting(
        20,
        "clipped_gossip:Dumbbell",
        {"kind": "clipped_gossip:ByClique"},
        _published(93.65, 93.77, 88.64, 86.90),
    ),
    "alike": Setting(20, "clipped_gossip:Dumbbell", ALIKE, _published(96.43, 96.40, 95.67, 95.40)),
    "ring": Setting(
        15,
        "clipped_gossip:RingAmongLiars",
        ALIKE,
        _without_gossip(89.43, 89.3, 90.25),
        liars=10,
        borne=2,
        radius=0.1,
    ),
    "outnumbered": Setting(
        16,
        "clipped_gossip:RingAmongLiars",
        ALIKE,
        _without_gossip(90.11, 9.81, 9.81),
        liars=11,
        borne=2,
        radius=0.1,
    ),
}


class Dumbbell(Graph):
    """Two cliques of half of the peers each; the first peer and the last one are neighbours."""

    def edges(self, peers: int, round: int, rng: Random) -> Iterable[tuple[int, int]]:
        """Return the edges, the same in each round."""
        cliques = np.array_split(np.arange(peers), 2)
        within = [(one, other) for it in cliques for one in it for other in it if one < other]
        return [*within, (0, peers - 1)]


class RingAmongLiars(Graph):
    """The first five peers in a ring; each further one beside one of them, in turns.

    Those are neighbours of each other, too, in a ring with chords: each peer has a rule, and hears
    as many as it takes. Nobody honest sees of that but a weight, of one edge of eleven.
    """

    def edges(self, peers: int, round: int, rng: Random) -> Iterable[tuple[int, int]]:
        """Return the edges, the same in each round."""
        honest = HONEST_OF_RING
        ring = [(peer, (peer + 1) % honest) for peer in range(honest)]
        beside = [(peer % honest, peer) for peer in range(honest, peers)]
        count = peers - honest
        steps = [(place, place + 1) for place in range(count)]
        chords = [(place, place + count // 2) for place in range((count + 1) // 2)]
        among = [(honest + one, honest + other % count) for one, other in [*steps, *chords]]
        return [*ring, *beside, *among]


class ByClique(Split):
    """As many rows for each peer; those of a clique are drawn from half of the labels."""

    def split(
        self,
        targets: npt.NDArray[np.int64],
        columns: Mapping[str, npt.NDArray[Any]],
        peers: int,
        rng: np.random.Generator,
    ) -> Sequence[npt.NDArray[np.int64]]:
        """Return each peer's rows."""
        parts: list[npt.NDArray[np.int64]] = []
        for labels in np.array_split(np.unique(targets), 2):
            rows = rng.permutation(np.flatnonzero(np.isin(targets, labels)))
            parts += np.array_split(rows[: BATCH * BATCHES * peers // 2], peers // 2)
        return parts


@dataclass(frozen=True)
class Figure:
    """Shares of the test rows that are right: by the mean of honest models, by single peers'.

    None where outputs are not finite.
    """

    averaged: float | None
    own_mean: float | None
    own_worst: float | None


def robust_of(rule: str, setting: Setting) -> dict[str, Any] | None:
    """Return a rule's table; None for plain gossip."""
    if rule == "gossip":
        return None
    if rule == "self-centred clipping":
        kind = "self-centred-clipping"
        return {"rule": kind, "liars": setting.borne, "radius": setting.radius}
    return {"rule": rule.replace(" ", "-"), "liars": setting.borne}


def simulate(setting: Setting, rule: str, seed: int, rounds: int, mnist: Path | None) -> Figure:
    """Train once."""
    averaging: dict[str, Any] = {"algorithm": "dsgd", "topology": {"kind": setting.graph}}
    robust = robust_of(rule, setting)
    if robust is not None:
        averaging["robust"] = robust
    faults: dict[str, Any] = {}
    if setting.liars:
        liars = list(range(setting.peers - setting.liars, setting.peers))
        arguments = {"epsilon": 1.5}
        faults["liars"] = {"strategy": "dissensus", "peers": liars, "arguments": arguments}
    learning = {
        "task": "fashion-mnist",  # MNIST's files are of the same form.
        "options": {"hidden": [64]},
        "data_dir": None if mnist is None else str(mnist.resolve()),
        "partition": setting.partition,
        "held_out": 0,
        "training": {
            "steps": 1,
            "learning_rate": 0.01,
            "batch_size": BATCH,
            "momentum": 0.9,
            "keep_moments": True,
        },
    }
    result = run(
        make_scenario(
            {
                "seed": seed,
                "peers": setting.peers,
                "rounds": rounds,
                "learning": learning,
                "averaging": averaging,
                "network": IN_STEP,
                "evaluation": {"every": rounds, "baselines": []},
                "faults": faults,
            }
        ),
        threads=1,
    )
    row = result.rounds[-1]
    return Figure(row.common_averaged, row.common_mean, row.common_worst)


def table(done: Mapping[tuple[str, str], Sequence[Figure]]) -> str:
    """Write the figures beside those published, in percent, for people."""
    lines = [
        "| setting | rule | published | mean of models | a peer's own | worst peer |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for (name, rule), found in done.items():
        published = SETTINGS[name].published.get(rule)
        columns = [
            "-" if published is None else f"{published:.1f}",
            _told([it.averaged for it in found]),
            _told([it.own_mean for it in found]),
            _told([it.own_worst for it in found]),
        ]
        lines.append(f"| {name} | {rule} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _told(found: Sequence[float | None]) -> str:
    """Write a mean over seeds, and from where to where it goes; `lost` if one is not finite."""
    shares = [it for it in found if it is not None and math.isfinite(it)]
    if len(shares) < len(found):
        return "lost"
    told = f"{100 * mean(shares):.1f}"
    ends = f" ({100 * min(shares):.1f} to {100 * max(shares):.1f})"
    return told if len(shares) == 1 else told + ends


def main() -> None:
    """Run each rule in each setting, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, help="folder with MNIST's four IDX files")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--seeds", type=positive, default=1)
    parser.add_argument("--rounds", type=positive, default=ROUNDS)
    arguments = parser.parse_args()
    folder = arguments.mnist
    if folder is not None:
        found = {it.removesuffix(".gz") for it in map(str, folder.glob("*-ubyte*"))}
        lacking = [it for it in FILES if str(folder / it) not in found]
        if lacking:
            parser.error(f"{folder} lacks {', '.join(lacking)} of MNIST, each plain or as .gz")
    done: dict[tuple[str, str], list[Figure]] = {}
    for seed in range(1, arguments.seeds + 1):
        for name in arguments.settings:
            for rule in arguments.rules:
                setting = SETTINGS[name]
                figure = simulate(setting, rule, seed, arguments.rounds, folder)
                done.setdefault((name, rule), []).append(figure)
                told = {"setting": name, "rule": rule, "seed": seed, **vars(figure)}
                print(json.dumps(told), file=sys.stderr, flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
