"""Who must approve a charter, who has, and what is missing, by name.

Two classes of change. A *running* one changes how long, how far and how fast a group learns, within
bounds that its charter states: t peers' keys approve it, each for its operator. All else is
*founding*: governance keys approve it. Of the k members that stay, floor(2k/3) + 1 must, and as
large a share of those that control them: so neither many members of one controller nor many
controllers of few members decide alone. Each new key signs too, and shows so that somebody has it.
Nobody is thrown out together with another: at most one member leaves against its will per charter.

A member is the same as long as its name is. Its vote takes as many of its keys as its threshold in
the present charter says. A charter in force needs no approval any more, and history asks for what
was approved, not for what anybody thought of it later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from p2pfl_gossip.ledger.approvals import (
    DEPARTING,
    LEAVING,
    Approval,
    RefusedApproval,
    Says,
    fingerprint_of,
    require_signed,
)
from p2pfl_gossip.ledger.charter import (
    NONE,
    Charter,
    CharterMember,
    Epoch,
    Governance,
    RefusedCharter,
    peer_governance_key,
    require_network,
)
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_gossip.records import (
    replaced,
)

ChangeKind = Literal["running", "founding"]


def kind_of_change(present: Charter, following: Charter) -> ChangeKind:
    """Say which class of change leads from a charter to one that is to follow it."""
    bounds = present.bounds
    is_within = (
        following.start is None
        and _at_rest(following) == _at_rest(present)
        and (following.running == present.running or bounds.running)
        and (following.rounds == present.rounds or following.rounds <= _rounds_max(present))
        and _is_between(present.clip, following.clip, bounds.clip_min, bounds.clip_max)
        and _is_between(present.patience_s, following.patience_s, 0.0, bounds.patience_s_max)
        and _is_between(present.relay_s, following.relay_s, bounds.relay_s_min, bounds.relay_s_max)
    )
    return "running" if is_within else "founding"


def _rounds_max(present: Charter) -> int:
    """Return how many rounds operators may have; of private ones no more than keys agreed to.

    Each charter has budgets reserved anew: one after the other would spend without end.
    """
    most = present.bounds.rounds_max
    return most if present.privacy is None else min(most, present.rounds)


def _is_between(before: float, after: float, lowest: float, highest: float) -> bool:
    return after == before or lowest <= after <= highest


def _at_rest(charter: Charter) -> Charter:
    """Return a charter without what a running change may change; its `not_before` is not in force.

    `start` is of one change, and says nothing of what holds; the nonce says nothing at all.
    """
    return replaced(
        charter,
        nonce=NONE,
        present=NONE,
        not_before=0,
        start=None,
        rounds=0,
        clip=1.0,
        patience_s=0.0,
        relay_s=1.0,
        running=NONE,
    )


# --- who has approved it ------------------------------------------------------------------------


@dataclass(frozen=True)
class ApprovalStanding:
    """How far the approval of a charter is.

    Attributes:
        kind: of the change; a founding's is ``"founding"``.
        approved: members whose word counts, by name, in the order of the charter that they are of.
        missing: what is still wanted, a line each; none if it is enough.
        replaced: members that stay, and are given other keys without their own word: notice must
            be over before the charter is named.
        objected: members that said no.
    """

    kind: ChangeKind
    approved: tuple[str, ...]
    missing: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    objected: tuple[str, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether the charter may be taken."""
        return not self.missing


class _Words:
    """What keys said, each checked."""

    def __init__(self, approvals: Iterable[Approval], known: Iterable[Charter]) -> None:
        self._owner: dict[bytes, str] = {}
        for charter in known:
            for member in charter.members:
                for key in (*member.governance.keys, peer_governance_key(member.key).encoded):
                    self._owner[key] = member.name
        self._said: dict[tuple[bytes, int], dict[bytes, None]] = {}
        for approval in approvals:
            if approval.key not in self._owner:
                raise RefusedApproval(f"key {fingerprint_of(approval.key)} is of no member")
            require_signed(approval)
            self._said.setdefault((approval.charter, approval.says), {})[approval.key] = None

    def count(self, charter: bytes, says: Says, member: CharterMember) -> int:
        """How many governance keys of a member say so."""
        said = self._said.get((charter, says), {})
        return sum(key in said for key in member.governance.keys)

    def says(self, charter: bytes, says: Says, member: CharterMember) -> bool:
        """Whether a member says so: as many of its governance keys as it wants."""
        governance = member.governance
        return bool(governance.keys) and (self.count(charter, says, member) >= governance.threshold)

    def has(self, charter: bytes, says: Says, key: bytes) -> bool:
        """Whether a key says so."""
        return key in self._said.get((charter, says), {})

    def require_of(self, charters: Iterable[tuple[bytes, tuple[Says, ...]]]) -> None:
        """Refuse words about another charter."""
        allowed = {(digest, says) for digest, words in charters for says in words}
        for digest, says in self._said:
            if (digest, says) not in allowed:
                raise RefusedApproval(f"it is said of another charter ({digest.hex()[:16]})")


