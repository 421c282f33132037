"""`p2pfl charter ...`: five organisations found a group and change it, by files alone."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from calling import Ended, P2pfl
from consortium import MEMBERS, Member, amended, founded

from p2pfl.charter.chain import chain_of, read_folder
from p2pfl.charter.charter_file import CharterFile, read_file, write_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.first_states import write_first_state
from p2pfl.charter.keys import make_key
from p2pfl.charter.words import phrase_of
from p2pfl.cli import amendments, charters, governance_keys
from p2pfl.cli.in_force import read_in_force
from p2pfl.store.acts import read_acts
from p2pfl.store.journal import Store
from p2pfl.store.passphrases import SealCost
from p2pfl_gossip.ledger.approving import consents_among
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.history import founding_record

NAMES = ("berlin", "lyon", "oslo", "porto", "turin")
PASSPHRASE = ("--passphrase-file", "passphrase")
TOML = """
name = "readmissions"
purpose = "Who comes back within thirty days."
rounds = 40
require = ["dpia"]
until = {until}

[task]
name = "digits"
first_state = "start.safetensors"

[bounds]
rounds_max = 500
settings = {{ "training.learning_rate" = [0.01, 1.0] }}

[[documents]]
kind = "dpia"
file = "dpia.txt"
until = {dpia}
"""


def fails(ended: Ended, *said: str) -> None:
    """Demand exit code 2 and one line for each of `said`."""
    assert (ended.code, ended.out) == (2, ""), ended
    lines = ended.err.splitlines()
    assert len(lines) == len(said), ended.err
    for line, part in zip(lines, said, strict=True):
        assert part in line


def goes(ended: Ended) -> str:
    assert ended.code == 0, ended.err
    return ended.out


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def founder(p2pfl: P2pfl, name: str, port: int) -> None:
    goes(p2pfl("peer", "init", name, "--listen", f"/ip4/127.0.0.1/tcp/{port}"))
    goes(p2pfl("charter", "key", f"{name}.key", *PASSPHRASE))
    goes(p2pfl("charter", "card", name, "--key", f"{name}.key", "--contact", f"Dr. {name}"))


@pytest.fixture
def five(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> P2pfl:
    """Five founders with keys and cards, and what they want to agree on."""
    cheap = SealCost(1, 8192)  # The least that Argon2id takes: tests need not be slow.
    monkeypatch.setattr(governance_keys, "make_key", partial(make_key, cost=cheap))
    Path("passphrase").touch(0o600)
    Path("passphrase").write_text("correct horse\n")
    for port, name in enumerate(NAMES, 4001):
        founder(p2pfl, name, port)
    write_first_state(Path("start.safetensors"), np.zeros(4, np.float32))
    Path("dpia.txt").write_text("assessed")
    Path("group.toml").write_text(TOML.format(until=day(200), dpia=day(20)))
    return p2pfl


def draft(p2pfl: P2pfl) -> None:
    cards = [word for name in NAMES for word in ("--card", f"{name}/member.toml")]
    goes(p2pfl("charter", "draft", "group.toml", "group.charter", *cards))


def phrase() -> str:
    return " ".join(phrase_of(read_file(Path("group.charter")).digest))


def found(p2pfl: P2pfl) -> None:
    draft(p2pfl)
    for name in NAMES:
        goes(p2pfl("charter", "reveal", "group.charter", name))
    for name in NAMES:
        words = ("charter", "sign", "group.charter", "--phrase", phrase())
        goes(p2pfl(*words, "--key", f"{name}.key", *PASSPHRASE))
        goes(p2pfl(*words, "--peer", name))
    Path("charters").mkdir()
    shutil.move("group.charter", "charters/group.charter")


def propose(p2pfl: P2pfl, old: str, new: str, file: str = "next") -> str:
    toml = goes(p2pfl("charter", "show", "charters/group.charter", "--toml"))
    assert old in toml
    Path("next.toml").write_text(toml.replace(old, new))
    return goes(
        p2pfl(
            "charter", "propose", "next.toml", f"charters/{file}.charter", "--present", "charters"
        )
    )


def test_five_found_a_group_by_files_that_travel(five: P2pfl) -> None:
    """Each works on its own copy; the keeper takes them together."""
    draft(five)
    for name in NAMES:
        shutil.copy("group.charter", f"{name}.charter")
        told = goes(five("charter", "reveal", f"{name}.charter", name))
        assert "waits for the bytes of" in told
    copies = [f"{name}.charter" for name in NAMES]
    told = goes(five("charter", "gather", "group.charter", *copies))
    assert "all founders have shown their bytes" in told
    assert "   ".join(phrase().split()[:3]) in told
    for name in NAMES:
        shutil.copy("group.charter", f"{name}.charter")
        words = ("charter", "sign", f"{name}.charter", "--phrase", phrase().upper())
        goes(five(*words, "--key", f"{name}.key", *PASSPHRASE, "--acts", name))
        goes(five(*words, "--peer", name))
    told = goes(five("charter", "gather", "group.charter", *copies))
    assert "approved   berlin, lyon, oslo, porto, turin" in told
    assert "enough     it needs nobody any more" in told
    acts, _ = read_acts(Path("oslo"))
    assert [act.name for act in acts] == ["charter signed", "charter signed"]
    told = goes(five("charter", "verify", "group.charter"))
    assert told.endswith("all in order: 5 members, 1 charter\n")


def test_nobody_signs_other_words_than_it_heard(five: P2pfl) -> None:
    draft(five)
    sign = ("charter", "sign", "group.charter", "--key", "oslo.key", *PASSPHRASE)
    fails(five(*sign, "--phrase", "acorn " * 9), "it is a draft: not all founders have shown")
    for name in NAMES:
        goes(five("charter", "reveal", "group.charter", name))
    before = Path("group.charter").read_bytes()
    right = phrase().split()
    wrong = " ".join([*right[:4], "zone" if right[4] != "zone" else "zinc", *right[5:]])
    fails(five(*sign, "--phrase", wrong), "word 5 is ")
    fails(five(*sign, "--phrase", "acorn"), "a phrase has 9 words, not 1")
    fails(five(*sign), "give the words that all founders have read to each other: --phrase")
    assert Path("group.charter").read_bytes() == before


def test_a_draft_that_was_changed_underway_gets_no_bytes(five: P2pfl) -> None:
    draft(five)
    goes(five("charter", "reveal", "group.charter", "oslo"))
    Path("group.charter").unlink()
    Path("group.toml").write_text(TOML.format(until=day(300), dpia=day(20)))
    draft(five)
    fails(five("charter", "reveal", "group.charter", "oslo"), "were shown for another draft")
    founder(five, "bergen", 4010)
    fails(five("charter", "reveal", "group.charter", "bergen"), "is no founder of group.charter")


def test_a_stranger_signs_nothing(five: P2pfl) -> None:
    draft(five)
    for name in NAMES:
        goes(five("charter", "reveal", "group.charter", name))
    founder(five, "bergen", 4010)
    sign = ("charter", "sign", "group.charter", "--phrase", phrase())
    fails(five(*sign, "--key", "bergen.key", *PASSPHRASE), "is no key of a member of this charter")
    fails(five(*sign, "--peer", "bergen"), "is no key of a member of this charter")
    fails(five(*sign), "say with which key: --key FILE, or --peer DIR")
    fails(five(*sign, "--peer", "oslo", "--key", "oslo.key"), "say with which key")
    Path("wrong").touch(0o600)
    Path("wrong").write_text("wrong\n")
    fails(
        five(*sign, "--key", "oslo.key", "--passphrase-file", "wrong"),
        "oslo.key does not open: the passphrase is wrong",
    )


def test_operators_change_the_learning_rate(five: P2pfl) -> None:
    found(five)
    told = propose(five, "learning_rate = 0.1", "learning_rate = 0.5")
    assert "training.learning_rate: 0.1 -> 0.5" in told
    assert "class      running" in told
    approve = ("charter", "approve", "charters/next.charter")
    fails(
        five(*approve, "--key", "oslo.key", *PASSPHRASE),
        "this is a running change: the peers' keys approve it: --peer DIR in place of --key",
    )
    for name in NAMES[:3]:
        assert "enough" not in goes(five(*approve, "--peer", name))
    told = goes(five("charter", "status", "charters", "--member", "porto"))
    assert "it waits for porto" in told
    assert "missing    1 more of the peers of porto and turin" in told
    assert "enough" in goes(five(*approve, "--peer", "porto"))
    told = goes(five("charter", "verify", "charters"))
    assert "running" in told
    assert "approved by berlin, lyon, oslo, porto" in told
    told = goes(five("charter", "diff", "charters/group.charter", "charters/next.charter"))
    assert "class      running: the peers of a quorum approve it" in told
    # Who has not signed a charter before it rests, until its own keys have signed what now holds.
    told = goes(five(*approve, "--key", "turin.key", *PASSPHRASE))
    assert "approved charters/next.charter as turin with key ed25519:" in told
    members = chain_of(read_folder(Path("charters"))).present.charter.members
    consents = consents_among(
        read_file(Path("charters/next.charter")).charter,
        read_file(Path("charters/next.charter")).approvals,
    )
    assert [it.key for it in consents] == list(members[4].governance.keys)


def test_newcomers_and_other_keys_come_in_by_cards(five: P2pfl) -> None:
    found(five)
    founder(five, "york", 4006)
    goes(five("charter", "key", "new.key", *PASSPHRASE))
    goes(five("charter", "card", "oslo", "--key", "oslo.key", "--key", "new.key"))
    toml = goes(five("charter", "show", "charters/group.charter", "--toml"))
    Path("next.toml").write_text(toml)
    words = ("charter", "propose", "next.toml", "charters/next.charter", "--present", "charters")
    york, oslo = ("--card", "york/member.toml"), ("--card", "oslo/member.toml")
    fails(five(*words, *york, *york), "two cards are of 'york'")
    told = goes(five(*words, *york, *oslo))
    assert "york joins: for york" in told
    assert "oslo: new governance key ed25519:" in told
    members = read_file(Path("charters/next.charter")).charter.members
    assert [it.name for it in members] == [*NAMES, "york"]
    assert [len(it.governance.keys) for it in members] == [1, 1, 2, 1, 1, 1]


def test_what_is_beyond_the_bounds_is_not_proposed(five: P2pfl) -> None:
    found(five)
    toml = goes(five("charter", "show", "charters/group.charter", "--toml"))
    propose_next = ("charter", "propose", "next.toml", "charters/next.charter")
    for old, new, said in (
        ("learning_rate = 0.1", "learning_rate = 2.0", "may be 0.01 to 1, not 2: widen bounds"),
        ("batch_size = 32", "batch_size = 64", "training.batch_size may not be changed"),
        ("rounds = 40", "rounds = 40", "nothing would change"),
    ):
        Path("next.toml").write_text(toml.replace(old, new))
        fails(five(*propose_next, "--present", "charters"), said)
    assert not Path("charters/next.charter").exists()


def test_governance_keys_change_all_else(five: P2pfl) -> None:
    found(five)
    told = propose(five, "Who comes back", "Who must come back")
    assert "class      founding" in told
    approve = ("charter", "approve", "charters/next.charter")
    fails(five(*approve, "--peer", "oslo"), "governance keys approve this change")
    goes(five("charter", "reject", "charters/next.charter", "--key", "turin.key", *PASSPHRASE))
    for name in NAMES[:4]:
        told = goes(five(*approve, "--key", f"{name}.key", *PASSPHRASE))
    assert "enough" in told
    assert "objection  of turin" in told
    told = goes(five("charter", "status", "charters"))
    assert "1 amendment" in told


def test_a_key_that_approved_once_counts_once(five: P2pfl) -> None:
    found(five)
    propose(five, "Who comes back", "Who must come back")
    approve = ("charter", "approve", "charters/next.charter", "--key", "oslo.key", *PASSPHRASE)
    for days in ("1", "2", "3", "4"):
        told = goes(five(*approve, "--days", days))
    assert "approved   oslo\n" in told
    assert "missing    3 more of berlin, lyon, porto and turin" in told


def test_a_ledger_tells_whether_what_is_approved_is_in_force(five: P2pfl) -> None:
    """As where another charter came first, and the proposal is void."""
    found(five)
    propose(five, "learning_rate = 0.1", "learning_rate = 0.5")
    for name in NAMES[:4]:
        goes(five("charter", "approve", "charters/next.charter", "--peer", name))
    founding, following = (read_file(Path(f"charters/{it}.charter")) for it in ("group", "next"))
    told = goes(five("charter", "status", "charters"))
    assert f"charter    {following.digest.hex()}, 1 amendment" in told
    name = following.digest.hex()[:16]
    assert f"warning    charter {name} is approved; whether it is in force, a member's" in told
    shutil.copytree("charters", "oslo/charters", dirs_exist_ok=True)
    records = founding_record(Epoch.founded(founding.charter))
    with Store.open(Path("oslo/journal")) as store:
        store.persist({**records})
    told = goes(five("charter", "status", "oslo/charters"))
    assert f"charter    {founding.digest.hex()}, 0 amendments" in told
    assert f"warning    charter {name} is approved, and not in force by the ledger" in told
    assert json.loads(goes(five("charter", "status", "oslo/charters", "--json")))["by"] == "ledger"
    assert read_in_force(Path("oslo/charters")).digest == founding.digest
    with Store.open(Path("oslo/journal")) as store:
        store.persist({"ledger/charter": b"?"})
    fails(five("charter", "status", "oslo/charters"), "is damaged")


def test_status_tells_of_dates_and_documents(five: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    found(five)
    told = goes(five("charter", "status", "charters"))
    assert "(warning of 30 days)" in told
    assert "the document dpia of the group ends in" in told
    later = time.time() + 195 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    told = goes(five("charter", "status", "charters"))
    assert "the charter ends in" in told
    assert "the document dpia of the group is over since" in told
    assert "the document dpia is missing for berlin, lyon, oslo, porto, turin" in told
    as_json = json.loads(goes(five("charter", "status", "charters", "--json")))
    assert len(as_json["warnings"]) == 3


def test_a_lapsed_charter_is_amended_all_the_same(
    five: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(five)
    propose(five, "Who comes back", "Who must come back", "lapsed")
    later = time.time() + 400 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert "the charter is over since" in goes(five("charter", "status", "charters"))
    approve = ("charter", "approve", "charters/lapsed.charter", "--key", "oslo.key", *PASSPHRASE)
    fails(five(*approve), "would be over since")
    again = ("propose", "next.toml", "over.charter", "--present", "charters/group.charter")
    fails(five("charter", *again), "which is over: name a later day")
    toml = goes(five("charter", "show", "charters/group.charter", "--toml"))
    until = next(line for line in toml.splitlines() if line.startswith("until"))
    propose(five, until, f"until = {day(800)}")
    for name in NAMES[:4]:
        told = goes(
            five("charter", "approve", "charters/next.charter", "--key", f"{name}.key", *PASSPHRASE)
        )
    assert "enough" in told


def test_a_member_leaves_by_itself(five: P2pfl) -> None:
    found(five)
    leave = ("charter", "leave", "charters/group.charter", "--key", "oslo.key", *PASSPHRASE)
    told = goes(five(*leave, "--acts", "oslo"))
    assert "oslo leaves the group: hand charters/group.charter to any member" in told
    assert read_acts(Path("oslo"))[0][-1].name == "group left"
    told = goes(
        five("charter", "revoke", "charters/group.charter", "--key", "lyon.key", *PASSPHRASE)
    )
    assert "lyon takes its peer's key back" in told
    goes(five("charter", "verify", "charters"))


def test_who_leaves_may_ask_that_its_rounds_are_built_on_no_more(five: P2pfl) -> None:
    """Its word stands in status and dossier, also once the group has gone on without it."""
    found(five)
    own = ("--key", "oslo.key", *PASSPHRASE)
    told = goes(five("charter", "leave", "charters/group.charter", "--withdraw", *own))
    asks = "oslo leaves the group and asks that later models are not built on rounds with its rows"
    assert f"{asks}: hand charters/group.charter to any member" in told
    assert "p2pfl charter back PEER --without oslo" in told
    told = goes(five("charter", "status", "charters"))
    assert f"departed   {asks}, by its own keys" in told
    assert "--without oslo" in told
    status = json.loads(goes(five("charter", "status", "charters", "--json")))
    assert status["departed"] == {"oslo": "withdraw"}
    assert f"  - {asks}, by its own keys" in goes(five("charter", "dossier", "charters"))
    assert "oslo takes" not in goes(five("charter", "status", "charters"))


def test_an_amendment_is_drafted_for_the_models_to_come(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the peer's ledger tells, if it is of the charter in force; named by folder or by file."""
    group, told = founded(Path(), MEMBERS), list[int]()
    Path("charters").mkdir()
    write_file(Path("charters/group.charter"), group)
    Path("next.toml").write_text(goes(p2pfl("charter", "show", "charters/group.charter", "--toml")))

    def amend(*_given: object, height: int, **_more: object) -> CharterFile:
        told.append(height)
        raise PaperError("that is all")

    monkeypatch.setattr(amendments, "amend", amend)
    for present in ("charters", "charters/group.charter"):
        for digest in (group.digest, bytes(32)):
            history = SimpleNamespace(epoch=SimpleNamespace(digest=digest), height=7)
            monkeypatch.setattr(amendments, "history_beside", lambda _folder, it=history: it)
            command = ("charter", "propose", "next.toml", "next.charter", "--present", present)
            fails(p2pfl(*command), "that is all")
    assert told == [7, 0, 7, 0]


