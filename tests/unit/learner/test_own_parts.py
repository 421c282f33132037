"""Personal tensors, personal models, control variates and kept moments, held against plain loops.

Each loop here is written from its paper, with torch alone, over a module of its own.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.naming import name_model
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

PEERS = 3
TASKS = """
import numpy as np
import torch
from torch import nn
from p2pfl.learner.tasks import Data, Rows
from p2pfl.learner.tasks.perceptrons import Digits

class Plain(Digits):
    pass

class Stacked(Digits):
    def model(self):
        return nn.Sequential(nn.Linear(64, 21), nn.LayerNorm(21), nn.GELU(), nn.Linear(21, 10))

class Alone(Digits):
    def model(self):
        class Model(nn.Sequential):
            def forward(self, x):
                return super().forward(x) * (1 if float(x.sum()) > 0 else 2)
        return Model(nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10))

class Clamped(Digits):
    def model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(64, 20), nn.Linear(20, 10)
            def forward(self, x):
                return self.last(self.first(x).clamp(min=0))
        return Model()

class PersonalFirst(Alone):
    def personal(self, model):
        return ["0.weight", "0.bias"]

class PersonalHead(Stacked):
    def personal(self, model):
        return ["3.weight", "3.bias"]

class PersonalOfPerceptron(Digits):
    def personal(self, model):
        return ["2.weight", "2.bias"]

class Unknown(Digits):
    def personal(self, model):
        return ["2.wait"]

class Both(PersonalHead):
    def travelling(self, model):
        return [name for name, _ in model.named_parameters()]

class NotTrained(Stacked):
    def model(self):
        model = super().model()
        model[0].weight.requires_grad_(False)
        return model
    def personal(self, model):
        return ["0.weight"]

class NoList(Stacked):
    def personal(self, model):
        return "3.weight"

class Skewed(Digits):
    def data(self, data_dir):
        r = np.random.default_rng(0)
        x = r.normal(size=(120, 6)).astype("float32")
        y = np.zeros((120, 1), "float32")
        for peer in range(3):  # Each peer's rows have another best model, and other scales.
            own = slice(40 * peer, 40 * peer + 40)
            x[own] *= 0.3 + 0.6 * peer
            y[own, 0] = x[own] @ np.random.default_rng(peer).normal(size=6).astype("float32")
        site = np.arange(120) // 40
        return Data(Rows(x, y), Rows(x, y), {"site": site})
    def model(self):
        return nn.Sequential(nn.Linear(6, 1))
    def loss(self, outputs, targets):
        return ((outputs - targets) ** 2).mean()
    def metrics(self, outputs, targets):
        return {"accuracy": 0.0, "loss": float(((outputs - targets) ** 2).mean())}
