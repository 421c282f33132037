"""`p2pfl task describe` and `p2pfl task mock`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.quantities import plural


def describe(tables: Sequence[Path], *, target: str) -> None:
    """Print a schema drafted from tables."""
    from p2pfl.learner.tabular.describing import describe_tables
    from p2pfl.learner.tabular.sites import find_sites

    with peer_errors():
        sites = [site for table in tables for site in find_sites(table)]
        drafted = describe_tables(sites, target=target)
    print(drafted, end="")


def print_constants(schema: Path, model: Path) -> None:
    """Print a schema with the constants of a model of the task tabular-constants."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from p2pfl.learner.tabular.constants import with_constants
    from p2pfl.learner.tabular.describing import written
    from p2pfl.learner.tabular.schema import read_schema

    try:
        tensors = load_file(model)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"cannot read the model {model}: {' '.join(str(error).split())}") from None
    if "model" not in tensors:
        raise BadInput(f"{model} is the model of another task than tabular-constants")
    with peer_errors():
        document = with_constants(read_schema(schema), tensors["model"])
    print(f"# Constants of all members' training rows, by {model.name}.")
    print(written(document), end="")


def write_mock_rows(schema: Path, table: Path, *, rows: int, seed: int) -> None:
    """Write made-up rows to a new file."""
    from p2pfl.learner.tabular.mock import mock_rows
    from p2pfl.learner.tabular.schema import read_schema

    with peer_errors():
        agreed = read_schema(schema)
    try:
        with table.open("x", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(mock_rows(agreed, rows=rows, seed=seed))
    except FileExistsError:
        raise BadInput(f"{table} is there already; name a new file") from None
    except OSError as error:
        raise BadInput(f"cannot write {table}: {error.strerror}") from None
    print(f"wrote {table}: {plural(rows, 'row')}, none of them real")
