"""Memory of vectors: aligned, and used again once nobody holds it.

Fresh memory costs a page fault every 4 KB, four times as much as copying a vector into it, and a
run of a thousand peers takes a thousand vectors a round.
"""

from collections import deque
from typing import TypeAlias
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

ALIGNMENT_BYTES = 64  # A cache line, and the width of AVX-512.
SLAB_BYTES = 8 * 2**20  # Large enough for huge pages, which NumPy asks for from 4 MB on.
RECYCLED_BYTES_MIN = 2**16  # Below that the allocator keeps memory itself.


def aligned(*shape: int) -> Floats:
    """Return float32 zeros that begin at a multiple of 64 bytes."""
    count = int(np.prod(shape))
    memory = np.zeros(count + ALIGNMENT_BYTES // 4, np.float32)
    skip = -memory.ctypes.data % ALIGNMENT_BYTES // 4
    values: Floats = memory[skip : skip + count].reshape(shape)
    return values


class VectorMemory:
    """Gives vectors of one length; the memory of those that nobody holds any more is reused.

    It keeps as much as was held at one time, until it goes itself.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._free: deque[Floats] = deque()  # Its operations are atomic: threads share it.

    def take(self) -> Floats:
        """Return float32[length] to be written by the caller alone, with any contents."""
        if self._length * 4 < RECYCLED_BYTES_MIN:
            return np.empty(self._length, np.float32)
        try:
            part = self._free.pop()
        except IndexError:
            part = self._grow()
        vector: Floats = np.asarray(_Lease(part, self._free))
        return vector

    def _grow(self) -> Floats:
        stride = -(-self._length * 4 // ALIGNMENT_BYTES) * ALIGNMENT_BYTES // 4
        slab = aligned(max(1, SLAB_BYTES // (4 * stride)), stride)
        parts: list[Floats] = [row[: self._length] for row in slab]
        self._free.extend(parts[1:])
        return parts[0]


_memories: WeakValueDictionary[int, VectorMemory] = WeakValueDictionary()


def vector_memory(length: int) -> VectorMemory:
    """Return the memory that everybody in this process shares for vectors of one length.

    Trained models and averages take turns in it: a store for each would keep both at their most.
    It is an allocator, nothing more: what a vector holds is its writer's alone.
    """
    memory = _memories.get(length)
    if memory is None:
        memory = _memories[length] = VectorMemory(length)
    return memory


class _Lease:
    """The base of a vector and all its views: when the last goes, the memory is free again."""

    def __init__(self, part: Floats, free: deque[Floats]) -> None:
        self.__array_interface__ = part.__array_interface__
        self._part, self._free = part, free

    def __del__(self) -> None:
        self._free.append(self._part)
