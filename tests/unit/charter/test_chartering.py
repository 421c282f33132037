"""A host between folder and machine: what is signed in one is in the other."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from consortium import MEMBERS, Member, amended, founded

from p2pfl.charter.charter_file import CharterFile, read_file, write_file
from p2pfl.charter.papers import Papers
from p2pfl.charter.settled import settled
from p2pfl.daemon.chartering import Chartering
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.daemon.directory import Directory
from p2pfl.daemon.reporter import Reporter
from p2pfl.daemon.spending import Spending
from p2pfl.daemon.task_in_hand import TaskInHand
from p2pfl_gossip.actions import Action, Report
from p2pfl_gossip.events import EpochBegun
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.charter import Epoch, encode_charter
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Parcel, Rest
from p2pfl_gossip.peer_state import PeerSettings, State


class AtOnce:
    """Asks the machine at once, and reports what it says; nothing leaves."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def ask(self, call: Callable[[float], list[Action]]) -> None:
        for action in call(100.0):
            if isinstance(action, Report):
                self._reporter.on_event(100.0, action.event)


class Host:
    """Berlin's host, with a machine that has begun and hears nobody."""

    def __init__(self, folder: Path, **config: str) -> None:
        self.folder = PeerFolder(folder / "berlin")
        self.folder.charters.mkdir(parents=True)
        self.group = founded(folder)
        write_file(self.folder.charters / "group.charter", self.group)
        papers = Papers(self.folder.charters)
        papers.read()
        berlin = MEMBERS[0].identity
        self.member = GroupMember(
            founding=Epoch.founded(self.group.charter),
            identity=berlin,
            initial=np.zeros(4, np.float32),
            settings=PeerSettings(rounds=40, deadline_s=10.0),
            seed="test",
            entropy=bytes,
        )
        settings = PeerConfig.model_validate(
            {"name": "berlin", "addresses": ["/ip4/127.0.0.1/tcp/1"], **config}
        )
        self.directory = Directory(settled(self.group), self.group.digest, berlin.peer_id)
        self.log = logging.getLogger("p2pfl.test.chartering")
        self.log.setLevel(logging.INFO)
        reporter = Reporter(self.log, self.directory.names)
        self.chartering = Chartering(
            self.member,
            papers,
            TaskInHand(self.folder, settings),
            self.directory,
            reporter,
            settings,
        )
        reporter.plain_listeners.append(self.chartering.on_event)
        self.chartering.attach(AtOnce(reporter))  # type: ignore[arg-type]
        self.chartering.look()  # Before it has begun: nothing.
        self.member.on_start(0.0, {})
        self.chartering.look()

    def file(self, file: CharterFile) -> Path:
        return self.folder.charters / f"{file.digest.hex()[:16]}.charter"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def parcel_of(file: CharterFile) -> Parcel:
    return Parcel(
        encode_charter(file.charter), file.terms_bytes, file.running_bytes, file.approvals
    )


def test_what_is_signed_in_the_folder_is_in_the_machine_and_the_other_way_round(host: Host) -> None:
    proposed = amended(host.group, purpose="another")
    mine, theirs = MEMBERS[0].says(proposed), MEMBERS[1].says(proposed)
    write_file(host.folder.charters / "next.charter", proposed.with_words([mine]))
    host.chartering.look()
    (there,) = host.member.proposals.open
    assert (there.digest, there.approvals) == (proposed.digest, (mine,))
    host.member.propose(1.0, parcel_of(proposed.with_words([theirs])))
    host.chartering.look()
    assert set(read_file(host.folder.charters / "next.charter").approvals) == {mine, theirs}
    # One that came from others gets a file of its own.
    other = amended(host.group, rounds=77)
    host.member.propose(1.0, parcel_of(other.with_words([MEMBERS[1].peer_says(other)])))
    host.chartering.look()
    assert read_file(host.file(other)).digest == other.digest
    told = host.chartering.status()["proposals"]
    assert {it["charter"]: it["waits_for_me"] for it in told} == {
        proposed.digest.hex(): False,
        other.digest.hex(): True,
    }
    assert {it["charter"]: it["changes"] for it in told}[other.digest.hex()] == ["rounds: 40 -> 77"]


