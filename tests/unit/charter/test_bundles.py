"""Bundles: the same bytes wherever they are packed, and nothing that hides in them."""

import hashlib
import io
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pfl.charter import bundles
from p2pfl.charter.approved_bundles import (
    approve,
    differences,
    last_approved,
    place_of,
    require_approved,
)
from p2pfl.charter.bundles import bundle_of, pack, read_bundle, unlocked_requirements
from p2pfl.charter.errors import PaperError
from p2pfl.store.errors import StoreError

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LOCKED = f"lifelines==0.29.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    (folder / "mock").mkdir(parents=True)
    (folder / "task.py").write_text("class Mine: ...\n")
    (folder / "mock" / "rows.csv").write_text("a,b\n1,2\n")
    (folder / "requirements.txt").write_text(LOCKED)
    return folder


def archive_of(files: list[tuple[str, bytes]], **fields: object) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


MANIFEST = ("bundle.toml", b'format = 1\ntask = "task:Mine"\n')


def test_a_bundle_is_what_was_packed(folder: Path) -> None:
    content = pack(folder, "task:Mine")
    bundle = bundle_of(content)
    assert bundle.digest == hashlib.sha256(content).hexdigest()
    assert bundle.manifest.task == "task:Mine"
    assert list(bundle.files) == ["bundle.toml", "mock/rows.csv", "requirements.txt", "task.py"]
    assert bundle.has_mock_rows
    other = folder.parent / "unpacked"
    other.mkdir()
    bundle.unpack(other)
    (other / "bundle.toml").unlink()
    assert pack(other, "task:Mine") == content


def test_its_bytes_are_the_same_everywhere(folder: Path) -> None:
    """Pinned: who packs the same files on another machine, or later, has the same digest."""
    before = bundle_of(pack(folder, "task:Mine")).digest
    assert before == "2962100895ac4fc32797d74c2b39138fdbbbe70c6aae0fd21a0e1b9feda453b7"
    os.utime(folder / "task.py", (1, 1))
    (folder / "task.py").chmod(0o755)
    (folder / ".hidden").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "task.pyc").write_text("x")
    assert bundle_of(pack(folder, "task:Mine")).digest == before


def test_every_changed_bit_is_seen(folder: Path) -> None:
    content = pack(folder, "task:Mine")
    digest = bundle_of(content).digest
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        try:
            assert bundle_of(bytes(damaged)).digest != digest  # A file's own bytes.
        except PaperError:
            continue


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 5000, 10239])
def test_one_that_is_cut_off_is_none(folder: Path, size: int) -> None:
    with pytest.raises(PaperError):
        bundle_of(pack(folder, "task:Mine")[:size])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is damaged"),
        (b"x" * 10240, "is damaged, or no archive"),
        (archive_of([("task.py", b"")]), "bundle.toml is missing"),
        (archive_of([MANIFEST, ("a", b""), ("a", b"")]), "'a' cannot be in one"),
        (archive_of([MANIFEST, ("../a", b"")]), "'../a' is no name in a bundle"),
        (archive_of([("/a", b""), MANIFEST]), "is no name in a bundle"),
        (archive_of([("a/./b", b""), MANIFEST]), "is no name in a bundle"),
        (archive_of([("a\n", b""), MANIFEST]), "is no name in a bundle"),
        (archive_of([("-x", b""), MANIFEST]), "is no name in a bundle"),
        (archive_of([("z", b""), MANIFEST]), "something may hide in it"),
        (archive_of([MANIFEST], mtime=1), "something may hide in it"),
        (archive_of([MANIFEST], uid=7), "something may hide in it"),
        (archive_of([MANIFEST], mode=0o755), "something may hide in it"),
        (archive_of([MANIFEST], uname="root"), "something may hide in it"),
        (archive_of([MANIFEST]) + bytes(512), "something may hide in it"),
        (archive_of([MANIFEST], type=tarfile.SYMTYPE, linkname="/etc"), "cannot be in one"),
        (archive_of([MANIFEST], type=tarfile.DIRTYPE), "cannot be in one"),
        (archive_of([MANIFEST], type=tarfile.CHRTYPE), "cannot be in one"),
        (archive_of([("bundle.toml", b"format = 2\n")]), "bundle.toml: format"),
        (archive_of([("bundle.toml", b"\xff")]), "bundle.toml is missing or damaged"),
        (archive_of([MANIFEST, ("rows.csv", b"")]), "rows.csv may hold rows"),
        (archive_of([MANIFEST, ("a/mock/x.parquet", b"")]), "may hold rows"),
        (archive_of([MANIFEST, ("requirements.txt", b"torch\n")]), "'torch' is not locked"),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(content: bytes, fault: str) -> None:
    with pytest.raises(PaperError, match=fault):
        bundle_of(content)


def test_links_are_not_packed(folder: Path) -> None:
    (folder / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(PaperError, match=r"link\.py is a link or a device"):
        pack(folder, "task:Mine")


def test_rows_are_packed_from_mock_only(folder: Path) -> None:
    (folder / "patients.CSV").write_text("a\n1\n")
    with pytest.raises(PaperError, match="may hold rows: made-up ones belong into mock/"):
        pack(folder, "task:Mine")


def test_a_manifest_of_ones_own_is_refused(folder: Path) -> None:
    (folder / "bundle.toml").write_text("")
    with pytest.raises(PaperError, match="is written by p2pfl task pack; remove it"):
        pack(folder, "task:Mine")


def test_an_empty_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="there is nothing to pack in"):
        pack(tmp_path, "task:Mine")


