"""Groups that keep a ledger, as processes: certified rounds, a restart, an older journal."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from calling import P2pfl
from peer_groups import make_group, running

from p2pfl.learner.model_files import read_model
from p2pfl.store.journal import Store
from p2pfl_gossip.ledger.standing import Standing


def make(folder: Path, patience_s: float = 4.0, **more: Any) -> list[Path]:
    """Make folders of a group of five."""
    averaging = {
        "algorithm": "group",
        "deadline_s": 2.0,
        "patience_s": patience_s,
        "clip": 65536.0,
    }
    return make_group(folder, 5, averaging=averaging, **more)


def model_of(member: Path) -> bytes:
    """Return the model that a member that has ended kept last."""
    with Store.open(member / "journal") as store:
        standing = Standing(dict(store.records()))
    return standing.models[standing.record.model].tobytes()


def test_a_group_comes_to_one_certified_model_and_is_started_again(
    p2pfl: P2pfl, tmp_path: Path
) -> None:
    group = make(tmp_path)
    for start in range(2):
        with running(*group) as peers:
            for peer in peers:
                peer.until("finished")
            status = json.loads(p2pfl("peer", "status", str(group[0]), "--json").out)
            shown = p2pfl("peer", "status", str(group[0])).out
            verified = p2pfl("ledger", "verify", str(group[0]), "--json")  # Beside its peer.
            out = tmp_path / f"model-{start}.safetensors"
            exported = p2pfl("peer", "export", str(group[0]), str(out))
            for peer in peers:
                peer.stop()
                assert peer.end() == 0
                assert peer.plain_lines() == []
                assert not {"refused", "member_blamed", "sits_out"} & set(peer.events())
        assert (status["state"], status["round"]) == ("finished", 3)
        ledger = status["ledger"]
        assert ledger["head"]["height"] == 3
        assert ledger["head"]["is_final"]
        assert (ledger["may_fail"], ledger["out"]) == (1, [])
        assert sum(it["heights_in"] for it in ledger["members"]) >= 12  # Four of five a round.
        assert re.search(r"head +[0-9a-f]{16} \(height 3, try \d+\)", shown)
        assert re.search(r"peer-0 +self +in [23] of 3", shown)
        assert len({model_of(member) for member in group}) == 1
        assert exported.code == 0, exported.err
        model, metadata = read_model(out)
        assert model.vector().tobytes() == model_of(group[0])
        assert (metadata["task"], metadata["entry"]) == ("integers", ledger["head"]["entry"])
        found = json.loads(verified.out)
        assert (verified.code, found["is_whole"], found["models"]) == (0, True, 3)
        # Members write the same history down, each by itself.
        shown_by = [json.loads(p2pfl("ledger", "show", str(it), "--json").out) for it in group]
        sums = [[it["entry"] for it in of["entries"] if it["kind"] == "sum"] for of in shown_by]
        assert [found == sums[0] and len(found) == 3 for found in sums] == [True] * 5


def test_an_older_journal_sits_out_until_the_group_is_past_what_it_lacks(tmp_path: Path) -> None:
    group = make(tmp_path, rounds=40, learning={"task": "integers", "training": {"steps": 1}})
    one = group[0]
    with running(*group[1:]) as others:
        with running(one) as (peer,):
            peer.until("round_ended")
            peer.process.kill()
            peer.process.wait()
        shutil.copytree(one / "journal", tmp_path / "old")
        with running(one) as (peer,):
            for _ in range(3):
                peer.until("round_ended")
            peer.process.kill()
            peer.process.wait()
        shutil.rmtree(one / "journal")
        shutil.copytree(tmp_path / "old", one / "journal")
        with running(one) as (peer,):
            told = peer.until("sits_out")
            assert told["message"].startswith("the others hold more of what this peer said")
            peer.until("finished")
            peer.stop()
            assert peer.end() == 0
        for other in others:
            other.until("finished")
            other.stop()
            assert other.end() == 0
            assert not {"refused", "member_blamed"} & set(other.events())
    assert len({model_of(member) for member in group}) == 1
