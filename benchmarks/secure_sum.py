"""Measures masked sums: parts, one member's work, whole sessions, Flower's SecAgg+ beside.

    ./scripts/bench secure-sum [--only PART ...] [--save] [--before COMMIT]

Parts: ``masks`` (one thread, two, and two processes), ``parts`` (the rest of a member's work),
``memory`` (25M parameters), ``sessions`` (8 to 100 members at 1M parameters), ``entries`` (one
member's work up to 100M parameters), ``flower``. `--save` writes figures and plots. With
``--before`` an earlier commit of ours takes turns in ``sessions`` and ``entries``, and ratios are
told.

CPU seconds are a process's, of all its members together; a member's are that divided by n. Rates
depend on the processor and on what else it does, so the rate of bare key stream, which bounds the
masks, is taken in the same process and shown beside.
"""

import argparse
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from earlier import Earlier, add_before, earlier_code, ratios
from environments import NotInstallable, python_of
from measuring import (
    ROOT,
    Failed,
    Figures,
    describe,
    machine,
    run_apart,
    save,
    table,
    take_turns,
)
from options import positive
from plotting import Growth, draw_growth

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.hashing import body_digest
from p2pfl_crypto.identity import Identity, verify
from p2pfl_crypto.masks import BLOCK_BYTES, KeyStream, Mask, MaskStreams
from p2pfl_crypto.shamir import Rebuilder, entropy_bytes_for, scalar_of, share_secrets

SIDES = Path(__file__).resolve().parent / "sides"
IMAGES = ROOT / "docs" / "images"
PARTS = ("masks", "parts", "memory", "sessions", "entries", "flower")
REPEATS = 9
SHORT_REPETITIONS = 5  # Of what takes less than a second.
COMPARED = {"cpu_s": "CPU seconds", "peak_mb": "peak memory"}
ENTRIES = 1_000_000
SESSION_SIZES = (8, 16, 32, 64, 100)
ENTRY_COUNTS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
FLOWER = {"clients": 100, "shares": 21, "threshold": 14, "dropped": 10, "entries": ENTRIES}


