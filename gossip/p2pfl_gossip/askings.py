"""A bound on how often one member is answered: in each period, so many times."""

from collections.abc import Hashable


class Askings:
    """Counts what each member asked of late; a period begins with the first asking after the last.

    It needs no timer, so it also holds where a machine has none running. One entry a member.

    Args:
        period_s: the length of a period.
        answers_max: answers to one member in one period.
    """

    def __init__(self, period_s: float, answers_max: int) -> None:
        self._period_s, self._answers_max = period_s, answers_max
        self._counts: dict[
            Hashable, tuple[float, int]
        ] = {}  # When the period began; answers since.

    def may_answer(self, now_s: float, member: Hashable) -> bool:
        """Count one asking of a member; tell whether it is to be answered."""
        since_s, count = self._counts.get(member, (now_s, 0))
        if now_s - since_s >= self._period_s:
            since_s, count = now_s, 0
        if count >= self._answers_max:
            return False
        self._counts[member] = (since_s, count + 1)
        return True
