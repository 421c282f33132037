"""What liars say in a dispute: statements that fit what they claim; the lie is where they like.

Lies are of the first entry of a sketch: `by` is how much more they have claimed of it in their
proof than is so.
"""

import numpy as np

from p2pfl_crypto.audit.commitments import commit_to_sketch
from p2pfl_crypto.audit.curve import POINT_BYTES, add
from p2pfl_crypto.audit.disputes import PART_BYTES, chunk_sketch, combine_part, pair_mask
from p2pfl_crypto.audit.sketch import SKETCH_ENTRIES
from p2pfl_gossip.masked_sum.dispute_jobs import MakeStatement
from p2pfl_gossip.masked_sum.messages import DisputeStatement
from p2pfl_simulations.liars.forging import replaced

_ENTRY_BYTES = 8


def with_parts(
    job: MakeStatement, said: DisputeStatement, by: int, place: int = 0
) -> DisputeStatement:
    """Say parts that fit a sketch of masked words which was shifted: of one chunk, by as much.

    Args:
        job: by which the statement was made.
        said: the statement; its parts are made anew.
        by: 0 for true parts.
        place: of the chunk, among those that have a sum.
    """
    sketches = []
    parts = dict(job.own.parts)
    for chunk, _ in job.layout:
        words = job.own.encode(chunk, parts[chunk]).copy()
        for other, key in job.pairs.items():
            mask = pair_mask(key, said.tau2, said.member, other, chunk, len(words))
            words += mask if other > said.member else -mask
        sketches.append(chunk_sketch(said.seed, chunk, words.view(np.int32)).tolist())
    sketches[place][0] += by
    core = said.core()
    combined = (combine_part(core, sketch) for sketch in sketches)
    return said.with_parts(b"".join(part.to_bytes(PART_BYTES, "little") for part in combined))


def hiding_in_words(
    job: MakeStatement, said: DisputeStatement, by: int, place: int = 0
) -> DisputeStatement:
    """Say that one's masked words are others: only those that hold a chunk can see it."""
    first = int.from_bytes(said.sketch[:_ENTRY_BYTES], "little", signed=True) + by
    sketch = first.to_bytes(_ENTRY_BYTES, "little", signed=True) + said.sketch[_ENTRY_BYTES:]
    return with_parts(job, replaced(said, sketch=sketch), by, place)


def hiding_in_pair(
    job: MakeStatement, said: DisputeStatement, by: int, other: int
) -> DisputeStatement:
    """Say that what one shares with another member accounts for it.

    What is said is X = p + sum of +-M: the shift of p is taken out of M, and X stays.
    """
    sign = 1 if other > said.member else -1
    return with_parts(job, with_point(job, said, other, -sign * by), 0)


def with_point(job: MakeStatement, said: DisputeStatement, other: int, by: int) -> DisputeStatement:
    """Say that what one shares with another member is more by that; parts do not fit any more."""
    place = POINT_BYTES * job.members.index(other)
    end = place + POINT_BYTES
    moved = add(said.points[place:end], _only_first(by))
    return replaced(said, points=said.points[:place] + moved + said.points[end:])


def _only_first(number: int) -> bytes:
    """Commit to a number and 255 zeros."""
    return commit_to_sketch([number, *[0] * (SKETCH_ENTRIES - 1)], 0)
