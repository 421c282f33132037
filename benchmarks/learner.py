"""How fast many peers' models train: stacked, on one and two threads, against a plain torch loop.

    ./scripts/bench learner [--peers N] [--repeats R]

One repeat gives every peer one client update (one local epoch) from a vector of its own; copying
vectors in and out counts. Rows of a case are run in turn, and medians over the repeats are told.
Data are random bytes of the shapes of Fashion-MNIST and digits: speed does not depend on them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks.perceptrons import Digits, FashionMnist
from p2pfl.learner.tasks.registry import make_task
from p2pfl_gossip.learning import Train

if TYPE_CHECKING:
    from p2pfl.learner.tasks.base import Data

CASES = [  # task, hidden widths, rows a peer, batch size
    ("fashion-mnist", 128, 60, 32),
    ("fashion-mnist", 128, 6, 32),
    ("fashion-mnist", 64, 32, 32),
    ("digits", 32, 32, 32),
    ("digits", 32, 60, 32),
]


def settings(task: str, hidden: int, rows: int, batch_size: int) -> LearningSettings:
    return LearningSettings.model_validate(
        {
            "task": task,
            "options": {"hidden": [hidden]},
            "partition": {"kind": "iid", "rows_per_peer": rows, "reuse": True},
            "training": {"batch_size": batch_size, "learning_rate": 0.01},
        }
    )


def plain_loop(task: str, hidden: int, rows: int, batch: int, peers: int) -> Callable[[], None]:
    """One model after the other, as a careful researcher would write it: data in float32."""
    made = make_task(task, {"hidden": [hidden]}, folder=None)
    assert isinstance(made, (Digits, FashionMnist))
    module = made.model()
    data: Data = made.data(None)
    inputs = torch.from_numpy(data.train.inputs.astype(np.float32)) * data.scale + data.offset
    targets = torch.from_numpy(data.train.targets)
    held = np.random.default_rng(0).integers(0, len(inputs), (peers, rows))
    starts = [
        {name: value.clone() for name, value in module.state_dict().items()} for _ in range(peers)
    ]
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)

    def run() -> None:
        results = []
        with one_torch_thread():
            for peer in range(peers):
                module.load_state_dict(starts[peer])
                order = torch.from_numpy(held[peer])[torch.randperm(rows)]
                for first in range(0, rows, batch):
                    chosen = order[first : first + batch]
                    loss = made.loss(module(inputs[chosen]), targets[chosen])
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    optimiser.step()
                results.append({name: value.clone() for name, value in module.state_dict().items()})

    return run


def stacked(learner: Learner, peers: int) -> Callable[[], None]:
    start = learner.initial_vector()
    vectors = [start.copy() for _ in range(peers)]
    jobs = [(peer, Train(0, vectors[peer], f"0/{peer}/0/train/0")) for peer in range(peers)]

    def run() -> None:
        learner.run(jobs)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    peers, repeats = arguments.peers, arguments.repeats
    print(f"torch {torch.__version__}, {peers} peers, median of {repeats}")
    print("case, method: updates per wall second, updates and steps per CPU second, ratio of wall")
    for task, hidden, rows, batch in CASES:
        chosen = settings(task, hidden, rows, batch)
        learners = {
            f"stacked, {threads} thread{'s'[: threads - 1]}": make_learner(
                chosen, peer_count=peers, seed=0, folder=None, threads=threads
            )
            for threads in (1, 2)
        }
        steps = -(-rows // batch)
        ways = {"plain loop": plain_loop(task, hidden, rows, batch, peers)}
        ways |= {name: stacked(learner, peers) for name, learner in learners.items()}
        wall: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(repeats + 1):
            for name, run in ways.items():
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                run()
                if repeat:  # The first warms up.
                    wall[name].append(time.perf_counter() - wall_start)
                    cpu[name].append(time.process_time() - cpu_start)
        print(f"\n{task}, {hidden} hidden, {rows} rows a peer = {steps} steps of {batch}")
        reference = statistics.median(wall["plain loop"])
        for name in ways:
            wall_s, cpu_s = statistics.median(wall[name]), statistics.median(cpu[name])
            print(
                f"  {name:20} {peers / wall_s:9,.0f}/s {peers / cpu_s:9,.0f}/CPU-s"
                f" {peers * steps / cpu_s:9,.0f} steps/CPU-s {reference / wall_s:6.1f}x"
            )


if __name__ == "__main__":
    main()
