# mypy: disable-error-code="arg-type, no-untyped-call"
"""The stacked perceptrons against a plain torch loop, and against themselves in other batches."""

from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings, Sgd, TrainingSettings
from p2pfl.learner.streams import Integers
from p2pfl.learner.tasks import make_task
from p2pfl.learner.tasks.base import Task
from p2pfl.learner.tasks.perceptrons import FashionMnist
from p2pfl.learner.vectors import VectorLayout
from p2pfl_gossip.learning import Evaluate, Evaluated, LotSummed, Train, Trained, WorkFailed

SKEWED = {"kind": "quantity", "alpha": 0.5, "minimum_rows": 3}


def learner(*, peers: int = 24, threads: int = 1, **settings: Any) -> Learner:
    return make_learner(
        LearningSettings.model_validate({"partition": SKEWED, **settings}),
        peer_count=peers,
        seed=7,
        folder=None,
        threads=threads,
    )


def train_jobs(made: Learner, peers: int, *, round_number: int = 0) -> list[tuple[int, Train]]:
    """Jobs with a different start for each peer."""
    jobs = []
    for peer in range(peers):
        noise = np.random.default_rng(peer).normal(0, 0.01, made.vector_length)
        vector = (made.initial_vector() + noise).astype(np.float32)
        jobs.append((peer, Train(round_number, vector, f"7/{peer}/0/train/{round_number}")))
    return jobs


def trained(results: list[Trained | LotSummed | Evaluated | WorkFailed]) -> list[Trained]:
    assert all(isinstance(result, Trained) for result in results)
    return [result for result in results if isinstance(result, Trained)]


