"""Patience with others, and our own word."""

from ledger_group import PATIENCE_S, PROGRESS_S, Bench, LedgerGroup

from p2pfl_gossip.ledger.messages import Progress
from p2pfl_gossip.ledger.patience import SHARE_MIN, SILENT_AFTER, MemberPatience

GROUP = LedgerGroup(5)


def test_waiting_in_vain_halves_and_each_delivery_doubles() -> None:
    """To at most the charter's; and each member by itself."""
    bench = Bench(GROUP)
    patience = MemberPatience(bench.seat)
    assert patience.of(1) == PATIENCE_S
    patience.delivered(1)
    assert patience.of(1) == PATIENCE_S
    for _ in range(3):
        patience.in_vain(1)
    assert patience.of(1) == PATIENCE_S / 8
    assert patience.of(2) == PATIENCE_S
    shares = []
    for _ in range(4):
        patience.delivered(1)
        shares.append(patience.of(1) / PATIENCE_S)
    assert shares == [1 / 4, 1 / 2, 1, 1]


def test_patience_comes_back_however_long_a_member_was_away() -> None:
    """Halved for ever it would be zero, and twice zero is zero."""
    patience = MemberPatience(Bench(GROUP).seat)
    for _ in range(2000):
        patience.in_vain(1)
    assert patience.of(1) == PATIENCE_S * SHARE_MIN > 0
    for _ in range(10):
        patience.delivered(1)
    assert patience.of(1) == PATIENCE_S


def test_another_epoch_begins_with_full_patience() -> None:
    """Ranks are other members there."""
    bench = Bench(GROUP)
    patience = MemberPatience(bench.seat)
    patience.in_vain(1)
    patience.on_progress(1)
    patience.clear()
    assert patience.of(1) == PATIENCE_S
    assert not patience.works(1)


def test_who_says_so_works_until_it_is_silent() -> None:
    """Three times the interval at which it is said; or until its advert comes."""
    bench = Bench(GROUP)
    patience = MemberPatience(bench.seat)
    assert not patience.works(1)
    bench.do(lambda: patience.on_progress(1))
    bench.seat.begin(bench.now_s + SILENT_AFTER * PROGRESS_S - 0.01)
    assert patience.works(1)
    bench.seat.begin(bench.now_s + SILENT_AFTER * PROGRESS_S)
    assert not patience.works(1)
    bench.do(lambda: patience.on_progress(2))
    patience.delivered(2)
    assert not patience.works(2)


def test_we_say_that_we_work_at_a_fixed_interval() -> None:
    """Epoch and round and nothing else, to all, until it is over."""
    bench = Bench(GROUP)
    patience = MemberPatience(bench.seat)
    bench.do(lambda: patience.begin(7))
    assert bench.take_sent(Progress) == []
    bench.pass_until(bench.now_s + 3 * PROGRESS_S + 0.1)
    assert bench.take_sent(Progress) == [
        (rank, Progress(0, 7)) for _ in range(3) for rank in (1, 2, 3, 4)
    ]
    bench.do(patience.end)
    bench.pass_until(bench.now_s + 3 * PROGRESS_S)
    assert bench.take_sent(Progress) == []
    assert not bench.timers
