"""The roster file: what is refused, what it takes to start, and what the group id is of."""

import hashlib
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from rosters import draw_secret, identity, member, member_document, roster_document

from p2pfl.group.roster_file import (
    RosterError,
    RosterFile,
    canonical_form,
    faults,
    group_id,
    make_roster,
    read_draft,
    read_roster,
    with_members,
    write_roster,
)
from p2pfl.learner.settings import DirichletPartition, IidPartition
from p2pfl_crypto.draw_seed import commit_draw

DRAW_SEED = "ab" * 32


def roster(count: int = 6, **more: Any) -> RosterFile:
    return make_roster(roster_document(count, **more), source="roster")


# --- reading and writing ---------------------------------------------------------------------


def test_a_roster_comes_back_with_every_default_spelt_out(tmp_path: Path) -> None:
    path = tmp_path / "roster.toml"
    written = roster(learning={"partition": {"kind": "dirichlet", "alpha": 0.3}})
    write_roster(path, written)
    assert read_roster(path) == written
    content = path.read_text()
    assert content.count("[[members]]") == 6
    assert "deadline_s = 10.0" in content
    assert "data_dir" not in content


def test_a_mark_that_editors_put_first_is_no_part_of_the_roster(tmp_path: Path) -> None:
    """A byte-order mark: Windows' editors begin every UTF-8 file with it."""
    path = tmp_path / "roster.toml"
    write_roster(path, written := roster())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_roster(path) == written


def test_a_writer_that_fails_leaves_the_old_roster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "roster.toml"
    write_roster(path, roster())

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RosterError, match=r"cannot write .*roster.toml: No space left"):
        write_roster(path, roster(rounds=99))
    assert read_roster(path) == roster()
    assert [file.name for file in tmp_path.iterdir()] == ["roster.toml"]


def test_a_link_is_followed_when_a_roster_is_replaced(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared.toml", tmp_path / "roster.toml"
    write_roster(shared, roster())
    link.symlink_to(shared)
    write_roster(link, roster(rounds=99))
    assert link.is_symlink()
    assert read_roster(shared).rounds == 99


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "format: "),
    ({"name": ""}, "name: "),
    ({"rounds": 0}, "rounds: "),
    ({"seed": -1}, "seed: "),
    ({"seed": 2**63}, "seed: "),
    ({"checkpoint_every": -1}, "checkpoint_every: "),
    ({"evaluate_every": -1}, "evaluate_every: "),
    ({"draw_seed": "ab"}, "draw_seed: "),
    ({"draw_seed": 7}, "draw_seed: "),
    ({"nonce": "ab" * 15}, "nonce: "),
    ({"nonce": "ab" * 33}, "nonce: "),
    ({"nonce": "no hex, but long enough for one"}, "nonce: "),
    ({"round": 3}, "round is not a known key; did you mean 'rounds'?"),
    ({"learning": {"data_dir": "x"}}, "learning.data_dir is not a known key"),
    ({"learning": {"partition": {"kind": "iod"}}}, "learning.partition.kind: there is no 'iod'"),
    ({"learning": {"options": {"x": float("nan")}}}, "learning: options of a group are numbers"),
    ({"learning": {"options": {"x": [{"y": float("-inf")}]}}}, "these have no agreed form"),
    ({"learning": {"options": {"x": date(2020, 1, 1)}}}, "these have no agreed form"),
    ({"averaging": {"algorithm": "cohort"}}, "averaging.algorithm: there is no 'cohort'"),
    (
        {"averaging": {"algorithm": "cohorts", "masking": "real", "cohort_size": 4}},
        "masking hides nothing in a cohort of",
    ),
    ({"members": [member_document(0), member_document(0)]}, "two members are called 'berlin'"),
    (
        {"members": [member_document(0), member_document(0) | {"name": "paris"}]},
        "berlin and paris have the same peer id",
    ),
    (
        {
            "members": [
                member_document(0),
                member_document(1) | {"commitment": commit_draw(draw_secret(0)).hex()},
            ]
        },
        "berlin and lyon have the same commitment",
    ),
    ({"members": [{"name": "x"}]}, "members.0.peer_id is missing"),
    ({"members": {"name": "x"}}, "members: "),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_cannot_be_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(tomli_w.dumps(roster_document() | change))
    with pytest.raises(RosterError) as told:
        read_draft(path)
    assert said in str(told.value)
    assert all(line.startswith(f"{path}: ") for line in str(told.value).splitlines())


def test_each_fault_has_a_line() -> None:
    with pytest.raises(RosterError) as told:
        make_roster(roster_document(rounds=0, seed=-1, more=1), source="it")
    assert len(str(told.value).splitlines()) == 3


