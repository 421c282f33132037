"""Whole networks that open over simulated links: whatever is lost, everybody begins."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from one_opening import OURS, SEED, description_of
from sampled import sampled
from scripted import IDS

from p2pfl_gossip import events
from p2pfl_gossip.actions import Event, Job
from p2pfl_gossip.averaging.cohort_averaging import CohortAveraging
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record
from p2pfl_gossip.roster import Roster
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.network import Network
from p2pfl_simulations.world import World
from p2pfl_simulations.world_settings import NetworkSettings

DEADLINE_S = 4.0
TRAINING_S = 1.0


class _Worker:
    """Trains by adding one."""

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        return [self._do(job) for _, job in jobs]

    def _do(self, job: Job) -> Record:
        if isinstance(job, Evaluate):
            return Evaluated({"accuracy": 1.0, "loss": 0.0})
        assert isinstance(job, Train)
        vector = job.vector + np.float32(1)
        vector.flags.writeable = False
        return Trained(vector, 1, 0.5)


class Group:
    """Members in one cohort, which start at `start_s`; one that starts at None never does."""

    def __init__(
        self,
        start_s: Sequence[float | None],
        *,
        loss: float = 0.0,
        seed: int = 0,
        rounds: int = 2,
        odd: int | None = None,
    ) -> None:
        self.odd = odd  # The member with another model, if one has it.
        self.size, self.rounds = len(start_s), rounds
        self.roster = Roster(IDS[: self.size])
        self.seeds: dict[int, list[bytes]] = {index: [] for index in range(self.size)}
        self.reports: list[tuple[float, int, Event]] = []
        self.queue = EventQueue()
        network = NetworkSettings.model_validate(
            {
                "latency": {"kind": "exponential", "mean_s": 0.1},
                "bandwidth_bytes_per_s": 1e6,
                "loss": loss,
            }
        )
        self.world = World(
            peer_ids=IDS[: self.size],
            make_machine=self.make,
            network=Network(network, peer_count=self.size, seed=seed, queue=self.queue),
            queue=self.queue,
            workshop=Workshop(_Worker()),
            duration_s=lambda _index, job: TRAINING_S if isinstance(job, Train) else 0.0,
            observers=(self,),
        )
        for host, at_s in zip(self.world.hosts, start_s, strict=True):
            self.world.take_offline(host, "not started")
            if at_s is not None:
                self.queue.call_at(at_s, self.world.bring_online, host, "started")

    def make(self, index: int) -> Opening:
        def make_peer(seed: bytes, desk: Desk) -> Peer:
            self.seeds[index].append(seed)
            return Peer(
                index=index,
                roster=self.roster,
                settings=PeerSettings(rounds=self.rounds, deadline_s=DEADLINE_S),
                initial=initial,
                make_averaging=lambda inner: CohortAveraging(
                    index=index,
                    roster=self.roster,
                    length=self.size,
                    dtype=np.float32,
                    members_of=lambda _round: tuple(range(self.size)),
                    deadline_s=DEADLINE_S,
                    desk=inner,
                ),
                seed="test",
                desk=desk,
            )

        initial = np.zeros(self.size, np.float32)
        initial.flags.writeable = False
        life = self.world.hosts[index].life
        return Opening(
            index=index,
            roster=self.roster,
            deadline_s=DEADLINE_S,
            draw_seed=SEED,
            description=description_of(20) if index == self.odd else OURS,
            make_peer=make_peer,
            rng=Random(f"test/{index}/{life}/ask"),
        )

    def on_report(self, now_s: float, host: SimulatedHost, event: Event) -> None:
        self.reports.append((now_s, host.index, event))

    def on_incident(self, now_s: float, host: SimulatedHost | None, kind: str, detail: str) -> None:
        assert kind != "protocol_error", detail

    def crash(self, at_s: float, index: int, away_s: float) -> None:
        """Kill a process, if it runs, and start it again."""

        def kill() -> None:
            if host.is_online:
                self.world.take_offline(host, "crashed", kills=True)
                self.queue.call_at(at_s + away_s, self.world.bring_online, host, "restarted")

        host = self.world.hosts[index]
        self.queue.call_at(at_s, kill)

    def partition(self, at_s: float, parts: list[int], length_s: float) -> None:
        self.queue.call_at(at_s, self.world.split, parts)
        self.queue.call_at(at_s + length_s, self.world.split, None)

    def run(self, time_limit_s: float = 1000.0) -> "Group":
        self.world.run(time_limit_s)
        return self

    def reported(self, kind: type[Event]) -> list[tuple[float, int, Any]]:
        return [entry for entry in self.reports if isinstance(entry[2], kind)]

    def assert_all_are_open(self) -> None:
        for index, host in enumerate(self.world.hosts):
            assert host.machine is not None
            assert isinstance(host.machine, Opening)
            assert host.machine.peer is not None, (index, host.machine.state)
            assert set(self.seeds[index]) == {SEED}
            assert host.records["draw_seed"] == SEED


def _start_times(rng: Random, size: int, spread_s: float) -> list[float]:
    return [rng.uniform(0, spread_s) for _ in range(size)]


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (2, 1), (2, 2), (5, 3), (5, 4), (12, 5)])
def test_nobody_begins_before_all_are_there_and_the_first_round_is_everybodys(
    size: int, seed: int
) -> None:
    start_s = _start_times(Random(f"start/{seed}"), size, 10.0)
    group = Group(start_s, seed=seed).run()
    group.assert_all_are_open()
    starts = [at_s for at_s, _, event in group.reported(events.RoundStarted) if event.round == 0]
    assert len(starts) == size
    assert min(starts) >= max(start_s)
    ends = group.reported(events.RoundEnded)
    assert len(ends) == 2 * size
    assert all(event.complete and event.contributors == size for _, _, event in ends)
    assert len(group.reported(events.Opened)) == size


def test_all_begin_soon_after_the_last_has_started() -> None:
    group = Group([0.0, 3.0, 7.0, 20.0, 20.5]).run()
    opened = [at_s for at_s, _, _ in group.reported(events.Opened)]
    assert 20.5 < min(opened) <= max(opened) < 20.5 + DEADLINE_S


def test_one_that_never_comes_holds_everybody_up_and_is_named_by_all() -> None:
    group = Group([0.0, 1.0, None, 2.0]).run(100.0)
    assert group.reported(events.Opened) == group.reported(events.RoundStarted) == []
    for index in (0, 1, 3):
        last = [event for _, who, event in group.reported(events.OpeningWaits) if who == index][-1]
        assert last == events.OpeningWaits(1, (IDS[2],))


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_with_one_that_has_another_model_no_round_begins_and_all_say_so(
    loss: float,
) -> None:
    group = Group([0.0, 1.0, 2.0, 2.0], loss=loss, odd=2, seed=3).run(100.0)
    assert group.reported(events.Opened) == group.reported(events.RoundStarted) == []
    told = {(who, event.member) for _, who, event in group.reported(events.MemberDiffers)}
    assert told == {(0, IDS[2]), (1, IDS[2]), (3, IDS[2]), *((2, IDS[it]) for it in (0, 1, 3))}
    for _, who, event in group.reported(events.MemberDiffers):
        sides = ("[20, 8]", "[16, 8]")
        assert event.name == "0.weight"
        assert (event.theirs, event.ours) == (sides[::-1] if who == 2 else sides)


def test_a_member_that_is_started_again_with_the_right_model_lets_the_group_begin() -> None:
    group = Group([0.0, 1.0, 2.0, 2.0], odd=2)
    group.crash(50.0, 2, 5.0)
    group.queue.call_at(52.0, setattr, group, "odd", None)
    group.run()
    group.assert_all_are_open()
    assert min(at_s for at_s, _, _ in group.reported(events.RoundStarted)) > 55.0


def test_a_large_group_opens_in_a_few_deadlines_though_a_third_of_all_is_lost() -> None:
    """At 30% loss a question is answered in half of all tries, so with 8 asked of about 30 that are
    missed, some ten ticks."""
    start_s = _start_times(Random("start/large"), 100, 10.0)
    group = Group(start_s, loss=0.3, seed=1, rounds=0).run()
    group.assert_all_are_open()
    opened = [at_s for at_s, _, _ in group.reported(events.Opened)]
    assert max(opened) < max(start_s) + 20 * DEADLINE_S


def _loss(_group: Group, _rng: Random) -> None:
    """No more than what is lost."""


def _crashes(group: Group, rng: Random) -> None:
    for _ in range(2 * group.size):
        group.crash(rng.uniform(0, 30), rng.randrange(group.size), rng.uniform(0.1, 10))


def _partition(group: Group, rng: Random) -> None:
    parts = [rng.randrange(2) for _ in range(group.size)]
    group.partition(rng.uniform(0, 15), parts, rng.uniform(5, 30))


def _all(group: Group, rng: Random) -> None:
    _crashes(group, rng)
    _partition(group, rng)


@pytest.mark.parametrize("faults", [_loss, _crashes, _partition, _all])
@pytest.mark.parametrize("seed", sampled(range(12), every=4))
def test_everybody_begins_once_the_faults_are_over(
    seed: int, faults: Callable[[Group, Random], None]
) -> None:
    rng = Random(f"{seed}/{faults.__name__}")
    size = rng.choice([2, 3, 5, 8, 20])
    start_s = _start_times(rng, size, rng.choice([0.0, 5.0, 20.0]))
    group = Group(start_s, loss=0.3, seed=seed)
    faults(group, rng)
    group.run()
    group.assert_all_are_open()
    assert len(group.reported(events.Opened)) == size
    assert len({index for _, index, _ in group.reported(events.Finished)}) == size
