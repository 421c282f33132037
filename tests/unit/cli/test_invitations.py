"""`p2pfl charter invite | join`: a newcomer compares by words what it is to find."""

from pathlib import Path

import pytest
from calling import Ended, P2pfl
from ledger_group import identity_of, two_epochs

from p2pfl.charter.invitations import read_invitation
from p2pfl_gossip.ledger.history import joined_at
from p2pfl_gossip.ledger.record import RECORD_FILE, write_record

_, _, HISTORY = two_epochs(6)
NEWCOMER = "m7"


@pytest.fixture
def invited(p2pfl: P2pfl, tmp_path: Path) -> Path:
    """A newcomer's invitation, beside its peer `york`."""
    run = tmp_path / "run"
    run.mkdir()
    (run / RECORD_FILE).write_bytes(write_record(HISTORY))
    told = p2pfl("charter", "invite", str(run), NEWCOMER, "york.toml")
    assert told.code == 0
    assert p2pfl("peer", "init", "york").code == 0
    return Path("york.toml")


def fails(ended: Ended, said: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert said in line


def words_of(file: Path) -> str:
    return " ".join(read_invitation(file).phrase)


def test_who_heard_the_words_takes_the_invitation(p2pfl: P2pfl, invited: Path) -> None:
    found = read_invitation(invited)
    assert found.digest == joined_at(HISTORY, identity_of(7).peer_id)
    told = p2pfl("charter", "join", str(invited), "york", "--phrase", words_of(invited))
    assert told.code == 0
    assert f"york joins group {HISTORY.epoch.group.hex()[:16]}" in told.out
    assert read_invitation(Path("york/charters/invitation.toml")) == found


@pytest.mark.parametrize("field", ["charter", "model"])
def test_an_invitation_that_was_altered_underway_has_other_words(
    p2pfl: P2pfl, invited: Path, field: str
) -> None:
    heard, content = words_of(invited), invited.read_text()
    before, _, after = content.partition(f'{field} = "')
    flipped = "0" if after[0] != "0" else "1"
    invited.write_text(f'{before}{field} = "{flipped}{after[1:]}')
    told = p2pfl("charter", "join", str(invited), "york", "--phrase", heard)
    fails(told, "this invitation's is another: it is not what the member wrote")
    assert not Path("york/charters/invitation.toml").exists()


def test_what_is_no_invitation_is_told(p2pfl: P2pfl, invited: Path) -> None:
    words = words_of(invited)
    invited.write_text(invited.read_text()[:40])
    fails(p2pfl("charter", "join", str(invited), "york", "--phrase", words), "york.toml")


def test_founders_and_strangers_are_invited_to_nothing(p2pfl: P2pfl, invited: Path) -> None:
    fails(p2pfl("charter", "invite", "run", "m2", "other.toml"), "m2 is a founder")
    fails(p2pfl("charter", "invite", "run", "nobody", "other.toml"), "nobody is no member by the")
    fails(p2pfl("charter", "invite", "run", NEWCOMER, str(invited)), "york.toml is there already")
