"""How a peer of masked cohorts comes to a model of others: by a cohort's certificate, and no word.

Two occasions. A peer that was away, or is cut off, *seeks*: it asks a few random members for a
model later than its own. A peer whose round gave no sum *awaits* what the round gave to others: it
asks members of its cohort, and goes on with the certified mean of the first that has one. Whoever
is asked gives it, or says that it will answer when its own round ends (`Wait`), or tells its round.

What others say decides for how long a peer asks, never where it goes. A lost round costs as much
time as one that was summed. It is left with a certificate, or once more members than may lie say
that they have left it without one; while more than these are still in it, it is not left. Else who
sums nothing would run ahead of all that do.
"""

from collections.abc import Sequence
from enum import StrEnum
from random import Random

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.catch_up import FETCH_DEADLINES, SEEK_FANOUT, Found, ModelRequest
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster

AWAIT_DEADLINES_MAX = 100
"""A lost round is left then, whoever is still in it: a session lives for a fifth of that, and
members may be paused, or train for ever."""


class _Answer(StrEnum):
    NONE = "none"
    STILL = "still"
    """It is in the lost round, or before it."""
    LATER = "later"
    """It answers when its round ends."""
    NOTHING = "nothing"
    """It has no certified model that is later than ours."""


class CertifiedCatchUp:
    """The asking side; whether a certificate is good is checked before a model gets here.

    Args:
        index, roster: of the peer.
        deadline_s: how long an answer may take.
        desk: for that timer; of this machine alone.
        rng: draws whom to ask.

    `found` is set when the search has ended; the peer takes it and sets it back to None.
    """

    def __init__(
        self, *, index: int, roster: Roster, deadline_s: float, desk: Desk, rng: Random
    ) -> None:
        self.found: Found | None = None
        self._index, self._roster = index, roster
        self._deadline_s, self._desk, self._rng = deadline_s, desk, rng
        self._is_on = False
        self._awaits = False
        self._beyond = 0
        self._since_s = 0.0
        self._liars_max = 0
        self._answers: dict[int, _Answer] = {}  # Of those that were asked.
        self._deadlines = 0
        self._source: int | None = None  # Whose model is on its way to us.

    def seek(self, now_s: float, beyond: int) -> list[Action]:
        """Ask some random members for a model of a later round than `beyond`."""
        self._begin(now_s, beyond, awaits=False, liars_max=0)
        return self._ask_others(now_s)

    def await_result(
        self, now_s: float, since_s: float, beyond: int, cohort: Sequence[int], liars_max: int
    ) -> list[Action]:
        """Ask others of a cohort for what its round `beyond` gave them.

        Args:
            now_s: the time.
            since_s: when its exchange began for us.
            beyond: the lost round.
            cohort: its other members.
            liars_max: how many of them may lie.
        """
        self._begin(since_s, beyond, awaits=True, liars_max=liars_max)
        count = min(len(cohort), liars_max + 1 + SEEK_FANOUT)
        self._answers = dict.fromkeys(self._rng.sample(list(cohort), count), _Answer.NONE)
        return self._ask() + self._set_timer(now_s)

    def _begin(self, since_s: float, beyond: int, *, awaits: bool, liars_max: int) -> None:
        self._is_on, self._awaits = True, awaits
        self._since_s, self._beyond, self._liars_max = since_s, beyond, liars_max
        self._answers, self._source = {}, None
        self._deadlines = 0

    # --- what comes -------------------------------------------------------------------------

    def wants(self, sender: int, round_: int) -> bool:
        """Tell whether a model from this member is wanted now: one at a time."""
        return (
            self._is_on
            and sender in self._answers
            and round_ > self._beyond
            and self._source in (None, sender)
        )

    def begin_model(self, sender: int) -> None:
        """A wanted model is on its way from this member."""
        self._source = sender

    def lose_model(self, now_s: float, sender: int) -> list[Action]:
        """The model from this member has not come whole, or was none."""
        if sender != self._source:
            return []
        self._source = None
        return self._note(now_s, sender, _Answer.NOTHING)

    def on_model(self, sender: int, found: Found) -> list[Action]:
        """Take a model that was wanted, with its certificate."""
        if sender != self._source:
            return []
        return self._end(found)

    def on_wait(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member answers when its round ends."""
        is_there = self._awaits and round_ <= self._beyond
        return self._note(now_s, sender, _Answer.STILL if is_there else _Answer.LATER)

    def on_status(self, now_s: float, sender: int, round_: int) -> list[Action]:
        """A member has no model for us. In a lost round it may yet have one of it."""
        is_there = self._awaits and round_ <= self._beyond
        return self._note(now_s, sender, _Answer.STILL if is_there else _Answer.NOTHING)

    def on_peer_down(self, now_s: float, member: int) -> list[Action]:
        """Do without a member that cannot be reached."""
        if not self._is_on or member not in self._answers:
            return []
        if self._source == member:
            self._source = None
        del self._answers[member]
        # With nobody left the timer asks others: a peer that is cut off must not spin.
        return self._end_if_in_vain(now_s) if self._answers else []

    def stop(self) -> list[Action]:
        """End the search, whatever its state."""
        self._is_on, self._source = False, None
        self._answers.clear()
        return self._desk.cancel_timer("answers")

    # --- when to end ------------------------------------------------------------------------

    def _note(self, now_s: float, sender: int, answer: _Answer) -> list[Action]:
        if not self._is_on or sender not in self._answers:
            return []
        self._answers[sender] = answer
        return self._end_if_in_vain(now_s)

    def _count(self, answer: _Answer) -> int:
        return sum(one is answer for one in self._answers.values())

    def _is_long(self, now_s: float) -> bool:
        """Whether it has lasted as long as a sum that waits for somebody in some of its steps."""
        return now_s >= self._since_s + FETCH_DEADLINES * self._deadline_s

    def _end_if_in_vain(self, now_s: float) -> list[Action]:
        """Go on with our own model once nobody has another to give."""
        if self._source is not None or self._count(_Answer.STILL) > self._liars_max:
            return []
        if self._count(_Answer.LATER) and not (self._awaits and self._is_long(now_s)):
            return []
        nothing, silent = self._count(_Answer.NOTHING), self._count(_Answer.NONE)
        if (self._awaits and nothing > self._liars_max) or (nothing and not silent):
            return self._end(None)
        return []

    def _on_deadline(self, now_s: float) -> list[Action]:
        self._deadlines += 1
        is_last = self._deadlines >= AWAIT_DEADLINES_MAX
        if self._source is not None and not is_last:
            return self._set_timer(now_s)  # A slow link: the model is on its way.
        if self._awaits:
            is_still_on = self._count(_Answer.STILL) > self._liars_max
            if is_last or (self._is_long(now_s) and not is_still_on):
                return self._end(None)
            # Who answered may have crashed since: asked again, it answers again or is silent.
            for member in self._answers:
                self._answers[member] = _Answer.NONE
            return self._ask() + self._set_timer(now_s)
        if self._count(_Answer.LATER) and self._deadlines < FETCH_DEADLINES:
            return self._set_timer(now_s)
        if self._count(_Answer.NOTHING):
            return self._end(None)
        self._deadlines, self._source = 0, None
        return self._ask_others(now_s)

    def _end(self, found: Found | None) -> list[Action]:
        self.found = Found(self._beyond, None) if found is None else found
        return self.stop()

    # --- asking -----------------------------------------------------------------------------

    def _ask_others(self, now_s: float) -> list[Action]:
        drawn = self._rng.sample(range(len(self._roster)), min(SEEK_FANOUT + 1, len(self._roster)))
        others = [other for other in drawn if other != self._index][:SEEK_FANOUT]
        self._answers = dict.fromkeys(others, _Answer.NONE)
        return self._ask() + self._set_timer(now_s)

    def _ask(self) -> list[Action]:
        request = ModelRequest(self._beyond)
        return [Send(self._roster.peers[member], request) for member in self._answers]

    def _set_timer(self, now_s: float) -> list[Action]:
        return self._desk.set_timer("answers", now_s + self._deadline_s, self._on_deadline)
