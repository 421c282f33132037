"""The checker that counts what leaves a member from one model sees what it must."""

from typing import Any

import numpy as np
import pytest
from ledger_world import identity_of
from test_ledger_checks import EPOCH, FIRST, STANDING, advert, entry, watched

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Persist, SendBulk
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import entry_key, founding_record
from p2pfl_gossip.ledger.messages import EntryCertificate
from p2pfl_gossip.ledger.standing import STANDING_RECORD, StandingRecord
from p2pfl_gossip.masked_sum.messages import ChunkHeader
from p2pfl_simulations.checkers.base import Violation
from p2pfl_simulations.checkers.spending import SpendsFew

MAY = 1 + EPOCH.charter.retries


def started() -> SpendsFew:
    checker = SpendsFew()
    checker.start(watched())
    checker.on_action(0.0, 0, Persist(dict(founding_record(EPOCH))))
    return checker


def give(checker: SpendsFew, round_: int, base: EntryStep, host: int = 1) -> None:
    """An advert, and a chunk in a session of its round; some of it twice, some of another's."""
    checker.on_action(1.0, host, advert(host, round_, base.head))
    for member in (host, host, 0):
        session = round_.to_bytes(32, "little")
        header = ChunkHeader(session, bytes(32), member, 0, bytes(32), bytes(64))
        body = np.zeros(4, np.uint32)
        said = SendBulk(identity_of(0).peer_id, header, (body,), body.nbytes)
        checker.on_action(1.0, host, said)


def certify(checker: SpendsFew, step: EntryStep) -> None:
    certificate = EntryCertificate(step.entry, EPOCH.pack(range(4)), bytes(4 * 64))
    checker.on_action(1.0, 1, Persist({entry_key(step.head): wire.encode(certificate)}))


def count(checker: SpendsFew, spends: int) -> None:
    record = STANDING.encode(StandingRecord(spends=spends))
    checker.on_action(1.0, 1, Persist({STANDING_RECORD: record}))


def test_as_many_as_retries_and_one_may_leave() -> None:
    checker = started()
    for round_ in range(1, MAY + 1):
        give(checker, round_, FIRST)
    assert checker.most == MAY
    with pytest.raises(Violation, match=f"peer 1 gives {MAY + 1} updates from one model"):
        give(checker, MAY + 1, FIRST)


def test_an_entry_with_the_model_before_begins_nothing_anew() -> None:
    """One with another model does."""
    checker, same, other = started(), EntryStep(FIRST.entry), entry(40, FIRST, 3)
    idle = entry(20, same, 1)
    certify(checker, idle)
    again = entry(21, idle, 1)
    certify(checker, again)
    certify(checker, other)
    for round_ in range(22, 22 + MAY):
        give(checker, round_, idle if round_ % 2 else again)
    with pytest.raises(Violation, match="by its advert of round 39"):
        give(checker, 39, again)
    give(checker, 41, other)


@pytest.mark.parametrize("spends", [MAY - 1, MAY])
def test_an_operators_word_allows_one_more_where_it_has_an_effect(spends: int) -> None:
    checker = started()
    for round_ in range(1, MAY + 1):
        give(checker, round_, FIRST)
    count(checker, MAY)
    checker.on_input(1.0, 1, "allow_one_more", ())
    count(checker, spends)
    arguments: tuple[Any, ...] = (MAY + 1, FIRST)
    if spends == MAY:
        with pytest.raises(Violation):
            give(checker, *arguments)
        return
    give(checker, *arguments)
    with pytest.raises(Violation):
        give(checker, MAY + 2, FIRST)


def test_nothing_is_asked_of_liars_and_of_older_journals() -> None:
    checker = started()
    for round_ in range(1, MAY + 3):
        give(checker, round_, FIRST, host=4)
    for round_ in range(1, MAY + 1):
        give(checker, round_, FIRST)
    checker.on_input(1.0, 1, "on_start", ({},))
    give(checker, MAY + 1, FIRST)
