"""The folder of a peer's charters: what is read from it, and written to it beside people."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from consortium import MEMBERS, NOW_S, amended, drafted, founded, revealed

from p2pfl.charter.charter_file import CharterFile, read_file, write_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import Papers
from p2pfl_gossip.ledger.states import digest_state


@pytest.fixture
def group(tmp_path: Path) -> CharterFile:
    (tmp_path / "charters").mkdir()
    file = founded(tmp_path)
    write_file(tmp_path / "charters/group.charter", file)
    return file


def papers_of(tmp_path: Path) -> Papers:
    papers = Papers(tmp_path / "charters")
    papers.read()
    return papers


def test_what_changes_is_read_again_and_nothing_else(tmp_path: Path, group: CharterFile) -> None:
    papers = papers_of(tmp_path)
    assert papers.founding() == group
    assert not papers.read()
    proposed = amended(group, purpose="another")
    write_file(tmp_path / "charters/next.charter", proposed)
    assert papers.read()
    assert papers.files[proposed.digest] == proposed
    assert papers.place_of(proposed.digest) == tmp_path / "charters/next.charter"


def test_people_and_the_peer_sign_the_same_file(tmp_path: Path, group: CharterFile) -> None:
    proposed = amended(group, purpose="another")
    one, two, three = (member.says(proposed) for member in MEMBERS[:3])
    papers = papers_of(tmp_path)
    papers.put(proposed.with_words([one]))
    place = tmp_path / "charters" / f"{proposed.digest.hex()[:16]}.charter"
    # Somebody signs a moment before the peer writes what others have said.
    write_file(place, read_file(place).with_words([two]))
    papers.put(proposed.with_words([one, three]))
    assert set(read_file(place).approvals) == {one, two, three}
    stamp = place.stat().st_mtime_ns
    papers.put(proposed.with_words([three]))  # Nothing new: it is not written again.
    assert place.stat().st_mtime_ns == stamp
    # Free texts do not travel; they stay where they are.
    write_file(tmp_path / "charters/group.charter", group)
    papers.read()
    papers.put(group.without_texts())
    assert read_file(tmp_path / "charters/group.charter").beside == group.beside


def test_a_damaged_file_is_named_and_passed_over(tmp_path: Path, group: CharterFile) -> None:
    path = tmp_path / "charters/bad.charter"
    path.write_bytes((tmp_path / "charters/group.charter").read_bytes()[:-1])
    papers = papers_of(tmp_path)
    assert papers.founding() == group
    assert papers.faults["bad.charter"].endswith("it is cut off")
    shutil.copy(tmp_path / "charters/group.charter", path)
    papers.read()
    assert papers.faults == {}


def test_the_founding_charter_is_one_and_signed_by_all(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="there is no founding charter"):
        papers_of(tmp_path).founding()
    folder = tmp_path / "charters"
    folder.mkdir()
    write_file(folder / "draft.charter", drafted(tmp_path))
    with pytest.raises(PaperError, match="there is no founding charter"):
        papers_of(tmp_path).founding()
    write_file(folder / "draft.charter", revealed(drafted(tmp_path)))
    with pytest.raises(PaperError, match=r"draft.charter is not signed by all founders: .*berlin"):
        papers_of(tmp_path).founding()
    write_file(folder / "one.charter", founded(tmp_path))
    write_file(folder / "other.charter", founded(tmp_path, name="other"))
    with pytest.raises(PaperError, match="the charters of two groups"):
        papers_of(tmp_path).founding()


def test_a_first_state_is_found_by_its_digest(tmp_path: Path, group: CharterFile) -> None:
    papers = papers_of(tmp_path)
    item = group.charter.state[0]
    assert papers.first_state(item) is None
    shutil.copy(tmp_path / "start.safetensors", tmp_path / "charters")
    (tmp_path / "charters/bad.safetensors").write_bytes(b"no state")
    vector = papers.first_state(item)
    assert vector is not None
    assert (vector == np.zeros(4)).all()
    assert papers.first_state(digest_state("model", np.ones(4, np.float32)).item) is None


@pytest.mark.usefixtures("group")
def test_when_a_proposal_came_is_kept(tmp_path: Path) -> None:
    one, two = bytes([1]) * 32, bytes([2]) * 32
    assert papers_of(tmp_path).first_seen([one], NOW_S) == {one: NOW_S}
    papers = papers_of(tmp_path)  # Another process.
    assert papers.first_seen([one, two], NOW_S + 5) == {one: NOW_S, two: NOW_S + 5}
    assert papers.first_seen([two], NOW_S + 9) == {two: NOW_S + 5}
    assert papers_of(tmp_path).first_seen([one], NOW_S + 9) == {one: NOW_S + 9}
