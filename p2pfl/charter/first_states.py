"""First states: what a group's training begins from, as a file that is made once.

Members do not make it anew from a seed each: libraries and processors differ in last bits. The
charter names its digest, and whoever has the file can check it.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from p2pfl.charter.errors import PaperError
from p2pfl.store.files import SHARED, create_file
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.states import StateItem, digest_state

_MODEL = "model"


def write_first_state(path: Path, vector: Vector) -> StateItem:
    """Write a new file of a first model, float32[d].

    Raises:
        PaperError: there is a file already, it cannot be written, or a value is not finite.
    """
    if not np.isfinite(vector).all():
        raise PaperError("the first model has values that are no numbers")
    try:
        create_file(path, save({_MODEL: vector}, {"format": "p2pfl first state 1"}), mode=SHARED)
    except FileExistsError:
        raise PaperError(f"{path} is there already, and a first state is made once") from None
    except OSError as error:
        raise PaperError(f"cannot write {path}: {error.strerror}") from None
    return digest_state(_MODEL, vector).item


def read_first_state(path: Path) -> tuple[Vector, StateItem]:
    """Read a first model, float32[d], and what a charter says of it.

    Raises:
        PaperError: it cannot be read, or is none.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise PaperError(f"cannot read the first state {path}: {said}") from None
    vector = tensors.get(_MODEL)
    if set(tensors) != {_MODEL} or vector is None or vector.dtype != np.float32 or vector.ndim != 1:
        raise PaperError(f"{path} is no first state: make one with p2pfl task begin")
    if not len(vector) or not np.isfinite(vector).all():
        raise PaperError(f"{path} is no first state: it has no values, or some that are no numbers")
    return vector, digest_state(_MODEL, vector).item
