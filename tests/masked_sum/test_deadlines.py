# mypy: disable-error-code="arg-type, attr-defined"
"""How long members wait: not at all where nothing is to come, else for one known time."""

from collections.abc import Callable
from typing import Any

import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import Patience, SessionDriver, make_cohort
from session_faults import CrashIn

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.core import EARLIER_SHARE
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    AdvertList,
    Ballot,
    ChunkHeader,
    Fetch,
    Held,
    Manifest,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    SumDigest,
    SumHeader,
    Vote,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase

SIZE, ENTRIES = 7, 40
"""t = 5, m = 2: three leaders have a turn."""
SOON_S = 4.0
"""What messages take, of a whole session."""
PATIENCE = Patience(gather_s=20, takeover_s=100, chunks_s=1000, sums_s=10_000, session_s=10**6)
"""Times that tell from their sum which were waited for."""


def make(kind: str, patience: Patience = PATIENCE, **options: Any) -> Any:
    """A session of seven, of a cohort or a group."""
    if kind == "cohort":
        return SessionDriver(*make_cohort(SIZE, ENTRIES, patience=patience), 1, **options)
    return GroupDriver(*make_epoch(SIZE, ENTRIES, patience=patience), 1, **options)


# --- where nothing is to come --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cohort", "group"])
def test_without_faults_nobody_waits(kind: str) -> None:
    driver = make(kind)
    driver.run(until_s=SOON_S)
    assert {len(it.members) for it in driver.check_exact().values()} == {SIZE}
    assert len(driver.summed()) == SIZE


LEADER_OF_GROUP = make("group").cohort.leader(0)


@pytest.mark.parametrize(
    ("kind", "phase", "actions", "dead", "members", "waited_s"),
    [
        ("cohort", Phase.DEAL, 0, 1, SIZE - 1, 0),
        ("cohort", Phase.AGREE, 0, 1, SIZE - 1, 0),
        ("cohort", Phase.CHUNK, 0, 1, SIZE - 1, 0),
        # Chunks of it came to some: the leader asks them for its manifest.
        ("cohort", Phase.VOTE, 0, 1, SIZE, PATIENCE.gather_s * EARLIER_SHARE),
        ("cohort", Phase.VOTE, 5, 1, SIZE, 0),
        ("cohort", Phase.REVEAL, 0, 1, SIZE, 0),
        ("cohort", Phase.REVEAL, 5, 6, SIZE, 0),
        ("group", Phase.AGREE, 0, 6, SIZE - 1, 0),
        ("group", Phase.CHUNK, 0, 1, SIZE - 1, 0),
        ("group", Phase.VOTE, 0, 1, SIZE, PATIENCE.gather_s * EARLIER_SHARE),
        ("group", Phase.VOTE, 5, 1, SIZE, 0),
        ("group", Phase.REVEAL, 0, 1, SIZE, 0),
        ("group", Phase.REVEAL, 5, 6, SIZE, 0),
        ("group", Phase.AGREE, 5, LEADER_OF_GROUP, SIZE - 1, PATIENCE.gather_s * EARLIER_SHARE),
        # First for what it may have said to others as leader, then for what it brought them.
        ("group", Phase.VOTE, 6, LEADER_OF_GROUP, SIZE, PATIENCE.gather_s * EARLIER_SHARE),
        ("group", Phase.VOTE, 0, LEADER_OF_GROUP, SIZE, 2 * PATIENCE.gather_s * EARLIER_SHARE),
    ],
)
def test_for_a_member_that_is_known_to_be_gone_nobody_waits(
    kind: str, phase: Phase, actions: int, dead: int, members: int, waited_s: float
) -> None:
    crash = CrashIn({dead: (phase, actions)})
    driver = make(kind, before=crash, tells_down=True)
    if waited_s:
        driver.run(until_s=waited_s)
        assert driver.summed() == {}
    driver.run(until_s=waited_s + SOON_S)
    assert driver.strikes == 1
    sums = driver.check_exact()
    assert len(sums) == SIZE - 1
    assert {len(it.members) for it in sums.values()} == {members}


# --- where something does not come ---------------------------------------------------------------


class Losing(SessionDriver):
    """A session in which some messages are lost; notes when each kind was first said by whom.

    Args:
        lost: what is lost, of a kind: whether it is, by sender, receiver and message.
    """

    def __init__(
        self, lost: dict[type[SessionMessage], Callable[[int, int, Any], bool]], **options: Any
    ) -> None:
        cohort, people = make_cohort(SIZE, ENTRIES, patience=options.pop("patience", PATIENCE))
        super().__init__(cohort, people, 1, **options)
        self.lost = lost
        self.first_s: dict[tuple[type, int], float] = {}

    def perform(self, rank: int, action: Action) -> None:
        if isinstance(action, Send | SendBulk):
            said: Any = action.message if isinstance(action, Send) else action.header
            self.first_s.setdefault((type(said), rank), self.now_s)
            is_lost = self.lost.get(type(said))
            receiver = self.cohort.rank_of(action.receiver)
            assert receiver is not None
            if is_lost is not None and is_lost(rank, receiver, said):
                return
        super().perform(rank, action)


