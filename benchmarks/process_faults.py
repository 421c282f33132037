"""Strikes real peer processes in the middle of certified rounds, and checks what is left.

    ./scripts/bench process-faults                     # 30 runs, three side by side
    ./scripts/bench process-faults --runs 100 --jobs 3
    ./scripts/bench process-faults --only equal        # launched and simulated vectors
    ./scripts/bench process-faults --seed 7 --one integers --keep DIR    # one run again

One run: a group of 5 processes, or 8. One of them is ended eight times, each time when its log
shows the first frame that it sends in another phase of a round, and started again up to 3 s later:
six times it is killed (SIGKILL), once its disk is full, and once an older copy of its journal is
put back after the kill. Meanwhile another one is frozen (SIGSTOP) for 20 s, a third one loses its
links for 15 s, and the group falls into halves for 12 s. Then a second process runs with the key of
that third one, from a copy of its folder: it has to end by itself, and nobody may be blamed.

Every tenth run is of 8 that learn breast cancer, its rows split over hospitals by label; in the
others 5 learn the task `integers`, which needs no torch: a process starts in a third of the time,
and a round of 5 has less than half of the messages. The protocol is the same. Peers' processes fork
from one that has loaded the program: two thirds of a start are reading modules.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from measuring import Failed, Figures, describe, give, machine, run_apart, save, say, table
from options import natural, positive
from process_checks import Evidence
from process_equal import compare
from process_planted import overlooked
from process_strikes import PHASES, Strikes, not_struck
from replacing import replaced

from p2pfl.learner.learner import make_learner
from p2pfl_simulations.launch import processes
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.relays import links_of, relayed
from p2pfl_simulations.launch.testbed import ProcessTestbed
from p2pfl_simulations.scenario import Scenario, make_scenario

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from forked_peers import LAUNCHING

DEADLINE_S, PATIENCE_S = 1.5, 6.0
LIMIT_S = 900.0
TASKS = Path(__file__).parent / "paced"
EVERY_TENTH = 10


@dataclass(frozen=True)
class Kind:
    """What processes of a run learn.

    Attributes:
        learning: of the scenario.
        clip: the largest norm of an update.
        peers: how many there are.
        rounds: in all; the victim is struck in none of the `last`, so that it is back at the end.
    """

    learning: dict[str, object]
    clip: float
    peers: int
    rounds: int
    last: int


KINDS = {
    "integers": Kind(
        {
            "task": "paced:PacedIntegers",
            # As long as a process takes to be back: then few rounds go by for each strike.
            "options": {"pace_s": 2.0},
            "training": {"steps": 1, "batch_size": 2048},
        },
        clip=65536.0,
        peers=5,
        rounds=34,
        last=8,
    ),
    # A process that imports torch takes several times as long to start.
    "breast-cancer": Kind(
        {
            "task": "paced:PacedBreastCancer",
            "options": {"pace_s": 3.0},
            "training": {"steps": 1, "batch_size": 456},
            "partition": {"kind": "dirichlet", "alpha": 0.5},
        },
        clip=4.0,
        peers=8,
        rounds=60,
        last=20,
    ),
}


def scenario_of(task: str, seed: int) -> Scenario:
    """Return what the processes of a run do."""
    kind = KINDS[task]
    return make_scenario(
        {
            "name": f"process-faults-{task}",
            "seed": seed,
            "peers": kind.peers,
            "rounds": kind.rounds,
            "learning": kind.learning,
            "averaging": {
                "algorithm": "group",
                "clip": kind.clip,
                "deadline_s": DEADLINE_S,
                "patience_s": PATIENCE_S,
                "audit": "off",
            },
            "evaluation": {"every": 1000, "baselines": []},
        }
    )


def run_once(task: str, seed: int, folder: Path) -> Figures:
    """Run a group's processes through all strikes; return what was seen, and what was wrong."""
    scenario = scenario_of(task, seed)
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=TASKS, threads=1
    )
    folders = make_folders(scenario, folder, TASKS, learner, log_level="debug")
    relays = relayed(folders, links_of(range(scenario.peers), scenario.peers))
    testbed = ProcessTestbed(scenario, [PeerProcess(i, it) for i, it in enumerate(folders)])
    strikes = Strikes(testbed, relays, scenario.rounds - KINDS[task].last, seed, limit_s=LIMIT_S)
    broken = []
    try:
        with replaced([(processes, "subprocess", LAUNCHING)]):
            testbed.run([strikes])
    except LaunchError as error:
        broken.append(str(error))
    finally:
        twin_code = strikes.end_twin()
        testbed.end()
        relays.close()
    evidence = Evidence(scenario, list(testbed.hosts), strikes, twin_code)
    faults = broken + evidence.faults()
    if not faults:
        faults = [f"the checks overlook {name}" for name in overlooked(evidence)]
    return {
        "seed": seed,
        "task": task,
        "victim": strikes.victim,
        "frozen": strikes.frozen,
        "faults": faults,
        "not_struck": not_struck(strikes.struck),
        "strikes": [
            {
                "phase": strike.phase,
                "how": strike.how,
                "outcome": evidence.outcome(strike),
                "away_s": strike.away_s,
                "back_height": strike.back_height,
            }
            for strike in strikes.struck
        ],
        "longest_s": evidence.longest_wait(),
        "tries": evidence.tries,
        "heights": scenario.rounds,
        "share_untouched": min(evidence.share_in(peer) for peer in evidence.untouched),
        "share_victim": evidence.share_in(strikes.victim),
        "wall_s": testbed.queue.now_s,
        "was_troubled": strikes.troubled,
        "had_twin": strikes.twin is not None,
    }


