"""The charter, as far as the machine goes by it, and the epoch in which one holds.

A charter is what the members of a group agree on. Its versions are the epochs of the group. All
that the ledger's rules need stands here. What else people agree on is here by two digests, so that
no two charters of one digest differ in it: `running` of what t peers may change (how it is learnt),
`terms` of all the rest (the task, documents, who may see what). Who approved a charter is none of
its text (approvals.py): one charter has one digest.

Dates are for those who name a charter, or give updates under it. History never asks for them.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

from p2pfl_crypto.governance import (
    KEY_BYTES_MAX,
    KEY_BYTES_MIN,
    GovernanceKey,
    InvalidGovernance,
)
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import PeerId, peer_id_of
from p2pfl_gossip.ledger.privacy import MOMENTUM, Privacy, still, why_not
from p2pfl_gossip.ledger.states import Head, StateItem
from p2pfl_gossip.masked_sum.cohort import (
    COHORT_SIZE_MAX,
    COHORT_SIZE_MIN,
    Ranked,
    liars_max_of,
    threshold_of,
)
from p2pfl_gossip.records import (
    ByteSize,
    Codec,
    Digest,
    MalformedFrame,
    Message,
    TextForm,
    UInt32,
    UInt63,
)

CHARTER_VERSION = 2

AUDIT_OFF, AUDIT_VOID, AUDIT_NAME = 0, 1, 2
"""What becomes of a round in which somebody does not prove that what it put in is bounded: nothing
is asked for; or the round is void. A number that is not here is for later: no peer follows it."""

CHARTER_BYTES_MAX = 96 * 1024
"""Of the canonical bytes: 128 members with a key each take some 25 KB, with the longest names and
as many keys as there may be 90 KB."""

NETWORK_MEMBERS_MIN, NETWORK_MEMBERS_MAX = 2, 256
"""Of a charter whose members keep no ledger, but gossip: as many as can sign in one file, each with
its peer's and one governance key."""

GOVERNANCE_KEYS_MAX = 512
"""Of all members: four for each of 128; of one member it may be more."""

KEYS_OF_ONE_MAX = 7
"""Governance keys of one member."""

FOREVER = 2**63 - 1
"""In place of a date: of what does not end."""

LEADERS_KEPT = 16
"""Orders of leaders that are remembered: of the rounds that are under way."""

NONE = bytes(32)
"""In place of a digest: there is none."""

NEW_STATE = Head(0, 0, NONE)
"""In place of an entry that is gone back to: a state that is in no history."""

Key = Annotated[bytes, ByteSize(min_length=32, max_length=32)]
KeyBytes = Annotated[bytes, ByteSize(min_length=KEY_BYTES_MIN, max_length=KEY_BYTES_MAX)]
Name = Annotated[str, TextForm(max_length=64)]


class RefusedCharter(ValueError):
    """A charter cannot be; the message says why."""


