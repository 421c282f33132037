"""What the operators of a group's members do, by plan: amend, leave, revoke, let a charter lapse.

They are people: they sign with governance keys, hand parcels to members whose processes are up, say
again what a restarted member has not heard, and try anew where another charter came first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.approvals import Approval, RefusedApproval, Says, approval_of, in_order
from p2pfl_gossip.ledger.approving import kind_of_change
from p2pfl_gossip.ledger.charter import (
    FOREVER,
    Charter,
    CharterMember,
    Governance,
    RefusedCharter,
    encode_charter,
)
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import replaced
from p2pfl_simulations.draws import stream
from p2pfl_simulations.group import make_governor, make_identity
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.scenario import PlannedChange, Scenario
from p2pfl_simulations.world import World


@dataclass
class _Amendment:
    """A change of the charter that the operators want.

    Attributes:
        change: as planned.
        holds: whether a charter has it.
        make: gives what is to follow a charter.
        late: who signs it later.
        signs_late_s: when.
    """

    change: PlannedChange
    holds: Callable[[Charter], bool]
    make: Callable[[Charter], Charter]
    late: frozenset[int]
    signs_late_s: float
    is_over: bool = False


class Operators:
    """The operators of all honest members.

    Args:
        scenario: its `changes` are the plan.
        dishonest: members whose operators do nothing.
        settled: is called once all of the plan has come about.
    """

    def __init__(
        self, scenario: Scenario, dishonest: Iterable[int], settled: Callable[[], None]
    ) -> None:
        self._scenario, self._settled = scenario, settled
        self._honest = [i for i in range(scenario.peers) if i not in frozenset(dishonest)]
        self._rng = stream(scenario.seed, "operators")
        self._tick_s = min(scenario.averaging.deadline_s, 100.0) / 2
        self._left = len(scenario.changes)
        self._amendments: list[_Amendment] = []
        self._departing: dict[int, Says] = {}
        self._lapsed: dict[int, float] = {}
        self._world: World

    @property
    def is_done(self) -> bool:
        """Whether all that was planned has come about."""
        return not (self._left or self._departing or self._lapsed) and all(
            amendment.is_over for amendment in self._amendments
        )

    def start(self, world: World) -> None:
        """Begin."""
        self._world = world
        for change in self._scenario.changes:
            world.queue.call_at(change.at_s, self._begin, change)
        if self._scenario.changes:
            world.queue.call_at(self._tick_s, self._tick)

    # --- the plan ---------------------------------------------------------------------------

    def _begin(self, change: PlannedChange) -> None:
        self._left -= 1
        now_s = self._world.queue.now_s
        if change.kind in ("leave", "revoke"):
            says = Says.LEAVE if change.kind == "leave" else Says.REVOKE
            self._departing.update(dict.fromkeys(change.peers, says))
        elif change.kind == "lapse":
            for index in change.peers or self._honest:
                self._lapsed[index] = now_s + change.duration_s
        else:
            self._amendments.append(self._plan(change, now_s + change.duration_s))
        self._tell()

    def _plan(self, change: PlannedChange, signs_late_s: float) -> _Amendment:
        place = len(self._amendments)
        late = frozenset(change.peers) if change.kind == "amend" else frozenset()
        if change.kind == "expel":
            names = [f"peer-{index}" for index in change.peers]
            return _Amendment(
                change,
                lambda charter: all(member.name not in names for member in charter.members),
                lambda present: replaced(
                    present,
                    present=present.digest(),
                    start=None,
                    members=tuple(it for it in present.members if it.name not in names),
                ),
                late,
                signs_late_s,
            )
        if change.kind == "extend":
            wanted = self._scenario.rounds + change.rounds
            return _Amendment(
                change,
                lambda charter: charter.rounds >= wanted,
                lambda present: replaced(
                    present, present=present.digest(), start=None, rounds=wanted
                ),
                late,
                signs_late_s,
            )
        if change.kind == "rekey":
            rekeyed = {f"peer-{i}": self._governance(self._next_governor(i)) for i in change.peers}

            def rekey(it: CharterMember) -> CharterMember:
                return replaced(it, governance=rekeyed.get(it.name, it.governance))

            return _Amendment(
                change,
                lambda charter: all(rekey(it) == it for it in charter.members),
                lambda present: replaced(
                    present,
                    present=present.digest(),
                    start=None,
                    members=tuple(rekey(it) for it in present.members),
                ),
                late,
                signs_late_s,
            )
        until = FOREVER - 1 - place
        return _Amendment(
            change,
            lambda charter: charter.until <= until,
            lambda present: replaced(present, present=present.digest(), start=None, until=until),
            late,
            signs_late_s,
        )

    # --- what they do, again and again ------------------------------------------------------

    def _tick(self) -> None:
        self._tell()
        if self.is_done:
            self._settled()
        else:
            self._world.queue.call_at(self._world.queue.now_s + self._tick_s, self._tick)

    def _tell(self) -> None:
        now_s = self._world.queue.now_s
        for index in [index for index, until_s in self._lapsed.items() if until_s <= now_s]:
            del self._lapsed[index]
        for index in list(self._departing):
            self._depart(index, self._departing[index])
        due = [digest for it in self._amendments if not it.is_over for digest in self._amend(it)]
        for index in self._honest:
            member = self._up(index)
            if member is None or member.state is State.LEFT:
                continue
            rest = Rest.LAPSED if index in self._lapsed else Rest.NONE
            word = HostWord(rest=rest, due=tuple(due))
            if word != member.proposals.word:
                self._push(index, member.hear_host(now_s, word))

    def _depart(self, index: int, says: Says) -> None:
        """Tell a member that it leaves, or another one where its process is not up."""
        own = self._up(index)
        if own is not None and own.state is State.LEFT:
            del self._departing[index]
            return
        told = index if own is not None else self._rng.choice(self._honest)
        member = self._up(told)
        if member is None or member.state is State.LEFT:
            return
        rank = member.epoch.rank_of(self._identity(index).peer_id)
        if rank is None:
            del self._departing[index]  # The charter goes on without it already.
            return
        charter = member.epoch.charter
        word = self._said(charter, says, self._governor_in(index, charter))
        self._push(told, member.depart(self._world.queue.now_s, [word]))

    def _amend(self, amendment: _Amendment) -> list[bytes]:
        """Hand in what is missing; return what is to be named."""
        furthest = self._furthest()
        if furthest is None:
            return []
        present = furthest.epoch.charter
        if amendment.holds(present):
            amendment.is_over = self._has_come(amendment, present)
            return []
        following = amendment.make(present)
        is_running = kind_of_change(present, following) == "running"
        signing = [index for index in self._honest if index not in amendment.late]
        signers = [self._identity(index) for index in signing]
        if not is_running:  # Of a key that is replaced, both say so.
            both = (present, following)
            signers = [self._governor_in(index, it) for index in signing for it in both]
        said = [self._said(following, Says.APPROVE, signer) for signer in dict.fromkeys(signers)]
        # No operator has all signatures: each hands in what it was sent.
        place = self._rng.randrange(len(said))
        for part in (said[:place], said[place:]):
            told = self._rng.choice(self._honest)
            member = self._up(told)
            if member is None or member.state is State.LEFT:
                continue
            parcel = Parcel(encode_charter(following), b"", b"", in_order(part))
            try:
                self._push(told, member.propose(self._world.queue.now_s, parcel))
            except (RefusedCharter, RefusedApproval):
                continue  # It is in another epoch.
        return [following.digest()]

    def _has_come(self, amendment: _Amendment, present: Charter) -> bool:
        """Whether a charter that has what was wanted is in force everywhere, and worked under."""
        late_are_due = amendment.signs_late_s <= self._world.queue.now_s
        come = True
        for index in self._honest:
            member = self._up(index)
            if member is None:
                come = False
                continue
            if member.state is State.LEFT or index in self._departing:
                continue
            come &= amendment.holds(member.epoch.charter)
            if amendment.change.kind == "extend":
                come &= member.round >= member.epoch.charter.rounds
            if index in amendment.late and member.proposals.rest is Rest.UNSIGNED:
                come = False
                if late_are_due:
                    charter = member.epoch.charter
                    word = self._said(charter, Says.APPROVE, self._governor_in(index, charter))
                    parcel = Parcel(encode_charter(charter), b"", b"", (word,))
                    self._push(index, member.propose(self._world.queue.now_s, parcel))
        return come

    # --- members ----------------------------------------------------------------------------

    def _furthest(self) -> GroupMember | None:
        members = [self._up(index) for index in self._honest]
        up = [member for member in members if member is not None]
        return max(up, key=lambda member: member.epoch.number, default=None)

    def _up(self, index: int) -> GroupMember | None:
        machine = self._host(index).machine
        if isinstance(machine, GroupMember) and machine.state is not State.NEW:
            return machine
        return None

    def _host(self, index: int) -> SimulatedHost:
        return self._world.hosts[index]

    def _push(self, index: int, actions: list[Action]) -> None:
        self._host(index).queue.push(actions)

    def _identity(self, index: int) -> Identity:
        return make_identity(self._scenario.seed, index)

    def _governor_in(self, index: int, charter: Charter) -> Identity:
        """Give the governance key that a charter has of a peer, or its first one."""
        other = self._next_governor(index)
        known = self._governance(other)
        if any(it.name == f"peer-{index}" and it.governance == known for it in charter.members):
            return other
        return make_governor(self._scenario.seed, index)

    def _next_governor(self, index: int) -> Identity:
        """Give the key that comes in the place of a peer's first one."""
        return make_governor(self._scenario.seed, self._scenario.peers + index)

    @staticmethod
    def _governance(governor: Identity) -> Governance:
        return Governance(1, (GovernanceKey("ed25519", governor.public_key).encoded,))

    @staticmethod
    def _said(charter: Charter, says: Says, signer: Identity) -> Approval:
        key = GovernanceKey("ed25519", signer.public_key)
        return approval_of(charter.digest(), says, key, FOREVER, signer.sign)
