"""The charter, as far as the machine goes by it, and the epoch in which one holds.

A charter is what the members of a group agree on. Its versions are the epochs of the group. All
that the ledger's rules need stands here; whatever else people agree on (the task, how it is learnt,
who may see what) is in `agreed` by its digest, so that no two charters of one digest differ in it.
Who approved a charter is none of its text: one charter has one digest.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import PeerId, peer_id_of
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.masked_sum.cohort import (
    COHORT_SIZE_MAX,
    COHORT_SIZE_MIN,
    Ranked,
)
from p2pfl_gossip.records import (
    ByteSize,
    Codec,
    Digest,
    MalformedFrame,
    Message,
    TextForm,
    UInt32,
)

CHARTER_BYTES_MAX = 32 * 1024
"""Of the canonical bytes: 128 members take some 15 KB."""

NONE = bytes(32)
"""In place of a digest: there is none."""

Key = Annotated[bytes, ByteSize(min_length=32, max_length=32)]
Name = Annotated[str, TextForm(max_length=64)]


class RefusedCharter(ValueError):
    """A charter cannot be; the message says why."""


class CharterMember(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member.

    Attributes:
        key: its peer's Ed25519 key.
        name: what people call it; no two members' are the same.
        weight: how much its updates count against others', above 0. All members see it.
    """

    key: Key
    name: Name
    weight: float = 1.0


class Charter(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=150):
    """What the members of a group agree on.

    Attributes:
        version: of this form.
        nonce: of the founders' random bytes, so that a group is never founded twice.
        present: digest of the charter that this one replaces; zeros in the founding one.
        members: in the order of admission; a member's rank is its place here.
        rounds: heights that the group goes to.
        clip: S, the largest L2 norm of an update.
        patience_s: how long those that work are waited for, beyond `relay_s`, at most.
        relay_s: how long an answer of another member may take.
        progress_s: how often a member that works says so.
        retries: updates beyond the first that a member spends from one model.
        state: what is trained: the items of the first state, `model` first.
        agreed: digest of all else that members agree on.
    """

    version: UInt32
    nonce: Digest
    present: Digest
    members: Annotated[tuple[CharterMember, ...], ByteSize(max_length=COHORT_SIZE_MAX)]
    rounds: UInt32
    clip: float
    patience_s: float
    relay_s: float
    progress_s: float
    retries: UInt32
    state: Annotated[tuple[StateItem, ...], ByteSize(min_length=1, max_length=8)]
    agreed: Digest

    def digest(self) -> bytes:
        """Name this charter: H("p2pfl/charter", canonical bytes)."""
        return hash_parts(b"p2pfl/charter", encode_charter(self))


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
        charter = self.charter
        n = len(charter.members)
        if not COHORT_SIZE_MIN <= n <= COHORT_SIZE_MAX:
            raise RefusedCharter(
                f"a group has {COHORT_SIZE_MIN} to {COHORT_SIZE_MAX} members, not {n}: fewer would"
                " show each other's updates, more gossip in cohorts"
            )
        keys = tuple(member.key for member in charter.members)
        if len(set(keys)) != n:
            raise RefusedCharter("a member's key comes twice")
        names = [member.name for member in charter.members]
        for name in names:
            if not name.isprintable() or name != name.strip() or not name:
                raise RefusedCharter(f"{name!r} is no name: it must be text that can be printed")
            if names.count(name) > 1:
                raise RefusedCharter(f"two members are called {name}")
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
        if charter.version != 1:
            raise RefusedCharter(f"version {charter.version} of charters is not known")
        if charter.state[0].name != "model":
            raise RefusedCharter("the first item of a state is the model")
        object.__setattr__(self, "digest", charter.digest())
        object.__setattr__(self, "keys", keys)
        members = tuple(peer_id_of(key) for key in keys)
        object.__setattr__(self, "members", members)
        object.__setattr__(self, "weights", tuple(member.weight for member in charter.members))
        object.__setattr__(self, "_ranks", {peer: rank for rank, peer in enumerate(members)})

    @classmethod
    def founded(cls, charter: Charter) -> "Epoch":
        """Return the first epoch of the group that a charter founds."""
        if charter.present != NONE:
            raise RefusedCharter("a founding charter replaces none")
        return cls(charter.digest(), 0, charter)

    def followed_by(self, charter: Charter) -> "Epoch":
        """Return the epoch that comes after this one with a charter that replaces it."""
        if charter.present != self.digest:
            raise RefusedCharter("the charter replaces another one than that in force")
        return Epoch(self.group, self.number + 1, charter)

    @property
    def entries(self) -> int:
        """The length of the model."""
        return self.charter.state[0].length

    def leaders(self, round_: int, out: frozenset[int] = frozenset()) -> tuple[int, ...]:
        """Return the ranks in the order in which they lead a round, without those that are out.

        The order of H("p2pfl/leader", group, epoch, round, key): nobody chooses its place in it.
        """
        place = (
            self.group,
            self.number.to_bytes(8, "little"),
            round_.to_bytes(8, "little"),
        )
        order = [
            (hash_parts(b"p2pfl/leader", *place, self.keys[rank]), rank)
            for rank in range(self.size)
            if rank not in out
        ]
        return tuple(rank for _, rank in sorted(order))
