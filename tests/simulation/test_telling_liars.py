"""Liars that say what is true too early, or to some what nobody else has: what comes of a group."""

from typing import Any

import pytest
from test_refusing_liars import simulate

AUDITS = ("off", "void", "name")


@pytest.mark.parametrize("audit", AUDITS)
@pytest.mark.parametrize("word", ["proposal", "ballot"])
@pytest.mark.parametrize("short", [False, True])
def test_what_is_foretold_of_a_later_turn_costs_no_round(
    word: str, audit: str, *, short: bool
) -> None:
    """Members hold it for a word of the turn in which an honest leader says it."""
    sums = simulate("foretold-turns", rounds=4, audit=audit, word=word, short=short)
    assert not sums.blamed
    assert not sums.aborted


@pytest.mark.parametrize("audit", AUDITS)
def test_who_gives_owners_other_words_by_a_second_manifest_is_named(audit: str) -> None:
    """It is out from the next round on, without an audit too."""
    sums = simulate("kept-words", audit=audit)
    assert list(sums.blamed) == ["two_manifests"]
    assert 0 < sum(sums.aborted.values()) <= 2


@pytest.mark.parametrize("audit", AUDITS)
def test_words_whose_author_may_deny_them_cost_no_round(audit: str) -> None:
    sums = simulate("kept-words", audit=audit, signs=False)
    assert list(sums.blamed) == ["two_versions"]
    assert not sums.aborted


@pytest.mark.parametrize("audit", ["void", "name"])
def test_who_tells_one_member_other_sums_and_the_coin_is_named(audit: str) -> None:
    sums = simulate("told-coins", audit=audit)
    assert sums.blamed["two_sums"]
    assert set(sums.blamed) <= {"two_sums", "false_sum"}
    assert sum(sums.aborted.values()) <= 1


@pytest.mark.parametrize("audit", AUDITS)
def test_who_deals_shares_of_another_seed_is_named(audit: str) -> None:
    """By t of its shares, which its header names; so it is out from the next round on."""
    sums = simulate("other-seed", audit=audit)
    blamed: Any = dict(sums.blamed)
    assert blamed == {"bad_dealing": 4}  # Two liars, each named by two members that it owes a mask.
    assert dict(sums.aborted) == {"bad_dealing": 1}
