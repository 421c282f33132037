"""What one member of a masked sum does, in a process of its own, so that its memory is its own.

    python masked_member.py '{"entries": 25000000, "members": 16, "keep": true}'

Encodes, masks and hashes its vector chunk by chunk, as its machine has it done; `keep` holds all
masked chunks, as if no link took any.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "masked_sum"))

from measuring import Clock, give, peak_memory_mb, resident_memory_mb, settle
from session_driver import make_cohort, seeded_entropy

from p2pfl_crypto.masks import Mask, MaskStreams
from p2pfl_gossip.masked_sum.jobs import MaskChunk, perform


def main() -> None:
    """Mask once; print figures as JSON."""
    spec = json.loads(sys.argv[1])
    entries, members = spec["entries"], spec["members"]
    cohort, _ = make_cohort(members, entries)
    entropy = seeded_entropy("member")
    values = np.empty(entries, np.float32)
    random = np.random.default_rng(1)
    for start in range(0, entries, 2**20):  # Drawing all at once would take the peak for itself.
        part = values[start : start + 2**20]
        part[:] = random.normal(0, 1, len(part))
    streams = MaskStreams([Mask(entropy(32)) for _ in range(members)])
    settle()
    before_mb = resident_memory_mb()
    clock = Clock()
    kept = []
    for chunk in range(cohort.chunk_count):
        job = MaskChunk(
            encoding=cohort.encoding,
            entries=values[cohort.entries_of(chunk)],
            weight=50.0,
            rounding_key=entropy(32),
            streams=streams,
            tau2=bytes(32),
            rank=0,
            chunk=chunk,
        )
        result = perform(job)
        if spec["keep"]:
            kept.append(result)
    peak_mb = peak_memory_mb()
    give(
        {
            **clock.figures(),
            "chunks": cohort.chunk_count,
            "vector_mb": values.nbytes / 1e6,
            "extra_vectors": (peak_mb - before_mb) * 1e6 / values.nbytes,
            "peak_mb": peak_mb,
        }
    )


if __name__ == "__main__":
    main()
