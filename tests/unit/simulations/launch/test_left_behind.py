"""What processes leave behind is told to checkers; each plant in it is found."""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from forked_peers import LAUNCHING

from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.recording import Recording
from p2pfl.store.journal import Store
from p2pfl.store.reading import read_kept
from p2pfl_gossip.actions import Report
from p2pfl_gossip.events import MemberBlamed, RoundEnded, RoundStarted
from p2pfl_gossip.ledger import evidence, standing
from p2pfl_gossip.ledger.evidence_book import evidence_key
from p2pfl_gossip.ledger.messages import Evidence, TwoSeen
from p2pfl_gossip.ledger.standing import MODEL_PREFIX, STANDING_RECORD, read_standing
from p2pfl_gossip.masked_sum.messages import SumsSeen
from p2pfl_gossip.records import replaced
from p2pfl_simulations.checkers import Violation, Watched
from p2pfl_simulations.checkers.accounting import CountedOnce
from p2pfl_simulations.checkers.certified import EndsAsCertified
from p2pfl_simulations.checkers.reported import ReportedChecks
from p2pfl_simulations.launch import launching
from p2pfl_simulations.launch.launching import launch
from p2pfl_simulations.launch.ledgers import read_ledgers
from p2pfl_simulations.launch.left_behind import check_journals, check_logs
from p2pfl_simulations.launch.processes import PeerProcess
from p2pfl_simulations.scenario import make_scenario

PEERS = 5
SCENARIO = make_scenario(
    {
        "peers": PEERS,
        "rounds": 2,
        "learning": {"task": "integers"},
        "averaging": {"algorithm": "group", "clip": 65536.0, "deadline_s": 5.0},
        "evaluation": {"baselines": []},
    }
)


class Launched(NamedTuple):
    """A launched group: the folder of its peers, what checkers know, and what they looked at."""

    peers: Path
    watched: Watched
    looked_at: list[str]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Launch a group once."""
    peers = tmp_path_factory.mktemp("peers")
    looked_at: list[str] = []
    told: list[Watched] = []

    class Told(ReportedChecks):
        def __init__(self, watched: Watched) -> None:
            told.append(watched)
            super().__init__(watched)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2pfl_simulations.launch.processes.subprocess", LAUNCHING)
        patch.setattr(launching, "ReportedChecks", Told)
        for owner, name in (
            (launching, "check_logs"),
            (launching, "check_journals"),
            (EndsAsCertified, "compare"),
            (CountedOnce, "on_end"),
        ):
            patch.setattr(owner, name, _noting(looked_at, name, getattr(owner, name)))
        launch(
            SCENARIO,
            peers_folder=peers,
            task_folder=None,
            progress=lambda _: None,
            is_checked=True,
        )
    (watched,) = told
    return Launched(peers, watched, looked_at)


def _noting(calls: list[str], name: str, call: Callable[..., None]) -> Callable[..., None]:
    def noting(*arguments: Any) -> None:
        calls.append(name)
        call(*arguments)

    return noting


@pytest.fixture
def watched(launched: Launched) -> Watched:
    """Return what checkers were told of the run."""
    return launched.watched


@pytest.fixture
def folders(launched: Launched, tmp_path: Path) -> list[Path]:
    """Return a copy of the peers' folders, to plant faults in."""
    for folder in launched.peers.glob("peer-*"):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("*.sock"))
    return sorted(tmp_path.glob("peer-*"))


def _check(watched: Watched, folders: list[Path], finished: Collection[int] = range(PEERS)) -> None:
    check_journals(watched, folders, finished)
    check_logs(watched, folders)


def _standing(folder: Path) -> bytes:
    return read_kept(PeerFolder(folder).journal, STANDING_RECORD)[STANDING_RECORD]


def test_a_checked_launch_looks_at_all_that_is_left(launched: Launched) -> None:
    assert launched.looked_at == ["on_end", "check_logs", "compare", "check_journals"]


def test_what_a_run_without_a_fault_leaves_is_in_order(
    watched: Watched, folders: list[Path]
) -> None:
    _check(watched, folders)


def test_a_peer_without_a_journal_had_not_begun(watched: Watched, folders: list[Path]) -> None:
    shutil.rmtree(PeerFolder(folders[0]).journal)
    _check(watched, folders, finished=[1, 2, 3, 4])
    with pytest.raises(Violation, match="peer 0 finishes without a certified entry"):
        _check(watched, folders)


