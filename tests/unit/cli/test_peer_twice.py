"""One identity in two places, as processes: one line on all sides, and the later one ends."""

import re
import shutil
from pathlib import Path

from peer_groups import make_group, running


def copy_of(member: Path) -> Path:
    """Copy a member's folder, as to a second machine, with another port."""
    twin = member.with_name("twin")
    shutil.copytree(member, twin)
    settings = (twin / "peer.toml").read_text()
    listens = re.sub(
        r"listen = .*?\]", 'listen = ["/ip4/127.0.0.1/tcp/0"]', settings, flags=re.DOTALL
    )
    assert listens != settings
    (twin / "peer.toml").write_text(listens)
    return twin


def test_the_later_of_two_processes_with_one_key_ends_and_nobody_is_accused(
    tmp_path: Path,
) -> None:
    averaging = {"masking": "real", "clip": 65536.0}
    members = make_group(tmp_path, 5, averaging=averaging, rounds=100_000)
    twin = copy_of(members[0])
    with running(*members) as peers:
        for peer in peers:
            peer.until("round_ended")
        with running(twin) as (second,):
            assert second.end() == 3
        (line,) = second.plain_lines()
        assert line.startswith("p2pfl: another process runs with the key of ")
        assert "link_up" not in second.events()
        assert "refused" not in second.events()
        told = peers[0].until("runs_twice")
        assert (told["level"], told["message"].partition(",")[0]) == (
            "error",
            "another process runs with this peer's key",
        )
        for peer in peers:
            peer.until("round_ended")  # The group goes on.
            peer.stop()
        for peer in peers:
            assert peer.end() == 0
            assert not {"refused", "member_blamed"} & set(peer.events())
            assert peer.plain_lines() == []
    # Who tells the two of each other has named the member. The second has ended by then: whom it
    # had not reached yet never saw two.
    named = [line for peer in peers[1:] for line in peer.entries("runs_twice")]
    assert {(line["level"], line["member"]) for line in named} == {("error", "peer-0")}


def test_a_killed_member_is_back_at_once(tmp_path: Path) -> None:
    one, two = make_group(tmp_path, 2, rounds=100_000)
    with running(two) as (other,):
        for _ in range(2):
            with running(one) as (peer,):
                peer.until("round_ended")
                other.until("link_up")
                peer.process.kill()
                other.until("link_down")
        other.stop()
        assert other.end() == 0
    assert other.entries("runs_twice") == []