def always(_sender: int, _receiver: int, _message: Any) -> bool:
    return True


def of(*ranks: int) -> Callable[[int, int, Any], bool]:
    return lambda sender, _receiver, _message: sender in ranks


LEADER = 3
TURNS_S = 3 * PATIENCE.takeover_s


@pytest.mark.parametrize(
    ("lost", "reason", "phase", "at_s"),
    [
        (Advert, "too_few", Phase.ADVERTISE, PATIENCE.gather_s + TURNS_S),
        # Leaders follow their own lists.
        (AdvertList, "no_agreement", Phase.ADVERTISE, PATIENCE.gather_s + TURNS_S),
        (Held, "no_agreement", Phase.AGREE, PATIENCE.gather_s + TURNS_S),
        (Proposal, "no_agreement", Phase.AGREE, PATIENCE.gather_s + TURNS_S),
        (Ack, "no_agreement", Phase.AGREE, PATIENCE.gather_s + TURNS_S),
        (
            Ballot,
            "no_certificate",
            Phase.VOTE,
            PATIENCE.chunks_s + 2 * PATIENCE.gather_s + TURNS_S,
        ),
        (
            Vote,
            "no_certificate",
            Phase.VOTE,
            PATIENCE.chunks_s + 2 * PATIENCE.gather_s + TURNS_S,
        ),
        (
            Manifest,
            "no_certificate",
            Phase.VOTE,
            PATIENCE.chunks_s + 2 * PATIENCE.gather_s + TURNS_S,
        ),
        (Reveal, "no_sum", Phase.REVEAL, 4 * PATIENCE.sums_s),
    ],
)
def test_who_gets_nothing_gives_up_at_a_known_time(
    lost: type[SessionMessage], reason: str, phase: Phase, at_s: float
) -> None:
    driver = Losing({lost: always})
    driver.run(until_s=at_s)
    assert driver.reasons() == {}
    driver.run_rest(until_s=at_s + SOON_S)
    leaders = (3, 4, 5) if lost is AdvertList else ()
    outcomes: list[Any] = [driver.outcome(rank) for rank in range(SIZE) if rank not in leaders]
    assert {(it.reason, it.phase) for it in outcomes} == {(reason, phase.name)}


@pytest.mark.parametrize(
    ("lost", "who", "kind", "at_s"),
    [
        ([Advert], 1, AdvertList, PATIENCE.gather_s),
        ([Share], 1, Proposal, PATIENCE.gather_s),
        ([ChunkHeader], 1, Receipt, PATIENCE.chunks_s + PATIENCE.gather_s),
        ([ChunkHeader], 1, Ballot, PATIENCE.chunks_s + PATIENCE.gather_s),
        # Its owner may still be waiting for chunks.
        ([Receipt], 1, Ballot, PATIENCE.chunks_s + 2 * PATIENCE.gather_s),
        ([ChunkHeader, Manifest, Receipt], 1, Ballot, PATIENCE.chunks_s + 2 * PATIENCE.gather_s),
    ],
)
def test_a_leader_waits_for_one_member_for_a_known_time(
    lost: list[type[SessionMessage]], who: int, kind: type[SessionMessage], at_s: float
) -> None:
    driver = Losing(dict.fromkeys(lost, of(who))).run(until_s=at_s + SOON_S)
    spoke = LEADER if kind is not Receipt else 0
    assert at_s < driver.first_s[kind, spoke] < at_s + SOON_S
    driver.run_rest(until_s=at_s + 2 * SOON_S)
    sums = driver.check_exact()
    assert sorted(sums) == [rank for rank in range(SIZE) if rank != who or lost != [Advert]]
    is_in = lost == [Receipt]
    assert {len(it.members) for it in sums.values()} == {SIZE if is_in else SIZE - 1}


@pytest.mark.parametrize(
    ("lost", "silent", "at_s"),
    [
        (AdvertList, 1, PATIENCE.gather_s + PATIENCE.takeover_s),
        (AdvertList, 2, PATIENCE.gather_s + 2 * PATIENCE.takeover_s),
        (Proposal, 1, PATIENCE.gather_s + PATIENCE.takeover_s),
        (Proposal, 2, PATIENCE.gather_s + 2 * PATIENCE.takeover_s),
        (Ballot, 1, PATIENCE.chunks_s + 2 * PATIENCE.gather_s + PATIENCE.takeover_s),
        (Ballot, 2, PATIENCE.chunks_s + 2 * PATIENCE.gather_s + 2 * PATIENCE.takeover_s),
    ],
)
def test_the_next_leader_speaks_at_a_known_time(
    lost: type[SessionMessage], silent: int, at_s: float
) -> None:
    leaders = (3, 4, 5)
    driver = Losing({lost: of(*leaders[:silent])}).run(until_s=at_s + SOON_S)
    assert at_s < driver.first_s[lost, leaders[silent]] < at_s + SOON_S
    # Who follows its own list deals to nobody, and is waited for once more.
    driver.run_rest(until_s=at_s + PATIENCE.gather_s + 2 * SOON_S)
    assert len(driver.check_exact()) == SIZE


