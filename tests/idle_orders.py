"""Groups whose rounds come to nothing: in any order, with crashes, restored journals and operators.

    python tests/idle_orders.py --seeds 0:1000
    python tests/idle_orders.py --crashes --seeds 0:2500

One member bends each part of the sums that it is in, unnamed, as often as a seed draws. Members
rest once they gave 1 + `retries` updates from one model; operators say `once more` at any time; a
charter comes that has other `retries`, or goes back to the first model. The checkers of simulations
look on. Then all promises are kept, and what must come of it does. A failure prints its replay.
"""

import argparse
import sys
from collections.abc import Sequence
from random import Random
from traceback import extract_tb
from typing import Any

import numpy as np
from ledger_group import LedgerGroup, model_of
from unruly_group import Asked, UnrulyGroup

from p2pfl_gossip.actions import Action, Command, Job, PeerId, Persist, Vector
from p2pfl_gossip.events import MemberBlamed
from p2pfl_gossip.learning import Evaluate, Train, Trained
from p2pfl_gossip.ledger.charter import Charter
from p2pfl_gossip.ledger.course import Stage
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.masked_sum.jobs import DigestChunk, Digested, MaskChunk, MaskedChunk
from p2pfl_gossip.peer_state import PeerSettings, State
from p2pfl_gossip.records import Record
from p2pfl_simulations.checkers.base import Watched
from p2pfl_simulations.checkers.ledger import OneHistory, SaysOnce
from p2pfl_simulations.checkers.secrecy import SpentOnce
from p2pfl_simulations.checkers.spending import SpendsFew

BENDER = 0
"""The member that bends sums: the one of least weight, so that no sum can be as it makes it."""
ROUNDS = 2


class HostedMember(GroupMember):
    """A member whose host lets a charter come, and says so after each start."""

    due: tuple[bytes, ...] = ()

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        actions = super().on_start(now_s, records)
        return actions + self.hear_host(now_s, HostWord(due=self.due))


