"""Many models of any module in one batched step, by torch.func's vmap over gradients.

Operations on stacked tensors may choose their kernels by the size of the stack, so that a result
would depend on who shares it. A trial, for each number of rows that a batch has, finds whether that
changes bits; then the models take such a step one after the other. A trial's outcome goes by
shapes, not by data or time, so it is the same in every run. A module with a convolution is never
stacked so.
"""

import copy
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch.func import functional_call, grad_and_value, vmap

from p2pfl.learner.engines.base import (
    Evaluation,
    JobGroup,
    OutputReadings,
    Training,
    draw_rows,
    failed_training,
)
from p2pfl.learner.engines.chunks import ALIGN, train_in_chunks
from p2pfl.learner.engines.flat import has_convolution
from p2pfl.learner.engines.one_by_one import ModuleEngine, as_inputs
from p2pfl.learner.engines.threads import Workers, one_torch_thread
from p2pfl.learner.errors import LearningError
from p2pfl.learner.optimisers import PER_ENTRY, Optimiser, State, kept_moments
from p2pfl.learner.statistics import statistics_of
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks.base import Data, Floats, Task
from p2pfl.learner.vectors import VectorLayout, module_tensors, readable
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import Trained, WorkFailed
from p2pfl_gossip.memory import aligned

STACK_BYTES_MAX = 4 * 2**20  # Of the parameters of one stack: about a core's share of the caches.
STACK_PEERS_MAX = 32
TOLERANCE = 1e-3  # Of a trial's step against autograd's, in shares of the largest change.

Tensors = dict[str, torch.Tensor]


