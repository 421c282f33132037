"""What the operators of a simulated group want its charter to be, by plan: each a next charter.

`People` says who is whom: which peer is which member, by which keys. A peer that takes another's
place is the same member, by the same governance keys.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.ledger.approvals import Approval, Says, approval_of
from p2pfl_gossip.ledger.approving import kind_of_change
from p2pfl_gossip.ledger.charter import FOREVER, Charter, CharterMember, Governance
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.privacy import Privacy
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.records import replaced
from p2pfl_simulations.fault_settings import PlannedChange
from p2pfl_simulations.group import make_governor, make_identity
from p2pfl_simulations.scenario import Scenario

PrivacyFor = Callable[[Sequence[int], int], Privacy | None]


class People:
    """Who is whom in the group of a scenario.

    Args:
        scenario: of the group.
        card_of: writes a peer's member as a charter has it.
        privacy_for: says how sums of such members are private, for so many rounds to come.
    """

    def __init__(
        self,
        scenario: Scenario,
        card_of: Callable[[int], CharterMember],
        privacy_for: PrivacyFor = lambda _peers, _rounds: None,
    ) -> None:
        self._seed, self._peers, self.card_of = scenario.seed, scenario.peers, card_of
        self._privacy, self._privacy_for = scenario.privacy, privacy_for
        self._before = {
            change.peers[1]: change.peers[0]
            for change in scenario.changes
            if change.kind == "replace"
        }

    def identity(self, index: int) -> Identity:
        """Give the key of a peer."""
        return make_identity(self._seed, index)

    def name(self, index: int) -> str:
        """Name the member that a peer is."""
        return f"peer-{self._number(index)}"

    def governor_in(self, index: int, charter: Charter) -> Identity:
        """Give the governance key that a charter has of a peer's member, or its first one."""
        other, name = self._next_governor(index), self.name(index)
        known = _governance(other)
        if any(it.name == name and it.governance == known for it in charter.members):
            return other
        return make_governor(self._seed, self._number(index))

    def next_governance(self, index: int) -> Governance:
        """Give the governance keys that come in the place of a member's first ones."""
        return _governance(self._next_governor(index))

    def signers(self, peers: Iterable[int], present: Charter, following: Charter) -> list[Identity]:
        """Return whose words a charter takes, of some peers: each key once."""
        present_keys = {member.key for member in present.members}
        keys = {index: self.identity(index) for index in peers}
        if kind_of_change(present, following) == "running":
            return [it for it in keys.values() if it.public_key in present_keys]
        # Of a key that is replaced, both say so.
        named = [(it, {member.name for member in it.members}) for it in (present, following)]
        found = [
            self.governor_in(index, charter)
            for index in keys
            for charter, names in named
            if self.name(index) in names
        ]
        new_keys = {member.key for member in following.members} - present_keys
        found += [it for it in keys.values() if it.public_key in new_keys]
        return list(dict.fromkeys(found))

    def private(self, following: Charter, history: History) -> Charter:
        """Return a charter with the plan of privacy that its members and rounds to come ask for.

        Where none of them is another, the noise stays, and pays for the rounds that are left.
        """
        present = history.epoch.charter
        if present.privacy is None or self._privacy is None:
            return following
        height = history.height if following.start is None else 0
        members, rounds = following.members, max(1, following.rounds - height)
        keys = {self.identity(index).public_key: index for index in range(self._peers)}
        old, new = ([keys[it.key] for it in of] for of in (present.members, members))
        if (old, present.rounds) == (new, following.rounds):
            spends = min(present.privacy.spends, self._privacy.spends(rounds))
            return replaced(following, privacy=replaced(present.privacy, spends=spends))
        return replaced(following, privacy=self._privacy_for(new, rounds))

    def _number(self, index: int) -> int:
        return self._before.get(index, index)

    def _next_governor(self, index: int) -> Identity:
        return make_governor(self._seed, self._peers + self._number(index))


def said_of(charter: Charter, says: Says, signer: Identity) -> Approval:
    """What a key says of a charter."""
    key = GovernanceKey("ed25519", signer.public_key)
    return approval_of(charter.digest(), says, key, FOREVER, signer.sign)


def _governance(governor: Identity) -> Governance:
    return Governance(1, (GovernanceKey("ed25519", governor.public_key).encoded,))


