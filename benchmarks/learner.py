"""How fast many peers' models train, by model and engine, against a plain torch loop.

    ./scripts/bench learner [--models "NAME|NAME"] [--peers N] [--repeats R]

Each contestant gives every peer one local epoch from a vector of its own; copying vectors in and
out counts. All do the same batches of the same rows in one process, on one thread, in turns; what
is told is CPU seconds of the plain loop over CPU seconds of the engine, the median over turns.
Rows are random: speed does not depend on them. *chosen* is what the learner takes by itself.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from options import positive
from torch import nn

from p2pfl.learner.batches import BatchPlan
from p2pfl.learner.engines.base import Engine, Training
from p2pfl.learner.engines.choice import choose_engine
from p2pfl.learner.engines.one_by_one import ModuleEngine
from p2pfl.learner.engines.stacked.engine import StackedEngine
from p2pfl.learner.engines.threads import Workers, one_torch_thread
from p2pfl.learner.engines.vmap import VmapEngine
from p2pfl.learner.errors import Blamed, LearningError
from p2pfl.learner.models import make_model
from p2pfl.learner.optimisers import Optimiser
from p2pfl.learner.settings import TrainingSettings
from p2pfl.learner.tasks.base import Data, Rows, Task
from p2pfl.learner.vectors import VectorLayout
from p2pfl_gossip.learning import Train, Trained, WorkFailed

ROWS, WORDS, TOKENS = 6000, 200, 32
RATE, BATCH = 0.05, 32


class Pictures(Task):
    """Random pictures of 28 x 28 in ten classes."""

    make: Callable[[], nn.Module]

    def data(self, data_dir: Path | None) -> Data:
        draw = np.random.default_rng(0)
        inputs = draw.normal(size=(ROWS, 1, 28, 28)).astype(np.float32)
        targets = draw.integers(0, 10, ROWS)
        return Data(Rows(inputs, targets), Rows(inputs[:100], targets[:100]))

    def model(self) -> nn.Module:
        return type(self).make()


class Series(Pictures):
    """Random series of 200 values on two channels in ten classes."""

    def data(self, data_dir: Path | None) -> Data:
        draw = np.random.default_rng(0)
        inputs = draw.normal(size=(ROWS, 2, 200)).astype(np.float32)
        targets = draw.integers(0, 10, ROWS)
        return Data(Rows(inputs, targets), Rows(inputs[:100], targets[:100]))


class Texts(Pictures):
    """Random texts of 32 words in two classes."""

    def data(self, data_dir: Path | None) -> Data:
        draw = np.random.default_rng(0)
        inputs, targets = draw.integers(0, WORDS, (ROWS, TOKENS)), draw.integers(0, 2, ROWS)
        return Data(Rows(inputs, targets), Rows(inputs[:100], targets[:100]))


class Written(nn.Module):
    """The pooled CNN as tutorials write it, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.hidden, self.last = nn.Linear(784, 20), nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(nn.functional.relu(self.first(x)), 2)
        x = nn.functional.max_pool2d(nn.functional.relu(self.second(x)), 2)
        x = nn.functional.dropout(x.view(x.size(0), -1), 0.2, self.training)
        x = nn.functional.relu(self.hidden(x))
        return nn.functional.log_softmax(self.last(x), dim=1)


