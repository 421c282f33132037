"""What a peer knows of the rounds that others are in, and whom it follows once it is behind."""

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.averaging.base import Outcome, RoundBuffer
from p2pfl_gossip.catch_up import Status
from p2pfl_gossip.roster import Roster


class OtherRounds:
    """The rounds of others, as far as they are past ours, and who has no update in which.

    Attributes:
        ahead: members that have left our round behind, with their round.
    """

    def __init__(self, roster: Roster) -> None:
        self.ahead: dict[int, int] = {}
        self._roster = roster
        self._no_updates: RoundBuffer[dict[int, None]] = RoundBuffer()
        self._told: dict[int, int] = {}  # Late sender -> our round when it was told.

    def on_round(self, round_: int) -> None:
        """Begin a round; a member tells its own once, so what is still past ours is kept."""
        self.ahead = _still_ahead(self.ahead, round_)
        self._no_updates.forget_before(round_)

    def on_no_update(self, member: int, round_: int) -> None:
        """A partner has no update in a round; the peer admits no round that is far ahead."""
        self._no_updates.setdefault(round_, {})[member] = None

    def without_update(self, round_: int) -> list[int]:
        """Return the partners that have no update in a round, ascending."""
        return sorted(self._no_updates.get(round_, ()))

    def tell(self, member: int, round_: int) -> list[Action]:
        """Tell a member our round, once in each of our rounds."""
        if self._told.get(member) == round_:
            return []
        self._told[member] = round_
        return [Send(self._roster.peers[member], Status(round_))]

    def whom_to_follow(self, outcome: Outcome) -> int | None:
        """Return the member that is furthest ahead, where we are behind; None where we are not.

        So we are where most partners say that they have left our round behind. It is their word:
        only where models are seen anyway, among those who trust each other, is it followed.
        """
        if len(outcome.past) * 2 > outcome.expected - 1 and self.ahead:
            return max(self.ahead, key=lambda index: (self.ahead[index], -index))
        return None


def _still_ahead(rounds: dict[int, int], round_: int) -> dict[int, int]:
    return {index: ahead for index, ahead in rounds.items() if ahead > round_}
