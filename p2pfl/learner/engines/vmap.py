"""Many models of any module in one batched step: vmap of the forward pass, autograd around it.

All batches are padded to one multiple of 16 rows, that of the largest; losses, and so gradients,
are of the real rows alone. So an epoch's last batch costs as much as a full one, all models take
each step at once, and there is one shape to look at. The backward pass is that of the batched
operations, without vmap.

Operations on stacked tensors may choose their kernels by the size of the stack, so that a result
would depend on who shares it. One trial, as the engine is made, finds whether that changes bits;
then the models are not stacked. Its outcome goes by shapes, not by data or time, so it is the same
in every run.
"""

import copy
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch.func import vmap

from p2pfl.learner.engines.base import Evaluation, OutputReadings, Training, failed_training
from p2pfl.learner.engines.chunks import Block, blocks_of, padded, train_in_chunks
from p2pfl.learner.engines.losses import StackedLoss
from p2pfl.learner.engines.one_by_one import ModuleEngine, as_inputs
from p2pfl.learner.engines.stack_rows import StackRows
from p2pfl.learner.engines.threads import Workers, one_torch_thread
from p2pfl.learner.engines.vmap_calls import Mask, StackedCalls, WithoutDropout, draw_masks
from p2pfl.learner.errors import LearningError
from p2pfl.learner.optimisers import Optimiser, State
from p2pfl.learner.statistics import statistics_of
from p2pfl.learner.streams import seed_of
from p2pfl.learner.tasks.base import Data, Floats, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Trained, WorkFailed
from p2pfl_gossip.memory import aligned

STACK_BYTES_MAX = 4 * 2**20  # Of the parameters of one stack: about a core's share of the caches.
STACK_PEERS_MAX = 32
TOLERANCE = 1e-3  # Of a trial's step against autograd's, in shares of the largest change.

Slot = tuple[dict[str, Any], str, str, torch.Tensor]
"""Where a module holds a parameter, under which key, its name in vectors, and what is there."""


