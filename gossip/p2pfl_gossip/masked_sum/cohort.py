"""Who sums, what, and how it is cut: all that follows from the members and what they agreed on.

Threshold, bounds and places depend on all members alone, never on who answered: a leader that
presents fewer adverts does not get a lower threshold by it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from p2pfl_crypto.encoding import DeltaEncoding, Encoding
from p2pfl_crypto.identity import PeerId, public_key_of
from p2pfl_crypto.private_encoding import WordsAsTheyAre
from p2pfl_crypto.transcripts import session_id

COHORT_SIZE_MIN = 5
"""With fewer, t - m < 3: a coalition of m would see the sum of two members, or of one."""
COHORT_SIZE_MAX = 128
"""A header takes 64 bytes a member and a frame 64 KiB; beyond about 100 members use a grid."""
CHUNK_COUNT_MAX = 1536
"""A manifest takes 32 bytes a chunk, and must fit in a frame of 64 KiB."""
CHUNK_ENTRIES = 2**20
"""What a chunk has at most, unless the vector is so long that CHUNK_COUNT_MAX would be passed:
4 MiB, so that few chunks bound what is in memory at once, and a signature costs little beside."""
SMALL_CHUNK_ENTRIES = 2**14
"""A chunk of fewer is not worth a chunk: its messages cost more than its entries. So a short vector
has fewer chunks than the cohort has members, and in each round other members own them."""
SPREAD_CHUNKS = 8
"""A vector however short is spread over so many members, or over all if they are fewer: no two of
them hold all of it."""
MEMBERS_KEPT = 64
"""Lists of members whose keys are kept: a group has one an epoch, and each round names it anew."""
BITMAPS_KEPT = 256
"""Bitmaps whose ranks are remembered: a session has a few, and reads each some hundred times."""
OWNERS_MAX = 4
"""More copies of each chunk than that cost more than the round that they save."""


class RefusedCohort(ValueError):
    """A cohort or its parameters would not hide what it must."""


def threshold_of(size: int) -> int:
    """T = floor(2n/3) + 1 of a cohort of n: shares, ACKs or votes."""
    return 2 * size // 3 + 1


def liars_max_of(size: int) -> int:
    """M = ceil(n/3) - 1 members of a cohort of n that may collude and lie; 2t > n + m."""
    return (size + 2) // 3 - 1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a member waits for others, in seconds.

    Attributes:
        gather_s: for adverts, shares, receipts and reveals: small messages from all members.
        takeover_s: longer than a leader would take, before the next leader's turn comes.
        chunks_s: for the masked chunks of all members; about a vector's time on the slowest link.
        sums_s: for a chunk's sum, before another member is asked to work it out.
        session_s: time to live of the whole session; then all keys are dropped.
    """

    gather_s: float = 5.0
    takeover_s: float = 5.0
    chunks_s: float = 30.0
    sums_s: float = 15.0
    session_s: float = 300.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise RefusedCohort(f"{name} is positive and finite, not {value}")