def test_who_wants_no_more_rounds_than_there_are_is_told(
    five: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(five)
    digest = read_file(Path("charters/group.charter")).digest
    for height, is_told in ((41, True), (40, False)):
        history = SimpleNamespace(epoch=SimpleNamespace(digest=digest), height=height)
        monkeypatch.setattr(amendments, "history_beside", lambda _folder, it=history: it)
        told = propose(five, "rounds = 40", "rounds = 41", f"by-{height}")
        assert ("note       there are 41 models already: no more come of it" in told) == is_told


def test_founders_are_told_what_budgets_must_pay_for_before_any_signs(
    five: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path | None] = []
    monkeypatch.setattr(charters, "print_budget", lambda _file, peer: told.append(peer))
    draft(five)
    goes(five("charter", "reveal", "group.charter", "berlin"))
    assert told == [None, Path("berlin")]


def test_a_study_is_drafted_and_verified_under_its_frame(five: P2pfl) -> None:
    found(five)
    cards = [word for name in NAMES for word in ("--card", f"{name}/member.toml")]
    study = Path("group.toml").read_text().replace('require = ["dpia"]', "")
    Path("study.toml").write_text(study)
    for name in NAMES:  # Bytes that were shown for one draft are shown for no other.
        goes(five("charter", "card", name, "--key", f"{name}.key"))
    shutil.move("charters", "frame")
    goes(five("charter", "draft", "study.toml", "group.charter", *cards, "--under", "frame"))
    terms = read_file(Path("group.charter")).terms
    frame = read_file(Path("frame/group.charter"))
    assert (terms.under, terms.require) == (frame.digest.hex(), frame.terms.require)
    Path("group.charter").unlink()
    for name in NAMES:
        goes(five("charter", "card", name, "--key", f"{name}.key"))
    Path("group.toml").write_text(f'under = "{frame.digest.hex()}"\n{study}')
    found(five)  # It names its frame, and requires less.
    told = "it is no study under that frame: the frame requires the document dpia"
    fails(five("charter", "verify", "charters", "--under", "frame/group.charter"), told)
    assert "--under checks that with it" in goes(five("charter", "verify", "charters"))


def test_studies_under_two_charters_of_one_frame_are_compared(p2pfl: P2pfl) -> None:
    """Which two belong together only the frame's own charters tell."""
    frame = founded(Path(), MEMBERS)
    later = amended(frame, retention_days=99)
    Path("frame").mkdir()
    for name, file in (
        ("frame/0", frame),
        ("frame/1", later.with_words([member.says(later) for member in MEMBERS])),
        ("one", founded(Path(), MEMBERS, under=frame.digest.hex(), name="one")),
        (
            "other",
            founded(Path(), (*MEMBERS, Member("york")), under=later.digest.hex(), name="other"),
        ),
    ):
        write_file(Path(f"{name}.charter"), file)
    told = "warning: one and other differ by york"
    verify = ("charter", "verify", "one.charter", "--study", "other.charter")
    assert told not in goes(p2pfl(*verify))
    assert told in goes(p2pfl(*verify, "--under", "frame"))
    verify = ("charter", "verify", "frame", "--study", "other.charter")
    assert "differ by york" in goes(p2pfl(*verify))


@pytest.mark.parametrize("command", ["leave", "revoke"])
def test_nobody_leaves_a_network_by_its_charter(p2pfl: P2pfl, command: str) -> None:
    """It keeps no ledger: the word would stand in a file, and change nothing."""
    network = founded(Path(), MEMBERS[:2], averaging={"algorithm": "none"}, bounds={})
    write_file(Path("net.charter"), network)
    Path("oslo.key").touch()
    fails(p2pfl("charter", command, "net.charter", "--key", "oslo.key"), "founds a network")
    assert read_file(Path("net.charter")) == network


def test_what_is_told_of_a_network_is_true_of_it(p2pfl: P2pfl) -> None:
    """No date stops it, nobody signs its models, and nobody changes it."""
    network = founded(Path(), MEMBERS[:2], averaging={"algorithm": "none"}, bounds={})
    write_file(Path("net.charter"), network)
    told = goes(p2pfl("charter", "dossier", "net.charter"))
    assert "It holds for good: no date stops it" in told
    assert "Not masked: members see each other's models" in told
    for group_s in ("models at most", "A model counts", "Leaving", "only the sum of all"):
        assert group_s not in told
    assert "in force for good" in goes(p2pfl("charter", "show", "net.charter"))
    assert "until      for good" in goes(p2pfl("charter", "status", "net.charter"))
    toml = goes(p2pfl("charter", "show", "net.charter", "--toml"))
    assert "until" not in toml


def test_what_is_said_of_a_proposal_would_count_for_nothing(five: P2pfl) -> None:
    """So leaving, and what follows a charter, is refused until it is approved."""
    found(five)
    propose(five, "Who comes back", "Who must come back")
    own = ("--key", "oslo.key", *PASSPHRASE)
    for command in (
        ("leave", "charters/next.charter", *own),
        ("revoke", "charters/next.charter", *own),
        ("propose", "next.toml", "third.charter", "--present", "charters/next.charter"),
    ):
        said = "charters/next.charter is a proposal, and not approved (4 more of berlin"
        fails(five("charter", *command), said)
    assert not read_file(Path("charters/next.charter")).approvals
    for name in NAMES[:4]:
        key = ("--key", f"{name}.key", *PASSPHRASE)
        goes(five("charter", "approve", "charters/next.charter", *key))
    name = read_file(Path("charters/next.charter")).digest.hex()[:16]
    told = goes(five("charter", "leave", "charters/group.charter", *own))
    assert f"warning    charter {name} follows it and is approved" in told
    assert "warning" not in goes(five("charter", "leave", "charters/next.charter", *own))
    Path("alone").mkdir()
    shutil.copy("charters/next.charter", "alone/next.charter")
    told = goes(five("charter", "leave", "alone/next.charter", *own))
    assert "is not beside it: it may be a proposal" in told


def test_who_approves_the_second_of_two_is_told_of_the_first(five: P2pfl) -> None:
    found(five)
    propose(five, "Who comes back", "Who must come back")
    propose(five, "Who comes back", "Who never comes back", "rival")
    told = []
    for name in NAMES[:4]:
        key = ("--key", f"{name}.key", *PASSPHRASE)
        told.append(goes(five("charter", "approve", "charters/next.charter", *key)))
    assert "warning" not in "".join(told)
    digest = read_file(Path("charters/next.charter")).digest.hex()[:16]
    key = ("--key", "oslo.key", *PASSPHRASE)
    told = [goes(five("charter", "approve", "charters/rival.charter", *key))]
    assert f"warning    charter {digest} is approved, too" in told[0]


def test_texts_are_erased_and_the_dossier_says_so(five: P2pfl) -> None:
    found(five)
    told = goes(five("charter", "dossier", "charters"))
    assert "Who comes back within thirty days." in told
    assert "Dr. oslo" in told
    assert "dpia of the group" in told
    assert "4 of the 5 members" in told
    assert "No noise is added" in told
    digest = read_file(Path("charters/group.charter")).digest
    assert "6 free texts erased" in goes(five("charter", "erase", "charters/group.charter"))
    assert read_file(Path("charters/group.charter")).digest == digest
    told = goes(five("charter", "dossier", "charters"))
    assert "Who comes back" not in told
    assert "Dr. oslo" not in told
    assert "erased, salted digest" in told
    goes(five("charter", "verify", "charters"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda it: it[:-40], "it is cut off"),
        (lambda it: it + b"\0", "there is more after its end"),
        (lambda it: it[:300] + bytes([it[300] ^ 1]) + it[301:], "it is damaged"),
        (lambda it: b"x" + it[1:], "it is no charter file of this version"),
    ],
)
def test_a_damaged_file_is_told_by_every_command(
    five: P2pfl, damage: "partial[bytes]", said: str
) -> None:
    found(five)
    path = Path("charters/group.charter")
    path.write_bytes(damage(path.read_bytes()))
    content = path.read_bytes()
    for command in (
        ["show", str(path)],
        ["diff", str(path), str(path)],
        ["status", "charters"],
        ["verify", "charters"],
        ["dossier", "charters"],
        ["erase", str(path)],
        ["gather", str(path), str(path)],
        ["reveal", str(path), "oslo"],
        ["sign", str(path), "--peer", "oslo", "--phrase", "x"],
        ["approve", str(path), "--peer", "oslo"],
        ["leave", str(path), "--key", "oslo.key", *PASSPHRASE],
        ["propose", "group.toml", "next.charter", "--present", str(path)],
    ):
        fails(five("charter", *command), f"charters/group.charter: {said}")
    assert path.read_bytes() == content


