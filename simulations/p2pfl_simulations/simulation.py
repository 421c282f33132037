"""One simulated world with its peers, and what has come of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from p2pfl.group.averaging import clip_of
from p2pfl.group.privacy_settings import privacy_of
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.plugins import PluginError
from p2pfl_gossip.actions import Machine, Vector
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.participation import all_idle_heights
from p2pfl_gossip.ledger.record import write_record
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Worker
from p2pfl_simulations.checkers import Checker, Watched
from p2pfl_simulations.checkers.accounting import CountedOnce
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.environment import environment
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.group import (
    Predecessor,
    Speeds,
    board_of,
    charter_member,
    make_identity,
    make_peers,
    make_roster,
    whole_sums,
)
from p2pfl_simulations.liars.planting import Liars
from p2pfl_simulations.masking import MaskingWorker
from p2pfl_simulations.modelled import perform_modelled
from p2pfl_simulations.network import Network
from p2pfl_simulations.once import Once
from p2pfl_simulations.operators import Operators
from p2pfl_simulations.own_parts import PluggedParts, plugin_sources
from p2pfl_simulations.private_plans import plan_of, privacy_for, row_of
from p2pfl_simulations.progress import OnProgress, gossip_progress
from p2pfl_simulations.results.losses import LossWatcher, in_order
from p2pfl_simulations.results.participation import participation_rows
from p2pfl_simulations.results.privacy import PrivacyRow
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.results.run import (
    EventRow,
    ParticipationRow,
    RoundRow,
    RunResult,
)
from p2pfl_simulations.running_peer import running_peer
from p2pfl_simulations.scenario import Scenario, masking_of
from p2pfl_simulations.stopwatch import Stopwatch
from p2pfl_simulations.testbed import RunWatcher
from p2pfl_simulations.world import World


class Simulation:
    """One world with its peers, ready to run.

    Args:
        scenario: what to run.
        learner: trains and evaluates.
        tell: is told of progress.
        folder: where own liars are imported from.
        checkers: watch what happens.
        observers: are told what happens, after the recorder and the faults.
        worker: does the learner's jobs in its place.
        settled: is called once what operators planned has come about.
        predecessor: what the group goes on from; None if it begins with the learner's model.

    Attributes:
        world: the world.
        recorder: keeps the tables.
        faults: what goes wrong.
        operators: what members' operators do.
        privacy: what the group's charter says of it; None if nothing.
    """

    def __init__(
        self,
        scenario: Scenario,
        learner: Learner,
        tell: OnProgress,
        *,
        folder: Path | None = None,
        checkers: Sequence[Checker] = (),
        observers: Sequence[RunWatcher] = (),
        worker: Worker | None = None,
        settled: Callable[[], None] = lambda: None,
        predecessor: Predecessor | None = None,
    ) -> None:
        self._scenario, self._learner, self._tell = scenario, learner, tell
        self._checkers = tuple(checkers)
        self._sources = plugin_sources(scenario, folder)  # As they are now; files may change.
        self._stopwatch = Stopwatch()
        self._is_under_way, self._failure = False, ""
        learner.require_start_within(clip_of(scenario.averaging))
        roster = make_roster(scenario)
        initial = learner.initial_vector() if predecessor is None else predecessor.model
        self._plan, privacy = plan_of(scenario, learner), None
        if self._plan is not None and scenario.privacy is not None:
            privacy = privacy_of(scenario.privacy, self._plan)
        self.privacy = privacy
        queue = EventQueue()
        speeds = Speeds(scenario, learner.steps)
        for index in range(scenario.peers):
            learner.fit(index, speeds.step_s(index))
        is_modelled = masking_of(scenario) == "modelled"
        once = Once(perform_modelled if is_modelled else perform)
        liars = Liars(scenario, folder)
        self._liars, self._marked = liars.indices, liars.marked
        self._workshop = liars.watch(worker or learner, lambda it: MaskingWorker(it, once))
        self.recorder = Recorder(
            scenario, learner.primary, self._figure, self._on_round, liars.strategies
        )
        self._losses = LossWatcher(learner, scenario.averaging, liars.strategies)
        if checkers:
            self._checkers += (CountedOnce(self.recorder.rows, lambda: self.recorder.peers),)
        self.faults = FaultInjector(
            scenario.faults, seed=scenario.seed, training_s=speeds.round_s(scenario.peers)
        )
        own, invitations = PluggedParts(scenario, folder), dict[int, bytes]()
        network = Network(
            scenario.network,
            peer_count=scenario.peers,
            seed=scenario.seed,
            queue=queue,
            between=own.between,
        )
        self.world = World(
            peer_ids=roster.peers,
            make_machine=liars.wrap(
                make_peers(
                    scenario,
                    roster,
                    initial,
                    learner.sample_count,
                    folder,
                    privacy,
                    invitations,
                    None if predecessor is None else predecessor.succeeds,
                ),
                roster,
                initial,
                lambda index: make_identity(scenario.seed, index),
            ),
            network=network,
            queue=queue,
            workshop=self._workshop,
            duration_s=speeds.duration_s,
            disks=Disks(scenario.disk, seed=scenario.seed),
            shared_jobs=whole_sums(scenario, speeds),
            board=board_of(scenario),
            observers=(self.recorder, self.faults, self._losses, *own.observers, *observers),
            checkers=self._checkers,
            late=scenario.late,
        )
        watched = watch(self.world, scenario, initial, liars)
        for checker in self._checkers:
            checker.start(watched)
        self.recorder.start(self.world)
        self.faults.start(self.world)
        own.start(self.world)
        self._settled = settled
        self.operators = Operators(
            scenario,
            liars.indices,
            self._on_settled,
            card_of=lambda index: charter_member(scenario, index, learner.sample_count),
            invitations=invitations,
            privacy_for=privacy_for(scenario, learner),
        )
        self.world.is_awaited = lambda: not self.operators.is_done
        self.operators.start(self.world)

    def run(self) -> bool:
        """Run to the end; return whether KeyboardInterrupt came first.

        Raises:
            LearningError: the task's own code raised.
        """
        self._is_under_way = True
        try:
            with self._workshop:
                self.world.start()
                self.world.run(self._scenario.time_limit_s)
        except KeyboardInterrupt:
            return True
        finally:
            self._is_under_way = False
        self.end_checks()
        return False

    def _on_settled(self) -> None:
        """End the run, if the peers have finished and only operators had something to do."""
        self.recorder.look()
        self._settled()

    def end_checks(self) -> None:
        """Have checkers look at the whole run; raises `Violation`."""
        for checker in self._checkers:
            checker.on_end(self.world.queue.now_s)

    def result(self) -> RunResult:
        """Gather the result of what has run; `failure` says what could not be measured in it."""
        world, scenario, learner = self.world, self._scenario, self._learner
        vectors = [running_peer(machine).vector for _, machine in self._honest_machines()]
        rows, named, peer_models = self.recorder.rows(), None, {}
        model = self.recorder.joint(vectors)
        try:
            named = None if model is None else learner.named(model)
            peer_models = {
                index: learner.named(it.vector, index, it.own)
                for index, it in sorted(self.recorder.counted_models().items())
            }
        except LearningError as error:
            self._failure = self._failure or str(error)
        return RunResult(
            scenario=scenario,
            primary=learner.primary,
            rounds=rows,
            failure=self._failure,
            peers=self.recorder.peers,
            events=[
                *in_order(self.recorder.events, self._losses.events),
                *self._backdoors(model),
            ],
            losses=self._losses.rows(),
            sample_counts=[learner.sample_count(peer) for peer in range(scenario.peers)],
            label_counts=learner.label_counts,
            neighbours=self._neighbours(),
            digest=world.trace.hexdigest(),
            model=model,
            named=named,
            peer_models=peer_models,
            interrupted=False,
            virtual_s=world.queue.now_s,
            wall_s=self._stopwatch.wall_s(),
            cpu_s=self._stopwatch.cpu_s(),
            counters={
                **world.counters,
                "events": world.queue.processed,
                "frames_sent": world.frames_sent,
                "bytes_sent": world.bytes_sent,
                "batches": self._workshop.batches,
                "jobs_run": self._workshop.jobs,
                "gossip_wall_s": self._stopwatch.wall_s(),
                "gossip_cpu_s": self._stopwatch.cpu_s(),
            },
            batching=learner.batching,
            inputs=learner.inputs(),
            environment={**environment(), **self._sources},
            masked_sums=self.recorder.sums(world.bytes_by_message),
            participation=self._participation(),
            idle_models=self._idle_models(),
            ledger=self._ledger(),
            privacy=self._privacy(),
            selected=self.recorder.selected,
            stopped=self.recorder.stopped,
        )

    def _backdoors(self, model: Vector | None) -> list[EventRow]:
        """Tell how many marked rows get the liars' label, if some teach one."""
        share = None if model is None else self._marked(model)
        if share is None:
            return []
        last = self._scenario.rounds - 1
        return [EventRow(self.world.queue.now_s, "backdoor", -1, last, f"{share:.4f}")]

    def _furthest(self) -> GroupMember | None:
        """Return the honest member of a group whose head is the highest."""
        found = [it for _, it in self._honest_machines() if isinstance(it, GroupMember)]
        return max(found, key=lambda it: it.history.head.head.place, default=None)

    def _participation(self) -> list[ParticipationRow] | None:
        member = self._furthest()
        if member is None:
            return None
        index_of = {host.peer_id: host.index for host in self.world.hosts}
        return participation_rows(member.history, member.causes, index_of)

    def _idle_models(self) -> int:
        member = self._furthest()
        return 0 if member is None else all_idle_heights(member.history)

    def _privacy(self) -> PrivacyRow | None:
        if self._plan is None:
            return None
        found = [it for _, it in self._honest_machines() if isinstance(it, GroupMember)]
        spent = max((member.private_spends for member in found), default=0)
        return row_of(self._plan, self._learner, spent)

    def _ledger(self) -> bytes | None:
        member = self._furthest()
        return None if member is None else write_record(member.history)

    def _neighbours(self) -> list[tuple[int, ...]]:
        """Return everybody's partners in the last round."""
        last = self._scenario.rounds - 1
        found: list[tuple[int, ...]] = [() for _ in self.world.hosts]
        for index, machine in self._honest_machines():
            try:
                found[index] = running_peer(machine).partners(last)
            except PluginError as error:  # An own graph, of a round that nobody came to.
                self._failure = self._failure or str(error)
        return found

    def _honest_machines(self) -> list[tuple[int, Machine]]:
        return [
            (host.index, host.machine)
            for host in self.world.hosts
            if host.machine is not None and host.index not in self._liars
        ]

    def _figure(self, round_: int, vector: Vector) -> float:
        try:
            result = self._workshop.do(0, Evaluate(round_, vector))
        except LearningError as error:
            if self._is_under_way:
                raise
            self._failure = self._failure or str(error)  # The rounds before it are whole.
            return float("nan")
        return common_figure(result, self._learner.primary)

    def _on_round(self, row: RoundRow, measured: int) -> None:
        primary, online = self._learner.primary, self.recorder.online
        self._tell(gossip_progress(self._scenario, primary, row, online, measured))


def watch(world: World, scenario: Scenario, initial: Vector, liars: Liars) -> Watched:
    """Return what checkers are to know of a world."""

    def partners_of(index: int, round_: int) -> tuple[int, ...]:
        machine: Any = world.hosts[index].machine
        partners: tuple[int, ...] = machine.partners(round_)
        return partners

    return Watched(
        peers=[host.peer_id for host in world.hosts],
        liars=liars.indices,
        initial=initial,
        rounds=scenario.rounds,
        has_cohorts=scenario.averaging.algorithm == "cohorts",
        hides_models=masking_of(scenario) != "none",
        partners_of=partners_of,
        is_group=scenario.averaging.algorithm == "group",
        epochs={0: scenario.founders},
    )


def common_figure(result: Record, primary: PrimaryMetric) -> float:
    """Return the primary figure on the common test rows; NaN where there is none."""
    found = result.metrics if isinstance(result, Evaluated) else {}
    return found.get(primary.name, float("nan"))