@pytest.mark.parametrize(
    ("text", "unlocked"),
    [
        (LOCKED, []),
        ("# a comment\n\n" + LOCKED, []),
        (f'a==1 ; python_version < "3.12" --hash=sha256:{"0" * 64}\n', []),
        ("a==1\n", ["a==1"]),
        (f"a>=1 --hash=sha256:{'0' * 64}\n", [f"a>=1 --hash=sha256:{'0' * 64}"]),
        (f"a==1 --hash=md5:{'0' * 64}\n", [f"a==1 --hash=md5:{'0' * 64}"]),
        ("--index-url http://x\n", ["--index-url http://x"]),
        ("-e .\n", ["-e ."]),
    ],
)
def test_requirements_are_locked(text: str, unlocked: list[str]) -> None:
    assert unlocked_requirements(text) == unlocked


def test_bytes_of_a_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pack(folder, "task:Mine")
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", len(content))
    bundle_of(content)
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", len(content) - 1)
    with pytest.raises(PaperError, match="it has more than"):
        bundle_of(content)
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", 20)
    with pytest.raises(PaperError, match="has more than 20 bytes; leave data out"):
        pack(folder, "task:Mine")
    path = folder / "a.bundle"
    path.write_bytes(content)
    with pytest.raises(PaperError, match="it has more than 20 bytes"):
        read_bundle(path)


def test_files_of_a_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pack(folder, "task:Mine")
    monkeypatch.setattr(bundles, "FILES_MAX", 4)
    bundle_of(content)
    monkeypatch.setattr(bundles, "FILES_MAX", 3)
    with pytest.raises(PaperError, match="a bundle has at most 3 files, not 4"):
        pack(folder, "task:Mine")
    with pytest.raises(PaperError, match=r"'task\.py' cannot be in one"):
        bundle_of(content)


def test_bytes_of_a_name_in_a_bundle(folder: Path) -> None:
    (folder / ("x" * bundles.NAME_BYTES_MAX)).touch()
    bundle_of(pack(folder, "task:Mine"))
    (folder / ("x" * (bundles.NAME_BYTES_MAX + 1))).touch()
    with pytest.raises(PaperError, match="is a longer name than the 100 bytes"):
        pack(folder, "task:Mine")


# --- approved ones ------------------------------------------------------------------------------


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    peer = tmp_path / "berlin"
    peer.mkdir()
    return peer


def packed(folder: Path) -> Path:
    path = folder.parent / "task.bundle"
    path.write_bytes(pack(folder, "task:Mine"))
    return path


def test_only_what_was_approved_may_run(folder: Path, peer: Path) -> None:
    path = packed(folder)
    bundle = read_bundle(path)
    with pytest.raises(PaperError, match=f"the task {bundle.digest[:16]} is not approved here"):
        require_approved(peer, bundle.digest)
    assert last_approved(peer) is None
    approve(peer, bundle, NOW)
    assert require_approved(peer, bundle.digest) == bundle
    assert last_approved(peer) == bundle


def test_the_newest_is_what_others_are_held_against(folder: Path, peer: Path) -> None:
    approve(peer, first := read_bundle(packed(folder)), NOW)
    (folder / "task.py").write_text("class Mine: ...\nimport os\n")
    (folder / "new.bin").write_bytes(b"\xff")
    second = read_bundle(packed(folder))
    lines = list(differences(first, second))
    assert "+import os" in lines
    assert "new.bin: other bytes, which are no text" in lines
    approve(peer, second, NOW)
    assert last_approved(peer) == second
    assert require_approved(peer, first.digest) == first
    approve(peer, second, NOW)  # Twice does no harm.
    assert list(differences(second, second)) == []
    assert "+class Mine: ..." in list(differences(None, first))


def test_one_that_was_changed_since_is_not_run(folder: Path, peer: Path) -> None:
    path = packed(folder)
    bundle = read_bundle(path)
    approve(peer, bundle, NOW)
    (folder / "task.py").write_text("import os\n")
    place_of(peer, bundle.digest).write_bytes(pack(folder, "task:Mine"))
    with pytest.raises(PaperError, match="was changed since it was approved"):
        require_approved(peer, bundle.digest)


def test_one_that_was_changed_can_be_approved_again(folder: Path, peer: Path) -> None:
    bundle = read_bundle(packed(folder))
    approve(peer, bundle, NOW)
    place_of(peer, bundle.digest).write_bytes(b"")
    with pytest.raises(PaperError, match="it is damaged, or no archive"):
        require_approved(peer, bundle.digest)
    approve(peer, bundle, NOW)
    assert require_approved(peer, bundle.digest) == bundle


def test_nothing_is_approved_beside_a_damaged_record(folder: Path, peer: Path) -> None:
    path = packed(folder)
    (peer / "acts.jsonl").write_text("{}\n")
    with pytest.raises(StoreError):
        approve(peer, read_bundle(path), NOW)
    assert not place_of(peer, read_bundle(path).digest).exists()
