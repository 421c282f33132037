"""`p2pfl peer check`, before a peer runs and while it does, against real peers."""

import json
from pathlib import Path

from calling import P2pfl
from peer_groups import CHARTER, make_group, running, sign_anew


def test_a_check_before_and_while_a_peer_runs(p2pfl: P2pfl, tmp_path: Path) -> None:
    one, two, three = make_group(tmp_path, 3, rounds=100_000)
    with running(one, two) as peers:
        for peer in peers:
            peer.until("link_up")
        before = json.loads(p2pfl("peer", "check", str(three), "--wait", "60", "--json").out)
        assert before["problems"] == []
        assert (before["ok"], before["is_running"], before["name"]) == (True, False, "peer-2")
        for row in before["members"]:
            assert (row["dial"], row["dials_us"], row["link"]) == ("ok", "ok", "up")
            assert row["is_running"]
            assert row["group"] == before["group"]
        pairs = {(pair["from"], pair["to"]): pair for pair in before["pairs"]}
        assert len(pairs) == 6
        assert pairs["peer-0", "peer-1"]["link"] == "up"
        # The others have seen a member that does not run yet, and no stranger.
        assert pairs["peer-0", "peer-2"]["link"] == "being_checked"

        ran = p2pfl("peer", "check", str(one), "--json")
        assert ran.code == 1
        found = json.loads(ran.out)
        assert found["is_running"]
        (problem,) = found["problems"]
        assert problem.startswith("peer-2 cannot be reached at ")
        assert "start its peer" in problem
        shown = p2pfl("peer", "check", str(one))
        assert f"problem: {problem}" in shown.out.replace("\n", " ")
        for peer in peers:
            peer.stop()
            assert peer.end() == 0
            assert "other_group_or_version" not in "".join(peer.lines)


def test_a_member_with_another_charter_is_told_with_both_groups(
    p2pfl: P2pfl, tmp_path: Path
) -> None:
    one, two = make_group(tmp_path)
    before = (one / "charters" / CHARTER).read_bytes()
    sign_anew(one, two, rounds=4)
    (one / "charters" / CHARTER).write_bytes(before)
    with running(two) as (peer,):
        peer.until("listening")
        told = p2pfl("peer", "check", str(one), "--json", "--wait", "60")
        assert told.code == 1
        found = json.loads(told.out)
        (problem,) = found["problems"]
        group = found["members"][0]["group"]
        assert problem.startswith(f"peer-1 has group {group[:16]}, and we have")
        assert group != found["group"]


def test_a_check_needs_what_a_peer_needs(p2pfl: P2pfl, tmp_path: Path) -> None:
    one, _two = make_group(tmp_path)
    (one / "charters" / CHARTER).unlink()
    told = p2pfl("peer", "check", str(one))
    assert (told.code, told.err.startswith("p2pfl: there is no charter in")) == (2, True)