class Ranked:
    """An ordered list of members: what follows from how many they are, and sets of their ranks.

    Whoever derives from it sets both attributes.

    Attributes:
        members: in order; a member's rank is its place here.
    """

    __slots__ = ()

    members: tuple[PeerId, ...]
    _ranks: dict[PeerId, int]

    @property
    def size(self) -> int:
        """n, all members, whoever answers."""
        return len(self.members)

    @property
    def threshold(self) -> int:
        """T, as `threshold_of`."""
        return threshold_of(self.size)

    @property
    def liars_max(self) -> int:
        """M, as `liars_max_of`."""
        return liars_max_of(self.size)

    @property
    def bitmap_bytes(self) -> int:
        """Bytes of a bitmap over the ranks."""
        return (self.size + 7) // 8

    def rank_of(self, peer: PeerId) -> int | None:
        """Return a member's place, or None for a stranger."""
        return self._ranks.get(peer)

    def pack(self, ranks: Iterable[int]) -> bytes:
        """Write a set of ranks as a bitmap, rank 0 in the lowest bit of the first byte."""
        bits = 0
        for rank in ranks:
            bits |= 1 << rank
        return bits.to_bytes(self.bitmap_bytes, "little")

    def unpack(self, bitmap: bytes) -> tuple[int, ...] | None:
        """Read a bitmap as ascending ranks; None if it is none of these members'."""
        return _ranks_in(bitmap, self.size) if self.is_bitmap(bitmap) else None

    def is_bitmap(self, bitmap: bytes) -> bool:
        """Whether this is a set of these members' ranks."""
        is_whole = len(bitmap) == self.bitmap_bytes
        return is_whole and not int.from_bytes(bitmap, "little") >> self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMembers(Ranked, ABC):
    """The members of one session, and what follows from them alone.

    Attributes:
        group: bytes that name the group which trains together.
        round: the round that is averaged.
        members: peers in admission order; a member's rank is its place here.
        vector_entries: length d of the vectors.
        clip: bounds what a member may put in, as the encoding says.
        owner_count: owners r of each chunk.
        patience: how long to wait for others; not part of the session's name.
        public_keys: of the members, by rank.
        session: the session's name.
        chunk_count: a multiple of n, so that all own as many chunks, unless the vector is short.
        encoding: how vectors are written modulo 2^32; Q follows from n.

    Raises:
        RefusedCohort: says what is wrong.
    """

    group: bytes
    round: int
    members: tuple[PeerId, ...]
    vector_entries: int
    clip: float
    owner_count: int = 2
    patience: Patience = field(default_factory=Patience)
    public_keys: tuple[bytes, ...] = field(init=False, repr=False)
    session: bytes = field(init=False, repr=False)
    chunk_count: int = field(init=False, repr=False)
    encoding: Encoding | DeltaEncoding | WordsAsTheyAre = field(init=False, repr=False)
    _ranks: dict[PeerId, int] = field(init=False, repr=False, compare=False)
    # Of the first chunk's ring: behind those who own chunks of a short vector the round before.
    _first_place: int = field(init=False, repr=False, compare=False)

    passes_over_away: ClassVar[bool] = False
    """Whether a leader that is not listed, or cannot be reached, has no turn after ADVERTISE."""

    def __post_init__(self) -> None:
        n = len(self.members)
        if n < COHORT_SIZE_MIN:
            raise RefusedCohort(
                f"a cohort of {n} would show its members' vectors to each other:"
                f" it takes at least {COHORT_SIZE_MIN}"
            )
        if n > COHORT_SIZE_MAX:
            raise RefusedCohort(f"a cohort of {n}: at most {COHORT_SIZE_MAX}; use a grid")
        ranks, keys = _places_and_keys(self.members)
        if len(ranks) != n:
            raise RefusedCohort("a member comes twice")
        if not 2 <= self.owner_count <= min(OWNERS_MAX, n):
            raise RefusedCohort(f"2 to {OWNERS_MAX} owners a chunk, not {self.owner_count}")
        if not 1 <= self.vector_entries < 2**40:
            raise RefusedCohort(f"a vector of {self.vector_entries} entries")
        object.__setattr__(self, "encoding", self._make_encoding())
        per_owner = -(-self.vector_entries // (n * CHUNK_ENTRIES))
        per_owner = min(per_owner, CHUNK_COUNT_MAX // n)
        worth = max(SPREAD_CHUNKS, self.vector_entries // SMALL_CHUNK_ENTRIES)
        count = min(n * per_owner if worth >= n else worth, self.vector_entries)
        first = self.round * count if count < n else 0
        object.__setattr__(self, "chunk_count", count)
        object.__setattr__(self, "_first_place", first)
        object.__setattr__(self, "_ranks", ranks)
        object.__setattr__(self, "public_keys", keys)
        object.__setattr__(self, "session", self._name())

    @abstractmethod
    def _make_encoding(self) -> Encoding | DeltaEncoding | WordsAsTheyAre:
        """Make the encoding; refuse, by RefusedCohort, what is of this kind of session alone."""

    @abstractmethod
    def _name(self) -> bytes:
        """Name the session; the public keys and the count of chunks are known."""

    @property
    def is_audited(self) -> bool:
        """Whether members prove that what they put in is bounded; only a group's may be."""
        return False

    @property
    def names_liars(self) -> bool:
        """Whether members find out who made a total false, where sums are audited."""
        return False

    @property
    @abstractmethod
    def leader_turns_max(self) -> int:
        """Places of leaders, from turn 0 on: what a turn is below."""

    @abstractmethod
    def leader(self, turn: int) -> int:
        """Return the rank that leads in a turn."""

    @property
    def contributors_min(self) -> int:
        """Members that must be in a sum: t, unless more are asked for."""
        return self.threshold

    def entries_of(self, chunk: int) -> slice:
        """Return a chunk's part of the vector."""
        d, k = self.vector_entries, self.chunk_count
        return slice(chunk * d // k, (chunk + 1) * d // k)

    def body_bytes(self, chunk: int) -> int:
        """Return the size of a masked chunk: 4 bytes for each word that the encoding writes."""
        entries = self.entries_of(chunk)
        return 4 * self.encoding.body_entries(int(entries.stop) - int(entries.start))

    def ring(self, members: tuple[int, ...]) -> tuple[int, ...]:
        """Return the members in the order in which they own the chunks in turn."""
        start = self._first_place % len(members)
        return members[start:] + members[:start]

    def ring_of(self, chunk: int, members: tuple[int, ...]) -> tuple[int, ...]:
        """Return the members in the order in which they may own a chunk: primary, backup, ..."""
        ring = self.ring(members)
        start = chunk % len(ring)
        return ring[start:] + ring[:start]

    def owners_of(self, chunk: int, members: tuple[int, ...]) -> tuple[int, ...]:
        """Return the owners of a chunk among U2, primary first: the head of its ring."""
        ring, count = self.ring(members), min(self.owner_count, len(members))
        return tuple(ring[(chunk + place) % len(ring)] for place in range(count))

    def owned_by(self, rank: int, members: tuple[int, ...]) -> tuple[int, ...]:
        """Return the chunks that a member of U2 owns, ascending."""
        if rank not in members:
            return ()
        size, place = len(members), self.ring(members).index(rank)
        firsts = dict.fromkeys((place - turn) % size for turn in range(self.owner_count))
        return tuple(
            sorted(chunk for first in firsts for chunk in range(first, self.chunk_count, size))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort(SessionMembers):
    """The members of one cohort, as drawn for a round, whose weights nobody is to know.

    Attributes:
        attempt: which try of this round, from 0.
        weight_max: largest weight W.
        nonce: what the draw of the cohort adds to the session's name.

    `clip` is the largest absolute value C of an entry.
    """

    attempt: int
    weight_max: float
    nonce: bytes = b""
    encoding: Encoding = field(init=False, repr=False)

    def _make_encoding(self) -> Encoding:
        if not (0 <= self.round < 2**63 and 0 <= self.attempt < 2**63):
            raise RefusedCohort("round and attempt are 0 or more")
        try:
            return Encoding(self.size, self.clip, self.weight_max)
        except ValueError as error:
            raise RefusedCohort(str(error)) from None

    def _name(self) -> bytes:
        return session_id(
            group=self.group,
            round_number=self.round,
            attempt=self.attempt,
            nonce=self.nonce,
            members=self.public_keys,
            vector_entries=self.vector_entries,
            chunk_count=self.chunk_count,
            owner_count=self.owner_count,
            clip=self.clip,
            weight_max=self.weight_max,
        )

    @property
    def leader_turns_max(self) -> int:
        """Leaders that may be tried: among m + 1 at least one is honest."""
        return self.liars_max + 1

    def leader(self, turn: int) -> int:
        """Return the rank that leads in a turn; it rotates with the round."""
        return (self.round + self.attempt + turn) % self.size


@lru_cache(maxsize=BITMAPS_KEPT)
def _ranks_in(bitmap: bytes, size: int) -> tuple[int, ...]:
    bits = int.from_bytes(bitmap, "little")
    return tuple(rank for rank in range(size) if bits >> rank & 1)


@lru_cache(maxsize=MEMBERS_KEPT)
def _places_and_keys(members: tuple[PeerId, ...]) -> tuple[dict[PeerId, int], tuple[bytes, ...]]:
    """Return the rank of each member, and their keys; neither is to be changed."""
    ranks = {member: rank for rank, member in enumerate(members)}
    return ranks, tuple(public_key_of(member) for member in members)