# --- what it takes to start ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (roster_document(0), "at least 2 members, and this one has 0"),
        (roster_document(1), "at least 2 members, and this one has 1"),
        (
            roster_document(6, averaging={"algorithm": "cohorts", "cohort_size": 8}),
            "averaging.cohort_size is 8 but there are only 6",
        ),
        (
            roster_document(
                4, averaging={"algorithm": "cohorts", "masking": "real", "cohort_size": 5}
            ),
            "masking hides nothing among 4 peers",
        ),
        (
            roster_document(
                5,
                averaging={
                    "algorithm": "cohorts",
                    "masking": "none",
                    "cohort_size": 2,
                    "grid": True,
                },
            ),
            "5",
        ),
        (
            roster_document(5, averaging={"algorithm": "dsgd", "topology": {"kind": "torus"}}),
            "torus of 5 peers",
        ),
        (
            roster_document(3, averaging={"algorithm": "push-sum", "topology": {"kind": "rong"}}),
            "no topology is called 'rong'",
        ),
        (roster_document(3, averaging={"algorithm": "epidemic", "fanout": 3}), "only 2 others"),
    ],
)
def test_a_group_that_cannot_start_is_told_why(
    tmp_path: Path, document: dict[str, Any], said: str
) -> None:
    path = tmp_path / "roster.toml"
    path.write_text(tomli_w.dumps(document))
    assert read_draft(path).name == "hospitals"
    with pytest.raises(RosterError) as told:
        read_roster(path)
    assert str(told.value).startswith(f"{path}: ")
    assert said in str(told.value)


@pytest.mark.parametrize(
    "averaging",
    [
        {"algorithm": "cohorts", "masking": "none", "cohort_size": 6},
        {"algorithm": "cohorts", "masking": "real", "cohort_size": 5},
        {"algorithm": "dsgd"},
        {"algorithm": "epidemic", "fanout": 5},
        {"algorithm": "age-gossip"},
        {"algorithm": "none"},
    ],
)
def test_groups_that_can_start(averaging: dict[str, Any]) -> None:
    assert faults(roster(averaging=averaging)) == []


def test_without_a_public_seed_everybody_commits() -> None:
    members = [member_document(number) for number in range(3)]
    for place in (0, 2):
        del members[place]["commitment"]
    found = faults(roster(members=members))
    assert [fault.split()[0] for fault in found] == ["berlin", "oslo"]
    assert faults(roster(members=members, draw_seed=DRAW_SEED)) == []


def test_a_group_without_a_nonce_does_not_start() -> None:
    (found,) = faults(roster(nonce=None))
    assert found.startswith("it has no nonce")
    drawn = [fault.split("'")[1] for fault in (found, *faults(roster(nonce=None)))]
    assert [len(bytes.fromhex(nonce)) for nonce in drawn] == [16, 16]
    assert drawn[0] != drawn[1]


# --- the group id ----------------------------------------------------------------------------


def test_the_form_is_as_documented() -> None:
    form = json.loads(canonical_form(roster(2, draw_seed=DRAW_SEED)))
    assert sorted(form) == [
        "averaging",
        "draw_seed",
        "format",
        "learning",
        "members",
        "nonce",
        "rounds",
        "seed",
    ]
    assert form["members"] == [
        {
            "peer_id": identity(number).peer_id,
            "commitment": commit_draw(draw_secret(number)).hex(),
        }
        for number in range(2)
    ]
    text = canonical_form(roster(2)).decode("ascii")
    assert " " not in text
    assert "null" not in text


def test_the_group_id_is_pinned() -> None:
    """A changed default is another group: members of two versions must not take part in one."""
    form = canonical_form(roster(2))
    assert form == FORM
    hashed = len(form).to_bytes(8, "little") + form
    expected = hashlib.blake2b(hashed, digest_size=32, person=b"p2pfl/group-id").digest()
    assert group_id(roster(2)) == expected
    assert group_id(roster(2)).hex() == GROUP_ID


