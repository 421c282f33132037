"""Charters of networks: their members gossip, and keep no ledger."""

from pathlib import Path
from typing import Any

import pytest
from consortium import MEMBERS, NOW_S, Draws, amended, drafted, founded, founding_form, revealed

from p2pfl.charter.charter_file import decode_file, encode_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import form_toml, make_form
from p2pfl.charter.making import amend, form_of
from p2pfl.charter.settled import settled
from p2pfl.daemon.building import agreed_draw
from p2pfl.group.settings import CohortSettings

COHORTS: dict[str, Any] = {"algorithm": "cohorts", "cohort_size": 5, "clip": 2.0, "deadline_s": 7.0}
TWO = MEMBERS[:2]
PLAIN: dict[str, Any] = {"averaging": {"algorithm": "none"}, "bounds": {}}


def test_a_network_is_founded_as_a_group_is(tmp_path: Path) -> None:
    charter = founded(tmp_path, averaging=COHORTS, bounds={})
    assert charter.is_network
    assert charter.founding_standing().is_enough
    assert decode_file(encode_file(charter)) == charter
    agreed = settled(charter)
    assert agreed.averaging == CohortSettings(**COHORTS)
    assert (agreed.keeps_ledger, agreed.hides_models, len(agreed.members)) == (False, True, 5)
    assert not revealed(drafted(tmp_path, **PLAIN)).founding_standing().is_enough


def test_two_may_be_a_network_and_no_group(tmp_path: Path) -> None:
    assert founded(tmp_path, TWO, **PLAIN).founding_standing().is_enough
    with pytest.raises(PaperError, match="a group has 5 to 128 members, not 2"):
        founded(tmp_path, TWO)


def test_its_toml_says_the_same(tmp_path: Path) -> None:
    charter = founded(tmp_path, averaging=COHORTS, bounds={})
    form = form_of(charter)
    assert form.averaging == CohortSettings(**COHORTS)
    assert make_form(form.model_dump(by_alias=True, exclude_none=True), source="test") == form
    assert 'algorithm = "cohorts"' in form_toml(form)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"averaging": COHORTS}, r"\[bounds\] is for groups"),
        ({"averaging": COHORTS, "bounds": {}, "from": "new"}, "from is for groups"),
        (PLAIN | {"until": NOW_S + 9}, "until is for groups"),
        (PLAIN | {"not_before": NOW_S}, "not_before is for groups"),
        (PLAIN | {"require": ["dpia"]}, "require is for groups"),
        ({"averaging": {"algorithm": "own", "plugin": "a:B"}, "bounds": {}}, "averaging"),
        ({"averaging": COHORTS | {"masking": "modelled"}, "bounds": {}}, "for simulations only"),
        ({"averaging": COHORTS | {"cohort_size": 9}, "bounds": {}}, "there are only 5 peers"),
        (
            {"averaging": {"algorithm": "dsgd", "topology": {"kind": "a:B"}}, "bounds": {}},
            "for simulations only",
        ),
    ],
)
def test_what_cannot_be_is_told_at_the_draft(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(PaperError, match=fault):
        drafted(tmp_path, **changes)


def test_nobody_amends_it_and_no_group_becomes_one(tmp_path: Path) -> None:
    network = founded(tmp_path, **PLAIN)
    with pytest.raises(PaperError, match="the charter of a network holds for good"):
        amended(network, rounds=41)
    group = founded(tmp_path)
    document = form_of(group).model_dump(by_alias=True, exclude_none=True) | PLAIN
    document["until"] = None
    with pytest.raises(PaperError, match="a group cannot become a network"):
        amend(make_form(document, source="test"), group, now_s=NOW_S, entropy=Draws())


def test_who_meets_whom_follows_from_the_bytes_of_all_founders(tmp_path: Path) -> None:
    charter = founded(tmp_path, **PLAIN)
    assert len(agreed_draw(charter.digest)) == 32
    others = [agreed_draw(charter.draft_digest), agreed_draw(bytes(32))]
    assert agreed_draw(charter.digest) not in others


def test_options_without_an_agreed_form_are_refused(tmp_path: Path) -> None:
    form = founding_form(tmp_path).model_dump(by_alias=True, exclude_none=True)
    for value in (float("nan"), float("inf")):
        form["task"]["options"] = {"rate": value}
        with pytest.raises(PaperError, match="without dates, NaN and infinity"):
            make_form(form, source="test")