class Governance(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """By which keys a member approves what is to change.

    Attributes:
        threshold: how many of them it takes.
        keys: `GovernanceKey.encoded` of each. None where a group cannot be changed by its members:
            in a simulation.
    """

    threshold: UInt32 = 0
    keys: Annotated[tuple[KeyBytes, ...], ByteSize(max_length=KEYS_OF_ONE_MAX)] = ()


class CharterMember(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member.

    Attributes:
        key: its peer's Ed25519 key.
        name: what people call it; no two members' are the same. Who has the same name in the next
            charter is the same member.
        controller: who decides for it; all its members have one vote together.
        weight: how much its updates count against others', above 0. All members see it.
        governance: its keys for changes.
    """

    key: Key
    name: Name
    controller: Name
    weight: float = 1.0
    governance: Governance = Governance()


class Bounds(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far a running change may go. By default none may be made.

    Attributes:
        rounds_max: the most heights.
        clip_min, clip_max: of S.
        patience_s_max: the longest patience.
        relay_s_min, relay_s_max: of the relay time.
        running: whether `Charter.running` may be another. How far it may go is for people: the
            bounds are in the charter's terms, and each operator's approval looks at them.
    """

    rounds_max: UInt32 = 0
    clip_min: float = 0.0
    clip_max: float = 0.0
    patience_s_max: float = 0.0
    relay_s_min: float = 0.0
    relay_s_max: float = 0.0
    running: bool = False


class Succeeds(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which group a new one succeeds, that could certify nothing any more.

    Attributes:
        group: its name.
        charter: digest of its last charter.
        head: the entry from whose state the new group begins.
    """

    group: Digest
    charter: Digest
    head: Head


class Charter(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=150):
    """What the members of a group agree on.

    Attributes:
        version: of this form.
        nonce: of the founders' random bytes, so that a group is never founded twice. In a later
            charter it says nothing.
        present: digest of the charter that this one replaces; zeros in the founding one.
        members: in the order of admission; a member's rank is its place here.
        rounds: heights that the group goes to.
        clip: S, the largest L2 norm of an update.
        patience_s: how long those that work are waited for, beyond `relay_s`, at most.
        relay_s: how long an answer of another member may take.
        progress_s: how often a member that works says so.
        retries: updates beyond the first that a member spends from one model.
        state: what is trained: the items of the first state, `model` first; of the state that
            `start` names, where the epoch does not go on from what is there.
        not_before, until: seconds since 1970 between which the charter may come, and updates may
            be given.
        notice_s: how long a charter waits, from when a member first sees it, that gives another
            member other keys without its own word.
        bounds: of running changes.
        start: None to go on; an entry that ended an epoch, to go back to its state; NEW_STATE for
            a new first state. Heights begin again with it.
        succeeds: the group that this one succeeds; in a founding charter only.
        terms: digest of what else members agree on.
        running: digest of what else peers may change.
        privacy: how sums are made private; None if they are not.
        audit: `AUDIT_OFF`, `AUDIT_VOID` or `AUDIT_NAME`.
    """

    version: UInt32
    nonce: Digest
    present: Digest
    members: Annotated[tuple[CharterMember, ...], ByteSize(max_length=NETWORK_MEMBERS_MAX)]
    rounds: UInt32
    clip: float
    patience_s: float
    relay_s: float
    progress_s: float
    retries: UInt32
    state: Annotated[tuple[StateItem, ...], ByteSize(min_length=1, max_length=8)]
    not_before: UInt63
    until: UInt63
    notice_s: UInt63
    bounds: Bounds
    start: Head | None
    succeeds: Succeeds | None
    terms: Digest
    running: Digest
    privacy: Privacy | None = None
    audit: UInt32 = AUDIT_OFF

    def digest(self) -> bytes:
        """Name this charter: H("p2pfl/charter", canonical bytes)."""
        return charter_digest(encode_charter(self))


def charter_digest(encoded: bytes) -> bytes:
    """Name a charter by its canonical bytes."""
    return hash_parts(b"p2pfl/charter", encoded)


def terms_digest(text: bytes) -> bytes:
    """Name what `Charter.terms` is the digest of."""
    return hash_parts(b"p2pfl/terms", text)


def running_digest(text: bytes) -> bytes:
    """Name what `Charter.running` is the digest of."""
    return hash_parts(b"p2pfl/running", text)


_CODEC = Codec(Charter | None, frame_bytes_max=CHARTER_BYTES_MAX)


def encode_charter(charter: Charter) -> bytes:
    """Write a charter's canonical bytes: those of its message."""
    return _CODEC.encode(charter)


def read_charter(encoded: bytes) -> Charter:
    """Read a charter's canonical bytes.

    Raises:
        MalformedFrame: these are none, or not canonical.
    """
    charter = _CODEC.decode_untrusted(encoded)
    if not isinstance(charter, Charter) or encode_charter(charter) != encoded:
        raise MalformedFrame("not the canonical bytes of a charter")
    return charter


def peer_governance_key(key: bytes) -> GovernanceKey:
    """Return a peer's key in the form of governance keys, as approvals have it.

    Raises:
        RefusedCharter: it is no Ed25519 key in order.
    """
    try:
        return GovernanceKey("ed25519", key)
    except InvalidGovernance as error:
        raise RefusedCharter(str(error)) from None


def _require(charter: Charter) -> None:
    """Check all that a charter of a group says by itself, or raise RefusedCharter."""
    n = len(charter.members)
    if not COHORT_SIZE_MIN <= n <= COHORT_SIZE_MAX:
        raise RefusedCharter(
            f"a group has {COHORT_SIZE_MIN} to {COHORT_SIZE_MAX} members, not {n}: fewer would"
            " show each other's updates, more gossip in cohorts"
        )
    _require_whole(charter)
    if charter.privacy is not None:
        _require_privacy(charter, charter.privacy)
    _require_audit(charter)


def require_network(charter: Charter) -> None:
    """Check the charter of a network, whose members gossip and keep no ledger.

    It holds for good: nobody amends it, since there is no history that could say from when.

    Raises:
        RefusedCharter: says what is wrong.
    """
    n = len(charter.members)
    if not NETWORK_MEMBERS_MIN <= n <= NETWORK_MEMBERS_MAX:
        raise RefusedCharter(
            f"a network has {NETWORK_MEMBERS_MIN} to {NETWORK_MEMBERS_MAX} members, not {n}"
        )
    if charter.present != NONE or charter.start is not None or charter.succeeds is not None:
        raise RefusedCharter(
            "the charter of a network holds for good, and goes on from no group: found a new one"
        )
    if charter.privacy is not None or charter.audit != AUDIT_OFF:
        raise RefusedCharter("only the sums of a group can be private, or audited")
    _require_whole(charter)


def _require_whole(charter: Charter) -> None:
    """Check what holds of a charter of any kind."""
    n = len(charter.members)
    if charter.version != CHARTER_VERSION:
        raise RefusedCharter(f"version {charter.version} of charters is not known")
    if len({member.key for member in charter.members}) != n:
        raise RefusedCharter("a member's key comes twice")
    _require_names(charter)
    _require_numbers(charter)
    _require_governance(charter)
    if charter.state[0].name != "model":
        raise RefusedCharter("the first item of a state is the model")


def _require_names(charter: Charter) -> None:
    names = [member.name for member in charter.members]
    for name in (*names, *(member.controller for member in charter.members)):
        if not name.isprintable() or name != name.strip() or not name:
            raise RefusedCharter(f"{name!r} is no name: it must be text that can be printed")
    for name in names:
        if names.count(name) > 1:
            raise RefusedCharter(f"two members are called {name}")


def _require_numbers(charter: Charter) -> None:
    for what, number in (
        ("clip", charter.clip),
        ("relay_s", charter.relay_s),
        ("progress_s", charter.progress_s),
        *((f"weight of {member.name}", member.weight) for member in charter.members),
    ):
        if not 0 < number < math.inf:
            raise RefusedCharter(f"{what} is {number}; it must be above 0")
    if not 0 <= charter.patience_s < math.inf:
        raise RefusedCharter(f"patience_s is {charter.patience_s}; it must be 0 or more")
    if charter.not_before >= charter.until:
        raise RefusedCharter("the charter is over before it begins: until must be after not_before")
    bounds = charter.bounds
    for what, lowest, highest in (
        ("clip", bounds.clip_min, bounds.clip_max),
        ("relay_s", bounds.relay_s_min, bounds.relay_s_max),
        ("patience_s", 0.0, bounds.patience_s_max),
    ):
        if not 0 <= lowest <= highest < math.inf:
            raise RefusedCharter(f"the bounds of {what} are {lowest} to {highest}")


def _require_privacy(charter: Charter, privacy: Privacy) -> None:
    n, model = len(charter.members), charter.state[0]
    begins = charter.present == NONE or charter.start is not None
    why = why_not(
        privacy,
        members=n,
        threshold=threshold_of(n),
        liars_max=liars_max_of(n),
        # Who goes on from heights that are there pays for those to come, and no charter says how
        # many these are: with fewer than it takes members have spent all before the last.
        rounds=charter.rounds if begins else 1,
        weights=tuple(member.weight for member in charter.members),
        entries=model.length,
    )
    if why is not None:
        raise RefusedCharter(f"privacy: {why}")
    if not privacy.momentum:
        return
    if charter.start not in (None, NEW_STATE):
        raise RefusedCharter("privacy: with momentum a charter goes back to no earlier entry")
    if charter.present == NONE or charter.start == NEW_STATE:
        if charter.state != (model, still(model.length)):
            raise RefusedCharter(
                f"privacy: with momentum a first state has a {MOMENTUM!r} of zeros beside the model"
            )
    elif [item.name for item in charter.state] != ["model", MOMENTUM]:
        raise RefusedCharter(f"privacy: with momentum a state has a {MOMENTUM!r} beside the model")


def _require_audit(charter: Charter) -> None:
    if charter.audit not in (AUDIT_OFF, AUDIT_VOID, AUDIT_NAME):
        raise RefusedCharter(f"audit {charter.audit} is not known to this version")
    privacy = charter.privacy
    if charter.audit != AUDIT_OFF and privacy is not None and privacy.is_shared:
        raise RefusedCharter(
            "audit: sums in which members count on each other's noise cannot be audited, since the"
            " noise hides what liars add; set audit to 'off', or privacy's trust to 'nobody'"
        )


def _require_governance(charter: Charter) -> None:
    """Check that each key has one use and one owner.

    A key and its negative are one: who has the secret of one signs for both.
    """
    owners: dict[bytes, str] = {}
    for member in charter.members:
        owners[peer_governance_key(member.key).unsigned] = f"the peer of {member.name}"
    count = 0
    for member in charter.members:
        governance = member.governance
        count += len(governance.keys)
        if governance.threshold > len(governance.keys) or (
            governance.keys and not governance.threshold
        ):
            raise RefusedCharter(
                f"{member.name}: {governance.threshold} of {len(governance.keys)} keys is no"
                " threshold"
            )
        for encoded in governance.keys:
            try:
                key = GovernanceKey.read(encoded)
            except InvalidGovernance as error:
                raise RefusedCharter(f"{member.name}: {error}") from None
            if key.unsigned in owners:
                raise RefusedCharter(
                    f"{member.name}: key {key.fingerprint} is also that of {owners[key.unsigned]}"
                )
            owners[key.unsigned] = member.name
    if count > GOVERNANCE_KEYS_MAX:
        raise RefusedCharter(
            f"a charter has at most {GOVERNANCE_KEYS_MAX} governance keys, not {count}"
        )


@dataclass(frozen=True)
class Epoch(Ranked):
    """A charter in force, and its place among the charters of its group.

    Attributes:
        group: the group: the digest of its founding charter.
        number: 0 for the founding charter, and one more with each that followed.
        charter: what holds.

    Raises:
        RefusedCharter: says what is wrong.
    """

    group: bytes
    number: int
    charter: Charter
    digest: bytes = field(init=False)
    members: tuple[PeerId, ...] = field(init=False, repr=False)
    keys: tuple[bytes, ...] = field(init=False, repr=False)
    weights: tuple[float, ...] = field(init=False, repr=False)
    _ranks: dict[PeerId, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require(self.charter)
        keys = tuple(member.key for member in self.charter.members)
        object.__setattr__(self, "digest", self.charter.digest())
        object.__setattr__(self, "keys", keys)
        members = tuple(peer_id_of(key) for key in keys)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "weights", tuple(member.weight for member in self.charter.members))
        object.__setattr__(self, "_ranks", {peer: rank for rank, peer in enumerate(members)})

    @classmethod
    def founded(cls, charter: Charter) -> "Epoch":
        """Return the first epoch of the group that a charter founds."""
        if charter.present != NONE:
            raise RefusedCharter("a founding charter replaces none")
        if charter.start is not None:
            raise RefusedCharter("a founding charter goes back to no entry: its state is the first")
        return cls(charter.digest(), 0, charter)

    def followed_by(self, charter: Charter) -> "Epoch":
        """Return the epoch that comes after this one with a charter that replaces it."""
        if charter.present != self.digest:
            raise RefusedCharter("the charter replaces another one than that in force")
        if charter.succeeds is not None:
            raise RefusedCharter("only a founding charter succeeds another group")
        if charter.start is None and charter.state != self.charter.state:
            raise RefusedCharter(
                "the charter has another first state: it must say that it starts from it"
            )
        return Epoch(self.group, self.number + 1, charter)

    @property
    def entries(self) -> int:
        """The length of the model."""
        return self.charter.state[0].length

    @property
    def least(self) -> int:
        """Members that must be in a sum: t, or more where noise is counted on."""
        privacy = self.charter.privacy
        return self.threshold if privacy is None else max(self.threshold, privacy.least)

    def leaders(self, round_: int, out: frozenset[int] = frozenset()) -> tuple[int, ...]:
        """Return the ranks in the order in which they lead a round, without those that are out.

        The order of H("p2pfl/leader", group, epoch, round, key): nobody chooses its place in it.
        """
        return _leaders(self.group, self.number, round_, self.keys, out)


@lru_cache(maxsize=LEADERS_KEPT)
def _leaders(
    group: bytes, epoch: int, round_: int, keys: tuple[bytes, ...], out: frozenset[int]
) -> tuple[int, ...]:
    place = (group, epoch.to_bytes(8, "little"), round_.to_bytes(8, "little"))
    order = [
        (hash_parts(b"p2pfl/leader", *place, key), rank)
        for rank, key in enumerate(keys)
        if rank not in out
    ]
    return tuple(rank for _, rank in sorted(order))
