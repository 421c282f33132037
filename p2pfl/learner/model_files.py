"""A model as a file that torch loads: every tensor by its name, in its shape.

    model.load_state_dict(safetensors.torch.load_file("model.safetensors"))

The file holds the whole state of the task's model: tensors that travel, tied ones under each of
their names, frozen ones, and those that are a peer's own. Its metadata say of which task and run it
is, how its travelling tensors make up a vector, and where the others are from. Statistics that
nobody has worked out for this model are left out, so that torch names them when it loads the file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

FORMAT = "1"
"""Of the metadata."""

MODEL, NOT_TRAVELLING = ABOUT = "model", "not_travelling"
"""Metadata: whose model it is, and where the tensors are from that do not travel."""


class ModelFileError(Exception):
    """A file that is no model of ours; the message is for people."""


@dataclass(frozen=True)
class NamedModel:
    """A model's tensors by name.

    Attributes:
        tensors: the whole state, as `load_state_dict` takes it; of a task without torch, "model".
        order: names of the tensors that travel, in a vector's order, and whether each lies
            transposed there.
        about: metadata that tell what the tensors are, by the keys of `ABOUT`.
    """

    tensors: Mapping[str, Array]
    order: tuple[tuple[str, bool], ...]
    about: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_vector(cls, vector: npt.NDArray[np.floating]) -> "NamedModel":
        """Return a model that is a vector and has no names, as that of a task without torch."""
        return cls({"model": np.array(vector, np.float32)}, (("model", False),))

    def vector(self) -> Floats:
        """Return what travels, float32[d], as it travels."""
        parts = [
            (self.tensors[name].T if is_transposed else self.tensors[name]).ravel()
            for name, is_transposed in self.order
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def digest(self) -> str:
        """Return the SHA-256 of what travels, little-endian, in hexadecimal."""
        return hashlib.sha256(self.vector().astype("<f4").tobytes()).hexdigest()

    @property
    def origins(self) -> dict[str, list[str]]:
        """Where the tensors are from that do not travel, with the names of each."""
        origins: dict[str, list[str]] = json.loads(self.about.get(NOT_TRAVELLING, "{}"))
        return origins

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the file; `metadata` says of which task and run it is.

        Raises:
            OSError: it cannot be written.
        """
        told = {
            "format": "pt",  # What readers of such files look for: tensors as torch names them.
            "p2pfl_format": FORMAT,
            "travelling": json.dumps(self.order),
            "digest": self.digest(),
            **self.about,
            **metadata,
        }
        arrays = {name: np.asarray(it, order="C") for name, it in self.tensors.items()}
        try:
            save_file(arrays, path, metadata=told)
        except SafetensorError as error:
            raise OSError(str(error)) from None


def read_model(path: Path) -> tuple[NamedModel, dict[str, str]]:
    """Read a model, and its metadata.

    Raises:
        ModelFileError: it is no such file, or its tensors are not those that it was written with.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if "travelling" not in metadata and tensors.keys() == {"model"}:
            return NamedModel.of_vector(tensors["model"]), metadata  # Of an older version.
        order = tuple((str(name), bool(flag)) for name, flag in json.loads(metadata["travelling"]))
        about = {key: metadata[key] for key in ABOUT if key in metadata}
        model = NamedModel(tensors, order, about)
        digest = model.digest()
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())
        raise ModelFileError(f"{path} is no model of p2pfl: {told}") from None
    if digest != metadata.get("digest"):
        raise ModelFileError(f"{path} is damaged: its digest is another")
    return model, metadata