def check_founding(
    charter: Charter, approvals: Sequence[Approval], *, is_network: bool = False
) -> ApprovalStanding:
    """Say how far a founding is: every key that is in the charter signs.

    Args:
        charter: the founding charter.
        approvals: what keys said of it.
        is_network: whether its members gossip, and keep no ledger.

    Raises:
        RefusedCharter: it is no founding charter.
        RefusedApproval: an approval is not what it must be.
    """
    if is_network:
        require_network(charter)
    else:
        Epoch.founded(charter)
    digest = charter.digest()
    words = _Words(approvals, (charter,))
    words.require_of([(digest, (Says.APPROVE, Says.OBJECT))])
    missing = _ungoverned(charter)
    for member in charter.members:
        missing += _unsigned_keys(words, digest, member, None)
    return ApprovalStanding(
        "founding",
        _names(m for m in charter.members if not _unsigned_keys(words, digest, m, None)),
        tuple(missing),
        objected=_objected(words, digest, (charter,)),
    )


def check_amendment(
    present: Charter, following: Charter, approvals: Sequence[Approval]
) -> ApprovalStanding:
    """Say how far the approval of a charter is that is to follow the one in force.

    Args:
        present: in force.
        following: names it.
        approvals: by whomever, of `following`; and words of leaving, of `present`.

    Raises:
        RefusedCharter: such a charter can follow no other, whoever approves it.
        RefusedApproval: an approval is not what it must be; the message names the key.
    """
    before = present.digest()
    if following.present != before:
        raise RefusedCharter("the charter replaces another one than that in force")
    _require_one_use(present, following)
    digest = following.digest()
    words = _Words(approvals, (present, following))
    words.require_of([(digest, (Says.APPROVE, Says.OBJECT)), (before, DEPARTING)])
    if kind_of_change(present, following) == "running":
        return _running(present, digest, words)
    return _founding(present, following, before, digest, words)


def _running(present: Charter, digest: bytes, words: _Words) -> ApprovalStanding:
    approving = [
        member
        for member in present.members
        if words.has(digest, Says.APPROVE, peer_governance_key(member.key).encoded)
    ]
    wanted = threshold_of(len(present.members)) - len(approving)
    missing = []
    if wanted > 0:
        others = _names(member for member in present.members if member not in approving)
        missing.append(f"{wanted} more of the peers of {_listed(others)}")
    return ApprovalStanding(
        "running",
        _names(approving),
        tuple(missing),
        objected=_objected(words, digest, (present,)),
    )


def _founding(
    present: Charter, following: Charter, before: bytes, digest: bytes, words: _Words
) -> ApprovalStanding:
    old = {member.name: member for member in present.members}
    new = {member.name: member for member in following.members}
    missing = [*_ungoverned(present), *_ungoverned(following)]
    stay = [member for member in present.members if member.name in new]
    approving = [member for member in stay if words.says(digest, Says.APPROVE, member)]
    missing += _votes_missing(stay, approving, words, digest)

    unwilling, changed = [], []
    for member in present.members:
        after = new.get(member.name)
        if words.says(digest, Says.APPROVE, member):
            continue
        if after is None:
            if not any(words.says(before, says, member) for says in LEAVING):
                unwilling.append(member.name)
        elif (after.key, after.governance) != (member.key, member.governance):
            unwilling.append(member.name)
            changed.append(member.name)
    if len(unwilling) > 1:
        missing.append(
            f"the own keys of all but one of {_listed(unwilling)}: at most one member leaves, or is"
            " given other keys, against its will in one charter"
        )
    for name in changed:
        objecting = [
            key for key in old[name].governance.keys if words.has(digest, Says.OBJECT, key)
        ]
        if objecting:
            missing.append(
                f"{name}: its key {fingerprint_of(objecting[0])} objects to other keys for it"
            )
    for member in following.members:
        missing += _unsigned_keys(words, digest, member, old)
    newcomers = [
        member
        for member in following.members
        if member.name not in old and not _unsigned_keys(words, digest, member, old)
    ]
    return ApprovalStanding(
        "founding",
        _names([*approving, *newcomers]),
        tuple(missing),
        tuple(changed),
        _objected(words, digest, (present,)),
    )


