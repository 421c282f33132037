"""What clipping each row costs, and whether another library gets the same sums.

    ./scripts/bench clipped-sums

784-128-10, blocks of 64 rows, one thread, processor time. Fails if a block of 8 models takes more
than 1.4 times a plain step, a lot of 1,024 rows more than twice its 16 plain steps, or norms or
sums differ from Opacus's by more than a part in 100,000: of perceptrons, of other linear layers,
and of a convolution with GroupNorm, an embedding and an attention, by one gradient a row.

Also tells what a lot of one block costs of modules of linear layers and of a convolution, by one
gradient a row and as it is done, in plain steps of the same module by autograd.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environments import NotInstallable, python_of
from measuring import table

from p2pfl.learner.engines.clipped_sums import ClippedPerceptrons
from p2pfl.learner.engines.lot import BLOCK_ROWS, Lot
from p2pfl.learner.engines.perceptron_step import StackedPerceptrons
from p2pfl.learner.private.module_sums import ModuleSums
from p2pfl.learner.tasks.base import Data, Rows, Task
from p2pfl.learner.vectors import VectorLayout

SIDES = Path(__file__).parent / "sides"
sys.path.insert(0, str(SIDES))

import oracle_modules  # noqa: E402

WIDTHS, ROWS, CLIP = (784, 128, 10), 6400, 1.0
ENTRIES = 784 * 128 + 128 + 128 * 10 + 10
DATA = {"scale": 1 / 255 / 0.353, "offset": -0.286 / 0.353}
BLOCK_MOST, LOT_MOST, APART_MOST = 1.4, 2.0, 1e-5


def layers(widths: Sequence[int], between: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Make linear layers of these widths with a function between them."""
    made: list[torch.nn.Module] = []
    for below, above in pairwise(widths):
        made += [torch.nn.Linear(below, above), between()]
    return torch.nn.Sequential(*made[:-1])


COSTS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "64-32-10, Tanh": (lambda: layers((64, 32, 10), torch.nn.Tanh), (64,)),
    "784-128-10, Tanh": (lambda: layers(WIDTHS, torch.nn.Tanh), (784,)),
    "784-256-128-10, GELU": (lambda: layers((784, 256, 128, 10), torch.nn.GELU), (784,)),
    "convolution": (oracle_modules.convolution, (3, 8, 8)),
}
"""Modules by name, and the shape of their rows."""


def best_s(
    call: Callable[..., object], *arguments: object, calls: int = 20, repetitions: int = 7
) -> float:
    """Return the least processor time of a call."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        for _ in range(calls):
            call(*arguments)
        times.append((time.process_time() - start) / calls)
    return min(times)


def main() -> int:
    """Measure and compare; return 1 if something is not as wanted."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (ROWS, WIDTHS[0])).astype(np.uint8)
    targets = rng.integers(0, WIDTHS[-1], ROWS)
    data: dict[str, Any] = {"inputs": inputs, "targets": targets, **DATA}
    rows, ok = [], True
    for peers in (1, 8):
        plain = StackedPerceptrons(WIDTHS, peers_max=peers, rows_max=64, momentum=0.0, **data)
        clipped = ClippedPerceptrons(WIDTHS, peers_max=peers, **data)
        models = [rng.normal(0, 0.05, ENTRIES).astype(np.float32) for _ in range(peers)]
        plain.load(models)
        clipped.load(models)
        index = rng.integers(0, ROWS, (peers, BLOCK_ROWS))
        ones, rates = np.ones(index.shape, np.float32), np.full(peers, 1e-5, np.float32)
        means = ones / BLOCK_ROWS
        step = best_s(plain.step, 0, index, means, rates)
        block = best_s(clipped.sum_block, 0, index, ones, CLIP)
        ok &= peers == 1 or block <= BLOCK_MOST * step
        rows.append((f"a block, {peers} models", f"{block / step:.2f} plain steps"))
        if peers == 1:
            lot = Lot(rng.choice(ROWS, 1024, replace=False))
            many = best_s(clipped.lot_sum, 0, lot, CLIP, calls=2)
            ok &= many <= LOT_MOST * 16 * step
            rows.append(("a lot of 1,024 rows", f"{many / (16 * step):.2f} times 16 plain steps"))
            norms = clipped.sum_block(0, index, ones, CLIP)[0]
            try:
                apart = against_opacus(
                    models[0], inputs[index[0]], targets[index[0]], norms, clipped.block_sum(0)
                )
            except NotInstallable as reason:
                rows.append(("against Opacus", f"not compared: {reason}"))
                continue
            ok &= max(apart) <= APART_MOST
            rows.append(("norms, from Opacus's", f"{apart[0]:.1e} apart at most, relative"))
            rows.append(("sums, from Opacus's", f"{apart[1]:.1e} of the largest entry"))
    for name in COSTS:
        by_row, chosen, told = module_costs(name)
        figure = f"{by_row:.2f} plain steps by one gradient a row, {chosen:.2f} as it is done"
        rows.append((f"a block of {name}", f"{figure}: {told.split(' (')[0]}"))
    for name in oracle_modules.MODULES:
        try:
            apart = module_against_opacus(name)
        except NotInstallable:  # It has been told above.
            break
        ok &= max(apart) <= APART_MOST
        rows.append((f"{name}: norms, from Opacus's", f"{apart[0]:.1e} apart at most, relative"))
        rows.append((f"{name}: sums, from Opacus's", f"{apart[1]:.1e} of the largest entry"))
    print(table(("what", "figure"), rows))
    return 0 if ok else 1


