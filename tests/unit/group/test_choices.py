"""What a group averages by where its settings leave it open: the algorithm, the cohorts' size."""

from typing import Any

import numpy as np
import pytest

from p2pfl.group.averaging import AveragingError, require_possible
from p2pfl.group.cohort_sizes import auto_size, with_cohort_size
from p2pfl.group.founding import found
from p2pfl.group.settings import (
    AUDITED_MEMBERS_MIN,
    Audit,
    CohortSettings,
    GroupSettings,
    chosen_algorithm,
)
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.draw_risk import MALICIOUS, draw_risk
from p2pfl_gossip.ledger.charter import CharterMember

SEED = bytes(32)


@pytest.mark.parametrize(
    ("table", "peers", "algorithm"),
    [
        ({}, 4, "cohorts"),
        ({}, 5, "group"),
        ({}, 128, "group"),
        ({}, 129, "cohorts"),
        ({"deadline_s": 2.0, "masking": "modelled"}, 32, "group"),
        ({"masking": "none"}, 32, "cohorts"),
        ({"cohort_size": 8}, 32, "cohorts"),
        ({"grid": False}, 32, "cohorts"),
    ],
)
def test_a_group_is_chosen_where_one_can_be(
    table: dict[str, Any], peers: int, algorithm: str
) -> None:
    assert chosen_algorithm(table, peers) == algorithm


def test_an_open_cohort_size_is_all_up_to_128_and_then_the_smallest_that_bears_malice() -> None:
    assert [auto_size(peers, 30, 0.1) for peers in (5, 32, 128)] == [5, 32, 128]
    size = auto_size(1000, 30, 0.1)
    assert 64 <= size <= 100
    assert draw_risk(1000, size, 30, 0.1).claim == MALICIOUS
    assert draw_risk(1000, size - 1, 30, 0.1).claim != MALICIOUS
    assert auto_size(1000, 30, 0.3) == 128  # No size is enough.


def test_plain_cohorts_of_open_size_are_small_and_a_given_size_stays() -> None:
    assert with_cohort_size(CohortSettings(masking="none"), 100, 30).cohort_size == 8
    assert with_cohort_size(CohortSettings(masking="none"), 3, 30).cohort_size == 3
    assert with_cohort_size(CohortSettings(cohort_size=6), 1000, 30).cohort_size == 6


@pytest.mark.parametrize(("peers", "what"), [(4, "hides nothing"), (129, "at most 128 members")])
def test_a_group_has_5_to_128_members(peers: int, what: str) -> None:
    require_possible(GroupSettings(), 5, 30, SEED)
    require_possible(GroupSettings(), 128, 30, SEED)
    with pytest.raises(AveragingError, match=what):
        require_possible(GroupSettings(), peers, 30, SEED)


@pytest.mark.parametrize(
    ("settings", "retries"),
    [
        ({}, 10),
        ({"audit": "off"}, 8),
        ({"audit": "name", "retries": 12}, 12),
        ({"audit": "off", "retries": 0}, 0),
    ],
)
def test_rounds_are_tried_again_twice_for_each_that_may_lie_in_an_audit(
    settings: dict[str, Any], retries: int
) -> None:
    """Five of sixteen may; where sums are not audited nobody is found out by it."""
    assert GroupSettings(**settings).retries_of(16, is_noise_shared=False) == retries
    with pytest.raises(ValueError, match="give 10 or more"):
        GroupSettings(retries=9).retries_of(16, is_noise_shared=False)


@pytest.mark.parametrize(
    ("said", "members", "is_noise_shared", "audit"),
    [
        (None, AUDITED_MEMBERS_MIN - 1, False, "off"),
        (None, AUDITED_MEMBERS_MIN, False, "void"),
        (None, 128, True, "off"),
        ("off", 128, False, "off"),
        ("name", 5, False, "name"),
    ],
)
def test_sums_of_eight_members_and_more_are_audited_if_nothing_is_said(
    said: Audit | None, members: int, is_noise_shared: bool, audit: Audit
) -> None:
    settings = GroupSettings(audit=said)
    assert settings.audit_of(members, is_noise_shared=is_noise_shared) == audit


def test_a_founding_charter_says_what_the_settings_do() -> None:
    settings = GroupSettings(clip=3.0, patience_s=7.0, deadline_s=2.0, retries=4)
    members = [
        CharterMember(
            Identity(hash_parts(b"test", bytes([i]))).public_key, f"m{i}", f"m{i}", 1.0 + i
        )
        for i in range(5)
    ]
    fields: dict[str, Any] = {
        "members": members,
        "rounds": 9,
        "initial": np.zeros(10, np.float32),
        "terms": bytes(32),
    }
    epoch = found(settings, nonce=bytes(32), **fields)
    charter = epoch.charter
    assert (charter.clip, charter.patience_s, charter.relay_s, charter.retries) == (
        3.0,
        7.0,
        2.0,
        4,
    )
    assert (charter.progress_s, charter.rounds, epoch.entries) == (0.5, 9, 10)
    assert charter.notice_s == 7 * 86400
    assert epoch.weights == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert found(settings, nonce=b"\x01" * 32, **fields).group != epoch.group
