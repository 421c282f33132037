"""Rejoining by others' word: for models that are seen anyway, among members who trust each other.

Composes the two sides of catch_up.py. A peer follows who says that it is ahead, and gives away the
model that it began its round with.
"""

from random import Random

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, Vector
from p2pfl_gossip.averaging.base import Outcome, check_entries
from p2pfl_gossip.catch_up import CatchUp, ModelHeader, ModelServer
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.other_rounds import OtherRounds
from p2pfl_gossip.peer_state import Position
from p2pfl_gossip.rejoining import Rejoining, Resumed
from p2pfl_gossip.roster import Roster


class PlainRejoining(Rejoining):
    """Both sides, where models are not masked.

    Args:
        index, roster: of the peer.
        position: where it is.
        others: what it knows of others' rounds.
        deadline_s: how long an answer may take.
        desk: of this machine alone.
    """

    _search: CatchUp

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        position: Position,
        others: OtherRounds,
        deadline_s: float,
        desk: Desk,
    ) -> None:
        super().__init__(position, deadline_s)
        self._index, self._roster, self._desk = index, roster, desk
        self._others = others
        self._server = ModelServer(roster, desk)

    def start(self, rng: Random) -> None:
        """Take the random stream that draws whom to ask."""
        self._search = CatchUp(
            index=self._index,
            roster=self._roster,
            deadline_s=self._deadline_s,
            desk=self._desk,
            rng=rng,
        )

    def seek(self, now_s: float) -> list[Action]:
        """Ask some members for their round."""
        return self._search.seek(now_s, self._position.round)

    def fetch(self, now_s: float, target: int) -> list[Action]:
        """Ask a member that says it is ahead for its model."""
        return self._search.fetch(now_s, self._position.round, target)

    def whom_to_follow(self, outcome: Outcome) -> int | None:
        """Return the member that is furthest ahead, where most partners say they are."""
        return self._others.whom_to_follow(outcome)

    def stop(self) -> list[Action]:
        """End the search."""
        return self._search.stop()

    def take_resumed(self) -> Resumed | None:
        """Go on with the model found if it is of a later round than ours, or else with ours."""
        found, round_ = self._search.found, self._position.round
        if found is None:
            return None
        self._search.found = None
        if found.vector is None or found.round <= round_:
            return Resumed(round_)
        return Resumed(found.round, found.vector, events=(events.CaughtUp(round_, found.round),))

    def on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """Take the answer of a member that we asked."""
        return self._search.on_status(now_s, sender, round_)

    def on_peer_down(self, now_s: float, member: int) -> list[Action]:
        """Do without a member."""
        return self._search.on_peer_down(now_s, member)

    def wants_model(self, sender: int, header: ModelHeader) -> bool:
        """Tell whether we asked this member for a model."""
        return self._search.is_fetching_from(sender)

    def on_model(
        self, now_s: float, sender: int, header: ModelHeader, vector: Vector
    ) -> list[Action]:
        """Take a model if it is still wanted and its entries are in range."""
        if not self._search.is_fetching_from(sender):
            return []
        check_entries(vector)
        return self._search.on_model(header.round, vector)

    def on_request(self, now_s: float, sender: int, their_round: int) -> list[Action]:
        """Give the model that our round began with, or have the sender wait for the next."""
        position = self._position
        is_at_hand = not (self._ends_soon(now_s) or position.is_trained)
        vector = position.vector if is_at_hand else None
        return self._server.on_request(sender, their_round, position.round, vector)

    def on_outcome(self, now_s: float, outcome: Outcome) -> list[Action]:
        """Give the new model to all who waited for it."""
        return self._server.on_round(self._position.round, self._position.vector)

    def on_resumed(self, resumed: Resumed) -> list[Action]:
        """Give the model found to all who wait. Our own may be a trained one: nobody has that."""
        if resumed.vector is None:
            return []
        return self._server.on_round(resumed.round, resumed.vector)
