"""Who was silent where that made a round void is left out of our lists for a while."""

from ledger_group import Bench, LedgerGroup

from p2pfl_gossip.ledger.backoff import (
    FACTOR,
    FORGIVEN_AFTER,
    LEVEL_MAX,
    TAKEN_BACK_MAX,
    SilenceBackoff,
)

GROUP = LedgerGroup(7)  # t = 5, m = 2.
READY = dict.fromkeys(range(7), "advert")


def make() -> SilenceBackoff:
    return SilenceBackoff(Bench(GROUP).seat)


def listed(backoff: SilenceBackoff, round_: int, member: int = 1) -> bool:
    return member in backoff.choose(round_, READY, 5)


def test_each_time_lasts_four_times_as_long() -> None:
    backoff = make()
    assert listed(backoff, 1)
    absent, voided = 0, []
    for round_ in range(1, 200):
        if listed(backoff, round_):
            voided.append(round_)
            backoff.on_absent(round_, 1)
        else:
            absent += 1
    assert voided == [1, 3, 8, 25, 90, 155]
    assert voided[-1] - voided[-2] == FACTOR ** (LEVEL_MAX - 1) + 1


def test_one_time_is_forgiven_after_many_certified_rounds() -> None:
    """Else a liar would be silent, be good, and be silent again."""
    backoff = make()
    backoff.on_absent(10, 1)
    for _ in range(FORGIVEN_AFTER - 1):
        backoff.on_given(1)
    backoff.on_absent(200, 1)
    assert [listed(backoff, round_) for round_ in (200, 204, 205)] == [False, False, True]
    for _ in range(2 * FORGIVEN_AFTER):
        backoff.on_given(1)
    backoff.on_absent(400, 1)
    assert [listed(backoff, round_) for round_ in (401, 402)] == [False, True]


def test_at_most_as_many_as_may_lie_are_left_out_those_that_were_silent_most_often() -> None:
    backoff = make()
    for member in (1, 2, 3):
        backoff.on_absent(5, member)
    backoff.on_absent(7, 3)
    assert list(backoff.choose(8, READY, 5)) == [0, 1, 2, 4, 5, 6]
    assert list(backoff.choose(6, READY, 5)) == [0, 2, 4, 5, 6]


def test_too_few_others_are_filled_up() -> None:
    """Without them there would be no round at all."""
    backoff = make()
    for member in (1, 2):
        backoff.on_absent(5, member)
    ready = {member: "advert" for member in READY if member not in (4, 5)}
    assert list(backoff.choose(6, ready, 5)) == [0, 1, 2, 3, 6]
    del ready[6]
    assert list(backoff.choose(6, ready, 5)) == [0, 1, 2, 3]


def test_nobody_leaves_itself_out_nor_another_epochs_members() -> None:
    backoff = make()
    backoff.on_absent(5, 0)
    backoff.on_absent(5, 1)
    assert not backoff.leaves_out(0, 6)
    assert backoff.leaves_out(1, 6)
    backoff.clear()
    assert not backoff.leaves_out(1, 6)


def test_silence_is_taken_back_of_a_round_that_was_not_void_by_it() -> None:
    backoff = make()
    backoff.on_absent(5, 1)
    backoff.take_back(4)
    assert not listed(backoff, 6)
    backoff.take_back(5)
    assert listed(backoff, 6)
    backoff.on_absent(7, 1, present=8)
    assert [listed(backoff, round_) for round_ in (9, 10)] == [False, True]  # As the first time.


def test_what_was_noted_of_other_rounds_stays() -> None:
    backoff = make()
    for round_ in (5, 7):
        backoff.on_absent(round_, 1)
    backoff.take_back(5)
    assert not listed(backoff, 11)
    backoff.on_absent(20, 1)
    assert [listed(backoff, round_) for round_ in (24, 25)] == [False, True]
    for round_ in range(30, 30 + TAKEN_BACK_MAX):
        backoff.on_absent(round_, 2)
    backoff.take_back(20)  # Too long ago by then.
    assert not listed(backoff, 24)


def test_what_was_forgiven_is_not_taken_back_once_more() -> None:
    backoff = make()
    backoff.on_absent(5, 1)
    for _ in range(FORGIVEN_AFTER):
        backoff.on_given(1)
    backoff.take_back(5)
    backoff.on_absent(200, 1)
    assert [listed(backoff, round_) for round_ in (201, 202)] == [False, True]  # As the first time.
