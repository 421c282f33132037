"""Datasets of other libraries as rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from p2pfl.learner.learner import make_learner
from p2pfl.learner.rows import check_data
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks import Data, LearningError, Rows, datasets, rows_of
from p2pfl.learner.tasks.datasets import is_dataset

INPUTS = torch.arange(24.0).reshape(6, 4)
TARGETS = torch.tensor([0, 1, 0, 1, 1, 0])


class Named:
    """Examples by name, as Hugging Face's datasets give them; those have a shape as well."""

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._examples), len(self._examples[0])

    def __init__(self, *examples: dict[str, Any]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._examples[number]


class Stream(IterableDataset[Any]):
    """Examples one by one, nobody knows how many."""

    def __iter__(self) -> Iterator[Any]:
        return iter([(INPUTS[0], 0)])


class Short(Dataset[Any]):
    """Says that it has more than it gives."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, number: int) -> Any:
        return INPUTS[number], int(TARGETS[number])


def test_pairs_become_rows_in_their_order() -> None:
    rows = rows_of(Subset(TensorDataset(INPUTS, TARGETS), [5, 1, 3]), "mine")
    assert rows.inputs.dtype == np.float32
    assert rows.inputs.tolist() == INPUTS[[5, 1, 3]].tolist()
    assert rows.targets.tolist() == [0, 1, 1]
    pictures = [(np.full((2, 2), number, np.uint8), number) for number in range(3)]
    rows = rows_of(pictures, "mine")
    assert rows.inputs.dtype == np.uint8
    assert rows.inputs.shape == (3, 2, 2)
    assert rows.targets.tolist() == [0, 1, 2]


def test_named_values_become_rows_side_by_side() -> None:
    found = rows_of(Named({"a": 1, "b": 2.5, "label": 0}, {"a": 3, "b": 4, "label": 1}), "mine")
    assert found.inputs.tolist() == [[1, 2.5], [3, 4]]
    assert found.targets.tolist() == [0, 1]
    tokens = Named({"ids": [1, 2], "id": 7, "label": 0}, {"ids": [3, 4], "id": 8, "label": 1})
    found = rows_of(tokens, "mine", inputs=["ids"], target="label")
    assert found.inputs.tolist() == [[1, 2], [3, 4]]
    later = rows_of(Named({"x": 1, "y": 0}, {"x": 1.5, "y": 0}), "mine")
    assert later.inputs.tolist() == [1, 1.5]  # Not cut to integers as the first row has one.


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        (Stream(), "mine are a Stream without a length"),
        (Short(), "mine say that they have 9 rows, but give 6"),
        ([], "mine have no rows"),
        ([(1, 2, 3)], "row 0 is of type tuple, no pair"),
        ([1, 2], "row 0 is of type int, no pair"),
        ([("text", 1)], "the input of row 0 is of type str, no numbers"),
        ([(1, None)], "the target of row 0 is nothing, no numbers"),
        ([([1, 2], 0), ([1, 2, 3], 0)], r"row 1 has shape \[3\], that of row 0 \[2\]"),
        (Named({"a": 1, "b": 2}), "which is the target is not plain; say it"),
        (Named({"a": [1, 2], "b": 2, "label": 0}), "which is the input is not plain; say it"),
        (Named({"label": 0}), "no column beside the target 'label'"),
        (Named({"a": 1, "label": 0}, {"b": 1, "label": 0}), "row 1 has no 'a'; it has b, label"),
    ],
)
def test_what_is_no_dataset_of_rows_is_refused_in_one_line(dataset: Any, says: str) -> None:
    with pytest.raises(LearningError, match=says) as caught:
        rows_of(dataset, "mine")
    assert "\n" not in str(caught.value)


def test_rows_beyond_memory_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Large(Short):
        def __getitem__(self, number: int) -> Any:
            asked.append(number)
            return super().__getitem__(number)

    monkeypatch.setattr(datasets, "BYTES_MAX", 100)
    with pytest.raises(LearningError, match="would take 0 GB as rows"):
        rows_of(Large(), "mine")
    assert asked == [0]


@pytest.mark.parametrize(
    "other",
    [
        Rows(np.zeros(1), np.zeros(1)),
        np.zeros(3),
        np.float32(3),
        torch.zeros(3),
        pyarrow.table({"a": [1]}),
        {"a": 1},
        "text",
        None,
    ],
)
def test_rows_arrays_and_tables_are_no_datasets(other: Any) -> None:
    assert not is_dataset(other)


@pytest.mark.parametrize("like", ["dtype", "dtypes", "__array__", "__dataframe__"])
def test_a_shape_makes_no_array_and_what_else_arrays_have_does(like: str) -> None:
    named: Any = Named({"a": 1, "label": 0}, {"a": 2, "label": 1})
    data = check_data(Data(train=named, test=named), "mine", has_labels=True)
    assert data.train.inputs.tolist() == [1, 2]
    assert not is_dataset(type("Frame", (Named,), {like: None})({"a": 1}))


def test_a_task_may_give_datasets(tmp_path: Path) -> None:
    (tmp_path / "task_of_datasets.py").write_text(
        "import torch\n"
        "from torch.utils.data import TensorDataset\n"
        "from p2pfl.learner.tasks import Data, Task\n"
        "class Mine(Task):\n"
        "    def data(self, data_dir):\n"
        "        x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))\n"
        "        rows = TensorDataset(x, (x[:, 0] > 0).long())\n"
        "        return Data(train=rows, test=rows)\n"
        "    def model(self):\n"
        "        return torch.nn.Linear(3, 2)\n"
    )
    settings = LearningSettings(task="task_of_datasets:Mine")
    made = make_learner(settings, peer_count=2, seed=1, folder=tmp_path, threads=1)
    assert made.vector_length == 8
