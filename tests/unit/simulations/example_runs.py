"""Runs made by hand, with the shapes that real ones have."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.run import EventRow, GainRow, MeanGain, PeerRow, RoundRow, RunResult
from p2pfl_simulations.scenario import make_scenario

RunMaker = Callable[..., RunResult]


def make_example(
    *,
    peers: int = 16,
    rounds: int = 12,
    seed: int = 3,
    cohort_size: int = 4,
    faults: bool = True,
    gain: float = 0.25,
    faults_of_world: dict[str, Any] | None = None,
    **scenario: Any,
) -> RunResult:
    """Make a run whose curves rise as real ones do; `gain` is that of gossip over local only."""
    rng = Random(f"{seed}/run")
    document = {
        "name": "by-hand",
        "seed": seed,
        "peers": peers,
        "rounds": rounds,
        "learning": {"task": "digits"},
        "averaging": {"algorithm": "cohorts", "cohort_size": cohort_size, "masking": "none"},
        "faults": faults_of_world or {},
        **scenario,
    }
    rows, peer_rows, events = [], [], []
    for index in range(rounds):
        risen = 1 - math.exp(-5 * (index + 1) / rounds)
        mean = 0.1 + (0.55 + gain) * risen + rng.uniform(-0.01, 0.01)
        worst = max(0.0, mean - 0.2 * math.exp(-3 * index / rounds) - rng.uniform(0, 0.02))
        lost = rng.randint(0, peers // 8) if faults else 0
        incomplete = rng.randint(0, peers // 6) if faults else 0
        rows.append(
            RoundRow(
                round=index,
                virtual_s=2.5 * (index + 1),
                online=peers - lost,
                ended=peers - lost,
                lost=lost,
                incomplete=incomplete,
                failed=0,
                frames_sent=(index + 1) * peers * 20,
                bytes_sent=(index + 1) * peers * 20_000,
                own_mean=mean,
                own_worst=worst,
                common_mean=mean - 0.02,
                common_worst=worst - 0.02,
                common_averaged=mean + 0.01,
                consensus_distance=2.0 * math.exp(-4 * index / rounds) + 0.02,
                own_local_mean=0.1 + 0.55 * risen,
                own_local_worst=0.1 + 0.25 * risen,
                own_pooled_mean=0.1 + 0.86 * risen,
                common_local_mean=0.1 + 0.45 * risen,
                common_local_worst=0.1 + 0.15 * risen,
                common_pooled=0.1 + 0.85 * risen,
            )
        )
        for peer in range(peers):
            accuracy = min(1.0, mean + rng.gauss(0, 0.02))
            peer_rows.append(
                PeerRow(
                    index,
                    peer,
                    2.5 * (index + 1),
                    cohort_size,
                    cohort_size,
                    20_000,
                    own={"accuracy": accuracy, "loss": 1 - accuracy},
                    common={"accuracy": accuracy - 0.02, "auroc": accuracy},
                )
            )
    end_s = 2.5 * rounds
    if faults:
        for peer in range(peers):
            at = rng.expovariate(3 / end_s)
            while at < end_s:
                cause = rng.choice(["churn", "dropout", "crash"])
                away = rng.expovariate(1 / (0.04 * end_s if cause != "churn" else 0.15 * end_s))
                events.append(EventRow(at, "offline", peer, int(at / 2.5), cause))
                if rng.random() < 0.5:
                    events.append(EventRow(at, "round_lost", peer, int(at / 2.5), "dropped"))
                if at + away < end_s:
                    events.append(EventRow(at + away, "online", peer, int(at / 2.5), cause))
                at += away + rng.expovariate(3 / end_s)
        events.append(EventRow(0.55 * end_s, "partition", -1, rounds // 2, "2 parts"))
        events.append(EventRow(0.68 * end_s, "healed", -1, rounds // 2, ""))
        events.sort(key=lambda event: event.virtual_s)
    order = rng.sample(range(peers), peers)
    neighbours: list[tuple[int, ...]] = [()] * peers
    for start in range(0, peers - peers % cohort_size, cohort_size):
        cohort = order[start : start + cohort_size]
        for peer in cohort:
            neighbours[peer] = tuple(sorted(set(cohort) - {peer}))
    labels = [
        [rng.randint(0, 3) if rng.random() < 0.6 else rng.randint(10, 60) for _ in range(10)]
        for _ in range(peers)
    ]
    return RunResult(
        scenario=make_scenario(document),
        primary=PrimaryMetric(),
        rounds=rows,
        peers=peer_rows,
        events=events,
        sample_counts=[sum(row) for row in labels],
        label_counts=labels,
        neighbours=neighbours,
        digest="5f3a" * 16,
        model=np.linspace(-1, 1, 650, dtype=np.float32),
        interrupted=False,
        virtual_s=end_s,
        wall_s=4.25,
        cpu_s=6.5,
        counters={"events": 12_345, "frames": rounds * peers * 20.0, "mean_batch": 15.5},
        gains=[
            GainRow(
                peer=peer,
                name=f"peer-{peer}",
                train_rows=sum(row) * 4 // 5,
                test_rows=sum(row) // 5,
                joint=0.65 + gain,
                local=0.65 - (peer == 3) * 0.1 + (peer == 1) * (gain + 0.2),
                pooled=0.96,
                gain=gain + (peer == 3) * 0.1 - (peer == 1) * (gain + 0.2),
                gain_low=gain - 0.05 - (peer == 1) * (gain + 0.2),
                gain_high=gain + 0.15 - (peer == 1) * (gain + 0.2),
            )
            for peer, row in enumerate(labels)
        ],
        mean_gain=MeanGain(gain, gain - 0.03, gain + 0.03),
        pooled_gain=MeanGain(0.31 - gain, 0.28 - gain, 0.34 - gain),
        batching="all jobs in one batched step; mean batch 15.5",
        environment={"python": "3.11.2", "torch": "2.13.0", "threads": 2, "machine": "x86_64"},
    )
