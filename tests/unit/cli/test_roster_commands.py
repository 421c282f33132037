"""`p2pfl roster ...`: from cards to a roster that a group can start with."""

import json
import re
from pathlib import Path

import pytest
from calling import Ended, P2pfl

from p2pfl.group.cards import read_card
from p2pfl.group.roster_file import group_id, read_draft, read_roster
from p2pfl_simulations.group import draw_seed
from p2pfl_simulations.scenario import load_scenario

NAMES = ("berlin", "lyon", "oslo")


@pytest.fixture
def group(p2pfl: P2pfl) -> P2pfl:
    """Make three peers and a roster of them, roster.toml, in cohorts of two."""
    for port, name in enumerate(NAMES, 4001):
        assert p2pfl("peer", "init", name, "--listen", f"/ip4/127.0.0.1/tcp/{port}").code == 0
    created = p2pfl(
        "roster", "create", "roster.toml", "--set", "averaging={masking='none', cohort_size=2}"
    )
    assert created.code == 0, created.err
    added = p2pfl("roster", "add", "roster.toml", *(f"{name}/card.toml" for name in NAMES))
    assert added.code == 0, added.err
    return p2pfl


def fails(ended: Ended, *said: str) -> None:
    """Demand exit code 2, one line for each of `said`, and nothing else."""
    assert ended.code == 2
    assert ended.out == ""
    lines = ended.err.splitlines()
    assert len(lines) == len(said), ended.err
    for line, part in zip(lines, said, strict=True):
        assert line.startswith("p2pfl: ")
        assert part in line


# --- create ----------------------------------------------------------------------------------


def test_a_roster_is_made_of_options_and_settings(p2pfl: P2pfl) -> None:
    ended = p2pfl(
        "roster", "create", "new.toml", "--name", "banks", "--task", "breast-cancer",
        "--rounds", "7", "--seed", "3", "--averaging", "epidemic", "--set", "averaging.fanout=2",
        "--set", "learning.options.hidden=[8]", "--set", "evaluate_every=0",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "breast-cancer, 7 rounds, 0 members" in ended.out
    roster = read_draft(Path("new.toml"))
    assert (roster.name, roster.rounds, roster.seed, roster.evaluate_every) == ("banks", 7, 3, 0)
    assert roster.averaging.algorithm == "epidemic"
    assert roster.learning.options == {"hidden": [8]}
    assert roster.learning.partition is None
    assert roster.draw_seed is None


def test_the_same_members_started_twice_are_two_groups(p2pfl: P2pfl) -> None:
    for file in ("one.toml", "other.toml"):
        ended = p2pfl("roster", "create", file, "--name", "banks")
        assert ended.code == 0, ended.err
    one, other = read_draft(Path("one.toml")), read_draft(Path("other.toml"))
    assert one == other.model_copy(update={"nonce": one.nonce})
    assert len(bytes.fromhex(one.nonce or "")) >= 16
    assert group_id(one) != group_id(other)


def test_a_scenario_makes_a_trial(p2pfl: P2pfl) -> None:
    ended = p2pfl("roster", "create", "t.toml", "--from-scenario", "hospitals", "--rounds", "4")
    assert ended.code == 0, ended.err
    assert "a trial" in ended.out
    roster, scenario = read_draft(Path("t.toml")), load_scenario("hospitals")
    assert roster.rounds == 4
    assert roster.name == scenario.name
    assert roster.averaging == scenario.averaging
    assert roster.learning.partition == scenario.learning.partition
    assert roster.learning.of_member(scenario.learning.data_dir) == scenario.learning
    assert roster.draw_seed == draw_seed(scenario.seed).hex()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("there.toml",), "there.toml is there already"),
        (("link.toml",), "link.toml is there already"),
        (("nowhere/new.toml",), "cannot write nowhere/new.toml: No such file"),
        (("new.toml", "--rounds", "0"), "rounds: Input should be greater than or equal to 1"),
        (("new.toml", "--rounds", "many"), "should be a valid integer"),
        (("new.toml", "--seed", "-1"), "seed: "),
        (("new.toml", "--name", ""), "name: "),
        (("new.toml", "--averaging", "cohort"), "averaging.algorithm: there is no 'cohort'"),
        (("new.toml", "--task", ""), "learning.task: "),
        (("new.toml", "--set", "rounds"), "--set rounds: write it as KEY=VALUE"),
        (("new.toml", "--set", "round=3"), "round is not a known key; did you mean 'rounds'?"),
        (("new.toml", "--set", "learning=3"), "learning: "),
        (("new.toml", "--set", "rounds=1", "--set", "rounds.more=3"), "rounds is a value, not a"),
        (("new.toml", "--set", "averaging=3"), "averaging: "),
        (("new.toml", "--set", "learning.data_dir=x"), "learning.data_dir is not a known key"),
        (("new.toml", "--set", "draw_seed=xyz"), "draw_seed: "),
        (("new.toml", "--set", "averaging={masking='real', cohort_size=3}"), "masking hides nothi"),
        (("new.toml", "--from-scenario", "hospital"), "did you mean 'hospitals'?"),
        ((), "missing argument 'FILE'"),
    ],
)
def test_create_refuses(p2pfl: P2pfl, arguments: tuple[str, ...], said: str) -> None:
    Path("there.toml").write_text("mine")
    Path("link.toml").symlink_to("gone.toml")
    fails(p2pfl("roster", "create", *arguments), said)
    assert not Path("new.toml").exists()
    assert Path("there.toml").read_text() == "mine"


