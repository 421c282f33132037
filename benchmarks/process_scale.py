"""Many peer processes on one machine, and what a peer costs that has finished.

    ./scripts/bench process-scale                      # 50 processes, then 8 idle ones
    ./scripts/bench process-scale --peers 100 --only rounds
    ./scripts/bench process-scale --only idle --idle-s 120

The task is `integers`, which needs no torch: what is measured is the peer, not its training. The
groups are masked cohorts of 8. Memory is of each process: resident (RSS), and its own share of what
processes share (PSS). Processor time is user and system, from the start.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Figures, describe, machine, save, say, table
from options import at_least, positive, positive_real

from p2pfl.learner.learner import make_learner
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.testbed import ProcessTestbed
from p2pfl_simulations.scenario import make_scenario

IDLE_PEERS = 8
PROCESS_MB = 100
"""What a process is taken to need, before any has started."""
MEMORY_SHARE = 0.6
"""Of what is free; the rest is for others."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=at_least(8), default=50)
    parser.add_argument("--rounds", type=positive, default=10)
    parser.add_argument("--deadline-s", type=positive_real, default=20.0)
    parser.add_argument("--idle-s", type=positive_real, default=120.0)
    parser.add_argument("--only", choices=["rounds", "idle"])
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    print(describe(machine()))
    figures: Figures = {}
    if arguments.only != "idle":
        fit = int(MEMORY_SHARE * _available_mb() / PROCESS_MB)
        if fit < arguments.peers:
            say(f"only {fit} processes of {PROCESS_MB} MB fit in 60% of the free memory")
        group = Group(min(arguments.peers, fit), arguments.rounds, arguments.deadline_s)
        figures["rounds"] = group.run(idle_s=0.0)
        show_rounds(figures["rounds"])
    if arguments.only != "rounds":
        figures["idle"] = Group(IDLE_PEERS, 3, arguments.deadline_s).run(idle_s=arguments.idle_s)
        show_idle(figures["idle"])
    if arguments.save:
        save("process_scale", figures)
    if not all(part["all_ended"] for part in figures.values()):
        sys.exit("not every peer ended every round")


class Group:
    """Some processes, run to their last round; a watcher of their testbed."""

    def __init__(self, peers: int, rounds: int, deadline_s: float) -> None:
        self.scenario = make_scenario(
            {
                "name": "process-scale",
                "peers": peers,
                "rounds": rounds,
                "learning": {"task": "integers", "training": {"steps": 1}},
                "averaging": {
                    "algorithm": "cohorts",
                    "cohort_size": 8,
                    "masking": "real",
                    "clip": 65536.0,
                    "deadline_s": deadline_s,
                },
                "evaluation": {"every": 1000, "baselines": []},
            }
        )
        self.opened_s: dict[int, float] = {}
        self.finished_s: dict[int, float] = {}
        self.ended: dict[int, list[tuple[int, float, int, int]]] = {i: [] for i in range(peers)}
        self._testbed: ProcessTestbed

    def run(self, *, idle_s: float) -> Figures:
        """Run all rounds, then leave the processes alone for some time, and measure them."""
        with tempfile.TemporaryDirectory(prefix="p2pfl-scale-") as folder:
            scenario = self.scenario
            learner = make_learner(
                scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None
            )
            folders = make_folders(scenario, Path(folder), None, learner)
            processes = [PeerProcess(i, it) for i, it in enumerate(folders)]
            self._testbed = ProcessTestbed(self.scenario, processes)
            try:
                self._testbed.run([self])
                used = [_usage(process.pid) for process in processes]
                time.sleep(idle_s)
                after = [_usage(process.pid) for process in processes]
            finally:
                self._testbed.end()
        codes = [process.exit_code for process in processes]
        rounds = self.scenario.rounds
        every = list(range(rounds))
        cpu_s = [it["cpu_s"] for it in used]
        return {
            "peers": len(processes),
            "rounds": rounds,
            "exit_codes": sorted(set(map(str, codes))),
            "all_ended": set(codes) == {0}
            and all([it[0] for it in ended] == every for ended in self.ended.values()),
            "summed_whole": sum(it[2] == it[3] for ended in self.ended.values() for it in ended),
            "open_s": max(self.opened_s.values()),
            "round_s": (max(self.finished_s.values()) - max(self.opened_s.values())) / rounds,
            "rss_mb": [it["rss_mb"] for it in after],
            "pss_mb": [it["pss_mb"] for it in after],
            "cpu_s": cpu_s,
            "idle_s": idle_s,
            "idle_share": [
                (now["cpu_s"] - then["cpu_s"]) / idle_s if idle_s else 0.0
                for then, now in zip(used, after, strict=True)
            ],
        }

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        """Note openings, rounds and ends; end the run when all have finished."""
        match event:
            case events.Opened():
                self.opened_s[host.index] = now_s
            case events.RoundEnded():
                self.ended[host.index].append(
                    (event.round, now_s, event.contributors, event.expected)
                )
            case events.Finished():
                self.finished_s[host.index] = now_s
                self._testbed.is_over = len(self.finished_s) == len(self.ended)

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        """Nothing: none is asked for."""


def show_rounds(found: Figures) -> None:
    """Print what a large group takes."""
    print(f"\n{found['peers']} processes, {found['rounds']} rounds: ", end="")
    print("every peer ended every round" if found["all_ended"] else "NOT EVERY ROUND ENDED", end="")
    print(f"; {found['summed_whole']} of {found['peers'] * found['rounds']} were whole")
    rows = [
        ["from the first start until all have begun, s", f"{found['open_s']:.1f}"],
        ["seconds a round, all peers", f"{found['round_s']:.2f}"],
        ["processor seconds a process, in all", _spread(found["cpu_s"], "{:.1f}")],
        ["RSS of a process, MB", _spread(found["rss_mb"])],
        ["PSS of a process, MB", _spread(found["pss_mb"])],
    ]
    print(table(["median (smallest to largest)", f"{found['peers']} processes"], rows))


def show_idle(found: Figures) -> None:
    """Print what a peer takes that has finished."""
    rows = [
        ["RSS, MB", _spread(found["rss_mb"]), "150"],
        ["PSS, MB", _spread(found["pss_mb"]), ""],
        [
            f"of a core, over {found['idle_s']:.0f} s",
            _spread([100 * it for it in found["idle_share"]], "{:.2f}%"),
            "1%",
        ],
    ]
    print(f"\na finished peer with {found['peers'] - 1} links, without torch:")
    print(table(["median (smallest to largest)", "measured", "target"], rows))


def _spread(values: list[float], form: str = "{:.0f}") -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def _usage(pid: int | None) -> dict[str, float]:
    """Read what a process has used, from /proc."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup[1:]}
    # After the name, which may hold spaces: the 14th and 15th field of all are user and system.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        "rss_mb": sizes["Rss"] * 1024 / 1e6,
        "pss_mb": sizes["Pss"] * 1024 / 1e6,
        "cpu_s": (int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    }


def _available_mb() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/meminfo does not say what is available")


if __name__ == "__main__":
    os.nice(5)
    main()
