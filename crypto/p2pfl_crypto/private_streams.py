"""Private random streams: ChaCha20 (RFC 8439) of a member's own entropy, one for each purpose.

A release is private by draws that nobody else can repeat. So a member takes 32 bytes of its
operating system's entropy for each training, derives the key of each stream from them, and keeps
none of it. `hash_parts` parts the purposes: who knows one stream knows nothing of another.

ChaCha20 and not the AES-CTR of masks: its output has no blocks that are all different, and masks
are secret from others while noise is to be noise.
"""

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from p2pfl_crypto.hashing import hash_parts

ENTROPY_BYTES = 32
KEY_BYTES = 32
# ChaCha20 counts blocks of 64 bytes in 32 bits; a stream ends before its counter does.
STREAM_BYTES_MAX = 2**32 * 64
_CHUNK_BYTES = 256 * 1024  # Zeros that are encrypted at a time; they stay in a 1 MiB cache.
_ZEROS = memoryview(bytes(_CHUNK_BYTES))

LOT = b"p2pfl/dp-lot"
NOISE = b"p2pfl/dp-noise"
DROPOUT = b"p2pfl/dp-dropout"

LEFT_OUT_CHANCE = 2.0**-80
"""That a lot has more units than are summed, and some are left out: lots are kept so small."""


class PrivateStream:
    """The ChaCha20 key stream of one key, from its beginning on. Not for two threads at once.

    Args:
        key: 32 secret bytes, used for one stream only; never shown.

    Raises:
        ValueError: the key has another length.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        # Block counter 0 and nonce 0: a key is used once.
        self._encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
        self._left_bytes = STREAM_BYTES_MAX

    def words64(self, count: int) -> npt.NDArray[np.uint64]:
        """Return the next words: uint64[count], little-endian.

        Raises:
            ValueError: the stream has not as many left.
        """
        return np.frombuffer(self._take(8 * count), "<u8")

    def words32(self, count: int) -> npt.NDArray[np.uint32]:
        """Return the next words: uint32[count], little-endian.

        Raises:
            ValueError: the stream has not as many left.
        """
        return np.frombuffer(self._take(4 * count), "<u4")

    def _take(self, count: int) -> bytearray:
        if count > self._left_bytes:
            raise ValueError(f"a stream ends after {STREAM_BYTES_MAX} bytes")
        self._left_bytes -= count
        taken = bytearray(count)
        room = memoryview(taken)
        for start in range(0, count, _CHUNK_BYTES):
            part = room[start : start + _CHUNK_BYTES]
            self._encryptor.update_into(_ZEROS[: part.nbytes], part)
        return taken


def private_stream(entropy: bytes, purpose: bytes) -> PrivateStream:
    """Open the stream of one purpose.

    Args:
        entropy: 32 bytes, fresh for each training.
        purpose: `LOT`, `NOISE` or `DROPOUT`.

    Raises:
        ValueError: the entropy has another length.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a training's entropy has {ENTROPY_BYTES} bytes, not {len(entropy)}")
    return PrivateStream(hash_parts(purpose, entropy))
