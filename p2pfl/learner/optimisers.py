"""Optimisers of local training, on flat float32 buffers: SGD, AdamW (Loshchilov & Hutter, 2019).

A buffer holds one model, [d], or a stack of models, [peers, d]. Every operation is elementwise, and
norms are summed by folding a row in halves, which is elementwise too. So a peer gets the same bits
whoever shares its stack, and on any machine: no operation rounds twice or fuses two into one.

Buffers are NumPy arrays or torch tensors. Tensors on the CPU are worked on as arrays, which is
faster for small models and as fast for large ones; those on another device stay there.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl.learner.settings import AdamW, Ditto, FedProx, Scaffold, Sgd, TrainingSettings

Buffer: TypeAlias = Any
"""float32[..., d]: a NumPy array, or a torch tensor of any device; contiguous along d."""

State: TypeAlias = dict[str, Buffer]
"""Of a job, by name: float32[..., d], and ``"steps"``, float32[..., 1], always on the CPU.

A slice of every entry along the first axis is the state of those peers."""

NOTHING: Mapping[str, Buffer] = MappingProxyType({})
MOMENTS = ("velocity", "mean", "square", "steps")
"""The entries that may be kept from round to round; the others belong to one job."""

PER_ENTRY = ("velocity", "mean", "square", "anchor", "correction")
"""What has an entry for each of the model's."""

BLOCK_ENTRIES = 2**15
"""Entries that one pass works on: a block of all its buffers stays in a core's own cache."""

ON_CPU = "cpu"
CLIP_EPSILON = 1e-6  # As torch.nn.utils.clip_grad_norm_ adds to a norm.