class VmapEngine:
    """Trains stacked modules.

    Args:
        task: gives loss and metrics.
        module: the model at its start.
        layout: of the vectors; all its tensors take gradients.
        data: the rows.
        batch_size: rows of a step, at most.
        optimiser: moves the models.
        alone: measures models, and is what trials are held against.
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
        if has_convolution(module):
            raise LearningError("stacked convolutions are slower than single ones")
        self._task, self._module, self._layout = task, module, layout
        self._data, self._optimiser, self._alone, self._workers = data, optimiser, alone, workers
        names = [entry.name for entry in layout.entries]
        self._padded = VectorLayout(module, names, align=ALIGN)
        self._peers_max = max(1, min(STACK_PEERS_MAX, STACK_BYTES_MAX // (4 * layout.length)))
        self._keeps_bits: dict[int, bool] = {}
        self._lock = threading.Lock()
        self._local = threading.local()
        if self._peers_max == 1:
            raise LearningError("a model fills a core's cache by itself")
        with one_torch_thread():
            try:
                keeps_bits = self._stackable(min(batch_size, len(data.train.inputs)))
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

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[OutputReadings]:
        """Run model after model."""
        return self._alone.evaluate(evaluations)

    def _train_stack(self, stack: Sequence[Training]) -> list[Trained | WorkFailed]:
        flat = self._stacked([training.job.vector for training in stack])
        state = self._optimiser.begin(flat, self._given(stack))
        rates = torch.tensor([training.rate for training in stack], dtype=torch.float32)
        losses = np.zeros((len(stack), stack[0].plan.steps), np.float32)
        groups = draw_rows(stack)
        taken = [0] * len(groups)
        for step in range(losses.shape[1]):
            for places, rows in _batches(groups, taken, step):
                if not self._stackable(rows.shape[1]):
                    for i, place in enumerate(places):
                        one = self._step(flat, state, rates, [place], rows[i : i + 1])
                        losses[place, step] = one[0]
                else:
                    losses[places, step] = self._step(flat, state, rates, places, rows)
        return [
            self._result(
                training,
                flat[place],
                losses[place, : training.plan.steps],
                {name: value[place] for name, value in state.items()},
            )
            for place, training in enumerate(stack)
        ]

    def _result(
        self, training: Training, model: torch.Tensor, losses: Floats, state: State
    ) -> Trained | WorkFailed:
        vector = self._unpadded(model)
        loss = float(losses.mean(dtype=np.float64))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            return failed_training(training, losses.tolist())
        vector.flags.writeable = False
        left = kept_moments(state) if self._optimiser.keeps_moments else {}
        own = {
            name: self._unpadded(torch.from_numpy(values)) if name in PER_ENTRY else values
            for name, values in left.items()
        }
        return Trained(vector, len(training.rows), loss, own)

    def _unpadded(self, model: torch.Tensor) -> Floats:
        """Copy one model out of a stack, or what belongs to its entries."""
        vector = np.empty(self._layout.length, np.float32)
        parts = self._padded.views(model)
        for name, view in self._layout.views(torch.from_numpy(vector)).items():
            view.copy_(parts[name])
        return vector

    def _given(self, stack: Sequence[Training]) -> State:
        """Stack what the jobs' optimisers begin with; zeros for those that have nothing of it."""
        names = sorted({name for training in stack for name in training.given})
        nothing = np.zeros(self._layout.length, np.float32)
        state: State = {}
        for name in names:
            if name in PER_ENTRY:
                state[name] = self._stacked([it.given.get(name, nothing) for it in stack])
            else:
                state[name] = np.stack(
                    [it.given.get(name, np.zeros(1, np.float32)) for it in stack]
                )
        return state

    def _stacked(self, vectors: Sequence[Vector]) -> torch.Tensor:
        """Copy vectors into a stack, [peers, d], each tensor of which is aligned."""
        flat = torch.from_numpy(aligned(len(vectors), self._padded.length))
        for row, vector in zip(flat, vectors, strict=True):
            parts = self._layout.views(readable(vector.astype(np.float32, copy=False)))
            for name, view in self._padded.views(row).items():
                view.copy_(parts[name])
        return flat

    def _tensors(self, flat: torch.Tensor) -> Tensors:
        """Copy the tensors of a stack, each in one piece: kernels go by where models lie apart."""
        return {name: view.contiguous() for name, view in self._padded.views(flat).items()}

    def _step(
        self,
        flat: torch.Tensor,
        state: State,
        rates: torch.Tensor,
        places: Sequence[int],
        rows: Integers,
    ) -> Floats:
        """Do one step of the models at `places`, on rows [places, size]; return their losses."""
        is_whole = len(places) == len(flat)
        at = torch.tensor(places)
        models = flat if is_whole else flat[at]
        own = state if is_whole else {name: value[at] for name, value in state.items()}
        found, losses = self._gradients(self._tensors(models), rows)
        gradients = torch.zeros_like(models)
        for name, view in self._padded.views(gradients).items():
            view.copy_(found[name])
        self._optimiser.step(models, gradients, own, rates if is_whole else rates[at])
        if not is_whole:
            flat[at] = models
            for name, value in own.items():
                state[name][at] = value
        result: Floats = losses.numpy()
        return result

    def _gradients(self, models: Tensors, rows: Integers) -> tuple[Tensors, torch.Tensor]:
        """Return gradients and losses, [peers, ...]."""
        inputs = as_inputs(self._data.train.inputs[rows], self._data)
        targets = torch.from_numpy(self._data.train.targets[rows])
        if not hasattr(self._local, "module"):
            # Calling a module with other tensors changes it for a moment: one for each thread.
            self._local.module = copy.deepcopy(self._module).train()
        module = self._local.module

        def loss_of(tensors: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self._task.loss(functional_call(module, tensors, (x,)), y)

        gradients, losses = vmap(grad_and_value(loss_of))(models, inputs, targets)
        return gradients, losses

    def _stackable(self, size: int) -> bool:
        """Tell whether batches of `size` rows keep bits in any stack; tried when first asked."""
        with self._lock:
            if size not in self._keeps_bits:
                self._keeps_bits[size] = self._try(size)
            return self._keeps_bits[size]

    def _try(self, size: int) -> bool:
        start = self._layout.to_vector(self._module)
        pair = self._tensors(self._stacked([start, start * np.float32(1.01) + np.float32(0.01)]))
        count = len(self._data.train.inputs)
        batch = np.stack([np.arange(size) % count, np.arange(size)[::-1] % count])

        def gradients(pattern: Sequence[int]) -> list[tuple[int, bytes]]:
            chosen = list(pattern)
            found, losses = self._gradients(
                {name: value[chosen] for name, value in pair.items()}, batch[chosen]
            )
            flat = torch.cat([losses[:, None], *[g.flatten(1) for g in found.values()]], 1)
            return [(which, row.numpy().tobytes()) for which, row in zip(chosen, flat, strict=True)]

        self._compare(pair, batch)
        full = self._peers_max
        # Each of the two models in every place, among copies of itself and of the other.
        patterns = [[0] * full, [1] * full, [i % 2 for i in range(full)]]
        patterns += [[(i + 1) % 2 for i in range(full)]]
        patterns += [[i % 2 for i in range(length)] for length in (1, 2, 3, full // 2, full - 1)]
        found = {outcome for pattern in patterns if pattern for outcome in gradients(pattern)}
        return len(found) == 2

    def _compare(self, pair: Tensors, batch: Integers) -> None:
        """Hold a stacked gradient against autograd's, for modules that vmap takes wrongly."""
        stacked, _ = self._gradients(pair, batch)
        tensors = module_tensors(self._module)
        inputs = as_inputs(self._data.train.inputs[batch[0]], self._data)
        targets = torch.from_numpy(self._data.train.targets[batch[0]])
        names = [entry.name for entry in self._layout.entries]
        self._module.train()
        loss = self._task.loss(self._module(inputs), targets)
        alone = torch.autograd.grad(loss, [tensors[name] for name in names], allow_unused=True)
        for name, gradient in zip(names, alone, strict=True):
            expected = torch.zeros_like(tensors[name]) if gradient is None else gradient
            largest = float(expected.abs().max())
            if not torch.allclose(stacked[name][0], expected, TOLERANCE, TOLERANCE * largest):
                raise LearningError(f"its stacked gradient of {name} is not that of autograd")


def _batches(
    groups: Sequence[JobGroup], taken: list[int], step: int
) -> list[tuple[list[int], Integers]]:
    """Group the jobs that take a step by the rows of their batches: places, rows [places, size]."""
    found: dict[int, tuple[list[int], list[Integers]]] = {}
    for number, group in enumerate(groups):
        if group.plan.steps > step:
            size, start = group.plan.sizes[step], taken[number]
            places, rows = found.setdefault(size, ([], []))
            places.extend(range(group.first, group.last))
            rows.append(group.rows[:, start : start + size])
            taken[number] += size
    return [(places, np.concatenate(rows)) for places, rows in found.values()]
