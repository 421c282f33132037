"""Measures masked sums: masks alone, and whole sessions of the machine in one process.

    ./scripts/bench secure-sum                      # masks, and the tables' small rows
    ./scripts/bench secure-sum --sessions 16x1e6 100x1e6
    ./scripts/bench secure-sum --memory 25e6

CPU seconds are the process's, of all members together; a member's are that divided by n. They
include the driver in memory and the encoding of all frames, not the copying of bodies by a network.
Rates depend on the processor, so each stands beside the rate of the bare ChaCha20 stream, which
bounds it.
"""

import argparse
import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "masked_sum"))

from session_driver import SessionDriver, make_cohort, seeded_entropy
from session_faults import CrashIn

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity, verify
from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream, Mask, MaskStreams, add_masks
from p2pfl_crypto.shamir import Rebuilder, entropy_bytes_for, scalar_of, share_secrets
from p2pfl_gossip.masked_sum.jobs import MaskChunk, perform
from p2pfl_gossip.masked_sum.phases import Phase

ENTROPY = seeded_entropy("bench")
REPEATS = 7


def median_s(job: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        started = clock()
        job()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def bench_masks() -> None:
    """Masks of 1M parameters, beside the bare key stream."""
    entries = 1_000_000
    accumulator = np.zeros(entries, np.uint32)
    room = memoryview(bytearray(BLOCK_BYTES))

    def bare() -> None:
        stream = KeyStream(bytes(32), 0)
        for _ in range(64):
            stream.fill(room)

    print("| masks | 1 thread, ms | GB/CPU s | share of bare ChaCha20 | 2 threads, ms | speed-up |")
    print("|---|---|---|---|---|---|")
    for count in (8, 32, 100):
        bare_rate = 64 * BLOCK_BYTES / median_s(bare, time.process_time)
        masks = [Mask(ENTROPY(32)) for _ in range(count)]
        one_s = median_s(lambda masks=masks: add_masks(accumulator, masks, 0))  # type: ignore[misc]

        def both(masks: list[Mask] = masks) -> None:
            halves = (accumulator[: entries // 2], accumulator[entries // 2 :])
            threads = [
                threading.Thread(target=add_masks, args=(half, masks, chunk))
                for chunk, half in enumerate(halves)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        two_s = median_s(both)
        cpu_s = median_s(lambda masks=masks: add_masks(accumulator, masks, 0), time.process_time)  # type: ignore[misc]
        rate = 4 * entries * count / cpu_s  # By CPU time, as is the bare rate.
        print(
            f"| {count} | {one_s * 1e3:.1f} | {rate / 1e9:.2f} | {rate / bare_rate:.0%}"
            f" | {two_s * 1e3:.1f} | {one_s / two_s:.2f} |"
        )


def bench_parts() -> None:
    """The other parts of a member's work, in CPU milliseconds."""
    entries = 1_000_000
    encoding = Encoding(16, 8.0, 1.0)
    values = np.random.default_rng(1).normal(0, 1, entries).astype(np.float32)
    out = np.empty(entries, np.uint32)
    identity = Identity(bytes(32))
    signature = identity.sign(bytes(32))
    rows: list[tuple[str, Callable[[], object]]] = [
        ("encode 1M entries", lambda: encoding.encode(out, values, 0.5, bytes(32), 0)),
        ("decode 1M entries", lambda: encoding.decode(out, 2**27)),
        ("BLAKE2b-256 of 4 MB", lambda: hash_parts(b"p2pfl/bench", out.data)),
        ("verify one Ed25519 signature", lambda: verify(identity.public_key, bytes(32), signature)),
    ]
    for n in (16, 100):
        threshold = 2 * n // 3 + 1
        secrets, xs = [scalar_of(ENTROPY(64)) for _ in range(2)], range(1, n + 1)
        entropy = ENTROPY(2 * entropy_bytes_for(threshold))
        dealt, _ = share_secrets(secrets, threshold, xs, entropy)
        shares = dict(zip(xs, dealt, strict=True))

        def share(
            s: list[bytes] = secrets, t: int = threshold, x: range = xs, e: bytes = entropy
        ) -> None:
            share_secrets(s, t, x, e)

        def rebuild(t: int = threshold, shares: dict[int, bytes] = shares) -> None:
            Rebuilder.of(list(shares)[:t], t).rebuild_all([shares] * len(shares))

        rows.append((f"share two secrets, n={n}, t={threshold}", share))
        rows.append((f"rebuild {n} secrets, t={threshold}", rebuild))
    print("\n| part | CPU ms |\n|---|---|")
    for name, job in rows:
        print(f"| {name} | {median_s(job, time.process_time) * 1e3:.2f} |")


def bench_session(n: int, entries: int, dropped: int) -> None:
    """One session: CPU of each member, bytes sent, and whether the sum is exact."""
    cohort, people = make_cohort(n, entries)
    values = np.random.default_rng(n).normal(0, 1, entries).astype(np.float32)
    phases = (Phase.AGREE, Phase.CHUNK, Phase.VOTE)
    crash = CrashIn({(7 * k + 3) % n: (phases[k % 3], n + k) for k in range(dropped)})
    driver = SessionDriver(
        cohort, people, 1, vectors=[values] * n, keeps_bodies=False, before=crash
    )
    started = time.process_time()
    driver.run()
    member_s = (time.process_time() - started) / n
    outcomes = driver.check_exact() if entries <= 2_000_000 else driver.summed()
    kept = max((len(outcome.kept) for outcome in outcomes.values()), default=0)
    sent = statistics.median(driver.sent_bytes.values())
    members = {len(outcome.members) for outcome in outcomes.values()}
    print(
        f"| {n} | {entries:,} | {dropped} | {member_s * 1e3:.0f} | {sent / 1e6:.1f}"
        f" | {sent / (4 * entries):.2f} | {len(outcomes)} | {members} | {kept} |",
        flush=True,
    )


def bench_memory(entries: int) -> None:
    """Peak memory beside the vector while all of it is masked and kept until sent."""
    cohort, _ = make_cohort(16, entries)
    values = np.zeros(entries, np.float32)
    streams = MaskStreams([Mask(ENTROPY(32)) for _ in range(16)])
    tracemalloc.start()
    started = time.process_time()
    bodies = []
    for chunk in range(cohort.chunk_count):
        part = values[cohort.entries_of(chunk)]
        job = MaskChunk(
            encoding=cohort.encoding,
            entries=part,
            weight=1.0,
            rounding_key=bytes(32),
            streams=streams,
            tau2=bytes(32),
            rank=0,
            chunk=chunk,
        )
        bodies.append(perform(job))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"\n{entries:,} parameters, 16 masks: peak {peak / values.nbytes:.3f} vectors beside the"
        f" vector, all masked chunks kept; {time.process_time() - started:.2f} CPU seconds"
    )


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", nargs="*", default=["8x1e6", "16x1e6"], metavar="NxD")
    parser.add_argument("--dropped", type=int, default=3)
    parser.add_argument("--memory", type=float, default=4e6)
    parser.add_argument("--only-sessions", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_sessions:
        bench_masks()
        bench_parts()
        bench_memory(int(arguments.memory))
    print(
        "\n| n | parameters | dropped | CPU ms a member | MB sent a member | vectors sent"
        " | members with the mean | in the mean | chunks kept |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for session in arguments.sessions:
        n, entries = session.split("x")
        for dropped in dict.fromkeys((0, min(arguments.dropped, int(n) // 3 - 1))):
            bench_session(int(n), int(float(entries)), dropped)


if __name__ == "__main__":
    main()