def test_evidence_against_an_honest_member_is_found(watched: Watched, folders: list[Path]) -> None:
    seen = SumsSeen(bytes(32), 2, bytes(32), bytes(32), bytes(64))
    lie = Evidence(0, 1, 2, TwoSeen(seen, replaced(seen, sums=b"x" * 32)))
    with Store.open(PeerFolder(folders[1]).journal) as store:
        store.persist({evidence_key(0, 2): evidence.EVIDENCE_CODEC.encode(lie)})
    with pytest.raises(
        Violation, match=r"peer 1 holds evidence \(TwoSeen\) against the honest peer 2"
    ):
        _check(watched, folders)


def test_two_heads_of_one_round_are_found(watched: Watched, folders: list[Path]) -> None:
    said = read_standing(_standing(folders[2]))
    assert said.head is not None
    other = replaced(said, head=replaced(said.head, entry=b"x" * 32))
    with Store.open(PeerFolder(folders[2]).journal) as store:
        store.persist({STANDING_RECORD: standing._CODEC.encode(other)})
    with pytest.raises(Violation, match="peers 0 and 2 hold two certified entries of round"):
        _check(watched, folders)


def test_a_model_that_is_kept_under_anothers_digest_is_found(
    watched: Watched, folders: list[Path]
) -> None:
    key = f"{MODEL_PREFIX}{read_standing(_standing(folders[3])).model.hex()}"
    with Store.open(PeerFolder(folders[3]).journal) as store:
        assert key in store.records()
        store.persist({key: np.ones(64, np.float32)})
    with pytest.raises(Violation, match="peer 3 keeps a model under another's digest"):
        _check(watched, folders)


def test_a_damaged_journal_is_told(watched: Watched, folders: list[Path]) -> None:
    for checkpoint in PeerFolder(folders[1]).journal.glob("checkpoint-*"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(Violation, match="the journal of peer-1 does not hold"):
        _check(watched, folders)


@pytest.mark.parametrize("log", ["peer.log", "peer.log.1"])
def test_whom_a_peer_refused_is_read_in_its_logs(
    watched: Watched, folders: list[Path], log: str
) -> None:
    line = json.dumps({"event": "refused", "member": "peer-2", "reason": "bad_signature"})
    with (folders[1] / log).open("a") as lines:
        lines.write('{"event": "refused", "member": "pe\n')  # As a kill leaves it.
    _check(watched, folders)
    with (folders[1] / log).open("a") as lines:
        lines.write(line + "\n")
    with pytest.raises(Violation, match=r"^peer 1 refuses peer 2: bad_signature$"):
        _check(watched, folders)


def _ends(
    watched: Watched, folders: list[Path], *planted: tuple[int, RoundEnded]
) -> EndsAsCertified:
    checker = EndsAsCertified()
    checker.start(watched)
    for index, folder in enumerate(folders):
        for it in Recording(folder).fresh():
            checker.on_action(0.0, index, Report(it.event))
    for index, event in planted:
        checker.on_action(0.0, index, Report(event))
    return checker


def test_models_of_ends_are_those_that_are_certified(watched: Watched, folders: list[Path]) -> None:
    histories = read_ledgers(folders)
    _ends(watched, folders).compare(histories)
    other = np.full(64, 7, np.float32)
    planted = (3, RoundEnded(1, other, PEERS, PEERS, complete=True))
    with pytest.raises(Violation, match="peer 3 ends round 1 with a model not certified"):
        _ends(watched, folders, planted).compare(histories)
    planted = (2, RoundEnded(2, other, PEERS, PEERS, complete=True))
    with pytest.raises(Violation, match="peer 2 ends round 2, which nobody has certified"):
        _ends(watched, folders, planted).compare(histories)


def test_who_blames_whom_is_found_as_it_is_reported(launched: Launched) -> None:
    checks, host = ReportedChecks(launched.watched), PeerProcess(1, launched.peers / "peer-1")
    with pytest.raises(Violation, match="peer 1 blames peer 3: late"):
        checks.on_report(0.0, host, MemberBlamed(1, bytes(32), "peer-3", "late"))


def test_rounds_of_a_member_never_fall_over_all_its_lives(launched: Launched) -> None:
    checks, host = ReportedChecks(launched.watched), PeerProcess(1, launched.peers / "peer-1")
    checks.on_report(0.0, host, RoundStarted(1))
    with pytest.raises(Violation, match="peer 1 goes from round 1 back to 0"):
        checks.on_report(0.0, host, RoundStarted(0))
