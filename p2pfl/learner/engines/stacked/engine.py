"""Trains many peers' models of any program of stacked layers, on several threads."""

import math
import threading
from collections.abc import Sequence

import numpy as np
import torch

from p2pfl.learner.engines.base import Evaluation, OutputReadings, Training, failed_training
from p2pfl.learner.engines.chunks import Block, blocks_of, padded, train_in_chunks
from p2pfl.learner.engines.losses import StackedLoss
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.stack_rows import StackRows
from p2pfl.learner.engines.stacked.program import NotStackable
from p2pfl.learner.engines.stacked.reading import read
from p2pfl.learner.engines.stacked.step import Memory, Models, StackStep
from p2pfl.learner.engines.threads import Workers, one_torch_thread
from p2pfl.learner.optimisers import Optimiser, State
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import Data, Floats, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors, readable
from p2pfl_gossip.learning import Trained, WorkFailed

CHUNK_BYTES_MAX = 16 * 2**20  # Measured: 4 to 8 peers of a small CNN; more gain nothing, and
CHUNK_PEERS_MAX = 16  # two fill too little of a product.

CHUNK_PEERS_MIN = 2
TOLERANCE = 1e-3  # Of a first gradient against autograd's, in shares of the tensor's largest entry.
CHECK_ROWS = 8
"""Of that first gradient. With two rows that are nearly alike a batch norm enlarges rounding, and a
bias before it has no other gradient."""


