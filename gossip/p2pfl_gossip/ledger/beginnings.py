"""Beginnings: the model that an epoch starts from, where its charter says `start`.

Such an epoch does not go on from the model of the entry before it: the state that its charter names
takes that model's place, and heights begin again. That is so from the new epoch's first list on,
whatever its base: a charter may come in an entry with a sum, too, which leads to another model.

The model is at hand if it is the end of an epoch, which members keep; or if our host gave it; else
others are asked for it, by its digest. Until it is here, we rest, and say so.
"""

from collections.abc import Callable

from p2pfl_gossip.actions import Action, Vector
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.states import DigestState, StateDigested, StateItem


class Beginnings:
    """The models that epochs may start from.

    Args:
        seat: our place.
        standing: keeps models.
        history: what is certified.
        shelf: gives them to others.
        first: float32[d], the model of the group's first state.
        arrived: is called once the present epoch's is here.
        kept: is called once our host has given one.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        shelf: Shelf,
        first: Vector,
        arrived: Callable[[], None],
        kept: Callable[[], None],
    ) -> None:
        self._seat, self._standing, self._history, self._shelf = seat, standing, history, shelf
        self._first, self._arrived, self._kept = first, arrived, kept
        self.fetch: StateFetch | None = None

    @property
    def is_needed(self) -> bool:
        """Whether our head is of before a start of the present epoch."""
        return self._history.begins_anew

    @property
    def is_coming(self) -> bool:
        """Whether somebody not known to lie gives it."""
        return self.fetch is not None and not self.fetch.is_stalled

    @property
    def item(self) -> StateItem:
        """The model that the present epoch starts from."""
        return self._seat.epoch.charter.state[0]

    @property
    def vector(self) -> Vector | None:
        """The same, if it is here."""
        return self._find(self.item.digest)

    def holds(self, digest: bytes) -> bool:
        """Whether a model is here for good, so that an epoch may start from it."""
        return self._find(digest) is not None

    def _find(self, digest: bytes) -> Vector | None:
        if digest == self._history.first.entry.state[0].digest:
            return self._first
        return self._standing.models.get(digest)

    # --- epochs -----------------------------------------------------------------------------

    def begin_epoch(self, vector: Vector) -> None:
        """See to the model that an epoch starts from; `vector` is our head's."""
        self.drop_fetch()
        self.keep_end(vector)
        self.look()

    def keep_end(self, vector: Vector) -> None:
        """Keep our head's model, if the epoch before the present one ended with it."""
        history = self._history
        if history.is_abreast and history.head.entry.epoch < history.epoch.number:
            digest = history.head.entry.state[0].digest
            self._seat.actions.append(self._standing.keep_model(digest, vector))

    def look(self) -> None:
        """Ask others for the model, if it is needed and not here; give it, if it is."""
        if not self.is_needed:
            self.drop_fetch()
            return
        vector, item = self.vector, self.item
        if vector is not None:
            if not self._shelf.holds(item.digest):
                self._give(vector)
            return
        if self.is_coming:
            return
        self.drop_fetch()
        seat = self._seat
        desk, relay_s = seat.desk.sub(self._on_answer), seat.epoch.charter.relay_s
        self.fetch = StateFetch(item, desk=desk, deadline_s=relay_s, asked=seat.asked)
        others = [seat.epoch.members[rank] for rank in seat.others]
        first = seat.rank if seat.is_member else 0  # Not all of the same few.
        seat.actions += self.fetch.start(seat.now_s, others[first:] + others[:first])

    def drop_fetch(self) -> None:
        """Ask nobody any more."""
        if self.fetch is not None:
            self._seat.actions += self.fetch.close()
            self.fetch = None

    def settle(self) -> None:
        """Take the model, if it is whole."""
        if self.fetch is None or self.fetch.outcome is None:
            return
        outcome = self.fetch.outcome
        self.fetch = None
        self._keep(self.item, outcome.vector, outcome.chunk_digests)
        self._arrived()

    def _on_answer(self, now_s: float, actions: list[Action]) -> list[Action]:
        self._seat.begin(now_s)
        self._seat.actions += actions
        self.settle()
        return self._seat.take()

    # --- what our host gives ----------------------------------------------------------------

    def take(self, vector: Vector) -> None:
        """Take a model from our host, which a charter that is to come starts from, or one in force.

        The charter itself may come later.
        """

        def digested(result: StateDigested) -> None:
            self._keep(result.item, vector, result.chunk_digests)
            self._kept()
            if self.is_needed and result.item == self.item:
                self.drop_fetch()
                self._arrived()

        self._seat.work(DigestState("model", vector), digested)

    def _keep(self, item: StateItem, vector: Vector, chunk_digests: bytes) -> None:
        self._seat.actions.append(self._standing.keep_model(item.digest, vector))
        self._shelf.hold(item, vector, chunk_digests)

    def _give(self, vector: Vector) -> None:
        def digested(result: StateDigested) -> None:
            self._shelf.hold(result.item, vector, result.chunk_digests)

        self._seat.work(DigestState("model", vector), digested)
