"""Rows of odd kinds: converted, or refused in one line, the same whatever engine trains."""

from pathlib import Path

import pytest
from door_tasks import ENGINES, made, trained, verdicts

from p2pfl_gossip.learning import Evaluate, Evaluated

PLAIN = "pass"

SAME_AS_PLAIN = {
    "a tensor": "def inputs(self, x): return torch.from_numpy(x)",
    "a tensor that takes gradients": (
        "def inputs(self, x): return torch.from_numpy(x).requires_grad_()"
    ),
    "a sparse tensor": (
        "def data(self, d):\n"
        "    x, y = rows()\n"
        "    def sparse(x): return torch.from_numpy(x).to_sparse()\n"
        "    return Data(Rows(sparse(x[:30]), y[:30]), Rows(sparse(x[30:]), y[30:]))"
    ),
    "lists": "def inputs(self, x): return x.tolist()",
    "a list of arrays": "def inputs(self, x): return list(x)",
    "a list of tensors": "def inputs(self, x): return list(torch.from_numpy(x))",
    "a tuple": "def inputs(self, x): return tuple(map(tuple, x))",
    "a data frame": "def inputs(self, x):\n    import pandas\n    return pandas.DataFrame(x)",
    "a data frame of polars": (
        "def inputs(self, x):\n"
        "    import polars\n"
        "    return polars.DataFrame(x, schema=[f'c{i}' for i in range(8)])"
    ),
    "a table of pyarrow": (
        "def data(self, d):\n"
        "    import pyarrow\n"
        "    x, y = rows()\n"
        "    def table(x): return pyarrow.table({f'c{i}': x[:, i] for i in range(8)})\n"
        "    return Data(Rows(table(x[:30]), y[:30]), Rows(table(x[30:]), y[30:]))"
    ),
    "a sparse matrix": (
        "def inputs(self, x):\n    import scipy.sparse\n    return scipy.sparse.csr_matrix(x)"
    ),
    "a sparse array": (
        "def inputs(self, x):\n    import scipy.sparse\n    return scipy.sparse.csr_array(x)"
    ),
    "objects that are numbers": "def inputs(self, x): return x.astype(object)",
    "float64": "def inputs(self, x): return x.astype('float64')",
    "longdouble": "def inputs(self, x): return x.astype(np.longdouble)",
    "another byte order": "def inputs(self, x): return x.astype('>f4')",
    "columns first in memory": "def inputs(self, x): return np.asfortranarray(x)",
    "a masked array without masks": "def inputs(self, x): return np.ma.masked_invalid(x)",
    "a read-only array": "def inputs(self, x): x.flags.writeable = False; return x",
    "labels of int8": "def targets(self, y): return y.astype('int8')",
    "labels of int32": "def targets(self, y): return y.astype('int32')",
    "labels of uint8": "def targets(self, y): return y.astype('uint8')",
    "labels of uint16": "def targets(self, y): return y.astype('uint16')",
    "labels of uint32": "def targets(self, y): return y.astype('uint32')",
    "labels of uint64": "def targets(self, y): return y.astype('uint64')",
    "labels of another byte order": "def targets(self, y): return y.astype('>i4')",
    "labels that are objects": "def targets(self, y): return y.astype(object)",
    "labels in a list": "def targets(self, y): return y.tolist()",
    "labels in a tensor": "def targets(self, y): return torch.from_numpy(y)",
    "labels in a series": (
        "def targets(self, y):\n    import pandas\n    return pandas.Series(y, dtype='Int64')"
    ),
    "a model that changes its inputs": (
        "def changed(self, model):\n"
        "    model.register_forward_pre_hook(lambda m, a: (a[0].clone(), a[0].zero_())[0])\n"
        "    return model"
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, dict[str, float]]]:
    """What each way to train makes of the rows as float32 and int64."""
    folder = tmp_path_factory.mktemp("plain")
    learners = {engine: made(folder, PLAIN, engine) for engine in ENGINES}
    return {f"{engine}, {it.batching}": trained(it) for engine, it in learners.items()}


@pytest.mark.parametrize("body", SAME_AS_PLAIN.values(), ids=SAME_AS_PLAIN)
def test_rows_give_the_bits_that_plain_arrays_give(
    tmp_path: Path, body: str, plain: dict[str, tuple[bytes, dict[str, float]]]
) -> None:
    compared = 0
    for engine in ENGINES:
        learner = made(tmp_path, body, engine)
        result = trained(learner)
        # A model with hooks is not read layer by layer: what trains it rounds in another way.
        expected = plain.get(f"{engine}, {learner.batching}")
        if expected is not None:
            assert result == expected
            compared += 1
    assert compared >= 2


