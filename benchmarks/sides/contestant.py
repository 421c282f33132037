"""What the contestants' scripts share; it needs torch and NumPy alone."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import Clock, give, peak_memory_mb, settle


class Task:
    """Every peer's rows, and rows to evaluate on.

    Attributes:
        peers: inputs float32[60, 784] and labels of each peer.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as file:
            inputs, targets = file["inputs"], file["targets"]
            self.peers = [
                (torch.from_numpy(inputs[rows]), torch.from_numpy(targets[rows]))
                for rows in file["rows"]
            ]
            self.test_inputs = torch.from_numpy(file["test_inputs"])
            self.test_targets = torch.from_numpy(file["test_targets"])

    def accuracy(self, values: Sequence[torch.Tensor]) -> float:
        """Return the share of test rows that a model gets right."""
        module = make_module()
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), values, strict=True):
                parameter.copy_(torch.as_tensor(value))
            right = module(self.test_inputs).argmax(1) == self.test_targets
        return float(right.float().mean())


def make_module() -> torch.nn.Sequential:
    """Return the model, 784-128-10, the same start each time."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def start() -> tuple[dict[str, Any], Task]:
    """Read the arguments: a data file and a specification."""
    spec = json.loads(sys.argv[2])
    return spec, Task(sys.argv[1])


def fastest_threads(work: Callable[[], object]) -> int:
    """Set torch's threads to one or two, whichever does `work` faster, and return how many."""
    took: dict[int, float] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        work()
        begin = time.perf_counter()
        work()
        took[threads] = time.perf_counter() - begin
    best = min(took, key=lambda threads: took[threads])
    torch.set_num_threads(best)
    return best


def finish(
    spec: dict[str, Any],
    task: Task,
    run: Callable[[], object],
    model: Callable[[], Sequence[torch.Tensor]],
    *,
    threads: int,
) -> None:
    """Time a run of all rounds, and print the figures."""
    settle()
    clock = Clock()
    run()
    took = clock.figures()
    updates = spec["peers"] * spec["rounds"]
    give(
        {
            "updates": updates,
            **took,
            "updates_per_s": updates / took["wall_s"],
            "peak_mb": peak_memory_mb(),
            "accuracy": task.accuracy(model()),
            "threads": threads,
        }
    )
