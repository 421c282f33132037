"""Models trained one after the other: any torch module, and tasks without torch."""

from collections.abc import Sequence

import numpy as np
import torch

from p2pfl.learner.engines.base import (
    STATISTICS_ROWS_MIN,
    Evaluation,
    OutputReadings,
    Outputs,
    Training,
    draw_rows,
    failed_training,
)
from p2pfl.learner.engines.flat import FlatModule
from p2pfl.learner.engines.placement import PLAIN, Placement
from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.optimisers import PER_ENTRY, Optimiser, State, kept_moments
from p2pfl.learner.statistics import cumulating, local_statistics, normalisations
from p2pfl.learner.streams import Integers, seed_of
from p2pfl.learner.tasks.base import Array, Data, Floats, Rows, Task
from p2pfl.learner.vectors import VectorLayout, readable
from p2pfl_gossip.learning import Trained, WorkFailed
from p2pfl_gossip.own_state import NOTHING, Arrays

STATISTICS_ROWS_MAX = 8192
"""Of a peer's rows that statistics are worked out from: a variance within 2%."""

STATISTICS_BATCH = 256
EVALUATION_ROWS_MAX = 1024  # Of one forward pass: keeps activations small.


def as_inputs(rows: Array, data: Data) -> torch.Tensor:
    """Return rows as a model takes them: uint8 scaled to float32, others as they are.

    Always a copy in torch's own memory: NumPy's begins anywhere, and the last bits of a product
    may go by that.
    """
    if rows.dtype == np.uint8:
        return readable(rows).to(torch.float32).mul_(data.scale).add_(data.offset)
    return readable(rows).clone()


class ModuleEngine:
    """Trains one torch module, whose travelling tensors it replaces for each job.

    All else in the module is put back to its start before each job, or to what the job says that
    the peer keeps, so that a result depends on the job and the peer's rows alone. Statistics of
    normalisation layers, which do not travel, are worked out from the rows before a model is
    measured. torch's global generator, which dropout draws from, is seeded by the job's stream and
    left as it was. One thread: that generator is the process's.

    Args:
        task: gives loss and metrics.
        module: the model at its start.
        layout: of the vectors.
        data: the rows.
        test: the common test rows, if there are any.
        optimiser: moves the model.
        placement: where it is, and what it computes in.
    """

    def __init__(
        self,
        task: Task,
        module: torch.nn.Module,
        layout: VectorLayout,
        *,
        data: Data,
        test: Rows | None,
        optimiser: Optimiser,
        placement: Placement = PLAIN,
    ) -> None:
        self.batching = "one by one"
        self._task, self._module, self._layout = task, module, layout
        self._data, self._test, self._optimiser = data, test, optimiser
        self._inputs = readable(data.train.inputs)
        self._targets = readable(data.train.targets)
        travelling = {entry.name for entry in layout.entries}
        self._normalisations = normalisations(module, travelling)
        self._placement = placement
        module.to(placement.device)
        self._flat = FlatModule(module, layout, local_statistics(module, travelling))

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train model after model."""
        with one_torch_thread(), self._placement.forked():
            return [self._train(training) for training in trainings]

    def one_at_a_time(self) -> "ModuleEngine":
        """See `Engine`."""
        return self

    def evaluate(self, evaluations: Sequence[Evaluation]) -> list[OutputReadings]:
        """Run model after model."""
        with one_torch_thread(), self._placement.forked(), torch.no_grad():
            return [self._evaluate(it) for it in evaluations]

    def _train(self, training: Training) -> Trained | WorkFailed:
        flat = self._flat
        flat.load(training.job.vector, training.job.own)
        self._module.train()
        self._placement.seed(seed_of(f"{training.job.stream}/torch"))
        given = {
            name: flat.arrange(values) if name in PER_ENTRY else values
            for name, values in training.given.items()
        }
        state = self._optimiser.begin(flat.parameters, given)
        losses, taken = [], 0
        rows = torch.from_numpy(draw_rows([training])[0].rows[0])
        for size in training.plan.sizes:
            losses.append(self._step(rows[taken : taken + size], training.rate, state))
            taken += size
        vector, loss = flat.unload(), float(np.mean(losses))
        if not (np.isfinite(loss) and np.isfinite(vector).all()):
            return failed_training(training, losses)
        vector.flags.writeable = False
        return Trained(vector, len(training.rows), loss, self._left(state))

    def _left(self, state: State) -> Arrays:
        """Return what goes on in the next job: buffers; moments, entry by entry as a vector's."""
        buffers = self._flat.changed()
        if not self._optimiser.keeps_moments:
            return buffers or NOTHING
        return buffers | {
            name: self._flat.rearrange(values) if name in PER_ENTRY else values
            for name, values in kept_moments(state).items()
        }

    def _step(self, rows: torch.Tensor, rate: float, state: State) -> float:
        inputs, flat = self._inputs[rows], self._flat
        if inputs.dtype == torch.uint8:
            inputs = inputs.to(torch.float32).mul_(self._data.scale).add_(self._data.offset)
        put = self._placement.put
        with self._placement.computing():
            loss = self._task.loss(self._module(put(inputs)), put(self._targets[rows]))
        flat.differentiate(loss)
        self._optimiser.step(flat.parameters, flat.gradients, state, rate)
        flat.take_over()
        return float(loss.detach())

    def _evaluate(self, evaluation: Evaluation) -> OutputReadings:
        self._flat.load(evaluation.job.vector, evaluation.job.own)
        self._module.eval()
        self._work_out_statistics(evaluation.rows)
        self._placement.seed(0)
        train, test, common = self._data.train, self._test, None
        if test is not None and evaluation.with_common:
            common = Outputs(self._all_outputs(test.inputs), test.targets)
        held = train.inputs[evaluation.held], train.targets[evaluation.held]
        return OutputReadings(
            self._task,
            common=common,
            held=Outputs(self._all_outputs(held[0]), held[1]),
            round_number=evaluation.job.round,
        )

    def _all_outputs(self, inputs: Array) -> Floats:
        if not len(inputs):
            return np.zeros((0, 1), np.float32)
        outputs = [
            self._outputs(inputs[start : start + EVALUATION_ROWS_MAX])
            for start in range(0, len(inputs), EVALUATION_ROWS_MAX)
        ]
        stacked: Floats = torch.cat(outputs).to(torch.float32).numpy()
        return stacked

    def _outputs(self, rows: Array) -> torch.Tensor:
        with self._placement.computing():
            outputs: torch.Tensor = self._module(self._placement.put(as_inputs(rows, self._data)))
        return outputs.to("cpu", torch.float32)

    def _work_out_statistics(self, rows: Integers) -> None:
        """Give normalisation layers the statistics of this very model on the peer's own rows."""
        if not self._normalisations or len(rows) < STATISTICS_ROWS_MIN:
            return
        rows = rows[:: -(-len(rows) // STATISTICS_ROWS_MAX)]
        count = -(-len(rows) // STATISTICS_BATCH)
        with cumulating(self._normalisations):
            for first in range(count):  # Each batch is spread over all rows, however ordered.
                batch = rows[first::count]
                self._outputs(self._data.train.inputs[batch])
