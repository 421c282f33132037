"""Many perceptrons in one batched step: forward and backward by hand, in place.

Models lie side by side in one scratch, [peers, padded d]; every layer is one batched product over
all of them, and updates go straight into the scratch, with no gradient kept.

A peer's result is the same, bit for bit, whoever shares the batch. For that,
- every matrix begins at a multiple of 64 bytes (a product's kernel goes by the alignment of its
  operands), and the rows of a batch are padded to a multiple of 16, by rows of weight zero;
- each sum over a batch is a product with ones, since the order in which a reduction sums may go
  by the number of peers;
- one thread does a chunk of peers. Chunks are done on several threads.
"""

import threading
from collections.abc import Sequence

import numpy as np
import torch

from p2pfl.learner.engines.base import (
    Training,
    batch_rows,
    evaluation,
    failed_training,
)
from p2pfl.learner.engines.threads import Workers
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Data, Floats, Rows, Task
from p2pfl.learner.vectors import VectorLayout, readable
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Evaluate, Evaluated, Trained, WorkFailed

ALIGNMENT_BYTES = 64  # A cache line, and the width of AVX-512.
ALIGN = ALIGNMENT_BYTES // 4
SCRATCH_BYTES_MAX = 4 * 2**20  # Of a chunk: about what stays in a core's share of the caches.
CHUNK_PEERS_MAX = 64  # More than that saves no further overhead, even for the smallest models.
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


class _Scratch:
    """The working memory of one thread: models of a chunk, and one batch of each."""

    def __init__(self, engine: "PerceptronEngine") -> None:
        peers, rows, widths = engine.chunk_peers, engine.rows_max, engine.widths
        self.models = _aligned(peers * engine.layout.length).view(peers, -1)
        self.velocities = torch.zeros_like(self.models) if engine.momentum else None
        self.picked = np.empty((peers * rows, widths[0]), engine.data.train.inputs.dtype)
        self.activations = [_aligned(peers * rows * width) for width in widths]
        self.gradients = [_aligned(peers * rows * width) for width in widths[1:]]
        self.ones = torch.ones(peers, 1, rows)


def _aligned(count: int) -> torch.Tensor:
    """Return float32[count] zeros that begin at a multiple of 64 bytes."""
    memory = torch.zeros(count + ALIGN)
    skip = -memory.data_ptr() % ALIGNMENT_BYTES // 4
    return memory[skip : skip + count]


