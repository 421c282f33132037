"""What a peer has beside the joint model: personal tensors, a personal model, control variates.

It is around an engine, which trains one vector of all that takes gradients, and knows of nothing
else. What a peer keeps goes by `Train.own` and `Trained.own`:

- ``"personal"``: tensors that train and do not travel, such as a head of its own.
- ``"model"``: Ditto's personal model (Li et al., ICML 2021), all that trains.
- ``"control"``: SCAFFOLD's control variate (Karimireddy et al., ICML 2020), which also travels, as
  further entries of the vector: their average is the control variate of all. So no server holds
  it, and under masks a peer's own is as hidden as its update.
- ``"buffers/..."``, ``"model/buffers/..."``: of the joint and of the personal model
  (own_buffers.py).
- ``"moments/..."``: of the optimiser, where they go on from round to round.
- ``"outer/..."``: where the last round began, and the moments of the outer optimiser (outer.py).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from p2pfl.learner.engines.base import Engine, Evaluation, Training
from p2pfl.learner.engines.outer import OuterSteps
from p2pfl.learner.engines.own_buffers import BUFFERS, buffers_in
from p2pfl.learner.settings import Ditto, Scaffold, TrainingSettings
from p2pfl.learner.tasks.base import Floats
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.description import Tensor, describe_tensor
from p2pfl_gossip.learning import Evaluate, Train, Trained, WorkFailed
from p2pfl_gossip.own_state import Arrays

PERSONAL, MODEL, CONTROL, MOMENTS = "personal", "model", "control", "moments/"
OF_MODEL = f"{MODEL}/"
"""Before the names of what belongs to the personal model."""


class OwnParts:
    """An engine for vectors that travel, around one for all that trains.

    Args:
        engine: trains and measures vectors of all that trains.
        start: float32, all that trains, at its start; what travels comes first.
        travelling: how many entries of it travel, d.
        training: names the local algorithm.
    """

    def __init__(
        self, engine: Engine, start: Floats, travelling: int, training: TrainingSettings
    ) -> None:
        self.batching = engine.batching
        self._engine, self._start, self._travelling = engine, start, travelling
        self._training = training
        self._has_controls = isinstance(training.local, Scaffold)
        self._has_model = isinstance(training.local, Ditto)
        self._outer = None if training.outer is None else OuterSteps(training.outer)

    def initial(self) -> Floats:
        """Return what travels at the start: control variates begin at zero."""
        shared = self._start[: self._travelling]
        if not self._has_controls:
            return shared.copy()
        return np.concatenate([shared, np.zeros_like(shared)])

    def described(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Add the control variates to the tensors that travel."""
        if not self._has_controls:
            return tensors
        controls = (
            describe_tensor(f"control of {it.name}"[:200], it.shape, "float32") for it in tensors
        )
        return (*tensors, *controls)

    def train(self, trainings: Sequence[Training]) -> list[Trained | WorkFailed]:
        """Train the joint model and, for Ditto, the personal one."""
        begun = [self._begun(it.job) for it in trainings]
        joint = self._engine.train(
            [self._joint(it, start) for it, (start, _) in zip(trainings, begun, strict=True)]
        )
        personal = self._train_personal(trainings, joint)
        results: list[Trained | WorkFailed] = []
        for place, (training, result) in enumerate(zip(trainings, joint, strict=True)):
            if isinstance(result, WorkFailed):
                results.append(result)
            else:
                start, outer = begun[place]
                results.append(self._parted(training, start, result, personal.get(place), outer))
        return results

    def one_at_a_time(self) -> "OwnParts":
        """See `Engine`."""
        engine = self._engine.one_at_a_time()
        return OwnParts(engine, self._start, self._travelling, self._training)

    def evaluate(self, evaluations: Sequence[Evaluation]) -> Any:
        """Measure what each peer uses: its personal model, if it has one."""
        return self._engine.evaluate(
            [
                replace(it, job=Evaluate(it.job.round, self._used(it.job), _used_own(it.job.own)))
                for it in evaluations
            ]
        )

    def _begun(self, job: Train) -> tuple[Floats, Arrays]:
        """Return where training begins, all of it, and what the outer optimiser keeps."""
        shared = job.vector[: self._travelling].astype(np.float32, copy=False)
        outer: Arrays = {}
        if self._outer is not None:
            shared, outer = self._outer.begin(job.round, shared, job.own)
        return self._whole(shared, job.own), outer

    def _whole(self, vector: Vector, own: Arrays) -> Floats:
        """Join what travels with the peer's own tensors."""
        return _whole(self._start, self._travelling, vector, own)

    def _used(self, job: Evaluate) -> Floats:
        return used_model(self._start, self._travelling, job.vector, job.own)

    def _joint(self, training: Training, start: Floats) -> Training:
        job = training.job
        given: dict[str, Floats] = {
            name.removeprefix(MOMENTS): values
            for name, values in job.own.items()
            if name.startswith(MOMENTS)
        }
        if self._has_controls:
            correction = np.zeros_like(self._start)
            correction[: self._travelling] = _control(job.vector) - self._own_control(job.own)
            given["correction"] = correction
        own = _kept_buffers(job.own)
        return replace(training, job=Train(job.round, start, job.stream, own), given=given)

    def _own_control(self, own: Arrays) -> Floats:
        return own.get(CONTROL, np.zeros(self._travelling, np.float32))

    def _train_personal(
        self, trainings: Sequence[Training], joint: Sequence[Trained | WorkFailed]
    ) -> dict[int, Trained | WorkFailed]:
        """Train the personal models of those whose joint training gave something."""
        if not self._has_model:
            return {}
        places = [place for place, it in enumerate(joint) if isinstance(it, Trained)]
        found = []
        for place in places:
            job = trainings[place].job
            anchor = self._whole(job.vector, job.own)
            start, kept = job.own.get(MODEL, anchor), _kept_buffers(job.own, OF_MODEL)
            own = Train(job.round, start, f"{job.stream}/personal", kept)
            found.append(replace(trainings[place], job=own, given={"anchor": anchor}))
        return dict(zip(places, self._engine.train(found), strict=True))

    def _parted(
        self,
        training: Training,
        start: Floats,
        result: Trained,
        personal: Trained | WorkFailed | None,
        outer: Arrays,
    ) -> Trained:
        """Part what travels from what is the peer's own."""
        job, vector = training.job, result.vector[: self._travelling]
        own: dict[str, Floats] = {
            name if name.startswith(BUFFERS) else f"{MOMENTS}{name}": it
            for name, it in result.own.items()
        }
        own.update(outer)
        if len(self._start) > self._travelling:
            own[PERSONAL] = result.vector[self._travelling :].astype(np.float32)
        if isinstance(personal, Trained):
            own[MODEL] = personal.vector.astype(np.float32)
            own.update({OF_MODEL + it: kept for it, kept in _kept_buffers(personal.own).items()})
        elif MODEL in job.own:
            last = {it: kept for it, kept in job.own.items() if it.startswith(OF_MODEL)}
            own.update({MODEL: job.own[MODEL], **last})  # The last that was good.
        if self._has_controls:
            own[CONTROL] = self._next_control(training, start, vector)
            vector = np.concatenate([vector, own[CONTROL]])
        vector.flags.writeable = False
        return Trained(vector, result.sample_count, result.loss, own)

    def _next_control(self, training: Training, start: Floats, trained: Vector) -> Floats:
        """Return the mean gradient that the steps took, but for the correction (option II)."""
        job, way = training.job, training.rate * training.plan.steps
        own = self._own_control(job.own)
        if way == 0.0:
            return own.copy()
        mean = (start[: self._travelling] - trained) / np.float32(way)
        found: Floats = (own - _control(job.vector) + mean).astype(np.float32)
        return found


