"""`p2pfl privacy`: plans and budgets, for people, for programs, and refusals in one line."""

import json
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl.privacy.budget.ledger import open_ledger

ASKED = [
    *("--members", "16", "--rows", "10000", "--rate", "1/16"),
    *("--rounds", "200", "--epsilon", "2", "--drops", ".02"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rate", "half"], "a rate is a fraction such as 1/16 or 0.0625, not 'half'"),
        (["--rate", "1/0"], "a rate is a fraction such as 1/16 or 0.0625, not '1/0'"),
        (["--unit", "patient"], "unit is record or member, not 'patient'"),
        (["--trust", "me"], "trust is coalition or nobody, not 'me'"),
        (["--noise", "2"], "give two of epsilon, noise and rounds: the third is worked out"),
        (["--delta", "nan"], "delta is above 0 and below 1, not nan"),
    ],
)
def test_refusals_are_one_line(p2pfl: P2pfl, arguments: list[str], message: str) -> None:
    ended = p2pfl("privacy", "plan", *ASKED, *arguments)
    assert (ended.code, ended.err) == (2, f"p2pfl: {message}\n")


def test_an_audit_says_what_it_proves_and_finds_what_is_planted(p2pfl: P2pfl) -> None:
    """Exit code 0 where nothing refutes the claim, 1 where something does."""
    asked = ["--members", "5", "--rate", "1/4", "--rounds", "20", "--epsilon", "1"]
    honest = p2pfl("privacy", "audit", *asked, "--runs", "200")
    assert honest.code == 0
    assert "only failed to refute the claim" in " ".join(honest.out.split())
    planted = p2pfl("privacy", "audit", *asked, "--plant", "half-the-noise", "--json")
    assert planted.code == 1
    found = {it["test"]: it["refuted"] for it in json.loads(planted.out)["tests"]}
    assert found["spread of the noise"]
    wrong = p2pfl("privacy", "audit", *asked, "--plant", "luck")
    assert (wrong.code, wrong.err.startswith("p2pfl: plant is none or half-the-noise")) == (2, True)


@pytest.fixture
def budget(p2pfl: P2pfl, tmp_path: Path) -> tuple[Path, Path]:
    """A ledger with one charter, and its anchor."""
    path, anchor = tmp_path / "data" / "budget", tmp_path / "safe" / "anchor"
    path.parent.mkdir()
    anchor.parent.mkdir()
    figures = ("--dataset", "wards", "--epsilon", "4")
    ended = p2pfl("privacy", "open", str(path), "--anchor", str(anchor), *figures)
    assert (ended.code, ended.err) == (0, "")
    made = open_ledger(path, anchor)
    made.reserve("a" * 64, rate_units=2**28, noise=3.0, steps=1, rounds=5)
    made.spend("a" * 64, epoch=1, round=1, session=0)
    return path, anchor


def test_a_budget_is_shown(p2pfl: P2pfl, budget: tuple[Path, Path]) -> None:
    path, anchor = budget
    text = " ".join(p2pfl("privacy", "status", str(path), "--anchor", str(anchor)).out.split())
    assert "wards: epsilon 4 at delta 1e-05, of which" in text
    assert "aaaaaaaaaaaa open 5 1 4" in text
    ended = p2pfl("privacy", "status", str(path), "--anchor", str(anchor), "--json")
    status = json.loads(ended.out)
    assert status["usable"] is True
    assert [(one["spent"], one["left"]) for one in status["charters"]] == [(1, 4)]
    records = json.loads(p2pfl("privacy", "ledger", str(path), "--json").out)
    assert [record["record"] for record in records] == ["opened", "reserved", "spent"]
    shown = " ".join(p2pfl("privacy", "ledger", str(path)).out.split())
    assert "3 spent aaaaaaaaaaaa epoch 1, round 1, session 0" in shown


def test_a_restored_budget_is_told_refused_and_forfeited(
    p2pfl: P2pfl, budget: tuple[Path, Path]
) -> None:
    path, anchor = budget
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    ended = p2pfl("privacy", "status", str(path), "--anchor", str(anchor))
    assert ended.code == 1
    assert "it was restored from a backup" in " ".join(ended.out.split())
    ended = p2pfl("privacy", "forfeit", str(path), "--anchor", str(anchor), "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert "every charter counts in full" in ended.out
    text = " ".join(p2pfl("privacy", "status", str(path), "--anchor", str(anchor)).out.split())
    assert "aaaaaaaaaaaa forfeited 5 0 0" in text


def test_forfeiting_says_first_what_is_wrong_and_what_is_lost(
    p2pfl: P2pfl, budget: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the anchor's path would cost all of the budget: it is named, nothing is done."""
    path, anchor = budget
    whole, slip = path.read_bytes(), anchor.with_name("anchr")

    def asked(place: Path) -> str:
        ended = p2pfl("privacy", "forfeit", str(path), "--anchor", str(place))
        assert (ended.code, path.read_bytes()) == (2, whole)
        return ended.err

    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert asked(slip) == (
        f"p2pfl: {slip}, the anchor of {path}, is missing: look whether that is its place. Without"
        " it the whole budget counts as spent. Go on? --yes says so\n"
    )
    assert asked(anchor).startswith(f"p2pfl: {path} is where its anchor says, and can be used as")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _: False)
    assert asked(slip) == "p2pfl: nothing was forfeited\n"
    whole = whole[: whole.index(b"\n") + 1]  # A backup of before the charter.
    path.write_bytes(whole)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert "it was restored from a backup. Every charter counts in full and ends" in asked(anchor)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda _: True)
    assert p2pfl("privacy", "forfeit", str(path), "--anchor", str(anchor)).code == 0
    assert path.read_bytes() != whole


def test_budget_refusals_are_one_line(p2pfl: P2pfl, budget: tuple[Path, Path]) -> None:
    path, anchor = budget
    beside = path.with_name("anchor")
    ended = p2pfl("privacy", "status", str(path), "--anchor", str(beside))
    assert ended.code == 2
    assert ended.err.startswith(f"p2pfl: {beside} lies beside the ledger, so a backup would take")
    missing = path.with_name("none")
    ended = p2pfl("privacy", "ledger", str(missing))
    assert (ended.code, ended.err) == (
        2,
        f"p2pfl: cannot read {missing}: No such file or directory\n",
    )
    again = ("--anchor", str(anchor), "--dataset", "wards", "--epsilon", "4")
    ended = p2pfl("privacy", "open", str(path), *again)
    assert ended.code == 2
    assert "is there already" in ended.err
