"""Devices and types of number: what is there works, what is not is told in one line."""

from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.engines import placement
from p2pfl.learner.engines.placement import Placement, find_placement
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained


def learner(**settings: Any) -> Learner:
    chosen = {"training": {"epochs": 3}, "evaluation_rows": 100, **settings}
    return make_learner(
        LearningSettings.model_validate(chosen), peer_count=3, seed=1, folder=None, threads=1
    )


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_one_line(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(placement._PRESENT, device, lambda: False)
    with pytest.raises(LearningError, match=rf"^device = '{device}': .* set device = 'cpu' or"):
        learner(device=device)


def test_auto_takes_an_accelerator_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "mps"):
        monkeypatch.setitem(placement._PRESENT, name, lambda: False)
    assert find_placement("auto", "float32").is_plain
    monkeypatch.setitem(placement._PRESENT, "mps", lambda: True)
    assert find_placement("auto", "float32").device.type == "mps"
    monkeypatch.setitem(placement._PRESENT, "cuda", lambda: True)
    assert find_placement("auto", "bf16") == Placement(torch.device("cuda"), torch.bfloat16)


def test_a_task_without_torch_has_no_device() -> None:
    with pytest.raises(LearningError, match="does without torch"):
        learner(task="integers", dtype="bf16")


def test_bf16_computes_in_it_and_keeps_float32_masters() -> None:
    plain, made = learner(), learner(dtype="bf16")
    assert made.batching == "one by one: on cpu in bf16"
    start = made.initial_vector()
    seen: list[torch.dtype] = []
    engine: Any = made._engine
    hook = engine._module[-1].register_forward_hook(lambda *given: seen.append(given[2].dtype))
    job = (0, Train(0, start, "a"))
    (result,) = made.run([job])
    hook.remove()
    assert isinstance(result, Trained)
    assert set(seen) == {torch.bfloat16}
    # Smaller steps than bfloat16 can tell apart from the start are kept.
    assert not np.array_equal(result.vector, torch.tensor(result.vector).bfloat16().float())
    (expected,) = plain.run([job])
    assert isinstance(expected, Trained)
    moved = np.abs(expected.vector - start).max()
    assert np.abs(result.vector - expected.vector).max() < 0.1 * moved
    ours, theirs = (it.run([(0, Evaluate(0, result.vector))])[0] for it in (made, plain))
    assert isinstance(ours, Evaluated)
    assert isinstance(theirs, Evaluated)
    assert ours.metrics["loss"] == pytest.approx(theirs.metrics["loss"], rel=0.05)


def test_every_batch_is_put_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made = learner(dtype="bf16")
    put, given, taken = Placement.put, set[int](), set[int]()
    kept: list[torch.Tensor] = []

    def note(self: Placement, tensor: torch.Tensor) -> torch.Tensor:
        moved = put(self, tensor).clone()
        kept.append(moved)  # Memory that is free again would lend its address to others.
        given.add(moved.data_ptr())
        return moved

    monkeypatch.setattr(Placement, "put", note)
    engine: Any = made._engine
    engine._module.register_forward_pre_hook(lambda _, inputs: taken.add(inputs[0].data_ptr()))
    loss = engine._task.loss

    def watched(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        taken.add(targets.data_ptr())
        result: torch.Tensor = loss(outputs, targets)
        return result

    monkeypatch.setattr(engine._task, "loss", watched)
    start = made.initial_vector()
    made.run([(0, Train(0, start, "a")), (0, Evaluate(0, start))])
    assert taken
    assert taken == given
