"""A private charter on paper, and the budget that a peer keeps for it."""

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from consortium import NOW_S, Draws, amended, drafted, founded, founding_form

from p2pfl.charter import making
from p2pfl.charter.charter_file import CharterFile, write_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import AveragingForm, form_toml, make_form
from p2pfl.charter.making import amend, form_of
from p2pfl.cli import dossiers
from p2pfl.cli.amendments import propose_charter
from p2pfl.cli.budget_room import print_budget
from p2pfl.cli.charters import diff_charters
from p2pfl.cli.dossiers import print_dossier
from p2pfl.daemon.config import PeerConfig, PeerFolder, read_config
from p2pfl.daemon.spending import NO_BUDGET, Spending
from p2pfl.privacy.budget.book import Book
from p2pfl.privacy.budget.ledger import create, forfeit, open_ledger
from p2pfl_crypto.identity import peer_id_of
from p2pfl_gossip.learning import WorkFailed
from p2pfl_gossip.ledger.charter import NEW_STATE, Epoch, RefusedCharter
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.masked_sum.jobs import Granted, Spend
from p2pfl_gossip.records import replaced

PRIVACY: dict[str, Any] = {"epsilon": 2.0, "rows": 1000, "rate": 1, "spares": 2}
PRIVATE: dict[str, Any] = {"rounds": 10, "privacy": PRIVACY}


@pytest.fixture(scope="module")
def charter(tmp_path_factory: pytest.TempPathFactory) -> CharterFile:
    """Its plan takes some seconds, so all tests share it."""
    return founded(tmp_path_factory.mktemp("charter"), **PRIVATE)


def spending_of(folder: Path, epsilon: float | None = 3.0) -> Spending:
    """A peer's budget, with a new ledger, or none."""
    (folder / "data").mkdir(parents=True)
    (folder / "elsewhere").mkdir()
    named: dict[str, Any] = {"name": "berlin", "addresses": ("/dns4/berlin.example/tcp/4001",)}
    if epsilon is not None:
        named |= {"budget": Path("data/budget"), "budget_anchor": Path("elsewhere/anchor")}
        create(
            folder / "data/budget",
            folder / "elsewhere/anchor",
            dataset="wards",
            epsilon=epsilon,
            delta=1e-5,
            entropy=bytes(16),
        )
    return Spending(PeerFolder(folder), PeerConfig(**named))


def spend_of(charter: CharterFile, round_: int) -> Spend:
    return Spend(0, round_, charter.digest, is_private=True)


def test_sums_whose_members_count_on_each_others_noise_are_not_audited(
    charter: CharterFile,
) -> None:
    privacy, form = charter.charter.privacy, AveragingForm()
    assert privacy is not None
    assert privacy.is_shared
    assert making._audit(form, 8, privacy, None) == "off"
    assert making._audit(form, 8, None, None) == "void"


def test_the_dossier_tells_of_the_noise(
    charter: CharterFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path / "group.charter", charter)
    print_dossier(tmp_path / "group.charter")
    told = capsys.readouterr().out
    assert "epsilon 2 for one row, or one person's rows where" in told
    assert "No noise is added" not in told
    assert "**Open:** where clip, learning rates and the task's scaling come from" in told


def test_the_dossier_tells_where_figures_come_from(charter: CharterFile) -> None:
    later = amended(charter, privacy={**PRIVACY, "figures_from": "a public task"})
    assert later.charter.privacy == charter.charter.privacy  # Words change no plan.
    assert list(dossiers._leaves(later))[-1].endswith("scaling come from: a public task")


def test_a_charter_states_its_plan(charter: CharterFile, tmp_path: Path) -> None:
    """And what people wrote; who amends nothing of it plans nothing anew."""
    privacy = charter.charter.privacy
    assert privacy is not None
    assert (privacy.spends, privacy.rows, privacy.least) == (12, 1000, 5)
    assert charter.terms.privacy is not None
    assert charter.terms.privacy.epsilon == 2.0
    assert form_of(charter).privacy == charter.terms.privacy
    later = amended(charter, retention_days=99)
    assert later.charter.privacy == privacy
    with pytest.raises(PaperError, match=r"privacy\.rows is missing"):
        drafted(tmp_path, privacy={"epsilon": 2.0})
    with pytest.raises(PaperError, match="privacy: members that collude"):
        drafted(tmp_path, privacy={**PRIVACY, "colluders": 3})
    assert founding_form(tmp_path).privacy is None


