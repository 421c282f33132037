"""Runs one seed of the sweep: faults until a drawn time, then all must finish."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from sweep_curve import stand_in_curve
from sweep_draw import PERSIST_S_MAX, Draw, draw
from sweep_ledger_draw import draw_group, draw_honest
from sweep_ledger_plants import GROUP_PLANTS
from sweep_plants import PLANTS
from sweep_shared import kept_plans, shared_learner
from sweep_succession import furthest_of, succeed

from p2pfl.group.averaging import SESSION_DEADLINES
from p2pfl.group.settings import GroupSettings
from p2pfl_gossip.actions import Action, Event, Job, Report, Send
from p2pfl_gossip.catch_up import FETCH_DEADLINES
from p2pfl_gossip.events import MaskedSumEnded
from p2pfl_gossip.learning import Train, WorkFailed
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_gossip.ledger.participation import Cause
from p2pfl_gossip.ledger.record import DamagedRecord, read_record, write_record
from p2pfl_gossip.ledger.sessions import SESSION_RELAYS
from p2pfl_gossip.ledger.states import Head
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Worker
from p2pfl_simulations.checkers import Checker, Violation, all_checkers
from p2pfl_simulations.checkers.accounting import BytesAsFormula
from p2pfl_simulations.checkers.base import Stalled
from p2pfl_simulations.checkers.ledger import Certifies
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.group import Predecessor
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.scenario import masking_of
from p2pfl_simulations.simulation import Simulation

SLACK_S = 5.0
"""Latencies, and the time on the links, of one round."""
PERSISTS_A_ROUND = 10
"""Records that a peer writes one after the other: of a session six, and a checkpoint; and once a
life, its incarnation."""


ROUNDS_WATCHED = 2
"""Rounds that are looked at, after faults have ended, where liars may make each of them void."""


class Unlucky:
    """Does jobs, but some trainings fail: which, their random streams' names say."""

    def __init__(self, worker: Worker, probability: float) -> None:
        self._worker, self._probability = worker, probability

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        """Do jobs of peers, named by index; results in the same order."""
        results = self._worker.run(jobs)
        return [
            WorkFailed("drawn so") if self._fails(job) else result
            for (_, job), result in zip(jobs, results, strict=True)
        ]

    def _fails(self, job: Job) -> bool:
        return isinstance(job, Train) and Random(f"{job.stream}/fails").random() < self._probability


