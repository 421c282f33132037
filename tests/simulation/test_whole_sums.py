"""Whole modelled sessions: what comes of them is what comes of all their messages."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sampled import sampled

from p2pfl_gossip.ledger.entries import Entry
from p2pfl_gossip.ledger.messages import Progress
from p2pfl_gossip.ledger.record import read_record
from p2pfl_gossip.records import replaced
from p2pfl_simulations import Run, make_scenario, run
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.group import make_identity
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.shared_jobs import SharedJob
from p2pfl_simulations.whole_sums import BROKEN_MAX, WholeSums, _Session
from p2pfl_simulations.world import COMMON_FRAMES_MAX, World
from p2pfl_simulations.world_settings import MaskingCosts, NetworkSettings

AWAY: dict[str, Any] = {
    "planned": [
        {"kind": "absent", "peers": [1], "start_s": 0.05, "duration_s": 1e3},
        {"kind": "crash", "peers": [4], "start_s": 4.5, "duration_s": 1e3},
    ]
}
"""Each begins while all train, which takes a second and a half: for the first and the third sum."""


def simulate(masking: str = "modelled", **settings: Any) -> Run:
    document = {
        "peers": 7,
        "rounds": 4,
        "learning": {"task": "digits", "training": {"steps": 15, "learning_rate": 0.2}},
        "compute": {"step_s": 0.1},
        "averaging": {"masking": masking, "deadline_s": 1.0, "weights": "samples"},
        "evaluation": {"every": 2, "peers": 2, "baselines": []},
        **settings,
    }
    return run(make_scenario(document), is_checked=True)


def one_by_one(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Run:
    """The same with every message of every session."""
    with monkeypatch.context() as patch:
        patch.setattr(WholeSums, "_is_calm", lambda _self, _session: False)
        return simulate(**settings)


def entries_of(result: Run) -> list[Entry]:
    assert result.ledger is not None
    history = read_record(result.ledger)
    found, step = [], history.head
    while step.entry.round:
        found.append(step.entry)
        below = history.step(step.entry.base)
        assert below is not None
        step = below
    return found[::-1]


def without_keys(entry: Entry) -> Entry:
    """An entry without what follows from the keys of its session, and from those before it."""
    nothing = bytes(32)
    base = replaced(entry.base, entry=nothing)
    return replaced(entry, base=base, listed=nothing, ballot=nothing, sums=nothing)


def participation_of(result: Run) -> list[tuple[str, int, int]]:
    assert result.participation is not None
    return [(row.name, row.heights_in, row.last_height) for row in result.participation]


def same_but_for_keys(one: Run, other: Run) -> None:
    """The same models, entries and table; entries but for what follows from keys."""
    assert np.array_equal(one.require_model(), other.require_model())
    entries = [[without_keys(entry) for entry in entries_of(it)] for it in (one, other)]
    assert entries[0] == entries[1]
    assert participation_of(one) == participation_of(other)


@pytest.mark.parametrize("seed", sampled([0, 1], every=2))
@pytest.mark.parametrize("faults", [{}, AWAY], ids=["calm", "two members leave"])
def test_whole_sums_lead_to_the_entries_of_all_messages(
    seed: int, faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulate(seed=seed, faults=faults)
    assert whole.counters["sums_whole"] == len(entries_of(whole)) == 4
    assert "sums_one_by_one" not in whole.counters
    said = one_by_one(monkeypatch, seed=seed, faults=faults)
    assert "sums_whole" not in said.counters
    # With stand-ins in place of keys, all of it is the same, names of entries too.
    assert entries_of(whole) == entries_of(said)
    same_but_for_keys(whole, said)
    real = simulate("real", seed=seed, faults=faults)
    same_but_for_keys(whole, real)
    away = [4 - row.heights_in for row in whole.participation or []]
    assert any(away) is bool(faults)


def test_what_a_whole_sum_would_have_sent_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, where no message overtakes another, so that nobody asks for what is coming."""
    even = {"latency": {"kind": "constant", "mean_s": 0.02}}
    whole, said = simulate(network=even), one_by_one(monkeypatch, network=even)
    assert whole.masked_sums is not None
    assert said.masked_sums is not None
    assert whole.masked_sums == said.masked_sums
    # Which of two peers is measured first, at one moment, is chance.
    sent = [{(row.round, row.peer): row.bytes_sent for row in it.peers} for it in (whole, said)]
    assert sent[0] == sent[1]


