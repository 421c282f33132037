"""Trains perceptrons of many peers, in chunks that fit a core's caches, on several threads."""

import math
import threading
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from p2pfl.learner.engines.base import (
    Evaluation,
    OutputReadings,
    Outputs,
    Training,
    failed_training,
)
from p2pfl.learner.engines.chunks import blocks_of, train_in_chunks
from p2pfl.learner.engines.perceptron_step import StackedPerceptrons, scratch_bytes
from p2pfl.learner.engines.threads import Workers
from p2pfl.learner.tasks.base import Array, Data, Floats, Rows, Task
from p2pfl.learner.vectors import readable
from p2pfl_gossip.learning import Trained, WorkFailed
from p2pfl_gossip.memory import aligned, vector_memory

CHUNK_BYTES_MAX = 5 * 2**20  # Measured: larger chunks fall out of the caches, smaller ones pay
CHUNK_PEERS_MAX = 64  # more calls a peer. Above 64 peers even the smallest models gain nothing.
EVALUATION_ROWS_MAX = 2048  # Of one product: keeps the hidden layers small.


def perceptron_widths(module: torch.nn.Module, names: Sequence[str]) -> tuple[int, ...] | str:
    """Return the layer widths of a perceptron, or why the module is none that this can train.

    It must be an `nn.Sequential` of `nn.Linear` with biases and `nn.ReLU` in turn, after an
    optional `nn.Flatten`, all of float32 and all travelling in their order.
    """
    if type(module) is not torch.nn.Sequential:
        return "not an nn.Sequential"
    layers = list(module)
    if layers and type(layers[0]) is torch.nn.Flatten and layers[0].start_dim == 1:
        layers = layers[1:]
    linear, between = layers[::2], layers[1::2]
    if not linear or len(between) != len(linear) - 1:
        return "not linear layers with ReLU between them"
    if any(type(layer) is not torch.nn.ReLU for layer in between):
        return "an activation other than ReLU"
    widths: list[int] = []
    for layer in linear:
        if type(layer) is not torch.nn.Linear or layer.bias is None:
            return "not linear layers with biases"
        if widths and widths[-1] != layer.in_features:
            return "widths that do not fit"
        widths = [*(widths or [layer.in_features]), layer.out_features]
    parameters = dict(module.named_parameters())
    if list(names) != list(parameters) or len(parameters) != 2 * len(linear):
        return "tensors that do not travel, or are tied"
    if any(value.dtype != torch.float32 for value in parameters.values()):
        return "parameters other than float32"
    if not all(value.requires_grad for value in parameters.values()):
        return "frozen parameters"
    return tuple(widths)