TAKEN = {
    "float16": 'def inputs(self, x): return x.astype("float16")',
    "bfloat16": "def inputs(self, x): return torch.from_numpy(x).to(torch.bfloat16)",
    "integers for a layer of floats": 'def inputs(self, x): return (x * 10).astype("int64")',
    "int8": 'def inputs(self, x): return (x * 10).astype("int8")',
    "uint16": 'def inputs(self, x): return (abs(x) * 10).astype("uint16")',
    "uint64": 'def inputs(self, x): return (abs(x) * 10).astype("uint64")',
    "bool": "def inputs(self, x): return x > 0",
    "a data frame of many types": (
        "def inputs(self, x):\n"
        "    import pandas\n"
        "    f = pandas.DataFrame(x)\n"
        "    f = f.astype({0: 'float64', 2: 'Float32'})\n"
        "    return f.assign(new=f[1] > 0).drop(columns=1)"
    ),
    "labels of two classes": "def targets(self, y): return y > 0",
    "train of one type, test of another": (
        "def data(self, d):\n"
        "    x, y = rows()\n"
        "    return Data(Rows(x[:30], y[:30]), Rows(np.rint(x[30:]).astype(int), y[30:]))"
    ),
    "missing targets that the loss skips": (
        "def targets(self, y): y = y.astype('float32'); y[::2] = np.nan; return y\n"
        "def loss(self, o, t): return F.mse_loss(o[:, 0], t.nan_to_num())\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "one-hot targets for a loss of one's own": (
        "def targets(self, y): return np.eye(3, dtype='uint16')[y]\n"
        "def loss(self, o, t): return F.mse_loss(o, t.float())\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "targets [n, 1] for a loss of one's own": (
        "def targets(self, y): return y[:, None].astype('float64')\n"
        "def loss(self, o, t): return F.mse_loss(o[:, :1], t)\n"
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 0.0}"
    ),
    "columns of objects": (
        "def data(self, d):\n"
        "    x, y = rows()\n"
        "    sites = np.array(['a', 2] * 15, object)\n"
        "    return Data(Rows(x[:30], y[:30]), Rows(x[30:], y[30:]), columns={'site': sites})"
    ),
    "a figure that is not known yet": (
        "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': np.float32(1)}"
    ),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_rows_are_taken(tmp_path: Path, body: str) -> None:
    for engine in ENGINES:
        trained(made(tmp_path, body, engine))