def test_a_whole_sum_takes_about_as_long_as_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, said = simulate(), one_by_one(monkeypatch)
    rounds = [[row.virtual_s for row in it.rounds] for it in (whole, said)]
    assert rounds[0] == pytest.approx(rounds[1], abs=0.25)


INSIDE: dict[str, dict[str, Any]] = {
    "absent": {"kind": "absent", "peers": [3], "duration_s": 0.5},
    "crash": {"kind": "crash", "peers": [3], "duration_s": 0.5},
    "link": {"kind": "link", "peers": [3, 5], "duration_s": 0.5},
}


@pytest.mark.parametrize("kind", sampled([*INSIDE, "partition"], every=2))
def test_a_fault_within_a_session_has_its_members_say_everything(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    take = WholeSums.take

    def note(self: WholeSums, host: SimulatedHost, ticket: int, job: SharedJob) -> None:
        asked.append(self._world.queue.now_s)
        take(self, host, ticket, job)

    monkeypatch.setattr(WholeSums, "take", note)
    calm = simulate()
    start_s = asked[7 * 2 - 1] + 1e-3  # All have asked for the second sum.
    faults: dict[str, Any] = (
        {"planned": [{**INSIDE[kind], "start_s": start_s}]}
        if kind != "partition"
        else {"partitions": [{"start_s": start_s, "duration_s": 0.5, "shares": [5, 2]}]}
    )
    result = simulate(faults=faults)
    assert result.counters["sums_one_by_one"] == 1
    assert result.counters["sums_whole"] == len(entries_of(result)) - 1 >= 3
    entries, before = entries_of(result), entries_of(calm)
    assert entries[0] == before[0]
    members = [entry.members for entry in entries]
    everybody = before[0].members
    if kind == "link":  # What one does not bring to the other, a third one does; but no shares.
        one_out = [bytes([everybody[0] & ~(1 << rank)]) for rank in (3, 5)]
        assert members[1] in (everybody, *one_out)
        assert [members[0], *members[2:]] == [everybody] * 3
    elif kind != "partition":
        assert members[1] != everybody
    assert len(entries) == 4


def test_who_does_not_come_is_waited_for_by_messages() -> None:
    """A listed member that is gone before it asks: the others go on without it."""
    faults = {"crash": {"probability": 0.4, "restart_s": {"mean_s": 1.0}}}
    result = simulate(faults=faults, rounds=6, seed=3)
    assert result.counters["sums_one_by_one"] > 0
    assert result.counters["sums_whole"] > 0
    assert len(entries_of(result)) == 6


def test_links_that_lose_and_slow_members_have_everything_said() -> None:
    lossy = simulate(network={"loss": 0.01})
    assert "sums_whole" not in lossy.counters
    # Its masking takes longer than others wait for chunks: so it is late, and in no model.
    slow = {"stragglers": {"peers": [6], "factor": 4e5}}
    late = simulate(faults=slow, compute={"step_s": 1e-7})
    assert "sums_whole" not in late.counters
    real = simulate("real", faults=slow, compute={"step_s": 1e-7})
    assert participation_of(late) == participation_of(real)


def test_a_world_remembers_few_of_the_frames_that_many_get() -> None:
    queue = EventQueue()
    network = Network(NetworkSettings(), peer_count=1, seed=0, queue=queue)
    peer = make_identity(0, 0).peer_id
    world = World(peer_ids=[peer], make_machine=_no_machine, network=network, queue=queue)
    for round_ in range(COMMON_FRAMES_MAX + 10):
        message = Progress(0, round_)
        assert world.encode(message) == world.encode(message)  # To a second host.
        assert 0 < len(world._common) <= COMMON_FRAMES_MAX


def _no_machine(_index: int) -> Any:
    raise AssertionError("nobody is started here")


def test_few_broken_sessions_are_remembered() -> None:
    sums = WholeSums(
        MaskingCosts(),
        slowed=lambda _peer, least_s: least_s,
        draw_latencies=np.zeros,
        bytes_per_s=1.0,
    )
    sums.start(SimpleNamespace(counters=Counter()))  # All it needs here.
    names = [(number.to_bytes(32, "little"), b"") for number in range(BROKEN_MAX + 2)]
    for name in names:
        sums._open[name] = _Session({})
        sums._break(name)
    assert list(sums._broken) == names[2:]
