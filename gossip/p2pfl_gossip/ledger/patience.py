"""How long others are waited for, and saying that one works oneself.

A member that works says so while it does. Who waited in vain for one halves its patience with it;
each delivery doubles it again, to at most the charter's. So one that only claims to work costs less
and less, and a slow one that delivers is waited for.
"""

from p2pfl_gossip.ledger.messages import Progress
from p2pfl_gossip.ledger.seat import Seat

SILENT_AFTER = 3
"""Times the interval of `Progress`: who is silent for so long does not work, or is cut off."""


SHARE_MIN = 2.0**-10
"""Of the charter's patience. What is left of an hour is some seconds, which costs nobody anything,
and ten deliveries bring all of it back."""


class MemberPatience:
    """Our patience with each member, and our own word."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._shares: dict[int, float] = {}
        self._heard_s: dict[int, float] = {}
        self._round = 0

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        self._shares.clear()
        self._heard_s.clear()

    # --- others -----------------------------------------------------------------------------

    def on_progress(self, member: int) -> None:
        """Note that a member works."""
        self._heard_s[member] = self._seat.now_s

    def works(self, member: int) -> bool:
        """Whether a member said lately that it works."""
        heard_s = self._heard_s.get(member)
        if heard_s is None:
            return False
        return self._seat.now_s - heard_s < SILENT_AFTER * self._seat.epoch.charter.progress_s

    def of(self, member: int) -> float:
        """Return how long a member that works is waited for, in seconds."""
        return self._seat.epoch.charter.patience_s * self._shares.get(member, 1.0)

    def in_vain(self, member: int) -> None:
        """Note that we waited for a member, and it did not come."""
        self._shares[member] = max(SHARE_MIN, self._shares.get(member, 1.0) / 2)

    def delivered(self, member: int) -> None:
        """Note that a member came."""
        self._heard_s.pop(member, None)
        share = self._shares.get(member, 1.0)
        if share < 1.0:
            self._shares[member] = min(1.0, 2 * share)

    # --- ourselves --------------------------------------------------------------------------

    def begin(self, round_: int) -> None:
        """Say from now on that we work for a round."""
        self._round = round_
        self._wait()

    def end(self) -> None:
        """Say it no longer."""
        self._seat.cancel_timer("progress")

    def _wait(self) -> None:
        seat = self._seat
        seat.set_timer("progress", seat.now_s + seat.epoch.charter.progress_s, self._tell)

    def _tell(self) -> None:
        seat = self._seat
        seat.broadcast(Progress(seat.epoch.number, self._round))
        self._wait()