class IdleGroup(UnrulyGroup):
    """A group, one member of which bends sums, with checkers that look on.

    Attributes:
        bends: the share of sessions that it bends.
        older: share of the deaths after which a process comes back with an older journal.
        crash_at: a member and the number of an action before which it dies, once; or None.
        acted: how many actions of each were done.
        restored: the one whose journal was an older copy; None before.
        once_more: how often each operator said so, and something came of it.
    """

    def __init__(
        self,
        group: LedgerGroup,
        *,
        seed: str,
        charters: Sequence[Charter] = (),
        **ways: float,
    ) -> None:
        self.group, self.bends, self.older = group, 1.0, 0.0
        self.crash_at: tuple[int, int] | None = None
        self.acted = [0] * group.size
        self.once_more = [0] * group.size
        self.restored: int | None = None
        self._doing, self._seed = 0, seed
        self._bent: dict[bytes, bool] = {}  # By session: what is masked again is the same.
        self._journals: list[list[dict[str, Any]]] = [[] for _ in range(group.size)]
        self.spends_few = SpendsFew()
        self.checkers = (SaysOnce(), OneHistory(), SpentOnce(), self.spends_few)
        entropy = Random(f"{seed}/entropy")
        initial = model_of(0.0)
        initial.flags.writeable = False

        def make(index: int) -> GroupMember:
            member = HostedMember(
                founding=group.epoch,
                identity=group.identities[index],
                initial=initial,
                settings=PeerSettings(rounds=ROUNDS, deadline_s=2.0),
                seed="test",
                entropy=entropy.randbytes,
            )
            member.due = tuple(charter.digest() for charter in charters)
            return member

        ids: tuple[PeerId, ...] = group.epoch.members
        super().__init__(ids, make, seed=f"{seed}/driver", failing=(Train, Evaluate), **ways)
        watched = Watched(
            peers=ids,
            liars=frozenset(),
            initial=initial,
            rounds=ROUNDS,
            has_cohorts=False,
            hides_models=True,
            partners_of=lambda _index, _round: (),
            is_group=True,
            epochs={number: tuple(range(group.size)) for number in range(3)},
        )
        for checker in self.checkers:
            checker.start(watched)

    @property
    def members(self) -> list[GroupMember]:
        """All machines, as they are now."""
        return [process.machine for process in self.processes]

    def allow(self, index: int) -> bool:
        """Have an operator say `once more`; tell whether anything comes of it."""
        if not self.members[index].may_be_allowed_more:
            return False
        self.once_more[index] += 1
        self._tell(index, "allow_one_more")
        return True

    def propose(self, index: int, charter: Charter) -> None:
        """Hand a member a charter with all its approvals, unless it came too late."""
        if self.members[index].epoch.digest == charter.present:
            self._tell(index, "propose", self.group.parcel(charter))

    # --- what checkers are told -----------------------------------------------------------------

    def _tell(self, index: int, name: str, *arguments: Any) -> Any:
        for checker in self.checkers:
            checker.on_input(self.now_s, index, name, arguments)
        return super()._tell(index, name, *arguments)

    def _answer(self, asked: Asked) -> None:
        if asked.records is not None:
            self._told(asked.owner, Persist(asked.records))
        super()._answer(asked)

    def _do(self, index: int, action: Action) -> None:
        self._doing = index
        self.acted[index] += 1
        if self.crash_at == (index, self.acted[index]):
            self.crash_at = None
            self._crash(index)
            return
        super()._do(index, action)
        if self.processes[index].writing is None or not isinstance(action, Persist):
            self._told(index, action)  # Else it is not durable yet.

    def _told(self, index: int, action: Action) -> None:
        for checker in self.checkers:
            if isinstance(action, checker.actions):
                checker.on_action(self.now_s, index, action)

    def _crash(self, index: int) -> None:
        process, journals = self.processes[index], self._journals[index]
        if journals and self.restored in (None, index) and self.random.random() < self.older:
            self.restored = index
            process.records = dict(self.random.choice(journals))
            process.writing = None
        for checker in self.checkers:
            checker.on_crash(self.now_s, index)
        super()._crash(index)

    def back_up(self, index: int) -> None:
        """Copy a member's journal as it is."""
        self._journals[index].append(dict(self.processes[index].records))

    # --- the bender -----------------------------------------------------------------------------

    def _result(self, job: Job) -> Record:
        if isinstance(job, Train):
            trained = job.vector + np.float32(self.random.uniform(0.5, 1.5))
            trained.flags.writeable = False
            return Trained(trained, 1, 0.5)
        result = super()._result(job)
        if self._doing != BENDER or not isinstance(result, MaskedChunk):
            return result
        assert isinstance(job, MaskChunk)
        if not self._bent.setdefault(
            job.tau2, Random(f"{self._seed}/{job.tau2.hex()}").random() < self.bends
        ):
            return result
        body = result.body + np.uint32(0.9 * 2**31)
        body.flags.writeable = False
        digested = perform(DigestChunk(job.tau2, job.rank, job.chunk, body))
        assert isinstance(digested, Digested)
        return MaskedChunk(job.chunk, body, digested.digest, 0)

    # --- what is to come of it ------------------------------------------------------------------

    @property
    def round(self) -> int:
        """The highest round that a member has advertised for."""
        parts = [member._started.parts for member in self.members]
        return max(it.standing.advert_round for it in parts)

    @property
    def are_settled(self) -> bool:
        """Whether fewer than t would give, on one head that all know to be final, and say so."""
        parts = [member._started.parts for member in self.members]
        heads = {it.history.head.head for it in parts}
        over = [index for index in range(self.group.size) if index not in self.ready]
        return (
            len(self.ready) < self.group.epoch.threshold
            and len(heads) == 1
            and all(it.history.is_final(it.history.head.head) for it in parts)
            and all(it.course.has_advertised for it in parts)
            and all(self.members[it].rest in (Rest.SPENT, Rest.FINISHED) for it in over)
            and all(parts[it].course.stage is Stage.RESTING for it in over)
        )

    @property
    def ready(self) -> list[int]:
        """Members that would give an update."""
        return [index for index, it in enumerate(self.members) if it.rest == Rest.NONE]

    def settle(self, steps_max: int = 30_000) -> None:
        """Keep all promises until nothing more comes; then no more rounds may."""
        assert self.be_orderly(lambda: self.are_settled, steps_max=steps_max), self.states
        round_, heads = self.round, [it.history.head.head for it in self.members]
        self.be_orderly(lambda: False, steps_max=300)
        assert [it.history.head.head for it in self.members] == heads, self.states
        if len(self.ready) <= self.group.epoch.liars_max:
            assert self.round <= round_ + 1, f"rounds run on from {round_}\n{self.states}"

    @property
    def states(self) -> str:
        """Where all members are."""
        found = []
        for member in self.members:
            parts = member._started.parts
            found.append(
                f"{member.state} {Rest(member.rest).name} epoch {member.epoch.number} round"
                f" {parts.course.round} said {parts.standing.advert_round} head"
                f" {member.history.head.head.round} height {member.round}"
                f" spends {parts.standing.record.spends} out {parts.standing.record.sits_out}"
                f" stage {parts.course.stage} active {parts.course.is_active}"
            )
        return "\n".join(found)

    def come_to_the_end(self, allowed: Sequence[int], steps_max: int = 60_000) -> None:
        """Have operators say `once more` wherever it is of use, until all have finished."""

        def is_over() -> bool:
            for index in allowed:
                self.allow(index)
            return all(it.state is State.FINISHED for it in self.members)

        assert self.be_orderly(is_over, steps_max=steps_max), self.states
        assert len({it.history.head.head for it in self.members}) == 1
        assert len({it.vector.tobytes() for it in self.members}) == 1

    def once_more_is_enough(self) -> None:
        """Once all can talk, and nobody bends: one word each of t operators leads to a model."""
        self.bends = 0.0
        for index in range(self.group.size):
            if len(self.ready) < self.group.epoch.threshold:
                self.allow(index)
        assert len(self.ready) >= self.group.epoch.threshold, self.states
        models = {it.history.head.entry.state for it in self.members}
        assert len(models) == 1
        assert self.be_orderly(
            lambda: all(it.history.head.entry.state not in models for it in self.members),
            steps_max=20_000,
        ), self.states

    def no_honest_one_is_blamed(self) -> None:
        """Nobody is: to bend a sum is not proven where no audit is."""
        told = [event for events in self.reported for event in events]
        assert [event for event in told if isinstance(event, MemberBlamed)] == []
        assert self.refusals == []