# --- add -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("group")
def test_members_stand_in_order_of_admission() -> None:
    roster = read_roster(Path("roster.toml"))
    assert [member.name for member in roster.members] == list(NAMES)
    assert roster.members[1] == read_card(Path("lyon/card.toml"))


def test_adding_says_what_is_still_missing(p2pfl: P2pfl) -> None:
    p2pfl("peer", "init", "berlin")
    p2pfl("roster", "create", "roster.toml")
    ended = p2pfl("roster", "add", "roster.toml", "berlin/card.toml")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].startswith("added berlin, 12D3Koo")
    assert "1 member, now group" in lines[1]
    assert lines[2].startswith("not complete yet: a group has at least 2 members")


def test_new_addresses_are_taken_aloud_and_keep_the_group(group: P2pfl) -> None:
    before = group_id(read_roster(Path("roster.toml")))
    settings = Path("lyon/peer.toml")
    settings.write_text(
        settings.read_text().replace(
            'addresses = [\n    "/ip4/127.0.0.1/tcp/4002"', 'addresses = [\n    "/dns/l/tcp/1"'
        )
    )
    assert group("peer", "card", "lyon").code == 0
    ended = group("roster", "add", "roster.toml", "lyon/card.toml", "oslo/card.toml")
    assert ended.code == 0, ended.err
    assert "changed lyon: addresses /ip4/127.0.0.1/tcp/4002 -> /dns/l/tcp/1" in ended.out
    assert "oslo is a member already, just as on oslo/card.toml" in ended.out
    assert f"3 members, still group {before.hex()}" in ended.out
    roster = read_roster(Path("roster.toml"))
    assert [member.name for member in roster.members] == list(NAMES)
    assert roster.members[1].addresses == ("/dns/l/tcp/1",)


def test_a_new_name_of_a_member_is_taken_aloud(group: P2pfl) -> None:
    card = Path("lyon/card.toml")
    card.write_text(card.read_text().replace('"lyon"', '"paris"'))
    ended = group("roster", "add", "roster.toml", "lyon/card.toml")
    assert "changed lyon: name lyon -> paris" in ended.out
    assert "still group" in ended.out


def refused(group: P2pfl, *cards: str) -> Ended:
    """Try to add cards; demand that the roster stays as it was."""
    before = Path("roster.toml").read_bytes()
    ended = group("roster", "add", "roster.toml", *cards)
    assert Path("roster.toml").read_bytes() == before
    return ended


