"""The task that a peer runs: that of the charter in force, from the bundle its operator approved.

Code comes from the approved bundle only, unpacked anew by each process. What another charter
changes of task or training is taken up before the next job, without a restart; where it names a
bundle that was not approved here, jobs fail, and the peer rests until it is.
"""

import atexit
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pfl.charter.approved_bundles import BUNDLES, place_of, require_approved
from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.errors import PaperError
from p2pfl.charter.texts import TaskTerms
from p2pfl.daemon.building import Note, make_work
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.directory import agreed_in
from p2pfl.daemon.spending import Spending
from p2pfl.learner.errors import LearningError
from p2pfl.learner.exclusions import read_excluded
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import TrainingSettings
from p2pfl_gossip.actions import Job
from p2pfl_gossip.learning import LearningJob, WorkFailed
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.masked_sum.jobs import Spend
from p2pfl_gossip.records import Record

UNPACKED = "code"
"""Below `bundles`, with the process's number: the code of the task that runs there."""


class TaskInHand:
    """The learner of the charter in force.

    Attributes:
        listeners: are told each learner that is made, and the place of the peer's rows in it.
        spending: the peer's budget.
    """

    def __init__(self, folder: PeerFolder, config: PeerConfig) -> None:
        self._folder, self._config = folder, config
        self.spending = Spending(folder, config)
        self._wanted: CharterFile | None = None
        self._made: tuple[object, Learner, int] | None = None
        self._lock = threading.Lock()  # Jobs are done on one thread, and others may look.
        self._known: tuple[str, tuple[int, int], str] | None = None
        self.note: Note = lambda _round, _model, _validation: None
        self.listeners: list[Callable[[Learner, int], None]] = []

    def want(self, file: CharterFile | None) -> None:
        """Go by a charter from the next job on; by none while its texts are not here."""
        self._wanted = file

    def fault(self, file: CharterFile) -> str:
        """Say why the task of a charter may not run here; empty if it may.

        A private one runs where this peer's budget pays for all of it, which is reserved here.
        """
        return self._task_fault(file) or self.spending.fault(file)

    def _task_fault(self, file: CharterFile) -> str:
        task = file.terms.task
        if task.bundle is None:
            is_own = ":" in task.name and self._config.trial is None
            return f"the charter names no bundle of the task {task.name}" if is_own else ""
        place = place_of(self._folder.path, task.bundle)
        try:
            found = place.stat()
            stamp = found.st_mtime_ns, found.st_ino
        except OSError:
            stamp = 0, 0
        if self._known is None or self._known[:2] != (task.bundle, stamp):
            told = ""
            try:
                require_approved(self._folder.path, task.bundle)
            except PaperError as error:
                told = str(error)
            self._known = task.bundle, stamp, told
        return self._known[2]

    @property
    def made(self) -> tuple[Learner, int] | None:
        """The learner that was made last, if there is one."""
        return None if self._made is None else self._made[1:]

    def privacy_of(self, file: CharterFile) -> str:
        """Say what a charter promises of rows, whose they are, and what was spent of it."""
        by_person = None if self._made is None else self._made[1].lots.is_by_unit
        return self.spending.told(file, is_by_person=by_person)

    def learner(self) -> tuple[Learner, int]:
        """Return the learner of the charter in force, and the place of the peer's rows in it.

        Raises:
            PaperError: its task was not approved, or is not the one whose model the group has.
            LearningError: the task or its data cannot be had.
        """
        with self._lock:
            file = self._wanted
            if file is None:
                raise PaperError("the texts of the charter in force are not here yet")
            key = (_task_of(file), self._list_stamp())
            if self._made is None or self._made[0] != key:
                self._made = (key, *self._make(file))
                for listener in self.listeners:
                    listener(*self._made[1:])
            return self._made[1:]

    def _make(self, file: CharterFile) -> tuple[Learner, int]:
        if fault := self.fault(file):
            raise PaperError(fault)
        trial, task = self._config.trial, file.terms.task
        learning = agreed_in(file, self._config).learning.of_member(self._config.data_dir)
        learner = make_learner(
            learning.model_copy(update={"device": self._config.device}),
            peer_count=1 if trial is None else trial.peers,
            seed=task.seed,
            folder=code_of(self._folder, self._config, task),
            threads=self._config.threads,
            excluded=None
            if self._config.excluded is None
            else read_excluded(self._config.excluded.file, self._config.excluded.column),
        )
        item = file.charter.state[0]
        if learner.vector_length != item.length:
            raise PaperError(
                f"the model of {task.name} has {learner.vector_length} entries here, and the"
                f" charter's first state {item.length}: the data or p2pfl itself are others than"
                " where that was made"
            )
        return learner, 0 if trial is None else trial.place

    def _list_stamp(self) -> tuple[int, int, int] | None:
        """Tell one list of excluded units from another."""
        if self._config.excluded is None:
            return None
        try:
            found = self._config.excluded.file.stat()
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino

    def work(self, job: Job) -> Record:
        """Do a job; what cannot be done fails, and the round goes on without us."""
        if isinstance(job, Spend):
            return self.spending.spend(job)
        if not isinstance(job, LearningJob):
            return perform(job)
        try:
            learner, place = self.learner()
        except (PaperError, LearningError) as error:
            return WorkFailed(str(error))
        trial = self._config.trial
        step_s = 0.0 if trial is None else trial.step_s
        return make_work(learner, place, self.note, step_s=step_s)(job)


def code_of(folder: PeerFolder, config: PeerConfig, task: TaskTerms) -> Path | None:
    """Unpack the code that is approved; return where to import it from, None from p2pfl itself.

    Raises:
        PaperError: it was not approved here.
    """
    if task.bundle is None:
        return None if config.trial is None else config.trial.task_dir
    packed = require_approved(folder.path, task.bundle)
    place = folder.path / BUNDLES / f"{UNPACKED}-{os.getpid()}" / task.bundle[:16]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700, parents=True)
    packed.unpack(place)
    atexit.register(shutil.rmtree, place.parent, ignore_errors=True)
    return place


def _task_of(file: CharterFile) -> tuple[TaskTerms, TrainingSettings, Any]:
    """Return what of a charter its learner is made by."""
    return file.terms.task, file.running.training, file.charter.state[0].length
