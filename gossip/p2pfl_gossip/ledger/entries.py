"""Entries: the steps of a group's common history.

An entry says which model follows from which, by whose sum, and under which charter. It is proposed
by nobody: whoever has the list and the ballot of a round, and the sums, works out the same bytes.
What t members have signed is *certified*; history is the chain of bases, down to the first state.
"""

import math
from enum import IntEnum
from functools import cached_property
from typing import Annotated

from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip.ledger.charter import NONE, Epoch
from p2pfl_gossip.ledger.privacy import FEATURE
from p2pfl_gossip.ledger.states import Head as Head
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX
from p2pfl_gossip.records import ByteSize, Codec, Digest, Message, Record, UInt32, UInt63

ENTRY_BYTES_MAX = 16 * 1024
"""Of the canonical bytes: an entry of 128 members with a strike each takes less than 4 KB."""

VERSION = 1

Bitmap = Annotated[bytes, ByteSize(min_length=1, max_length=(COHORT_SIZE_MAX + 7) // 8)]


class Kind(IntEnum):
    """What an entry is of."""

    SUM = 0
    """A sum of updates: a height more."""
    EMPTY = 1
    """No sum: it carries a charter, or makes final what is before it."""


class Strike(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How often a member was found to have spoilt a round, without proof that it meant to."""

    member: UInt32
    count: UInt32


class Feature(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a later version adds to an entry, by name; who does not know the name does not sign."""

    name: Annotated[str, ByteSize(max_length=32)]
    value: Annotated[bytes, ByteSize(max_length=1024)]


class Entry(Message, frozen=True, array_like=True, forbid_unknown_fields=True, tag=151):
    """One step of the history.

    Attributes:
        version: of this form.
        kind: a `Kind`.
        group: the group's name.
        epoch: number of the epoch.
        charter: digest of the charter in force.
        round: the round whose list it is of; rounds are tries, and are one series over all epochs.
        height: sums up to and with this entry.
        base: the entry that it follows.
        listed: tau1 of the list that was summed; zeros if empty.
        ballot: digest of the certified ballot; zeros if empty.
        sums: digest over the digests of all chunks' sums; zeros if empty.
        members: U3, whose updates are in; none if empty.
        weight: of all members that are not out: what the sum was divided by; 0 if empty.
        state: what it leads to, `model` first.
        next_charter: digest of the charter that comes next; zeros for none.
        out: members that were proven to lie, or that left; nothing is asked of them in this epoch.
        strikes: by member, ascending.
        features: by name, ascending.
    """

    version: UInt32
    kind: UInt32
    group: Digest
    epoch: UInt32
    charter: Digest
    round: UInt63
    height: UInt32
    base: Head
    listed: Digest
    ballot: Digest
    sums: Digest
    members: Bitmap
    weight: float
    state: Annotated[tuple[StateItem, ...], ByteSize(min_length=1, max_length=8)]
    next_charter: Digest
    out: Bitmap
    strikes: Annotated[tuple[Strike, ...], ByteSize(max_length=COHORT_SIZE_MAX)] = ()
    features: Annotated[tuple[Feature, ...], ByteSize(max_length=8)] = ()

    def digest(self) -> bytes:
        """Name this entry: H("p2pfl/entry", canonical bytes)."""
        return hash_parts(b"p2pfl/entry", encode_entry(self))


_CODEC = Codec(Entry | None, frame_bytes_max=ENTRY_BYTES_MAX)


def encode_entry(entry: Entry) -> bytes:
    """Write an entry's canonical bytes: those of its message."""
    return _CODEC.encode(entry)


class EntryStep(Record, frozen=True, dict=True):
    """An entry with its name, which is worked out once."""

    entry: Entry

    @cached_property
    def head(self) -> Head:
        """The name of the entry."""
        return Head(self.entry.epoch, self.entry.round, self.entry.digest())


def first_entry(epoch: Epoch) -> Entry:
    """Return the entry of height 0: the first state that a founding charter names.

    It is final by definition, and nobody signs it. Its round is 0; the first try is round 1.
    """
    return Entry(
        version=VERSION,
        kind=Kind.EMPTY,
        group=epoch.group,
        epoch=0,
        charter=epoch.digest,
        round=0,
        height=0,
        base=Head(0, 0, NONE),
        listed=NONE,
        ballot=NONE,
        sums=NONE,
        members=epoch.pack(()),
        weight=0.0,
        state=epoch.charter.state,
        next_charter=NONE,
        out=epoch.pack(()),
    )


def begins_anew(epoch: Epoch, base: Entry) -> bool:
    """Whether a list of this epoch starts from its charter's state, and not from its base's."""
    return base.epoch < epoch.number and epoch.charter.start is not None


def origin(epoch: Epoch, base: Entry) -> bytes:
    """Name the model that updates from a base are from; in each epoch it has another name.

    An entry whose sum changes nothing leads to the model before it.
    """
    item = epoch.charter.state[0] if begins_anew(epoch, base) else base.state[0]
    return hash_parts(b"p2pfl/origin", epoch.number.to_bytes(8, "little"), item.digest)


def height_from(epoch: Epoch, base: Entry) -> int:
    """Return the sums up to a base, as a list of this epoch counts them."""
    return 0 if begins_anew(epoch, base) else base.height


def empty_entry(epoch: Epoch, round_: int, base: EntryStep, next_charter: bytes) -> Entry:
    """Return the entry of an empty list: a function of epoch, round, base and next charter.

    Where an epoch starts anew, its charter's state takes the place of the base's, and heights begin
    again. In the first entry of a new epoch nobody is out and nobody has strikes: those were
    members of another charter.
    """
    entry, same = base.entry, base.entry.epoch == epoch.number
    return Entry(
        version=VERSION,
        kind=Kind.EMPTY,
        group=epoch.group,
        epoch=epoch.number,
        charter=epoch.digest,
        round=round_,
        height=height_from(epoch, entry),
        base=base.head,
        listed=NONE,
        ballot=NONE,
        sums=NONE,
        members=epoch.pack(()),
        weight=0.0,
        state=epoch.charter.state if begins_anew(epoch, entry) else entry.state,
        next_charter=next_charter,
        out=entry.out if same else epoch.pack(()),
        strikes=entry.strikes if same else (),
    )


def features_of(epoch: Epoch, kind: int) -> tuple[Feature, ...]:
    """Return what an entry of an epoch says beside all that every entry does."""
    privacy = epoch.charter.privacy
    if kind != Kind.SUM or privacy is None:
        return ()
    return (Feature(FEATURE, privacy.feature(epoch.size)),)


def out_of(epoch: Epoch, base: Entry) -> frozenset[int]:
    """Return who is out of a list that is made from this base."""
    if base.epoch != epoch.number:
        return frozenset()
    return frozenset(epoch.unpack(base.out) or ())


def weight_in_force(epoch: Epoch, out: frozenset[int]) -> float:
    """Return w, the weight of all members that are not out; exact, in whatever order."""
    return math.fsum(weight for rank, weight in enumerate(epoch.weights) if rank not in out)
