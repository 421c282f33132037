"""What a peer knows of the rounds that others are in, and whom it follows once it is behind."""

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.averaging.base import Outcome
from p2pfl_gossip.catch_up import Status
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_gossip.roster import Roster


class OtherRounds:
    """The rounds of others, as far as they are past ours.

    Attributes:
        ahead: members that have left our round behind, with their round.
    """

    def __init__(self, roster: Roster) -> None:
        self.ahead: dict[int, int] = {}
        self._roster = roster
        # The same of whoever has sent frames of a later round: it may still give us what it owes.
        self._later: dict[int, int] = {}
        self._told: dict[int, int] = {}  # Late sender -> our round when it was told.

    def on_round(self, round_: int) -> None:
        """Begin a round; a member tells its own once, so what is still past ours is kept."""
        self.ahead = _still_ahead(self.ahead, round_)
        self._later = _still_ahead(self._later, round_)

    def note_later(self, member: int, round_: int) -> None:
        """Note that a member has sent a frame of a later round than ours."""
        self._later[member] = max(round_, self._later.get(member, 0))

    def tell(self, member: int, round_: int) -> list[Action]:
        """Tell a member our round, once in each of our rounds."""
        if self._told.get(member) == round_:
            return []
        self._told[member] = round_
        return [Send(self._roster.peers[member], Status(round_))]

    def whom_to_follow(
        self, outcome: Outcome, partners: tuple[int, ...], *, hides_models: bool
    ) -> int | None:
        """Return the member that is furthest ahead, where we are behind; None where we are not.

        So we are where most partners have left our round behind. A masked sum needs more than two
        thirds of its cohort: in two parts that are a round apart, a cohort would lose every round
        from then on, both parts at the same pace. So there it is enough that we have lost our round
        and that more partners are past it than may be lying.

        Args:
            outcome: of our round.
            partners: of the same round.
            hides_models: whether the averaging is of masked sums.
        """
        if len(outcome.past) * 2 > outcome.expected - 1 and self.ahead:
            rounds = self.ahead
        elif outcome.contributors == 1 and hides_models:
            known = {**self._later, **self.ahead}
            rounds = {index: known[index] for index in partners if index in known}
            if len(rounds) <= liars_max_of(outcome.expected):
                return None
        else:
            return None
        return max(rounds, key=lambda index: (rounds[index], -index))


def _still_ahead(rounds: dict[int, int], round_: int) -> dict[int, int]:
    return {index: ahead for index, ahead in rounds.items() if ahead > round_}
