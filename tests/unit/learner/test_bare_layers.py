"""A model that is one layer by itself: its tensors have no module's name before them."""

import pytest
from torch import nn

from p2pfl.learner.engines.stacked.pointwise import ACTIVATIONS
from p2pfl.learner.engines.stacked.reading import READERS, read
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.learning import Train, Trained

BARE: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(4, 3), (4,)),
    (nn.Linear(4, 3, bias=False), (4,)),
    (nn.Conv1d(2, 3, 3), (2, 6)),
    (nn.Conv2d(2, 3, 3), (2, 6, 6)),
    (nn.GroupNorm(2, 4), (4, 3, 3)),
    (nn.BatchNorm1d(4), (4,)),
    (nn.BatchNorm2d(4), (4, 3, 3)),
    (nn.LayerNorm(4), (4,)),
    (nn.Embedding(5, 3), (4,)),
    (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (3, 4)),
    (
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
            2,
            norm=nn.LayerNorm(4),
            enable_nested_tensor=False,
        ),
        (3, 4),
    ),
]


@pytest.mark.parametrize(("module", "shape"), BARE, ids=lambda it: type(it).__name__)
def test_every_layer_is_read_by_itself(module: nn.Module, shape: tuple[int, ...]) -> None:
    program = read(module, shape)
    assert set(program.parameter_names) == {name for name, _ in module.named_parameters()}


def test_every_layer_with_tensors_is_among_them() -> None:
    poolings = {it for it in READERS if "Pool" in it.__name__}
    dropouts = {it for it in READERS if "Dropout" in it.__name__}
    others = {nn.Flatten, nn.Unflatten, nn.Identity, nn.LogSoftmax, *ACTIVATIONS}
    assert {type(module) for module, _ in BARE} == set(READERS) - others - poolings - dropouts


def test_a_linear_model_trains(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bare_linear.py").write_text(
        "from torch import nn\n"
        "from p2pfl.learner.tasks.perceptrons import Digits\n"
        "class Bare(Digits):\n"
        "    def model(self): return nn.Linear(64, 10)\n"
    )
    settings = LearningSettings(task="bare_linear:Bare")
    made = make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)
    assert made.batching == "stacked (layers by hand)"
    (result,) = made.run([(0, Train(0, made.initial_vector(), "a"))])
    assert isinstance(result, Trained)
    assert set(made.named(result.vector).tensors) == {"weight", "bias"}


def test_a_bias_that_batch_norm_takes_out_is_no_reason_to_train_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    # Its gradient is 0 but for rounding, which a batch norm of two rows nearly alike enlarges.
    (tmp_path / "alike_rows.py").write_text(
        "from dataclasses import replace\n"
        "from torch import nn\n"
        "from p2pfl.learner.tasks import Rows\n"
        "from p2pfl.learner.tasks.perceptrons import Digits\n"
        "class Alike(Digits):\n"
        "    def data(self, data_dir):\n"
        "        data = super().data(data_dir)\n"
        "        inputs = data.train.inputs.copy()\n"
        "        inputs[1] = inputs[0] * 0.99\n"
        "        return replace(data, train=Rows(inputs, data.train.targets))\n"
        "    def model(self):\n"
        "        layers = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)\n"
        "        return nn.Sequential(*layers)\n"
    )
    settings = LearningSettings(task="alike_rows:Alike")
    made = make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)
    assert made.batching == "stacked (layers by hand)"