FORM = (
    b'{"averaging":{"algorithm":"cohorts","assumed_liars":0.1,"clip":8.0,"cohort_size"'
    b':2,"deadline_s":10.0,"grid":false,"masking":"none","weight_max":1000.0,"weights"'
    b':"equal"},"format":1,"learning":{"dtype":"float32","held_out":0.2,"options":{},"'
    b'task":"digits","training":{"batch_size":32,"drop_last":false,"keep_moments":fals'
    b'e,"learning_rate":0.1,"local":{"kind":"plain"},"optimiser":{"kind":"sgd","moment'
    b'um":0.0,"nesterov":false,"weight_decay":0.0},"sampling":"epoch","schedule":{"kin'
    b'd":"constant","warm_up":0}},"validation":0.0},"members":[{"commitment":"9b7b3d6f'
    b'a38b138503d605a0f6cf248b68ba144290f1ffc363c2f4f8cb5898df","peer_id":"12D3KooWK99'
    b'VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"},{"commitment":"9c0e3d6b0ffe50d5ef300'
    b'594ef1a4378b117c2c55a264543c88401d3387f5bff","peer_id":"12D3KooWJWoaqZhDaoEFshF7'
    b'Rh1bpY9ohihFhzcW6d69Lr2NASuq"}],"nonce":"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e","roun'
    b'ds":30,"seed":1}'
)
GROUP_ID = "b4b4ca6aa69617719d6197df02f666613c525ae3a51709075bd51db7d2a30bec"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "banks"},
        {"description": "another"},
        {"checkpoint_every": 5},
        {"evaluate_every": 0},
        {"learning": {"device": "cuda"}},
        {"members": [member_document(0) | {"name": "x"}, member_document(1)]},
        {
            "members": [
                member_document(0) | {"addresses": ["/dns/a.example/tcp/9"]},
                member_document(1),
            ]
        },
    ],
)
def test_what_is_free_to_change_keeps_the_group(change: dict[str, Any]) -> None:
    assert group_id(roster(2, **change)) == group_id(roster(2))


def test_everything_else_makes_another_group() -> None:
    documents = [
        roster_document(2),
        roster_document(3),
        roster_document(2, rounds=31),
        roster_document(2, seed=2),
        roster_document(2, nonce="5f" * 16),
        roster_document(2, draw_seed=DRAW_SEED),
        roster_document(2, learning={"task": "other"}),
        roster_document(2, learning={"dtype": "bf16"}),
        roster_document(2, learning={"options": {"hidden": [64]}}),
        roster_document(2, learning={"training": {"learning_rate": 0.2}}),
        roster_document(2, learning={"partition": {"kind": "iid"}}),
        roster_document(2, averaging={"algorithm": "cohorts", "masking": "none", "cohort_size": 3}),
        roster_document(
            2,
            averaging={
                "algorithm": "cohorts",
                "masking": "none",
                "cohort_size": 2,
                "deadline_s": 5,
            },
        ),
        roster_document(2, members=[member_document(1), member_document(0)]),
        roster_document(
            2, members=[member_document(0) | {"commitment": "00" * 32}, member_document(1)]
        ),
    ]
    ids = {group_id(make_roster(document, source="it")) for document in documents}
    assert len(ids) == len(documents)


def test_a_written_roster_is_of_the_same_group(tmp_path: Path) -> None:
    options = {"hidden": [64, 32], "rate": 1e-7, "name": "Zürich", "deep": {"b": 1, "a": [1.5]}}
    before = roster(learning={"options": options})
    write_roster(tmp_path / "roster.toml", before)
    assert group_id(read_roster(tmp_path / "roster.toml")) == group_id(before)


# --- what is made of it ----------------------------------------------------------------------


def test_a_partition_is_for_trials_and_its_absence_means_own_data() -> None:
    own = roster().learning.of_member(Path("/data"))
    assert (own.partition, own.data_dir) == (IidPartition(), Path("/data"))
    trial = roster(learning={"partition": {"kind": "dirichlet"}, "evaluation_rows": 7})
    learning = trial.learning.of_member(None)
    assert learning.partition == DirichletPartition(kind="dirichlet")
    assert (learning.data_dir, learning.evaluation_rows) == (None, 7)


def test_members_become_a_roster_in_order_of_admission() -> None:
    assert roster(3).roster().peers == tuple(identity(number).peer_id for number in range(3))
    assert roster(3).find(identity(1).peer_id) == member(1)
    assert roster(3).find(identity(5).peer_id) is None


def test_models_are_hidden_by_masked_sums_alone() -> None:
    assert not roster().hides_models
    assert not roster(averaging={"algorithm": "dsgd"}).hides_models
    assert roster(
        averaging={"algorithm": "cohorts", "masking": "real", "cohort_size": 5}
    ).hides_models


def test_members_are_replaced_under_the_same_rules() -> None:
    assert with_members(roster(2), [member(0), member(1), member(2)]) == roster(3)
    with pytest.raises(RosterError, match="two members are called 'berlin'"):
        with_members(roster(2), [member(0), member(0)])
