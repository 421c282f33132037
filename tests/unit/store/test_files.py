"""Files that are made once, and files that are replaced: what readers see, and what is left."""

import errno
import os
import stat
from pathlib import Path

import pytest

from p2pfl.store.files import SHARED, create_file, end_torn_line, replace_file


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_file_is_replaced_with_its_content_and_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "roster.toml"
    for content in (b"one", b"another, longer"):
        replace_file(path, content, mode=mode)
        assert path.read_bytes() == content
        assert mode_of(path) == mode
        assert [it.name for it in tmp_path.iterdir()] == ["roster.toml"]


def test_a_replaced_file_is_shared_unless_it_is_said(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        replace_file(tmp_path / "card.toml", b"card")
    finally:
        os.umask(mask)
    assert mode_of(tmp_path / "card.toml") == SHARED


def test_what_a_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [it.name for it in target.parent.iterdir()] == ["file"]


def test_what_a_dead_process_of_our_number_left_is_in_nobodys_way(tmp_path: Path) -> None:
    left = tmp_path / f".file.{os.getpid()}.new"
    left.write_bytes(b"half")
    replace_file(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert not left.exists()


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder" / "within").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_file(tmp_path / "folder", b"content")
    assert [it.name for it in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_not_made_twice(tmp_path: Path) -> None:
    create_file(tmp_path / "key", b"secret", mode=0o600)
    assert mode_of(tmp_path / "key") == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "key", b"another", mode=0o600)
    assert (tmp_path / "key").read_bytes() == b"secret"


@pytest.mark.parametrize("kept", [b"", b"one\n", b"one\ntw"])
def test_what_is_added_begins_on_a_line_of_its_own(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(kept)
    end_torn_line(path)
    with path.open("ab") as lines:
        lines.write(b"added\n")
    assert path.read_bytes().splitlines() == [*kept.splitlines(), b"added"]


def test_what_failed_is_told_where_even_clearing_up_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def gone(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "unlink", gone)
    with pytest.raises(OSError, match="No space left on device"):
        create_file(tmp_path / "file", b"content")


def test_what_failed_is_told_where_a_fresh_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(_path: Path, _target: Path) -> None:
        next(tmp_path.glob(".file.*")).unlink()
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", elsewhere)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        replace_file(tmp_path / "file", b"content")