def test_a_leader_that_has_not_advertised_has_no_turn() -> None:
    """The next one has gathered as long as it would have."""
    silent = {Advert: of(LEADER), AdvertList: of(LEADER)}
    driver = Losing(silent).run(until_s=PATIENCE.gather_s + SOON_S)
    assert PATIENCE.gather_s < driver.first_s[AdvertList, 4] < PATIENCE.gather_s + SOON_S
    driver.run_rest(until_s=PATIENCE.gather_s + 2 * SOON_S)
    assert len(driver.check_exact()) == SIZE - 1


# --- sums ----------------------------------------------------------------------------------------


def test_who_lacks_a_groups_sum_asks_more_and_more_rarely() -> None:
    """And never gives up before the session ends: all are to come to one model."""
    asked_s: list[float] = []

    def note(driver: SessionDriver, rank: int, action: Action) -> bool:
        message = action.message if isinstance(action, Send) else None
        if rank == 0 and isinstance(message, Fetch) and message.what == Wanted.SUM:
            asked_s.append(driver.now_s)
        return False

    def say_nothing(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else getattr(action, "header", None)
        return [] if isinstance(said, SumHeader | SumDigest | Reveal) else [action]

    patience = Patience(sums_s=100, session_s=2000)
    driver = make("group", patience, before=note, rewrite=dict.fromkeys(range(SIZE), say_nothing))
    driver.run()
    waits = dict.fromkeys(round(at_s / patience.sums_s) for at_s in asked_s)
    assert list(waits) == [1, 2, 3, 4, 6, 9, 13, 18]
    outcome = driver.machines[0].outcome
    assert (outcome.reason, outcome.phase) == ("sums_missing", Phase.REVEAL.name)


@pytest.mark.parametrize("silent", [1, 2])
def test_as_many_deputies_step_in_as_one_liar_in_three_takes(silent: int) -> None:
    """m + 1 at first, whether one owner of a chunk has told its sum or none has."""
    chunk = 2
    owners = make("cohort").cohort.owners_of(chunk, tuple(range(SIZE)))

    def is_of_it(sender: int, _receiver: int, message: Any) -> bool:
        return sender in owners[:silent] and message.chunk == chunk

    driver = Losing({SumHeader: is_of_it, SumDigest: is_of_it})
    driver.run(until_s=PATIENCE.sums_s)
    assert set(driver.summed()) <= set(owners)
    driver.run_rest(until_s=PATIENCE.sums_s + SOON_S)
    told = {
        rank
        for rank, said in driver.said
        if isinstance(said, SumHeader | SumDigest) and said.chunk == chunk and rank not in owners
    }
    assert told == {(owners[-1] + 1 + place) % SIZE for place in range(driver.cohort.liars_max + 1)}
    assert len(driver.check_exact()) == SIZE


def test_the_deputy_of_an_owner_that_is_alone_waits_for_no_word_of_it() -> None:
    chunk, alone, unheard = 1, 1, 2
    assert make("cohort").cohort.owners_of(chunk, tuple(range(SIZE))) == (alone, unheard)

    def is_of_it(sender: int, _receiver: int, message: Any) -> bool:
        return sender == alone and message.chunk == chunk

    voted_s = PATIENCE.chunks_s + 2 * PATIENCE.gather_s
    driver = Losing({Receipt: of(unheard), SumHeader: is_of_it, SumDigest: is_of_it})
    driver.run(until_s=voted_s + SOON_S)
    told = [
        rank for rank, it in driver.said if isinstance(it, SumDigest | SumHeader) and it.chunk == 1
    ]
    assert set(told) == {unheard}


def test_who_lacks_one_dealers_share_reveals_all_others() -> None:
    """Of six that reveal, two lack the share of one each: t are left of every secret."""

    def is_kept(sender: int, receiver: int, _message: Any) -> bool:
        return (sender, receiver) in ((0, 5), (1, 6))

    crash = CrashIn({4: (Phase.REVEAL, 0)})
    driver = Losing({Share: is_kept}, before=crash, tells_down=True)
    driver.run(until_s=PATIENCE.gather_s + 2 * SOON_S)
    sums = driver.check_exact()
    assert sorted(sums) == [0, 1, 2, 3, 5, 6]
    assert {len(it.members) for it in sums.values()} == {SIZE}
    assert [rank for rank in range(SIZE) if len(driver.machines[rank]._sharing.shares) < SIZE] == [
        5,
        6,
    ]