def plain_torch(
    task: Task, job: Train, rows: Integers, training: TrainingSettings
) -> tuple[np.ndarray, float]:
    """The same steps as a researcher would write them."""
    data, plan = task.data(None), BatchPlan(training, len(rows))
    module = task.model()
    layout = VectorLayout(module, list(task.travelling(module)))
    layout.to_module(job.vector, module)
    rule, rate = training.optimiser, training.rate_at(job.round)
    assert isinstance(rule, Sgd)
    optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=rule.momentum)
    order, taken, losses = rows[plan.draw([job.stream])[0]], 0, []
    for size in plan.sizes:
        batch = order[taken : taken + size]
        taken += size
        inputs = torch.from_numpy(data.train.inputs[batch])
        loss = task.loss(module(inputs), torch.from_numpy(data.train.targets[batch]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return layout.to_vector(module), float(np.mean(losses))


@pytest.mark.parametrize(
    ("task", "options", "training"),
    [
        ("digits", {}, {}),
        ("digits", {"hidden": []}, {"batch_size": 8}),
        ("digits", {"hidden": [24, 16]}, {"momentum": 0.9, "learning_rate": 0.02}),
        ("digits", {"hidden": 7}, {"steps": 5, "batch_size": 20}),
        ("digits", {}, {"steps": 4, "sampling": "replacement"}),
        ("digits", {}, {"epochs": 3, "schedule": [[0, 0.05], [3, 0.01]]}),
        ("breast-cancer", {}, {"epochs": 2}),
    ],
)
def test_stacked_steps_are_those_of_a_plain_loop(
    task: str, options: dict[str, Any], training: dict[str, Any]
) -> None:
    made = learner(task=task, options=options, training=training)
    assert made.batching == "stacked (bmm by hand)"
    jobs = train_jobs(made, 24, round_number=3)
    results = trained(made.run(jobs))
    plain_task = make_task(task, options, folder=None)
    assert isinstance(plain_task, Task)
    for (peer, job), result in zip(jobs, results, strict=True):
        rows = made._partition.rows_of(peer)
        vector, loss = plain_torch(plain_task, job, rows, TrainingSettings.model_validate(training))
        np.testing.assert_allclose(result.vector, vector, atol=2e-5)
        assert result.loss == pytest.approx(loss, rel=1e-4)
        assert result.sample_count == len(rows) == made.sample_count(peer)
        assert not result.vector.flags.writeable
        assert np.abs(result.vector - job.vector).max() > 1e-4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("task", "hidden"), [("digits", [32]), ("digits", [13, 5]), ("fashion-mnist", [64])]
)
def test_a_result_is_the_same_bits_in_any_batch(
    task: str, hidden: list[int], momentum: float
) -> None:
    if task == "fashion-mnist" and not FashionMnist.folder.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    partition = SKEWED if task == "digits" else {"kind": "iid", "rows_per_peer": 40}
    made = learner(
        task=task,
        options={"hidden": hidden},
        partition=partition,
        training={"momentum": momentum, "batch_size": 20, "learning_rate": 0.02},
    )
    jobs = train_jobs(made, 24)
    alone = [trained(made.run([job]))[0] for job in jobs]
    rng = Random(5)
    for _ in range(10):
        some = rng.sample(range(24), rng.randint(1, 24))
        made._engine._chunk_peers = rng.choice([1, 2, 3, 5, 8, 16])  # type: ignore[attr-defined]
        made._engine._local.__dict__.clear()  # type: ignore[attr-defined]
        for peer, result in zip(some, trained(made.run([jobs[i] for i in some])), strict=True):
            assert result.vector.tobytes() == alone[peer].vector.tobytes()
            assert result.loss == alone[peer].loss


def test_threads_change_no_bit_and_leave_the_setting_of_torch() -> None:
    one, two = learner(threads=1), learner(threads=2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # Neither what a learner sets nor what tests are given.
    try:
        jobs = train_jobs(one, 24)
        for a, b in zip(trained(one.run(jobs)), trained(two.run(jobs)), strict=True):
            assert a.vector.tobytes() == b.vector.tobytes()
            assert a.loss == b.loss
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_model_that_fails_is_named_and_disturbs_no_other() -> None:
    made = learner()
    jobs = train_jobs(made, 24)
    undisturbed = trained(made.run(jobs))
    broken = {}
    for peer, value in [(3, np.nan), (11, np.inf), (20, 3e38)]:
        vector = jobs[peer][1].vector.copy()
        vector[:] = value
        broken[peer] = (peer, Train(4, vector, "broken"))
    mixed = [broken.get(peer, job) for peer, job in enumerate(jobs)]
    for peer, result in enumerate(made.run(mixed)):
        if peer in broken:
            assert isinstance(result, WorkFailed)
            assert "step 1 of" in result.reason
            assert "round 4" in result.reason
        else:
            assert isinstance(result, Trained)
            assert result.vector.tobytes() == undisturbed[peer].vector.tobytes()


def test_a_rate_far_too_high_fails_by_name_instead_of_giving_a_model() -> None:
    made = learner(training={"learning_rate": 1e30, "epochs": 3})
    (result,) = made.run([(0, Train(2, made.initial_vector(), "7/0/0/train/2"))])
    assert isinstance(result, WorkFailed)
    assert "round 2" in result.reason
    (figures,) = made.run([(0, Evaluate(2, np.full(made.vector_length, np.nan, np.float32)))])
    assert isinstance(figures, WorkFailed)


def test_jobs_of_both_kinds_come_back_in_order_and_learning_learns() -> None:
    made = learner(training={"epochs": 5, "learning_rate": 0.2}, evaluation_rows=100, peers=2)
    start = made.initial_vector()
    results = made.run(
        [(0, Evaluate(0, start)), (1, Train(0, start, "a")), (1, Evaluate(0, start))]
    )
    assert [type(result) for result in results] == [Evaluated, Trained, Evaluated]
    assert isinstance(results[0], Evaluated)
    assert isinstance(results[2], Evaluated)
    assert results[0].metrics == results[2].metrics  # Of common rows; own ones are others.
    pooled = made.pooled()
    assert pooled.sample_count(0) == made.sample_count(0) + made.sample_count(1)
    vector = start
    for round_number in range(8):
        (result,) = trained(pooled.run([(0, Train(round_number, vector, f"{round_number}"))]))
        vector = result.vector
    (figures,) = pooled.run([(0, Evaluate(7, vector))])
    assert isinstance(figures, Evaluated)
    assert figures.metrics["accuracy"] > 0.9


def test_pooled_takes_as_many_steps_as_all_peers() -> None:
    made = learner(training={"steps": 3}, peers=5)
    job = Train(0, made.initial_vector(), "a")
    assert made.steps(0, job) == 3
    assert made.pooled().steps(0, job) == 15
    assert made.pooled().sample_count(0) == sum(made.sample_count(peer) for peer in range(5))


def test_the_same_seed_gives_the_same_start_and_evaluation_rows() -> None:
    first, second = learner(evaluation_rows=50), learner(evaluation_rows=50)
    assert first.initial_vector().tobytes() == second.initial_vector().tobytes()
    assert not first.initial_vector().flags.writeable
    job = (0, Evaluate(0, first.initial_vector()))
    assert first.run([job]) == second.run([job])


def test_label_counts_are_those_of_the_rows() -> None:
    made = learner(peers=5)
    counts = made.label_counts
    assert counts is not None
    assert [sum(row) for row in counts] == [made.sample_count(peer) for peer in range(5)]
    assert made.pooled().label_counts == [[sum(column) for column in zip(*counts, strict=True)]]


@pytest.mark.parametrize("hidden", [[32], [13, 5]])
def test_a_model_s_tensors_load_into_the_module_and_give_the_same_figures(
    hidden: list[int],
) -> None:
    made = learner(options={"hidden": hidden})
    (result,) = trained(made.run([(0, Train(0, made.initial_vector(), "a"))]))
    task = make_task("digits", {"hidden": hidden}, folder=None)
    assert isinstance(task, Task)
    module = task.model()
    tensors = made.named(result.vector).tensors
    module.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    test = task.data(None).test
    assert test is not None
    with torch.no_grad():
        outputs = module(torch.from_numpy(test.inputs)).numpy()
    (figures,) = made.run([(0, Evaluate(0, result.vector))])
    assert isinstance(figures, Evaluated)
    assert figures.metrics == pytest.approx(task.metrics(outputs, test.targets), rel=1e-5)


def test_the_tensors_of_a_task_without_torch_are_its_vector() -> None:
    made = learner(task="integers", partition={"kind": "iid"})
    assert (
        made.named(made.initial_vector()).tensors["model"].tolist()
        == made.initial_vector().tolist()
    )
