"""The founding charter that members work out from their roster, each for itself."""

from typing import Any

import numpy as np
import pytest
from one_opening import OURS, description_of
from rosters import NAMES, NONCE, identity, roster_document

from p2pfl.group.protection import describe_protection
from p2pfl.group.roster_charter import founding_epoch
from p2pfl.group.roster_file import RosterError, RosterFile, faults, group_id, make_roster
from p2pfl_gossip.description import Description
from p2pfl_gossip.ledger.charter import Epoch

INITIAL = np.arange(8, dtype=np.float32)


def roster(averaging: dict[str, Any] | None = None, **more: Any) -> RosterFile:
    document = roster_document(**more)
    document["averaging"] = {"algorithm": "group", **(averaging or {})}
    return make_roster(document, source="test")


def with_rows(*rows: int | None) -> list[dict[str, Any]]:
    members = roster_document()["members"]
    return [
        member | ({} if count is None else {"rows": count})
        for member, count in zip(members, rows, strict=True)
    ]


def epoch(of: RosterFile, description: Description = OURS, **more: Any) -> Epoch:
    return founding_epoch(of, description, more.pop("initial", INITIAL), **more)


def test_it_names_members_settings_and_the_first_state() -> None:
    settings = {"clip": 3.0, "deadline_s": 2.0, "patience_s": 7.0, "retries": 4}
    charter = epoch(roster(settings, rounds=12)).charter
    assert [member.name for member in charter.members] == list(NAMES)
    assert [member.key for member in charter.members] == [
        identity(number).public_key for number in range(6)
    ]
    assert [member.weight for member in charter.members] == [1.0] * 6
    assert (charter.rounds, charter.clip, charter.retries) == (12, 3.0, 4)
    assert (charter.relay_s, charter.patience_s) == (2.0, 7.0)
    assert charter.state[0].length == 8


OTHERS = {
    "another nonce": lambda: epoch(roster(nonce="5f" * 16)),
    "another member's name": lambda: epoch(
        roster(members=[it | {"name": f"{it['name']}2"} for it in roster_document()["members"]])
    ),
    "other training": lambda: epoch(roster(learning={"training": {"learning_rate": 0.7}})),
    "other code": lambda: epoch(roster(), description_of(version="bb22")),
    "another layout": lambda: epoch(roster(), description_of(20)),
    "another start": lambda: epoch(roster(), initial=INITIAL + 1),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whoever_agrees_on_something_else_has_another_group(what: str) -> None:
    assert epoch(roster()).group == epoch(roster()).group
    assert OTHERS[what]().group != epoch(roster()).group


def test_links_are_of_the_roster_so_that_members_with_another_task_meet() -> None:
    assert group_id(roster()) == group_id(roster(description="another text"))
    renamed = [it | {"name": f"{it['name']}2"} for it in roster_document()["members"]]
    assert group_id(roster(members=renamed)) != group_id(roster())
    assert group_id(roster({"weights": "samples"}, members=with_rows(*range(1, 7)))) != group_id(
        roster({"weights": "samples"}, members=with_rows(*range(2, 8)))
    )


def test_rows_of_cards_are_weights_where_members_count_by_them() -> None:
    cards = with_rows(10, 20, 30, 40, 50, 60)
    weighed = roster({"weights": "samples"}, members=cards)
    assert faults(weighed) == []
    assert epoch(weighed).weights == (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
    assert epoch(roster(members=cards)).weights == (1.0,) * 6


def test_a_card_without_rows_is_one_fault() -> None:
    (fault,) = faults(roster({"weights": "samples"}, members=with_rows(1, 2, None, 4, 5, 6)))
    assert fault.startswith("oslo has no rows on its card, by which averaging.weights = 'samples'")


def test_in_a_trial_the_split_says_how_many_rows_each_has() -> None:
    trial = roster({"weights": "samples"}, learning={"partition": {"kind": "iid"}})
    assert faults(trial) == []
    assert epoch(trial, sample_counts=[5, 6, 7, 8, 9, 10]).weights == (5, 6, 7, 8, 9, 10)


def test_a_group_draws_nothing_so_that_nobody_commits_to_a_secret() -> None:
    members = [
        {name: value for name, value in member.items() if name != "commitment"}
        for member in roster_document()["members"]
    ]
    assert faults(roster(members=members)) == []
    assert group_id(roster(members=members)) == group_id(roster())


def test_a_roster_without_a_word_on_averaging_is_of_a_group() -> None:
    document = roster_document()
    del document["averaging"]
    assert make_roster(document, source="test").keeps_ledger


@pytest.mark.parametrize(("count", "what"), [(4, "hides nothing"), (0, "at least 2 members")])
def test_too_few_members_are_a_fault(count: int, what: str) -> None:
    assert any(what in fault for fault in faults(roster(count=count)))


def test_another_algorithm_has_no_charter() -> None:
    with pytest.raises(RosterError, match="only the roster of a group"):
        epoch(make_roster(roster_document(nonce=NONCE), source="test"))


def test_what_is_claimed_is_said_with_its_numbers() -> None:
    told = describe_protection(roster())
    assert told[0].startswith("Masked: up to 1 of the 6 members")
    assert "4 others' updates" in told[0]
    assert told[1].startswith("Certified: a model counts with 5 members' signatures")
    assert len(told) == 2
    told = describe_protection(roster({"weights": "samples"}))
    assert told[2].startswith("Not hidden: how many rows each member has.")
