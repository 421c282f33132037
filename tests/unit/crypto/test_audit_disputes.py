"""What members say after a false total: it fits for honest members, and for no liar."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from p2pfl_crypto.audit.commitments import commit_to_sketch
from p2pfl_crypto.audit.curve import add_all
from p2pfl_crypto.audit.disputes import (
    PairSketch,
    Shown,
    chunk_sketch,
    combine_part,
    is_consistent,
    pair_mask,
    show,
    sketch_pair,
)
from p2pfl_crypto.audit.sketch import sketch_of
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.shamir import scalar_of
from p2pfl_crypto.transcripts import pair_blinding

SEED, TAU2, CORE = b"s" * 32, b"t" * 32, b"c" * 32
LAYOUT = ((0, 30), (2, 20))
RANKS = (1, 4, 6)


def key_of(one: int, other: int) -> bytes:
    low, high = sorted((one, other))
    return hash_parts(b"test/pair", bytes([low, high]))


@dataclass(frozen=True)
class Member:
    """A member of a sum that follows the rules, and what is public of it."""

    rank: int
    own: Any
    words: Any
    commitment: bytes
    shown: Shown
    parts: tuple[int, ...]


def make(rank: int) -> Member:
    generator = np.random.default_rng(rank)
    inputs = {chunk: generator.integers(-900, 900, size).astype(np.int32) for chunk, size in LAYOUT}
    words = {chunk: body.view(np.uint32).copy() for chunk, body in inputs.items()}
    pairs, blinding = {}, 0
    for other in RANKS:
        if other != rank:
            pairs[other] = pair_of(rank, other)
            sign = 1 if other > rank else -1
            wide = pair_blinding(key_of(rank, other), TAU2, rank, other)
            blinding += sign * int.from_bytes(scalar_of(wide), "little")
            for chunk, size in LAYOUT:
                mask = pair_mask(key_of(rank, other), TAU2, rank, other, chunk, size)
                words[chunk] += mask if sign > 0 else -mask
    own = sketch_of(SEED, inputs.items()).tolist()
    parts = [chunk_sketch(SEED, chunk, words[chunk].view(np.int32)).tolist() for chunk, _ in LAYOUT]
    masked = [sum(entries) for entries in zip(*parts, strict=True)]
    shown = show(own, masked, pairs, rank)
    combined = tuple(combine_part(CORE, part) for part in parts)
    return Member(rank, own, words, commit_to_sketch(own, blinding), shown, combined)


def pair_of(one: int, other: int) -> PairSketch:
    return sketch_pair(SEED, key_of(one, other), TAU2, one, other, LAYOUT)


@pytest.fixture(scope="module")
def members() -> dict[int, Member]:
    return {rank: make(rank) for rank in RANKS}


def holds(member: Member, **changes: Any) -> bool:
    it = replace(member, **changes)
    return is_consistent(it.shown, it.rank, it.commitment, CORE, it.parts)


def test_what_members_show_fits_and_both_ends_say_the_same(members: dict[int, Member]) -> None:
    for rank, member in members.items():
        assert holds(member)
        for other in RANKS:
            if other != rank:
                assert member.shown.points[other] == members[other].shown.points[rank]


def test_where_all_fits_the_commitments_add_up(members: dict[int, Member]) -> None:
    """To the sketch of the sum of the words, which is that of the inputs' sum here."""
    total = [sum(entries) for entries in zip(*(it.own for it in members.values()), strict=True)]
    assert add_all(it.commitment for it in members.values()) == commit_to_sketch(total, 0)
    lifted = [it.shown.lifted() for it in members.values()]
    assert [sum(entries) for entries in zip(*lifted, strict=True)] == total


def test_what_is_shown_is_lifted_beyond_all_that_the_words_tell(members: dict[int, Member]) -> None:
    """In nearly all of 256 entries, whose lifts are uniform up to 2^96."""
    for member in members.values():
        assert sum(abs(entry) > 2**120 for entry in member.shown.lifted()) > 240


def shifted(member: Member, by: int) -> list[int]:
    return [member.own[0] + by, *member.own[1:]]


def test_another_sketch_or_blinding_does_not_fit(members: dict[int, Member]) -> None:
    member = members[4]
    assert not holds(member, commitment=commit_to_sketch(member.own, 7))
    assert not holds(member, commitment=members[1].commitment)


@pytest.mark.parametrize("by", [1, -1000, 2**31])
def test_who_shows_a_sketch_that_fits_a_false_commitment_shows_false_words(
    members: dict[int, Member], by: int
) -> None:
    """The lifts are multiples of 2^32: so the sketch of the words moves, and a chunk's part."""
    member = members[4]
    sketch = [
        int.from_bytes(member.shown.sketch[at : at + 8], "little", signed=True)
        for at in range(0, 2048, 8)
    ]
    sketch[0] += by
    false = replace(
        member.shown,
        sketch=b"".join(entry.to_bytes(8, "little", signed=True) for entry in sketch),
    )
    commitment = false_commitment(member, by)
    assert not holds(member, commitment=commitment, shown=false)
    # With a part that hides it: whoever holds the chunk works out another one.
    part = chunk_sketch(SEED, 0, member.words[0].view(np.int32)).tolist()
    part[0] += by
    parts = (combine_part(CORE, part), member.parts[1])
    assert holds(member, commitment=commitment, shown=false, parts=parts)
    assert parts[0] != member.parts[0]


def false_commitment(member: Member, by: int) -> bytes:
    blinding = 0
    for other in RANKS:
        if other != member.rank:
            wide = pair_blinding(key_of(member.rank, other), TAU2, member.rank, other)
            number = int.from_bytes(scalar_of(wide), "little")
            blinding += number if other > member.rank else -number
    return commit_to_sketch(shifted(member, by), blinding)


def test_points_of_no_group_do_not_fit(members: dict[int, Member]) -> None:
    points = {**members[1].shown.points, 4: bytes(32)}
    assert not holds(members[1], shown=replace(members[1].shown, points=points))


def test_another_seed_or_pair_is_another_point() -> None:
    points = {
        sketch_pair(seed, key, TAU2, *ends, LAYOUT).commit()
        for seed in (SEED, CORE)
        for key in (key_of(1, 4), key_of(1, 6))
        for ends in ((1, 4), (1, 6))
    }
    assert len(points) == 8
    assert pair_of(4, 1).commit() == pair_of(1, 4).commit()