@dataclass
class Amendment:
    """A change of the charter that the operators want.

    Attributes:
        change: as planned.
        holds: whether it holds in a history, or once did, where a later charter does not show it.
        make: gives what is to follow the charter in force.
        late: who signs it later.
        signs_late_s: when.
        from_s: when it is proposed.
        renews: whether the charter before has lapsed.
    """

    change: PlannedChange
    holds: Callable[[History], bool]
    make: Callable[[History], Charter]
    late: frozenset[int]
    signs_late_s: float
    from_s: float = 0.0
    renews: bool = False
    is_over: bool = False


def plan_amendment(
    change: PlannedChange, people: People, *, rounds: int, place: int, signs_late_s: float
) -> Amendment:
    """Say what a planned change asks of a charter.

    Args:
        change: of the charter.
        people: who is whom.
        rounds: of the scenario.
        place: among the amendments: no two are alike.
        signs_late_s: when those sign that sign later; when a renewal is proposed.
    """

    def amendment(
        holds: Callable[[Charter], bool], alter: Callable[[Charter], Charter]
    ) -> Amendment:
        made: dict[bytes, Charter] = {}  # By the charter that it follows: one that stays the same.

        def make(history: History) -> Charter:
            present = history.epoch
            if present.digest not in made:
                following = _follow(alter(present.charter), history)
                made[present.digest] = people.private(following, history)
            return made[present.digest]

        return Amendment(
            change,
            lambda history: holds(history.epoch.charter),
            make,
            frozenset(change.peers) if change.kind == "amend" else frozenset(),
            signs_late_s,
            from_s=signs_late_s if change.kind == "renew" else 0.0,
            renews=change.kind == "renew",
        )

    def of_members(alter: Callable[[CharterMember], CharterMember]) -> Amendment:
        return amendment(
            lambda charter: all(alter(it) == it for it in charter.members),
            lambda charter: replaced(charter, members=tuple(map(alter, charter.members))),
        )

    match change.kind:
        case "extend":
            wanted = rounds + change.rounds
            return amendment(
                lambda charter: charter.rounds >= wanted,
                lambda charter: replaced(charter, rounds=wanted),
            )
        case "expel":
            names = [people.name(index) for index in change.peers]
            return amendment(
                lambda charter: all(member.name not in names for member in charter.members),
                lambda charter: replaced(
                    charter, members=tuple(it for it in charter.members if it.name not in names)
                ),
            )
        case "admit":
            cards = [people.card_of(index) for index in change.peers]
            return amendment(
                lambda charter: all(card.name in _names(charter) for card in cards),
                lambda charter: replaced(
                    charter,
                    members=(
                        *charter.members,
                        *(card for card in cards if card.name not in _names(charter)),
                    ),
                ),
            )
        case "rekey":
            governance = {people.name(i): people.next_governance(i) for i in change.peers}
            return of_members(
                lambda it: replaced(it, governance=governance.get(it.name, it.governance))
            )
        case "replace":
            old, new = change.peers
            name, key = people.name(old), people.identity(new).public_key
            return of_members(lambda it: replaced(it, key=key) if it.name == name else it)
        case "back":
            return _back(change, people, signs_late_s)
        case _:
            until = FOREVER - 1 - place
            return amendment(
                lambda charter: charter.until <= until,
                lambda charter: replaced(charter, until=until),
            )


def _back(change: PlannedChange, people: People, signs_late_s: float) -> Amendment:
    """Plan to go back to the state that an epoch began with: found once, when it is first asked."""
    found: list[tuple[Head, tuple[StateItem, ...]]] = []

    def make(history: History) -> Charter:
        if not found:
            step = history.beginning(min(change.epoch, history.epoch.number))
            found.append((step.head, step.entry.state))
        head, state = found[0]
        following = replaced(_follow(history.epoch.charter, history), start=head, state=state)
        return people.private(following, history)

    def holds(history: History) -> bool:
        return bool(found) and any(it.charter.start == found[0][0] for it in history.epochs)

    return Amendment(change, holds, make, frozenset(), signs_late_s)


def _follow(charter: Charter, history: History) -> Charter:
    return replaced(charter, present=history.epoch.digest, start=None)


def _names(charter: Charter) -> list[str]:
    return [member.name for member in charter.members]