"""
SETTINGS = {"batch_size": 100, "learning_rate": 0.05, "epochs": 2}
KINDS = {
    "Plain": "stacked (layers by hand)",
    "Stacked": "stacked (layers by hand)",
    "Clamped": "stacked (vmap)",
    "Alone": "one by one",
}
"""Models, and what trains them where steps begin with more than a model."""


def made(folder: Path, name: str, partition: Any = None, **training: Any) -> Learner:
    (folder / "own_tasks.py").write_text(TASKS)
    sys.modules.pop("own_tasks", None)
    document = {
        "task": f"own_tasks:{name}",
        "training": {**SETTINGS, **training},
        "partition": partition or {"kind": "iid"},
    }
    settings = LearningSettings.model_validate(document)
    return make_learner(settings, peer_count=PEERS, seed=7, folder=folder, threads=1)


def stream(peer: int, round_: int) -> str:
    return f"7/{peer}/1/train/{round_}"


def trained(learner: Learner, jobs: list[tuple[int, Train]]) -> list[Trained]:
    results = learner.run(jobs)
    assert all(isinstance(result, Trained) for result in results)
    return results  # type: ignore[return-value]


def entries_of(learner: Learner, vector: Any) -> dict[str, Any]:
    """What travels, by name."""
    model = learner.named(vector)
    return {name: model.tensors[name].astype(np.float64) for name, _ in model.order}


class Loop:
    """A peer's rows, and a float64 module of the task, for loops in plain torch."""

    def __init__(self, learner: Learner, peer: int, **training: Any) -> None:
        task = sys.modules["own_tasks"].__dict__[learner._blamed.task.partition(":")[2]]()
        self.module = task.model().double()
        self.task, self.data = task, task.data(None)
        self.parameters = dict(self.module.named_parameters())
        self.rows = learner._partition.rows_of(peer)
        settings = TrainingSettings.model_validate({**SETTINGS, **training})
        self.plan = BatchPlan(settings, len(self.rows))

    def put(self, tensors: dict[str, Any]) -> "Loop":
        for name, values in tensors.items():
            self.parameters[name].data.copy_(torch.from_numpy(values))
        return self

    def take(self) -> dict[str, Any]:
        return {name: it.detach().numpy().copy() for name, it in self.parameters.items()}

    def gradients(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the gradient of each step's batch, where the parameters are at that step."""
        order, taken = self.rows[self.plan.draw([name])[0]], 0
        for size in self.plan.sizes:
            batch = order[taken : taken + size]
            taken += size
            inputs = torch.from_numpy(self.data.train.inputs[batch]).double()
            targets = torch.from_numpy(self.data.train.targets[batch])
            loss = self.task.loss(self.module(inputs), targets)
            found = torch.autograd.grad(loss, list(self.parameters.values()))
            yield {
                key: gradient.numpy() for key, gradient in zip(self.parameters, found, strict=True)
            }

    def descend(
        self, name: str, rate: float, extra: Callable[[str, Any], Any] | None = None
    ) -> None:
        for gradients in self.gradients(name):
            for key, parameter in self.parameters.items():
                step = gradients[key]
                if extra is not None:
                    step = step + extra(key, parameter.detach().numpy())
                parameter.data.sub_(torch.from_numpy(rate * step))


def mean(results: list[Trained]) -> Any:
    return np.mean([it.vector for it in results], axis=0, dtype=np.float64).astype(np.float32)


def _pull(anchor: dict[str, Any], key: str, parameter: Any) -> Any:
    return 0.7 * (parameter - anchor[key])


def _at(values: dict[str, Any], key: str, _parameter: Any) -> Any:
    return values[key]


def close(one: dict[str, Any], other: dict[str, Any], tolerance: float = 2e-5) -> bool:
    assert one.keys() == other.keys()
    return all(np.abs(one[name] - other[name]).max() < tolerance for name in one)


# --- personal tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PersonalFirst", "PersonalHead", "PersonalOfPerceptron"])
def test_personal_tensors_train_stay_and_go_on(name: str, tmp_path: Path) -> None:
    learner = made(tmp_path, name)
    start = learner.initial_vector()
    loops = [Loop(learner, peer) for peer in range(PEERS)]
    whole = {key: it.size for key, it in loops[0].take().items()}
    shared = entries_of(learner, start)
    assert learner.vector_length == sum(whole[key] for key in shared) < sum(whole.values())
    first = trained(learner, [(peer, Train(0, start, stream(peer, 0))) for peer in range(PEERS)])
    averaged = mean(first)
    second = trained(
        learner,
        [(peer, Train(1, averaged, stream(peer, 1), it.own)) for peer, it in enumerate(first)],
    )
    personal = {key for key in whole if key not in shared}
    begun = full_start(tmp_path, name)
    for peer, loop in enumerate(loops):
        loop.put(begun | shared).descend(stream(peer, 0), 0.05)
        assert close({k: v for k, v in loop.take().items() if k in shared},
                     entries_of(learner, first[peer].vector))  # fmt: skip
        loop.put(entries_of(learner, averaged)).descend(stream(peer, 1), 0.05)
        assert close({k: v for k, v in loop.take().items() if k in shared},
                     entries_of(learner, second[peer].vector))  # fmt: skip
        assert second[peer].own["personal"].size == sum(whole[key] for key in personal)
    assert not np.array_equal(second[0].own["personal"], second[1].own["personal"])


def full_start(folder: Path, name: str) -> dict[str, Any]:
    """The start of all that trains: where nothing is personal, all of it travels."""
    open_name = next(kind for kind in ("Alone", "Stacked", "Plain")
                     if issubclass(sys.modules["own_tasks"].__dict__[name],
                                   sys.modules["own_tasks"].__dict__.get(kind, object))
                     or kind == "Plain")  # fmt: skip
    everything = made(folder, open_name)
    return entries_of(everything, everything.initial_vector())


def test_an_evaluation_is_of_the_peers_own_tensors(tmp_path: Path) -> None:
    learner = made(tmp_path, "PersonalHead", epochs=20)
    start = learner.initial_vector()
    (result,) = trained(learner, [(0, Train(0, start, stream(0, 0)))])
    with_own, without = learner.run(
        [(0, Evaluate(0, result.vector, result.own)), (0, Evaluate(0, result.vector))]
    )
    assert isinstance(with_own, Evaluated)
    assert isinstance(without, Evaluated)
    assert with_own.metrics["accuracy"] > without.metrics["accuracy"] + 0.1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Unknown", "names '2.wait', but its model has no such tensor; it has 0.weight"),
        ("Both", "names '3.weight', which travels"),
        ("NotTrained", "names '0.weight', which takes no gradient"),
        ("NoList", "returned no list of names"),
    ],
)
def test_personal_names_that_are_none_are_refused(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LearningError, match=told):
        made(tmp_path, name)


