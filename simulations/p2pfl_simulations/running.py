"""Runs a scenario: builds the peers and their world, runs them, and gathers what came of it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pfl.group.averaging import clip_of
from p2pfl.group.privacy_settings import privacy_of
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.metrics import PrimaryMetric
from p2pfl.learner.peer_models import PeerModel
from p2pfl.plugins import PluginError
from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.actions import Machine, Vector
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.participation import all_idle_heights
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_gossip.ledger.record import write_record
from p2pfl_gossip.records import Record
from p2pfl_simulations.baselines import local_only, pooled
from p2pfl_simulations.batch import Worker
from p2pfl_simulations.checkers import Checker, Watched, all_checkers
from p2pfl_simulations.checkers.accounting import CountedOnce
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.cluster.connecting import ClusterError
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.draws import evaluated_peers
from p2pfl_simulations.environment import environment
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.gains import take_gains
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
from p2pfl_simulations.kept_results import KeptResults
from p2pfl_simulations.liars.planting import Liars
from p2pfl_simulations.masking import MaskingWorker
from p2pfl_simulations.modelled import perform_modelled
from p2pfl_simulations.network import Network
from p2pfl_simulations.noiseless import compare
from p2pfl_simulations.once import Once
from p2pfl_simulations.operators import Operators
from p2pfl_simulations.own_parts import PluggedParts, check_plugins, plugin_sources
from p2pfl_simulations.private_plans import plan_of, row_of
from p2pfl_simulations.results.losses import LossWatcher, in_order
from p2pfl_simulations.results.participation import participation_rows
from p2pfl_simulations.results.privacy import PrivacyRow
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.results.run import (
    EndedEarly,
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


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is.

    `stage` is ``"gossip"``, ``"local only"``, ``"pooled"`` or ``"without noise"``. `mean` and
    `worst` are of the primary metric, each peer on its own test rows; on the common ones where
    peers have none. They are of the `measured` peers that were measured by then.
    """

    stage: str
    round: int
    rounds: int
    online: int
    peers: int
    primary: PrimaryMetric
    mean: float | None
    worst: float | None
    bytes_sent: int
    virtual_s: float
    measured: int = 0


OnProgress = Callable[[RunProgress], None]


def run(
    scenario: Scenario,
    *,
    folder: Path | None = None,
    threads: int | None = None,
    progress: OnProgress | None = None,
    is_checked: bool = False,
    kept: Path | None = None,
    ray: str | None = None,
) -> RunResult:
    """Simulate a scenario.

    Args:
        scenario: what to simulate; it and its seed determine all but durations.
        folder: where the scenario's own task and liars are imported from.
        threads: threads that train; one for each usable core if not given.
        progress: is called now and then.
        is_checked: whether checkers watch that what must hold does.
        kept: a file of results of learning: those that are there are not worked out again, and new
            ones are added, so that a run that is killed can go on.
        ray: the address of a Ray cluster whose machines do the learning.

    Returns:
        The result; partial, and `interrupted`, if KeyboardInterrupt came during the run.

    Raises:
        ClusterError: there is no such cluster.
        EndedEarly: the task's code raised when rounds had ended already: `run` has these.
        KeptResultsError: the file is of another run.
        LearningError: the task, its data or the partition cannot be had.
        PluginError: an own part cannot be used.
        ScenarioError: the settings do not fit each other.
        Violation: something that must hold does not.
        ValueError: less than one thread.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads = {threads}: it takes one or more")
    tell = progress or (lambda _: None)
    stopwatch = Stopwatch()
    check_plugins(scenario, folder)
    learner = make_learner(
        scenario.learning,
        peer_count=scenario.peers,
        seed=scenario.seed,
        folder=folder,
        threads=threads,
    )
    require_validation(scenario, learner)
    with ExitStack() as helpers:
        classroom = None
        if ray is not None:
            from p2pfl_simulations.cluster.learning import learning_on_ray

            classroom = helpers.enter_context(learning_on_ray(ray, scenario, folder))
            learner.helper = classroom
        if kept is not None:
            of = run_identity(scenario, learner, folder)
            results = helpers.enter_context(closing(KeptResults(kept, of, learner.helper)))
            learner.helper = results
        result = _simulate(scenario, learner, tell, folder, is_checked)
        if classroom is not None:
            result.counters["jobs_on_ray"] = classroom.jobs
            result.counters["workers_on_ray"] = classroom.begun
            result.counters["workers_lost_on_ray"] = classroom.lost
    result.wall_s, result.cpu_s = stopwatch.wall_s(), stopwatch.cpu_s()
    if result.failure:
        raise EndedEarly(result)
    return result


def _simulate(
    scenario: Scenario, learner: Learner, tell: OnProgress, folder: Path | None, is_checked: bool
) -> RunResult:
    """Run a scenario's peers and its baselines; what ended them early is in the result."""
    checkers = checkers_of(scenario) if is_checked else ()
    simulation = Simulation(scenario, learner, tell, folder=folder, checkers=checkers)
    error = None
    try:
        interrupted = simulation.run()
    except (ClusterError, LearningError, PluginError) as raised:
        interrupted, error = True, raised
    result = simulation.result()
    if error is not None:
        if not result.rounds:
            raise error
        result.failure = str(error)
    joint = simulation.recorder.models()
    complete_run(scenario, learner, result, joint, tell, interrupted)
    compare_noiseless(scenario, learner, result, simulation.privacy, tell)
    return result