class PerceptronEngine:
    """Trains stacked perceptrons.

    Args:
        task: for its metrics; its loss must be cross-entropy.
        widths: of the layers, by `perceptron_widths`.
        data: the rows.
        test: the common test rows, if there are any.
        batch_size: rows of a step, at most.
        momentum: of SGD, 0 for none.
        workers: the threads.
    """

    batching = "stacked (bmm by hand)"

    def __init__(
        self,
        task: Task,
        *,
        widths: tuple[int, ...],
        data: Data,
        test: Rows | None,
        batch_size: int,
        momentum: float,
        workers: Workers,
    ) -> None:
        self._task, self._data, self._test, self._workers = task, data, test, workers
        self._widths, self._batch_size, self._momentum = widths, batch_size, momentum
        per_peer = scratch_bytes(widths, batch_size, momentum=momentum > 0)
        self._chunk_peers = max(1, min(CHUNK_PEERS_MAX, CHUNK_BYTES_MAX // per_peer))
        train = data.train.inputs
        self._inputs = np.ascontiguousarray(train.reshape(len(train), -1))
        self._targets = np.ascontiguousarray(data.train.targets, np.int64)
        self._memory = vector_memory(sum((below + 1) * above for below, above in pairwise(widths)))
        self._local = threading.local()
        self._test_inputs: torch.Tensor | None = None

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, in chunks of jobs that take about as many steps."""
        share = -(-len(trainings) // self._workers.count)
        peers_max = max(1, min(self._chunk_peers, share))
        return train_in_chunks(self._workers, trainings, peers_max, self._train_chunk)

    def one_at_a_time(self) -> "PerceptronEngine":
        """See `Engine`."""
        return self

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[OutputReadings]:
        """Run model after model: with this many rows one model alone fills a product."""
        return self._workers.map(self._evaluate, evaluations)

    def _stack(self) -> StackedPerceptrons:
        if getattr(self._local, "peers", 0) < self._chunk_peers:
            self._local.peers = self._chunk_peers
            self._local.stack = StackedPerceptrons(
                self._widths,
                peers_max=self._chunk_peers,
                rows_max=self._batch_size,
                momentum=self._momentum,
                inputs=self._inputs,
                targets=self._targets,
                scale=self._data.scale,
                offset=self._data.offset,
            )
        stack: StackedPerceptrons = self._local.stack
        return stack

    def _train_chunk(self, chunk: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train jobs that are sorted by falling number of steps, then of rows.

        So those that still have steps to do come first, and those of equal plans together.
        """
        stack = self._stack()
        stack.load([training.job.vector for training in chunk])
        rates = np.array([training.rate for training in chunk], np.float32)
        losses = np.zeros((len(chunk), chunk[0].plan.steps), np.float32)
        for step, block in blocks_of(chunk):
            models = slice(block.first, block.first + len(block.index))
            each = stack.step(block.first, block.index, block.weights, rates[models])
            losses[models, step] = (each * block.weights).sum(axis=1)
        return self._results(chunk, stack, losses)

    def _results(
        self, chunk: Sequence[Training], stack: StackedPerceptrons, losses: Floats
    ) -> list[Trained | WorkFailed]:
        results: list[Trained | WorkFailed] = []
        all_finite = stack.are_finite(len(chunk))
        sums = losses.sum(axis=1, dtype=np.float64).tolist()
        for place, (training, total) in enumerate(zip(chunk, sums, strict=True)):
            vector = self._memory.take()
            stack.unload(place, vector)
            if math.isfinite(total) and (all_finite or np.isfinite(vector).all()):
                vector.flags.writeable = False
                steps = training.plan.steps
                results.append(Trained(vector, len(training.rows), total / steps))
            else:
                results.append(failed_training(training, losses[place].tolist()))
        if any(isinstance(result, WorkFailed) for result in results):
            stack.clean()
        return results

    def _evaluate(self, evaluation: Evaluation) -> OutputReadings:
        # A copy, since the last bits of a product may go by where its operands begin.
        copied = aligned(len(evaluation.job.vector))
        copied[:] = evaluation.job.vector
        model = torch.from_numpy(copied)
        test, common = self._test, None
        if test is not None and evaluation.with_common:
            if self._test_inputs is None:
                self._test_inputs = self._as_inputs(test.inputs)
            common = Outputs(self._outputs(model, self._test_inputs), test.targets)
        inputs = self._as_inputs(self._inputs[evaluation.held])
        targets = self._data.train.targets[evaluation.held]
        return OutputReadings(
            self._task,
            common=common,
            held=Outputs(self._outputs(model, inputs), targets),
            round_number=evaluation.job.round,
        )

    def _as_inputs(self, rows: Array) -> torch.Tensor:
        values = readable(rows)
        # Copied into torch's own memory, for the same reason.
        inputs = values.flatten(1).to(torch.float32, copy=True)
        if values.dtype == torch.uint8:
            inputs.mul_(self._data.scale).add_(self._data.offset)
        return inputs

    def _outputs(self, model: torch.Tensor, inputs: torch.Tensor) -> Floats:
        outputs = [np.zeros((0, self._widths[-1]), np.float32)]
        for start in range(0, len(inputs), EVALUATION_ROWS_MAX):
            values, at = inputs[start : start + EVALUATION_ROWS_MAX], 0
            for below, above in pairwise(self._widths):
                middle = at + below * above
                weight, bias = model[at:middle].view(below, above), model[middle : middle + above]
                values = torch.addmm(bias, values.relu_() if at else values, weight)
                at = middle + above
            outputs.append(values.numpy())
        return np.concatenate(outputs)
