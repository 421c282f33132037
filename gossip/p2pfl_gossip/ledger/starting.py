"""The start: a member hears from others what they hold of its own before it says anything new.

A journal that is older than what others hold (a restored backup, a lost disk, a second process)
would have it say two things in one round. Then it sits out until the group is past all that.
What others hold is of one epoch. So an answer counts only if it is of ours; who is in a later one
shows us the way there first, and then all are asked again.
"""

from collections.abc import Callable

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.certificates import require_entry_signature, verify_of
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.messages import (
    EntrySignature,
    GroupAdvert,
    HeldOfAsker,
    HeldRequest,
)
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.standing import Standing


class Starting:
    """Asks all others, until t - 1 of them have answered.

    Args:
        seat: our place.
        standing: what our journal says. After a start nothing is signed up to its last advert's
            round (`Standing.begin_life`); that is noted when we are done here, not before: else
            signatures that the journal lacks would pass for forgotten ones.
        head: gives our head.
        done: is called once with the highest round that the journal lacks; 0 if it lacks nothing.
        waits_for_all: whether to wait a while for those that have not answered: nothing has begun.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        head: Callable[[], Head],
        done: Callable[[int], None],
        *,
        waits_for_all: bool,
    ) -> None:
        self._seat, self._standing, self._head, self._done = seat, standing, head, done
        self._epoch = seat.epoch
        self._waits_for_all = waits_for_all
        self._answered: dict[int, None] = {}
        self._shown = 0
        self._is_patient = True
        self.is_over = False

    def start(self) -> None:
        """Ask all members."""
        self._ask()

    def _ask(self) -> None:
        seat = self._seat
        self._forget_other_epochs()
        for member in seat.others:
            if member not in self._answered:
                seat.send(member, HeldRequest(seat.epoch.number, self._head()))
        seat.set_timer("start", seat.now_s + seat.epoch.charter.relay_s, self._ask)

    def on_held(self, member: int, message: HeldOfAsker) -> None:
        """Take what a member holds of ours, or raise RemoteProtocolError."""
        if self.is_over:
            return
        self._forget_other_epochs()
        if message.epoch != self._epoch.number:
            return
        shown = [self._lacked(said) for said in (message.advert, message.entry) if said is not None]
        self._shown = max(self._shown, *shown, 0)
        self._answered[member] = None
        self.look()

    def _forget_other_epochs(self) -> None:
        """Begin anew in a new epoch: ranks are others, and nobody was asked about it."""
        if self._epoch is not self._seat.epoch:
            self._epoch = self._seat.epoch
            self._answered.clear()

    def _lacked(self, said: GroupAdvert | EntrySignature) -> int:
        """Return the round of what was shown, if our journal lacks it; 0 if not."""
        seat, standing = self._seat, self._standing
        if said.member != seat.rank:
            raise RemoteProtocolError("not_of_the_asker")
        if said.epoch != seat.epoch.number:
            raise RemoteProtocolError("wrong_epoch")
        if isinstance(said, EntrySignature):
            require_entry_signature(seat.epoch, said)
            own = standing.signed(said.round)
            is_known = own is not None and own.said.entry == said.entry
            # What was signed long ago is forgotten, and nothing of its time is signed again.
            return 0 if is_known or said.round <= standing.record.signed_floor else said.round
        digest = said.digest(seat.epoch)
        verify_of(seat.epoch, seat.rank, b"advert", said.signature, digest)
        last = standing.record.advert
        if last is None or said.round > last.round:
            return said.round
        if said.round == last.round and last.digest(seat.epoch) != digest:
            return said.round
        return 0

    def look(self) -> None:
        """End, once enough have answered."""
        seat = self._seat
        self._forget_other_epochs()
        if self.is_over or len(self._answered) < seat.epoch.threshold - 1:
            return
        if self._waits_for_all and len(self._answered) < len(seat.others):
            if self._is_patient:
                self._is_patient = False
                charter = seat.epoch.charter
                at_s = seat.now_s + charter.relay_s + charter.patience_s
                seat.set_timer("all", at_s, self._end)
            return
        self._end()

    def _end(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._seat.cancel_timer("start")
        self._seat.cancel_timer("all")
        self._done(self._shown)
