"""Runs a scenario in real processes, and gathers the result that a simulation would give."""

from collections.abc import Collection
from pathlib import Path

from p2pfl.group.averaging import clip_of
from p2pfl.group.privacy_settings import privacy_of
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl.privacy.planner import Plan
from p2pfl_gossip.actions import Event, PeerId, Vector
from p2pfl_gossip.events import RoundEnded, RoundStarted
from p2pfl_gossip.learning import Evaluate
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import all_idle_heights
from p2pfl_gossip.ledger.record import write_record
from p2pfl_simulations.checkers import Watched
from p2pfl_simulations.checkers.accounting import CountedOnce
from p2pfl_simulations.checkers.reported import ReportedChecks
from p2pfl_simulations.completing import compare_noiseless, complete_run
from p2pfl_simulations.environment import environment
from p2pfl_simulations.faults import FaultInjector
from p2pfl_simulations.group import Speeds, make_peers, make_roster
from p2pfl_simulations.launch.budgets import spent_most
from p2pfl_simulations.launch.errors import LaunchError
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.launch.ledgers import furthest, read_ledgers
from p2pfl_simulations.launch.left_behind import check_journals, check_logs
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.launch.relays import relayed
from p2pfl_simulations.launch.testbed import (
    ProcessTestbed,
    cut_pairs,
    has_slower_peers,
    late_peers,
)
from p2pfl_simulations.private_plans import plan_of, row_of
from p2pfl_simulations.progress import OnProgress, gossip_progress
from p2pfl_simulations.results.losses import LossWatcher, in_order
from p2pfl_simulations.results.participation import participation_rows
from p2pfl_simulations.results.privacy import PrivacyRow
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.results.run import (
    PROCESSES,
    EndedEarly,
    ParticipationRow,
    RoundRow,
    RunResult,
)
from p2pfl_simulations.running import require_validation
from p2pfl_simulations.scenario import Scenario, masking_of
from p2pfl_simulations.simulation import common_figure
from p2pfl_simulations.stopwatch import Stopwatch


def require_launchable(scenario: Scenario) -> None:
    """Raise LaunchError for what only a simulation can do, before anything is made."""
    if masking_of(scenario) == "modelled":
        raise LaunchError(
            "processes hide nothing by masks that are only modelled: set averaging.masking to"
            " 'real' or 'none'"
        )
    if scenario.faults.liars:
        raise LaunchError(
            "processes do not lie: faults.liars is for simulated runs; leave it out, or use"
            " p2pfl simulate"
        )


def launch(
    scenario: Scenario,
    *,
    peers_folder: Path,
    task_folder: Path | None,
    progress: OnProgress,
    is_checked: bool = False,
) -> RunResult:
    """Run each peer of a scenario in a process of its own, on this machine.

    Args:
        scenario: what to run; of its faults, those that can be done to processes.
        peers_folder: where the peers' folders are made; it is there, and empty.
        task_folder: where the scenario's own task is imported from.
        progress: is called now and then.
        is_checked: whether checkers look at what peers report and leave behind.

    Returns:
        The result; partial, and `interrupted`, if KeyboardInterrupt came during the run.

    Raises:
        EndedEarly: a process ended by itself, or the task's code raised, when rounds had ended
            already: `run` has these.
        LaunchError: a process ended by itself.
        LearningError, PaperError, ScenarioError: the scenario cannot be run.
        Violation: something that must hold does not.
    """
    stopwatch = Stopwatch()
    learner = make_learner(
        scenario.learning, peer_count=scenario.peers, seed=scenario.seed, folder=task_folder
    )
    require_validation(scenario, learner)
    learner.require_start_within(clip_of(scenario.averaging))
    _require_drawn_rows(scenario, learner)
    plan = plan_of(scenario, learner)
    folders = make_folders(
        scenario,
        peers_folder,
        task_folder,
        learner,
        plan=plan,
        step_s=step_times(scenario, learner),
    )
    pairs = cut_pairs(scenario)
    relays = relayed(folders, pairs) if pairs else None
    # The names that a simulation's streams have: so both come to the same models.
    draws = str(scenario.seed)
    testbed = ProcessTestbed(
        scenario,
        [PeerProcess(index, folder, draws=draws) for index, folder in enumerate(folders)],
        relays=relays,
        late=late_peers(scenario),
    )
    launched = _Launch(scenario, learner, testbed, progress, plan)
    if is_checked:
        launched.check()
    error = None
    try:
        interrupted = launched.run()
    except LaunchError as raised:
        interrupted, error = True, raised
    finally:
        if relays is not None:
            relays.close()
    run = launched.result(stopwatch)
    if is_checked and error is None:
        launched.check_left_behind()
    if error is not None:
        if not run.rounds:
            raise error
        run.failure = str(error)
    complete_run(scenario, learner, run, launched.models(), progress, interrupted)
    if plan is not None and scenario.privacy is not None:
        compare_noiseless(scenario, learner, run, privacy_of(scenario.privacy, plan), progress)
    run.wall_s, run.cpu_s = stopwatch.wall_s(), stopwatch.cpu_s()
    if run.failure:
        raise EndedEarly(run)
    return run


