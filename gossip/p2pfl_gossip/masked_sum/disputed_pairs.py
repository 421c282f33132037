"""Which end of a pair lied, where two members say different things of what they share.

The honest end shows what X25519 gave the two, with a proof against both advertised keys; then all
work out what both should have said. It does so only once the other end has proved that it knows the
secret of its own key: then the other end knows all that is shown, and it is news of nobody else.
"""

from collections.abc import Callable, Container

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.transcripts import audit_secret
from p2pfl_gossip.masked_sum.accusing import Accusing
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.dispute_jobs import CheckPair, Judged, OpenPair, PairOpened
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.messages import DisputeStatement, PairShown


class DisputedPairs:
    """Pairs whose ends differ, and what is shown of them.

    Args:
        core: our place.
        keys: of the session.
        accusing: takes whom we find out.
        job_of: makes the check of what was shown, given the context that it is shown for.
    """

    def __init__(
        self,
        core: Core,
        keys: SessionKeys,
        accusing: Accusing,
        job_of: Callable[[PairShown, bytes], CheckPair],
    ) -> None:
        self._core, self._keys, self._accusing, self._job_of = core, keys, accusing, job_of
        self._points: dict[int, dict[int, bytes]] = {}  # Of statements, by author and other end.
        self._sound: dict[int, None] = {}  # Who knows the secret of its key, and fits it.
        self._differing: dict[tuple[int, int], None] = {}  # The lower rank first.
        self._shown: dict[tuple[int, int], PairShown] = {}  # By who shows, and the other.
        self._unchecked: list[PairShown] = []  # The first of them is being checked.

    def unsettled(self, settled: Container[int]) -> dict[int, None]:
        """Return both ends of each pair whose ends differ, where neither is one of `settled`."""
        found: dict[int, None] = {}
        for pair in self._differing:
            if not any(rank in settled for rank in pair):
                found |= dict.fromkeys(pair)
        return found

    def add(self, said: DisputeStatement, members: tuple[int, ...]) -> None:
        """Compare a member's statement with those of all others."""
        member = said.member
        self._points[member] = said.points_of(members)
        for other in self._points:
            pair = (min(member, other), max(member, other))
            if other != member and self._points[member][other] != self._points[other][member]:
                self._differing[pair] = None
                self._open_if_sound(pair)
                for shown in list(self._shown.values()):
                    if {shown.member, shown.other} == set(pair):
                        self._check(shown)

    def trust(self, member: int) -> None:
        """Note that a member has proved that it knows the secret of its key."""
        self._sound[member] = None
        rank = self._core.rank
        self._open_if_sound((min(member, rank), max(member, rank)))

    def _open_if_sound(self, pair: tuple[int, int]) -> None:
        rank = self._core.rank
        if pair in self._differing and rank in pair:
            partner = pair[1] if pair[0] == rank else pair[0]
            if partner in self._sound:
                self._open(partner)

    def _context(self, member: int, other: int) -> bytes:
        ranks = member.to_bytes(4, "little") + other.to_bytes(4, "little")
        return hash_parts(b"p2pfl/pair-shown", self._core.cohort.session, ranks)

    def _open(self, other: int) -> None:
        core, keys = self._core, self._keys
        session, secrets = core.cohort.session, keys.secrets
        purpose = b"open" + other.to_bytes(4, "little")
        job = OpenPair(
            scalar=secrets.mask_scalar,
            own_key=keys.mask_keys[core.rank],
            other_key=keys.mask_keys[other],
            context=self._context(core.rank, other),
            entropy=audit_secret(secrets.rounding, purpose, session)[:32],
        )

        def done(result: PairOpened) -> None:
            if result.opened:
                shown = PairShown(session, core.rank, other, result.opened)
                core.broadcast(shown)
                self.take(shown)

        core.work(job, done)

    def take(self, shown: PairShown) -> None:
        """Keep the first thing that one end of a pair shows; check it if the ends differ."""
        key = (shown.member, shown.other)
        if key in self._shown:
            return
        self._shown[key] = shown
        if (min(key), max(key)) in self._differing:
            self._check(shown)

    def _check(self, shown: PairShown) -> None:
        self._unchecked.append(shown)
        if len(self._unchecked) == 1:
            self._check_next()

    def _check_next(self) -> None:
        """Check one after the other, and none of whom we have found out: a liar has many pairs."""
        unchecked, accused = self._unchecked, set(self._accusing.accused)
        while unchecked and {unchecked[0].member, unchecked[0].other} & accused:
            del unchecked[0]
        if not unchecked:
            return
        ranks = (unchecked[0].member, unchecked[0].other)

        def done(found: Judged) -> None:
            for rank, end in (ranks, ranks[::-1]) if found.holds else ():
                if self._points[rank][end] != found.point:
                    self._accusing.accuse(rank)
            del unchecked[0]
            self._check_next()

        self._core.work(self._job_of(unchecked[0], self._context(*ranks)), done)

    def repair(self) -> None:
        """Show again what we have shown: it may have been lost."""
        for shown in self._shown.values():
            if shown.member == self._core.rank:
                self._core.broadcast(shown)