class _End(Checker):
    """Ends the world once all honest peers have finished, if it `stops`, and not before.

    Where liars may keep them from it, it ends the world some rounds later. It is a checker, after
    the one that it asks: observers are told of a report before any checker.

    Args:
        all_finish: knows who has finished.
        must_end: whether all must.
    """

    actions = (Report, Send)

    def __init__(self, all_finish: AllFinish, *, must_end: bool) -> None:
        self.stops = False
        self._all_finish, self._must_end = all_finish, must_end
        self._round = 0
        self._round_max: int | None = None
        self.simulation: Simulation

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Somebody may have finished, or come to a later round."""
        if isinstance(action, Report):
            self.look()
            return
        message = action.message if isinstance(action, Send) else None
        if not isinstance(message, GroupAdvert) or not self.watched.is_honest(host):
            return
        if message.round > self._round:
            self._round = message.round
            self.look()

    def look(self) -> None:
        """End the world, if nothing more is to come."""
        if not self.stops:
            return
        if self._round_max is None:
            self._round_max = self._round + ROUNDS_WATCHED
        is_met = self._all_finish.is_met and self.simulation.operators.is_done
        self.simulation.world.is_over = is_met
        if not self._must_end and self._round > self._round_max:
            self.simulation.world.queue.is_stopped = True  # Whatever operators wait for.


class _Sessions:
    """Counts sessions of masked sums by their names: each ends once for each of its members.

    Attributes:
        names: of all.
        lost: why some came to nothing, by name.
    """

    def __init__(self) -> None:
        self.names: dict[bytes, None] = {}
        self.lost: dict[bytes, str] = {}

    def on_report(self, now_s: float, host: SimulatedHost, event: Event) -> None:
        if isinstance(event, MaskedSumEnded):
            self.names[event.session] = None
            if event.result != "summed":
                self.lost[event.session] = event.result

    def on_incident(self, now_s: float, host: SimulatedHost | None, kind: str, detail: str) -> None:
        pass


class Sweep:
    """The world of one seed.

    Args:
        drawn: what runs.
        predecessor: of a group that succeeds another one.
    """

    def __init__(self, drawn: Draw, predecessor: Predecessor | None = None) -> None:
        self.drawn = drawn
        scenario = drawn.scenario
        learner = shared_learner(scenario.learning, scenario.peers)
        if drawn.failing:
            unlucky = Unlucky(learner, drawn.failing)
        self.all_finish = AllFinish()
        self._is_group = scenario.averaging.algorithm == "group"
        self._certifies = Certifies(certified_within(scenario.peers))
        self.end, self.sessions = _End(self.all_finish, must_end=drawn.must_end), _Sessions()
        checkers: list[Checker] = [*all_checkers()]
        if self._is_group and drawn.must_end:
            checkers.append(self._certifies)
        self.simulation = Simulation(
            scenario,
            learner,
            lambda _: None,
            worker=unlucky if drawn.failing else None,
            checkers=(*checkers, self.all_finish, self.end),
            observers=(self.sessions,),
            settled=self.end.look,
            predecessor=predecessor,
        )
        self.end.simulation = self.simulation
        self.world = self.simulation.world

    def run(self) -> None:
        """Run to the end, or raise Violation."""
        world, drawn = self.world, self.drawn
        world.start()
        world.run(drawn.heal_s)
        if drawn.is_faulty:
            world.network.stop_losses()
            self.simulation.faults.heal()
        if self._is_group and drawn.must_end:
            self._certifies.begin()
        self.end.stops = True
        self.end.look()
        if drawn.successor is not None:
            self._lose_too_many()
        world.run(max(world.queue.now_s, drawn.heal_s) + self._time_s())
        if drawn.successor is not None and self._head() != self._last:
            raise Violation(f"fewer than t are left, and certify {self._head()}")
        if not drawn.is_faulty and not self._is_group:  # A group's timers never end.
            self.end.stops = world.is_over = False  # What is on its way counts as well.
            world.run(math.inf)
        is_calm = self._is_group and not drawn.is_faulty and not drawn.scenario.changes
        for lost in self.sessions.lost.values() if is_calm else ():
            raise Violation(f"a sum is lost where nothing goes wrong: {lost}")
        self.simulation.end_checks()
        self._read_records()
        if drawn.must_end and not self.simulation.operators.is_done:
            raise Stalled("what the operators wanted has not come about")
        if not drawn.is_faulty and masking_of(drawn.scenario) == "none":
            formula = BytesAsFormula(drawn.scenario, lambda: world.bytes_sent)
            formula.start(self.all_finish.watched)
            formula.on_end(world.queue.now_s)

    @property
    def lacks_signers(self) -> bool:
        """Whether backups leave fewer than t members that sign, beside those that departed.

        Which backups are restored, and whether they lack anything, is not known at the draw.
        """
        members = {
            host.peer_id: host.machine
            for host in self.world.hosts
            if isinstance(host.machine, GroupMember) and host.machine.state is not State.NEW
        }
        if self.drawn.scenario.faults.backups is None or not members:
            return False
        epoch = max((it.epoch for it in members.values()), key=lambda it: it.number)
        signing = [
            peer
            for peer, member in members.items()
            if epoch.rank_of(peer) is not None
            and member.state is not State.LEFT
            and member.resting.get(peer) is not Cause.START
        ]
        return len(signing) < epoch.threshold

    def _lose_too_many(self) -> None:
        """Go on until fewer than t are left, and what was under way then has ended."""
        drawn, world = self.drawn, self.world
        lost_s = max(it.at_s for it in drawn.scenario.changes if it.kind == "lose")
        world.run(max(drawn.heal_s, lost_s) + self._group_round_s(SESSION_RELAYS))
        self._last = self._head()

    def _head(self) -> Head:
        return furthest_of(self.simulation, self.drawn.scenario).history.head.head

    def successor(self) -> "Sweep | None":
        """Return the group that succeeds this one, which has run; None if none does."""
        if self.drawn.successor is None:
            return None
        after = self.drawn.successor
        predecessor = succeed(self.simulation, self.drawn.scenario, after.scenario)
        return Sweep(after, predecessor)

    def _read_records(self) -> None:
        """Demand that the record of each member that came later can be read, gaps and all."""
        for index in self.drawn.scenario.late:
            machine = self.world.hosts[index].machine
            if isinstance(machine, GroupMember):
                try:
                    read_record(write_record(machine.history))
                except DamagedRecord as error:
                    raise Violation(f"peer {index} has no record in order: {error}") from None

    def _time_s(self) -> float:
        """Return how long to go on once faults have ended."""
        if self.drawn.must_end:
            return self.time_to_finish_s()
        self.all_finish.excused = True
        return ROUNDS_WATCHED * self._group_round_s(SESSION_RELAYS)

    def time_to_finish_s(self) -> float:
        """Return how long all rounds may take once nothing goes wrong.

        A round is training, and two deadlines (of a client of FedAvg, too), or a session's life.
        Before the first one, a search may be under way: a seek, a fetch that nobody answers,
        another seek and fetch; each liar may be the one that does not answer.
        """
        scenario = self.drawn.scenario
        if self._is_group:
            return self._group_time_to_finish_s()
        deadline_s = min(scenario.averaging.deadline_s, 100.0)
        deadlines = 2 if masking_of(scenario) == "none" else SESSION_DEADLINES
        training_s = max(self.simulation.faults.training_s) * (1 + scenario.compute.jitter)
        persisting_s = 0.0 if scenario.disk.kind == "none" else PERSISTS_A_ROUND * PERSIST_S_MAX
        round_s = training_s + deadlines * deadline_s + persisting_s + SLACK_S
        searches = 2 + len(self.all_finish.watched.liars)
        search_s = searches * (1 + FETCH_DEADLINES) * deadline_s + SLACK_S
        return search_s + (scenario.rounds + 1) * round_s

    def _group_time_to_finish_s(self) -> float:
        """Return how long a group may take to certify all its models, and to make the last final.

        Each may take as many rounds as `certified_within` says; a round is training, patience with
        those that work, and a session's life, which liars may draw out to its end.
        """
        scenario = self.drawn.scenario
        round_s = self._group_round_s(SESSION_RELAYS + 10)
        more = sum(change.rounds for change in scenario.changes)
        # Who goes back begins again, and may have been at the end.
        back = sum(change.kind == "back" for change in scenario.changes)
        more += back * (scenario.rounds + more)
        tries = scenario.rounds + more + 2 + 3 * len(scenario.changes)
        late_s = sum(change.at_s + change.duration_s for change in scenario.changes)
        return late_s + tries * certified_within(scenario.peers) * round_s

    def _group_round_s(self, relays: int) -> float:
        scenario = self.drawn.scenario
        averaging = scenario.averaging
        assert isinstance(averaging, GroupSettings)
        relay_s = min(averaging.deadline_s, 100.0)
        training_s = max(self.simulation.faults.training_s) * (1 + scenario.compute.jitter)
        persisting_s = 0.0 if scenario.disk.kind == "none" else PERSISTS_A_ROUND * PERSIST_S_MAX
        waiting_s = averaging.patience_s + relays * relay_s
        return training_s + waiting_s + persisting_s + SLACK_S


def certified_within(members: int) -> int:
    """Return within how many rounds a model must be certified, once nothing goes wrong but lies.

    A round may be lost to each liar that leads it, or spoils its sum and is found out; a few go by
    until members that were apart have met.
    """
    return 4 * (liars_max_of(members) + 1) + 4


@dataclass(frozen=True)
class Outcome:
    """What came of a seed.

    Attributes:
        seed: which.
        kinds: what was drawn.
        violation: what did not hold, with the line that replays it; or empty.
        cpu_s: processor seconds.
        events: that the world handled.
        sessions: of masked sums that ended, each counted once.
    """

    seed: int
    kinds: Counter[str]
    violation: str
    cpu_s: float
    events: int
    sessions: int


def _without_backups(drawn: Draw) -> Draw:
    faults = drawn.scenario.faults.model_copy(update={"backups": None})
    return replace(drawn, scenario=drawn.scenario.model_copy(update={"faults": faults}))


def run_seed(seed: int, plant: str = "", *, ledger: bool = False, honest: bool = False) -> Outcome:
    """Run one seed, with a fault planted in the product if one is named.

    Where backups that are restored leave too few members, it is run without any.

    Args:
        seed: which.
        plant: the fault's name.
        ledger: whether it is a group.
        honest: whether it is an audited group in which nothing goes wrong.
    """
    started = time.process_time()
    drawn = draw_honest(seed) if honest else draw_group(seed) if ledger else draw(seed)
    violation, events, sessions = "", 0, 0
    # Push-sum may run away where a peer is cut off for long; only its liveness is looked at.
    is_wild = drawn.scenario.averaging.algorithm == "push-sum"
    try:
        with (
            np.errstate(over="ignore" if is_wild else "raise"),
            (GROUP_PLANTS if ledger else PLANTS)[plant]() if plant else nullcontext(),
            kept_plans(),
            stand_in_curve() if drawn.stands_in else nullcontext(),
        ):
            sweep = Sweep(drawn)
            try:
                sweep.run()
            except Stalled:
                if not sweep.lacks_signers:
                    raise
                drawn = _without_backups(drawn)
                sweep = Sweep(drawn)
                sweep.run()
            events, sessions = sweep.world.queue.processed, len(sweep.sessions.names)
            successor = sweep.successor()
            if successor is not None:
                successor.run()
                events += successor.world.queue.processed
                sessions += len(successor.sessions.names)
    except Violation as error:
        violation = str(error)
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
        violation = f"{type(error).__name__}: {error} ({where})"
    if violation:
        scenario = drawn.scenario
        liars = ", ".join(it.strategy for it in scenario.faults.liars)
        lies = f", liars: {liars}" if liars else ""
        planted = (
            (" --ledger" if ledger else "")
            + (" --honest" if honest else "")
            + (f" --plant {plant}" if plant else "")
        )
        violation = (
            f"seed {seed} ({scenario.averaging.algorithm}, {scenario.peers} peers{lies}):"
            f" {violation}; replay: ./scripts/bench sweep --from {seed} --seeds 1{planted}"
        )
    spent_s = time.process_time() - started
    return Outcome(seed, drawn.kinds(), violation, spent_s, events, sessions)