class PerceptronEngine:
    """Trains stacked perceptrons.

    Args:
        task: for its metrics; its loss must be cross-entropy.
        module: the perceptron.
        widths: of its layers, by `perceptron_widths`.
        layout: of the vectors.
        data: the rows.
        test: the rows to measure on.
        batch_size: rows of a step, at most.
        momentum: of SGD, 0 for none.
        workers: the threads.
    """

    batching = "stacked (bmm by hand)"

    def __init__(
        self,
        task: Task,
        module: torch.nn.Module,
        *,
        widths: tuple[int, ...],
        data: Data,
        test: Rows,
        batch_size: int,
        momentum: float,
        workers: Workers,
    ) -> None:
        names = [name for name, _ in module.named_parameters()]
        self.vectors = VectorLayout(module, names)
        self.layout = VectorLayout(module, names, align=ALIGN)
        self.widths, self.data, self.momentum = widths, data, momentum
        self.rows_max = -(-batch_size // ALIGN) * ALIGN
        per_peer = 4 * (self.layout.length * (2 if momentum else 1) + self.rows_max * sum(widths))
        self.chunk_peers = max(1, min(CHUNK_PEERS_MAX, SCRATCH_BYTES_MAX // per_peer))
        self._task, self._test, self._workers = task, test, workers
        train = data.train.inputs
        self._inputs = train.reshape(len(train), -1)
        self._targets = np.ascontiguousarray(data.train.targets, np.int64)
        self._local = threading.local()

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, in chunks of jobs that take about as many steps."""
        order = sorted(
            range(len(trainings)),
            key=lambda i: (-trainings[i].plan.steps, -trainings[i].plan.row_count),
        )
        share = -(-len(order) // self._workers.count)
        size = max(1, min(self.chunk_peers, share))
        chunks = [order[first : first + size] for first in range(0, len(order), size)]
        done = self._workers.map(
            lambda chunk: self._train_chunk([trainings[i] for i in chunk]), chunks
        )
        results: list[Trained | WorkFailed | None] = [None] * len(trainings)
        for chunk, part in zip(chunks, done, strict=True):
            for i, result in zip(chunk, part, strict=True):
                results[i] = result
        return [result for result in results if result is not None]

    def evaluate(self, jobs: Sequence[Evaluate]) -> list[Evaluated | WorkFailed]:
        """Measure model after model: with this many rows a model alone fills a product."""
        return self._workers.map(lambda job: evaluation(job, self._measure), jobs)

    def _scratch(self) -> _Scratch:
        if not hasattr(self._local, "scratch"):
            self._local.scratch = _Scratch(self)
        scratch: _Scratch = self._local.scratch
        return scratch

    def _train_chunk(self, chunk: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train a chunk whose jobs are sorted by falling number of steps."""
        scratch = self._scratch()
        models = scratch.models.numpy()
        for model, training in zip(models, chunk, strict=False):
            self._load(model, training.job.vector)
        if scratch.velocities is not None:
            scratch.velocities.zero_()
        rows = batch_rows(chunk)
        losses = np.zeros((len(chunk), chunk[0].plan.steps), np.float32)
        taken = [0] * len(chunk)
        for step in range(chunk[0].plan.steps):
            first = 0
            while first < len(chunk) and chunk[first].plan.steps > step:
                padded = self._padded(chunk[first].plan.sizes[step])
                last = first + 1
                while (
                    last < len(chunk)
                    and chunk[last].plan.steps > step
                    and self._padded(chunk[last].plan.sizes[step]) == padded
                ):
                    last += 1
                batch = []
                for i in range(first, last):
                    size = chunk[i].plan.sizes[step]
                    batch.append(rows[i][taken[i] : taken[i] + size])
                    taken[i] += size
                rates = [training.rate for training in chunk[first:last]]
                losses[first:last, step] = self._step(scratch, first, batch, rates, padded)
                first = last
        return self._results(chunk, scratch, losses)

    def _results(
        self, chunk: Sequence[Training], scratch: _Scratch, losses: Floats
    ) -> list[Trained | WorkFailed]:
        # A sum of finite numbers may overflow, but one with NaN or infinity is never finite.
        sums = scratch.models[: len(chunk)].sum(1)
        results: list[Trained | WorkFailed] = []
        for i, training in enumerate(chunk):
            own = losses[i, : training.plan.steps]
            loss = float(own.mean(dtype=np.float64))
            vector = self._unload(scratch.models[i].numpy())
            finite = bool(sums[i].isfinite()) or bool(np.isfinite(vector).all())
            if np.isfinite(loss) and finite:
                results.append(Trained(vector, len(training.rows), loss))
            else:
                results.append(failed_training(training, own.tolist()))
        return results

    def _step(
        self,
        scratch: _Scratch,
        first: int,
        batch: Sequence[Integers],
        rates: Sequence[float],
        padded: int,
    ) -> Floats:
        """Do one step of the models from `first` on; return their losses before it."""
        peers, depth = len(batch), len(self.widths) - 1
        index = np.zeros((peers, padded), np.int64)
        weights = np.zeros((peers, padded), np.float32)
        scaled = np.zeros((peers, padded), np.float32)
        for i, rows in enumerate(batch):
            index[i, : len(rows)] = rows
            index[i, len(rows) :] = rows[0]
            weights[i, : len(rows)] = 1 / len(rows)
            scaled[i, : len(rows)] = rates[i] / len(rows)
        activations = [
            memory[: peers * padded * width].view(peers, padded, width)
            for memory, width in zip(scratch.activations, self.widths, strict=True)
        ]
        gradients = [
            memory[: peers * padded * width].view(peers, padded, width)
            for memory, width in zip(scratch.gradients, self.widths[1:], strict=True)
        ]
        self._take(index, scratch.picked, activations[0])
        targets = torch.from_numpy(self._targets[index]).unsqueeze(2)
        models = scratch.models[first : first + peers]
        layers = self._layers(models)
        for (weight, bias), below, above in zip(layers, activations, activations[1:], strict=False):
            torch.baddbmm(bias, below, weight, out=above)
            if above is not activations[-1]:
                above.relu_()
        # The gradient of each row's cross-entropy is softmax - one-hot; scaled by the learning
        # rate here, so that every update below is a plain difference, whatever a peer's rate.
        logs = torch.log_softmax(activations[-1], 2)
        chosen = logs.gather(2, targets)
        gradient = torch.exp(logs, out=gradients[-1])
        gradient.scatter_add_(2, targets, chosen.new_full(chosen.shape, -1.0))
        gradient.mul_(torch.from_numpy(scaled).unsqueeze(2))
        ones = scratch.ones[:peers, :, :padded]
        velocities = None
        if scratch.velocities is not None:
            velocities = self._layers(scratch.velocities[first : first + peers])
        for depth_now in range(depth - 1, -1, -1):
            weight, bias = layers[depth_now]
            below, gradient = activations[depth_now], gradients[depth_now]
            if depth_now:
                torch.bmm(gradient, weight.transpose(1, 2), out=gradients[depth_now - 1])
                _relu_backward(gradients[depth_now - 1], below)
            if velocities is None:
                weight.baddbmm_(below.transpose(1, 2), gradient, alpha=-1)
                bias.baddbmm_(ones, gradient, alpha=-1)
            else:
                weight_velocity, bias_velocity = velocities[depth_now]
                weight_velocity.baddbmm_(below.transpose(1, 2), gradient, beta=self.momentum)
                bias_velocity.baddbmm_(ones, gradient, beta=self.momentum)
                weight.sub_(weight_velocity)
                bias.sub_(bias_velocity)
        result: Floats = -np.einsum("ij,ij->i", weights, chosen.squeeze(2).numpy())
        return result

    def _take(self, index: Integers, picked: Floats, out: torch.Tensor) -> None:
        """Copy rows of the training data, by number, into a batch."""
        taken = picked[: index.size]
        np.take(self._inputs, index.reshape(-1), axis=0, out=taken, mode="clip")
        out.copy_(torch.from_numpy(taken).view(out.shape))
        if taken.dtype == np.uint8:
            out.mul_(self.data.scale).add_(self.data.offset)

    def _layers(self, models: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """View stacked models, layer by layer: [peers, inputs, outputs], [peers, 1, outputs]."""
        views = [entry.view(models) for entry in self.layout.entries]
        return [
            (weight.transpose(-1, -2), bias.unsqueeze(-2))
            for weight, bias in zip(views[::2], views[1::2], strict=True)
        ]

    def _load(self, model: Floats, vector: Vector) -> None:
        for place, entry in zip(self.layout.entries, self.vectors.entries, strict=True):
            model[place.offset : place.offset + place.size] = vector[
                entry.offset : entry.offset + entry.size
            ]

    def _unload(self, model: Floats) -> Floats:
        vector = np.empty(self.vectors.length, np.float32)
        for place, entry in zip(self.layout.entries, self.vectors.entries, strict=True):
            vector[entry.offset : entry.offset + entry.size] = model[
                place.offset : place.offset + place.size
            ]
        vector.flags.writeable = False
        return vector

    def _measure(self, vector: Vector) -> dict[str, float]:
        model = _aligned(self.layout.length)
        self._load(model.numpy(), vector)
        layers = self._layers(model)
        outputs = np.empty((len(self._test.inputs), self.widths[-1]), np.float32)
        for start in range(0, len(outputs), EVALUATION_ROWS_MAX):
            values = self._test_inputs(start)
            for depth, (weight, bias) in enumerate(layers):
                values = torch.addmm(bias, values, weight)
                if depth < len(layers) - 1:
                    values.relu_()
            outputs[start : start + EVALUATION_ROWS_MAX] = values.numpy()
        return self._task.metrics(outputs, self._test.targets)

    def _test_inputs(self, start: int) -> torch.Tensor:
        rows = readable(self._test.inputs[start : start + EVALUATION_ROWS_MAX])
        values = rows.reshape(len(rows), -1).to(torch.float32)
        if rows.dtype == torch.uint8:
            values.mul_(self.data.scale).add_(self.data.offset)
        return values

    @staticmethod
    def _padded(rows: int) -> int:
        return -(-rows // ALIGN) * ALIGN


def _relu_backward(gradient: torch.Tensor, output: torch.Tensor) -> None:
    """Set the gradient to zero where ReLU's output is zero, in place."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
