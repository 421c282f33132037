"""Members rest after as many updates from one model as they may, in whatever order things happen.

A sample of what `tests/idle_orders.py` searches: random orders, and crashes at one action.
"""

import pytest
from idle_orders import check, check_crash
from sampled import sampled

from p2pfl_gossip.ledger.messages import Rest


@pytest.mark.parametrize("seed", sampled(range(40), every=16))
def test_members_rest_and_go_on_in_any_order(seed: int) -> None:
    check(seed)


@pytest.mark.parametrize("number", sampled(range(700, 2300, 41), every=10))
def test_a_crash_at_any_action_changes_no_count(number: int) -> None:
    idle = check_crash(number)
    assert idle.crash_at is None, "nobody died: the run has fewer actions"


def test_all_give_as_many_as_they_may() -> None:
    """The search sees the end of the tries: it had else nothing to look at."""
    idle = check_crash(10**6, retries=2)
    assert idle.spends_few.most == 4
    assert {it.rest for it in idle.members} == {Rest.NONE}
    assert idle.once_more == [1] * 5
