"""The adverts of all members, by round: who is ready for which round, with which head.

An honest member advertises once a round, and its rounds grow. Of each member the few latest are
kept: others repeat theirs until a round is over, so that what was dropped comes again.
"""

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
        # What is asked at every message, and changes with an advert only.
        self._first_of: dict[int, dict[int, GroupAdvert]] = {}
        self._sorted_rounds: list[int] | None = None
        self._reached_by: dict[int, int] = {}

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        self._of.clear()
        self._latest.clear()
        self._forget_answers()

    def _forget_answers(self) -> None:
        self._first_of.clear()
        self._reached_by.clear()
        self._sorted_rounds = None

    def take(self, advert: GroupAdvert, digest: bytes) -> GroupAdvert | None:
        """Keep an advert that was checked; return an earlier one that it contradicts."""
        of_round = self._of.setdefault(advert.round, {})
        versions = of_round.setdefault(advert.member, {})
        if digest in versions or len(versions) >= VERSIONS_MAX:
            return None
        other = next(iter(versions.values()), None)
        versions[digest] = advert
        self._forget_answers()
        latest = self._latest.get(advert.member)
        if latest is None or latest.round < advert.round:
            self._latest[advert.member] = advert
        rounds = [round_ for round_ in self._of if advert.member in self._of[round_]]
        for old in sorted(rounds)[:-ROUNDS_KEPT]:
            del self._of[old][advert.member]
            if not self._of[old]:
                del self._of[old]
        return other

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

    def reached(self, round_: int) -> int:
        """Count the members that advertised for a round or a later one."""
        count = self._reached_by.get(round_)
        if count is None:
            count = sum(advert.round >= round_ for advert in self._latest.values())
            self._reached_by[round_] = count
        return count

    def round_of_others(self, count: int) -> int:
        """Return the highest round that so many other members have reached; 0 for none."""
        if self._sorted_rounds is None:
            self._sorted_rounds = sorted(map(self.round_of, self._seat.others), reverse=True)
        return self._sorted_rounds[count - 1] if len(self._sorted_rounds) >= count else 0

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
