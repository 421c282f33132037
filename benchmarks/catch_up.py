"""Fetches a model from several holders by chunks, beside one plain fetch, over real links.

    ./scripts/bench catch-up                # 100 MB over loopback, then with 100 ms round trips
    ./scripts/bench catch-up --entries 250e6 --only four

Each holder is a process of its own, with the links of a daemon. The two ways take turns in one run,
over links that stand: `plain` is one body from one holder, of which nothing is checked; `chunks` is
the ledger's fetch from all of them. A liar's chunks are all false; a staller says what it has and
brings nothing. Processor seconds are those of all processes, the relay's apart.
"""

import argparse
import contextlib
import os
import statistics
from pathlib import Path

from measuring import Figures, describe, machine
from options import non_negative, positive
from talking import Talker

SIDES = Path(__file__).parent / "sides"
CONTESTS = {
    "one": ["honest"],
    "two": ["honest"] * 2,
    "four": ["honest"] * 4,
    "two, a liar, a staller": ["liar", "staller", "honest", "honest"],
}
ROUND_TRIP_S = 0.1


def fetch(kinds: list[str], entries: int, repeats: int, round_trip_s: float) -> Figures:
    """Run holders of these kinds and one that fetches; return what it tells."""
    with contextlib.ExitStack() as stack:

        def start(script: str, *words: object) -> Talker:
            return stack.enter_context(Talker(SIDES / script, words))

        holders = [
            start("catch_up_peer.py", place + 1, entries, kind) for place, kind in enumerate(kinds)
        ]
        told = []
        for holder, kind in zip(holders, kinds, strict=True):
            told.append({**holder.hear(), "process": holder.pid, "kind": kind})
        if round_trip_s:
            parts = [it["address"].split("/") for it in told]
            relay = start("slow_link.py", round_trip_s / 2, *(part[4] for part in parts))
            for it, part, port in zip(told, parts, relay.hear(), strict=True):
                it["address"] = "/".join([*part[:4], str(port), *part[5:]])
        fetcher = start("catch_up_peer.py", 0, entries, "fetcher", repeats)
        fetcher.tell(told)
        figures: Figures = fetcher.hear()
        return figures


def main() -> None:
    """Run the contests, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--entries", type=positive, default=25_000_000)
    parser.add_argument("--repeats", type=positive, default=9)
    parser.add_argument("--only", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    parser.add_argument("--round-trips", nargs="+", type=non_negative, default=[0.0, ROUND_TRIP_S])
    arguments = parser.parse_args()
    size_mb, load = 4 * arguments.entries / 1e6, os.getloadavg()[0]
    print(f"{size_mb:g} MB; {describe(machine())}; load {load:.1f}\n")
    print("| holders | round trip | plain, s | chunks, s: median (least - most) | ratio | CPU s |")
    print("|---|---:|---:|---|---:|---|")
    for round_trip_s in arguments.round_trips:
        for name in arguments.only:
            figures = fetch(CONTESTS[name], arguments.entries, arguments.repeats, round_trip_s)
            plain, chunks = (
                [run["seconds"] for run in figures[way]] for way in ("plain", "chunks")
            )
            cpu = [statistics.median(run["cpu_s"] for run in figures[way]) for way in figures]
            ratio = statistics.median(b / a for a, b in zip(plain, chunks, strict=True))
            print(
                f"| {name} | {round_trip_s * 1000:.0f} ms | {statistics.median(plain):.2f}"
                f" | {statistics.median(chunks):.2f} ({min(chunks):.2f} - {max(chunks):.2f})"
                f" | {ratio:.2f} | {cpu[0]:.2f}, {cpu[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