def seconds(job: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Least seconds of a few runs: what others do on the machine only adds."""
    took = []
    for _ in range(REPEATS):
        started = clock()
        job()
        took.append(clock() - started)
    return min(took)


def bare() -> None:
    """64 blocks of bare key stream."""
    room, stream = memoryview(bytearray(BLOCK_BYTES)), KeyStream(bytes(32), 0)
    for _ in range(64):
        stream.fill(room)


def in_turn(*jobs: Callable[[], object]) -> None:
    """Do jobs one after the other."""
    for job in jobs:
        job()


def at_once(kind: Any, *jobs: Callable[[], object]) -> None:
    """Do jobs at the same time, on threads or in processes."""
    workers = [kind(target=job) for job in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def processes_speedup() -> float:
    """How much more bare key stream two processes do than one: what the machine gives just now."""
    fork = multiprocessing.get_context("fork").Process

    def long() -> None:
        for _ in range(10):
            bare()

    return 2 * seconds(lambda: at_once(fork, long)) / seconds(lambda: at_once(fork, long, long))


def bench_masks() -> Figures:
    """Masks of 1M parameters on one thread and on two, beside bare key stream and two processes."""
    rows = []
    halves = [np.zeros(ENTRIES // 2, np.uint32) for _ in range(2)]
    for count in (8, 32, 100):
        keys = [bytes([i]) * 32 for i in range(count)]
        streams = [MaskStreams([Mask(key) for key in keys]) for _ in halves]
        jobs = [partial(streams[chunk].add, halves[chunk], chunk) for chunk in range(2)]
        bare_rate = 64 * BLOCK_BYTES / seconds(bare, time.process_time)
        rate = 4 * ENTRIES * count / seconds(partial(in_turn, *jobs), time.process_time)
        one_s = seconds(partial(in_turn, *jobs))
        threads_s = seconds(partial(at_once, threading.Thread, *jobs))
        rows.append(
            {
                "masks": count,
                "ms": one_s * 1e3,
                "gb_s": rate / 1e9,
                "bare_gb_s": bare_rate / 1e9,
                "threads_ms": threads_s * 1e3,
                "threads_speedup": one_s / threads_s,
                "processes_speedup": processes_speedup(),
            }
        )
    head = (
        "masks",
        "1 thread, ms",
        "GB/CPU s",
        "bare",
        "of bare",
        "2 threads, ms",
        "x",
        "2 procs, x",
    )
    print(
        table(
            head,
            [
                (
                    row["masks"],
                    f"{row['ms']:.1f}",
                    f"{row['gb_s']:.2f}",
                    f"{row['bare_gb_s']:.2f}",
                    f"{row['gb_s'] / row['bare_gb_s']:.0%}",
                    f"{row['threads_ms']:.1f}",
                    f"{row['threads_speedup']:.2f}",
                    f"{row['processes_speedup']:.2f}",
                )
                for row in rows
            ],
        )
    )
    return {"rows": rows}


def bench_parts() -> Figures:
    """The other parts of a member's work, in CPU milliseconds."""
    encoding = Encoding(16, 8.0, 1.0)
    values = np.random.default_rng(1).normal(0, 1, ENTRIES).astype(np.float32)
    out = np.empty(ENTRIES, np.uint32)
    identity = Identity(bytes(32))
    signature = identity.sign(bytes(32))
    jobs: dict[str, Callable[[], object]] = {
        "encode 1M entries": lambda: encoding.encode(out, values, 0.5, bytes(32), 0),
        "decode 1M entries": lambda: encoding.decode(out, 2**27),
        "digest of 4 MB": lambda: body_digest(out.data),
        "check one signature": lambda: verify(identity.public_key, bytes(32), signature),
    }
    random = np.random.default_rng(2)
    for n in (16, 100):
        threshold = 2 * n // 3 + 1
        secrets, xs = [scalar_of(random.bytes(64)) for _ in range(2)], range(1, n + 1)
        entropy = random.bytes(2 * entropy_bytes_for(threshold))
        dealt, _ = share_secrets(secrets, threshold, xs, entropy)
        held = dict(zip(xs[:threshold], dealt, strict=False))

        def share(
            s: list[bytes] = secrets, t: int = threshold, x: range = xs, e: bytes = entropy
        ) -> None:
            share_secrets(s, t, x, e)

        def rebuild(n: int = n, t: int = threshold, held: dict[int, bytes] = held) -> None:
            Rebuilder.of(held, t).rebuild_all([held] * n)

        jobs[f"share two secrets, n = {n}, t = {threshold}"] = share
        jobs[f"rebuild {n} secrets, t = {threshold}"] = rebuild
    took = {name: 1e3 * seconds(job, time.process_time) for name, job in jobs.items()}
    print(table(("part", "CPU ms"), [(name, f"{ms:.2f}") for name, ms in took.items()]))
    return {"ms": took}


def member(spec: dict[str, Any], earlier: Earlier | None = None) -> Figures:
    """Mask one member's vector in a process of its own, by the code as it is or as it was."""
    return _apart("masked_member.py", spec, earlier)


def session(spec: dict[str, Any], earlier: Earlier | None = None) -> Figures:
    """Run one whole session in a process of its own, by the code as it is or as it was."""
    return _apart("masked_session.py", spec, earlier)


def _apart(name: str, spec: dict[str, Any], earlier: Earlier | None) -> Figures:
    if earlier is None:
        return run_apart(SIDES / name, [json.dumps(spec)])
    script, environment = earlier.script(f"sides/{name}"), earlier.environment
    return run_apart(script, [json.dumps(spec)], environment=environment)


def in_turns(
    run: Callable[..., Figures],
    specs: dict[str, dict[str, Any]],
    repetitions: int,
    earlier: Earlier | None,
) -> dict[str, list[Figures]]:
    """Run all specifications in turns, and by earlier code if there is any; tell the ratios."""
    contestants: dict[str, Callable[[], Figures]] = {}
    for name, spec in specs.items():
        contestants[name] = partial(run, spec)
        if earlier is not None:
            contestants[earlier.label(name)] = partial(run, spec, earlier)
    taken = take_turns(contestants, repetitions)
    if earlier is not None:
        print(ratios(taken, earlier, COMPARED), end="\n\n")
    return {name: runs for name, runs in taken.items() if name in specs}


def bench_memory() -> Figures:
    """Peak memory beside the vector while 25M parameters are masked for 16 members."""
    rows = {
        name: member({"entries": 25_000_000, "members": 16, "keep": keep})
        for keep, name in (
            (True, "all masked chunks kept"),
            (False, "each chunk dropped once masked"),
        )
    }
    print(
        table(
            (
                "25M parameters, 16 masks",
                "extra memory, vectors",
                "peak of the process, MB",
                "CPU s",
            ),
            [
                (name, f"{r['extra_vectors']:.2f}", f"{r['peak_mb']:.0f}", f"{r['cpu_s']:.2f}")
                for name, r in rows.items()
            ],
        )
    )
    return rows


def middle(runs: Sequence[Figures]) -> Figures:
    """Return the run that took the median of processor time; of an even count the lesser one."""
    return sorted(runs, key=lambda run: float(run["cpu_s"]))[(len(runs) - 1) // 2]


def floor_ms(members: int, bare_gb_s: float, parts: Figures) -> float:
    """CPU time of a member at 1M that no driver saves: key streams, hashes, checks, encoding.

    n masks, one stream of rounding bits, and two vectors' worth of unmasking as one of two owners;
    own chunks, received chunks twice, and sums hashed; about 7n signatures.
    """
    streams_ms = (members + 3) * 4 * ENTRIES / bare_gb_s / 1e6
    ms = parts["ms"]
    hashes_ms = 4 * ms["digest of 4 MB"]
    coding_ms = ms["encode 1M entries"] + ms["decode 1M entries"]
    return float(streams_ms + hashes_ms + 7 * members * ms["check one signature"] + coding_ms)


def bench_sessions(
    parts: Figures, sizes: Sequence[int], repetitions: int, earlier: Earlier | None
) -> Figures:
    """Whole sessions at 1M parameters, without and with a tenth dropped."""
    specs = {
        f"{members} members, {dropped} dropped": {
            "members": members,
            "entries": ENTRIES,
            "dropped": dropped,
        }
        for members in sizes
        for dropped in (0, max(1, members // 10))
    }
    rows = []
    for name, runs in in_turns(session, specs, repetitions, earlier).items():
        row = {"members": specs[name]["members"], **middle(runs)}
        row["floor_ms"] = floor_ms(row["members"], row["bare_gb_s"], parts)
        rows.append(row)
    head = (
        "n", "dropped", "CPU ms a member", "floor", "bare GB/s", "MB sent a member", "in the mean",
        "with the mean", "chunks kept", "peak MB, all members",
    )  # fmt: skip
    print(
        table(
            head,
            [
                (
                    r["members"],
                    r["dropped"],
                    f"{1e3 * r['member_s']:.0f}",
                    f"{r['floor_ms']:.0f}",
                    f"{r['bare_gb_s']:.2f}",
                    f"{r['sent_mb']:.1f}",
                    r["in_mean"],
                    r["with_mean"],
                    r["kept"],
                    f"{r['peak_mb']:,.0f}",
                )
                for r in rows
            ],
        )
    )
    return {"rows": rows}


def bench_entries(counts: Sequence[int], repetitions: int, earlier: Earlier | None) -> Figures:
    """One member's encoding, masking and hashing, 16 members, over the length of the vector."""
    rows = []
    short = [entries for entries in counts if entries <= ENTRIES]
    for some in filter(None, (short, counts[len(short) :])):
        specs = {
            f"{entries:,} parameters": {"entries": entries, "members": 16, "keep": False}
            for entries in some
        }
        times = max(repetitions, SHORT_REPETITIONS if some is short else 1)
        for name, runs in in_turns(member, specs, times, earlier).items():
            fastest = min(runs, key=lambda run: float(run["cpu_s"]))
            rows.append({"entries": specs[name]["entries"], **fastest})
    print(
        table(
            ("parameters, 16 masks", "chunks", "CPU ms", "ns a parameter", "extra MB"),
            [
                (
                    f"{r['entries']:,}",
                    r["chunks"],
                    f"{1e3 * r['cpu_s']:,.1f}",
                    f"{1e9 * r['cpu_s'] / r['entries']:.1f}",
                    f"{r['extra_vectors'] * r['vector_mb']:.0f}",
                )
                for r in rows
            ],
        )
    )
    return {"rows": rows}


def bench_flower(sessions: list[Figures]) -> Figures:
    """Flower's SecAgg+ for 100 clients, beside ours with as many neighbours, and with all 99."""
    flower = run_apart(
        SIDES / "flower_secaggplus.py", [json.dumps(FLOWER)], python=python_of("flower-secagg")
    )
    small = session({"members": 22, "entries": ENTRIES, "dropped": 2})
    same = [row for row in sessions if (row["members"], row["dropped"]) == (100, 10)]
    of_100 = {"members": 100, "entries": ENTRIES, "dropped": 10}
    large = same[0] if same else session(of_100)
    rows = [
        (
            "Flower 1.42, SecAgg+, 100 clients, 20 neighbours each",
            f"{flower['clients_s']:.1f}",
            f"{flower['server_s']:.1f}",
            f"{flower['clients_s'] + flower['server_s']:.1f}",
            f"{flower['client_s']:.2f}",
            f"{flower['sent_mb']:.1f}",
        )
    ]
    for name, r, n in (("cohorts of 22", small, 22), ("one cohort of 100", large, 100)):
        total = 100 * r["member_s"]
        figures = (
            f"{total:.1f}",
            "none",
            f"{total:.1f}",
            f"{r['member_s']:.2f}",
            f"{r['sent_mb']:.1f}",
        )
        rows.append((f"ours, {name}, {n - 1} neighbours each", *figures))
    head = (
        "1M parameters, 10% dropped", "CPU s, 100 members", "CPU s, server", "CPU s, all",
        "CPU s, one member", "MB sent a member",
    )  # fmt: skip
    print(table(head, rows))
    return {"flower": flower, "cohorts of 22": small, "one cohort of 100": large}


def plot(figures: Figures) -> None:
    """Draw how the work grows."""
    if "sessions" in figures:
        rows = figures["sessions"]["rows"]
        curves = [
            Growth(
                name,
                light,
                dark,
                [
                    (r["members"], 1e3 * r[key] if key == "member_s" else r[key])
                    for r in rows
                    if r["dropped"]
                ],
            )
            for name, key, light, dark in (
                ("a member", "member_s", "#0969da", "#58a6ff"),
                ("floor", "floor_ms", "#8250df", "#bc8cff"),
            )
        ]
        svg = draw_growth(
            curves,
            title="A masked sum of 1M parameters, by the size of the cohort",
            subtitle="CPU ms of a member, a tenth dropped; floor: ciphers, hashes, checks, coding",
            x_label="members",
        )
        (IMAGES / "masked-sum-members.svg").write_text(svg)
    if "entries" in figures:
        rows = figures["entries"]["rows"]
        points = [(r["entries"], 1e3 * r["cpu_s"]) for r in rows]
        svg = draw_growth(
            [Growth("encode, mask, hash", "#0969da", "#58a6ff", points)],
            title="Masking a vector, by its length",
            subtitle="CPU milliseconds of one of 16 members, chunk by chunk",
            x_label="parameters",
        )
        (IMAGES / "masked-sum-parameters.svg").write_text(svg)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument(
        "--quick", action="store_true", help="sessions of 16, vectors of 1M at most"
    )
    parser.add_argument("--repetitions", type=positive, default=1, help="of sessions and entries")
    parser.add_argument("--save", action="store_true", help="write figures and plots")
    add_before(parser)
    arguments = parser.parse_args()
    if arguments.quick and arguments.save:
        parser.error("what --quick gives is not saved")
    print(describe(machine()), "\n", flush=True)
    with earlier_code(arguments.before) as earlier:
        figures = run_parts(
            arguments.only, arguments.repetitions, earlier, is_quick=arguments.quick
        )
    if arguments.save:
        save("secure_sum", figures)
        plot(figures)


def run_parts(
    only: Sequence[str], repetitions: int, earlier: Earlier | None, *, is_quick: bool
) -> Figures:
    """Run parts, and what they need of others; return their figures."""
    sizes = [it for it in SESSION_SIZES if it <= 16] if is_quick else SESSION_SIZES
    counts = [it for it in ENTRY_COUNTS if it <= ENTRIES] if is_quick else ENTRY_COUNTS
    figures: Figures = {}
    for part in PARTS:
        if part not in only and not (part == "parts" and "sessions" in only):
            continue
        try:
            match part:
                case "masks":
                    figures[part] = bench_masks()
                case "parts":
                    figures[part] = bench_parts()
                case "memory":
                    figures[part] = bench_memory()
                case "sessions":
                    figures[part] = bench_sessions(figures["parts"], sizes, repetitions, earlier)
                case "entries":
                    figures[part] = bench_entries(counts, repetitions, earlier)
                case "flower":
                    figures[part] = bench_flower(figures.get("sessions", {}).get("rows", []))
        except (NotInstallable, Failed) as error:
            print(f"{part}: {error}")
        print(flush=True)
    return figures


if __name__ == "__main__":
    main()