def test_another_peer_under_a_members_name_is_refused(group: P2pfl) -> None:
    group("peer", "init", "impostor", "--name", "lyon")
    group("peer", "init", "york")
    lyon, impostor = (read_card(Path(name) / "card.toml").peer_id for name in ("lyon", "impostor"))
    fails(
        refused(group, "york/card.toml", "impostor/card.toml"),
        f"impostor/card.toml: lyon is a member already, as {lyon} and not {impostor}",
    )


def test_another_commitment_of_a_member_is_refused(group: P2pfl) -> None:
    card = Path("lyon/card.toml")
    known = read_card(card)
    assert known.commitment is not None
    card.write_text(card.read_text().replace(known.commitment, "00" * 32))
    fails(refused(group, "lyon/card.toml"), "lyon has committed to another contribution")


def test_a_copied_commitment_is_refused(group: P2pfl) -> None:
    group("peer", "init", "york")
    york, lyon = read_card(Path("york/card.toml")), read_card(Path("lyon/card.toml"))
    assert york.commitment is not None
    assert lyon.commitment is not None
    card = Path("york/card.toml")
    card.write_text(card.read_text().replace(york.commitment, lyon.commitment))
    fails(refused(group, "york/card.toml"), "lyon and york have the same commitment")


def test_a_member_may_not_take_the_name_of_another(group: P2pfl) -> None:
    card = Path("lyon/card.toml")
    card.write_text(card.read_text().replace('"lyon"', '"oslo"'))
    fails(refused(group, "lyon/card.toml"), "two members are called 'oslo'")


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("nobody.toml", "cannot read nobody.toml: No such file"),
        ("berlin", "cannot read berlin: Is a directory"),
        ("berlin/key", "berlin/key: "),
        ("roster.toml", "roster.toml: "),
        ("text", "text is not TOML"),
    ],
)
def test_what_is_no_card_is_refused(group: P2pfl, card: str, said: str) -> None:
    Path("text").write_text("hello world")
    ended = refused(group, card)
    assert ended.code == 2
    assert said in ended.err
    secret = Path("berlin/key").read_text().split('seed = "')[1][:64]
    assert secret not in ended.err


def test_add_takes_a_roster_and_cards(group: P2pfl) -> None:
    fails(group("roster", "add", "roster.toml"), "missing argument 'CARD...'")
    fails(group("roster", "add", "none.toml", "lyon/card.toml"), "cannot read none.toml")


# --- show ------------------------------------------------------------------------------------


def test_show_tells_members_group_and_protection(group: P2pfl) -> None:
    ended = group("roster", "show", "roster.toml")
    assert ended.code == 0, ended.err
    roster = read_roster(Path("roster.toml"))
    assert group_id(roster).hex() in ended.out
    for name in NAMES:
        assert name in ended.out
    assert "data of their own" in ended.out
    assert "Not masked: members see each other's models" in ended.out
    assert "not complete yet" not in ended.out


def test_show_tells_what_masked_sums_may_claim(p2pfl: P2pfl) -> None:
    p2pfl(
        "roster", "create", "m.toml", "--set", "averaging={masking='real', cohort_size=8}",
        "--set", f"draw_seed={'ab' * 32}",
    )  # fmt: skip
    shown = " ".join(p2pfl("roster", "show", "m.toml").out.split())
    assert "up to 2 members that conspire learn no more of a round than the sum of 4" in shown
    assert "Many rounds leak" in shown
    assert "the draw seed is in the roster" in shown
    assert "not complete yet: a group has at least 2 members" in shown
    assert "how many rows" not in shown


def test_show_tells_that_row_counts_are_public(p2pfl: P2pfl) -> None:
    averaging = "averaging={masking='real', cohort_size=8, weights='samples'}"
    p2pfl("roster", "create", "m.toml", "--set", averaging)
    shown = " ".join(p2pfl("roster", "show", "m.toml").out.split())
    assert "Not hidden: how many rows each member has." in shown


