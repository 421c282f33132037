"""A seeded part of the cuts of ./scripts/bench libp2p-cuts, in every test run."""

import asyncio

import libp2p_cuts as cutting


def test_a_session_that_is_cut_anywhere_leaves_nothing_behind() -> None:
    count, outcomes = asyncio.run(cutting.try_cuts(every=31, offset=20))
    assert count == outcomes.total() > 80
    for direction in cutting.DIRECTIONS:
        for kind in cutting.KINDS:
            told = {outcome for *where, outcome in outcomes if where == [direction, kind]}
            # Early cuts end the dial, late ones the stream.
            assert {"DialFailed", "StreamReset"} <= told