def stack_peers(length: int) -> int:
    """Return how many models of so many entries one stack has, at most."""
    return max(1, min(STACK_PEERS_MAX, STACK_BYTES_MAX // (4 * length)))


def _slower_stacked(module: torch.nn.Module) -> str | None:
    """Name layers of which a stack by vmap is slower than a loop, if the module has some.

    vmap makes one grouped convolution of many, whose kernels are slower than those of single ones,
    and change bits with the number of groups. Inside `nn.MultiheadAttention` it takes attention,
    which is fused, model after model.
    """
    for part in module.modules():
        if isinstance(part, torch.nn.modules.conv._ConvNd):
            return "convolutions"
        if isinstance(part, torch.nn.MultiheadAttention):
            return "attention layers of torch"
    return None


class VmapEngine:
    """Trains stacked modules.

    Args:
        task: gives loss and metrics.
        module: the model at its start.
        layout: of the vectors; all its tensors take gradients.
        data: the rows.
        batch_size: rows of the largest step that a peer takes.
        optimiser: moves the models.
        alone: measures models.
        workers: the threads.

    Raises:
        LearningError: the module cannot be stacked; the message is the reason, for people.
    """

    batching = "stacked (vmap)"

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
        tensors = module_tensors(module)
        if not all(tensors[entry.name].requires_grad for entry in layout.entries):
            raise LearningError("buffers travel, which training changes in place")
        if statistics_of(module):
            raise LearningError("batch norm changes its statistics in place")
        slower = _slower_stacked(module)
        if slower is not None:
            raise LearningError(f"stacked {slower} are slower than single ones")
        self._task, self._module, self._layout = task, module, layout
        self._data, self._optimiser, self._alone, self._workers = data, optimiser, alone, workers
        self._rows, self._loss = StackRows(module, layout), StackedLoss(task)
        self._peers_max = stack_peers(layout.length)
        self._dropouts: list[Mask] = []
        self._local = threading.local()
        if self._peers_max == 1:
            raise LearningError("a model fills a core's cache by itself")
        size = min(batch_size, len(data.train.inputs))
        self._batch_rows = padded(size)
        with one_torch_thread():
            try:
                self._compare(size)
                keeps_bits = self._keeps_bits()
            except LearningError:
                raise
            except Exception as error:  # The task's code may raise anything where it is stacked.
                if "random operation" in str(error):
                    raise LearningError("its steps draw random numbers") from None
                reason = " ".join(str(error).split())[:80]
                raise LearningError(f"it cannot be stacked ({reason})") from None
        if not keeps_bits:
            raise LearningError("results of its stacked step would depend on who shares it")

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train, in stacks of jobs that take about as many steps."""
        return train_in_chunks(self._workers, trainings, self._peers_max, self._train_stack)

    def one_at_a_time(self) -> ModuleEngine:
        """See `Engine`: a stack of one model is slower than the model."""
        return self._alone

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[OutputReadings]:
        """Run model after model."""
        return self._alone.evaluate(evaluations)

    def _train_stack(self, stack: Sequence[Training]) -> list[Trained | WorkFailed]:
        flat = self._stacked([training.job.vector for training in stack])
        state = self._optimiser.begin(flat, self._rows.given(stack))
        rates = np.array([training.rate for training in stack], np.float32)
        seeds = [seed_of(f"{training.job.stream}/torch") for training in stack]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        losses = np.zeros((len(stack), stack[0].plan.steps), np.float32)
        for step, block in blocks_of(stack, self._batch_rows):
            own = slice(block.first, block.first + len(block.sizes))
            gradients, losses[own, step] = self._gradients(flat[own], block, generators[own])
            own_state: State = {name: value[own] for name, value in state.items()}
            self._optimiser.step(flat[own], gradients, own_state, rates[own])
        return [
            self._result(training, flat[place], losses[place, : training.plan.steps], state, place)
            for place, training in enumerate(stack)
        ]

    def _result(
        self, training: Training, model: torch.Tensor, losses: Floats, state: State, place: int
    ) -> Trained | WorkFailed:
        vector = self._rows.unload(model)
        loss = float(losses.mean(dtype=np.float64))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            return failed_training(training, losses.tolist())
        vector.flags.writeable = False
        left = self._rows.left(state, place) if self._optimiser.keeps_moments else {}
        return Trained(vector, len(training.rows), loss, left)

    def _stacked(self, vectors: Sequence[Vector]) -> torch.Tensor:
        flat = torch.from_numpy(aligned(len(vectors), self._rows.layout.length))
        flat.zero_()
        self._rows.load(flat, vectors)
        return flat

    def _gradients(
        self, models: torch.Tensor, block: Block, generators: Sequence[torch.Generator] | None
    ) -> tuple[torch.Tensor, Floats]:
        """Return the gradients of a block's models, as they lie in `models`, and their losses.

        Without generators dropout is left out.
        """
        peers, rows = block.index.shape
        inputs = as_inputs(self._data.train.inputs[block.index], self._data)
        targets = torch.from_numpy(self._data.train.targets[block.index])
        masks = None if generators is None else draw_masks(self._dropouts, generators)
        # Each tensor in one piece of its own: kernels go by where models lie apart.
        leaves = [
            part.clone(memory_format=torch.contiguous_format).requires_grad_()
            for part in self._pieces(models)
        ]
        entries = self._rows.layout.entries
        tensors = {
            entry.name: leaf.transpose(-1, -2) if entry.transposed else leaf
            for entry, leaf in zip(entries, leaves, strict=True)
        }
        outputs = self._forward(tensors, inputs, masks)
        if outputs.shape[:2] != (peers, rows):
            raise LearningError("it does not give one output a row")
        weights = torch.from_numpy(block.weights)
        gradient, losses = self._loss.gradient(outputs.detach(), targets, weights, block.sizes)
        found = torch.autograd.grad(outputs, leaves, gradient, allow_unused=True)
        gradients = torch.zeros_like(models)
        for target, part in zip(self._pieces(gradients), found, strict=True):
            if part is not None:
                # The sign of a zero goes by the size of the stack: plus zero makes it positive.
                torch.add(part, 0.0, out=target)
        return gradients, losses

    def _pieces(self, models: torch.Tensor) -> list[torch.Tensor]:
        """View the tensors of a stack as they lie, [peers, ...]; matrices of layers transposed."""
        return [
            view.transpose(-1, -2) if entry.transposed else view
            for entry, view in zip(
                self._rows.layout.entries, self._rows.layout.views(models).values(), strict=True
            )
        ]

    def _forward(
        self,
        tensors: dict[str, torch.Tensor],
        inputs: torch.Tensor,
        masks: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        module, slots = self._own_module(), self._local.slots

        def forward(
            own: dict[str, torch.Tensor], x: torch.Tensor, own_masks: list[torch.Tensor]
        ) -> torch.Tensor:
            # Not torch's functional_call: it loses tensors of a module that has two names.
            try:
                for held, key, name, _ in slots:
                    held[key] = own[name]
                with StackedCalls(None if masks is None else own_masks):
                    outputs: torch.Tensor = module(x)
            finally:
                for held, key, _, before in slots:
                    held[key] = before
            return outputs

        outputs: torch.Tensor = vmap(forward)(tensors, inputs, masks or [])
        return outputs

    def _own_module(self) -> torch.nn.Module:
        if not hasattr(self._local, "module"):
            # Calling a module with other tensors changes it for a moment: one for each thread.
            copied = copy.deepcopy(self._module).train().requires_grad_(False)
            self._local.module, self._local.slots = copied, self._slots(copied)
        module: torch.nn.Module = self._local.module
        return module

    def _slots(self, module: torch.nn.Module) -> list[Slot]:
        """Find every place that holds a travelling tensor; a tied one has several."""
        tensors = module_tensors(module)
        names = {id(tensors[entry.name]): entry.name for entry in self._layout.entries}
        return [
            (held, key, names[id(tensor)], tensor)
            for part in module.modules()
            for held in (cast("dict[str, Any]", part._parameters),)
            for key, tensor in held.items()
            if id(tensor) in names
        ]

    def _keeps_bits(self) -> bool:
        """Tell whether the same models have the same bits in stacks of other sizes and orders."""
        rows = self._batch_rows
        start = self._layout.to_vector(self._module)
        pair = self._stacked([start, start * np.float32(1.01) + np.float32(0.01)])
        count = len(self._data.train.inputs)
        batch = np.stack([np.arange(rows) % count, np.arange(rows)[::-1] % count])
        calls = StackedCalls()
        with calls, torch.no_grad():
            self._own_module()(as_inputs(self._data.train.inputs[batch[0]], self._data))
        self._dropouts = calls.asked

        def outcomes(pattern: Sequence[int]) -> list[tuple[int, bytes]]:
            chosen = list(pattern)
            weights = np.full((len(chosen), rows), 1 / rows, np.float32)
            block = Block(0, batch[chosen], weights, (rows,) * len(chosen))
            generators = [torch.Generator().manual_seed(which) for which in chosen]
            gradients, losses = self._gradients(pair[chosen], block, generators)
            return [
                (which, row.numpy().tobytes() + loss.tobytes())
                for which, row, loss in zip(chosen, gradients, losses, strict=True)
            ]

        full = self._peers_max
        # Each of the two models in every place, among copies of itself and of the other.
        patterns = [[0] * full, [1] * full, [i % 2 for i in range(full)]]
        patterns += [[(i + 1) % 2 for i in range(full)]]
        patterns += [[i % 2 for i in range(length)] for length in (1, 2, 3, full // 2, full - 1)]
        found = {outcome for pattern in patterns if pattern for outcome in outcomes(pattern)}
        return len(found) == 2

    def _compare(self, size: int) -> None:
        """Hold a stacked gradient against autograd's, for modules that vmap takes wrongly.

        Without dropout, and on a batch with padding: rows of some modules mind the others.
        """
        rows = self._batch_rows
        real = max(1, size - 1)
        index = np.zeros((1, rows), np.int64)
        index[0, :real] = np.arange(real)
        weights = np.zeros((1, rows), np.float32)
        weights[0, :real] = 1 / real
        buffers = self._buffers()
        models = self._stacked([self._layout.to_vector(self._module)])
        stacked, _ = self._gradients(models, Block(0, index, weights, (real,)), None)
        if self._buffers() != buffers:
            raise LearningError("its forward changes buffers")
        tensors = module_tensors(self._module)
        inputs = as_inputs(self._data.train.inputs[index[0, :real]], self._data)
        targets = torch.from_numpy(self._data.train.targets[index[0, :real]])
        names = [entry.name for entry in self._layout.entries]
        with torch.random.fork_rng(devices=[]):
            with WithoutDropout():
                outputs = self._module.train()(inputs)
            before = torch.default_generator.get_state()
            loss = self._task.loss(outputs, targets)
            if not torch.equal(before, torch.default_generator.get_state()):
                raise LearningError("its steps draw random numbers")
            alone = torch.autograd.grad(loss, [tensors[it] for it in names], allow_unused=True)
        found = self._rows.layout.views(stacked[0])
        for name, gradient in zip(names, alone, strict=True):
            expected = torch.zeros_like(tensors[name]) if gradient is None else gradient
            largest = float(expected.abs().max())
            if not torch.allclose(found[name], expected, TOLERANCE, TOLERANCE * largest + 1e-6):
                raise LearningError(f"its stacked gradient of {name} is not that of autograd")

    def _buffers(self) -> list[tuple[str, int, bytes]]:
        """Return what tells whether the module's buffers are as they were."""
        return [
            (name, id(value), value.detach().numpy().tobytes())
            for name, value in self._own_module().named_buffers()
        ]