# --- Ditto --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_personal_model_is_that_of_ditto(name: str, tmp_path: Path) -> None:
    learner = made(tmp_path, name, local={"kind": "ditto", "pull": 0.7})
    assert learner.batching.startswith(KINDS[name])
    plain = made(tmp_path, name)
    at = {peer: learner.initial_vector() for peer in range(PEERS)}
    own: dict[int, Any] = {peer: {} for peer in range(PEERS)}
    loops = {peer: Loop(learner, peer) for peer in range(PEERS)}
    for loop in loops.values():
        loop.put(entries_of(learner, learner.initial_vector()))
    for round_ in range(2):
        jobs = [(peer, Train(round_, at[peer], stream(peer, round_), own[peer])) for peer in at]
        alone = [(peer, Train(round_, at[peer], stream(peer, round_))) for peer in at]
        results = trained(learner, jobs)
        for peer, (result, without) in enumerate(zip(results, trained(plain, alone), strict=True)):
            anchor = entries_of(learner, at[peer])
            loops[peer].descend(
                f"{stream(peer, round_)}/personal",
                0.05,
                partial(_pull, anchor),
            )
            assert close(loops[peer].take(), entries_of(learner, result.own["model"]))
            # The joint model is trained as without it, but for rounding where engines differ.
            assert np.abs(result.vector - without.vector).max() < 2e-6
            at[peer], own[peer] = result.vector, result.own


def test_a_personal_model_is_anchored_to_the_joint_one_with_the_peers_own_head(
    tmp_path: Path,
) -> None:
    """Ditto where a head is personal: what it is pulled towards has the head trained beside it."""
    learner = made(tmp_path, "PersonalHead", local={"kind": "ditto", "pull": 0.7})
    plain = made(tmp_path, "PersonalHead")
    vector: Any = learner.initial_vector()
    own: Any = {}
    joint: Any = {}
    loop, start = Loop(learner, 0), full_start(tmp_path, "PersonalHead")
    loop.put(start)
    for round_ in range(3):
        head = {name: start[name] for name in ("3.weight", "3.bias")}
        if round_:
            head = {n: learner.named(vector, 0, joint).tensors[n].astype(float) for n in head}
        anchor = entries_of(learner, vector) | head
        (result,) = trained(learner, [(0, Train(round_, vector, stream(0, round_), own))])
        (without,) = trained(plain, [(0, Train(round_, vector, stream(0, round_), joint))])
        loop.descend(f"{stream(0, round_)}/personal", 0.05, partial(_pull, anchor))
        used = learner.named(result.vector, 0, result.own).tensors
        assert close(loop.take(), {name: it.astype(float) for name, it in used.items()}, 5e-5)
        assert np.abs(result.vector - without.vector).max() < 2e-6
        vector, own, joint = result.vector, result.own, without.own