class Random(Task):
    """A module on random rows.

    Args:
        module: it.
        shape: of a row.
        classes: of the targets.
    """

    def __init__(self, module: torch.nn.Module, shape: tuple[int, ...], classes: int) -> None:
        self._module, self._shape, self._classes = module, shape, classes

    def data(self, _data_dir: Path | None) -> Data:
        """Draw a block of rows."""
        rng = np.random.default_rng(1)
        inputs = rng.standard_normal((BLOCK_ROWS, *self._shape)).astype(np.float32)
        return Data(Rows(inputs, rng.integers(0, self._classes, BLOCK_ROWS)))

    def model(self) -> torch.nn.Module:
        """Return the module."""
        return self._module


class ByRow(ModuleSums):
    """Takes one gradient a row, whatever the module."""

    def _linear_sums(self) -> str:
        return "as asked"


def module_costs(name: str) -> tuple[float, float, str]:
    """Return what a block costs by one gradient a row, and as it is done, in plain steps; how."""
    make, shape = COSTS[name]
    torch.manual_seed(0)
    module = make()
    task = Random(module, shape, oracle_modules.CLASSES)
    data = task.data(None)
    layout = VectorLayout(module, [key for key, _ in module.named_parameters()])
    inputs, targets = (torch.from_numpy(it) for it in (data.train.inputs, data.train.targets))
    optimiser = torch.optim.SGD(module.parameters(), 1e-5)

    def step() -> None:
        optimiser.zero_grad()
        task.loss(module(inputs), targets).backward()
        optimiser.step()

    lot, vector = Lot(np.arange(BLOCK_ROWS)), layout.to_vector(module)
    by_row, chosen = ByRow(task, module, layout, data), ModuleSums(task, module, layout, data)
    plain = best_s(step)
    first = best_s(by_row.lot_sum, vector, lot, CLIP, 0, calls=5)
    second = best_s(chosen.lot_sum, vector, lot, CLIP, 0, calls=5)
    return first / plain, second / plain, chosen.told


class Oracle(Task):
    """One of `oracle_modules`, on random rows."""

    def __init__(self, name: str) -> None:
        self._name = name

    def data(self, _data_dir: Path | None) -> Data:
        """Draw rows."""
        rng = np.random.default_rng(1)
        count, of = oracle_modules.ROWS, oracle_modules
        targets = rng.integers(0, of.CLASSES, count)
        if self._name in of.IMAGES:
            return Data(Rows(rng.standard_normal((count, 3, 8, 8)).astype(np.float32), targets))
        return Data(Rows(rng.integers(0, of.WORDS, (count, of.TOKENS)), targets))

    def model(self) -> Any:
        """Make the module."""
        torch.manual_seed(0)
        return oracle_modules.MODULES[self._name]()


def module_against_opacus(name: str) -> tuple[float, float]:
    """Have Opacus clip the same rows of a module; return how far norms and sums are apart."""
    task = Oracle(name)
    module, data = task.model(), task.data(None)
    layout = VectorLayout(module, [key for key, _ in module.named_parameters()])
    sums, vector = ModuleSums(task, module, layout, data), layout.to_vector(module)
    alone = [sums.lot_sum(vector, Lot(np.array([row])), 1e9, 0)[0] for row in range(64)]
    norms = np.array([np.linalg.norm(one) for one in alone])
    clip = float(np.median(norms))  # Half of the rows are clipped.
    total, _ = sums.lot_sum(vector, Lot(np.arange(oracle_modules.ROWS)), clip, 0)
    given = {"inputs": data.train.inputs, "targets": data.train.targets, "norms": norms}
    for prefix, values in (("at", vector), ("sum", total)):
        for key, view in layout.views(torch.from_numpy(values)).items():
            given[f"{prefix} {key}"] = view.numpy()
    return by_side("modules_by_opacus.py", given, name, str(clip))


def by_side(side: str, given: dict[str, Any], *arguments: str) -> tuple[float, float]:
    """Run a script where Opacus is; return how far norms and sums are apart."""
    python = python_of("opacus")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "given.npz"
        np.savez(arrays, **given)
        done = subprocess.run(
            [str(python), str(SIDES / side), str(arrays), *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
    first, second = json.loads(done.stdout)
    return first, second


def against_opacus(
    model: np.ndarray, inputs: np.ndarray, targets: np.ndarray, norms: np.ndarray, total: np.ndarray
) -> tuple[float, float]:
    """Have Opacus clip the same rows; return how far norms and sums are apart."""
    given = {"model": model, "inputs": inputs, "targets": targets, "norms": norms, "total": total}
    settings = {**DATA, "widths": WIDTHS, "clip": CLIP}
    return by_side("clipped_by_opacus.py", given, json.dumps(settings))


if __name__ == "__main__":
    sys.exit(main())
