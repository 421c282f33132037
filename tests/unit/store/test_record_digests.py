"""Digests of records: part of the journal's format, so they stay as they are."""

import pytest

from p2pfl.store.record_digests import EMPTY_SEAL, bytes_digest, reseal, vector_digest


def test_digests_are_those_of_the_format() -> None:
    assert (
        bytes_digest("round", b"\1").hex()
        == "227843eb0b5a2729d6a31f164ed75434b6caddf28a5f0630f8ff77dd0ebbe7b0"
    )
    assert (
        vector_digest("model", "checkpoint-1", bytes(32)).hex()
        == "34d133bf47bd1ba951974ed552e37500c1f2499384c957e1bd35eec68c8abe14"
    )


def test_every_part_of_a_record_is_in_its_digest() -> None:
    digests = [
        bytes_digest("a", b"b"),
        bytes_digest("b", b"b"),
        bytes_digest("a", b"a"),
        bytes_digest("ab", b""),
        vector_digest("a", "b", bytes(32)),
        vector_digest("b", "b", bytes(32)),
        vector_digest("a", "a", bytes(32)),
        vector_digest("a", "b", b"\1" * 32),
        vector_digest("ab", "", bytes(32)),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_seal_is_that_of_all_records_in_any_order(order: tuple[int, ...]) -> None:
    digests = [bytes([number]) * 32 for number in (1, 6, 8)]
    seal = reseal(EMPTY_SEAL, [digests[place] for place in order])
    assert seal == b"\x0f" * 32
    assert reseal(seal, [digests[1]]) == b"\x09" * 32
    assert reseal(seal, digests) == EMPTY_SEAL == bytes(32)