@pytest.mark.parametrize(
    "training",
    [
        {"local": {"kind": "ditto", "pull": 0.7}},
        {"local": {"kind": "scaffold"}},
        {"optimiser": {"kind": "adamw"}, "keep_moments": True},
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_what_a_job_begins_with_is_its_own_whoever_shares_the_call(
    name: str, training: dict[str, Any], tmp_path: Path
) -> None:
    learner = made(
        tmp_path, name, {"kind": "quantity", "alpha": 2, "minimum_rows": 300}, **training
    )
    start = learner.initial_vector()
    first = trained(learner, [(peer, Train(0, start, stream(peer, 0))) for peer in range(PEERS)])
    assert all(it.own for it in first)
    # One peer missed the first round: it has nothing of its own.
    jobs = [
        (peer, Train(1, it.vector, stream(peer, 1), it.own if peer else {}))
        for peer, it in enumerate(first)
    ]
    together = trained(learner, jobs)
    for job, result in zip(jobs, together, strict=True):
        (alone,) = trained(learner, [job])
        assert alone.vector.tobytes() == result.vector.tobytes()
        assert alone.own.keys() == result.own.keys()
        for key, values in alone.own.items():
            assert values.tobytes() == result.own[key].tobytes()


# --- SCAFFOLD -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_control_variates_are_those_of_scaffold(name: str, tmp_path: Path) -> None:
    """Option II of algorithm 1, with all peers in each round and a server step of 1."""
    learner, rate = made(tmp_path, name, local={"kind": "scaffold"}), 0.05
    vector: Any = learner.initial_vector()
    assert learner.vector_length == 2 * made(tmp_path, name).vector_length
    tensors = learner.description.tensors
    assert tensors[len(tensors) // 2].name.startswith("control")
    loops = [Loop(learner, peer) for peer in range(PEERS)]
    x = entries_of(learner, vector)
    c = {key: np.zeros_like(values) for key, values in x.items()}
    c_own = [dict(c) for _ in loops]
    own: list[Any] = [{}] * PEERS
    for round_ in range(3):
        results = trained(
            learner,
            [(p, Train(round_, vector, stream(p, round_), own[p])) for p in range(PEERS)],
        )
        vector, own = mean(results), [it.own for it in results]
        ends = []
        for peer, loop in enumerate(loops):
            held = c_own[peer]
            change = {key: c[key] - held[key] for key in c}
            loop.put(x).descend(stream(peer, round_), rate, partial(_at, change))
            y = loop.take()
            way = loop.plan.steps * rate
            c_own[peer] = {key: held[key] - c[key] + (x[key] - y[key]) / way for key in x}
            ends.append(y)
        x = {key: np.mean([y[key] for y in ends], axis=0) for key in x}
        c = {key: np.mean([it[key] for it in c_own], axis=0) for key in x}
        assert close(x, entries_of(learner, vector), 5e-5)
        half = len(vector) // 2
        padded = np.concatenate([vector[half:], np.zeros(half, np.float32)])
        assert close(c, entries_of(learner, padded), 2e-3)


def test_scaffold_comes_to_the_best_model_of_all_where_averaging_does_not(tmp_path: Path) -> None:
    """Many local steps on skewed rows: averages alone end off the optimum, and stay there."""
    sites = {"kind": "groups", "column": "site"}
    common = {"batch_size": 40, "learning_rate": 0.1, "epochs": None, "steps": 20}
    distance = {}
    for kind in ("plain", "scaffold"):
        learner = made(tmp_path, "Skewed", sites, **common, local={"kind": kind})
        rows = sys.modules["own_tasks"].Skewed().data(None).train
        # What is held out is in nobody's training, and would move the best model.
        used = np.concatenate([learner._partition.rows_of(peer) for peer in range(PEERS)])
        inputs = np.column_stack([rows.inputs[used], np.ones(len(used))]).astype(np.float64)
        targets = rows.targets[used, 0].astype(np.float64)
        best = np.linalg.lstsq(inputs, targets, rcond=None)[0]
        vector: Any = learner.initial_vector()
        own: list[Any] = [{}] * PEERS
        for round_ in range(25):
            results = trained(
                learner,
                [(p, Train(round_, vector, stream(p, round_), own[p])) for p in range(PEERS)],
            )
            vector = mean(results)
            own = [it.own for it in results]
        found = entries_of(learner, vector)
        distance[kind] = np.linalg.norm(
            np.concatenate([found["0.weight"][0], found["0.bias"]]) - best
        )
    assert distance["plain"] > 0.1
    assert distance["scaffold"] < distance["plain"] / 20


# --- moments that go on -------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "optimiser", [{"kind": "adamw"}, {"kind": "sgd", "momentum": 0.9, "nesterov": True}], ids=str
)
@pytest.mark.parametrize("keeps", [True, False])
def test_moments_go_on_where_settings_say_so(
    keeps: bool, optimiser: dict[str, Any], name: str, tmp_path: Path
) -> None:
    learner = made(tmp_path, name, optimiser=optimiser, keep_moments=keeps, learning_rate=0.01)
    loops = [Loop(learner, peer) for peer in range(PEERS)]
    at: list[Any] = [learner.initial_vector()] * PEERS
    own: list[Any] = [{}] * PEERS

    def begin(loop: Loop) -> torch.optim.Optimizer:
        if optimiser["kind"] == "adamw":
            return torch.optim.AdamW(loop.parameters.values(), lr=0.01)
        return torch.optim.SGD(loop.parameters.values(), lr=0.01, momentum=0.9, nesterov=True)

    optimisers = [begin(loop.put(entries_of(learner, at[0]))) for loop in loops]
    for round_ in range(2):
        results = trained(
            learner,
            [(p, Train(round_, at[p], stream(p, round_), own[p])) for p in range(PEERS)],
        )
        for peer, loop in enumerate(loops):
            if not keeps:
                optimisers[peer] = begin(loop)
            for gradients in loop.gradients(stream(peer, round_)):
                for key, parameter in loop.parameters.items():
                    parameter.grad = torch.from_numpy(gradients[key])
                optimisers[peer].step()
            assert close(loop.take(), entries_of(learner, results[peer].vector), 1e-4)
        assert bool(results[0].own) is keeps
        at, own = [it.vector for it in results], [it.own for it in results]


# --- whoever shares a call ------------------------------------------------------------------------


@pytest.mark.parametrize("local", [{"kind": "ditto", "pull": 0.1}, {"kind": "scaffold"}], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_a_result_is_the_same_bits_whoever_shares_the_call(
    name: str, local: dict[str, Any], tmp_path: Path
) -> None:
    learner = made(tmp_path, name, local=local)
    own: dict[int, Any] = {}
    vector: Any = learner.initial_vector()
    for round_ in range(2):
        jobs = [(p, Train(round_, vector, stream(p, round_), own.get(p, {}))) for p in range(PEERS)]
        together = trained(learner, jobs)
        for job, result in zip(jobs, together, strict=True):
            (alone,) = trained(learner, [job])
            assert alone.vector.tobytes() == result.vector.tobytes()
            assert {k: v.tobytes() for k, v in alone.own.items()} == {
                k: v.tobytes() for k, v in result.own.items()
            }
        own = {peer: result.own for peer, result in enumerate(together)}
        vector = mean(together)


@pytest.mark.parametrize("local", [{"kind": "plain"}, {"kind": "ditto", "pull": 0.1}])
def test_a_peers_model_is_named_with_its_own_tensors(local: dict[str, Any], tmp_path: Path) -> None:
    learner = made(tmp_path, "PersonalHead", local=local)
    start = learner.initial_vector()
    (result,) = trained(learner, [(0, Train(0, start, stream(0, 0)))])
    alike, own = learner.named(result.vector), learner.named(result.vector, 0, result.own)
    assert own.tensors.keys() == alike.tensors.keys()
    assert np.array_equal(alike.tensors["3.bias"], learner.named(start).tensors["3.bias"])
    whole = result.own["model" if local["kind"] == "ditto" else "personal"]
    assert np.array_equal(own.tensors["3.bias"], whole[-10:])  # The head's bias comes last.
    assert not np.array_equal(own.tensors["3.bias"], alike.tensors["3.bias"])
    is_joint = np.array_equal(own.vector(), result.vector)
    assert is_joint == (local["kind"] == "plain")
    exported = name_model(
        LearningSettings.model_validate(
            {"task": "own_tasks:PersonalHead", "training": {"local": local}}
        ),
        result.vector,
        result.own,
        seed=7,
        folder=tmp_path,
    )
    assert np.array_equal(exported.tensors["3.bias"], own.tensors["3.bias"])
    # Each says whose they are; moments that a peer keeps make no tensor its own.
    moments = learner.named(result.vector, 0, {"moments/velocity": np.zeros(1, np.float32)})
    head = ["3.weight", "3.bias"]
    assert alike.origins == moments.origins == {"of the start": head}
    assert own.origins == exported.origins == {"the peer's own": head}
    assert alike.about["model"] == "joint"
    assert own.about["model"] == ("joint" if is_joint else "personal")
