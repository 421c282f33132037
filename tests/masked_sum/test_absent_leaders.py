"""Leaders that cannot be reached: they are passed over, and nobody waits for their turn."""

import numpy as np
import pytest
from session_driver import SessionDriver, make_cohort

from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.averaging.masked_cohorts import MaskedCohorts
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.advertising import AWAY_SHARE
from p2pfl_gossip.masked_sum.cohort import Patience
from p2pfl_gossip.masked_sum.messages import AdvertList
from p2pfl_gossip.roster import Roster


class Listed:
    """Notes when each turn's list first leaves its leader."""

    def __init__(self) -> None:
        self.at_s: dict[int, float] = {}

    def __call__(self, driver: SessionDriver, _rank: int, action: Action) -> bool:
        if isinstance(action, Send) and isinstance(action.message, AdvertList):
            self.at_s.setdefault(action.message.turn, driver.now_s)
        return False


@pytest.mark.parametrize("dead", [1, 2])
def test_leaders_that_were_away_before_the_session_cost_no_time(dead: int) -> None:
    cohort, people = make_cohort(7, 30)
    absent = tuple(cohort.leader(turn) for turn in range(dead))
    times = {}
    for away in ((), absent):
        listed = Listed()
        driver = SessionDriver(cohort, people, 1, before=listed, away=away).run(absent=absent)
        driver.check_safety()
        assert len(driver.check_exact()) == 7 - dead
        assert list(listed.at_s) == [dead]
        times[away] = listed.at_s[dead]
    assert times[absent] < 1 + AWAY_SHARE * cohort.patience.gather_s
    assert cohort.patience.gather_s < times[()] < 1 + cohort.patience.gather_s


def test_a_leader_that_goes_before_its_list_is_passed_over_once_that_is_known() -> None:
    cohort, people = make_cohort(7, 30)
    listed = Listed()
    driver = SessionDriver(cohort, people, 1, before=listed, tells_down=True)
    driver.at(0.25, lambda: driver.crash(cohort.leader(0)))
    driver.is_lost = lambda sender: sender == cohort.leader(0)  # type: ignore[method-assign]
    driver.run()
    assert len(driver.check_exact()) == 6
    assert listed.at_s[1] < cohort.patience.takeover_s


def test_a_leader_that_says_that_it_takes_no_part_is_not_waited_for() -> None:
    """It has told all of us: nobody need think that it alone cannot be reached."""
    cohort, people = make_cohort(7, 30)
    absent = tuple(cohort.leader(turn) for turn in range(2))
    times = {}
    for says_so in (False, True):
        listed = Listed()
        driver = SessionDriver(cohort, people, 1, before=listed)

        def tell(driver: SessionDriver = driver, says_so: bool = says_so) -> None:
            for rank in absent:
                driver.tell_gone(rank, says_so=says_so)

        driver.at(0.75, tell)
        driver.run(absent=absent)
        driver.check_safety()
        assert len(driver.check_exact()) == 5
        assert list(listed.at_s) == [2]
        times[says_so] = listed.at_s[2]
    assert times[True] < times[False] - AWAY_SHARE * cohort.patience.gather_s / 4


def test_who_was_thought_away_and_is_here_is_in_the_sum_and_may_lead_later() -> None:
    """All think that two members are away, these included of each other."""
    cohort, people = make_cohort(7, 30)
    away = (cohort.leader(0), cohort.leader(1))
    driver = SessionDriver(cohort, people, 3, away=away).run()
    driver.check_safety()
    summed = driver.check_exact()
    assert len(summed) == 7
    assert {len(it.members) for it in summed.values()} <= {5, 6, 7}


def test_members_that_disagree_on_who_is_away_come_to_one_sum() -> None:
    cohort, people = make_cohort(7, 30)
    for seed in range(20):
        driver = SessionDriver(cohort, people, seed, away=(cohort.leader(0),))
        start = driver.start

        def begin(rank: int, driver: SessionDriver = driver, start=start) -> None:  # type: ignore[no-untyped-def]
            driver.away = (cohort.leader(0),) if rank % 2 else ()
            start(rank)

        driver.start = begin  # type: ignore[method-assign]
        driver.run(absent=(cohort.leader(0),) if seed % 2 else ())
        driver.check_safety()
        assert len(driver.check_exact()) >= 6


# --- over rounds ---------------------------------------------------------------------------------


def cohorts_of_seven() -> MaskedCohorts:
    people = [Identity(bytes([index + 1]) * 32) for index in range(7)]
    return MaskedCohorts(
        index=0,
        roster=Roster(tuple(person.peer_id for person in people)),
        identity=people[0],
        group=b"group",
        length=10,
        cohort_of=lambda _round, _member: tuple(range(7)),
        clip=8.0,
        weight_max=1.0,
        patience=Patience(),
        entropy=lambda size: bytes(range(1, size + 1)),
        desk=Desk(),
    )


def gone_in_next_session(machine: MaskedCohorts, round_: int) -> list[int]:
    machine.begin(0.0, round_, np.zeros(10, np.float32), 1.0)
    gone = list(machine._sessions[round_]._core.gone)
    machine.abandon()
    return gone


def test_who_could_not_be_reached_is_not_waited_for_until_it_speaks_or_is_linked() -> None:
    machine = cohorts_of_seven()
    assert gone_in_next_session(machine, 0) == []
    machine.on_peer_down(0.0, 3)
    machine.on_peer_down(0.0, 5)
    assert gone_in_next_session(machine, 1) == [3, 5]
    machine.on_peer_up(3)
    assert gone_in_next_session(machine, 2) == [5]
    machine.on_past(0.0, 4)  # It is there, and ahead.
    assert gone_in_next_session(machine, 3) == [5]
