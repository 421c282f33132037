"""A seeded part of the cuts of ./scripts/bench libp2p-cuts, in every test run."""

import asyncio
import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).parents[2] / "benchmarks" / "libp2p_cuts.py"
_spec = importlib.util.spec_from_file_location("libp2p_cuts", PATH)
assert _spec is not None
assert _spec.loader is not None
cutting = importlib.util.module_from_spec(_spec)
sys.modules["libp2p_cuts"] = cutting
_spec.loader.exec_module(cutting)


def test_a_session_that_is_cut_anywhere_leaves_nothing_behind() -> None:
    count, outcomes = asyncio.run(cutting.try_cuts(every=31, offset=20))
    assert count == outcomes.total() > 80
    for direction in cutting.DIRECTIONS:
        for kind in cutting.KINDS:
            told = {outcome for *where, outcome in outcomes if where == [direction, kind]}
            # Early cuts end the dial, late ones the stream.
            assert {"DialFailed", "StreamReset"} <= told