def one(task: str, seed: int, keep: Path | None) -> None:
    """Run once and print the figures; what failed keeps its folder."""
    folder = keep or Path(tempfile.mkdtemp(prefix=f"p2pfl-faults-{seed}-"))
    folder.mkdir(parents=True, exist_ok=True)
    figures = run_once(task, seed, folder)
    if figures["faults"]:
        figures["folder"] = str(folder)
    elif keep is None:
        shutil.rmtree(folder)
    give(figures)


def many(
    runs: int, jobs: int, first_seed: int, only_task: str | None, *, saves: bool
) -> list[Figures]:
    """Run several groups side by side, each driven by a process of its own."""
    done: list[Figures] = []

    def run(seed: int) -> Figures:
        task = only_task or ("integers" if seed % EVERY_TENTH else "breast-cancer")
        arguments = ["--one", task, "--seed", str(seed)]
        try:
            figures = run_apart(Path(__file__), arguments, timeout_s=2 * LIMIT_S)
        except Failed as failure:
            figures = {"seed": seed, "task": task, "faults": [str(failure)], "strikes": []}
        told = figures["faults"] or [f"well; at most {figures['longest_s']:.0f} s to a model"]
        say(f"seed {seed} ({task}, {figures.get('wall_s', 0):.0f} s): {'; '.join(told)}")
        if figures["faults"]:
            say(f"  again: ./scripts/bench process-faults --one {task} --seed {seed}")
        done.append(figures)
        if saves:
            save("process_faults", {"runs": done})
        return figures

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, range(first_seed, first_seed + runs)))


def show(all_runs: list[Figures]) -> None:
    """Print the counts."""
    ran = [run for run in all_runs if run["strikes"]]
    counts = Counter((it["phase"], it["outcome"]) for run in ran for it in run["strikes"])
    outcomes = sorted({outcome for _, outcome in counts})
    head = ["phase struck", "strikes", *outcomes]
    rows = [
        [phase, sum(n for (struck, _), n in counts.items() if struck == phase)]
        + [counts[phase, outcome] for outcome in outcomes]
        for phase in PHASES
    ]
    print(table(head, rows))
    failed = [run for run in all_runs if run["faults"]]
    missed = sum(len(run["not_struck"]) for run in ran)
    tasks = Counter(run["task"] for run in all_runs)
    print(f"\n{len(all_runs)} runs ({dict(tasks)}), seeds {all_runs[0]['seed']} on;", end=" ")
    print(f"{len(failed)} failed; {missed} strikes not reached before the last round;", end=" ")
    print(f"{sum(run['was_troubled'] for run in ran)} runs with freeze, cut and split whole")
    print(f"{sum(run['had_twin'] for run in ran)} runs with two processes of one key;", end=" ")
    heights, tries = (sum(run[what] for run in ran) for what in ("heights", "tries"))
    print(f"{heights} models in {tries} tries;", end=" ")
    print(f"longest wait for a model: {max(run['longest_s'] for run in ran):.0f} s;", end=" ")
    print(
        f"untouched peers are in {min(run['share_untouched'] for run in ran):.0%} of the models at"
        f" least, struck ones in {min(run['share_victim'] for run in ran):.0%}"
    )
    for run in failed:
        print(f"seed {run['seed']} failed: {run['faults']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=positive, default=30)
    parser.add_argument("--jobs", type=positive, default=3)
    parser.add_argument("--seed", type=natural, default=1)
    parser.add_argument("--one", choices=list(KINDS))
    parser.add_argument("--keep", type=Path, help="where the folders of one run go, and stay")
    parser.add_argument("--task", choices=list(KINDS), help="of all runs, not of every tenth")
    parser.add_argument("--only", choices=["equal"])
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.seed, arguments.keep)
        return
    print(describe(machine()))
    if arguments.only != "equal":
        runs = many(
            arguments.runs, arguments.jobs, arguments.seed, arguments.task, saves=arguments.save
        )
        show(runs)
        if any(run["faults"] for run in runs):
            sys.exit(1)
    else:
        print(json.dumps(compare(), indent=1))


if __name__ == "__main__":
    os.nice(5)
    main()