REFUSED = {
    "text": (
        'def targets(self, y): return np.array(["a", "b", "c"])[y]',
        "its train targets are text (dtype <U1), as in row 0; number the classes 0, 1, 2, ..., at",
    ),
    "numbers as text": (
        "def targets(self, y): return y.astype(str)",
        "its train targets are text (dtype <U21), as in row 0; number the classes",
    ),
    "text among inputs": (
        "def inputs(self, x): return np.array([['a'] * 8] * len(x), object)",
        "its train inputs are text in row 0; make them numbers in data()",
    ),
    "one word in a list": (
        "def inputs(self, x): x = x.tolist(); x[7][3] = 'none'; return x",
        "its train inputs are text in row 7; make them numbers",
    ),
    "a column of text": (
        (
            "def inputs(self, x):\n"
            "    import pandas\n"
            "    return pandas.DataFrame(x).assign(sex=['f', 'm'] * 20)"
        ),
        "its train inputs, column 'sex', are text",
    ),
    "dates": (
        "def inputs(self, x): return x.astype('datetime64[D]') if 0 else x.astype('M8[s]')",
        "its train inputs are dates (dtype datetime64[s]), as in row 0; make them numbers",
    ),
    "complex numbers": (
        "def inputs(self, x): return x + 1j",
        "its train inputs are complex numbers (dtype complex64)",
    ),
    "records": (
        "def inputs(self, x): return np.zeros(len(x), 'f4,i4')",
        "its train inputs are records of several fields",
    ),
    "rows of different lengths": (
        "def inputs(self, x): x = x.tolist(); x[5] = x[5][:7]; return x",
        "its train inputs have rows of different lengths: row 0 has 8, row 5 has 7; make all",
    ),
    "tensors of different lengths": (
        "def inputs(self, x): x = list(torch.from_numpy(x)); x[5] = x[5][:7]; return x",
        "its train inputs have rows of different lengths: row 0 has 8, row 5 has 7",
    ),
    "a generator": (
        (
            "def data(self, d):\n    x, y = rows()\n"
            "    return Data(Rows((r for r in x), y), Rows(x, y))"
        ),
        "its train inputs are of type generator, no NumPy array; make them numbers",
    ),
    "a number": (
        "def data(self, d): return Data(Rows(np.float32(1), np.int64(1)), Rows(*rows()))",
        "its train inputs are of type float32, no rows",
    ),
    "nothing": (
        "def data(self, d): return Data(Rows(None, None), Rows(*rows()))",
        "its train inputs are nothing, no NumPy array",
    ),
    "a sparse matrix that is too large": (
        (
            "def data(self, d):\n"
            "    import scipy.sparse\n"
            "    x, y = rows()\n"
            "    wide = scipy.sparse.csr_matrix((30, 10**7), dtype='float32')\n"
            "    return Data(Rows(wide, y[:30]), Rows(x, y))"
        ),
        "its train inputs are a sparse matrix of 30 x 10000000, which would take 1.1 GiB",
    ),
    "integers beyond int64": (
        "def inputs(self, x): return (abs(x) * 0 + 1).astype('uint64') * np.uint64(2**63)",
        "its train inputs are integers beyond int64, first in row 0",
    ),
    "from one": (
        "def targets(self, y): return y + 1",
        "its train targets have class 3 in row ",
    ),
    "negative": ("def targets(self, y): return y - 1", "its train targets have class -1 in row "),
    "test rows alone": (
        "def targets(self, y): return np.r_[y[:30], y[30:] + 3]",
        "its test targets have class ",
    ),
    "a few rows alone": (
        "def targets(self, y): y[17] = 5; return y",
        "its train targets have class 5 in row 17; the model has 3 outputs",
    ),
    "floats": (
        'def targets(self, y): return y.astype("float64")',
        "its train targets are float32; cross-entropy takes classes, integers from 0 to 2",
    ),
    "floats that a cast would cut": (
        (
            "def targets(self, y): return y + 0.5\n"
            "def metrics(self, o, t): return {'accuracy': 1.0, 'loss': 1.0}"
        ),
        "its train targets are float32; cross-entropy takes classes",
    ),
    "NaN for a class": (
        "def targets(self, y): y = y.astype('float64'); y[9] = np.nan; return y",
        "its train targets contain NaN or infinity, first in row 9 (1 of 30 rows); fill them in",
    ),
    "no label in a series": (
        (
            "def targets(self, y):\n"
            "    import pandas\n"
            "    y = pandas.Series(y, dtype='Int64')\n"
            "    y[9] = pandas.NA\n"
            "    return y"
        ),
        "its train targets contain NaN or infinity, first in row 9",
    ),
    "one-hot": (
        'def targets(self, y): return np.eye(3, dtype="int64")[y]',
        "its train targets have shape [30, 3]; cross-entropy takes the number of one class a row,",
    ),
    "a column": ("def targets(self, y): return y[:, None]", "its train targets have shape [30, 1]"),
    "NaN": (
        "def inputs(self, x): x[5, 2] = np.nan; return x",
        "inputs contain NaN or infinity, first in row 5, column 2 (1 of 30 rows); fill them in",
    ),
    "NaN in a named column": (
        (
            "def inputs(self, x):\n"
            "    import pandas\n"
            "    x[5, 2] = np.nan\n"
            "    return pandas.DataFrame(x, columns=[f'c{i}' for i in range(8)])"
        ),
        "inputs contain NaN or infinity, first in row 5, column 'c2' (1 of 30 rows); fill them in",
    ),
    "masked": (
        "def inputs(self, x): x[5, 2] = np.nan; return np.ma.masked_invalid(x)",
        "its train inputs contain NaN or infinity, first in row 5, column 2",
    ),
    "None among numbers": (
        "def inputs(self, x): x = x.astype(object); x[5, 2] = None; return x",
        "its train inputs contain NaN or infinity, first in row 5, column 2",
    ),
    "too large": (
        'def inputs(self, x): return x.astype("float64") * 1e300',
        "its train inputs have values beyond float32, first in row 0, column 0; scale them",
    ),
    "too large in a frame": (
        (
            "def inputs(self, x):\n"
            "    import pandas\n"
            "    f = pandas.DataFrame(x.astype('float64'))\n"
            "    f.iloc[4, 6] = 1e300\n"
            "    return f"
        ),
        "its train inputs have values beyond float32, first in row 4, column '6'; scale them",
    ),
    "targets too large for a loss of one's own": (
        (
            "def targets(self, y): y = y.astype('float64'); y[3] = 1e300; return y\n"
            "def loss(self, o, t): return F.mse_loss(o[:, 0], t)"
        ),
        "its train targets have values beyond float32, first in row 3; scale them",
    ),
    "targets that make a loss NaN": (
        (
            "def targets(self, y): y = y.astype('float32'); y[7] = np.nan; return y\n"
            "def loss(self, o, t): return F.mse_loss(o[:, 0], t)"
        ),
        "its train targets contain NaN or infinity, as in row 7, and its loss is nan by them",
    ),
    "no rows": (
        "def data(self, d):\n    x, y = rows()\n    return Data(Rows(x[:0], y[:0]), Rows(x, y))",
        "its train data have no rows; see what data() reads",
    ),
    "fewer targets": (
        "def data(self, d):\n    x, y = rows()\n    return Data(Rows(x, y[:7]), Rows(x, y))",
        "ValueError: 40 rows of inputs but 7 of targets (",
    ),
    "fewer targets in a frame": (
        (
            "def data(self, d):\n"
            "    import scipy.sparse\n"
            "    x, y = rows()\n"
            "    return Data(Rows(scipy.sparse.csr_matrix(x), y[:7]), Rows(x, y))"
        ),
        "ValueError: 40 rows of inputs but 7 of targets (",
    ),
    "other features to test on": (
        "def data(self, d):\n    x, y = rows()\n    return Data(Rows(x, y), Rows(x[:, :7], y))",
        "a row of its train inputs has shape [8], one of its test inputs [7]; give both the same",
    ),
    "bytes to train on, floats to test on": (
        (
            "def data(self, d):\n"
            "    x, y = rows()\n"
            "    return Data(Rows(np.abs(x).astype('uint8'), y), Rows(x, y), scale=1 / 255)"
        ),
        "its train inputs are uint8, its test inputs float32, and scale and offset go for uint8",
    ),
    "no scale": (
        "def data(self, d): return Data(Rows(*rows()), Rows(*rows()), scale=None)",
        "scale of its data is None, no finite number",
    ),
    "no data": ("def data(self, d): pass", "its data() returned nothing; return Data("),
    "tuples": (
        "def data(self, d): return Data(rows(), rows())",
        "its train data are of type tuple",
    ),
    "a column that is short": (
        "def data(self, d): return Data(Rows(*rows()), Rows(*rows()), columns={'site': [1, 2]})",
        "column 'site' has 2 entries for 40 training rows",
    ),
    "a column with a gap": (
        (
            "def data(self, d):\n"
            "    import pandas\n"
            "    site = pandas.Series(['a', None] * 20)\n"
            "    return Data(Rows(*rows()), Rows(*rows()), columns={'site': site})"
        ),
        "column 'site' has no value in row 1; name the group of each row",
    ),
    "columns without names": (
        "def data(self, d): return Data(Rows(*rows()), Rows(*rows()), columns=[1, 2])",
        "columns of its data are of type list; give them by name",
    ),
    "data that raise": ("def data(self, d): return {}['x']", "KeyError: 'x' ("),
    "data that end": ("def data(self, d): raise SystemExit", "SystemExit: no message ("),
    "data that assert": ("def data(self, d): assert False, 'own'", "AssertionError: own ("),
    "a dataset that raises": (
        (
            "def data(self, d):\n"
            "    class Set:\n"
            "        def __len__(self): return 30\n"
            "        def __getitem__(self, at): return {}['x']\n"
            "    return Data(Set(), Rows(*rows()))"
        ),
        "KeyError: 'x' (",
    ),
    "an array that makes none": (
        (
            "def inputs(self, x):\n"
            "    class Odd:\n"
            "        shape = (40, 8)\n"
            "        def __len__(self): return 30\n"
            "        def __getitem__(self, at): return self\n"
            "        def __array__(self, *a, **k): raise OSError('gone')\n"
            "    return Odd()\n"
            "def data(self, d):\n"
            "    x, y = rows()\n"
            "    return Data(Rows(self.inputs(x), np.arange(40)), Rows(x, y))"
        ),
        "its train inputs are of type Odd, and make no array: OSError: gone; return a NumPy array",
    ),
}