GROUPS: dict[tuple[int, int], LedgerGroup] = {}


def group_of(size: int, retries: int) -> LedgerGroup:
    """Return the group of a size whose members give so many updates more; made once."""
    known = GROUPS.get((size, retries))
    if known is None:
        known = GROUPS[size, retries] = LedgerGroup(size, rounds=ROUNDS + 6, retries=retries)
    return known


def make(seed: int) -> tuple[IdleGroup, Charter, Random]:
    """Draw a group, how unruly its world is, and the charter that may come."""
    rng = Random(f"{seed}/idle")
    size, retries = rng.choice([5, 5, 5, 7]), rng.choice([0, 1, 1, 2])
    group = group_of(size, retries)
    fields: dict[str, Any] = {"retries": rng.choice([0, 1, 3])}
    if rng.random() < 0.3:
        fields |= {"start": group.first.head, "state": group.first.entry.state}
    charter = group.next_charter(**fields)
    idle = IdleGroup(
        group,
        seed=str(seed),
        charters=[charter],
        haste=rng.choice([0.002, 0.02, 0.3]),
        loss=rng.choice([0.0, 0.0, 0.02, 0.1]),
        crashes=rng.choice([0.0, 0.002, 0.01]),
        slow_disks=rng.choice([0.0, 0.3, 1.0]),
    )
    idle.bends = rng.choice([1.0, 1.0, 0.7, 0.3])
    idle.older = rng.choice([0.0, 0.0, 0.0, 0.5])
    return idle, charter, rng