def test_show_for_programs(group: P2pfl) -> None:
    ended = group("roster", "show", "roster.toml", "--json")
    document = json.loads(ended.out)
    assert document["group_id"] == group_id(read_roster(Path("roster.toml"))).hex()
    assert document["is_complete"] is True
    assert document["faults"] == []
    assert document["hides_models"] is False
    assert [member["name"] for member in document["roster"]["members"]] == list(NAMES)


def test_show_refuses(p2pfl: P2pfl) -> None:
    fails(p2pfl("roster", "show", "none.toml"), "cannot read none.toml: No such file")
    Path("bad.toml").write_text('name = "x"\nrounds = 0\nmore = 1\n')
    fails(p2pfl("roster", "show", "bad.toml"), "rounds: ", "more is not a known key")


# --- verify ----------------------------------------------------------------------------------


def test_verify_says_that_a_group_can_start(group: P2pfl) -> None:
    name = group_id(read_roster(Path("roster.toml"))).hex()
    ended = group("roster", "verify", "roster.toml")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"roster.toml: group {name}, 3 members, ready to start\n"
    ended = group("roster", "verify", "roster.toml", "--peer", "lyon")
    assert ended.out == (
        f"roster.toml: group {name}, 3 members, ready to start, with lyon as lyon\n"
    )


def test_verify_tells_every_fault(p2pfl: P2pfl) -> None:
    p2pfl("peer", "init", "a", "--listen", "/ip4/127.0.0.1/tcp/1")
    p2pfl("peer", "init", "b", "--listen", "/ip4/127.0.0.1/tcp/2")
    p2pfl("roster", "create", "r.toml", "--averaging", "cohorts")
    for name in "ab":
        card = Path(name) / "card.toml"
        lines = card.read_text().splitlines()
        card.write_text("\n".join(line for line in lines if "commitment" not in line))
    p2pfl("roster", "add", "r.toml", "a/card.toml", "b/card.toml")
    fails(
        p2pfl("roster", "verify", "r.toml"),
        "r.toml: masking hides nothing among 2 peers",
        "r.toml: a has no commitment to the draw",
        "r.toml: b has no commitment to the draw",
    )


def test_a_group_needs_rows_where_members_count_by_them_and_no_commitment(p2pfl: P2pfl) -> None:
    for number, name in enumerate("abcde", start=1):
        rows = ("--rows", f"{number}0") if name != "c" else ()
        p2pfl("peer", "init", name, "--listen", f"/ip4/127.0.0.1/tcp/{number}", *rows)
    p2pfl("roster", "create", "r.toml", "--set", "averaging.weights=samples")
    added = p2pfl("roster", "add", "r.toml", *(f"{name}/card.toml" for name in "abcde")).out
    assert "not complete yet: c has no rows on its card" in added
    shown = p2pfl("roster", "show", "r.toml").out
    assert re.search(r"averaging +group\n", shown)
    assert "draws" not in shown
    assert re.search(r"\b50\b", shown)
    fails(p2pfl("roster", "verify", "r.toml"), "r.toml: c has no rows on its card")
    settings = Path("c/peer.toml")
    settings.write_text(settings.read_text() + "rows = 30\n")
    p2pfl("peer", "card", "c")
    assert "changed c: rows none -> 30" in p2pfl("roster", "add", "r.toml", "c/card.toml").out
    assert "ready to start, with c as c" in p2pfl("roster", "verify", "r.toml", "--peer", "c").out


def test_verify_of_a_peer_refuses(group: P2pfl) -> None:
    group("peer", "init", "york")
    verify = ("roster", "verify", "roster.toml", "--peer")
    fails(group(*verify, "york"), "the peer of york, is no member")
    fails(group(*verify, "nowhere"), "cannot read the key file nowhere/key: No such file")
    Path("lyon/key").chmod(0o644)
    fails(group(*verify, "lyon"), "other users may read the key file: run chmod 600 lyon/key")
    Path("lyon/key").chmod(0o600)
    own = read_card(Path("lyon/card.toml")).commitment
    assert own is not None
    roster = Path("roster.toml")
    roster.write_text(roster.read_text().replace(own, "00" * 32))
    fails(group(*verify, "lyon"), "lyon is committed to another draw secret than lyon holds")
