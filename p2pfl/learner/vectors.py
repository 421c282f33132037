"""torch modules as flat float32 vectors, and back.

A vector holds the tensors that travel, one after the other, in the order the task names them.
The weight of an `nn.Linear` lies transposed, [inputs, outputs]: batched products then read both
operands in the order they are stored, which trains small models about twice as fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from p2pfl.learner.errors import LearningError
from p2pfl.learner.model_files import NamedModel

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorEntry:
    """One tensor of a vector: its name in the module, shape there, and place in the vector."""

    name: str
    shape: tuple[int, ...]
    transposed: bool
    offset: int
    size: int

    def view(self, flat: torch.Tensor) -> torch.Tensor:
        """View ``flat[..., offset:offset + size]`` as this tensor, [..., *shape], uncopied."""
        part = flat[..., self.offset : self.offset + self.size]
        if self.transposed:
            return part.view(*flat.shape[:-1], *self.shape[::-1]).transpose(-1, -2)
        return part.view((*flat.shape[:-1], *self.shape))  # A scalar has no shape at all.


class VectorLayout:
    """Where each travelling tensor of a module lies in a vector.

    Attributes:
        entries: the tensors, in order.
        length: entries of a vector, d.

    Raises:
        LearningError: a name that the module does not have, or a tensor that cannot travel.
    """

    def __init__(self, module: torch.nn.Module, names: Sequence[str], *, align: int = 1) -> None:
        """Lay out tensors by name; each begins at a multiple of `align` entries.

        Two names of one tensor count once.
        """
        tensors = module_tensors(module)
        linear = {
            f"{name}.weight" if name else "weight"
            for name, part in module.named_modules()
            if isinstance(part, torch.nn.Linear)
        }
        entries, seen, offset = [], set(), 0
        for name in names:
            tensor = tensors.get(name)
            if tensor is None:
                raise LearningError(
                    f"the task names {name!r} as travelling, but its model has no such tensor;"
                    f" it has {', '.join(tensors)}"
                )
            if not tensor.is_floating_point():
                raise LearningError(
                    f"tensor {name!r} is of {tensor.dtype} and cannot be averaged; name only"
                    " tensors of floating point as travelling"
                )
            if id(tensor) in seen or tensor.numel() == 0:
                continue
            seen.add(id(tensor))
            transposed = name in linear
            entries.append(
                VectorEntry(name, tuple(tensor.shape), transposed, offset, tensor.numel())
            )
            offset += -(-tensor.numel() // align) * align
        if not entries:
            raise LearningError("the task names no tensors that travel; there is nothing to learn")
        self.entries = tuple(entries)
        self.length = offset if align > 1 else entries[-1].offset + entries[-1].size

    def views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """View vectors [..., d] as the tensors by name, [..., *shape], uncopied."""
        return {entry.name: entry.view(flat) for entry in self.entries}

    def to_vector(self, module: torch.nn.Module) -> Floats:
        """Copy a module's tensors into a fresh vector, float32[d]."""
        vector = np.zeros(self.length, np.float32)
        tensors = module_tensors(module)
        with torch.no_grad():
            for name, view in self.views(torch.from_numpy(vector)).items():
                view.copy_(tensors[name])
        return vector

    def to_arrays(self, vector: Floats) -> dict[str, Floats]:
        """Return a vector's tensors by name, in the module's shapes, as fresh arrays."""
        views = self.views(readable(vector))
        return {name: view.contiguous().clone().numpy() for name, view in views.items()}

    def to_module(self, vector: Floats, module: torch.nn.Module) -> None:
        """Copy a vector into a module's tensors."""
        tensors = module_tensors(module)
        with torch.no_grad():
            for name, view in self.views(readable(vector)).items():
                tensors[name].copy_(view)


def named_model(
    module: torch.nn.Module,
    layout: VectorLayout,
    vector: Floats,
    own: Mapping[str, npt.NDArray[Any]] | None = None,
) -> NamedModel:
    """Put a vector into a module's whole state, by the names of its `state_dict`.

    Args:
        module: at its start; it is not changed.
        layout: where its tensors lie in a vector.
        vector: float32[d].
        own: a peer's own tensors by name, in place of those of the start.

    Returns:
        fresh arrays of the module's shapes; what travels as float32, and bfloat16, which NumPy
        lacks, as float32 too.
    """
    held = module.state_dict(keep_vars=True)
    tensors = module_tensors(module)
    travelling = {id(tensors[entry.name]): entry.name for entry in layout.entries}
    # A tensor that travels may be in no state of the module; a vector has it all the same.
    held = {entry.name: tensors[entry.name] for entry in layout.entries} | held
    travelled = layout.to_arrays(vector)
    state: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in held.items():
        if id(tensor) in travelling:
            state[name] = travelled[travelling[id(tensor)]].copy()
        elif own is not None and name in own:
            state[name] = np.array(own[name]).reshape(tuple(tensor.shape))
        else:
            state[name] = as_array(tensor)
    return NamedModel(state, tuple((it.name, it.transposed) for it in layout.entries))


def as_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Copy a tensor into an array; bfloat16, which NumPy lacks, as float32."""
    value = tensor.detach().cpu()
    found: npt.NDArray[Any] = (
        (value.float() if value.dtype == torch.bfloat16 else value).clone().numpy()
    )
    return found


def module_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers by name; a tied one under each of its names."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return parameters | dict(module.named_buffers(remove_duplicate=False))


def readable(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """View a NumPy array, read-only ones too, as a tensor that must not be written, uncopied."""
    if array.flags.writeable or not array.size:
        return torch.from_numpy(array if array.size else array.copy())
    # torch has no read-only tensors and warns; the buffer protocol makes a writeable view of it.
    interface = array.__array_interface__ | {"data": (array.ctypes.data, False)}
    holder = _Holder(interface, array)
    return torch.from_numpy(np.asarray(holder))


class _Holder:
    """Lends an array's memory, and keeps it alive."""

    def __init__(self, interface: dict[str, object], owner: object) -> None:
        self.__array_interface__ = interface
        self.owner = owner
