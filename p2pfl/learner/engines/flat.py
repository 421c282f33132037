"""A torch module whose parameters lie in one flat buffer, so that a step is one update of it.

An optimiser then touches one tensor instead of each, and gradients are gathered by one call. That
is what keeps one model after the other as fast as a loop with `torch.optim`, or faster.
"""

import numpy as np
import torch

from p2pfl.learner.engines.own_buffers import BUFFERS, buffers_in, packed, unpacked
from p2pfl.learner.errors import LearningError
from p2pfl.learner.tasks.base import Floats
from p2pfl.learner.vectors import VectorLayout, module_tensors, readable
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.own_state import NOTHING, Arrays


class FlatModule:
    """A module, bound to flat float32 buffers: what trains first, then what only travels.

    Tensors that do not travel stay where they are, take no gradient, and are put back to their
    start by each `load`, or to what the peer has kept of them (own_buffers.py).

    Args:
        module: the model at its start; its travelling tensors move into the buffer.
        layout: of the vectors that come and go.
        worked_out: names of statistics that are worked out anew for each model.

    Attributes:
        module: the module.
        parameters: float32[d'], what takes a gradient.
        gradients: float32[d'], as `differentiate` left it.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        layout: VectorLayout,
        worked_out: frozenset[str] = frozenset(),
    ) -> None:
        self.module, self._layout = module, layout
        tensors = module_tensors(module)
        names = [entry.name for entry in layout.entries]
        trained = [name for name in names if tensors[name].requires_grad]
        rest = [name for name in names if not tensors[name].requires_grad]
        self._in_order = [*trained, *rest] == names
        self._inner = layout if self._in_order else VectorLayout(module, [*trained, *rest])
        entries = self._inner.entries
        length = entries[len(trained)].offset if rest else self._inner.length
        own = {id(tensors[name]) for name in names}
        self._others = {
            name: (tensor, tensor.detach().clone())
            for name, tensor in tensors.items()
            if id(tensor) not in own
        }
        for tensor, _ in self._others.values():
            tensor.requires_grad_(False)
        device = tensors[names[0]].device
        self._flat = torch.zeros(self._inner.length, device=device)
        self.parameters = self._flat[:length]
        self.gradients = torch.zeros(length, device=device)
        self._views = self._inner.views(self._flat)
        self._transposed = [entry.transposed for entry in entries[: len(trained)]]
        self._trained: list[torch.Tensor] = []
        self._apart: list[tuple[torch.Tensor, torch.Tensor]] = []  # Of other types than float32.
        with torch.no_grad():
            for name, view in self._views.items():
                tensor = tensors[name]
                view.copy_(tensor)
                if tensor.dtype == torch.float32:
                    tensor.data = view
                elif tensor.requires_grad:
                    self._apart.append((tensor, view))
                if tensor.requires_grad:
                    self._trained.append(tensor)
        parameters = {id(tensor) for tensor in module.parameters()}
        self._buffers = [name for name in names if id(tensors[name]) not in parameters]
        self._keeps_buffers = any(True for _ in module.buffers())
        self._worked_out = worked_out

    def load(self, vector: Vector, own: Arrays = NOTHING) -> None:
        """Take a model; put all that does not travel back to its start, or to what is kept."""
        with torch.no_grad():
            for tensor, start in self._others.values():
                tensor.copy_(start)
            if self._keeps_buffers:  # A forward pass may have put another tensor in a place.
                for name, tensor in self._current_buffers().items():
                    if name in self._others and tensor is not self._others[name][0]:
                        tensor.copy_(self._others[name][1])
            for name, array in buffers_in(own).items():
                if name in self._others:
                    tensor, start = self._others[name]
                    self._current_buffers().get(name, tensor).copy_(unpacked(array, start))
            given = readable(vector.astype(np.float32, copy=False))
            if self._in_order:
                self._flat.copy_(given)
            else:
                for name, view in self._layout.views(given).items():
                    self._views[name].copy_(view)
            if self._buffers:
                current = self._current_buffers()
                for name in self._buffers:
                    current[name].copy_(self._views[name])
        self.take_over()

    def differentiate(self, loss: torch.Tensor) -> None:
        """Set `gradients` to those of a scalar; zero for what it does not depend on."""
        found = torch.autograd.grad(loss, self._trained, allow_unused=True)
        parts = []
        for tensor, gradient, transposed in zip(
            self._trained, found, self._transposed, strict=True
        ):
            if gradient is None:
                parts.append(self.gradients.new_zeros(tensor.numel()))
            else:
                parts.append((gradient.t() if transposed else gradient).reshape(-1))
        if self._apart:
            parts = [part.to(torch.float32) for part in parts]
        torch.cat(parts, out=self.gradients)

    def take_over(self) -> None:
        """Tell the module what `parameters` are now, where its own tensors are no views of them."""
        with torch.no_grad():
            for tensor, view in self._apart:
                tensor.copy_(view)

    def unload(self) -> Floats:
        """Copy the model into a fresh vector."""
        with torch.no_grad():
            if self._buffers:
                current = self._current_buffers()
                for name in self._buffers:
                    self._views[name].copy_(current[name])
            vector = np.empty(self._layout.length, np.float32)
            target = torch.from_numpy(vector)
            if self._in_order:
                target.copy_(self._flat)
            else:
                for name, view in self._layout.views(target).items():
                    view.copy_(self._views[name])
        return vector

    def changed(self) -> dict[str, Floats]:
        """Return what neither travels nor is as at the start, to be kept: see own_buffers.py.

        Raises:
            LearningError: a buffer has another shape or type than at the start.
        """
        if not self._keeps_buffers:
            return {}
        found: dict[str, Floats] = {}
        current, seen = self._current_buffers(), set[int]()  # Membership only.
        for name, (tensor, start) in self._others.items():
            now = current.get(name, tensor)
            if name in self._worked_out or id(now) in seen:
                continue
            seen.add(id(now))
            if now.shape != start.shape or now.dtype != start.dtype:
                raise LearningError(
                    f"buffer {name!r} of its model was {_form(start)}, and is {_form(now)} after"
                    " training: a peer keeps buffers of one shape and type"
                )
            if not torch.equal(now, start):
                found[BUFFERS + name] = packed(now)
        return found

    def arrange(self, values: Floats) -> torch.Tensor:
        """Lay what belongs to a vector's entries out as `parameters` are; a copy."""
        flat = torch.zeros(self._inner.length, device=self._flat.device)
        views = self._inner.views(flat)
        for name, view in self._layout.views(readable(values)).items():
            views[name].copy_(view)
        return flat[: len(self.parameters)]

    def rearrange(self, values: Floats) -> Floats:
        """Undo `arrange`; zeros for what does not train."""
        flat = torch.zeros(self._inner.length)
        flat[: len(values)] = torch.from_numpy(values)
        vector = np.zeros(self._layout.length, np.float32)
        views = self._inner.views(flat)
        for name, view in self._layout.views(torch.from_numpy(vector)).items():
            view.copy_(views[name])
        return vector

    def _current_buffers(self) -> dict[str, torch.Tensor]:
        return dict(self.module.named_buffers(remove_duplicate=False))


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