def test_enough_words_let_a_charter_come_and_the_machine_is_told(host: Host) -> None:
    proposed = amended(host.group, purpose="another")
    words = [member.says(proposed) for member in MEMBERS[:4]]
    write_file(host.folder.charters / "next.charter", proposed.with_words(words[:3]))
    host.chartering.look()
    assert not host.member.proposals.word.due
    write_file(host.folder.charters / "next.charter", proposed.with_words(words))
    host.chartering.look()
    assert host.member.proposals.word.due == (proposed.digest,)
    assert list(host.member.proposals.named) == [proposed.digest]
    assert host.member.proposals.rest is Rest.NONE


def test_what_a_stranger_signs_is_told_once_and_changes_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    proposed = amended(host.group, purpose="another")
    write_file(
        host.folder.charters / "bad.charter",
        proposed.with_words([Member("mallory").says(proposed)]),
    )
    with caplog.at_level(logging.INFO, "p2pfl.test.chartering"):
        for _ in range(3):
            host.chartering.look()
    assert host.member.proposals.open == []
    told = [it.getMessage() for it in caplog.records if "cannot be taken" in it.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("is of no member")


@pytest.mark.parametrize(
    ("says", "ended"),
    [
        (Says.LEAVE, "this member has left the group"),
        (Says.WITHDRAW, "this member has left the group"),
        (Says.REVOKE, "the key of this peer was re"),
    ],
)
def test_one_s_own_word_stops_the_peer_for_good(host: Host, says: Says, ended: str) -> None:
    word = MEMBERS[0].says(host.group, says)
    write_file(host.folder.charters / "group.charter", host.group.with_words([word]))
    host.chartering.look()
    assert host.member.state is State.LEFT
    assert host.chartering.ended.startswith(ended)


def test_another_s_word_stops_only_that_one(host: Host) -> None:
    word = MEMBERS[3].says(host.group, Says.LEAVE)
    write_file(host.folder.charters / "group.charter", host.group.with_words([word]))
    host.chartering.look()
    assert host.member.state is not State.LEFT
    assert host.chartering.ended == ""


def test_a_charter_in_whose_place_another_came_is_settled_as_void(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while it may still come, nor the one that came."""
    told: list[Sequence[bytes]] = []

    def settle(_self: Spending, _history: object, _own: object, void: Sequence[bytes]) -> str:
        told.append(void)
        return ""

    monkeypatch.setattr(Spending, "settle", settle)
    one, other = amended(host.group, purpose="one"), amended(host.group, purpose="other")
    for name, file in (("one", one), ("other", other)):
        write_file(host.folder.charters / f"{name}.charter", file)
    host.chartering.look()
    epochs = host.member.history.epochs
    epochs.append(epochs[0].followed_by(one.charter))
    host.chartering.look()
    assert told == [[], [other.digest]]


def test_what_a_member_said_alone_is_in_everybody_s_papers(host: Host) -> None:
    """So that who proposes to go on without it sees that it is not thrown out."""
    words = [MEMBERS[3].says(host.group, Says.WITHDRAW), MEMBERS[4].says(host.group, Says.LEAVE)]
    for word in words:
        host.member.depart(1.0, [word])
        host.chartering.look()
    file = read_file(host.folder.charters / "group.charter")
    assert set(words) <= set(file.approvals)
    assert set(host.group.approvals) <= set(file.approvals)


def test_the_operator_s_command_runs_once_for_what_waits(tmp_path: Path) -> None:
    script, out = tmp_path / "tell.py", tmp_path / "told"
    script.write_text(f"import sys; open({str(out)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    host = Host(tmp_path, on_waiting=f"{sys.executable} {script}")
    proposed = amended(host.group, purpose="another")
    word = MEMBERS[1].says(proposed)

    async def main() -> None:
        host.member.propose(1.0, parcel_of(proposed.with_words([word])))
        for _ in range(3):
            host.chartering.look()
        await asyncio.gather(
            *[it for it in asyncio.all_tasks() if it is not asyncio.current_task()]
        )

    asyncio.run(main())
    assert out.read_text() == f"{proposed.digest.hex()} {host.file(proposed)}\n"


def test_an_epoch_is_entered_when_it_begins(host: Host) -> None:
    entered: list[int] = []
    host.directory.listeners.append(lambda: entered.append(len(host.directory.agreed.members)))
    host.chartering.on_event(EpochBegun(0, ("somebody",)))
    assert entered == []  # The one that it is in already.
