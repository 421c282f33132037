"""The same scenario and seed give the same run, bit for bit; a difference shows in the digest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.learner import make_learner
from p2pfl_simulations import batch
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import make_scenario
from p2pfl_simulations.simulation import Simulation
from p2pfl_simulations.trace import Body, Trace, TraceKind

GOLDEN = json.loads((Path(__file__).parents[1] / "vectors" / "trace_digests.json").read_text())

FAULTY: dict[str, Any] = {
    "seed": 5,
    "peers": 12,
    "rounds": 6,
    "learning": {"task": "integers"},
    "averaging": {
        "algorithm": "cohorts",
        "cohort_size": 4,
        "masking": "none",
        "deadline_s": 2.0,
    },
    "network": {"loss": 0.05, "bandwidth_bytes_per_s": 1e5},
    "compute": {"speed_spread": 3.0},
    "faults": {
        "churn": {
            "session_s": {"kind": "exponential", "mean_s": 8.0},
            "offline_s": {"kind": "exponential", "mean_s": 2.0},
            "share": 0.4,
        },
        "dropout": {"probability": 0.1, "offline_s": {"kind": "uniform", "low_s": 0, "high_s": 3}},
        "crash": {"probability": 0.05},
        "stragglers": {"share": 0.2, "factor": 4.0},
        "partitions": [{"start_s": 2.0, "duration_s": 3.0}],
    },
    "evaluation": {"baselines": []},
}

DIGITS: dict[str, Any] = {
    "peers": 6,
    "rounds": 2,
    "learning": {"task": "digits", "training": {"steps": 3}},
    "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none"},
    "evaluation": {"baselines": []},
}


def _tables(result: RunResult) -> Any:
    """Return all that a run yields but how long it took here."""
    return (
        result.digest,
        repr(result.rounds),
        repr(result.peers),
        repr(result.events),
        result.require_model().tobytes(),
        result.virtual_s,
        result.neighbours,
    )


def _simulate(
    document: dict[str, Any], change: Callable[[Simulation], None] = lambda _: None, **options: Any
) -> RunResult:
    scenario = make_scenario(document)
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=None, **options
    )
    simulation = Simulation(scenario, learner, lambda _: None)
    change(simulation)
    simulation.run()
    return simulation.result()


@pytest.mark.parametrize("case", GOLDEN["runs"], ids=lambda case: case["scenario"]["name"])
def test_a_run_in_integers_has_the_same_digest_on_any_machine(case: dict[str, Any]) -> None:
    result = run(make_scenario(case["scenario"]))
    assert result.digest == case["digest"]
    assert result.require_model()[:4].tolist() == case["model_begins"]
    assert [row.ended for row in result.rounds] == case["ended"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, second = run(make_scenario(FAULTY)), run(make_scenario(FAULTY))
    assert first.events  # Faults happened, and they are part of what is the same.
    assert _tables(first) == _tables(second)
    other = run(make_scenario({**FAULTY, "seed": 6}))
    assert other.digest != first.digest


def test_another_process_with_another_hash_seed_gives_the_same_run() -> None:
    here = run(make_scenario(FAULTY))
    program = (
        "import json, sys\n"
        "from p2pfl_simulations import make_scenario, run\n"
        "result = run(make_scenario(json.load(sys.stdin)))\n"
        "print(result.digest, result.virtual_s, result.require_model().tobytes().hex())\n"
    )
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(FAULTY),
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digest, virtual_s, model = done.stdout.split()
        assert (digest, float(virtual_s)) == (here.digest, here.virtual_s)
        assert model == here.require_model().tobytes().hex()


def test_results_do_not_depend_on_threads_or_on_who_shares_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = _tables(_simulate(DIGITS, threads=1))
    assert _tables(_simulate(DIGITS, threads=2)) == expected
    for most in (1, 4):
        monkeypatch.setattr(batch, "BATCH_JOBS", most)
        assert _tables(_simulate(DIGITS, threads=2)) == expected


# --- what the digest covers -----------------------------------------------------------------------


def _on_delivery(
    change: Callable[[int, Any, Callable[[Any], None]], None],
) -> Callable[[Simulation], None]:
    """Have `change(n, transfer, deliver)` deliver the n-th body in the world's stead."""

    def apply(simulation: Simulation) -> None:
        world: Any = simulation.world
        deliver, delivered = world.deliver_bulk, [0]

        def on_delivery(transfer: Any) -> None:
            delivered[0] += 1
            change(delivered[0], transfer, deliver)

        world.deliver_bulk = on_delivery

    return apply


