# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""A second round of attacks on naming: to have an honest member named, a liar not, or nobody."""

from group_driver import GroupDriver, make_epoch
from other_signature import signed_otherwise
from test_audits import HONEST, LIAR, SEED, N, false_sum
from test_disputes import session

from p2pfl_crypto.statements import statement_digest
from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.messages import ChunkHeader, Fetch, SumDigest, Wanted
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import replaced


def test_a_sum_that_is_signed_twice_is_one_sum() -> None:
    """Two signatures of one digest would be a proof that everybody else refuses."""

    def twice(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if not isinstance(said, SumDigest):
            return [action]
        number = said.chunk.to_bytes(8, "little")
        body = (said.session, said.ballot, number, said.digest)
        statement = statement_digest(b"sum", LIAR, *body)
        other = replaced(said, signature=signed_otherwise(driver.people[LIAR], statement))
        said_twice.append(said.chunk)
        return [action, Send(action.receiver, other)]

    said_twice: list[int] = []
    driver = session(rewrite={LIAR: twice}).run()
    assert said_twice
    for rank in HONEST:
        assert driver.machines[rank].blames == ()
    assert set(driver.summed()) >= set(HONEST)


def withholding_in_audit(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
    """Give owners its words, and nobody who asks for them in a dispute."""
    is_word = isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader)
    is_late = driver.machines[rank].phase == Phase.AUDIT
    return [] if is_word and is_late else [action]


def test_owners_that_falsify_a_sum_and_withhold_their_words_are_missed() -> None:
    """Nobody can work the sum out again without them."""
    owners = session().cohort.owners_of(0, tuple(range(N)))
    rewrite = dict.fromkeys(owners, withholding_in_audit)
    driver = session(lies=dict.fromkeys(owners, false_sum), rewrite=rewrite).run()
    for rank in range(N):
        if rank not in owners:
            outcome = driver.machines[rank].outcome
            assert (outcome.reason, outcome.blames) == ("false_total", ())
            assert outcome.absent == tuple(sorted(owners))


def askers_of(driver: GroupDriver, chunk: int) -> set[int]:
    """Who asked for words of a chunk, which nobody does before a recount here."""
    return {
        rank
        for rank, said in driver.said
        if isinstance(said, Fetch) and said.what == Wanted.CHUNK and said.first == chunk
    }


def named_as(driver: GroupDriver, fault: str) -> set[frozenset[int]]:
    """Whom honest members have proofs of such a fault against."""
    found = set()
    for rank in [rank for rank in driver.machines if rank not in driver.rewrite]:
        blames = [blame for blame in driver.machines[rank].blames if blame.fault == fault]
        for blame in blames:
            verify_blame(driver.cohort, blame)
        found.add(frozenset(driver.cohort.members.index(blame.member) for blame in blames))
    return found


def test_who_gives_its_words_to_one_alone_gives_them_to_all() -> None:
    """Whoever has all words of a chunk signs its sum, and so the others know whom to ask."""
    owners = session().cohort.owners_of(0, tuple(range(N)))
    ring = session().cohort.ring_of(0, tuple(range(N)))
    first = next(rank for rank in ring if rank not in owners)

    def to_one(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        receiver = getattr(action, "receiver", None)
        if receiver == driver.cohort.members[first]:
            return [action]
        return withholding_in_audit(driver, rank, action)

    rewrite = dict.fromkeys(owners, to_one)
    driver = session(lies=dict.fromkeys(owners, false_sum), rewrite=rewrite).run()
    assert named_as(driver, "outvoted") == {frozenset(owners)}


def test_m_plus_one_work_a_sum_out_where_they_come_to_one() -> None:
    owners = session().cohort.owners_of(0, tuple(range(N)))
    driver = session(lies=dict.fromkeys(owners, false_sum)).run()
    assert named_as(driver, "outvoted") == {frozenset(owners)}
    assert len(askers_of(driver, 0)) == 3


def test_all_work_a_sum_out_where_a_deputy_lies_with_the_owners() -> None:
    """Three of ten: the other three of m + 1 deputies are too few to outvote them."""
    cohort, people = make_epoch(10, 40, audit=True, names=True, weights=(1.0,) * 10)
    liars = cohort.ring_of(0, tuple(range(10)))[:3]
    driver = GroupDriver(cohort, people, SEED, lies=dict.fromkeys(liars, false_sum)).run()
    assert named_as(driver, "outvoted") == {frozenset(liars)}
    assert askers_of(driver, 0) >= set(range(10)) - set(liars)
    assert len(askers_of(driver, 1)) <= 4