def step_times(scenario: Scenario, learner: Learner) -> list[float] | None:
    """Return how long a step takes each peer at least; None if none is slower than another."""
    if not has_slower_peers(scenario):
        return None
    speeds = Speeds(scenario, learner.steps)
    return [speeds.step_s(peer) for peer in range(scenario.peers)]


def _require_drawn_rows(scenario: Scenario, learner: Learner) -> None:
    """Refuse what a charter of a real group would, where rows are known: trainings without draws.

    Raises:
        LaunchError: each step of every peer would take all of its rows, and masks hide little then.
    """
    if masking_of(scenario) == "none" or scenario.privacy is not None:
        return
    training = scenario.learning.training
    if training.are_all_full(learner.sample_count(peer) for peer in range(scenario.peers)):
        raise LaunchError(
            f"learning.training.batch_size = {training.batch_size}: no peer has more rows, so every"
            " step takes all of them, and two rounds that differ by one peer give its update away."
            " Lower it, ask for [privacy], or say that it is meant:"
            " learning.training.full_batch = true"
        )


class _Launch:
    """One launch: the testbed, and who watches it."""

    def __init__(
        self,
        scenario: Scenario,
        learner: Learner,
        testbed: ProcessTestbed,
        progress: OnProgress,
        plan: Plan | None,
    ) -> None:
        self._scenario, self._learner, self._testbed = scenario, learner, testbed
        self._progress = progress
        self._plan = plan
        self._checks: tuple[ReportedChecks, ...] = ()
        self._watched: Watched | None = None
        self._histories: list[History] = []
        self._recorder = Recorder(scenario, learner.primary, self._figure, self._on_round)
        self._recorder.start(testbed)
        self._losses = LossWatcher(learner, scenario.averaging)
        self._failure = ""
        self._models = _Models(learner.initial_vector(), scenario.peers)
        faults = scenario.faults.model_copy(update={"crash_at_action": None, "backups": None})
        self._faults = _FaultsOnceOpen(
            FaultInjector(faults, seed=scenario.seed, training_s=testbed.training_s),
            testbed,
            late_peers(scenario),
        )

    def check(self) -> None:
        """Have the run checked as far as reports go; `check_left_behind` does the rest."""
        scenario, initial = self._scenario, self._learner.initial_vector()
        roster = make_roster(scenario)
        make_peer = make_peers(scenario, roster, initial, self._learner.sample_count)
        peers = [make_peer(index) for index in range(scenario.peers)]
        watched = Watched(
            # Events name members as their folders are called.
            peers=[PeerId(host.folder.name) for host in self._testbed.hosts],
            liars=frozenset(),
            initial=initial,
            rounds=scenario.rounds,
            has_cohorts=scenario.averaging.algorithm == "cohorts",
            hides_models=masking_of(scenario) != "none",
            is_group=scenario.averaging.algorithm == "group",
            partners_of=lambda index, round_: peers[index].partners(round_),
        )
        self._watched, self._checks = watched, (ReportedChecks(watched),)

    def check_left_behind(self) -> None:
        """Have checkers look at tables, logs and journals, once all processes have ended."""
        watched, hosts = self._watched, self._testbed.hosts
        assert watched is not None, "check() comes first"
        tables = CountedOnce(self._recorder.rows, lambda: self._recorder.peers)
        tables.start(watched)
        tables.on_end(self._testbed.queue.now_s)
        folders = [host.folder for host in hosts]
        check_logs(watched, folders)
        if watched.is_group:
            for checks in self._checks:
                checks.ends.compare(self._histories)
                check_journals(watched, folders, checks.finished)

    def run(self) -> bool:
        """Run to the end; return whether KeyboardInterrupt came first."""
        try:
            self._testbed.run(
                (self._recorder, self._faults, self._losses, self._models, *self._checks)
            )
        except KeyboardInterrupt:
            return True
        finally:
            self._testbed.end()
        return False

    def result(self, stopwatch: Stopwatch) -> RunResult:
        """Gather the result of what has run."""
        scenario, learner, testbed = self._scenario, self._learner, self._testbed
        roster = make_roster(scenario)
        make_peer = make_peers(scenario, roster, learner.initial_vector(), learner.sample_count)
        peers = range(scenario.peers)
        if scenario.averaging.algorithm == "group":
            self._histories = read_ledgers(host.folder for host in testbed.hosts)
        history = furthest(self._histories)
        rows, named, peer_models = self._recorder.rows(), None, {}
        model = self._recorder.joint(self._models.latest)
        try:
            named = None if model is None else learner.named(model)
            peer_models = {
                index: learner.named(it.vector, index, it.own)
                for index, it in sorted(self._recorder.counted_models().items())
            }
        except LearningError as error:
            self._failure = self._failure or str(error)
        return RunResult(
            scenario=scenario,
            primary=learner.primary,
            rounds=rows,
            failure=self._failure,
            peers=self._recorder.peers,
            events=in_order(self._recorder.events, self._losses.events),
            losses=self._losses.rows(),
            sample_counts=[learner.sample_count(peer) for peer in peers],
            label_counts=learner.label_counts,
            neighbours=[make_peer(peer).partners(scenario.rounds - 1) for peer in peers],
            digest="",
            model=model,
            named=named,
            peer_models=peer_models,
            interrupted=False,
            virtual_s=testbed.queue.now_s,
            wall_s=stopwatch.wall_s(),
            cpu_s=stopwatch.cpu_s(),
            counters={
                "frames_sent": testbed.frames_sent,
                "bytes_sent": testbed.bytes_sent,
                "processes": sum(process.life + 1 for process in testbed.hosts),
            },
            batching="each peer in its own process",
            inputs=learner.inputs(),
            environment=environment(),
            masked_sums=self._recorder.sums(testbed.bytes_by_message()),
            world=PROCESSES,
            participation=None if history is None else _participation(history),
            idle_models=0 if history is None else all_idle_heights(history),
            ledger=None if history is None else write_record(history),
            privacy=self._privacy(),
            selected=self._recorder.selected,
            stopped=self._recorder.stopped,
        )

    def _privacy(self) -> PrivacyRow | None:
        if self._plan is None:
            return None
        spent = spent_most(host.folder for host in self._testbed.hosts)
        return row_of(self._plan, self._learner, spent, is_seeded=False)

    def models(self) -> dict[int, PeerModel]:
        """Return the model that counts of each evaluated peer."""
        return self._recorder.models()

    def _figure(self, round_: int, vector: Vector) -> float:
        try:
            (result,) = self._learner.run([(0, Evaluate(round_, vector))])
        except LearningError as error:  # The peers go on, and so does their record.
            self._failure = self._failure or str(error)
            return float("nan")
        return common_figure(result, self._learner.primary)

    def _on_round(self, row: RoundRow, measured: int) -> None:
        primary, online = self._learner.primary, self._recorder.online
        self._progress(gossip_progress(self._scenario, primary, row, online, measured))


