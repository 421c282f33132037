"""The hashes of a session by their formulas, with numbers that show width, sign and byte order."""

import hashlib
import struct

import pytest

from p2pfl_crypto.transcripts import (
    SUITE,
    group_session_id,
    session_id,
    share_digest,
    share_digests,
)

LARGEST = {
    "round_number": 2**64 - 2,
    "attempt": 2**64 - 3,
    "vector_entries": 2**64 - 4,
    "chunk_count": 2**64 - 5,
    "owner_count": 2**32 - 2,
}
SMALL = {
    "round_number": 2,
    "attempt": 3,
    "vector_entries": 4,
    "chunk_count": 5,
    "owner_count": 6,
}


@pytest.mark.parametrize("numbers", [SMALL, LARGEST])
def test_a_session_is_named_by_the_formula(numbers: dict[str, int]) -> None:
    group, nonce, members = b"g" * 32, b"n" * 7, [b"a" * 32, b"b" * 32]
    parts = (
        SUITE,
        group,
        struct.pack("<Q", numbers["round_number"]),
        struct.pack("<Q", numbers["attempt"]),
        struct.pack("<Q", numbers["vector_entries"])
        + struct.pack("<Q", numbers["chunk_count"])
        + struct.pack("<I", numbers["owner_count"])
        + struct.pack("<d", 1.5)
        + struct.pack("<d", 2.5),
        b"a" * 32 + b"b" * 32,
        nonce,
    )
    text = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    named = session_id(
        **numbers, group=group, nonce=nonce, members=members, clip=1.5, weight_max=2.5
    )
    assert named == hashlib.blake2b(text, digest_size=32, person=b"p2pfl/sid").digest()


@pytest.mark.parametrize("numbers", [SMALL, LARGEST])
def test_a_groups_session_is_named_by_the_formula(numbers: dict[str, int]) -> None:
    named = group_session_id(
        group=b"g" * 32,
        epoch=numbers["attempt"],
        charter=b"c" * 32,
        round_number=numbers["round_number"],
        members=[b"a" * 32, b"b" * 32],
        vector_entries=numbers["vector_entries"],
        chunk_count=numbers["chunk_count"],
        owner_count=numbers["owner_count"],
    )
    parts = (
        SUITE,
        b"g" * 32,
        struct.pack("<Q", numbers["attempt"]),
        b"c" * 32,
        struct.pack("<Q", numbers["round_number"]),
        b"a" * 32 + b"b" * 32,
        struct.pack("<Q", numbers["vector_entries"])
        + struct.pack("<Q", numbers["chunk_count"])
        + struct.pack("<I", numbers["owner_count"]),
    )
    text = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    assert named == hashlib.blake2b(text, digest_size=32, person=b"p2pfl/group-sid").digest()


def test_many_shares_are_digested_as_each_is() -> None:
    holders, shares = [0, 7, 127, 128, 300], [bytes([number]) * 32 for number in range(5)]
    for kind in (b"b", b"s"):
        assert share_digests(b"t" * 32, kind, 3, holders, shares) == [
            share_digest(b"t" * 32, kind, 3, holder, share)
            for holder, share in zip(holders, shares, strict=True)
        ]