@pytest.mark.parametrize(("body", "told"), REFUSED.values(), ids=REFUSED)
def test_rows_are_refused_alike_in_one_line(tmp_path: Path, body: str, told: str) -> None:
    found = verdicts(tmp_path, body)
    assert len(set(found.values())) == 1, found
    message = next(iter(found.values()))
    assert message.startswith("task 'door_task:Own': ")
    assert told in message
    assert "\n" not in message
    if told.endswith(" ("):
        assert f"{tmp_path}/door_task.py, line " in message


@pytest.mark.parametrize("row", [0, 25], ids=["in the first batch", "in another"])
def test_a_label_is_named_by_its_row_where_an_own_loss_goes_on_to_cross_entropy(
    tmp_path: Path, row: int
) -> None:
    body = (
        f"def targets(self, y): y[{row}:{row + 1}] = 3; return y\n"
        "def loss(self, o, t): return 2 * super().loss(o, t)"
    )
    for verdict in verdicts(tmp_path, body).values():
        assert "class 3 in row" in verdict
        assert "the model has 3 outputs" in verdict


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_is_measured_on_common_rows_alone_where_peers_hold_none_out(
    tmp_path: Path, engine: str
) -> None:
    learner = made(tmp_path, "pass", engine)
    (figures,) = learner.run([(0, Evaluate(0, learner.initial_vector()))])
    assert isinstance(figures, Evaluated), figures
    assert "accuracy" in figures.metrics
    assert figures.own == {}