def _participation(history: History) -> list[ParticipationRow]:
    """Count who is in how many models; why others were out last, each peer has told by itself."""
    members = history.epochs[0].members
    return participation_rows(history, {}, {peer: index for index, peer in enumerate(members)})


class _FaultsOnceOpen:
    """Faults, from the moment on at which all peers have begun: starting takes its time.

    Those that are set up late are not waited for.
    """

    def __init__(
        self, faults: FaultInjector, testbed: ProcessTestbed, late: Collection[int]
    ) -> None:
        self._faults, self._testbed = faults, testbed
        # Membership and emptiness only.
        self._waited_for = set(range(len(testbed.hosts))).difference(late)

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        """Pass an event on, once the faults have begun."""
        if not self._waited_for:
            self._faults.on_report(now_s, host, event)
        elif isinstance(event, RoundStarted):
            self._waited_for.discard(host.index)
            if not self._waited_for:
                self._faults.start(self._testbed)

    def on_incident(self, now_s: float, host: PeerProcess, kind: str, detail: str) -> None:
        """Nothing: incidents are the faults' own doing."""


class _Models:
    """Everybody's newest model."""

    def __init__(self, initial: Vector, count: int) -> None:
        self.latest = [initial] * count

    def on_report(self, now_s: float, host: PeerProcess, event: Event) -> None:
        """Take the model of a round that ended."""
        if isinstance(event, RoundEnded):
            self.latest[host.index] = event.vector

    def on_incident(self, now_s: float, host: PeerProcess, kind: str, detail: str) -> None:
        """Nothing: a process that is gone has its last model."""