PLAIN = {**FAULTY, "faults": {}, "rounds": 2}


def test_one_bit_of_one_body_changes_the_digest() -> None:
    def flip(number: int, transfer: Any, deliver: Callable[[Any], None]) -> None:
        if number == 17:
            (part,), _ = transfer.body.content()
            bits = np.array(part).view(np.uint32)
            bits[3] ^= 1
            transfer.body = Body((bits.view(part.dtype),))
        deliver(transfer)

    assert _simulate(PLAIN, _on_delivery(flip)).digest != _simulate(PLAIN).digest


def test_the_very_same_bytes_in_another_buffer_do_not_change_it() -> None:
    def copy(_number: int, transfer: Any, deliver: Callable[[Any], None]) -> None:
        transfer.body = Body(tuple(part.copy() for part in transfer.body.content()[0]))
        deliver(transfer)

    assert _simulate(PLAIN, _on_delivery(copy)).digest == _simulate(PLAIN).digest


def test_a_dropped_body_changes_the_digest() -> None:
    def drop(number: int, transfer: Any, deliver: Callable[[Any], None]) -> None:
        if number != 17:
            deliver(transfer)

    assert _simulate(PLAIN, _on_delivery(drop)).digest != _simulate(PLAIN).digest


def test_two_bodies_in_another_order_change_the_digest() -> None:
    held: list[Any] = []

    def swap(number: int, transfer: Any, deliver: Callable[[Any], None]) -> None:
        if number == 17:
            held.append(transfer)
            return
        deliver(transfer)
        if number == 18:
            deliver(held.pop())

    assert _simulate(PLAIN, _on_delivery(swap)).digest != _simulate(PLAIN).digest


EVENTS = [
    (0.5, TraceKind.FRAME, 1, 2, b"frame"),
    (0.5, TraceKind.BODY, 1, 2, b"header and digest"),
    (0.75, TraceKind.TIMER, 1, 7, b""),
    (1.0, TraceKind.WORK, 0, 3, b""),
]


def _digest(entries: list[Any]) -> str:
    trace = Trace()
    for entry in entries:
        trace.add(*entry)
    return trace.hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        EVENTS[:-1],
        EVENTS[1:],
        [EVENTS[1], EVENTS[0], *EVENTS[2:]],
        [*EVENTS, EVENTS[-1]],
        [(0.5000000000000001, *EVENTS[0][1:]), *EVENTS[1:]],
        [(0.5, TraceKind.BODY, *EVENTS[0][2:]), *EVENTS[1:]],
        [(0.5, TraceKind.FRAME, 2, 1, b"frame"), *EVENTS[1:]],
        [(0.5, TraceKind.FRAME, 1, 2, b"framf"), *EVENTS[1:]],
    ],
    ids=["last", "first", "order", "twice", "time", "kind", "ends", "content"],
)
def test_every_event_and_all_of_it_is_in_the_digest(changed: list[Any]) -> None:
    assert _digest(changed) != _digest(EVENTS)


def test_the_digest_so_far_can_be_read_at_any_time() -> None:
    trace = Trace()
    for entry in EVENTS * 5000:  # More than are digested at once.
        trace.add(*entry)
        if entry[0] == 0.75 and trace.hexdigest() == "":
            raise AssertionError
    assert trace.hexdigest() == trace.hexdigest() == _digest(EVENTS * 5000)


def test_a_body_is_drawn_once_and_its_digest_does_not_depend_on_where_it_is_cut() -> None:
    drawn = []

    def parts() -> Any:
        for part in (b"abc", b"", b"defg"):
            drawn.append(part)
            yield part

    body = Body(parts())
    assert drawn == []  # Not before it is needed.
    buffers, digest = body.content()
    assert buffers == (b"abc", b"", b"defg")
    assert drawn == [b"abc", b"", b"defg"]
    assert digest == body.content()[1] == _digest_of_body(b"abcdefg")
    assert digest != _digest_of_body(b"abcdefh")
    assert _digest_of_body(np.frombuffer(b"abcdefgh", np.float32)) == _digest_of_body(b"abcdefgh")


def _digest_of_body(part: Any) -> bytes:
    return Body((part,)).content()[1]
