"""Faults planted in what only groups have: one for each checker of theirs, and for each promise."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from replacing import Change
from sweep_plants import Plant, planting

from p2pfl_gossip.actions import Persist, RemoteProtocolError
from p2pfl_gossip.ledger import approving, entries
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.signing import Signing
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.auditing import Auditing
from p2pfl_gossip.masked_sum.messages import SumsSeen
from p2pfl_gossip.masked_sum.tossing import Tossing

GROUP_PLANTS: dict[str, Plant] = {}
plant = planting(GROUP_PLANTS)


@plant
def proofs_unchecked() -> Iterator[Change]:
    """An audited sum counts whatever its proofs say."""
    yield Auditing, "_on_checked", lambda self, _result: self._core.advance(phases.DONE)


@plant
def coin_shown_early() -> Iterator[Change]:
    """A member shows its coin once it has the sums itself."""
    honest = Tossing._toss_if_seen

    def toss(self: Any) -> None:
        seen, own = self._seen, self._seen[self._core.rank]
        self._seen = dict.fromkeys(range(self._core.cohort.size), own)
        honest(self)
        self._seen = seen

    yield Tossing, "_toss_if_seen", toss


@plant
def sums_seen_twice() -> Iterator[Change]:
    """A member signs which sums it has, and then other ones."""
    honest = Tossing.start

    def start(self: Any, told: Any) -> None:
        honest(self, told)
        core, ballot, other = self._core, self._summing.ballot, bytes(32)
        signature = core.sign(b"seen", ballot, other)
        core.broadcast(SumsSeen(core.cohort.session, core.rank, ballot, other, signature))

    yield Tossing, "start", start


@plant
def nothing_signed() -> Iterator[Change]:
    """No member signs an entry: rounds follow each other, and none is certified."""
    yield Signing, "sign", lambda *_: None


@plant
def advert_unrecorded() -> Iterator[Change]:
    """An advert leaves before the record that says which head it names."""
    honest = Standing.advertise

    def advertise(self: Any, advert: Any) -> Persist:
        honest(self, advert)
        return Persist({})

    yield Standing, "advertise", advertise


@plant
def newcomer_refused() -> Iterator[Change]:
    """A member refuses whoever is of no epoch that has begun at its own place."""
    honest = GroupMember._is_strange

    def is_strange(self: Any, sender: Any, message: Any) -> bool:
        if honest(self, sender, message):
            raise RemoteProtocolError("not_a_member")
        return False

    yield GroupMember, "_is_strange", is_strange


@plant
def not_gone_back() -> Iterator[Change]:
    """Entries go on from the state before, where the charter goes back to an earlier one."""
    yield entries, "begins_anew", lambda _epoch, _base: False


@plant
def model_not_the_certified() -> Iterator[Change]:
    """A member goes on from a model of its own in place of the one that is certified."""
    honest = Standing.certify

    def certify(self: Any, step: Any, vector: Any, *rest: Any) -> Persist:
        return honest(self, step, vector + np.float32(1), *rest)

    yield Standing, "certify", certify


@plant
def successor_unapproved() -> Iterator[Change]:
    """A group is succeeded by whom few of its members have approved."""
    yield approving, "_votes_missing", lambda *_: []
