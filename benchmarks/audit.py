"""What an audit of a masked sum costs a member: processor time and bytes.

    ./scripts/bench audit
    ./scripts/bench audit --members 16 --entries 1000000

The jobs of one member are the real ones, with proofs of all others. Fails if a member takes more
than 0.3, 0.4 or 0.7 s of a processor, or sends more than 0.3, 0.5 or 2 MB, at 16, 32 or 128 members
and a million parameters.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from measuring import describe, machine, table
from options import at_least, positive

from p2pfl_crypto.audit.curve import multiply_base
from p2pfl_crypto.audit.shortness import prove
from p2pfl_crypto.audit.sketch import sketch_of
from p2pfl_crypto.encoding import DeltaEncoding, shrink
from p2pfl_crypto.identity import Identity
from p2pfl_crypto.shamir import GROUP_ORDER, entropy_bytes_for, scalar_of, share_secrets
from p2pfl_crypto.statements import sign_statement, verify_statement
from p2pfl_gossip import wire
from p2pfl_gossip.masked_sum.audit_jobs import (
    AuditedSum,
    CheckProofs,
    OwnInput,
    ProofsChecked,
    ShownBy,
    Sketched,
    SketchRound,
    TossCoin,
    Tossed,
    bound_of,
)
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.masked_sum.messages import AuditProof, Coin, SumsSeen

CPU_S_MOST = {16: 0.3, 32: 0.4, 128: 0.7}
MB_MOST = {16: 0.3, 32: 0.5, 128: 2.0}
AUDITED = AuditedSum(b"s" * 32, b"b" * 32, b"d" * 32)
REPETITIONS = 5

T = TypeVar("T")


def timed(call: Callable[[], T], repetitions: int = REPETITIONS) -> tuple[T, float]:
    """Return what a call gives, and its least processor time."""
    best = float("inf")
    for _ in range(repetitions):
        start = time.process_time()
        result = call()
        best = min(best, time.process_time() - start)
    return result, best


def measure(members: int, entries: int) -> tuple[float, float, tuple[str, ...]]:
    """Measure one member's part; return seconds, megabytes and a row of the table."""
    rng = np.random.default_rng(0)
    encoding = DeltaEncoding(members, 1.0, 1.0)
    threshold = threshold_of(members)
    parts = [slice(start, min(start + 2**20, entries)) for start in range(0, entries, 2**20)]

    coins = [scalar_of(rng.bytes(64)) for _ in range(members)]
    xs = range(1, members + 1)
    entropy = rng.bytes(members * entropy_bytes_for(threshold))
    dealt, deal_s = timed(
        lambda: share_secrets(coins[:1], threshold, xs, entropy[: entropy_bytes_for(threshold)])
    )
    held = {
        x: (sum(int.from_bytes(of[x - 1], "little") for of in dealt * members) % GROUP_ORDER)
        for x in list(xs)[:threshold]
    }
    points = tuple(multiply_base(int.from_bytes(coins[0], "little")) for _ in coins)
    toss = TossCoin(
        AUDITED, threshold, {x: share.to_bytes(32, "little") for x, share in held.items()}, points
    )
    tossed, toss_s = timed(lambda: perform(toss))
    assert isinstance(tossed, Tossed)
    assert tossed.seed

    update, _ = shrink(rng.normal(size=entries).astype(np.float32), 1.0)
    bodies = [
        encoding.encode_body(update[it], 1.0, b"r" * 32, at)[0] for at, it in enumerate(parts)
    ]
    totals = tuple(enumerate(body * np.uint32(members) for body in bodies))
    signed = ((at, body.view(np.int32)) for at, body in enumerate(bodies))
    sketch = sketch_of(tossed.seed, signed).tolist()
    blindings = [int.from_bytes(rng.bytes(32), "little") for _ in range(members - 1)]
    blindings.append(-sum(blindings))
    bound = bound_of(encoding, 1.0, entries)
    own = OwnInput(
        encoding=encoding,
        parts=tuple((at, update[it]) for at, it in enumerate(parts)),
        weight=1.0,
        rounding_key=b"r" * 32,
        bound=bound,
        blinding=(blindings[0] % GROUP_ORDER).to_bytes(32, "little"),
        entropy=os.urandom(32),
        rank=0,
    )
    job = SketchRound(AUDITED, tossed.seed, totals, own)
    sketched, sketch_s = timed(lambda: perform(job))
    assert isinstance(sketched, Sketched)

    shown = [ShownBy(0, sketched.commitment, sketched.proof, bound)]
    for rank in range(1, members):
        context = AUDITED.context(tossed.seed, rank)
        made = prove(context, bound, sketch, blindings[rank], os.urandom(32))
        shown.append(ShownBy(rank, *made, bound))
    check = CheckProofs(AUDITED, tossed.seed, tuple(shown), sketched.sum_sketch, os.urandom(32))
    checked, check_s = timed(lambda: perform(check), 3)
    assert isinstance(checked, ProofsChecked)
    assert checked.opens
    assert not checked.invalid

    identity = Identity(bytes(32))
    signature = sign_statement(identity, b"seen", 0, AUDITED.session, AUDITED.sums)
    _, one_s = timed(
        lambda: verify_statement(
            identity.public_key, b"seen", 0, signature, AUDITED.session, AUDITED.sums
        )
    )
    signatures_s = 2 * (members - 1) * one_s
    messages = (
        SumsSeen(AUDITED.session, 0, AUDITED.ballot, AUDITED.sums, bytes(64)),
        Coin(AUDITED.session, AUDITED.sums, bytes(32)),
        AuditProof(
            AUDITED.session,
            0,
            AUDITED.ballot,
            AUDITED.sums,
            tossed.seed,
            sketched.commitment,
            sketched.proof,
            bytes(64),
        ),
    )
    said = sum(len(wire.encode(message)) for message in messages)
    header = 32 + 32 * members + 32  # The point, the digests of shares, and the sealed share.
    megabytes = (members - 1) * (said + header) / 1e6
    total_s = deal_s + toss_s + sketch_s + check_s + signatures_s
    rest_s = deal_s + toss_s + signatures_s
    row = (
        f"{members}",
        f"{entries:,}",
        f"{sketch_s * 1e3:.0f} ms",
        f"{check_s * 1e3:.0f} ms",
        f"{rest_s * 1e3:.0f} ms",
        f"{total_s:.2f} s",
        f"{megabytes:.2f} MB",
    )
    return total_s, megabytes, row


def main() -> int:
    """Measure; return 1 if it costs more than it may."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=at_least(5), nargs="+", default=[16, 32, 128])
    parser.add_argument("--entries", type=positive, default=1_000_000)
    arguments = parser.parse_args()
    rows, is_within = [], True
    for members in arguments.members:
        total_s, megabytes, row = measure(members, arguments.entries)
        is_within &= total_s <= CPU_S_MOST.get(members, float("inf"))
        is_within &= megabytes <= MB_MOST.get(members, float("inf"))
        rows.append(row)
    print(describe(machine()))
    heads = ("members", "parameters", "sketch, prove", "check", "rest", "in all", "sent")
    print(table(heads, rows))
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
