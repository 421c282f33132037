"""A member of a group takes the answers to what it asked for in any order, late, and twice."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_group import LedgerGroup, model_of
from unruly_group import UnrulyGroup

from p2pfl_gossip.actions import Action, Command, Vector
from p2pfl_gossip.events import MemberBlamed, SitsOut
from p2pfl_gossip.learning import Evaluate, Train
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.peer_state import PeerSettings, State

PEERS, ROUNDS = 5, 2
GROUP = LedgerGroup(PEERS, rounds=ROUNDS, retries=99)
CHARTER = GROUP.next_charter(rounds=ROUNDS + 1)


class HostedMember(GroupMember):
    """A member whose host lets the charter come, and says so after each start."""

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        actions = super().on_start(now_s, records)
        return actions + self.hear_host(now_s, HostWord(due=(CHARTER.digest(),)))


def make_group(seed: int, **ways: float) -> UnrulyGroup:
    entropy = Random(f"{seed}/entropy")

    def make(index: int) -> GroupMember:
        initial = model_of(0.0)
        initial.flags.writeable = False
        return HostedMember(
            founding=GROUP.epoch,
            identity=GROUP.identities[index],
            initial=initial,
            settings=PeerSettings(rounds=ROUNDS, deadline_s=2.0),
            seed="test",
            entropy=entropy.randbytes,
        )

    ids, seed_of_driver = GROUP.epoch.members, f"{seed}/driver"
    return UnrulyGroup(ids, make, seed=seed_of_driver, failing=(Train, Evaluate), **ways)


def propose(group: UnrulyGroup, index: int) -> None:
    """Hand a member the charter with all its approvals, unless it is in force there."""
    if group.processes[index].machine.epoch.number == 0:
        group._tell(index, "propose", GROUP.parcel(CHARTER))


def come_to_the_end(group: UnrulyGroup, leaver: int | None, *, epoch: int) -> None:
    """Have all that is left be done in order; who has not left has one history, and one model."""
    staying = [index for index in range(PEERS) if index != leaver]
    group.crashes = 0.0
    for index in staying:
        group.command(index, Command.RESUME)
        if epoch:
            propose(group, index)  # A crash may have lost it.

    def members() -> list[GroupMember]:
        return [group.processes[index].machine for index in staying]

    def is_over() -> bool:
        return all(it.state is State.FINISHED and it.epoch.number == epoch for it in members())

    assert group.be_orderly(is_over, steps_max=60_000), [(it.state, it.round) for it in members()]
    assert {it.round for it in members()} == {ROUNDS + epoch}
    assert len({it.history.head.head for it in members()}) == 1
    assert len({it.vector.tobytes() for it in members()}) == 1
    # All are honest, and no disk forgets: nobody is refused, blamed, or lacks what it has said.
    assert group.refusals == []
    told = [event for events in group.reported for event in events]
    assert [event for event in told if isinstance(event, MemberBlamed | SitsOut)] == []


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(0, 1200),
    haste=st.sampled_from([0.002, 0.02, 0.3]),
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    crashes=st.sampled_from([0.0, 0.002, 0.01]),
    slow_disks=st.sampled_from([0.0, 0.3, 1.0]),
    leaver=st.sampled_from([None, None, 1]),
    epoch=st.sampled_from([0, 1]),
)
@settings(max_examples=3, deadline=None)
def test_a_member_takes_answers_in_any_order_late_and_twice(
    seed: int,
    steps: int,
    haste: float,
    loss: float,
    crashes: float,
    slow_disks: float,
    leaver: int | None,
    epoch: int,
) -> None:
    ways = {"haste": haste, "loss": loss, "crashes": crashes, "slow_disks": slow_disks}
    group = make_group(seed, **ways)
    group.start()
    group.be_unruly(steps // 2)
    if epoch:
        propose(group, 0)
    group.be_unruly(steps // 2)
    if leaver is not None:
        group.crashes = 0.0  # Who has left does not come back.
        group.command(leaver, Command.LEAVE)
        assert group.processes[leaver].machine.state is State.LEFT
        assert [it.kind for it in group.processes[leaver].open.values() if it.kind != "sent"] == []
        group.be_unruly(200)
    come_to_the_end(group, leaver, epoch=epoch)
