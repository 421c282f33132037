"""A module's tensors as they were, to be put back after a trial."""

from typing import TypeAlias

import torch

Held: TypeAlias = dict[str, torch.Tensor | None]


class ModuleSnapshot:
    """All parameters and buffers of a module: the objects, and their values."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._held: list[tuple[Held, Held]] = []
        self._values: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for part in module.modules():
            if isinstance(part, torch.jit.ScriptModule):  # Type-checked here, fixed there.
                continue
            for held in (part._parameters, part._buffers):
                self._held.append((held, dict(held)))  # type: ignore[arg-type]
        for tensor in [*module.parameters(), *module.buffers()]:
            self._values[id(tensor)] = (tensor, tensor.detach().clone())

    def has_changed(self, tensor: torch.Tensor) -> bool:
        """Tell whether a tensor has other values than it had, or is another object."""
        if id(tensor) not in self._values:
            return True
        return not torch.equal(tensor.detach(), self._values[id(tensor)][1])

    def restore(self) -> None:
        """Put objects and values back, also where a forward pass has put others there."""
        for held, before in self._held:
            for name in [name for name in held if name not in before]:
                del held[name]
            for name, tensor in before.items():
                if held.get(name) is not tensor:
                    held[name] = tensor
        with torch.no_grad():
            for tensor, value in self._values.values():
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
