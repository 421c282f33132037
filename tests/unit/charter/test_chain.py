"""Charters in their order: who must approve, what is void, what a liar cannot make of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from consortium import (
    DAY_S,
    MEMBERS,
    NOW_S,
    Member,
    amended,
    drafted,
    founded,
    revealed,
    signed,
)

from p2pfl.charter import chain, differences
from p2pfl.charter.chain import chain_of, comparable, date_warning, read_folder
from p2pfl.charter.charter_file import CharterFile, write_file
from p2pfl.charter.differences import changes
from p2pfl.charter.errors import PaperError
from p2pfl.charter.making import form_of
from p2pfl.charter.texts import beyond_bounds
from p2pfl.cli.succeeding import succession_of
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.record import write_record

BERGEN = Member("bergen")


@pytest.fixture
def group(tmp_path: Path) -> CharterFile:
    return founded(tmp_path)


def members_of(file: CharterFile) -> list[dict[str, object]]:
    return [it.model_dump(exclude_none=True) for it in form_of(file).members]


def admitting(group: CharterFile, member: Member = BERGEN) -> CharterFile:
    form = member.form().model_dump(exclude_none=True)
    return amended(group, members=[*members_of(group), form])


def without(group: CharterFile, name: str) -> CharterFile:
    return amended(group, members=[it for it in members_of(group) if it["name"] != name])


def approved(file: CharterFile, members: tuple[Member, ...]) -> CharterFile:
    return file.with_words([member.says(file) for member in members])


def test_a_group_is_founded_by_all(group: CharterFile) -> None:
    whole = chain_of([group])
    assert whole.present == group
    assert whole.standings[0].approved == tuple(member.name for member in MEMBERS)
    fewer = group.with_words([])
    fewer = replace(group, approvals=group.approvals[1:])
    waiting = chain_of([fewer])
    assert (waiting.files, waiting.drafts) == ((), (fewer,))
    with pytest.raises(PaperError, match="no charter that all founders have signed"):
        _ = waiting.present


def test_a_sixth_member_is_admitted_by_four_and_itself(group: CharterFile) -> None:
    proposed = admitting(group)
    assert changes(group, proposed)[0].startswith("bergen joins: for bergen, weight 100, 1 of 1")
    four = approved(proposed, MEMBERS[:4])
    standing = chain_of([group, four]).waiting[0].standing
    assert standing.missing == (
        f"bergen: new key {BERGEN.signer().key.fingerprint} has not signed",
        "bergen: its new peer's key has not signed",
    )
    whole = four.with_words([BERGEN.says(four), BERGEN.peer_says(four)])
    assert chain_of([whole, group]).present == whole
    three = approved(proposed, MEMBERS[:3]).with_words(
        [BERGEN.says(proposed), BERGEN.peer_says(proposed)]
    )
    assert chain_of([group, three]).waiting[0].standing.missing == ("1 more of porto and turin",)


def six(tmp_path: Path) -> tuple[CharterFile, tuple[Member, ...]]:
    members = (*MEMBERS, BERGEN)
    return founded(tmp_path, members), members


def test_one_is_expelled_against_its_will(tmp_path: Path) -> None:
    group, _ = six(tmp_path)
    proposed = without(group, "oslo")
    others = (MEMBERS[0], MEMBERS[1], MEMBERS[3], MEMBERS[4])
    assert changes(group, proposed)[0] == "oslo leaves"
    expelled = approved(proposed, others)
    assert chain_of([group, expelled]).present == expelled
    # What an expelled member says of later charters counts for nothing: it is a stranger there.
    later = amended(expelled, purpose="another").with_words([])
    by_expelled = later.with_words([MEMBERS[2].says(later)])
    with pytest.raises(PaperError, match=r"key ed25519:[0-9a-f]{16} is of no member"):
        chain_of([group, expelled, by_expelled])


def test_two_are_not_expelled_at_once(tmp_path: Path) -> None:
    members = (*MEMBERS, BERGEN, Member("cork"))
    group = founded(tmp_path, members)
    rest = [it for it in members_of(group) if it["name"] not in ("oslo", "turin")]
    proposed = approved(
        amended(group, members=rest), (MEMBERS[0], MEMBERS[1], MEMBERS[3], *members[5:])
    )
    (line,) = chain_of([group, proposed]).waiting[0].standing.missing
    assert line.startswith("the own keys of all but one of oslo and turin")
    willing = proposed.with_words([MEMBERS[2].says(group, Says.LEAVE)])
    assert chain_of([group, willing]).present == willing
    beside = group.with_words([MEMBERS[2].says(group, Says.LEAVE)])
    assert chain_of([beside, proposed]).present == proposed


def test_one_key_counts_once_and_a_threshold_takes_several(tmp_path: Path) -> None:
    members = (*MEMBERS[:3], Member("porto", key_count=3, threshold=2), MEMBERS[4])
    group = founded(tmp_path, members)
    porto = members[3]
    proposed = amended(group, purpose="another").with_words([])
    base = approved(proposed, members[:3])
    once = base.with_words([porto.says(base, until=1), porto.says(base, until=2)])
    (line,) = chain_of([group, once]).waiting[0].standing.missing
    assert line == "1 more of porto (1 of 2 keys) and turin"
    twice = once.with_words([porto.says(base, place=2)])
    assert chain_of([group, twice]).present == twice


def test_members_of_one_controller_have_one_vote_together(tmp_path: Path) -> None:
    members = tuple(Member(name, controller="Berlin") for name in ("a", "b", "c", "d"))
    others = (Member("e"), Member("f"))
    group = founded(tmp_path, (*members, *others))
    proposed = approved(amended(group, purpose="another"), (*members, others[0]))
    (line,) = chain_of([group, proposed]).waiting[0].standing.missing
    assert line == "members of 1 more of the controllers f"


def test_a_running_change_is_approved_by_peers_within_bounds(group: CharterFile) -> None:
    learning = form_of(group).training.model_dump(exclude_none=True) | {"learning_rate": 0.5}
    proposed = amended(group, rounds=140, training=learning)
    assert changes(group, proposed) == [
        "rounds: 40 -> 140",
        "training.learning_rate: 0.1 -> 0.5",
    ]
    assert beyond_bounds(group.terms, group.running, proposed.running) == []
    by_keys = approved(proposed, MEMBERS)  # Governance keys are not what a running change takes.
    assert not chain_of([group, by_keys]).waiting[0].standing.is_enough
    by_peers = proposed.with_words([member.peer_says(proposed) for member in MEMBERS[:4]])
    whole = chain_of([group, by_peers])
    assert (whole.present, whole.standings[1].kind) == (by_peers, "running")


@pytest.mark.parametrize(
    ("training", "fault"),
    [
        ({"learning_rate": 2.0}, "training.learning_rate may be 0.01 to 1, not 2"),
        ({"batch_size": 64}, "training.batch_size may not be changed by operators"),
        ({"drop_last": True}, "training.drop_last may not be changed by operators"),
        ({"steps": 4}, "training.steps may not be changed by operators"),
    ],
)
def test_what_is_beyond_the_bounds_is_named(
    group: CharterFile, training: dict[str, object], fault: str
) -> None:
    document = form_of(group).training.model_dump(exclude_none=True)
    proposed = amended(group, training=document | training)
    assert beyond_bounds(group.terms, group.running, proposed.running) == [fault]


@pytest.mark.parametrize(
    "changes_",
    [
        {"rounds": 501},
        {"purpose": "another"},
        {"until": NOW_S + 800 * DAY_S},
        {"bounds": {"rounds_max": 1000}},
        {"require": ["dpia"]},
        {"notice_days": 0},
        {"task": {"name": "breast-cancer"}},
    ],
    ids=str,
)
def test_all_else_takes_governance_keys(group: CharterFile, changes_: dict[str, object]) -> None:
    proposed = amended(group, **changes_)
    by_peers = proposed.with_words([member.peer_says(proposed) for member in MEMBERS])
    standing = chain_of([group, by_peers]).waiting[0].standing
    assert standing.kind == "founding"
    assert not standing.is_enough
    by_keys = approved(proposed, MEMBERS[1:])
    assert chain_of([group, by_keys]).present == by_keys


def test_lost_keys_are_replaced_unless_an_old_one_objects(group: CharterFile) -> None:
    fresh = Member("oslo", generation="2")
    forms = members_of(group)
    forms[2] = fresh.form().model_dump(exclude_none=True)
    proposed = amended(group, members=forms)
    told = changes(group, proposed)
    assert told[0].startswith("oslo: another peer key: ")
    assert told[1] == f"oslo: new governance key {fresh.signer().key.fingerprint}"
    assert told[2].startswith("oslo: governance key ")
    others = (*MEMBERS[:2], *MEMBERS[3:])
    whole = approved(proposed, others).with_words([fresh.says(proposed), fresh.peer_says(proposed)])
    standing = chain_of([group, whole]).standings[1]
    assert standing.replaced == ("oslo",)
    objecting = whole.with_words([MEMBERS[2].says(whole, Says.OBJECT)])
    (line,) = chain_of([group, objecting]).waiting[0].standing.missing
    assert "objects to other keys for it" in line


def test_two_at_once_only_the_ledger_can_tell_apart(group: CharterFile) -> None:
    one = approved(amended(group, purpose="one"), MEMBERS)
    other = approved(amended(group, purpose="other"), MEMBERS)
    both = chain_of([group, one, other])
    assert both.present == group
    assert {it.file.digest for it in both.waiting} == {one.digest, other.digest}
    after = amended(one, rounds=50)
    told = chain_of([group, one, other, after])
    assert told.present == one
    assert [it.file for it in told.waiting] == [after]


def test_what_is_approved_and_never_came_is_not_in_force_by_the_ledger(group: CharterFile) -> None:
    void = approved(amended(group, purpose="one"), MEMBERS)
    after = approved(amended(void, purpose="two"), MEMBERS)
    assert chain_of([group, void, after]).present == after
    told = chain_of([group, void, after], in_force=[group.digest])
    assert told.present == group
    assert [it.file for it in told.waiting] == [void]
    other = approved(amended(group, purpose="other"), MEMBERS)
    both = [group, void, other]
    assert chain_of(both, in_force=[group.digest, other.digest]).present == other


def test_a_fork_of_an_old_quorum_follows_nothing(group: CharterFile) -> None:
    """Four of an earlier epoch sign another charter: it names one that is present no more."""
    first = approved(amended(group, purpose="first"), MEMBERS)
    second = approved(amended(first, purpose="second"), MEMBERS)
    fork = approved(amended(group, purpose="fork"), MEMBERS)
    whole = chain_of([group, first, second, fork])
    assert [it.digest for it in whole.files] == [group.digest, first.digest, second.digest]
    fork_on = approved(amended(fork, purpose="further"), MEMBERS)
    with pytest.raises(PaperError, match="which is not here or not approved"):
        chain_of([group, first, second, fork_on])


def test_a_chain_with_a_gap_is_told(group: CharterFile) -> None:
    first = approved(amended(group, purpose="first"), MEMBERS)
    second = approved(amended(first, purpose="second"), MEMBERS)
    for files, fault in (
        ([group, second], "which is not here or not approved"),
        ([first, second], "the founding charter is missing"),
        ([], "no charter that all founders have signed"),
        ([replace(group, approvals=()), first], "is not signed by all, and there are amendments"),
    ):
        with pytest.raises(PaperError, match=fault):
            _ = chain_of(files).present


def test_two_groups_are_told(tmp_path: Path, group: CharterFile) -> None:
    with pytest.raises(PaperError, match="these are charters of 2 groups"):
        chain_of([group, founded(tmp_path, name="another")])


def test_order_of_the_files_does_not_matter(group: CharterFile) -> None:
    first = approved(amended(group, purpose="first"), MEMBERS)
    second = approved(amended(first, purpose="second"), MEMBERS)
    assert chain_of([second, first, group]) == chain_of([group, first, second])


def test_copies_of_one_charter_are_taken_together(group: CharterFile) -> None:
    proposed = amended(group, purpose="first")
    copies = [approved(proposed, (member,)) for member in MEMBERS[:4]]
    assert chain_of([group, *copies]).present == approved(proposed, MEMBERS[:4])


def test_a_new_member_without_its_own_word_is_not_admitted(group: CharterFile) -> None:
    proposed = approved(admitting(group), MEMBERS)
    assert chain_of([group, proposed]).present == group


def test_files_of_a_folder(
    tmp_path: Path, group: CharterFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "charters"
    folder.mkdir()
    for name in ("a", "b"):
        write_file(folder / f"{name}.charter", group)
    (folder / "notes.txt").touch()
    monkeypatch.setattr(chain, "FILES_MAX", 2)
    assert len(read_folder(folder)) == 2
    monkeypatch.setattr(chain, "FILES_MAX", 1)
    with pytest.raises(PaperError, match="has more than 1 charter files"):
        read_folder(folder)
    with pytest.raises(PaperError, match="cannot read"):
        read_folder(tmp_path / "none")


def test_drafts_are_kept_apart(tmp_path: Path, group: CharterFile) -> None:
    draft = drafted(tmp_path, name="another")
    assert chain_of([group, draft]).drafts == (draft,)
    whole = revealed(draft)
    assert chain_of([draft, whole]).drafts == (whole,)
    assert chain_of([draft, signed(whole)]).present == signed(whole)


def test_dates_are_warned_of_at_60_30_and_7_days() -> None:
    told = {
        days: date_warning("the charter", NOW_S + days * DAY_S, NOW_S)
        for days in (-3, 0, 1, 6, 7, 29, 30, 59, 60, 61)
    }
    assert told == {
        -3: "the charter is over since 3 days: no update is given under it",
        0: "the charter is over since less than a day: no update is given under it",
        1: "the charter ends in 1 days (warning of 7 days)",
        6: "the charter ends in 6 days (warning of 7 days)",
        7: "the charter ends in 7 days (warning of 30 days)",
        29: "the charter ends in 29 days (warning of 30 days)",
        30: "the charter ends in 30 days (warning of 60 days)",
        59: "the charter ends in 59 days (warning of 60 days)",
        60: None,
        61: None,
    }


def test_characters_of_a_value_that_is_shown(group: CharterFile) -> None:
    long = amended(group, purpose="x" * differences.SHOWN_CHARACTERS_MAX)
    longer = amended(group, purpose="x" * (differences.SHOWN_CHARACTERS_MAX + 1))
    assert changes(group, long)[0].endswith("-> " + "x" * 120)
    assert changes(group, longer)[0].endswith("-> " + "x" * 120 + "...")
    hidden = amended(group, purpose="good\x1b[2Jbad")
    assert changes(group, hidden)[0].endswith("-> good [2Jbad")


def test_where_the_model_begins_is_told(tmp_path: Path, group: CharterFile) -> None:
    entry = {"epoch": 1, "round": 12, "entry": "11" * 32, "length": 4, "state": "22" * 32}
    assert changes(group, amended(group, **{"from": entry}))[0] == (
        "the model goes back to that of round 12 (epoch 1), and heights begin again: what was"
        " learnt since is in no later model"
    )
    task = {"name": "digits", "first_state": str(tmp_path / "start.safetensors")}
    fresh = amended(group, **{"from": "new", "task": task})
    assert changes(group, fresh)[0].startswith("another model begins")


def test_documents_are_told(group: CharterFile) -> None:
    document = {"kind": "dpia", "digest": "11" * 32, "of": "oslo", "until": NOW_S}
    proposed = amended(group, documents=[document])
    assert changes(group, proposed) == [
        "document dpia of oslo, 1111111111111111, until 2027-01-15: new"
    ]
    assert changes(proposed, amended(proposed, documents=[])) == [
        "document dpia of oslo, 1111111111111111, until 2027-01-15: no more"
    ]


def test_studies_that_differ_by_few_are_warned_of(tmp_path: Path) -> None:
    frame = founded(tmp_path)
    more = tuple(Member(f"m{number}") for number in range(6))
    one = founded(tmp_path, under=frame.digest.hex(), name="one")
    other = founded(tmp_path, (*MEMBERS, more[0]), under=frame.digest.hex(), name="other")
    told = comparable(one, other)
    assert told is not None
    assert told.startswith("one and other differ by m0: who has the models of both")
    assert comparable(frame, other) is not None  # With the frame itself, too.
    assert comparable(frame, one) is None  # They have the same members.
    for count in (chain.COMPARED_MAX - 1, chain.COMPARED_MAX):
        far = founded(tmp_path, (*MEMBERS, *more[:count]), under=frame.digest.hex())
        assert (comparable(one, far) is None) == (count == chain.COMPARED_MAX)
    unrelated = founded(tmp_path, (*MEMBERS, more[0]), under="ab" * 32)
    assert comparable(one, unrelated) is None
    # Both were drafted under one frame, between which its charter changed.
    epochs = (frame.digest, bytes.fromhex("ab" * 32))
    assert comparable(one, unrelated, epochs) is not None
    assert comparable(one, unrelated, epochs[1:]) is None


def test_a_group_succeeds_another_by_the_keys_of_its_members(tmp_path: Path) -> None:
    group = founded(tmp_path)
    history = History(Epoch.founded(group.charter))
    record = tmp_path / "ledger.bin"
    record.write_bytes(write_record(history))
    names = {
        "group": group.digest.hex(),
        "charter": group.digest.hex(),
        "epoch": 0,
        "round": 0,
        "entry": history.head.head.entry.hex(),
    }
    draft = revealed(drafted(tmp_path, succeeds=names))
    for count in range(6):
        standing = succession_of(signed(draft, MEMBERS[:count]), record)
        assert len(standing.approved) == count
        assert standing.is_enough == (count == 5)  # All keys of the new one sign, too.
    with pytest.raises(PaperError, match="does not hold the entry that the charter begins with"):
        succession_of(founded(tmp_path, succeeds=names | {"entry": "0" * 64}), record)
    with pytest.raises(PaperError, match="succeeds another group, or none"):
        succession_of(founded(tmp_path), record)
