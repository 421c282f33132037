"""A peer that cannot run by its charters says why in one line, and has changed nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from consortium import MEMBERS, Member, amended, drafted, founded, revealed, signed

from p2pfl.charter.charter_file import CharterFile, write_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.invitations import INVITATION, Invitation, write_invitation
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.membership import membership_of
from p2pfl.daemon.starting import run_peer
from p2pfl.store.keys import PeerKeys

BERGEN = Member("bergen")


class Setting:
    """A peer's folder that lacks nothing but what a case takes away."""

    def __init__(self, folder: Path, member: Member) -> None:
        self.member = member
        self.folder = PeerFolder(folder / "p")
        self.folder.charters.mkdir(parents=True)
        self.group = founded(folder)
        self.put("group", self.group)
        self.start = self.folder.charters / "start.safetensors"
        shutil.copy(folder / "start.safetensors", self.start)

    def put(self, name: str, file: CharterFile) -> None:
        write_file(self.folder.charters / f"{name}.charter", file, erases=True)

    def run(self) -> None:
        config = PeerConfig(name=self.member.name, addresses=("/ip4/127.0.0.1/tcp/1",))
        run_peer(self.folder, config, PeerKeys(self.member.identity))


def admit(it: Setting, folder: Path) -> None:
    """A charter that admits bergen, and its invitation to another group."""
    del folder
    forms = [member.form().model_dump(exclude_none=True) for member in (*MEMBERS, BERGEN)]
    it.put("next", amended(it.group, members=forms))


def invite_elsewhere(it: Setting, folder: Path) -> None:
    admit(it, folder)
    other = Invitation(group="ab" * 32, charter="cd" * 32, model="ef" * 32)
    write_invitation(it.folder.charters / INVITATION, other)


CASES: dict[str, tuple[Member, Callable[[Setting, Path], object], str]] = {
    "no charter": (
        MEMBERS[0],
        lambda it, _: (it.folder.charters / "group.charter").unlink(),
        "there is no charter in",
    ),
    "a draft": (
        MEMBERS[0],
        lambda it, folder: it.put("group", drafted(folder)),
        "there is no founding charter in",
    ),
    "not signed by all": (
        MEMBERS[0],
        lambda it, folder: it.put("group", signed(revealed(drafted(folder)), MEMBERS[:4])),
        "is not signed by all founders: ",
    ),
    "cut off": (
        MEMBERS[0],
        lambda it, _: (it.folder.charters / "group.charter").write_bytes(b"p2pfl charter 1\n..."),
        "it is cut off",
    ),
    "two groups": (
        MEMBERS[0],
        lambda it, folder: it.put("other", founded(folder, name="other")),
        "has the charters of two groups",
    ),
    "no first state": (MEMBERS[0], lambda it, _: it.start.unlink(), "the first state that the"),
    "a stranger": (BERGEN, lambda _it, _: None, "names this peer"),
    "not invited": (BERGEN, admit, "has no invitation"),
    "invited elsewhere": (BERGEN, invite_elsewhere, "the invitation is to group abababab"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_why(tmp_path: Path, name: str) -> None:
    member, spoil, said = CASES[name]
    setting = Setting(tmp_path, member)
    spoil(setting, tmp_path)
    with pytest.raises((ServiceError, PaperError), match=said) as raised:
        setting.run()
    assert "\n" not in str(raised.value)
    assert not setting.folder.journal.exists()


def test_commands_beside_a_peer_go_by_the_newest_charter(tmp_path: Path) -> None:
    setting = Setting(tmp_path, MEMBERS[0])
    config = PeerConfig(name="berlin", addresses=("/ip4/127.0.0.1/tcp/1",))
    keys = PeerKeys(MEMBERS[0].identity)
    found = membership_of(setting.folder, config)
    assert (found.group, found.agreed.rounds) == (setting.group.digest, 40)
    longer = amended(setting.group, rounds=140)
    setting.put("longer", longer.with_words([it.peer_says(longer) for it in MEMBERS]))
    found = membership_of(setting.folder, config)
    assert (found.group, found.agreed.rounds) == (setting.group.digest, 140)
    assert found.directory(keys).index == 0
