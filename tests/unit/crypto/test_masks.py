"""Key streams against RFC 3686 and bare AES, and that masks cancel."""

from pathlib import Path
from random import Random

import cryptography_vectors
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream, Mask, MaskStreams, add_masks, add_vectors


def rfc_3686() -> list[dict[str, str]]:
    path = Path(cryptography_vectors.__file__).parent / "ciphers/AES/CTR/aes-256-ctr.txt"
    rows: list[dict[str, str]] = []
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name == "COUNT":
            rows.append({})
        if value:
            rows[-1][name] = value
    return rows


def stream_bytes(key: bytes, chunk: int, count: int) -> bytes:
    room = bytearray(count)
    stream = KeyStream(key, chunk)
    for start in range(0, count, BLOCK_BYTES):
        stream.fill(memoryview(room)[start : start + BLOCK_BYTES])
    return bytes(room)


@pytest.mark.parametrize("vector", rfc_3686())
def test_rfc_3686(vector: dict[str, str]) -> None:
    plaintext = bytes.fromhex(vector["PLAINTEXT"])
    stream, room = KeyStream(bytes.fromhex(vector["KEY"]), 0), bytearray(len(plaintext))
    stream.restart(bytes.fromhex(vector["IV"]))
    stream.fill(memoryview(room))
    assert (
        bytes(a ^ b for a, b in zip(plaintext, room, strict=True)).hex().upper()
        == (vector["CIPHERTEXT"])
    )


@pytest.mark.parametrize("chunk", [0, 1, 2**64 - 1])
def test_block_i_is_that_of_chunk_and_i(chunk: int) -> None:
    key, count = bytes(range(32)), BLOCK_BYTES // 16 + 3
    blocks = b"".join(chunk.to_bytes(8, "big") + i.to_bytes(8, "big") for i in range(count))
    bare = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    assert stream_bytes(key, chunk, 16 * count) == bare.update(blocks)


@given(st.integers(0, 3 * BLOCK_BYTES // 4 + 5), st.integers(0, 2**64 - 1), st.integers(0, 9))
def test_blocks_add_what_whole_streams_give(length: int, chunk: int, seed: int) -> None:
    random = Random(seed)
    masks = [Mask(random.randbytes(32), random.choice((1, -1))) for _ in range(3)]
    start = np.frombuffer(random.randbytes(4 * length), "<u4").copy()
    expected = start.copy()
    for mask in masks:
        whole = np.frombuffer(stream_bytes(mask.key, chunk, 4 * length), "<u4")
        expected = expected + whole if mask.sign > 0 else expected - whole
    accumulator = start.copy()
    add_masks(accumulator, masks, chunk)
    assert (accumulator == expected).all()
    add_masks(accumulator, [mask.negated() for mask in masks], chunk)
    assert (accumulator == start).all()


def test_streams_go_from_chunk_to_chunk_and_back_as_fresh_ones_do() -> None:
    masks = [Mask(b"a" * 32), Mask(b"b" * 32, -1)]
    streams = MaskStreams(masks)
    for chunk, length in ((3, 10), (2**64 - 1, BLOCK_BYTES // 4 + 7), (3, 70_000), (0, 0), (3, 1)):
        reused, fresh = np.zeros(length, np.uint32), np.zeros(length, np.uint32)
        streams.add(reused, chunk)
        add_masks(fresh, masks, chunk)
        assert (reused == fresh).all()


def test_pair_masks_cancel_in_the_sum_over_all_members() -> None:
    random = Random(1)
    members, length = 7, 1000
    keys = {(i, j): random.randbytes(32) for i in range(members) for j in range(i + 1, members)}
    vectors = []
    for i in range(members):
        vector = np.full(length, i, np.uint32)
        masks = [
            Mask(keys[min(i, j), max(i, j)], 1 if j > i else -1) for j in range(members) if j != i
        ]
        add_masks(vector, masks, 5)
        assert abs(float(vector.mean()) / 2**31 - 1) < 0.1  # Looks uniform, so hides i.
        vectors.append(vector)
    total = np.zeros(length, np.uint32)
    add_vectors(total, vectors)
    assert (total == sum(range(members))).all()
    missing = np.zeros(length, np.uint32)
    add_vectors(missing, vectors[1:])
    assert (missing != sum(range(members))).mean() > 0.99


def test_streams_differ_by_key_and_chunk() -> None:
    streams = {stream_bytes(key, chunk, 64) for key in (b"a" * 32, b"b" * 32) for chunk in (0, 1)}
    assert len(streams) == 4


def test_bad_accumulators_keys_and_chunks_are_refused() -> None:
    mask = Mask(bytes(32))
    read_only = np.zeros(4, np.uint32)
    read_only.flags.writeable = False
    for accumulator in (
        np.zeros(4, np.int32),
        np.zeros((2, 2), np.uint32),
        np.zeros(8, np.uint32)[::2],
        read_only,
    ):
        with pytest.raises(ValueError, match="accumulator"):
            add_masks(accumulator, [mask], 0)  # type: ignore[arg-type]
    for chunk in (-1, 2**64):
        with pytest.raises(ValueError, match="chunk"):
            add_masks(np.zeros(4, np.uint32), [mask], chunk)
    with pytest.raises(ValueError, match="32 bytes"):
        Mask(bytes(31))
    with pytest.raises(ValueError, match="sign"):
        Mask(bytes(32), 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length"):
        add_vectors(np.zeros(4, np.uint32), [np.zeros(5, np.uint32)])


def test_a_mask_does_not_show_its_key() -> None:
    assert "k" * 32 not in repr(Mask(b"k" * 32))
