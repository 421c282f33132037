"""Statistics that normalisation layers keep, such as batch norm's running means.

They are a peer's own: they tell of its rows, may be far beyond what a masked sum can carry, and an
average of variances is no variance of all. So they do not travel, and are worked out from the
peer's rows for the very model that is measured (the 'precise' batch norm of Wu and Johnson, 2021).
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch

KEEPS_STATISTICS = (
    torch.nn.BatchNorm1d,
    torch.nn.BatchNorm2d,
    torch.nn.BatchNorm3d,
    torch.nn.SyncBatchNorm,
    torch.nn.InstanceNorm1d,
    torch.nn.InstanceNorm2d,
    torch.nn.InstanceNorm3d,
)

Normalisation: TypeAlias = torch.nn.BatchNorm1d  # Of all, what is used here is the same.


def statistics_of(module: torch.nn.Module) -> frozenset[str]:
    """Name the buffers in which a module's layers keep statistics."""
    return frozenset(
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, KEEPS_STATISTICS)
        for name, _ in part.named_buffers(recurse=False)
    )


def normalisations(module: torch.nn.Module, travelling: Collection[str]) -> list[Normalisation]:
    """Return the layers that keep statistics which do not travel."""
    return [
        part  # type: ignore[misc]
        for prefix, part in module.named_modules()
        if isinstance(part, KEEPS_STATISTICS)
        and part.running_mean is not None
        and f"{prefix}.running_mean".lstrip(".") not in travelling
    ]


def local_statistics(module: torch.nn.Module, travelling: Collection[str]) -> frozenset[str]:
    """Name the buffers of `normalisations`, also under the names of a layer that is used twice."""
    layers = {id(part) for part in normalisations(module, travelling)}
    return frozenset(
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules(remove_duplicate=False)
        if id(part) in layers
        for name, _ in part.named_buffers(recurse=False)
    )


@contextmanager
def cumulating(layers: Sequence[Normalisation]) -> Iterator[None]:
    """Have layers, in a module that evaluates, take the plain mean over all batches to come."""
    momenta = [layer.momentum for layer in layers]
    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        if not isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            # Without a momentum, instance norm takes nothing over, where batch norm takes the mean.
            hooks.append(layer.register_forward_pre_hook(_MomentumOfMean()))
        layer.train()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()


class _MomentumOfMean:
    """Gives a layer before its n-th batch the momentum 1 / n, which makes the plain mean."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, layer: torch.nn.Module, _inputs: object) -> None:
        self._count += 1
        layer.momentum = 1 / self._count  # type: ignore[assignment]