def test_a_peers_folder_in_place_of_its_charters_is_told(five: P2pfl) -> None:
    for command in (
        ("charter", "status", "berlin"),
        ("charter", "verify", "berlin"),
        ("charter", "propose", "group.toml", "next.charter", "--present", "berlin"),
    ):
        fails(five(*command), "berlin is a peer's folder: its charters are in berlin/charters")


def test_a_missing_present_charter_is_named(five: P2pfl) -> None:
    found(five)
    propose(five, "Who comes back", "Who must come back")
    Path("elsewhere").mkdir()
    shutil.copy("charters/next.charter", "elsewhere/next.charter")
    approve = ("charter", "approve", "elsewhere/next.charter", "--key", "oslo.key", *PASSPHRASE)
    fails(five(*approve), "name the one in force with --present")
    goes(five(*approve, "--present", "charters"))
    fails(five("charter", "verify", "elsewhere"), "the founding charter is missing")
    fails(five("charter", "approve", "charters/group.charter", "--peer", "oslo"), "founds a group")
    fails(
        five("charter", "sign", "charters/next.charter", "--peer", "oslo", "--phrase", "x"),
        "amends a charter: approve it with p2pfl charter approve",
    )


def test_before_all_have_signed_nothing_can_be_changed(five: P2pfl) -> None:
    draft(five)
    fails(
        five("charter", "propose", "group.toml", "next.charter", "--present", "group.charter"),
        "it is a draft",
    )
    told = goes(five("charter", "status", "group.charter"))
    assert "missing    the random bytes of berlin, lyon, oslo, porto, turin" in told
    for name in NAMES:
        goes(five("charter", "reveal", "group.charter", name))
    told = goes(five("charter", "status", "group.charter"))
    assert "berlin: its new peer's key has not signed" in told
    fails(
        five("charter", "propose", "group.toml", "next.charter", "--present", "group.charter"),
        "group.charter is not signed by all founders",
    )
    fails(five("charter", "verify", "group.charter"), "no charter that all founders have signed")
    as_json = json.loads(goes(five("charter", "show", "group.charter", "--json")))
    assert as_json["phrase"] == phrase()


def test_words_that_are_over_are_told(five: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    found(five)
    propose(five, "Who comes back", "Who must come back")
    approve = ("charter", "approve", "charters/next.charter", *PASSPHRASE)
    assert "warning" not in goes(five(*approve, "--key", "oslo.key", "--days", "2"))
    later = time.time() + 3 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    told = goes(five(*approve, "--key", "lyon.key"))
    assert "warning    1 word counted here ended before today: ask for new ones" in told
    assert "is over" in goes(five("charter", "status", "charters"))
    assert "warning" not in goes(five(*approve, "--key", "oslo.key"))
