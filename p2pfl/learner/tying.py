"""Tensors of a module that share memory: the whole of it, then they become one; or refused.

Two parameters made one by ``.data`` are two objects on the same memory. In a plain loop each takes
its gradient, and both change. A vector would hold them twice, and so untie them in silence.
"""

import torch

from p2pfl.learner.errors import LearningError
from p2pfl.learner.vectors import module_tensors

Owners = dict[int, list[tuple[torch.nn.Module, str]]]


def tie_by_storage(module: torch.nn.Module, task: str) -> None:
    """Make tensors that are the same memory one object under all of their names.

    Raises:
        LearningError: tensors share part of their memory, or share it in another shape or order;
            or one of the two takes gradients, and the other none.
    """
    first_names: dict[int, str] = {}
    tensors: list[torch.Tensor] = []
    for name, tensor in module_tensors(module).items():
        if id(tensor) in first_names or not _has_memory(tensor):
            continue
        first_names[id(tensor)] = name
        tensors.append(tensor)
        if _overlaps_itself(tensor):
            raise LearningError(
                f"task {task!r}: elements of tensor {name!r} of its model share memory, as after"
                " expand(): .clone() it in model()"
            )
    by_storage: dict[int, list[torch.Tensor]] = {}
    for tensor in tensors:
        by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
    for sharing in by_storage.values():
        kept: list[torch.Tensor] = []
        for tensor in sharing:
            for other in kept:
                name, with_name = first_names[id(other)], first_names[id(tensor)]
                if _is_same(other, tensor):
                    _require_alike(other, tensor, name, with_name, task)
                    _replace(module, tensor, other, (name, with_name), task)
                    break
                if _overlap(other, tensor):
                    raise LearningError(
                        f"task {task!r}: tensors {name!r} and {with_name!r} of its model share"
                        " memory in part, or in another shape or order, and cannot stay tied: use"
                        " one parameter in both places, or .clone() one"
                    )
            else:
                kept.append(tensor)


def _has_memory(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.numel() > 0 and tensor.data_ptr() != 0


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (
        one.data_ptr() == other.data_ptr()
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
    )


def _marked(tensor: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    """View the marks of a tensor's elements among those of its storage."""
    return marks.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _marks(tensor: torch.Tensor) -> torch.Tensor:
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return torch.zeros(count, dtype=torch.bool)


def _overlaps_itself(tensor: torch.Tensor) -> bool:
    if tensor.is_contiguous():
        return False
    marks = _marks(tensor)
    _marked(tensor, marks).fill_(True)
    return int(marks.sum()) < tensor.numel()


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.element_size() != other.element_size():
        return True  # Two readings of the same bytes.
    marks = _marks(one)
    _marked(one, marks).fill_(True)
    return bool(_marked(other, marks).any())


def _require_alike(
    one: torch.Tensor, other: torch.Tensor, name: str, with_name: str, task: str
) -> None:
    if one.requires_grad != other.requires_grad:
        raise LearningError(
            f"task {task!r}: tensors {name!r} and {with_name!r} of its model share memory, and only"
            f" {name if one.requires_grad else with_name!r} takes gradients: use one parameter in"
            " both places, or .clone() one"
        )


def _replace(
    module: torch.nn.Module,
    old: torch.Tensor,
    new: torch.Tensor,
    names: tuple[str, str],
    task: str,
) -> None:
    """Put one tensor in the place of another, wherever a part of the module has that."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name in [name for name, it in held.items() if it is old]:
                try:
                    held[name] = new  # type: ignore[assignment]
                except (TypeError, RuntimeError):  # Of a scripted module, which is fixed.
                    break
    left = [name for name, it in module_tensors(module).items() if it is old]
    if left:
        raise LearningError(
            f"task {task!r}: tensors {names[0]!r} and {names[1]!r} of its model share memory, and"
            " the module does not let them become one: use one parameter in both places"
        )
