"""What the parts of a member share: place, time, who is away, and the actions to return."""

from collections.abc import Callable, Iterable, Mapping

from p2pfl_crypto.identity import Identity, PeerId
from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    Event,
    Job,
    LocalProtocolError,
    Persist,
    Report,
    Send,
    Vector,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.certificates import sign
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.masked_sum.core import Entropy
from p2pfl_gossip.records import Message

NO_RANK = -1
"""Of who is no member: it signs nothing, since no signature of such a rank can be made."""


class Seat:
    """One member's place in the epoch that it is in.

    Attributes:
        epoch: the epoch.
        rank: our place in it; NO_RANK if we have none.
        is_member: whether we have one.
        entropy: gives secret bytes.
        now_s: the time of the input at hand.
        actions: what it leads to, so far.
        gone: members whose link broke, or that cannot be reached; what they still say counts.
        asked: whom we asked for models, ever: late answers are passed over, others' are refused.
    """

    def __init__(self, epoch: Epoch, identity: Identity, entropy: Entropy, desk: Desk) -> None:
        self.identity, self.entropy, self.desk = identity, entropy, desk
        self.now_s = 0.0
        self.actions: list[Action] = []
        self.gone: dict[int, None] = {}
        self.asked: dict[PeerId, None] = {}
        self.enter(epoch)

    def enter(self, epoch: Epoch) -> None:
        """Take our place in an epoch; or none, where we are to be a member of a later one."""
        rank = epoch.rank_of(self.identity.peer_id)
        self.epoch, self.is_member = epoch, rank is not None
        self.rank = NO_RANK if rank is None else rank
        self.gone.clear()
        self.others = [other for other in range(epoch.size) if other != rank]

    def begin(self, now_s: float) -> None:
        """Take the time of an input."""
        self.now_s = now_s

    def take(self) -> list[Action]:
        """Return what is to be done, and forget it."""
        actions, self.actions = self.actions, []
        return actions

    # --- what goes out ----------------------------------------------------------------------

    def sign(self, kind: bytes, body: bytes) -> bytes:
        """Sign a statement of the ledger, from our place."""
        return sign(self.identity, self.rank, kind, body)

    def send(self, rank: int, message: Message) -> None:
        """Send a message to a member."""
        self.actions.append(Send(self.epoch.members[rank], message))

    def send_to(self, peers: Iterable[PeerId], message: Message) -> None:
        """Send a message to peers, members of this epoch or of an earlier one."""
        self.actions += [Send(peer, message) for peer in peers]

    def broadcast(self, message: Message) -> None:
        """Send a message to all other members."""
        for rank in self.others:
            self.send(rank, message)

    def keep(self, records: Mapping[str, bytes | Vector | None]) -> None:
        """Keep records, if there are any, before what follows."""
        if records:
            self.actions.append(Persist(dict(records)))

    def disconnect(self, peer: PeerId, reason: str) -> None:
        """Have a link ended for what came by it, where that was not seen at once."""
        self.actions.append(Disconnect(peer, reason))

    def report(self, event: Event) -> None:
        """Show an event."""
        self.actions.append(Report(event))

    # --- what is waited for -----------------------------------------------------------------

    def set_timer(self, name: str, at_s: float, due: Callable[[], None]) -> None:
        """Have `due` called at a time; an earlier timer of the name is forgotten."""
        self.actions += self.desk.set_timer(name, at_s, self._following(due))

    def cancel_timer(self, name: str) -> None:
        """Forget a timer, if it is set."""
        self.actions += self.desk.cancel_timer(name)

    def work(
        self, job: Job, done: Callable[..., None], failed: Callable[[str], None] | None = None
    ) -> int:
        """Have a job done; return its ticket.

        Raises:
            LocalProtocolError: later, if it fails and nothing was said of that: it cannot.
        """
        work = self.desk.work(
            job, self._following(done), self._following(_cannot if failed is None else failed)
        )
        self.actions.append(work)
        return work.ticket

    def _following(self, act: Callable[..., None]) -> Callable[..., list[Action]]:
        """Make a part's method a continuation: it is not told the time, and returns no actions."""

        def follow(now_s: float, *answer: object) -> list[Action]:
            self.begin(now_s)
            act(*answer)
            return self.take()

        return follow


def _cannot(reason: str) -> None:
    raise LocalProtocolError(f"a job of the ledger failed: {reason}")
