"""Learn from tables: ``task = "tabular"``, with a schema and the size of a model as options."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p2pfl.learner.errors import LearningError
from p2pfl.learner.metrics import PrimaryMetric, regression_metrics
from p2pfl.learner.partitions import SITE
from p2pfl.learner.tabular.features import Features
from p2pfl.learner.tabular.schema import NumberColumn, Schema, make_schema, read_schema
from p2pfl.learner.tabular.sites import Site, find_sites
from p2pfl.learner.tabular.values import Values, read_values
from p2pfl.learner.tasks.base import Array, Data, Floats, Rows, Task
from p2pfl_crypto.hashing import hash_parts

if TYPE_CHECKING:
    import torch

WIDTH_MAX = 2**16
LAYERS_MAX = 64
COPIED_ROWS_MIN = 10
"""Of tables that are taken for copies: a few rows of a few categories may be alike by chance."""

CLASS_METRICS = {
    "accuracy": True,
    "balanced_accuracy": True,
    "auroc": True,
    "auprc": True,
    "brier": False,
    "calibration_error": False,
    "loss": False,
    "sensitivity": True,
    "specificity": True,
}
NUMBER_METRICS = {"rmse": False, "mae": False, "r2": True}
"""What models may be compared by, and whether larger is better; as a rule the first."""


class TabularTask(Task):
    """Tell classes apart by a table's columns; `make_tabular` makes it from options.

    Args:
        schema: what the columns mean.
        hidden: widths of the hidden layers; none for logistic regression.
        primary: the figure by which models are compared.
        agreed_files: files that all members must have alike.
    """

    description = "own tables by a schema: CSV, Parquet or SQL"

    def __init__(
        self,
        schema: Schema,
        hidden: Sequence[int],
        primary: PrimaryMetric,
        agreed_files: Sequence[Path] = (),
    ) -> None:
        self.schema, self.primary = schema, primary
        self.features = Features(schema)
        self.agreed_files = tuple(agreed_files)
        self._hidden = tuple(hidden)

    def data(self, data_dir: Path | None) -> Data:
        """Read the tables at `data_dir`, one a site; column ``site`` says which a row is from."""
        return read_sites(
            self.schema,
            data_dir,
            lambda values: (self.features.inputs(values), self.features.targets(values)),
        )

    def model(self) -> "torch.nn.Module":
        """Make the perceptron, behind embeddings where a column has many categories."""
        from p2pfl.learner.tabular.network import make_network

        return make_network(self.features, self._hidden, max(1, len(self.schema.classes)))


class TabularRegression(TabularTask):
    """Predict a number; the loss is the mean squared error of the standardised target."""

    def loss(self, outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
        """Return the mean squared error, in squares of the target's agreed deviation."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], targets)

    def metrics(self, outputs: Floats, targets: Array) -> dict[str, float]:
        """Return those of `regression_metrics`, in the target's own unit."""
        column = self.schema.columns[self.schema.target]
        assert isinstance(column, NumberColumn)
        constants = column.constants()
        assert constants is not None
        mean, deviation = constants
        predicted, values = (it.astype(np.float64) * deviation + mean for it in (outputs, targets))
        return regression_metrics(predicted, values)


