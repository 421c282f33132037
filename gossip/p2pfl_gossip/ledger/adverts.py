"""The adverts of all members, by round: who is ready for which round, with which head.

An honest member advertises once a round, and its rounds grow. Of each member the few latest are
kept: others repeat theirs until a round is over, so that what was dropped comes again.
"""

from collections.abc import Mapping

from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.messages import GroupAdvert, Rest
from p2pfl_gossip.ledger.seat import Seat

ROUNDS_KEPT = 4
"""Of one member's adverts: the round under way, the one before, and two of members ahead."""

VERSIONS_MAX = 3
"""Of one member's adverts of one round. An honest one has one; two prove a lie, and a list may name
a third."""


class Adverts:
    """Adverts that were checked, by round and member."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        # By round, member and digest; the first that came is the first.
        self._of: dict[int, dict[int, dict[bytes, GroupAdvert]]] = {}
        self._latest: dict[int, GroupAdvert] = {}
        # What is asked at every message. Of latest rounds there are few at a time.
        self._counts: dict[int, int] = {}
        self._first_of: dict[int, dict[int, GroupAdvert]] = {}

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        for kept in (self._of, self._latest, self._counts, self._first_of):
            kept.clear()

    def take(self, advert: GroupAdvert, digest: bytes) -> GroupAdvert | None:
        """Keep an advert that was checked; return an earlier one that it contradicts."""
        round_, member = advert.round, advert.member
        versions = self._of.setdefault(round_, {}).setdefault(member, {})
        if digest in versions or len(versions) >= VERSIONS_MAX:
            return None
        other = next(iter(versions.values()), None)
        versions[digest] = advert
        if other is None:
            self._first_of.pop(round_, None)
        latest = self._latest.get(member)
        if latest is None or latest.round < round_:
            self._latest[member] = advert
            self._counts[round_] = self._counts.get(round_, 0) + 1
            if latest is not None:
                self._forget_count(latest.round)
        if len(self._of) > ROUNDS_KEPT:
            self._forget_old(member)
        return other

    def _forget_old(self, member: int) -> None:
        rounds = [round_ for round_ in self._of if member in self._of[round_]]
        for old in sorted(rounds)[:-ROUNDS_KEPT]:
            del self._of[old][member]
            self._first_of.pop(old, None)
            if not self._of[old]:
                del self._of[old]

    def take_all(self, round_: int, adverts: Mapping[int, tuple[bytes, GroupAdvert]]) -> bool:
        """Keep adverts of one round that were checked, by member, with their digests.

        Return False, and keep none, if one contradicts an earlier one.
        """
        of_round = self._of.setdefault(round_, {})
        known = [member for member in adverts if member in of_round]
        if any(adverts[member][0] not in of_round[member] for member in known):
            return False
        counts, new = self._counts, 0
        for member, (digest, advert) in adverts.items():
            if member in of_round:
                continue
            of_round[member] = {digest: advert}
            latest = self._latest.get(member)
            if latest is None or latest.round < round_:
                self._latest[member] = advert
                new += 1
                if latest is not None:
                    self._forget_count(latest.round)
        if new:
            counts[round_] = counts.get(round_, 0) + new
        self._first_of.pop(round_, None)
        if len(self._of) > ROUNDS_KEPT:
            for member in adverts:
                self._forget_old(member)
        return True

    def _forget_count(self, round_: int) -> None:
        self._counts[round_] -= 1
        if not self._counts[round_]:
            del self._counts[round_]

    def holds(self, round_: int, member: int, digest: bytes) -> bool:
        """Whether an advert was taken."""
        return digest in self._of.get(round_, {}).get(member, {})

    def version(self, round_: int, member: int, digest: bytes) -> GroupAdvert | None:
        """Return the advert of a digest."""
        return self._of.get(round_, {}).get(member, {}).get(digest)

    def of_round(self, round_: int) -> dict[int, GroupAdvert]:
        """Return the adverts of a round, the first of each member, ascending; not to be changed."""
        firsts = self._first_of.get(round_)
        if firsts is None:
            of_round = self._of.get(round_, {})
            firsts = {member: next(iter(of_round[member].values())) for member in sorted(of_round)}
            self._first_of[round_] = firsts
        return firsts

    def latest(self, member: int) -> GroupAdvert | None:
        """Return the advert of a member's latest round."""
        return self._latest.get(member)

    def round_of(self, member: int) -> int:
        """Return the latest round that a member advertised for; 0 before the first."""
        latest = self._latest.get(member)
        return latest.round if latest else 0

    def count_of(self, round_: int) -> int:
        """Count the members of which an advert of a round is here."""
        return len(self._of.get(round_, ()))

    def reached(self, round_: int) -> int:
        """Count the members that advertised for a round or a later one."""
        return sum(count for of, count in self._counts.items() if of >= round_)

    def round_of_others(self, count: int) -> int:
        """Return the highest round that so many other members have reached; 0 for none."""
        own = self._latest.get(self._seat.rank)
        missing = count
        for round_ in sorted(self._counts, reverse=True):
            missing -= self._counts[round_] - (own is not None and own.round == round_)
            if missing <= 0:
                return round_
        return 0

    def forget_before(self, round_: int) -> None:
        """Drop rounds that nobody may ask for any more; the latest of each member stay known."""
        for old in [key for key in self._of if key < round_]:
            del self._of[old]
        self._first_of.clear()


def by_head(adverts: dict[int, GroupAdvert]) -> dict[Head, dict[int, GroupAdvert]]:
    """Sort adverts by the head that they name."""
    found: dict[Head, dict[int, GroupAdvert]] = {}
    for member, advert in adverts.items():
        found.setdefault(advert.head, {})[member] = advert
    return found


def ready(adverts: dict[int, GroupAdvert]) -> dict[int, GroupAdvert]:
    """Return the adverts of those that do not rest."""
    return {rank: advert for rank, advert in adverts.items() if advert.rest == Rest.NONE}


def charter_named(adverts: dict[int, GroupAdvert], backers: int) -> bytes:
    """Return the charter that most adverts name, if so many do; of equals the lowest digest."""
    counts: dict[bytes, int] = {}
    for advert in adverts.values():
        if advert.charter != NONE:
            counts[advert.charter] = counts.get(advert.charter, 0) + 1
    if not counts:
        return NONE
    digest = min(counts, key=lambda charter: (-counts[charter], charter))
    return digest if counts[digest] >= backers else NONE
