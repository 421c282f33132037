"""Buffers that training changes and that do not travel: a peer keeps its own from job to job.

Such are the vectors of spectral norm, running means that are not batch norm's, memories, counters.
They go by `Train.own` and `Trained.own` as ``"buffers/NAME"``, as float32: those of other types as
the bytes they are. Statistics of torch's normalisation layers are none: they are worked out anew.
"""

from collections.abc import Mapping

import numpy as np
import torch

from p2pfl.learner.tasks.base import Floats
from p2pfl_gossip.own_state import Arrays

BUFFERS = "buffers/"


def packed(tensor: torch.Tensor) -> Floats:
    """Copy a tensor's values into an array of float32, or its bytes where it has another type."""
    held = tensor.detach().cpu().contiguous()
    if held.dtype == torch.float32:
        return held.numpy().copy()
    data = held.reshape(-1).view(torch.uint8).numpy()
    return np.concatenate([data, np.zeros(-len(data) % 4, np.uint8)]).view(np.float32)


def unpacked(array: Floats, like: torch.Tensor) -> torch.Tensor:
    """Undo `packed`, for a tensor of the type and shape of another."""
    if like.dtype == torch.float32:
        return torch.from_numpy(array.copy()).reshape(like.shape)
    count = like.numel() * like.element_size()
    if not count:
        return torch.empty_like(like)
    data = torch.from_numpy(np.ascontiguousarray(array).view(np.uint8)[:count].copy())
    return data.view(like.dtype).reshape(like.shape)


def buffers_in(own: Arrays, prefix: str = "") -> Mapping[str, Floats]:
    """Return the buffers among what a peer keeps, by the names that the module has for them.

    Args:
        own: what it keeps.
        prefix: of the model that they belong to, where the peer has two.
    """
    start = prefix + BUFFERS
    return {
        name.removeprefix(start): array for name, array in own.items() if name.startswith(start)
    }
