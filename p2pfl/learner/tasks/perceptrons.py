"""Built-in tasks whose model is a multilayer perceptron."""

import gzip
import struct
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.streams import permutation
from p2pfl.learner.tasks.base import Array, Data, Rows, Task

if TYPE_CHECKING:
    import torch

TEST_SHARE = 5  # One row in five is held out, of each label.
TABLES_KEPT = 2  # Digits and breast cancer: a megabyte together.

WRITERS = 13  # Of UCI's test set, which scikit-learn bundles.


class PerceptronTask(Task):
    """Linear layers with ReLU between them, and cross-entropy.

    Args:
        hidden: widths of the hidden layers; none for logistic regression.
        initialisation: ``"torch"``, or ``"zero-biases"``: weights from U(-1/sqrt(inputs),
            1/sqrt(inputs)) as torch draws them, and biases zero.
    """

    features: ClassVar[int]
    classes: ClassVar[int]

    def __init__(self, hidden: Sequence[int], initialisation: str = "torch") -> None:
        widths = hidden if isinstance(hidden, (list, tuple)) else [hidden]
        if not all(type(width) is int and 0 < width <= 2**16 for width in widths):
            raise LearningError(
                f"options.hidden lists the widths of the hidden layers, [128]; not {hidden!r}"
            )
        if initialisation not in {"torch", "zero-biases"}:
            raise LearningError(
                f"options.initialisation is 'torch' or 'zero-biases', not {initialisation!r}"
            )
        self._widths = (self.features, *widths, self.classes)
        self._zero_biases = initialisation == "zero-biases"

    def model(self) -> "torch.nn.Module":
        """Make the perceptron, as an `nn.Sequential`."""
        import torch

        layers: list[torch.nn.Module] = []
        for inputs, outputs in zip(self._widths, self._widths[1:], strict=False):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
            if self._zero_biases:
                torch.nn.init.zeros_(layers[-2].get_parameter("bias"))
        return torch.nn.Sequential(*layers[:-1])


class Digits(PerceptronTask):
    """Digits of 8 x 8 pixels (UCI's optical recognition test set), bundled with scikit-learn."""

    description = "handwritten digits, 8 x 8 pixels, 10 classes"
    features, classes = 64, 10

    def __init__(self, hidden: Sequence[int] = (32,), initialisation: str = "torch") -> None:
        super().__init__(hidden, initialisation)

    def data(self, data_dir: Path | None) -> Data:
        """Load the rows, pixels in [0, 1]; the same fifth of each label is always held out.

        Column ``writer`` cuts the rows, as they come, into thirteen equal parts. Thirteen people
        wrote these digits one after the other, some 138 each; where one ends is not told.
        """
        _takes_no_files("digits", data_dir)
        inputs, targets = _bundled("digits.csv.gz")
        inputs, targets = (inputs / 16).astype(np.float32), targets.astype(np.int64)
        writers = np.arange(len(targets)) * WRITERS // len(targets)
        return Data(*_split("digits", inputs, targets, {"writer": writers}))