def series() -> nn.Module:
    layers = [nn.Conv1d(2, 16, 7, stride=2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2)]
    layers += [nn.Conv1d(16, 32, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


class Encoder(nn.Module):
    """A small transformer: 25,000 parameters, or a frozen one with low-rank additions."""

    def __init__(self, *, dropout: float = 0.0, adapted: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 32)
        self.places = nn.Parameter(torch.randn(TOKENS, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.adapted = adapted
        if adapted:
            self.requires_grad_(False)
            self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
        self.head = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.words(x) + self.places
        if self.adapted:
            y = y + self.up(self.down(y))
        result: torch.Tensor = self.head(self.encoder(y).mean(1))
        return result


class LowRank(nn.Module):
    """A frozen linear layer plus a trained product of two thin matrices (Hu et al., 2021)."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(width, width)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base(x)
        change: torch.Tensor = self.up(self.down(x))
        return y + change * 2.0


class BertLayer(nn.Module):
    """A layer of BERT whose queries and values are adapted."""

    def __init__(self, width: int, heads: int, wide: int, drop: float, rank: int) -> None:
        super().__init__()
        self.heads, self.drop = heads, drop
        self.query, self.value = LowRank(width, rank), LowRank(width, rank)
        self.key, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.first_norm, self.last_norm = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)
        self.wide, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = x.shape

        def split(y: torch.Tensor) -> torch.Tensor:
            return y.view(rows, tokens, self.heads, -1).transpose(1, 2)

        y = nn.functional.scaled_dot_product_attention(
            split(self.query(x)),
            split(self.key(x)),
            split(self.value(x)),
            dropout_p=self.drop if self.training else 0.0,
        )
        y = y.transpose(1, 2).reshape(rows, tokens, width)
        x = self.first_norm(self.dropout(self.out(y)) + x)
        y = self.narrow(nn.functional.gelu(self.wide(x)))
        result: torch.Tensor = self.last_norm(self.dropout(y) + x)
        return result


class Bert(nn.Module):
    """A small BERT (Devlin et al., 2019), as libraries write it; adapters and the head train."""

    def __init__(self, *, drop: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 32, padding_idx=0)
        self.places, self.kinds = nn.Embedding(TOKENS, 32), nn.Embedding(2, 32)
        self.norm, self.dropout = nn.LayerNorm(32, 1e-12), nn.Dropout(drop)
        layers = [BertLayer(32, 4, 64, drop, 4) for _ in range(2)]
        self.layers = nn.ModuleList(layers)
        self.pooler, self.head = nn.Linear(32, 32), nn.Linear(32, 2)
        self.requires_grad_(False)
        for layer in layers:
            for part in (layer.query, layer.value):
                part.down.requires_grad_(True)
                part.up.requires_grad_(True)
        self.head.requires_grad_(True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[1])
        y = self.words(x) + self.kinds(torch.zeros_like(x)) + self.places(places)
        y = self.dropout(self.norm(y))
        for layer in self.layers:
            y = layer(y)
        result: torch.Tensor = self.head(self.dropout(torch.tanh(self.pooler(y[:, 0]))))
        return result


def strided(
    norm: Callable[[int], nn.Module] = lambda _: nn.Identity(), drop: float = 0.0
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2),
        norm(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2),
        norm(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(drop),
        nn.Linear(512, 10),
    )


def pooled() -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def perceptron(activation: Callable[[], nn.Module], width: int = 128) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), activation(), nn.Linear(width, 10))


def odd_widths() -> nn.Module:
    """Widths of which no product is a multiple of a cache line: each is done peer by peer."""
    layers = [nn.Flatten(), nn.Linear(784, 51), nn.GELU(), nn.Linear(51, 33), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(33, 10))


def odd_channels() -> nn.Module:
    layers = [nn.Conv2d(1, 7, 5, stride=2), nn.ReLU(), nn.Conv2d(7, 13, 5, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(208, 10))


MODELS: dict[str, tuple[type[Pictures], Callable[[], nn.Module]]] = {
    "MLP, ReLU": (Pictures, lambda: perceptron(nn.ReLU)),
    "MLP, GELU": (Pictures, lambda: perceptron(nn.GELU)),
    "MLP, GELU, odd widths": (Pictures, odd_widths),
    "CNN, strided": (Pictures, strided),
    "CNN, odd widths": (Pictures, odd_channels),
    "CNN, GroupNorm": (Pictures, lambda: strided(lambda width: nn.GroupNorm(4, width))),
    "CNN, BatchNorm": (Pictures, lambda: strided(nn.BatchNorm2d)),
    "CNN, dropout": (Pictures, lambda: strided(drop=0.2)),
    "CNN, pooled": (Pictures, pooled),
    "CNN, as written": (Pictures, Written),
    "CNN of series": (Series, series),
    "transformer": (Texts, Encoder),
    "transformer, dropout": (Texts, lambda: Encoder(dropout=0.1)),
    "transformer, adapter": (Texts, lambda: Encoder(adapted=True)),
    "BERT, LoRA": (Texts, Bert),
    "BERT, LoRA, dropout": (Texts, lambda: Bert(drop=0.1)),
}


class Case:
    """A model, and jobs of all peers with the rows of each step."""

    def __init__(self, name: str, split: str, peers: int) -> None:
        kind, make = MODELS[name]
        self.task = type(name, (kind,), {"make": staticmethod(make)})()
        self.data = self.task.data(None)
        torch.manual_seed(0)
        self.module = make()
        self.training = TrainingSettings.model_validate(
            {"learning_rate": RATE, "batch_size": BATCH, "epochs": 1}
        )
        draw = np.random.default_rng(1)
        names = list(self.task.travelling(self.module))
        layout = VectorLayout(self.module, names)
        start = layout.to_vector(self.module)
        self.trainings = []
        for peer in range(peers):
            # Equal: 4 full batches. Ragged: rows as skewed as with Dirichlet(0.1).
            count = 128 if split == "equal" else int(min(500, 8 + draw.exponential(80)))
            job = Train(0, start + draw.normal(0, 0.01, len(start)).astype(np.float32), f"{peer}")
            rows = draw.integers(0, ROWS, count)
            self.trainings.append(Training(job, rows, BatchPlan(self.training, count), RATE))
        self.steps = sum(training.plan.steps for training in self.trainings)

    def model(self) -> tuple[nn.Module, VectorLayout]:
        torch.manual_seed(0)
        module = self.task.model()
        return module, VectorLayout(module, list(self.task.travelling(module)))

    def plain(self) -> Callable[[], None]:
        """A loop as a researcher would write it, over the same batches."""
        module, layout = self.model()
        state = {name: value.clone() for name, value in module.state_dict().items()}
        inputs = torch.from_numpy(self.data.train.inputs)
        targets = torch.from_numpy(self.data.train.targets)

        def run() -> None:
            results = []
            with one_torch_thread():
                for training in self.trainings:
                    module.load_state_dict(state)
                    layout.to_module(np.asarray(training.job.vector, np.float32), module)
                    module.train()
                    trained = [value for value in module.parameters() if value.requires_grad]
                    optimiser = torch.optim.SGD(trained, lr=RATE)
                    order = training.rows[training.plan.draw([training.job.stream])[0]]
                    for batch in torch.from_numpy(order).split(BATCH):
                        loss = self.task.loss(module(inputs[batch]), targets[batch])
                        optimiser.zero_grad()
                        loss.backward()
                        optimiser.step()
                    results.append(layout.to_vector(module))

        return run

    def engines(self) -> dict[str, Engine]:
        """Every engine that takes the model, on one thread."""
        found: dict[str, Engine] = {}
        optimiser, workers = Optimiser(self.training), Workers(1)
        given = {"data": self.data, "optimiser": optimiser}

        def alone() -> ModuleEngine:
            return ModuleEngine(self.task, *self.model(), test=self.data.test, **given)

        found["one by one"] = alone()
        for name, kind in (("layers by hand", StackedEngine), ("vmap", VmapEngine)):
            try:
                found[name] = kind(
                    self.task,
                    *self.model(),
                    batch_size=BATCH,
                    alone=alone(),
                    workers=workers,
                    **given,
                )
            except LearningError:
                continue
        model = make_model(self.task, seed=0, blamed=Blamed("bench"))
        found["chosen"] = choose_engine(
            self.task,
            model,
            data=self.data,
            test=self.data.test,
            training=self.training,
            row_counts=[len(training.rows) for training in self.trainings],
            threads=1,
        )
        return found


def _train(engine: Engine, case: Case) -> None:
    check(engine.train(case.trainings))


def ratios(case: Case, repeats: int) -> tuple[float, dict[str, float], str]:
    """Return the plain loop's CPU milliseconds a step, each engine's ratio, and what is chosen."""
    engines = case.engines()
    ways = {"plain": case.plain()}
    for name, engine in engines.items():
        ways[name] = partial(_train, engine, case)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, run in ways.items():
            start = time.process_time()
            run()
            if repeat:  # The first warms up.
                taken[name].append(time.process_time() - start)
    found = {
        name: statistics.median(
            plain / own for plain, own in zip(taken["plain"], taken[name], strict=True)
        )
        for name in engines
    }
    plain_ms = statistics.median(taken["plain"]) / case.steps * 1e3
    return plain_ms, found, engines["chosen"].batching.split(":")[0]


def check(results: Sequence[Trained | WorkFailed]) -> None:
    assert all(isinstance(result, Trained) for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", help="names, with | between; all if not given")
    parser.add_argument("--peers", type=positive, default=48)
    parser.add_argument("--repeats", type=positive, default=7)
    arguments = parser.parse_args()
    names = arguments.models.split("|") if arguments.models else list(MODELS)
    for name in names:
        if name not in MODELS:
            parser.error(f"there is no model {name!r}; there are {' | '.join(MODELS)}")
    print(f"torch {torch.__version__}, {arguments.peers} peers, median of {arguments.repeats}\n")
    columns = ("one by one", "layers by hand", "vmap", "chosen")
    print("| model | rows | plain, ms a step |", " | ".join(columns), "| chosen is |")
    print("|---" * (len(columns) + 4) + "|")
    for name in names:
        for split in ("ragged", "equal"):
            case = Case(name, split, arguments.peers)
            plain_ms, found, chosen = ratios(case, arguments.repeats)
            cells = [f"{found[it]:.2f}" if it in found else "-" for it in columns]
            print(
                f"| {name} | {split} | {plain_ms:.2f} |",
                " | ".join(cells),
                f"| {chosen} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
