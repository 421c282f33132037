"""A group that keeps a ledger, in the simulated world, with a task that costs nothing.

Training adds to the model a vector that is the peer's own, so that a test can tell from a model
whose updates are in it, and how often.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Event, Job, Vector
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained, TrainPrivately, WorkFailed
from p2pfl_gossip.ledger.approvals import Approval, Says, approval_of, in_order
from p2pfl_gossip.ledger.charter import (
    FOREVER,
    NONE,
    Bounds,
    Charter,
    CharterMember,
    Epoch,
    Governance,
    encode_charter,
)
from p2pfl_gossip.ledger.entries import EntryStep, first_entry
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Parcel
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.peer_state import PeerSettings, State
from p2pfl_gossip.records import Record
from p2pfl_simulations.batch import Workshop
from p2pfl_simulations.checkers.base import Checker, Watched
from p2pfl_simulations.disk import Disks
from p2pfl_simulations.event_queue import EventQueue
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.masking import SeededEntropy
from p2pfl_simulations.network import Network
from p2pfl_simulations.world import World
from p2pfl_simulations.world_settings import DiskSettings, NetworkSettings

RELAY_S = 4.0
TRAINING_S = 1.0


def identity_of(index: int) -> Identity:
    """Give a member its identity."""
    return Identity(hash_parts(b"p2pfl/test-id", index.to_bytes(8, "little")))


def governor_of(index: int) -> Identity:
    """Give a member its governance key."""
    return Identity(hash_parts(b"p2pfl/test-gov", index.to_bytes(8, "little")))


def member_of(index: int, weight: float = 1.0) -> CharterMember:
    """Write a member."""
    key = GovernanceKey("ed25519", governor_of(index).public_key).encoded
    name = f"m{index}"
    return CharterMember(identity_of(index).public_key, name, name, weight, Governance(1, (key,)))


def approval_by(signer: Identity, charter: Charter, says: int = Says.APPROVE) -> Approval:
    """What a key says of a charter."""
    key = GovernanceKey("ed25519", signer.public_key)
    return approval_of(charter.digest(), says, key, FOREVER, signer.sign)


def parcel_of(charter: Charter, members: Iterable[int], peers: Iterable[int] = ()) -> Parcel:
    """Write a charter's parcel, approved by governance keys of members and by peers' keys."""
    said = [approval_by(governor_of(index), charter) for index in members]
    said += [approval_by(identity_of(index), charter) for index in peers]
    return Parcel(encode_charter(charter), b"", b"", in_order(said))


def first_model(entries: int) -> Vector:
    """Return the first state's model."""
    model = np.linspace(-1, 1, entries, dtype=np.float32)
    model.flags.writeable = False
    return model


def make_charter(
    members: Sequence[int],
    *,
    entries: int = 64,
    rounds: int = 3,
    weights: Sequence[float] | None = None,
    present: bytes = NONE,
    **changes: Any,
) -> Charter:
    """Write a charter of members, named by their index."""
    fields: dict[str, Any] = {
        "version": 2,
        "nonce": bytes(32),
        "present": present,
        "members": tuple(
            member_of(index, weight)
            for index, weight in zip(members, weights or [1.0] * len(members), strict=True)
        ),
        "rounds": rounds,
        "clip": 100.0,
        "patience_s": 20.0,
        "relay_s": RELAY_S,
        "progress_s": RELAY_S / 4,
        "retries": 8,
        "state": (digest_state("model", first_model(entries)).item,),
        "not_before": 0,
        "until": FOREVER,
        "notice_s": 100,
        "bounds": Bounds(100, 1.0, 1000.0, 100.0, RELAY_S, 10 * RELAY_S, running=True),
        "start": None,
        "succeeds": None,
        "terms": bytes(32),
        "running": bytes(32),
    }
    return Charter(**(fields | changes))


def pull_of(index: int, entries: int) -> Vector:
    """Return what a member's training adds."""
    pull = np.zeros(entries, np.float32)
    pull[index % entries] = 1.0
    return pull


class ToyWorker:
    """Does all jobs of members; `fails` tells whose training gives nothing."""

    def __init__(self) -> None:
        self.fails: Callable[[int, Train], bool] = lambda _index, _job: False

    def run(self, jobs: Sequence[tuple[int, Job]]) -> Sequence[Record]:
        return [self._do(index, job) for index, job in jobs]

    def _do(self, index: int, job: Job) -> Record:
        if isinstance(job, Train):
            if self.fails(index, job):
                return WorkFailed("the loss became NaN")
            trained = job.vector + pull_of(index, len(job.vector))
            trained.flags.writeable = False
            return Trained(trained, 1, 0.5)
        if isinstance(job, Evaluate):
            return Evaluated({"accuracy": 0.5})
        return perform(job)


class Watcher:
    """Keeps what members report, by index."""

    def __init__(self, count: int) -> None:
        self.events: list[list[Event]] = [[] for _ in range(count)]
        self.incidents: list[tuple[float, int | None, str, str]] = []

    def on_report(self, now_s: float, host: Any, event: Event) -> None:
        self.events[host.index].append(event)

    def on_incident(self, now_s: float, host: Any, kind: str, detail: str) -> None:
        self.incidents.append((now_s, None if host is None else host.index, kind, detail))