def be_unruly(idle: IdleGroup, charter: Charter | None, rng: Random) -> None:
    """Let all go wrong that may, with operators that say what they like."""
    size = idle.group.size
    for part in range(rng.randint(0, 12)):
        idle.be_unruly(rng.choice([20, 150, 400]))
        for index in range(size):
            if rng.random() < 0.3:
                idle.allow(index)
            if idle.older and rng.random() < 0.3:
                idle.back_up(index)
        if charter is not None and rng.random() < 0.3:
            idle.propose(rng.randrange(size), charter)
        if part and rng.random() < 0.2:
            idle.bends = rng.choice([1.0, 0.0, 0.5])
    idle.crashes = idle.loss = 0.0
    for index in range(size):
        idle.command(index, Command.RESUME)


def allow_few(idle: IdleGroup, rng: Random) -> None:
    """Have fewer than t operators say `once more`: nothing comes of it, whoever lies."""
    idle.bends = 1.0
    idle.settle()
    threshold = idle.group.epoch.threshold
    few = rng.sample(range(idle.group.size), rng.randint(1, threshold - 1))
    heads = [it.history.head.head for it in idle.members]
    for index in few:
        idle.allow(index)
    are_enough = len(idle.ready) >= threshold
    idle.be_orderly(lambda: False, steps_max=rng.choice([100, 2000]))
    if not are_enough:
        assert [it.history.head.head for it in idle.members] == heads, idle.states


def check(seed: int) -> IdleGroup:
    """Run one seed; raise AssertionError or Violation where something does not hold."""
    idle, charter, rng = make(seed)
    idle.start()
    comes = charter if rng.random() < 0.4 else None
    be_unruly(idle, comes, rng)
    if comes is not None:  # A group that rests amends all the same.
        for index in range(idle.group.size):
            idle.propose(index, comes)
        told = idle.be_orderly(
            lambda: all(it.epoch.number == 1 for it in idle.members), steps_max=60_000
        )
        assert told, idle.states
    if rng.random() < 0.5:
        allow_few(idle, rng)
        if idle.restored is None:
            idle.once_more_is_enough()
    idle.bends = 0.0
    willing = [it for it in range(idle.group.size) if it != idle.restored]
    idle.come_to_the_end(rng.sample(willing, idle.group.epoch.threshold))
    if idle.restored is None:
        idle.no_honest_one_is_blamed()
    return idle


def check_crash(number: int, retries: int = 1) -> IdleGroup:
    """Have one member of five die at one action, in order, while rounds come to nothing.

    Args:
        number: five times the action's number, and the member.
        retries: of the charter.
    """
    group = group_of(5, retries)
    at_action, index = divmod(number, 5)
    idle = IdleGroup(group, seed="crash")
    idle.crash_at = (index, at_action)
    idle.start()
    idle.settle()
    for member in idle.members:
        assert member.history.height >= 1 + retries - (member.rest != Rest.SPENT), idle.states
    idle.bends = 0.0
    lacking = [index for index in range(5) if idle.allow(index)]
    assert len(lacking) + len(idle.ready) >= 4
    height = max(it.history.height for it in idle.members)
    idle.be_orderly(lambda: all(it.history.height > height for it in idle.members), steps_max=9000)
    assert all(it.history.height > height for it in idle.members), idle.states
    return idle


def main() -> int:
    parser = argparse.ArgumentParser(description="Rounds that come to nothing, by seed.")
    parser.add_argument("--seeds", default="0:100", help="first and one past the last, 0:100")
    parser.add_argument("--crashes", action="store_true", help="numbers of crashes, not seeds")
    parser.add_argument("--every", type=int, default=1, help="run each so many-th alone")
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition(":")
    run = check_crash if arguments.crashes else check
    failed = most = steps = 0
    for seed in range(int(first), int(last), arguments.every):
        try:
            idle = run(seed)
            most = max(most, idle.spends_few.most)
            steps += sum(idle.acted)
        except Exception as error:
            failed += 1
            where = extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            print(f"{seed}: {told}; replay: --seeds {seed}:{seed + 1}", flush=True)
    runs = len(range(int(first), int(last), arguments.every))
    print(f"{runs} runs, {steps} actions, at most {most} from one model, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
