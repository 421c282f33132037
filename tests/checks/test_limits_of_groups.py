"""Named limits of groups that keep a ledger, each reached."""

import numpy as np
import pytest
from ledger_group import LedgerGroup
from pydantic import ValidationError

from p2pfl.daemon.config import PeerConfig
from p2pfl.group.cards import ROWS_MAX
from p2pfl.group.settings import MEMBERS_MAX, chosen_algorithm
from p2pfl_gossip.actions import Job, RemoteProtocolError
from p2pfl_gossip.ledger import certificates
from p2pfl_gossip.ledger.certificates import CHECKED_MAX, require_entry_signature
from p2pfl_gossip.ledger.states import DigestState, digest_state
from p2pfl_gossip.records import Record, replaced
from p2pfl_simulations.once import KEPT_MAX, Once


def test_good_signatures_are_remembered_and_bad_ones_are_not() -> None:
    """So many of them; a forged one is refused each time."""
    group = LedgerGroup(5)
    said = group.entry_signature(2, group.sum_entry(group.first, 1))
    known = certificates._verify_once
    known.cache_clear()
    for _ in range(3):
        require_entry_signature(group.epoch, said)
        with pytest.raises(RemoteProtocolError, match="bad_signature"):
            require_entry_signature(group.epoch, replaced(said, signature=bytes(64)))
    assert (known.cache_info().hits, known.cache_info().currsize) == (2, 1)
    assert known.cache_info().maxsize == CHECKED_MAX == 4096


def test_so_many_results_are_kept() -> None:
    """Each of them holds a model."""
    done: list[Job] = []

    def perform(job: Job) -> Record:
        assert isinstance(job, DigestState)
        done.append(job)
        return digest_state(job.name, job.vector)

    once = Once(perform)
    jobs = [DigestState("model", np.full(4, value, np.float32)) for value in range(KEPT_MAX + 1)]
    for job in [*jobs[:KEPT_MAX], *jobs[:KEPT_MAX]]:
        once(job)
    assert (len(done), once.repeated) == (KEPT_MAX, KEPT_MAX)
    once(jobs[KEPT_MAX])
    once(jobs[0])  # It went for the one before.
    assert len(done) == KEPT_MAX + 2


def test_rows_of_a_peer_are_bounded() -> None:
    """They are its weight: so that no weight makes another one vanish."""

    def peer(rows: int) -> PeerConfig:
        return PeerConfig(name="oslo", addresses=("/ip4/127.0.0.1/tcp/4001",), rows=rows)

    assert peer(ROWS_MAX).rows == ROWS_MAX
    with pytest.raises(ValidationError, match="rows"):
        peer(ROWS_MAX + 1)


def test_a_group_has_at_most_so_many_members() -> None:
    """More of them gossip in cohorts."""
    assert chosen_algorithm({}, MEMBERS_MAX) == "group"
    assert chosen_algorithm({}, MEMBERS_MAX + 1) == "cohorts"