def compare_noiseless(
    scenario: Scenario,
    learner: Learner,
    result: RunResult,
    privacy: Privacy | None,
    tell: OnProgress,
) -> None:
    """Hold a whole private run against the same group without noise, unless none was asked for."""
    is_whole = not (result.interrupted or result.unfinished or result.failure)
    if privacy is None or result.privacy is None or not is_whole:
        return
    if not scenario.evaluation.baselines:
        return
    with _kept_so_far(result):
        result.privacy.compared = compare(
            scenario,
            learner,
            privacy,
            last=result.rounds[-1],
            peers=evaluated_peers(scenario),
            tell=_teller(scenario, learner.primary, tell),
        )


def run_identity(scenario: Scenario, learner: Learner, folder: Path | None) -> dict[str, Any]:
    """Return what must be the same for a result of learning to be of use again."""
    settings = scenario.model_dump(mode="json", exclude={"learning": {"data_dir"}})
    inputs = learner.inputs()
    return {
        "scenario": hash_parts(b"p2pfl/sim-kept", json.dumps(settings).encode()).hex(),
        "data or code": [inputs.train, inputs.test, inputs.split, inputs.code],
        "version or machine": environment(),
        "own part": plugin_sources(scenario, folder),
    }


def complete_run(
    scenario: Scenario,
    learner: Learner,
    result: RunResult,
    joint: Mapping[int, PeerModel],
    tell: OnProgress,
    interrupted: bool,
) -> None:
    """Note what ended a run early; else hold it against its baselines.

    Args:
        scenario: what was run.
        learner: trains and measures.
        result: of the peers' rounds; its baselines and gains are put in.
        joint: the model that counts of each evaluated peer.
        tell: is told of progress.
        interrupted: whether the peers did not come to their end.
    """
    rounds = scenario.rounds if result.stopped is None else result.stopped + 1
    result.interrupted = interrupted or len(result.rounds) < rounds
    if interrupted or result.failure:
        result.unfinished = tuple(scenario.evaluation.baselines)
        return
    rows = {row.round: row for row in result.rounds}
    told = _teller(scenario, learner.primary, tell)
    left, peers = list(scenario.evaluation.baselines), evaluated_peers(scenario)
    alone: Mapping[int, PeerModel] = {}
    of_all: tuple[Learner, PeerModel] | None = None
    with _kept_so_far(result):
        if "local" in left:
            alone = local_only(scenario, learner, peers, rows, told)
            left.remove("local")
        if "pooled" in left:
            everybody = learner.pooled()
            model = pooled(scenario, everybody, peers, rows, told)
            of_all = None if model is None else (everybody, model)
            left.remove("pooled")
    result.unfinished = tuple(left)
    if "local" not in left:
        with _kept_so_far(result):
            gains = take_gains(scenario, learner, joint=joint, local=alone, pooled=of_all)
            result.gains, result.confusion = gains.rows, gains.confusion
            result.mean_gain, result.pooled_gain = gains.mean, gains.pooled


@contextmanager
def _kept_so_far(result: RunResult) -> Iterator[None]:
    """Let Ctrl-C, or an error of the task's, end what is in the block: what has run is kept."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except (LearningError, PluginError) as error:
        result.failure = result.failure or str(error)


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


def require_validation(scenario: Scenario, learner: Learner) -> None:
    """Refuse to choose by rows that there are none of.

    Raises:
        LearningError: a setting asks for rows to choose a model by, and nobody has any.
    """
    evaluation = scenario.evaluation
    asked = "patience" if evaluation.patience else "selection"
    if evaluation.patience is None and evaluation.selection != "common":
        return
    if not any(learner.validation_count(peer) for peer in evaluated_peers(scenario)):
        raise LearningError(
            f"evaluation.{asked} goes by rows to choose a model by, and no peer has any: set"
            " learning.validation above 0"
        )


def checkers_of(scenario: Scenario) -> tuple[Checker, ...]:
    """Return what watches a run: that all finish is demanded where nothing keeps them from it."""
    faults = scenario.faults
    is_disturbed = (
        faults.churn
        or faults.dropout
        or faults.crash
        or faults.crash_at_action
        or faults.partitions
        or faults.planned
        or faults.availability
        or faults.own
        or scenario.evaluation.patience is not None
    )
    has_limit = "time_limit_s" in scenario.model_fields_set
    if is_disturbed or scenario.network.loss or has_limit:
        return all_checkers()
    return (*all_checkers(), AllFinish())


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


def gossip_progress(
    scenario: Scenario, primary: PrimaryMetric, row: RoundRow, online: int, measured: int
) -> RunProgress:
    """Tell how far peers are that have come to the end of a round; so many were measured."""
    return RunProgress(
        stage="gossip",
        round=row.round + 1,
        rounds=scenario.rounds,
        online=online,
        peers=scenario.peers,
        primary=primary,
        mean=row.common_mean if row.own_mean is None else row.own_mean,
        worst=row.common_worst if row.own_mean is None else row.own_worst,
        bytes_sent=row.bytes_sent,
        virtual_s=row.virtual_s,
        measured=measured,
    )


def common_figure(result: Record, primary: PrimaryMetric) -> float:
    """Return the primary figure on the common test rows; NaN where there is none."""
    found = result.metrics if isinstance(result, Evaluated) else {}
    return found.get(primary.name, float("nan"))


def _teller(
    scenario: Scenario, primary: PrimaryMetric, tell: OnProgress
) -> Callable[[str, int], None]:
    def tell_stage(stage: str, round_: int) -> None:
        peers = scenario.peers
        done = round_ + 1, scenario.rounds, peers, peers
        tell(RunProgress(stage, *done, primary, None, None, 0, 0))

    return tell_stage