def test_an_amendment_pays_for_the_rounds_that_are_left(charter: CharterFile) -> None:
    """By the same noise; unless operators alone may make the change, or another model begins."""
    form, privacy = form_of(charter), charter.charter.privacy
    assert privacy is not None

    def spends(height: int, **changes: Any) -> int:
        document = form.model_dump(by_alias=True, exclude_none=True) | changes
        later = amend(
            make_form(document, source="test"), charter, now_s=NOW_S, entropy=Draws(), height=height
        ).charter
        assert later.privacy is not None
        assert replaced(later.privacy, spends=privacy.spends) == privacy
        assert Epoch.founded(charter.charter).followed_by(later).charter is later
        return later.privacy.spends

    assert spends(0, retention_days=99) == 12
    assert spends(7, retention_days=99) == 5
    assert spends(10, retention_days=99) == 3
    patience = form.averaging.model_dump(exclude_none=True) | {"patience_s": 99.0}
    assert spends(7, averaging=patience) == 12


def test_a_first_charter_pays_for_all_its_rounds(charter: CharterFile) -> None:
    """And so does one that begins another model: their heights are all to come."""
    privacy = charter.charter.privacy
    assert privacy is not None
    fewer = replaced(charter.charter, privacy=replaced(privacy, spends=9))
    with pytest.raises(RefusedCharter, match="9 spends do not pay for 10 rounds"):
        Epoch.founded(fewer)
    before = Epoch.founded(charter.charter)
    again = replaced(fewer, present=before.digest)
    assert before.followed_by(again).charter is again
    with pytest.raises(RefusedCharter, match="9 spends do not pay for 10 rounds"):
        before.followed_by(replaced(again, start=NEW_STATE))


def test_what_was_reserved_for_a_charter_in_whose_place_another_came_is_free(
    charter: CharterFile, tmp_path: Path
) -> None:
    spending = spending_of(tmp_path)
    assert spending.fault(charter) == ""
    history = History(Epoch.founded(charter.charter))
    own = peer_id_of(charter.charter.members[0].key)
    assert spending.settle(history, own) == ""
    assert "spent 0 of 12 rounds" in spending.told(charter)
    assert spending.settle(history, own, [bytes(32), charter.digest]) == ""
    told = spending.told(charter)
    assert "closed, so that the rest is free again" in told
    assert spending.settle(history, own, [bytes(32), charter.digest]) == ""
    assert spending.told(charter) == told