def check_succession(
    before: Charter, charter: Charter, approvals: Sequence[Approval]
) -> ApprovalStanding:
    """Say how far the founding of a group is that succeeds one that can certify nothing any more.

    Of all members of the last charter before, floor(2n/3) + 1 approve it, and as large a share of
    their controllers: organisations outlive disks. Every key of the new one signs.

    Args:
        before: the last charter of the group that is succeeded.
        charter: the founding one of the new group.
        approvals: of `charter`.

    Raises:
        RefusedCharter: it does not succeed that group.
        RefusedApproval: an approval is not what it must be.
    """
    succeeds = charter.succeeds
    if succeeds is None or succeeds.charter != before.digest():
        raise RefusedCharter("the charter succeeds another group, or another charter of it")
    digest = Epoch.founded(charter).digest
    _require_one_use(before, charter)
    words = _Words(approvals, (before, charter))
    words.require_of([(digest, (Says.APPROVE, Says.OBJECT))])
    approving = [member for member in before.members if words.says(digest, Says.APPROVE, member)]
    missing = [*_ungoverned(before), *_ungoverned(charter)]
    missing += _votes_missing(before.members, approving, words, digest)
    for member in charter.members:
        missing += _unsigned_keys(words, digest, member, None)
    return ApprovalStanding(
        "founding",
        _names(approving),
        tuple(missing),
        objected=_objected(words, digest, (before, charter)),
    )


def has_signed(governance: Governance, charter: bytes, approvals: Iterable[Approval]) -> bool:
    """Whether a member's governance keys have signed a charter; the approvals were checked."""
    keys = {
        approval.key
        for approval in approvals
        if (approval.charter, approval.says) == (charter, Says.APPROVE)
    }
    return sum(key in keys for key in governance.keys) >= max(1, governance.threshold)


def approvers(charter: Charter, approvals: Iterable[Approval]) -> tuple[str, ...]:
    """Name the members of a charter a key of which, a peer's too, approves something."""
    keys = {approval.key for approval in approvals if approval.says == Says.APPROVE}
    return _names(
        member
        for member in charter.members
        if not keys.isdisjoint((*member.governance.keys, peer_governance_key(member.key).encoded))
    )


def consents_among(charter: Charter, approvals: Iterable[Approval]) -> list[Approval]:
    """Return what the members of a charter in force say for it; some may sign late.

    Its approvals may have come from keys that it replaced, too: these say nothing in it.

    Raises:
        RefusedApproval: one is not its key's.
    """
    digest = charter.digest()
    keys = {key for member in charter.members for key in member.governance.keys}
    found = [
        approval
        for approval in approvals
        if (approval.charter, approval.says) == (digest, Says.APPROVE) and approval.key in keys
    ]
    for approval in found:
        require_signed(approval)
    return found


def _require_one_use(present: Charter, following: Charter) -> None:
    """Refuse a key that is a peer's in one charter and a governance key in the other."""
    for one, other in ((present, following), (following, present)):
        peers = {peer_governance_key(member.key).encoded: member for member in one.members}
        for member in other.members:
            for key in member.governance.keys:
                if key in peers:
                    raise RefusedCharter(
                        f"{member.name}: governance key {fingerprint_of(key)} is the peer's key of"
                        f" {peers[key].name}; a key has one use"
                    )


def _ungoverned(charter: Charter) -> list[str]:
    names = [member.name for member in charter.members if not member.governance.keys]
    return [f"{_listed(names)}: no governance keys are in the charter"] if names else []


def _votes_missing(
    voters: Sequence[CharterMember],
    approving: Sequence[CharterMember],
    words: _Words,
    digest: bytes,
) -> list[str]:
    controllers = dict.fromkeys(member.controller for member in voters)
    got = dict.fromkeys(member.controller for member in approving)
    wanted = threshold_of(len(voters)) - len(approving)
    wanted_controllers = threshold_of(len(controllers)) - len(got)
    if wanted <= 0 and wanted_controllers <= 0:
        return []
    silent = []
    for member in voters:
        if member not in approving:
            count, threshold = (
                words.count(digest, Says.APPROVE, member),
                member.governance.threshold,
            )
            silent.append(f"{member.name} ({count} of {threshold} keys)" if count else member.name)
    if wanted > 0:
        return [f"{wanted} more of {_listed(silent)}"]
    rest = [name for name in controllers if name not in got]
    return [f"members of {wanted_controllers} more of the controllers {_listed(rest)}"]


def _unsigned_keys(
    words: _Words, digest: bytes, member: CharterMember, old: dict[str, CharterMember] | None
) -> list[str]:
    """Name a member's keys that are new and have not signed."""
    before = None if old is None else old.get(member.name)
    known = () if before is None else before.governance.keys
    lines = [
        f"{member.name}: new key {fingerprint_of(key)} has not signed"
        for key in member.governance.keys
        if key not in known and not words.has(digest, Says.APPROVE, key)
    ]
    peer = peer_governance_key(member.key).encoded
    is_new = before is None or before.key != member.key
    if is_new and not words.has(digest, Says.APPROVE, peer):
        lines.append(f"{member.name}: its new peer's key has not signed")
    return lines


def _objected(words: _Words, digest: bytes, charters: Iterable[Charter]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for charter in charters:
        for member in charter.members:
            if words.count(digest, Says.OBJECT, member):
                found[member.name] = None
    return tuple(found)


def _names(members: Iterable[CharterMember]) -> tuple[str, ...]:
    return tuple(member.name for member in members)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