class Optimiser:
    """What a gradient does to a model, as the settings say.

    In this order: the pull towards the anchor is added, then the correction, then the whole is
    clipped, then it moves the model.

    Args:
        training: names the optimiser, `clip_norm`, and what the local algorithm adds.

    Attributes:
        takes_given: whether a job may begin with more than zeros.
        keeps_moments: whether they go on in the peer's next job.
    """

    def __init__(self, training: TrainingSettings) -> None:
        self._rule = training.optimiser
        self._clip, local = training.clip_norm, training.local
        self._pull = local.pull if isinstance(local, (FedProx, Ditto)) else 0.0
        self._starts_anchored = isinstance(local, FedProx)
        self.takes_given = training.keep_moments or isinstance(local, (Scaffold, Ditto))
        self.keeps_moments = training.keep_moments

    @property
    def buffer_count(self) -> int:
        """How many buffers of the model's size its state has, for those who plan memory."""
        rule = self._rule
        moments = 2 if isinstance(rule, AdamW) else int(rule.momentum > 0)
        return moments + (self._pull > 0) + self.takes_given

    @property
    def is_plain(self) -> bool:
        """Whether a step is ``velocity = momentum * velocity + gradient``, and no more.

        An engine may then fold it into its products.
        """
        rule = self._rule
        simple = isinstance(rule, Sgd) and not rule.nesterov and not rule.weight_decay
        return simple and self._clip is None and not self._pull and not self.takes_given

    @property
    def momentum(self) -> float:
        """Heavy-ball momentum of SGD; 0 for none."""
        return self._rule.momentum if isinstance(self._rule, Sgd) else 0.0

    def begin(
        self,
        parameters: Buffer,
        given: Mapping[str, Buffer] = NOTHING,
    ) -> State:
        """Make the state of a job, or of a stack of jobs.

        Args:
            parameters: where training starts; not changed, not kept.
            given: what it begins with, by name. ``"anchor"``, towards which a proximal term pulls:
                where training starts, if not given, for FedProx. ``"correction"``, added to each
                gradient, as SCAFFOLD's control variates are. Moments that an earlier job left.
        """
        state: State = {}
        rule = self._rule
        if isinstance(rule, AdamW):
            state["mean"], state["square"] = _zeros(parameters), _zeros(parameters)
            state["steps"] = np.zeros((*parameters.shape[:-1], 1), np.float32)
        elif rule.momentum:
            state["velocity"] = _zeros(parameters)
        if self._starts_anchored:
            state["anchor"] = _copy(parameters)
        for name, value in given.items():
            state[name] = _copy(value)
        return state

    def step(self, parameters: Buffer, gradients: Buffer, state: State, rate: Any) -> None:
        """Do one step, in place.

        Args:
            parameters: float32[..., d], changed.
            gradients: float32[..., d]; working memory afterwards, with any contents.
            state: of `begin`, changed.
            rate: the learning rate: a number, or float32[...], one for each peer.
        """
        library = _library(parameters)
        if library is np:
            parameters, gradients = _array(parameters), _array(gradients)
            state = {name: _array(value) for name, value in state.items()}
        rates = _column(rate, parameters, library)
        scales = self._count(state, rates, library)
        width = parameters.shape[-1]
        block = width if library is not np else _block_width(parameters)
        adjusts = "anchor" in state or "correction" in state
        if self._clip is not None:
            if adjusts:
                self._by_blocks(self._adjust, parameters, gradients, state, (), block, library)
                adjusts = False
            _clip(gradients, self._clip, library)

        def move(
            parameters: Buffer, gradients: Buffer, state: State, scales: tuple[Any, ...], xp: Any
        ) -> None:
            if adjusts:
                self._adjust(parameters, gradients, state, (), xp)
            self._move(parameters, gradients, state, scales, xp)

        self._by_blocks(move, parameters, gradients, state, scales, block, library)

    def _count(self, state: State, rates: Any, xp: Any) -> tuple[Any, ...]:
        """Count the step, and return the numbers that a row's step is scaled with, [..., 1]."""
        rule = self._rule
        if isinstance(rule, Sgd):
            return (rates,)
        count = state["steps"]
        count += 1
        # Powers in Python, row by row: an array's might go by its length.
        steps = [float(value) for value in count.reshape(-1)]

        def column(values: list[float]) -> Any:
            array = np.array(values, np.float32).reshape(count.shape)
            return array if xp is np else xp.from_numpy(array).to(state["mean"].device)

        firsts = column([1 - rule.beta1**value for value in steps])
        roots = column([(1 - rule.beta2**value) ** 0.5 for value in steps])
        return xp.divide(rates, firsts), roots, 1 - rates * rule.weight_decay

    def _by_blocks(
        self,
        work: Callable[..., None],
        parameters: Buffer,
        gradients: Buffer,
        state: State,
        scales: tuple[Any, ...],
        block: int,
        xp: Any,
    ) -> None:
        width = parameters.shape[-1]
        if block >= width:
            work(parameters, gradients, state, scales, xp)
            return
        for first in range(0, width, block):
            part = (..., slice(first, first + block))
            own = {name: value[part] for name, value in state.items() if name != "steps"}
            work(parameters[part], gradients[part], own, scales, xp)

    def _adjust(
        self, parameters: Buffer, gradients: Buffer, state: State, _: tuple[Any, ...], xp: Any
    ) -> None:
        if "anchor" in state:
            away = xp.subtract(parameters, state["anchor"])
            xp.multiply(away, self._pull, out=away)
            xp.add(gradients, away, out=gradients)
        if "correction" in state:
            xp.add(gradients, state["correction"], out=gradients)

    def _move(
        self,
        parameters: Buffer,
        gradients: Buffer,
        state: State,
        scales: tuple[Any, ...],
        xp: Any,
    ) -> None:
        if isinstance(self._rule, Sgd):
            _move_by_sgd(self._rule, parameters, gradients, state, scales, xp)
        else:
            _move_by_adamw(self._rule, parameters, gradients, state, scales, xp)


def _move_by_sgd(
    rule: Sgd, parameters: Buffer, gradients: Buffer, state: State, scales: Any, xp: Any
) -> None:
    (rates,) = scales
    if rule.weight_decay:
        xp.add(gradients, xp.multiply(parameters, rule.weight_decay), out=gradients)
    if rule.momentum:
        velocity = state["velocity"]
        xp.multiply(velocity, rule.momentum, out=velocity)
        xp.add(velocity, gradients, out=velocity)
        if rule.nesterov:
            xp.add(gradients, xp.multiply(velocity, rule.momentum), out=gradients)
            xp.multiply(gradients, rates, out=gradients)
        else:
            xp.multiply(velocity, rates, out=gradients)
    else:
        xp.multiply(gradients, rates, out=gradients)
    xp.subtract(parameters, gradients, out=parameters)


