"""What the operators of a group's members do, by plan: amend, admit, leave, let a charter lapse.

They are people: they sign with governance keys, hand parcels to members whose processes are up, say
again what a restarted member has not heard, and try anew where another charter came first. Who was
admitted is told by a member by which charter and model, and begins with that alone.
"""

from collections.abc import Callable, Iterable

from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.approvals import RefusedApproval, Says, in_order
from p2pfl_gossip.ledger.charter import CharterMember, RefusedCharter, encode_charter
from p2pfl_gossip.ledger.history import joined_at
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.peer_state import State
from p2pfl_simulations.amendments import Amendment, People, PrivacyFor, plan_amendment, said_of
from p2pfl_simulations.draws import stream
from p2pfl_simulations.fault_settings import PlannedChange
from p2pfl_simulations.host import SimulatedHost
from p2pfl_simulations.scenario import Scenario
from p2pfl_simulations.world import World


class Operators:
    """The operators of all honest members.

    Args:
        scenario: its `changes` are the plan.
        dishonest: members whose operators do nothing.
        settled: is called once all of the plan has come about.
        card_of: writes a peer's member as a charter has it.
        invitations: gets that of each peer that was admitted, before it begins.
        privacy_for: says how sums of such members are private, for so many rounds to come.
    """

    def __init__(
        self,
        scenario: Scenario,
        dishonest: Iterable[int],
        settled: Callable[[], None],
        *,
        card_of: Callable[[int], CharterMember],
        invitations: dict[int, bytes],
        privacy_for: PrivacyFor,
    ) -> None:
        self._scenario, self._settled = scenario, settled
        self._people = People(scenario, card_of, privacy_for)
        self._invitations = invitations
        self._honest = [i for i in range(scenario.peers) if i not in frozenset(dishonest)]
        self._rng = stream(scenario.seed, "operators")
        self._tick_s = min(scenario.averaging.deadline_s, 100.0) / 2
        self._left = len(scenario.changes)
        self._amendments: list[Amendment] = []
        self._departing: dict[int, Says] = {}
        self._lapsed: dict[int, float] = {}
        self._coming: dict[int, float] = {}  # Who is to be admitted, and begins how much later.
        self._resting: dict[int, None] = {}  # Who was told last that its charter is over.
        self._world: World

    @property
    def is_done(self) -> bool:
        """Whether all that was planned has come about."""
        waits = self._left or self._departing or self._lapsed or self._coming or self._resting
        return not waits and all(amendment.is_over for amendment in self._amendments)

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
        elif change.kind == "lose":
            for index in change.peers:
                self._world.lose(self._host(index), "lost")
        else:
            if change.kind == "replace" and not change.stolen:
                self._world.lose(self._host(change.peers[0]), "lost")
            self._coming.update(dict.fromkeys(change.coming, change.duration_s))
            self._amendments.append(
                plan_amendment(
                    change,
                    self._people,
                    rounds=self._scenario.rounds,
                    place=len(self._amendments),
                    signs_late_s=now_s + change.duration_s,
                )
            )
        self._tell()

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
        for index in list(self._coming):
            self._invite(index)
        due = [digest for it in self._amendments if not it.is_over for digest in self._amend(it)]
        self._resting.clear()
        for index in self._honest:
            member = self._up(index)
            if member is None or member.state is State.LEFT:
                continue
            rest = Rest.LAPSED if self._has_lapsed(index, member) else Rest.NONE
            if rest is Rest.LAPSED:
                self._resting[index] = None
            word = HostWord(rest=rest, due=tuple(due))
            if word != member.proposals.word:
                self._push(index, member.hear_host(now_s, word))

    def _has_lapsed(self, index: int, member: GroupMember) -> bool:
        """Whether a member's calendar says that its charter is over."""
        return index in self._lapsed or any(
            it.renews and not it.holds(member.history) for it in self._amendments
        )

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
        rank = member.epoch.rank_of(self._people.identity(index).peer_id)
        if rank is None:
            del self._departing[index]  # The charter goes on without it already.
            return
        charter = member.epoch.charter
        word = said_of(charter, says, self._people.governor_in(index, charter))
        self._push(told, member.depart(self._world.queue.now_s, [word]))

    def _invite(self, index: int) -> None:
        """Have a peer begin, some time after a charter that names it is in force."""
        if index in self._invitations:
            return  # It begins when its time is there.
        furthest = self._furthest()
        peer = self._people.identity(index).peer_id
        invitation = None if furthest is None else joined_at(furthest.history, peer)
        if invitation is not None:
            self._invitations[index] = invitation
            queue = self._world.queue
            queue.call_at(queue.now_s + self._coming[index], self._set_up, index)

    def _set_up(self, index: int) -> None:
        del self._coming[index]
        self._world.set_up(self._host(index), "admitted")
        self._tell()

    def _amend(self, amendment: Amendment) -> list[bytes]:
        """Hand in what is missing; return what is to be named."""
        furthest = self._furthest()
        if furthest is None or self._world.queue.now_s < amendment.from_s:
            return []
        if amendment.holds(furthest.history):
            amendment.is_over = self._has_come(amendment)
            return []
        following = amendment.make(furthest.history)
        signing = [index for index in self._honest if index not in amendment.late]
        signers = self._people.signers(signing, furthest.epoch.charter, following)
        said = [said_of(following, Says.APPROVE, signer) for signer in signers]
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

    def _has_come(self, amendment: Amendment) -> bool:
        """Whether what was wanted is in force everywhere, and worked under."""
        late_are_due = amendment.signs_late_s <= self._world.queue.now_s
        come = True
        for index in self._honest:
            member = self._up(index)
            if member is None:
                come &= not self._host(index).is_there
                continue
            if member.state is State.LEFT or index in self._departing:
                continue
            come &= amendment.holds(member.history)
            if amendment.change.kind in ("extend", "back"):
                come &= member.round >= member.epoch.charter.rounds
            if member.proposals.rest is Rest.UNSIGNED:
                come = False
                if late_are_due or index not in amendment.late:
                    self._sign(index, member)
        return come

    def _sign(self, index: int, member: GroupMember) -> None:
        """Sign the charter in force: later than others, or anew where the first word was lost."""
        charter = member.epoch.charter
        word = said_of(charter, Says.APPROVE, self._people.governor_in(index, charter))
        parcel = Parcel(encode_charter(charter), b"", b"", (word,))
        self._push(index, member.propose(self._world.queue.now_s, parcel))

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