class LedgerWorld:
    """Members 0 .. n - 1 of a group, each on a simulated host.

    Attributes:
        world: where they run.
        worker: does their jobs.
        watcher: what they reported.
        epoch: the first.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int = 0,
        hosts: int | None = None,
        entries: int = 64,
        loss: float = 0.0,
        disk: DiskSettings | None = None,
        training_s: Callable[[int], float] = lambda _index: TRAINING_S,
        checkers: Sequence[Checker] = (),
        wrap: Callable[[int, GroupMember], Any] = lambda _index, member: member,
        invitation: Callable[[int], bytes | None] = lambda _index: None,
        **charter: Any,
    ) -> None:
        count = hosts or size
        self.charter = make_charter(range(size), entries=entries, **charter)
        self.epoch = Epoch.founded(self.charter)
        self.entries = entries
        self.queue = EventQueue()
        self.worker, self.watcher = self.make_worker(), Watcher(count)
        network = Network(NetworkSettings(loss=loss), peer_count=count, seed=seed, queue=self.queue)
        entropy = SeededEntropy(seed)

        def make(index: int) -> Any:
            member = GroupMember(
                founding=self.epoch,
                identity=identity_of(index),
                initial=first_model(entries),
                settings=PeerSettings(rounds=self.charter.rounds, deadline_s=RELAY_S),
                seed=f"{seed}/{index}",
                entropy=entropy.of(index),
                invitation=invitation(index),
            )
            return wrap(index, member)

        def duration_s(index: int, job: Job) -> float:
            return training_s(index) if isinstance(job, Train | TrainPrivately) else 0.001

        self.world = World(
            peer_ids=[identity_of(index).peer_id for index in range(count)],
            make_machine=make,
            network=network,
            queue=self.queue,
            workshop=Workshop(self.worker),
            duration_s=duration_s,
            disks=Disks(disk or DiskSettings(), seed=seed),
            observers=(self.watcher,),
            checkers=checkers,
        )

    def make_worker(self) -> ToyWorker:
        return ToyWorker()

    @property
    def epoch_first(self) -> EntryStep:
        """The entry of height 0."""
        return EntryStep(first_entry(self.epoch))

    def watched(self, *, rounds: int, epochs: dict[int, tuple[int, ...]] | None = None) -> Watched:
        """Return what a checker is told that looks on at this group."""
        return Watched(
            peers=[host.peer_id for host in self.hosts],
            liars=frozenset(),
            initial=first_model(self.entries),
            rounds=rounds,
            has_cohorts=False,
            hides_models=True,
            partners_of=lambda _index, _round: (),
            is_group=True,
            epochs=epochs or {},
        )

    @property
    def hosts(self) -> list[SimulatedHost]:
        return self.world.hosts

    def member(self, index: int) -> GroupMember:
        machine: object = self.hosts[index].machine
        member = getattr(machine, "inner", machine)  # A liar is wrapped around one.
        assert isinstance(member, GroupMember)
        return member

    def approve(
        self, charter: Charter, members: Sequence[int], signers: Sequence[int] | None = None
    ) -> None:
        """Have members' hosts let a charter come; the first hands it in with its approvals.

        It is approved by the governance keys of `signers`, of all if not given, and by all peers'
        keys that are in it or in the first charter.
        """
        hosts = range(len(self.hosts)) if signers is None else signers
        named = {member.key for member in (*self.charter.members, *charter.members)}
        known = [index for index in hosts if identity_of(index).public_key in named]
        peers = [i for i in range(len(self.hosts)) if identity_of(i).public_key in named]
        parcel = parcel_of(charter, known, peers)
        for index in members:
            if index == members[0]:
                self.propose(index, parcel)
            due = (*self.member(index).proposals.word.due, charter.digest())
            self.hear(index, due=due)

    def propose(self, index: int, parcel: Parcel) -> None:
        """Hand a parcel to a member, now."""
        now_s = self.queue.now_s
        self.hosts[index].queue.push(self.member(index).propose(now_s, parcel))

    def hear(self, index: int, **word: Any) -> None:
        """Have a member's host say something, now."""
        actions = self.member(index).hear_host(self.queue.now_s, HostWord(**word))
        self.hosts[index].queue.push(actions)

    @property
    def alive(self) -> list[int]:
        """Those whose processes are up, and that are online."""
        return [host.index for host in self.hosts if host.machine is not None and host.is_online]

    def start(self) -> None:
        self.world.start()

    def run(self, until_s: float, *, at: Sequence[tuple[float, Callable[[], None]]] = ()) -> None:
        """Run to a time; call things at times on the way."""
        for at_s, call in at:
            self.queue.call_at(at_s, call)
        self.world.run(until_s)

    def are_finished(self, members: Sequence[int] | None = None) -> bool:
        chosen = range(len(self.hosts)) if members is None else members
        return all(self.member(index).state is State.FINISHED for index in chosen)

    def models(self, members: Sequence[int] | None = None) -> list[Vector]:
        chosen = self.alive if members is None else members
        return [self.member(index).vector for index in chosen]

    def times_in(self, model: Vector, index: int) -> float:
        """How often a member's update is in a model, times its share of the weight."""
        pulled = (model - first_model(self.entries))[index % self.entries]
        return float(pulled)
