"""What clipping each row costs, and whether another library gets the same sums.

    ./scripts/bench clipped-sums

784-128-10, blocks of 64 rows, one thread, processor time. Fails if a block of 8 models takes more
than 1.4 times a plain step, a lot of 1,024 rows more than twice its 16 plain steps, or norms or
sums differ from Opacus's by more than a part in 100,000.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from environments import NotInstallable, python_of
from measuring import table

from p2pfl.learner.engines.clipped_sums import ClippedPerceptrons
from p2pfl.learner.engines.lot import BLOCK_ROWS, Lot
from p2pfl.learner.engines.perceptron_step import StackedPerceptrons

WIDTHS, ROWS, CLIP = (784, 128, 10), 6400, 1.0
ENTRIES = 784 * 128 + 128 + 128 * 10 + 10
DATA = {"scale": 1 / 255 / 0.353, "offset": -0.286 / 0.353}
BLOCK_MOST, LOT_MOST, APART_MOST = 1.4, 2.0, 1e-5


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
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (ROWS, WIDTHS[0])).astype(np.uint8)
    targets = rng.integers(0, WIDTHS[-1], ROWS)
    data = {"inputs": inputs, "targets": targets, **DATA}
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
    print(table(("what", "figure"), rows))
    return 0 if ok else 1


def against_opacus(
    model: np.ndarray, inputs: np.ndarray, targets: np.ndarray, norms: np.ndarray, total: np.ndarray
) -> tuple[float, float]:
    """Have Opacus clip the same rows; return how far norms and sums are apart."""
    python = python_of("opacus")
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        np.savez(given, model=model, inputs=inputs, targets=targets, norms=norms, total=total)
        side = Path(__file__).parent / "sides" / "clipped_by_opacus.py"
        arguments = [str(given), json.dumps({**DATA, "widths": WIDTHS, "clip": CLIP})]
        done = subprocess.run(
            [str(python), str(side), *arguments], check=True, capture_output=True, text=True
        )
    first, second = json.loads(done.stdout)
    return first, second


if __name__ == "__main__":
    sys.exit(main())
