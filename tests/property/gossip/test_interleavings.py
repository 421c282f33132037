"""Every machine takes the answers to what it asked for in any order, late, and twice."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_opening import OURS
from pydantic import TypeAdapter
from unruly_group import UnrulyGroup

from p2pfl.group.averaging import Group, make_averaging, peer_settings
from p2pfl.group.settings import AveragingSettings
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Action, Command, Job, PeerId
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.learning import Train
from p2pfl_gossip.masked_sum.cohort import Cohort, Patience
from p2pfl_gossip.masked_sum.jobs import (
    Deal,
    DecodeSum,
    DigestChunk,
    DigestSum,
    MaskChunk,
    Rebuild,
    Unmask,
)
from p2pfl_gossip.masked_sum.machine import MaskedSum
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

PEERS, LENGTH, ROUNDS = 5, 12, 3
IDENTITIES = [Identity(hash_parts(b"test/unruly", bytes([index]))) for index in range(PEERS)]
IDS = tuple(identity.peer_id for identity in IDENTITIES)
ROSTER = Roster(IDS)
GROUP_ID = hash_parts(b"test/group")
SEED = hash_parts(b"test/draw")
DEADLINE_S = 2.0

AVERAGING: dict[str, dict[str, Any]] = {
    "masked": {"algorithm": "cohorts", "cohort_size": PEERS},
    "cohorts": {"algorithm": "cohorts", "cohort_size": PEERS, "masking": "none"},
    "dsgd": {"algorithm": "dsgd"},
    "push-sum": {"algorithm": "push-sum"},
    "epidemic": {"algorithm": "epidemic", "fanout": 2},
    "age-gossip": {"algorithm": "age-gossip"},
    "fedavg": {"algorithm": "fedavg"},
    "none": {"algorithm": "none"},
}

seeds = st.integers(0, 2**32 - 1)
hastes = st.sampled_from([0.002, 0.02, 0.3])
shares = st.sampled_from([0.0, 0.02, 0.1])
slow_shares = st.sampled_from([0.0, 0.3, 1.0])
crash_shares = st.sampled_from([0.0, 0.0, 0.002, 0.01])


class PeerMaker:
    """Makes peers that average in one way; each life draws its own secret bytes."""

    def __init__(self, kind: str, seed: int) -> None:
        self.settings: Any = TypeAdapter[Any](AveragingSettings).validate_python(
            AVERAGING[kind] | {"deadline_s": DEADLINE_S}
        )
        self.entropy = Random(f"{seed}/entropy")

    def peer(self, index: int, draw_seed: bytes, desk: Desk | None = None) -> Peer:
        initial = np.zeros(LENGTH, np.float32)
        initial.flags.writeable = False
        averaging = make_averaging(
            self.settings,
            Group(
                roster=ROSTER,
                initial=initial,
                draw_seed=draw_seed,
                group_id=GROUP_ID,
                identity_of=lambda index: IDENTITIES[index],
                entropy_of=lambda _index: self.entropy.randbytes,
            ),
        )
        return Peer(
            index=index,
            roster=ROSTER,
            settings=peer_settings(
                self.settings, rounds=ROUNDS, checkpoint_every=1, evaluate_every=1
            ),
            initial=initial,
            make_averaging=lambda inner: averaging(index, inner),
            seed="test",
            desk=desk,
        )

    def opening(self, index: int) -> Opening:
        return Opening(
            index=index,
            roster=ROSTER,
            deadline_s=DEADLINE_S,
            draw_seed=SEED,
            description=OURS,
            make_peer=lambda draw_seed, desk: self.peer(index, draw_seed, desk),
            rng=Random(self.entropy.random()),
        )


def come_to_the_end(group: UnrulyGroup, leaver: int | None) -> None:
    """Have all that is left be done in order; who has not left does all rounds."""
    for index in range(PEERS):
        if index != leaver:
            group.command(index, Command.RESUME)

    def states() -> list[str]:
        return [process.machine.state for process in group.processes]

    def is_over() -> bool:
        return all(state in (State.FINISHED, State.LEFT) for state in states())

    assert group.be_orderly(is_over, steps_max=60_000), states()


@pytest.mark.parametrize("kind", AVERAGING)
@given(
    seed=seeds,
    steps=st.integers(0, 1500),
    haste=hastes,
    loss=shares,
    crashes=crash_shares,
    slow_disks=slow_shares,
    leaver=st.sampled_from([None, None, 1]),
)
@settings(max_examples=6, deadline=None)
def test_a_peer_takes_answers_in_any_order_late_and_twice(
    kind: str,
    seed: int,
    steps: int,
    haste: float,
    loss: float,
    crashes: float,
    slow_disks: float,
    leaver: int | None,
) -> None:
    make = PeerMaker(kind, seed)
    group = UnrulyGroup(
        IDS,
        lambda index: make.peer(index, hash_parts(b"test/draw")),
        seed=f"{seed}/driver",
        haste=haste,
        loss=loss,
        crashes=crashes,
        slow_disks=slow_disks,
    )
    group.start()
    group.be_unruly(steps)
    if leaver is not None:
        group.crashes = 0.0  # Who has left does not come back.
        group.command(leaver, Command.LEAVE)
        assert group.processes[leaver].machine.state is State.LEFT
        group.be_unruly(200)
    come_to_the_end(group, leaver)


@pytest.mark.parametrize("kind", ["masked", "cohorts"])
@given(
    seed=seeds,
    steps=st.integers(0, 800),
    haste=hastes,
    loss=shares,
    crashes=crash_shares,
    slow_disks=slow_shares,
)
@settings(max_examples=4, deadline=None)
def test_a_member_of_a_group_that_opens_does_too(
    kind: str, seed: int, steps: int, haste: float, loss: float, crashes: float, slow_disks: float
) -> None:
    make = PeerMaker(kind, seed)
    group = UnrulyGroup(
        IDS,
        make.opening,
        seed=f"{seed}/driver",
        haste=haste,
        loss=loss,
        crashes=crashes,
        slow_disks=slow_disks,
    )
    group.start()
    group.be_unruly(steps)
    come_to_the_end(group, None)


@pytest.mark.parametrize(
    "kind", [Train, Deal, MaskChunk, DigestChunk, Rebuild, Unmask, DigestSum, DecodeSum]
)
def test_a_job_that_ends_after_its_peer_has_left_does_nothing(kind: type[Job]) -> None:
    make = PeerMaker("masked", 1)
    group = UnrulyGroup(IDS, lambda index: make.peer(index, hash_parts(b"test/draw")), seed="left")
    group.start()
    victim = group.processes[2]

    def has_begun() -> bool:
        return any(isinstance(asked.job, kind) for asked in victim.open.values())

    assert group.be_orderly(has_begun, steps_max=5000)
    group.command(2, Command.LEAVE)
    late = [asked for asked in victim.over if isinstance(asked.job, kind) and not asked.is_answered]
    assert late, "cancelled, as nobody waits for it"
    for asked in late:
        group.answer_again(asked)
    assert victim.machine.state is State.LEFT


class OneSession(DeskMachine):
    """A masked sum with nothing around it but what a peer would do with bodies."""

    def __init__(self, index: int, entropy: Random) -> None:
        self._desk = Desk()
        self.index, self.entropy = index, entropy
        self.session: Any = None
        self.bodies: dict[int, tuple[Message, bytearray]] = {}

    def on_start(self, now_s: float, records: dict[str, Any]) -> list[Action]:
        vector = np.full(LENGTH, float(self.index), np.float32)
        vector.flags.writeable = False
        patience = Patience(2.0, 2.0, 4.0, 2.0, 200.0)
        self.session = MaskedSum(
            Cohort(
                group=GROUP_ID,
                round=0,
                attempt=0,
                members=IDS,
                vector_entries=LENGTH,
                clip=8.0,
                weight_max=1.0,
                patience=patience,
            ),
            IDENTITIES[self.index],
            vector,
            1.0,
            entropy=self.entropy.randbytes,
            records=records,
            desk=self._desk,
        )
        actions: list[Action] = self.session.on_start(now_s)
        return actions

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        actions: list[Action] = self.session.on_message(now_s, sender, message)
        return actions

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        is_wanted = self.session.body_bytes(now_s, sender, header) is not None
        if is_wanted:
            self.bodies[bulk] = (header, bytearray())
        return is_wanted, self.session.on_header(now_s)

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: bytes) -> list[Action]:
        self.bodies[bulk][1].extend(chunk)
        return []

    def on_bulk_end(self, now_s: float, sender: PeerId, bulk: int, trailer: Any) -> list[Action]:
        header, content = self.bodies.pop(bulk)
        body = np.frombuffer(content, "<u4")
        actions: list[Action] = self.session.on_body(now_s, sender, header, body)
        return actions

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        del self.bodies[bulk]
        return []

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        actions: list[Action] = self.session.on_peer_down(now_s, peer)
        return actions

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        if command is not Command.LEAVE:
            return []
        actions: list[Action] = self.session.abandon(now_s)
        return actions


@given(
    seed=seeds,
    steps=st.integers(0, 1500),
    haste=hastes,
    loss=shares,
    crashes=crash_shares,
    slow_disks=slow_shares,
    leaver=st.sampled_from([None, 1]),
)
@settings(max_examples=15, deadline=None)
def test_a_masked_sum_takes_answers_in_any_order_late_and_twice(
    seed: int,
    steps: int,
    haste: float,
    loss: float,
    crashes: float,
    slow_disks: float,
    leaver: int | None,
) -> None:
    entropy = Random(f"{seed}/entropy")
    group = UnrulyGroup(
        IDS,
        lambda index: OneSession(index, entropy),
        seed=f"{seed}/driver",
        haste=haste,
        loss=loss,
        crashes=crashes,
        slow_disks=slow_disks,
    )
    group.start()
    group.be_unruly(steps)
    if leaver is not None:
        group.command(leaver, Command.LEAVE)
        assert group.processes[leaver].desk.open == (), "nothing is awaited of what was abandoned"
        group.be_unruly(100)

    def is_over() -> bool:
        return all(process.machine.session.outcome is not None for process in group.processes)

    assert group.be_orderly(is_over, steps_max=20_000)
