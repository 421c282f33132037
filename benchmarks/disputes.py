"""What a dispute over a false total costs a member: processor time and bytes.

    ./scripts/bench disputes
    ./scripts/bench disputes --members 16 --entries 1000000

The jobs of one member are the real ones. One liar, which every other member's statement is checked
beside; more liars cost a check of a pair each, at most, and the words that others show of them.
"""

import argparse
import sys
from time import process_time

import numpy as np
from measuring import describe, machine, table
from options import at_least, positive

from p2pfl_crypto.encoding import DeltaEncoding, shrink
from p2pfl_crypto.identity import Identity
from p2pfl_crypto.key_agreement import agreement_secret_of, public_key_of
from p2pfl_crypto.masks import Mask
from p2pfl_gossip import wire
from p2pfl_gossip.actions import Job
from p2pfl_gossip.masked_sum.audit_jobs import OwnInput, bound_of
from p2pfl_gossip.masked_sum.dispute_jobs import (
    CheckPair,
    CheckParts,
    CheckStatement,
    Judged,
    MakeStatement,
    OpenPair,
    PairOpened,
    StatementMade,
)
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    DisputeStatement,
    PairShown,
    StatementsHeld,
)
from p2pfl_gossip.records import Record

SCALARS = [bytes([number, 1]) + bytes(30) for number in range(128)]


def timed(job: Job) -> tuple[Record, float]:
    """Return what comes of a job, and its processor time."""
    start = process_time()
    result = perform(job)
    return result, process_time() - start


def cohort_of(members: int, entries: int) -> EpochCohort:
    """Make a group whose only use is where its chunks lie, and who owns them."""
    people = [Identity(number.to_bytes(32, "little")) for number in range(1, members + 1)]
    return EpochCohort(
        group=b"bench",
        epoch=0,
        charter=bytes(32),
        round=1,
        members=tuple(person.peer_id for person in people),
        weights=(1.0,) * members,
        vector_entries=entries,
        clip=1.0,
        leaders=tuple(range(members)),
        audit=True,
        names=True,
    )


def measure(members: int, entries: int) -> tuple[str, ...]:
    """Measure one member's part of a dispute; return a row of the table."""
    cohort, rng = cohort_of(members, entries), np.random.default_rng(0)
    ranks = tuple(range(members))
    slices = [cohort.entries_of(chunk) for chunk in range(cohort.chunk_count)]
    layout = tuple((chunk, int(it.stop) - int(it.start)) for chunk, it in enumerate(slices))
    update, _ = shrink(rng.normal(size=entries).astype(np.float32), 1.0)
    encoding = DeltaEncoding(members, 1.0, 1.0)
    own = OwnInput(
        encoding=encoding,
        parts=tuple((chunk, update[it]) for chunk, it in enumerate(slices)),
        weight=1.0,
        rounding_key=b"r" * 32,
        bound=bound_of(encoding, 1.0, entries),
        blinding=bytes(32),
        entropy=b"e" * 32,
        rank=0,
    )
    keys = [public_key_of(agreement_secret_of(scalar)) for scalar in SCALARS[:members]]
    draft = DisputeStatement(
        session=cohort.session,
        member=0,
        ballot=b"b" * 32,
        sums=b"d" * 32,
        seed=b"s" * 32,
        tau1=b"1" * 32,
        tau2=b"2" * 32,
        members=cohort.pack(ranks),
        keys=b"".join(keys),
        commitments=bytes(32 * members),
        possession=b"",
        sketch=b"",
        lifts=b"",
        points=b"",
        parts=b"",
        signature=bytes(64),
    )
    pairs = {rank: bytes([rank]) * 32 for rank in ranks[1:]}
    make = MakeStatement(draft, layout, own, ranks, pairs, SCALARS[0], b"e" * 32)
    made, make_s = timed(make)
    assert isinstance(made, StatementMade)
    said = made.statement
    # Whether it holds is of no importance for what it costs.
    _, check_s = timed(CheckStatement(said, ranks, said.points[32:64]))
    owned = cohort.owned_by(0, ranks) or (0,)
    words = {chunk: rng.integers(0, 2**32, layout[chunk][1], np.uint32) for chunk in owned}
    _, parts_s = timed(CheckParts(said, layout, words, (Mask(b"m" * 32),)))
    opened, open_s = timed(OpenPair(SCALARS[0], keys[0], keys[1], b"context", b"e" * 32))
    assert isinstance(opened, PairOpened)
    pair = CheckPair(
        opened=opened.opened,
        own_key=keys[0],
        other_key=keys[1],
        context=b"context",
        ranks=(0, 1),
        seed=draft.seed,
        tau1=draft.tau1,
        tau2=draft.tau2,
        layout=layout,
    )
    judged, pair_s = timed(pair)
    assert isinstance(judged, Judged)
    assert judged.holds
    others = members - 1
    total_s = make_s + others * (check_s + parts_s) + open_s + pair_s
    messages = (
        said,
        StatementsHeld(cohort.session, bytes(32 * members)),
        StatementsHeld(cohort.session, bytes(32 * members)),
        PairShown(cohort.session, 0, 1, opened.opened),
        Accusation(cohort.session, 0, 1, 0, bytes(64)),
    )
    sent = others * sum(len(wire.encode(message)) for message in messages)
    return (
        f"{members}",
        f"{entries:,}",
        f"{make_s:.2f} s",
        f"{others * check_s:.2f} s",
        f"{others * parts_s:.2f} s",
        f"{1e3 * (open_s + pair_s):.0f} ms",
        f"{total_s:.1f} s",
        f"{sent / 1e6:.2f} MB",
    )


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=at_least(5), nargs="+", default=[16, 32, 128])
    parser.add_argument("--entries", type=positive, default=1_000_000)
    arguments = parser.parse_args()
    rows = [measure(members, arguments.entries) for members in arguments.members]
    print(describe(machine()))
    heads = ("members", "parameters", "own statement", "others' statements", "their words")
    print(table((*heads, "a pair", "in all", "sent"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