class StackedEngine:
    """Trains stacks of models, layer by layer.

    Args:
        task: gives the loss.
        module: the model at its start; not changed.
        layout: of the vectors.
        data: the rows.
        batch_size: rows of a step, at most.
        optimiser: moves the models.
        alone: measures models.
        workers: the threads.

    Raises:
        NotStackable: the module does something that no stacked layer stands for.
    """

    batching = "stacked (layers by hand)"

    def __init__(
        self,
        task: Task,
        module: torch.nn.Module,
        layout: VectorLayout,
        *,
        data: Data,
        batch_size: int,
        optimiser: Optimiser,
        alone: ModuleEngine,
        workers: Workers,
    ) -> None:
        self._task, self._data, self._layout = task, data, layout
        self._optimiser, self._alone, self._workers = optimiser, alone, workers
        self._inputs, self._targets = readable(data.train.inputs), readable(data.train.targets)
        module.train()  # What its forward does by `self.training` is read as it trains.
        self._program = read(module, tuple(self._inputs.shape[1:]))
        tensors = module_tensors(module)
        names = [entry.name for entry in layout.entries]
        if not all(tensors[name].requires_grad for name in names):
            raise NotStackable("buffers that travel")
        used = {tensor for name, tensor in tensors.items() if name in self._program.parameter_names}
        if any(tensor.dtype != torch.float32 for tensor in used):
            raise NotStackable("parameters of another type than float32")
        own = {id(tensors[name]): name for name in names}
        if any(id(tensors[name]) in own and name not in names for name in tensors):
            raise NotStackable("parameters that are tied")
        self._trained = frozenset(names)
        self._frozen = {
            name: tensors[name].detach().clone()
            for name in dict.fromkeys(self._program.parameter_names)
            if name not in self._trained
        }
        self._rows = StackRows(module, layout)
        per_peer = self._bytes_a_peer(min(batch_size, len(self._inputs)))
        self._chunk_peers = min(CHUNK_PEERS_MAX, CHUNK_BYTES_MAX // per_peer)
        if self._chunk_peers < CHUNK_PEERS_MIN:
            raise NotStackable("a model that fills a core's caches by itself")
        self._loss = StackedLoss(task)
        self._local = threading.local()
        self._check(module)

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, in chunks of jobs that take about as many steps."""
        share = -(-len(trainings) // self._workers.count)
        peers_max = max(1, min(self._chunk_peers, share))
        return train_in_chunks(self._workers, trainings, peers_max, self._train_chunk)

    def one_at_a_time(self) -> "StackedEngine":
        """See `Engine`."""
        return self

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[OutputReadings]:
        """Measure model after model."""
        return self._alone.evaluate(evaluations)

    def _check(self, module: torch.nn.Module) -> None:
        """Hold a gradient against autograd's, for a module that does other than its layers say."""
        size = min(CHECK_ROWS, len(self._inputs))
        index, weights = np.zeros((1, padded(size)), np.int64), np.zeros((1, padded(size)))
        index[0, :size], weights[0, :size] = np.arange(size), 1 / size
        block = Block(0, index, weights.astype(np.float32), (size,))
        models, tensors = self._models(), module_tensors(module)
        with one_torch_thread(), torch.random.fork_rng(devices=[]):
            with torch.no_grad():
                self._rows.load(models.flat[:1], [self._layout.to_vector(module)])
                self._differentiate(
                    models, block, [torch.Generator().manual_seed(0)], self._memory()
                )
            torch.default_generator.manual_seed(0)
            outputs = module.train()(self._batch(torch.arange(size)))
            drawn = torch.default_generator.get_state()
            loss = self._task.loss(outputs, self._targets[:size])
            if not torch.equal(drawn, torch.default_generator.get_state()):
                raise NotStackable("a loss that draws random numbers")
            names = [entry.name for entry in self._layout.entries]
            alone = torch.autograd.grad(loss, [tensors[name] for name in names], allow_unused=True)
        found = self._rows.layout.views(models.gradients[0])
        for name, gradient in zip(names, alone, strict=True):
            expected = torch.zeros_like(tensors[name]) if gradient is None else gradient
            largest = float(expected.abs().max())
            if not torch.allclose(found[name], expected, TOLERANCE, TOLERANCE * largest + 1e-6):
                raise NotStackable(f"a module whose gradient of {name} is another than its layers'")

    def _batch(self, index: torch.Tensor) -> torch.Tensor:
        inputs = self._inputs[index]
        if inputs.dtype == torch.uint8:
            inputs = inputs.to(torch.float32).mul_(self._data.scale).add_(self._data.offset)
        return inputs

    def _bytes_a_peer(self, batch_size: int) -> int:
        """Return about how much memory a model and its values take."""
        entries = sum(math.prod(value.shape) for value in self._program.kept_values())
        entries = padded(batch_size) * (entries + self._program.scratch)
        return 4 * (entries + self._rows.layout.length * (3 + self._optimiser.buffer_count))

    def _train_chunk(self, chunk: Sequence[Training]) -> list[Trained | WorkFailed]:
        with torch.no_grad():
            models, memory = self._models(), self._memory()
            flat = models.flat[: len(chunk)]
            self._rows.load(flat, [training.job.vector for training in chunk])
            rates = np.array([training.rate for training in chunk], np.float32)
            state = self._optimiser.begin(flat, self._rows.given(chunk))
            generators = self._generators(chunk)
            losses = np.zeros((len(chunk), chunk[0].plan.steps), np.float32)
            for step, block in blocks_of(chunk):
                own = slice(block.first, block.first + len(block.sizes))
                losses[own, step] = self._differentiate(models, block, generators[own], memory)
                self._optimiser.step(
                    flat[own],
                    models.gradients[own],
                    {name: value[own] for name, value in state.items()},
                    rates[own],
                )
            return [
                self._result(models, place, training, losses[place, : training.plan.steps], state)
                for place, training in enumerate(chunk)
            ]

    def _differentiate(
        self,
        models: Models,
        block: Block,
        generators: Sequence[torch.Generator],
        memory: Memory,
    ) -> Floats:
        """Set the gradients of a block's models; return their losses."""
        index = torch.from_numpy(block.index)
        inputs = self._batch(index)
        weights = torch.from_numpy(block.weights)
        step = StackStep(models, block.first, inputs, weights, block.sizes, generators, memory)
        outputs, saved = self._program.forward(step)
        targets = self._targets[index]
        gradient, losses = self._loss.gradient(outputs, targets, weights, block.sizes)
        self._program.backward(step, saved, gradient)
        return losses

    def _models(self) -> Models:
        if not hasattr(self._local, "models"):
            self._local.models = Models(
                self._rows.layout, self._frozen, self._trained, self._chunk_peers
            )
        models: Models = self._local.models
        return models

    def _memory(self) -> Memory:
        if not hasattr(self._local, "memory"):
            self._local.memory = Memory()
        memory: Memory = self._local.memory
        return memory

    def _generators(self, chunk: Sequence[Training]) -> list[torch.Generator]:
        if not self._program.draws:
            return []
        seeds = [seed_of(f"{training.job.stream}/torch") for training in chunk]
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def _result(
        self, models: Models, place: int, training: Training, losses: Floats, state: State
    ) -> Trained | WorkFailed:
        row = models.flat[place]
        vector = self._rows.unload(row)
        loss = float(losses.mean(dtype=np.float64))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            row.zero_()  # Between tensors too, where nothing would be written again.
            models.gradients[place].zero_()
            return failed_training(training, losses.tolist())
        vector.flags.writeable = False
        left = self._rows.left(state, place) if self._optimiser.keeps_moments else {}
        return Trained(vector, len(training.rows), loss, left)
