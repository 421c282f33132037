"""One peer of the averaging bench with hivemind; as `average_ours.py`.

    python average_hivemind.py INDEX PEERS ENTRIES ROUNDS

Runs in an environment that has hivemind, without this project. Memory and CPU seconds are those of
the process and its children, of which hivemind has several.
"""

import json
import os
import sys
import time
from pathlib import Path

import hivemind
import torch
from hivemind.averaging import DecentralizedAverager


def of_tree(pid: int) -> tuple[float, float]:
    """Peak resident KB (summed) and CPU seconds of a process and all below it."""
    fields: dict[int, list[str]] = {}
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields[int(folder.name)] = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # It has ended meanwhile.
    for number, its in fields.items():
        children.setdefault(int(its[1]), []).append(number)
    peak_kb = cpu_s = 0.0
    todo = [pid]
    while todo:
        number = todo.pop()
        ticks = int(fields[number][11]) + int(fields[number][12])
        cpu_s += ticks / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{number}/status").read_text().splitlines()
        peak_kb += sum(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        todo += children.get(number, [])
    return peak_kb, cpu_s


def main(index: int, peers: int, entries: int, rounds: int) -> None:
    if index == 0:
        dht = hivemind.DHT(host_maddrs=["/ip4/127.0.0.1/tcp/0"], start=True)
        print(str(dht.get_visible_maddrs()[0]), flush=True)
        json.loads(sys.stdin.readline())
    else:
        print(flush=True)
        first = json.loads(sys.stdin.readline())[0]
        dht = hivemind.DHT(host_maddrs=["/ip4/127.0.0.1/tcp/0"], initial_peers=[first], start=True)
    tensor = torch.full((entries,), float(index))
    averager = DecentralizedAverager(
        [tensor],
        dht,
        prefix="bench",
        target_group_size=peers,
        min_matchmaking_time=1.0,
        initial_group_bits="",
        start=True,
    )
    seconds: list[float] = []
    values = []
    while len(seconds) < rounds:
        control = averager.step(wait=False, timeout=120, require_trigger=False)
        # Its time to find partners is not counted: only from then to the averaged tensors.
        while control.stage.name in ("IDLE", "LOOKING_FOR_GROUP") and not control.done():
            time.sleep(0.001)
        began_s = time.perf_counter()
        control.result()
        seconds.append(time.perf_counter() - began_s)
        with averager.get_tensors() as tensors:
            values.append(float(tensors[0][0]))
    peak_kb, cpu_s = of_tree(os.getpid())
    print(
        json.dumps(
            {
                "seconds": seconds,
                "values": values,
                "contributors": peers,
                "before_kb": 0,
                "peak_kb": peak_kb,
                "cpu_s": cpu_s,
            }
        ),
        flush=True,
    )
    sys.stdin.readline()
    averager.shutdown()
    dht.shutdown()


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:5]))