def test_no_chain_of_charters_spends_more_than_the_budget(
    charter: CharterFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators alone may make one charter after the other, and lose all of its rounds.

    Each is reserved anew; beside each of them another one is proposed, and freed.
    """

    def following(file: CharterFile, patience_s: float) -> CharterFile:
        later = replaced(file.charter, present=file.digest, patience_s=patience_s)
        return replace(file, charter=later, shown=(), commitments=())

    monkeypatch.setattr(Spending, "_begin_claims", lambda *_: None)
    allowed, given = 6.0, 0
    spending = spending_of(tmp_path, epsilon=allowed)
    epoch = Epoch.founded(charter.charter)
    history, file = History(epoch), charter
    own = peer_id_of(charter.charter.members[0].key)
    for place in range(99):
        if spending.fault(file):
            break
        other = following(file, 1.0 + place)
        is_forked = not spending.fault(other)
        while spending.spend(spend_of(file, given + 1)) == Granted():
            given += 1
        if is_forked:
            assert spending.settle(history, own, [other.digest]) == ""
            assert isinstance(spending.spend(spend_of(other, 1)), WorkFailed)
        book = open_ledger(tmp_path / "data/budget", tmp_path / "elsewhere/anchor").book
        assert book.epsilon <= allowed
        file = following(file, 100.0 + place)
    assert charter.charter.privacy is not None
    assert given >= 2 * charter.charter.privacy.spends  # It was a chain.
    assert isinstance(spending.spend(spend_of(file, given + 1)), WorkFailed)


def test_rounds_are_reserved_and_spent(charter: CharterFile, tmp_path: Path) -> None:
    """Each once, on the disk before it is granted; then no more, whatever is asked."""
    spending = spending_of(tmp_path)
    early = spending.spend(spend_of(charter, 1))
    assert isinstance(early, WorkFailed)
    assert spending.fault(charter) == "" == spending.fault(charter)
    for round_ in range(1, 13):
        assert spending.spend(spend_of(charter, round_)) == Granted()
        book = open_ledger(tmp_path / "data/budget", tmp_path / "elsewhere/anchor").book
        assert book.charters[charter.digest.hex()].spent == round_
        assert ("are spent" in spending.over(charter)) == (round_ == 12)
    assert "all 12 updates that the charter pays for are spent" in spending.over(charter)
    assert spending.fault(charter) == ""
    gone = spending.spend(spend_of(charter, 13))
    assert isinstance(gone, WorkFailed)
    assert "spent" in gone.reason
    again = spending.spend(spend_of(charter, 12))
    assert isinstance(again, WorkFailed)
    assert "spent 12 of 12 rounds" in spending.told(charter)
    for is_by_person, of in ((None, "per row, or per person where"), (True, "per person,")):
        assert of in spending.told(charter, is_by_person=is_by_person)
    assert "per row, not per patient" in spending.told(charter, is_by_person=False)
    assert spending.spend(Spend(0, 99, charter.digest)) == Granted()


def test_a_budget_that_does_not_pay_is_refused(charter: CharterFile, tmp_path: Path) -> None:
    """With what would fit; the peer rests, and nothing is reserved."""
    spending = spending_of(tmp_path, epsilon=1.0)
    told = spending.fault(charter)
    assert told
    assert spending.fault(charter) == told
    assert isinstance(spending.spend(spend_of(charter, 1)), WorkFailed)
    assert "nothing is reserved" in spending.told(charter)


def test_without_a_budget_no_private_charter(charter: CharterFile, tmp_path: Path) -> None:
    spending = spending_of(tmp_path, epsilon=None)
    assert spending.fault(charter) == NO_BUDGET
    assert NO_BUDGET in spending.told(charter)
    assert spending.spend(spend_of(charter, 1)) == WorkFailed(NO_BUDGET)
    plain = amended(charter, privacy=None)
    assert plain.charter.privacy is None
    assert spending.fault(plain) == ""
    assert spending.told(plain) == "not private: no noise is added"


def test_a_restored_budget_pays_nothing(charter: CharterFile, tmp_path: Path) -> None:
    """Until it is forfeited: then the charter is over here."""
    spending = spending_of(tmp_path)
    assert spending.fault(charter) == ""
    shutil.copy(tmp_path / "data/budget", tmp_path / "backup")
    assert spending.spend(spend_of(charter, 1)) == Granted()
    shutil.copy(tmp_path / "backup", tmp_path / "data/budget")
    refused = spending.spend(spend_of(charter, 2))
    assert isinstance(refused, WorkFailed)
    assert "restored from a backup" in refused.reason
    assert "restored from a backup" in spending.fault(charter)
    forfeit(tmp_path / "data/budget", tmp_path / "elsewhere/anchor")
    assert "was forfeited: this member gives nothing more" in spending.fault(charter)
    assert isinstance(spending.spend(spend_of(charter, 2)), WorkFailed)


def test_data_sets_that_share_persons_share_a_budget(charter: CharterFile, tmp_path: Path) -> None:
    """The second peer gets what the first has left; and nothing in the same group."""
    first = spending_of(tmp_path)
    assert first.fault(charter) == ""
    second = Spending(
        PeerFolder(tmp_path / "elsewhere"),
        PeerConfig(
            name="cardiology",
            addresses=("/dns4/berlin.example/tcp/4002",),
            budget=Path("../data/budget"),
            budget_anchor=Path("anchor"),
        ),
    )
    assert "beside what other charters hold" in second.fault(amended(charter, retention_days=99))
    assert first.spend(spend_of(charter, 1)) == Granted()
    again = second.spend(spend_of(charter, 1))
    assert isinstance(again, WorkFailed)
    assert "no vector is sent twice" in again.reason


def test_rounds_that_a_journal_has_forgotten_are_charged(
    charter: CharterFile, tmp_path: Path
) -> None:
    """A round number bounds what was sent."""
    spending = spending_of(tmp_path)
    assert spending.fault(charter) == ""
    epoch = Epoch.founded(charter.charter)
    assert spending.presume(epoch, 1, 5) == ""
    assert "spent 5 of 12 rounds" in spending.told(charter)


def test_what_each_adversary_can_learn_is_told(charter: CharterFile, tmp_path: Path) -> None:
    """By the charter's own figures, once they are worked out; the member itself hides nothing."""
    spending = spending_of(tmp_path)
    assert spending.claims(charter) == []
    assert spending.fault(charter) == ""
    for thread in threading.enumerate():
        if thread.name == "claims":
            thread.join()
    told = spending.claims(charter)
    (claim,) = [it for it in told if it["is_the_claim"]]
    assert 1.9 < claim["epsilon"] <= 2.0
    assert told[-1]["epsilon"] is None
    json.dumps(told)


# --- what is told of budgets before anybody signs -----------------------------------------------


def peer_of(folder: Path, epsilon: float | None) -> Path:
    """The folder of a peer, whose budget is new."""
    peer = folder / "berlin"
    spending_of(peer, epsilon)
    budget = 'budget = "data/budget"\nbudget_anchor = "elsewhere/anchor"\n'
    settings = 'name = "berlin"\naddresses = ["/dns4/berlin.example/tcp/4001"]\n'
    (peer / "peer.toml").write_text(settings + (budget if epsilon is not None else ""))
    (peer / "charters").mkdir()
    return peer


def reserved(peer: Path, charter: CharterFile) -> None:
    """Reserve what a charter takes."""
    config = read_config(peer)
    assert Spending(PeerFolder(peer), config).fault(charter) == ""


@pytest.mark.parametrize(
    ("epsilon", "told"),
    [
        (None, NO_BUDGET),
        (9.0, r"there is room for them, and for \d+ more of this noise"),
        (2.0, r"there is surely room for \d+ of them; if all fit, they take it whole, and it"),
        (0.5, "there is surely room for 0 of them"),
    ],
)
def test_a_founder_is_told_what_its_budget_has_room_for(
    charter: CharterFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    epsilon: float | None,
    told: str,
) -> None:
    peer = peer_of(tmp_path, epsilon)
    print_budget(charter, peer)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "privacy    each member's budget must pay for 12 updates;"
    assert "pays for none, not even for another date" in lines[2]
    assert re.fullmatch(
        f"budget     of {peer}: {re.escape(told) if not epsilon else told}.*", lines[3]
    )


def test_who_amends_is_told_what_its_budget_has_room_for(
    charter: CharterFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside what is reserved: of a budget that one charter takes whole, nothing."""
    later = amended(charter, retention_days=99)
    for epsilon, told in (
        (2.0, "there is room for 0 of them: its peer would hold this charter back"),
        (9.0, "there is room for them, and for"),
    ):
        peer = peer_of(tmp_path / str(epsilon), epsilon)
        reserved(peer, charter)
        print_budget(later, peer)
        printed = capsys.readouterr().out
        assert "must pay for 12 more updates,\n           beside what it has reserved" in printed
        assert f"budget     of {peer}: {told}" in printed
        (peer / "data/budget").write_text("damaged")
        print_budget(later, peer)
        assert "room" not in capsys.readouterr().out.splitlines()[-1]
    reserved(again := peer_of(tmp_path / "again", 9.0), later)
    print_budget(later, again)
    assert capsys.readouterr().out.endswith("they are reserved\n")


def test_room_for_just_as_many_is_told_as_none_for_later(
    charter: CharterFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Book, "room", lambda _book, **_plan: 12)
    print_budget(charter, peer_of(tmp_path, 9.0))
    assert "room for them alone: it would pay for no later charter" in capsys.readouterr().out


def test_commands_before_signing_tell_of_budgets(
    charter: CharterFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a proposal: whoever makes it, and whoever reads what it changes."""
    peer = peer_of(tmp_path, 9.0)
    write_file(peer / "charters/group.charter", charter)
    toml = tmp_path / "next.toml"
    toml.write_text(form_toml(form_of(amended(charter, retention_days=99))))
    for number, present in enumerate((peer / "charters", peer / "charters/group.charter")):
        propose_charter(toml, present, tmp_path / f"{number}.charter")
        assert f"budget     of {peer}: there is room for them" in capsys.readouterr().out
    diff_charters(peer / "charters/group.charter", tmp_path / "0.charter")
    assert f"budget     of {peer}: there is room for them" in capsys.readouterr().out
    (tmp_path / "papers").mkdir()
    shutil.copy(peer / "charters/group.charter", tmp_path / "papers")
    propose_charter(toml, tmp_path / "papers", tmp_path / "2.charter")
    printed = capsys.readouterr().out
    assert "must pay for 12 more updates" in printed
    assert "budget  " not in printed
