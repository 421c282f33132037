"""The challenges of a shortness proof: each a hash of all that was said before it.

Sources: Fiat & Shamir, CRYPTO 1986; Bernhard, Pereira & Warinschi, ASIACRYPT 2012, say why of all.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from p2pfl_crypto.audit.commitments import ROWS, SQUARES
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import GROUP_ORDER

SHORT_ENTRIES = SKETCH_ENTRIES + SQUARES
"""Those that are shown to be short: the sketch's, and the four squares."""
ROW_MAX = np.int8(3)
ROW_VALUES = np.uint8(7)
_NUMBER_BYTES = 48  # Reduced modulo L, they leave a bias below 2^-130.

Rows = npt.NDArray[np.int8]


def numbers_of(seed: bytes, count: int) -> list[int]:
    """Expand 32 bytes to numbers modulo L, by SHAKE-256."""
    stream = hashlib.shake_256(seed).digest(_NUMBER_BYTES * count)
    return [
        int.from_bytes(stream[start : start + _NUMBER_BYTES], "little") % GROUP_ORDER
        for start in range(0, len(stream), _NUMBER_BYTES)
    ]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is proved: the commitment holds a sketch p with |p|^2 <= bound.

    Attributes:
        context: 32 bytes that name the session, the sum, the seed and the member; a proof made
            under another context does not pass.
        bound: T, as `square_norm_max` gives it.
        commitment: a point.
    """

    context: bytes
    bound: int
    commitment: bytes

    def rows(self, slack: bytes) -> Rows:
        """Challenge 1: int8[46, 260], entries -3 to 3 alike often."""
        seed = self._hash(b"p2pfl/audit-rows", slack)
        return rows_of(seed)

    def gammas(self, slack: bytes, combined: bytes) -> list[int]:
        """Challenge 2: a number for each row."""
        return numbers_of(self._hash(b"p2pfl/audit-gam", slack, combined), ROWS)

    def challenge(self, slack: bytes, combined: bytes, announced: bytes) -> int:
        """Challenge 3: one number."""
        return numbers_of(self._hash(b"p2pfl/audit-chal", slack, combined, announced), 1)[0]

    def _hash(self, label: bytes, *said: bytes) -> bytes:
        bound = struct.pack("<QQ", self.bound % 2**64, self.bound >> 64)
        return hash_parts(label, self.context, bound, self.commitment, *said)


def rows_of(seed: bytes) -> Rows:
    """Expand 32 bytes to the rows of challenge 1, a byte an entry, modulo 7: -3 to 3.

    256 is 36 * 7 + 4, so the likeliest of them comes 37 times of 256.
    """
    stream = np.frombuffer(hashlib.shake_256(seed).digest(ROWS * SHORT_ENTRIES), np.uint8)
    return (stream % ROW_VALUES).astype(np.int8).reshape(ROWS, SHORT_ENTRIES) - ROW_MAX


def column_sums(rows: Rows, gammas: list[int]) -> list[int]:
    """Multiply the rows by their numbers and add: for each entry, sum of gamma_j R_jl modulo L."""
    limbs = np.frombuffer(b"".join(g.to_bytes(32, "little") for g in gammas), "<u4")
    # 46 limbs of 32 bits, three times and of either sign, stay within 2^40: exact in binary64. A
    # product so small is not shared among threads, which would then spin for work.
    sums = rows.T.astype(np.float64) @ limbs.reshape(ROWS, _LIMBS).astype(np.float64)
    # Made positive, each fits 64 bits, so that every other one, 64 bits apart, can be read as one
    # number.
    positive = (sums + _OFFSET).astype("<u8")
    low = _read_numbers(positive[:, 0::2])
    high = _read_numbers(positive[:, 1::2])
    return [
        (even + (odd << 32) - _OFFSET_SUM) % GROUP_ORDER
        for even, odd in zip(low, high, strict=True)
    ]


_LIMBS = 8  # Of 32 bits.
_OFFSET = 2**40
_OFFSET_SUM = sum(_OFFSET << (32 * place) for place in range(_LIMBS))


def _read_numbers(limbs: npt.NDArray[np.uint64]) -> list[int]:
    """Read each row of 64-bit limbs as one number."""
    size = 8 * limbs.shape[1]
    joined = limbs.tobytes()
    return [int.from_bytes(joined[at : at + size], "little") for at in range(0, len(joined), size)]