def _kept_buffers(own: Arrays, prefix: str = "") -> Arrays:
    """Return the buffers of a model as an engine keeps them."""
    return {f"{BUFFERS}{name}": it for name, it in buffers_in(own, prefix).items()}


def _used_own(own: Arrays) -> Arrays:
    """Return the buffers of the model that a peer uses."""
    return _kept_buffers(own, OF_MODEL if MODEL in own else "")


def used_model(start: Floats, travelling: int, vector: Vector, own: Arrays) -> Floats:
    """Return all that trains of the model that a peer uses: its personal one, if it has one.

    Args:
        start: float32, all that trains, at its start; what travels comes first.
        travelling: how many entries of it travel.
        vector: what travels, and perhaps control variates.
        own: what the peer keeps of its own.
    """
    model = own.get(MODEL)
    return _whole(start, travelling, vector, own) if model is None else model


def _whole(start: Floats, travelling: int, vector: Vector, own: Arrays) -> Floats:
    shared = vector[:travelling].astype(np.float32, copy=False)
    if len(start) == travelling:
        return shared
    return np.concatenate([shared, own.get(PERSONAL, start[travelling:])])


def _control(vector: Vector) -> Floats:
    """Return the average of all control variates, the second half of what travels."""
    return vector[len(vector) // 2 :].astype(np.float32, copy=False)


def own_parts(
    engine: Engine, start: Floats, travelling: int, training: TrainingSettings
) -> OwnParts | None:
    """Return what is around the engine, or None where peers have nothing of their own."""
    needs = len(start) > travelling or isinstance(training.local, (Scaffold, Ditto))
    if not needs and not training.keep_moments and training.outer is None:
        return None
    return OwnParts(engine, start, travelling, training)
