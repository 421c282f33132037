"""What was promised is there after a crash at any step: real processes, really killed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import victim
from sampled import sampled

from p2pfl.store.journal import Store
from p2pfl_gossip.actions import Vector

# As many as a whole run takes; a test demands it.
STEPS = 30


def run_victim(folder: Path, die_at: int) -> list[str]:
    """Run it to its death or end; return the lines it printed."""
    ended = subprocess.run(
        [sys.executable, victim.__file__, str(folder), str(die_at)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == (0 if die_at < 0 else -9), ended.stderr
    return ended.stdout.split("\n")[:-1]


def same(records: dict[str, bytes | Vector], others: dict[str, bytes | Vector]) -> bool:
    if records.keys() != others.keys():
        return False
    return all(
        type(value) is type(others[key])
        and np.asarray(value).dtype == np.asarray(others[key]).dtype
        and np.array_equal(value, others[key])
        for key, value in records.items()
    )


def check_and_go_on(folder: Path, kept: int) -> None:
    """Demand the state after `kept` writes or one more, no litter, and a journal that works."""
    states = victim.states()
    with Store.open(folder, vector_length=None) as store:
        records = store.records()
        assert any(same(records, state) for state in states[kept : kept + 2]), (kept, records)
        vectors = sum(not isinstance(value, bytes) for value in records.values())
        assert len(list(folder.glob("*.safetensors"))) == vectors
        store.persist({"model": victim.model(9), "after": b"crash"})
    with Store.open(folder) as store:
        assert same(store.records(), records | {"model": victim.model(9), "after": b"crash"})
    litter = {file.name for file in folder.iterdir() if not file.name.startswith("checkpoint-")}
    assert litter == {"journal.sqlite3", "lock"}


def test_a_run_without_a_crash_keeps_all(tmp_path: Path) -> None:
    *kept, steps = run_victim(tmp_path / "journal", -1)
    assert kept == [str(number) for number in range(1, len(victim.WRITES) + 1)]
    assert steps == f"steps {STEPS}"
    check_and_go_on(tmp_path / "journal", len(victim.WRITES))


@pytest.mark.parametrize("die_at", sampled(range(STEPS), every=3))
def test_killed_before_a_step_it_has_what_it_promised(tmp_path: Path, die_at: int) -> None:
    kept = run_victim(tmp_path / "journal", die_at)
    check_and_go_on(tmp_path / "journal", len(kept))


@pytest.mark.parametrize("lines", range(1, 6))
def test_killed_from_outside_at_any_moment(tmp_path: Path, lines: int) -> None:
    """The kill comes while the next write is under way, wherever that may be."""
    process = subprocess.Popen(
        [sys.executable, victim.__file__, str(tmp_path / "journal"), "-1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.kill()
    more = [line for line in process.stdout.read().split("\n") if line.isdigit()]
    process.stdout.close()
    process.wait(timeout=60)
    check_and_go_on(tmp_path / "journal", lines + len(more))


def test_killed_twice_at_the_same_place(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    for _ in range(2):  # The second dies while it begins a journal over what the first left.
        assert run_victim(folder, 2) == []
    check_and_go_on(folder, 0)
