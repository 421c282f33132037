"""Writes the transcript of one whole session of five members, for other implementations.

    python tests/masked_sum/transcript.py > tests/vectors/masked_sum_session.json

Everything that a member draws follows from its entropy: draw k of member r is the first bytes of
SHAKE-256("5/{r}/0/{k}"). docs/protocol.md describes the fields.
"""

import json
import sys
from typing import Any

import numpy as np
from session_driver import CODEC, SessionDriver, make_cohort

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.masked_sum.messages import Fetch

SEED = 5
VECTORS = [[(rank + 1) * (entry - 3) / 4 for entry in range(12)] for rank in range(5)]
WEIGHTS = [10.0, 20.0, 30.0, 40.0, 50.0]
DROPPED = 4


def run() -> SessionDriver:
    """A session in which member 4 dies once it has sent its first chunk."""
    cohort, people = make_cohort(5, 12)

    def crash(_driver: SessionDriver, rank: int, action: Action) -> bool:
        return rank == DROPPED and isinstance(action, SendBulk)

    vectors = [np.array(vector, np.float32) for vector in VECTORS]
    driver = SessionDriver(cohort, people, SEED, vectors=vectors, weights=WEIGHTS, after=crash)
    return driver.run(until_s=20.0)  # All have ended, and none has dropped what it knows.


def transcript(driver: SessionDriver) -> dict[str, Any]:
    """All that was drawn, derived and said."""
    cohort = driver.cohort
    machine = driver.machines[0]
    frames: dict[str, list[str]] = {}
    for rank, message in driver.said:
        if not isinstance(message, Fetch):
            said = frames.setdefault(type(message).__name__, [])
            line = f"{rank}: {CODEC.encode(message).hex()}"
            if line not in said:
                said.append(line)
    outcome, signed = driver.check_exact()[0], machine.signed
    assert signed is not None
    members = []
    for rank, peer in enumerate(driver.machines[r] for r in range(5)):
        secrets, advert = peer._advertising.secrets, machine._advertising.adverts[rank]
        members.append(
            {
                "identity_seed": driver.people[rank].seed.hex(),
                "vector": VECTORS[rank],
                "weight": WEIGHTS[rank],
                "b": secrets.seed.hex(),
                "s": secrets.mask_scalar.hex(),
                "c": secrets.share_scalar.hex(),
                "rounding": secrets.rounding.hex(),
                "share_key": advert.share_key.hex(),
                "mask_key": advert.mask_key.hex(),
                "shares_received": {
                    str(dealer): share.hex()
                    for dealer, share in sorted(peer._sharing.shares.items())
                },
                "masked_chunks": {
                    str(chunk): bodies[0].hex()
                    for (member, chunk), bodies in sorted(driver.bodies.items())
                    if member == rank
                },
            }
        )
    return {
        "description": "One masked sum of five members; see docs/protocol.md.",
        "generator": "tests/masked_sum/transcript.py",
        "group": cohort.group.hex(),
        "round": cohort.round,
        "attempt": cohort.attempt,
        "vector_entries": cohort.vector_entries,
        "chunk_count": cohort.chunk_count,
        "owner_count": cohort.owner_count,
        "clip": cohort.clip,
        "weight_max": cohort.weight_max,
        "threshold": cohort.threshold,
        "session": cohort.session.hex(),
        "tau1": machine._advertising.tau1.hex(),
        "tau2": machine._agreement.tau2.hex(),
        "ballot": machine._summing._ballot.hex(),
        "members": members,
        "frames": frames,
        "sums": {
            str(chunk): next(
                m._summing._own[chunk].body.tobytes().hex()
                for m in driver.machines.values()
                if chunk in m._summing._own
            )
            for chunk in range(cohort.chunk_count)
        },
        "in_the_mean": [cohort.rank_of(peer) for peer in outcome.members],
        "kept": {str(chunk): why for chunk, why in outcome.kept.items()},
        "mean_of_member_0": outcome.mean.astype("<f4").tobytes().hex(),
        "mean_digest": signed.digest.hex(),
    }


if __name__ == "__main__":
    json.dump(transcript(run()), sys.stdout, indent=1)
    sys.stdout.write("\n")
