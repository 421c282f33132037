# mypy: disable-error-code="no-any-return"
"""A link between two members breaks while both are up: both are in the sum, and nobody waits."""

from typing import Any

import pytest
from group_driver import GroupDriver, make_epoch
from sampled import sampled

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.messages import Ballot, ChunkHeader, Fetch, Wanted
from p2pfl_gossip.masked_sum.passing_on import ASKS_MAX, PassingOn
from p2pfl_gossip.masked_sum.phases import Phase

SIZE = 8  # t = 6: two may lack something that all others have.


class CutDriver(GroupDriver):
    """A session in which a link breaks for good once one of its ends has come to a phase.

    Attributes:
        first_ballot_s: when the first ballot left.
    """

    def __init__(self, seed: int, ends: tuple[int, int], phase: Phase, **options: Any) -> None:
        cohort, people = make_epoch(SIZE, 60)
        super().__init__(cohort, people, seed, tells_down=True, **options)
        self.ends, self.phase, self.is_cut = ends, phase, False
        self.first_ballot_s = float("inf")

    def perform(self, rank: int, action: Action) -> None:
        if rank in self.ends and not self.is_cut and self.machines[rank].phase >= self.phase:
            self.is_cut = True
            for one, other in (self.ends, self.ends[::-1]):
                self.at(self.latency(), lambda one=one, other=other: self._tell(one, other))  # type: ignore[misc]
        if isinstance(action, Send | SendBulk):
            receiver = self.cohort.rank_of(action.receiver)
            if self.is_cut and {rank, receiver} == set(self.ends):
                return
        if isinstance(action, Send) and isinstance(action.message, Ballot):
            self.first_ballot_s = min(self.first_ballot_s, self.now_s)
        super().perform(rank, action)

    def _tell(self, one: int, other: int) -> None:
        peer = self.cohort.members[other]
        self.feed(one, lambda machine: machine.on_peer_down(self.now_s, peer))


LEADER = make_epoch(SIZE, 60)[0].leader(0)
# No two that own a chunk together, as neighbours in the ring do: of each other's part of that chunk
# only its author has anything then, and one of them at least is left out.
APART = [(0, 3), (LEADER, 5), (0, 1), (LEADER, 7)]


@pytest.mark.parametrize("ends", APART)
def test_the_ends_own_no_chunk_together(ends: tuple[int, int]) -> None:
    ring = make_epoch(SIZE, 60)[0].ring(tuple(range(SIZE)))
    assert (ring.index(ends[0]) - ring.index(ends[1])) % SIZE not in (1, SIZE - 1)


@pytest.mark.parametrize("phase", [Phase.AGREE, Phase.CHUNK, Phase.VOTE, Phase.REVEAL])
@pytest.mark.parametrize("seed", sampled(range(2), every=2))
@pytest.mark.parametrize("ends", APART)
def test_both_ends_of_a_broken_link_are_in_the_sum(
    ends: tuple[int, int], seed: int, phase: Phase
) -> None:
    driver = CutDriver(seed, ends, phase)
    driver.run()
    driver.check_safety()
    sums = driver.check_exact()
    assert sorted(sums) == list(range(SIZE))
    # Shares are not passed on: a leader cannot list whom it has none of.
    left_out = ends[1:] if phase == Phase.AGREE and LEADER in ends else ()
    there = tuple(rank for rank in range(SIZE) if rank not in left_out)
    assert {it.members for it in sums.values()} == {there}
    assert all(chunk is not None for it in sums.values() for chunk in it.chunks)
    assert driver.first_ballot_s < driver.cohort.patience.chunks_s, "nobody waits for a deadline"


@pytest.mark.parametrize("ends", [(0, 5), (5, 0)])
def test_of_two_owners_of_one_chunk_one_stays(ends: tuple[int, int]) -> None:
    """Nobody else has what each of them puts into the chunk."""
    cohort = make_epoch(SIZE, 60)[0]
    ring = cohort.ring(tuple(range(SIZE)))
    assert (ring.index(ends[0]) - ring.index(ends[1])) % SIZE in (1, SIZE - 1)
    driver = CutDriver(1, ends, Phase.CHUNK)
    driver.run()
    driver.check_safety()
    sums = driver.check_exact()
    assert sorted(sums) == list(range(SIZE))
    assert [len(it.members) for it in sums.values()] == [SIZE - 1] * SIZE
    assert all(chunk is not None for it in sums.values() for chunk in it.chunks)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dead", [0, 5])
def test_owners_that_all_lack_a_chunk_do_not_wait_for_each_other(seed: int, dead: int) -> None:
    """It dies when it has sent one chunk: no owner has the others, and all can know that."""
    cohort, people = make_epoch(SIZE, 60)
    ballots: list[float] = []

    def crash(driver: Any, rank: int, action: Action) -> bool:
        if isinstance(action, Send) and isinstance(action.message, Ballot):
            ballots.append(driver.now_s)
        is_chunk = isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader)
        return rank == dead and is_chunk

    driver = GroupDriver(cohort, people, seed, tells_down=True, after=crash).run()
    driver.check_safety()
    assert len(driver.check_exact()) == SIZE - 1
    assert ballots[0] < cohort.patience.chunks_s


def test_a_chunk_is_passed_on_to_a_co_owner_once_it_is_there() -> None:
    """Who is asked for what it lacks itself remembers who asked."""
    driver = CutDriver(1, (0, 5), Phase.CHUNK)
    driver.run()
    asked = {
        it.first
        for rank, it in driver.said
        if rank == 5 and isinstance(it, Fetch) and it.what == Wanted.CHUNK and it.second == 0
    }
    brought = {
        it.chunk
        for rank, it in driver.said
        if rank != 0 and isinstance(it, ChunkHeader) and it.member == 0
    }
    assert asked
    assert asked <= brought


def test_of_what_one_member_asks_for_only_so_much_is_kept() -> None:
    passing_on = PassingOn()
    for chunk in range(ASKS_MAX + 1):
        passing_on.on_asked(3, chunk, 0)
    passing_on.on_asked(4, 0, 0)
    assert passing_on.take_askers(ASKS_MAX - 1, 0) == [3]
    assert passing_on.take_askers(ASKS_MAX, 0) == []
    assert passing_on.take_askers(0, 0) == [3, 4]
