"""How jobs of many peers are put into stacks, and which rows each step of a stack takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.engines.base import Training, draw_rows
from p2pfl.learner.engines.threads import Workers
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Floats
from p2pfl_gossip.learning import Trained, WorkFailed
from p2pfl_gossip.memory import ALIGNMENT_BYTES

ALIGN = ALIGNMENT_BYTES // 4


def padded(count: int) -> int:
    """Round up to a multiple of 16: rows, so that every matrix begins at a cache line."""
    return -(-count // ALIGN) * ALIGN


def in_chunks(plans: Sequence[BatchPlan], peers_max: int) -> list[list[int]]:
    """Split jobs, by their places, into chunks of those that take about as many steps.

    Within a chunk those with more steps, then with more rows, come first: so those that still have
    steps to do are neighbours, and those of equal plans too.
    """
    order = sorted(range(len(plans)), key=lambda i: (-plans[i].steps, -plans[i].row_count))
    return [order[first : first + peers_max] for first in range(0, len(order), peers_max)]


def mean_block(plans: Sequence[BatchPlan], peers_max: int) -> float:
    """Return how many models a block has in the mean, where all jobs are done in one call.

    It goes by shapes alone: how often several models can take a step at once, all batches being
    padded alike.
    """
    blocks = sum(plans[places[0]].steps for places in in_chunks(plans, peers_max))
    return sum(plan.steps for plan in plans) / blocks


def full_share(plans: Sequence[BatchPlan], all_rows: int) -> float:
    """Return which share of the rows of all steps is left, where all batches are padded alike.

    Args:
        plans: of all jobs.
        all_rows: to which batches are padded.

    Returns:
        rows of batches that are padded as little as may be, over those of batches padded alike.
    """
    rows = sum(padded(size) for plan in plans for size in plan.sizes)
    return rows / (all_rows * sum(plan.steps for plan in plans))


def train_in_chunks(
    workers: Workers,
    trainings: Sequence[Training],
    peers_max: int,
    train: Callable[[Sequence[Training]], list[Trained | WorkFailed]],
) -> list[Trained | WorkFailed]:
    """Have workers train chunks of at most so many jobs; return the results in the jobs' order."""
    chunks = in_chunks([training.plan for training in trainings], peers_max)
    done = workers.map(lambda chunk: train([trainings[i] for i in chunk]), chunks)
    results = {
        i: result
        for chunk, part in zip(chunks, done, strict=True)
        for i, result in zip(chunk, part, strict=True)
    }
    return [results[i] for i in range(len(trainings))]


@dataclass(frozen=True)
class Block:
    """The batches that neighbouring models of a chunk take in one step.

    Attributes:
        first: place of the first model.
        index: int64[peers, rows], row numbers of the data; a batch's first row where it is padded.
        weights: float32[peers, rows], of each row in its batch's mean; 0 for padding.
        sizes: real rows of each batch.
    """

    first: int
    index: Integers
    weights: Floats
    sizes: tuple[int, ...]


def blocks_of(
    chunk: Sequence[Training], all_rows: int | None = None
) -> Iterator[tuple[int, Block]]:
    """Yield (step, block) of all steps of a chunk that `in_chunks` made.

    Batches of one block have the same number of rows once padded. How far a batch is padded goes
    by itself alone: bits would go by its neighbours otherwise.

    Args:
        chunk: jobs.
        all_rows: to which all batches are padded; None pads each as little as may be.
    """
    runs = draw_rows(chunk)
    taken = [0] * len(runs)
    for step in range(chunk[0].plan.steps):
        together: dict[int, list[int]] = {}  # Runs by padded rows of this step's batches.
        for number, run in enumerate(runs):
            if run.plan.steps > step:
                padded_rows = all_rows or padded(run.plan.sizes[step])
                together.setdefault(padded_rows, []).append(number)
        for rows, numbers in together.items():
            # Neighbours go into one product; others would need their models moved.
            for group in _neighbours(numbers):
                first, last = runs[group[0]].first, runs[group[-1]].last
                index = np.empty((last - first, rows), np.int64)
                weights = np.zeros((last - first, rows), np.float32)
                sizes: list[int] = []
                for number in group:
                    run, size = runs[number], runs[number].plan.sizes[step]
                    own, start = slice(run.first - first, run.last - first), taken[number]
                    index[own, :size] = run.rows[:, start : start + size]
                    index[own, size:] = run.rows[:, start : start + 1]
                    weights[own, :size] = 1 / size
                    taken[number] += size
                    sizes.extend([size] * (run.last - run.first))
                yield step, Block(first, index, weights, tuple(sizes))


def _neighbours(numbers: Sequence[int]) -> list[list[int]]:
    """Split rising numbers where one is left out."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