def _move_by_adamw(
    rule: AdamW, parameters: Buffer, gradients: Buffer, state: State, scales: Any, xp: Any
) -> None:
    rates, roots, shrinking = scales
    mean, square = state["mean"], state["square"]
    if rule.weight_decay:
        xp.multiply(parameters, shrinking, out=parameters)
    xp.multiply(mean, rule.beta1, out=mean)
    xp.add(mean, xp.multiply(gradients, 1 - rule.beta1), out=mean)
    xp.multiply(square, rule.beta2, out=square)
    xp.multiply(gradients, gradients, out=gradients)
    xp.multiply(gradients, 1 - rule.beta2, out=gradients)
    xp.add(square, gradients, out=square)
    xp.sqrt(square, out=gradients)
    xp.divide(gradients, roots, out=gradients)
    xp.add(gradients, rule.epsilon, out=gradients)
    xp.divide(mean, gradients, out=gradients)
    xp.multiply(gradients, rates, out=gradients)
    xp.subtract(parameters, gradients, out=parameters)


def row_norms(rows: Buffer) -> Buffer:
    """Return the Euclidean norm of each row: float32[..., 1] of float32[..., d].

    A row is folded in halves, again and again: the order of additions goes by d alone.
    """
    xp = _library(rows)
    return _row_norms(_array(rows) if xp is np else rows, xp)


def _row_norms(rows: Buffer, xp: Any) -> Buffer:
    squares = xp.multiply(rows, rows)
    width = squares.shape[-1]
    while width > 1:
        half = (width + 1) // 2
        left = squares[..., : width - half]
        xp.add(left, squares[..., half:width], out=left)
        width = half
    return xp.sqrt(squares[..., :1])


def _clip(gradients: Buffer, limit: float, xp: Any) -> None:
    """Scale each row whose norm is above `limit` down to it, in place."""
    norms = _row_norms(gradients, xp)
    xp.add(norms, CLIP_EPSILON, out=norms)
    shares = xp.divide(xp.full_like(norms, limit), norms)
    xp.multiply(gradients, shares.clip(max=1.0), out=gradients)


def _block_width(parameters: npt.NDArray[np.float32]) -> int:
    rows: int = parameters.size // max(1, parameters.shape[-1])
    return max(1024, BLOCK_ENTRIES // max(1, rows))


def _column(rate: Any, parameters: Buffer, xp: Any) -> Any:
    """Return rates float32[..., 1], beside the parameters."""
    if xp is not np and hasattr(rate, "to"):
        return rate.to(parameters.device, parameters.dtype)[..., None]
    values = np.asarray(rate, np.float32)
    values = np.broadcast_to(values[..., None], (*parameters.shape[:-1], 1))
    return values if xp is np else xp.tensor(values, device=parameters.device)


def _library(buffer: Buffer) -> Any:
    """Return NumPy or torch, whichever works on a buffer."""
    if isinstance(buffer, np.ndarray) or buffer.device.type == ON_CPU:
        return np
    import torch

    return torch


def _array(buffer: Buffer) -> Buffer:
    """View a buffer on the CPU as an array."""
    return buffer if isinstance(buffer, np.ndarray) else buffer.detach().numpy()


def _zeros(like: Buffer) -> Buffer:
    return np.zeros_like(like) if isinstance(like, np.ndarray) else like.new_zeros(like.shape)


def _copy(of: Buffer) -> Buffer:
    return of.copy() if isinstance(of, np.ndarray) else of.detach().clone()


def kept_moments(state: Mapping[str, Buffer]) -> dict[str, npt.NDArray[np.float32]]:
    """Return what of a state may be kept from round to round, as fresh arrays on the CPU."""
    return {
        name: np.array(value if isinstance(value, np.ndarray) else value.cpu().numpy())
        for name, value in state.items()
        if name in MOMENTS
    }