def make_tabular(
    folder: Path | None,
    /,
    schema: str | Mapping[str, Any],
    hidden: Sequence[int] = (32,),
    metric: str | None = None,
) -> TabularTask:
    """Make the task from its options.

    Args:
        folder: where the schema's file is.
        schema: the name of a TOML file beside the scenario or charter, or the schema itself.
        hidden: widths of the hidden layers; none for logistic or linear regression.
        metric: the figure by which models are compared: of classes accuracy, if not given; of a
            number RMSE.

    Raises:
        LearningError: there is no such schema, or an option is wrong.
    """
    if not isinstance(hidden, (list, tuple)):
        raise LearningError(f"options.hidden lists the widths of the hidden layers, not {hidden!r}")
    if len(hidden) > LAYERS_MAX:
        raise LearningError(
            f"options.hidden lists {len(hidden)} hidden layers; at most {LAYERS_MAX} are made"
        )
    for width in hidden:
        if type(width) is not int or not 0 < width <= WIDTH_MAX:
            raise LearningError(
                f"options.hidden: a width is a whole number from 1 to {WIDTH_MAX}, not {width!r}"
            )
    agreed, files = agreed_schema(folder, schema)
    kind, known = (
        (TabularTask, CLASS_METRICS) if agreed.classes else (TabularRegression, NUMBER_METRICS)
    )
    name = next(iter(known)) if metric is None else metric
    if name not in known:
        raise LearningError(
            f"options.metric: a target like {agreed.target!r} is measured by"
            f" {', '.join(known)}, not {metric!r}"
        )
    return kind(agreed, hidden, PrimaryMetric(name, larger_is_better=known[name]), files)


def agreed_schema(
    folder: Path | None, schema: str | Mapping[str, Any]
) -> tuple[Schema, tuple[Path, ...]]:
    """Return the schema that an option names or is, and the files that it was read from.

    Raises:
        LearningError: there is none, or it is wrong.
    """
    if isinstance(schema, str):
        path = (folder or Path()) / schema
        return read_schema(path), (path,)
    if isinstance(schema, Mapping):
        return make_schema(schema, source="options.schema"), ()
    raise LearningError(f"options.schema is a file's name or a table, not {schema!r}")


def read_sites(
    schema: Schema, data_dir: Path | None, parts: Callable[[Values], tuple[Array, Array]]
) -> Data:
    """Read the tables at a place, one a site; column ``site`` says which a row is from.

    Args:
        schema: what their columns mean.
        data_dir: a folder of tables, or one.
        parts: makes inputs and targets of a table's values.

    Raises:
        LearningError: they cannot be read, or are not as the schema says.
    """
    if data_dir is None:
        raise LearningError(
            "data_dir says where the tables are: a folder with one file a site, or a file"
        )
    parts_of, marks, sites, units = [], [], [], []
    seen: dict[bytes, Site] = {}
    for site in find_sites(data_dir):
        values = read_values(site, schema)
        if values.is_test is not None:
            _require_both(values.is_test, str(site.table))
            marks.append(values.is_test)
        part = parts(values)
        _require_other_rows(site, part, seen)
        parts_of.append(part)
        sites.append(np.full(values.row_count, site.name))
        if values.units is not None:
            units.append(values.units)
    columns = {SITE: np.concatenate(sites)}
    if schema.unit is not None:
        columns[schema.unit] = np.concatenate(units)
    return Data(
        _joined(parts_of),
        columns=columns,
        own_test=np.concatenate(marks) if marks else None,
    )


def _require_other_rows(site: Site, part: tuple[Array, Array], seen: dict[bytes, Site]) -> None:
    """Refuse a table that is another's copy: one would train on the rows that the other tests on.

    Args:
        site: whose table it is.
        part: its inputs and targets.
        seen: sites by the digest of their rows; this one is added.
    """
    if len(part[0]) < COPIED_ROWS_MIN:
        return
    digest = hash_parts(b"p2pfl/table", *(np.ascontiguousarray(it).tobytes() for it in part))
    if (other := seen.setdefault(digest, site)) is not site:
        raise LearningError(
            f"{site.table} has the rows of {other.table}, all {len(part[0])} in the same order: it"
            " would train on what the other is tested on; take one of them out"
        )


def _require_both(is_test: Array, table: str) -> None:
    """Refuse a table that has no rows to train on, or none to test on, by its own marks."""
    if is_test.all() or not is_test.any():
        which = "all" if is_test.all() else "none"
        raise LearningError(
            f"{table} marks {which} of its rows as test rows; mark some, or leave split out of the"
            " schema and have rows held out by lot"
        )


def _joined(parts: Sequence[tuple[Array, Array]]) -> Rows:
    return Rows(np.concatenate([it for it, _ in parts]), np.concatenate([it for _, it in parts]))
