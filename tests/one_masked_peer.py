"""A masked peer without its sums: what it tells them is noted, and what they come to is given."""

from collections.abc import Callable
from typing import Any

import numpy as np
from one_peer import OnePeer

from p2pfl_gossip.actions import Action, RemoteProtocolError, Vector
from p2pfl_gossip.averaging.base import CertifiedAveraging, Outcome
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import Certificate
from p2pfl_gossip.masked_sum.messages import Advert
from p2pfl_gossip.peer import Peer
from p2pfl_gossip.records import Message


def advert(round_: int) -> Advert:
    """A message of the session of a round."""
    return Advert(round_.to_bytes(32, "little"), 1, bytes(32), bytes(32), bytes(64))


class NotedSums(CertifiedAveraging):
    """Masked sums of which only certificates and calls matter.

    Attributes:
        refuses: what is wrong with the next certificate or model, or nothing.
        checked: certificates, and models with theirs, in order.
        calls: everything else that it was told, in order.
        lingering: rounds that still answer.
        size_bytes: of the bodies that are wanted; None where none is.
    """

    message_types = (Advert,)

    def __init__(
        self,
        partners: Callable[[int], tuple[int, ...]],
        liars_max: Callable[[int], int] = lambda _round: 1,
    ) -> None:
        self.outcome = self.certificate = None
        self._partners, self._liars_max = partners, liars_max
        self.refuses: str | None = None
        self.checked: list[tuple[Any, ...]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.lingering: tuple[int, ...] = ()
        self.size_bytes: int | None = None

    def liars_max(self, round_: int) -> int:
        return self._liars_max(round_)

    def partners(self, round_: int) -> tuple[int, ...]:
        return self._partners(round_)

    def require_certified(self, certificate: Certificate) -> None:
        self._check(certificate)

    def require_mean_of(self, certificate: Certificate, vector: Vector) -> None:
        self._check(certificate, vector)

    def _check(self, *checked: Any) -> None:
        self.checked.append(checked)
        if self.refuses is not None:
            raise RemoteProtocolError(self.refuses)

    def _note(self, *call: Any) -> list[Action]:
        self.calls.append(call)
        return []

    def round_of(self, message: Message, round_: int) -> int | None:
        assert isinstance(message, Advert)
        return int.from_bytes(message.session, "little")

    def lingers(self, round_: int, message: Message) -> bool:
        return round_ in self.lingering

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        return self._note("begin", now_s, round_, vector.tolist(), weight)

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        raise AssertionError("a masked sum without a vector")

    def abandon(self) -> list[Action]:
        return self._note("abandon")

    def body_bytes(self, sender: int, header: Message) -> int | None:
        return self.size_bytes

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        raise AssertionError(header)

    def on_message(self, now_s: float, sender: int, message: Message) -> list[Action]:
        return self._note("message", now_s, sender, message)

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        return self._note("past", now_s, partner)

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        return self._note("no_update", now_s, partner)

    def on_peer_up(self, partner: int) -> None:
        self._note("up", partner)

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        return self._note("down", now_s, partner)


class OneMaskedPeer(OnePeer):
    """Peer 0 of `peers`, all in one cohort."""

    sums: NotedSums

    def __init__(self, *, peers: int = 5, **settings: Any) -> None:
        super().__init__(peers=peers, **settings)

    def make_peer(self, desk: Desk) -> Peer:
        initial = np.zeros(self.length, np.float32)
        initial.flags.writeable = False
        self.sums = NotedSums(lambda _round: tuple(range(1, self.peers)))
        self.peer = Peer(
            index=0,
            roster=self.roster,
            settings=self.settings,
            initial=initial,
            make_averaging=lambda _inner: self.sums,
            seed="test",
            desk=desk,
        )
        return self.peer

    def sum_up(self, value: float, contributors: int, *, complete: bool = False) -> None:
        """End the sum under way: the next input lets the peer see it."""
        mean = np.full(self.length, value, np.float32)
        mean.flags.writeable = False
        self.sums.outcome = Outcome(mean, self.peers, contributors, complete)
        self.now_s += 1
        self.message(1, advert(self.peer.round))

    def deadlines(self, count: int) -> None:
        for _ in range(count):
            self.timer()
