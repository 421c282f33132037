"""What a seed of the sweep runs: algorithm, sizes, links, faults and liars, and when faults end."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from p2pfl.group.settings import GroupSettings
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_simulations.scenario import Scenario, make_scenario, masking_of

ALGORITHMS = (
    *(("real",) * 12),
    *(("modelled",) * 3),
    *(("open",) * 3),
    *("grid", "dsgd", "epidemic", "push-sum", "age-gossip", "fedavg"),
)
"""Most seeds sum by masks: there is most to go wrong."""

STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("corrupt-reveal", {}),
    ("false-receipts", {"claims": "all"}),
    ("false-receipts", {"claims": "none"}),
    ("false-receipts", {}),
    ("false-status", {"ahead": 1}),
    ("false-status", {"ahead": 3}),
    ("false-sum", {}),
    ("far-ahead", {"ahead": 2}),
    ("far-ahead", {"ahead": 9}),
    ("flipped-weight", {}),
    ("flipped-weight", {"spared": 0}),
    ("flood", {}),
    ("forged-fields", {}),
    ("forged-fields", {"probability": 0.02}),
    ("forged-fields", {"signs": False}),
    ("garbage-body", {}),
    ("garbage-body", {"keeps_size": False}),
    ("lying-leader", {"lie": "few_adverts", "share": 1.0}),
    ("lying-leader", {"lie": "few_adverts"}),
    ("lying-leader", {"lie": "another_u2", "share": 0.2}),
    ("lying-leader", {"lie": "another_u2"}),
    ("lying-leader", {"lie": "two_ballots", "share": 0.2}),
    ("lying-leader", {"lie": "two_ballots"}),
    ("scale", {"factor": -10.0}),
    ("replay", {}),
    ("silence", {}),
    ("silence", {"share": 0.2}),
    ("slow", {}),
    ("two-versions", {}),
    ("two-versions", {"statements": ["Ballot", "Vote"]}),
    ("two-versions", {"statements": ["Header", "Ack", "Manifest"], "share": 0.2}),
    ("withheld-shares", {}),
    ("withheld-shares", {"broken": True}),
)

LATENCIES: tuple[dict[str, Any], ...] = (
    {"kind": "constant", "mean_s": 0.05},
    {"kind": "exponential", "mean_s": 0.05},
    {"kind": "lognormal", "median_s": 0.02, "sigma": 1.0},
    {"kind": "uniform", "low_s": 0.0, "high_s": 0.2},
)

DISKS: tuple[dict[str, Any], ...] = (
    {"kind": "none"},
    {"kind": "none"},
    {"kind": "ssd"},
    {"kind": "slow"},
    {"kind": "drawn", "persist_s": {"kind": "uniform", "low_s": 0.0, "high_s": 0.3}},
)
PERSIST_S_MAX = 1.6
"""How long the slowest of them takes for a record, and a small model with it."""


@dataclass(frozen=True)
class Draw:
    """One seed's scenario.

    Attributes:
        scenario: what runs.
        is_faulty: whether anything goes wrong.
        heal_s: when faults end, in virtual time; liars go on.
        failing: probability that a training fails.
        must_end: whether all must finish; not where liars may stop a group for ever.
        stands_in: whether a stand-in takes the place of the curve, on which audits are costly.
        successor: what members found that lost too many others; None if they do not.
    """

    scenario: Scenario
    is_faulty: bool
    heal_s: float
    failing: float
    must_end: bool = True
    stands_in: bool = False
    successor: "Draw | None" = None

    def kinds(self) -> Counter[str]:
        """Count what was drawn, by kind, for a table of what a sweep has covered."""
        scenario, faults = self.scenario, self.scenario.faults
        averaging = scenario.averaging
        masking = masking_of(scenario)
        name: str = averaging.algorithm
        if masking != "none":
            name += f", masks {masking}"
        found = Counter([f"averaging: {name}"])
        if isinstance(averaging, GroupSettings):
            found[f"audit: {averaging.audit}"] += 1
            found["privacy"] += scenario.privacy is not None
            found["changes: any"] += bool(scenario.changes)
        found[f"disk: {scenario.disk.kind}"] += 1
        found["jobs end in any order"] += scenario.compute.jitter > 0
        for kind in ("churn", "dropout", "crash", "crash_at_action", "backups", "stragglers"):
            found[f"fault: {kind}"] += getattr(faults, kind) is not None
        found["fault: partition"] += bool(faults.partitions)
        found["fault: loss"] += scenario.network.loss > 0
        found["fault: failed trainings"] += self.failing > 0
        found["fault: none"] += not self.is_faulty
        found["change: succeed"] += self.successor is not None
        for change in scenario.changes:
            found[f"change: {change.kind}"] += 1
        for liars in faults.liars:
            lie = liars.arguments.get("lie") or liars.arguments.get("claims")
            found[f"liar: {liars.strategy}{f' ({lie})' if lie else ''}"] += 1
        return found


def draw(seed: int) -> Draw:
    """Draw a scenario."""
    rng = Random(f"{seed}/sweep")
    algorithm = rng.choice(ALGORITHMS)
    is_masked = algorithm in ("real", "modelled")
    is_faulty = rng.random() < 0.85
    peers = _peers(rng, algorithm)
    document: dict[str, Any] = {
        "name": f"sweep-{seed}",
        "seed": seed,
        "peers": peers,
        "rounds": _rounds(rng, is_masked=is_masked, is_faulty=is_faulty),
        "checkpoint_every": rng.choice([1, 1, 1, 0, 2, 3]),
        "learning": {"task": "integers", "training": {"steps": rng.randint(1, 3), "batch_size": 4}},
        "averaging": _averaging(rng, algorithm, peers, is_faulty),
        "network": {
            "latency": rng.choice(LATENCIES),
            "bandwidth_bytes_per_s": 10 ** rng.uniform(4.3, 7),
        },
        "compute": {"step_s": rng.choice([0.01, 0.3]), "speed_spread": rng.choice([1.0, 1.0, 4.0])},
        "evaluation": {"every": rng.randint(1, 4), "peers": 2, "baselines": []},
    }
    if not is_faulty:
        if algorithm not in ("open", "grid"):
            # Where a body of the next round overtakes one of this, its receiver no longer waits for
            # the latter, and answers it with its round: some bytes more than the formula's.
            document["network"]["latency"] = {"kind": "constant", "mean_s": 0.05}
        return Draw(make_scenario(document), False, 0.0, 0.0)
    heal_s = rng.uniform(1, 8) if is_masked else rng.uniform(3, 30)
    document["network"]["loss"] = rng.choice([0.0, 0.0, 0.0, 0.02, 0.1, 0.3])
    document["disk"] = rng.choice(DISKS)
    document["compute"]["jitter"] = rng.choice([0.0, 0.0, 0.5, 3.0])
    document["faults"] = draw_faults(rng, heal_s)
    failing = rng.choice([0.0, 0.0, 0.0, 0.2]) if is_masked else 0.0
    if algorithm == "real" and rng.random() < 0.6:
        document["faults"]["liars"] = _liars(rng, document["averaging"]["cohort_size"])
    return Draw(make_scenario(document), True, heal_s, failing)


def _peers(rng: Random, algorithm: str) -> int:
    match algorithm:
        case "real":
            return rng.choice([5, 5, 5, 5, 5, 5, 6, 6, 7, 7, 8, 10])
        case "modelled":
            return rng.randint(5, 10)
        case "grid":
            return 16
    return rng.randint(2, 14)


def _rounds(rng: Random, *, is_masked: bool, is_faulty: bool) -> int:
    if is_masked:
        return rng.choice([2, 2, 2, 2, 3, 3, 4, 12 if rng.random() < 0.1 else 3])
    return rng.randint(2, 12) if is_faulty else rng.randint(2, 6)


def _averaging(rng: Random, algorithm: str, peers: int, is_faulty: bool) -> dict[str, Any]:
    # Without faults no deadline passes: nobody is ever late.
    common: dict[str, Any] = {"deadline_s": rng.choice([0.5, 2.0, 5.0]) if is_faulty else 1e4}
    match algorithm:
        case "real" | "modelled":
            if rng.random() < 0.3:
                common |= {"weights": "samples", "weight_max": 2000.0}
            size = peers if peers < 10 else rng.randint(5, peers)
            masked = {"cohort_size": size, "masking": algorithm, "clip": 65536.0}
            return {"algorithm": "cohorts", **masked, **common}
        case "open":
            size = rng.randint(2, min(8, peers))
            return {"algorithm": "cohorts", "cohort_size": size, "masking": "none", **common}
        case "grid":
            grid = {"cohort_size": 4, "grid": True, "masking": "none"}
            return {"algorithm": "cohorts", **grid, **common}
        case "dsgd" | "push-sum":
            kind = rng.choice(["ring", "complete", "exponential"])
            return {"algorithm": algorithm, "topology": {"kind": kind}, **common}
        case "epidemic" | "age-gossip":
            fanout = rng.randint(1, min(4, peers - 1))
            return {"algorithm": algorithm, "fanout": fanout, **common}
    return {"algorithm": algorithm, **common}


def draw_faults(rng: Random, heal_s: float) -> dict[str, Any]:
    """Draw what goes wrong until it is healed, but liars."""
    faults: dict[str, Any] = {}
    if rng.random() < 0.3:
        faults["churn"] = {
            "session_s": {"kind": "exponential", "mean_s": rng.uniform(2, 20)},
            "offline_s": {"kind": "exponential", "mean_s": rng.uniform(0.5, 10)},
            "share": rng.random(),
        }
    if rng.random() < 0.4:
        faults["dropout"] = {
            "probability": rng.uniform(0, 0.4),
            "offline_s": {"kind": "uniform", "low_s": 0.0, "high_s": rng.uniform(0, 10)},
            "silent": rng.random() < 0.5,
        }
    if rng.random() < 0.4:
        faults["crash"] = {
            "probability": rng.uniform(0, 0.3),
            "restart_s": {"kind": "exponential", "mean_s": rng.uniform(0.1, 5)},
        }
    if rng.random() < 0.3:
        faults["crash_at_action"] = {
            "probability": rng.uniform(0, 0.5),
            "actions": rng.choice([20, 100, 400]),
            "restart_s": {"kind": "exponential", "mean_s": rng.uniform(0.1, 3)},
        }
    if rng.random() < 0.2:
        faults["stragglers"] = {"share": rng.random() / 2, "factor": rng.uniform(1, 10)}
    if rng.random() < 0.25:
        start_s = rng.uniform(0, heal_s / 2)
        faults["partitions"] = [
            {
                "start_s": start_s,
                "duration_s": rng.uniform(0.1, heal_s - start_s),
                "shares": [rng.uniform(0.1, 1) for _ in range(rng.randint(2, 3))],
            }
        ]
    return faults


def _liars(rng: Random, cohort_size: int) -> list[dict[str, Any]]:
    """Draw up to m of the smallest cohort: all of them may meet in one."""
    count = rng.randint(1, liars_max_of(cohort_size))
    peers = rng.sample(range(cohort_size), count)  # There are at least as many peers.
    groups = [[peer] for peer in peers] if rng.random() < 0.3 else [peers]
    entries = []
    for group in groups:
        strategy, arguments = rng.choice(STRATEGIES)
        entry = {"strategy": strategy, "arguments": arguments, "peers": group}
        # Modelled masks have no words by which an update could go round the clip.
        entries.append(entry | {"norm": 1.0} if strategy == "scale" else entry)
    return entries
