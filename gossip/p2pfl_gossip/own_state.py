"""What a peer keeps of its own from round to round: arrays by name that only its learner knows.

Statistics, personal layers, an optimiser's moments, control variates: they tell of a peer's rows
like nothing else. So they are in no message. They go from one training job to the next, and into
the peer's journal with the model that they belong to.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.actions import LocalProtocolError, Vector
from p2pfl_gossip.records import Codec, MalformedFrame, Message

Floats: TypeAlias = npt.NDArray[np.float32]
Arrays: TypeAlias = Mapping[str, Floats]

NOTHING: Arrays = MappingProxyType({})
RECORD = "own"
BYTES_MAX = 2**29
"""Of all arrays: a few copies of the largest models that peers exchange. SQLite, which keeps them,
takes up to 2**30 a record."""


class KeptArrays(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=126):
    """All arrays, as they lie in a journal: name, shape, and little-endian float32."""

    arrays: tuple[tuple[str, tuple[int, ...], bytes], ...]


_CODEC = Codec(KeptArrays | None, frame_bytes_max=BYTES_MAX + 2**20)  # And names and shapes.


class OwnState:
    """The arrays that the last training of use left; none before the first.

    Attributes:
        arrays: float32 of any shape, by name; read-only.
    """

    def __init__(self) -> None:
        self.arrays: Arrays = NOTHING

    def take(self, arrays: Arrays) -> None:
        """Take what a training left, in place of the earlier.

        Raises:
            LocalProtocolError: an array is not of float32, or all are larger than `BYTES_MAX`.
        """
        if any(array.dtype != np.float32 for array in arrays.values()):
            raise LocalProtocolError("a peer's own state is of float32")
        if sum(array.nbytes for array in arrays.values()) > BYTES_MAX:
            raise LocalProtocolError(f"a peer's own state has more than {BYTES_MAX} bytes")
        for array in arrays.values():
            array.flags.writeable = False
        self.arrays = arrays

    def records(self) -> dict[str, bytes | Vector | None]:
        """Return what is to be kept on disk; nothing where there is no such state."""
        if not self.arrays:
            return {}
        form = tuple(
            (name, array.shape, np.ascontiguousarray(array, "<f4").tobytes())
            for name, array in self.arrays.items()
        )
        return {RECORD: _CODEC.encode(KeptArrays(form))}

    def forget(self) -> dict[str, bytes | Vector | None]:
        """Have none any more; return what is to be kept of that."""
        self.arrays = NOTHING
        return {RECORD: None}

    def restore(self, records: Mapping[str, bytes | Vector]) -> None:
        """Go on from what an earlier incarnation kept.

        Raises:
            LocalProtocolError: the record is none of ours.
        """
        kept = records.get(RECORD)
        if kept is None:
            return
        if not isinstance(kept, bytes):
            raise LocalProtocolError("the persisted own state is not bytes")
        try:
            form = _CODEC.decode_untrusted(kept)
        except MalformedFrame as error:
            raise LocalProtocolError(f"the persisted own state is not ours: {error}") from None
        assert isinstance(form, KeptArrays)
        arrays = {}
        for name, shape, data in form.arrays:
            if len(data) != 4 * math.prod(shape):
                raise LocalProtocolError("the persisted own state is not ours: a shape is false")
            arrays[name] = np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)
        self.take(arrays)
