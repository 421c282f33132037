"""Up to m liars of a group, in every role: all that have sums have the same, and the true ones."""

from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest
from group_driver import GroupDriver, make_epoch, outcome_of_group
from session_driver import Rewrite, SessionDriver
from session_faults import PHASES, flip_bits, in_phase, say_late, say_nothing, say_twice
from test_group_faults import false_sums, silent_owner, without

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import Ballot, Fetch, Proposal, Reveal

replace: Any = msgspec.structs.replace


def corrupt_reveals(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
    """Reveals shares that nobody dealt."""
    if not (isinstance(action, Send) and isinstance(action.message, Reveal)):
        return [action]
    shares = action.message.shares
    forged = replace(action.message, shares=bytes([shares[0] ^ 1]) + shares[1:])
    return [replace(action, message=forged)]


def two_faced(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
    """As leader, shows half of the members a ballot, or a U2, with one member less."""
    said = action.message if isinstance(action, Send) else None
    if not isinstance(said, Ballot | Proposal):
        return [action]
    receiver = driver.cohort.rank_of(action.receiver)  # type: ignore[union-attr]
    ranks = driver.cohort.unpack(said.members)
    assert receiver is not None
    assert ranks is not None
    if receiver % 2 or driver.cohort.leader(said.turn) != rank:
        return [action]
    field = "manifest_digests" if isinstance(said, Ballot) else "header_digests"
    digests = getattr(said, field)
    changed = replace(said, members=driver.cohort.pack(ranks[1:]), **{field: digests[32:]})
    is_ballot = isinstance(changed, Ballot)
    kind, body = (b"ballot", changed.digest()) if is_ballot else (b"proposal", changed.tau2())
    turn = said.turn.to_bytes(4, "little")
    signature = driver.machines[rank]._core.sign(kind, turn, body)
    return [replace(action, message=replace(changed, signature=signature))]


def strategies(random: Random) -> list[Rewrite]:
    phase = random.choice(PHASES)
    return [
        in_phase(phase, say_nothing),
        in_phase(phase, flip_bits),
        in_phase(phase, say_late),
        in_phase(phase, say_twice),
        false_sums,
        silent_owner,
        corrupt_reveals,
        two_faced,
        without(Fetch),
        without(Reveal),
    ]


def draw_liars(seed: int) -> GroupDriver:
    random = Random(f"{seed}/group-liars")
    n = random.randint(5, 10)
    cohort, people = make_epoch(
        n, random.randint(n, 50), leaders=tuple(random.sample(range(n), n)), round=seed
    )
    liars = random.sample(range(n), cohort.liars_max)
    rewrite = {rank: random.choice(strategies(random)) for rank in liars}
    return GroupDriver(cohort, people, seed, rewrite=rewrite, tells_down=True)


def test_sums_are_the_true_ones_whatever_liars_do() -> None:
    ended: Counter[str] = Counter()
    for seed in range(12):
        driver = draw_liars(seed).run()
        ended[outcome_of_group(driver)] += 1
        # Nobody honest is blamed, by anybody honest.
        assert all(rank in driver.rewrite for rank in driver.blamed()), seed
    assert ended["exact"] + ended["chunks kept"] > 8, ended


@pytest.mark.parametrize("kind", [Ballot, Proposal])
def test_a_leader_that_shows_two_of_a_kind_gets_no_two_quorums_and_is_named(kind: type) -> None:
    """ACKs, or votes, are split; nobody gives a second one, and others tell of what they saw."""
    cohort, people = make_epoch(7, 40)
    liar = cohort.leader(0)

    def lie(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        is_of_kind = isinstance(action, Send) and isinstance(action.message, kind)
        return two_faced(driver, rank, action) if is_of_kind else [action]

    driver = GroupDriver(cohort, people, 1, rewrite={liar: lie}).run()
    assert outcome_of_group(driver) == "aborted"
    assert driver.blamed() == {liar: {f"two_{kind.__name__.lower()}s": None}}