class BreastCancer(PerceptronTask):
    """Diagnoses from cell nuclei (UCI's Wisconsin diagnostic set), bundled with scikit-learn."""

    description = "breast cancer from measurements of cell nuclei, benign or malignant"
    features, classes = 30, 2

    def __init__(self, hidden: Sequence[int] = (16,), initialisation: str = "torch") -> None:
        super().__init__(hidden, initialisation)

    def data(self, data_dir: Path | None) -> Data:
        """Load the rows; label 1 is malignant.

        Features have mean 0 and deviation 1 over the training rows of all peers: in earnest the
        peers would have to agree on these figures first. Column ``radius`` groups the rows into
        twelve equal parts by the nuclei's mean radius.
        """
        _takes_no_files("breast-cancer", data_dir)
        inputs, targets = _bundled("breast_cancer.csv", heading=1)
        ranks = np.argsort(np.argsort(inputs[:, 0], kind="stable"), kind="stable")
        malignant = 1 - targets.astype(np.int64)
        columns = {"radius": ranks * 12 // len(ranks)}
        train, test, columns = _split("breast-cancer", inputs, malignant, columns)
        mean, deviation = train.inputs.mean(axis=0), train.inputs.std(axis=0)
        train, test = (
            Rows(((rows.inputs - mean) / deviation).astype(np.float32), rows.targets)
            for rows in (train, test)
        )
        return Data(train, test, columns)


class FashionMnist(PerceptronTask):
    """Clothes of 28 x 28 pixels (Xiao, Rasul and Vollgraf, arXiv 1708.07747), from IDX files."""

    description = "Fashion-MNIST: clothes, 28 x 28 pixels, 10 classes"
    features, classes = 784, 10
    folder: ClassVar[Path] = Path("/usr/share/datasets/fashion-mnist")
    """Where Debian's package puts the files."""

    def __init__(self, hidden: Sequence[int] = (128,), initialisation: str = "torch") -> None:
        super().__init__(hidden, initialisation)

    def data(self, data_dir: Path | None) -> Data:
        """Load the rows as uint8; used as ``(x / 255 - 0.2860) / 0.3530``."""
        folder = data_dir or self.folder
        train, test = (
            Rows(
                read_idx(folder, f"{part}-images-idx3-ubyte").reshape(-1, self.features),
                read_idx(folder, f"{part}-labels-idx1-ubyte").astype(np.int64),
            )
            for part in ("train", "t10k")
        )
        return Data(train, test, scale=1 / 255 / 0.3530, offset=-0.2860 / 0.3530)


def read_idx(folder: Path, name: str) -> Array:
    """Read an IDX file of bytes, packed by gzip (``name.gz``) or not.

    Returns:
        uint8 of the shape that the file states.

    Raises:
        LearningError: it is not there, or is no such file.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        content = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError:
        raise LearningError(
            f"Fashion-MNIST is not in {folder}: there is no {packed.name}; install Debian's package"
            " dataset-fashion-mnist, or set learning.data_dir to a folder with the IDX files"
        ) from None
    except (OSError, EOFError) as error:
        raise LearningError(f"cannot read {packed}: {error}") from None
    if len(content) >= 4 and content[:3] == b"\0\0\x08":
        dimensions = content[3]
        start = 4 + 4 * dimensions
        if dimensions and len(content) >= start:
            shape = struct.unpack(f">{dimensions}I", content[4:start])
            values = np.frombuffer(content, np.uint8, offset=start)
            if values.size == np.prod(shape, dtype=np.int64):
                return values.reshape(shape)
    raise LearningError(f"{plain if plain.is_file() else packed} is no IDX file of bytes")


@lru_cache(maxsize=TABLES_KEPT)
def _bundled(name: str, *, heading: int = 0) -> tuple[Array, Array]:
    """Read a table that scikit-learn bundles: the columns before the last, and the last.

    It is read as a file: importing scikit-learn, and scipy with it, takes seconds. It is read once,
    and nobody can write into it.
    """
    spec = find_spec("sklearn")
    places = spec.submodule_search_locations if spec is not None else None
    files = [Path(it) / "datasets" / "data" / name for it in places or ()]
    if not (files and files[0].is_file()):
        raise LearningError(
            f"scikit-learn has no datasets/data/{name} here; install scikit-learn 1.5 or newer"
        )
    rows = np.loadtxt(files[0], delimiter=",", skiprows=heading)
    rows.setflags(write=False)
    return rows[:, :-1], rows[:, -1]


def _takes_no_files(task: str, data_dir: Path | None) -> None:
    if data_dir is not None:
        raise LearningError(f"task {task!r} is bundled and reads no files; remove data_dir")


def _split(
    task: str, inputs: Array, targets: Array, columns: dict[str, Array]
) -> tuple[Rows, Rows, dict[str, Array]]:
    """Hold out a fifth of each label, the same whatever the run's seed, as common test rows."""
    order = permutation(f"p2pfl/{task}/split", len(targets))
    held_out = np.zeros(len(targets), bool)
    for label in np.unique(targets):
        rows = order[targets[order] == label]
        held_out[rows[: len(rows) // TEST_SHARE]] = True
    return (
        Rows(inputs[~held_out], targets[~held_out]),
        Rows(inputs[held_out], targets[held_out]),
        {name: column[~held_out] for name, column in columns.items()},
    )
