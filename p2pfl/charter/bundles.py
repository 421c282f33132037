"""Bundles: what a group runs, as one file that has the same bytes wherever it is packed.

A bundle is a tar archive (POSIX ustar) of regular files in the order of their names, without
owners, times and modes. Its name is the SHA-256 of its bytes, as `sha256sum` prints it: that stands
in the charter. It holds

    bundle.toml         which task it is: `task = "readmissions:Readmissions"`
    *.py, *.toml, ...   code, schema, constants
    mock/               made-up rows to try it on; the only place for rows
    requirements.txt    libraries beyond p2pfl's own, each locked by hash; may be left out

Whatever is read is packed again and must come to the same bytes, so that nothing hides in an
archive: no links, no devices, no names that lead out of it, no second file of one name.
"""

import hashlib
import io
import re
import stat
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import tomli_w
from pydantic import Field, ValidationError

from p2pfl.charter.errors import PaperError
from p2pfl.explaining import explain
from p2pfl.learner.settings import SettingsTable

MANIFEST = "bundle.toml"
MOCK = "mock"
REQUIREMENTS = "requirements.txt"

BUNDLE_BYTES_MAX = 32 * 2**20  # It is code, and some made-up rows: no weights.
FILES_MAX = 512
NAME_BYTES_MAX = 100  # What a ustar header holds in one field.

ROWS_IN = frozenset(
    (".csv", ".tsv", ".parquet", ".arrow", ".db", ".sqlite", ".duckdb", ".npy", ".npz", ".pkl",
     ".pickle", ".xlsx", ".feather", ".h5")
)  # fmt: skip
"""Files that may hold rows: taken from `mock/` only."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_HASHED = re.compile(r"\S+==\S+(\s*;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+")


class BundleManifest(SettingsTable):
    """What a bundle says of itself."""

    format: Literal[1] = 1
    task: Annotated[str, Field(min_length=1, max_length=200)]
    """As a charter names it: `my_task:MyTask`, or `tabular` with a schema."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read, all of it checked.

    Attributes:
        digest: SHA-256 of its bytes, in hexadecimal.
        manifest: what it says of itself.
        files: by name, in order; the manifest among them.
        content: its bytes.
    """

    digest: str
    manifest: BundleManifest
    files: Mapping[str, bytes] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def has_mock_rows(self) -> bool:
        """Whether there are rows to try it on."""
        return any(name.startswith(f"{MOCK}/") for name in self.files)

    def unpack(self, folder: Path) -> None:
        """Write its files into an empty folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def pack(folder: Path, task: str) -> bytes:
    """Pack a folder; hidden files and Python's caches stay outside.

    Raises:
        PaperError: something in it cannot be part of a bundle; the line says what to do.
    """
    files: dict[str, bytes] = {}
    total = 0
    try:
        paths = sorted(folder.rglob("*"))
    except OSError as error:
        raise PaperError(f"cannot read {folder}: {error.strerror}") from None
    for path in paths:
        name = path.relative_to(folder).as_posix()
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") or part == "__pycache__" for part in parts):
            continue
        if name == MANIFEST:
            raise PaperError(f"{path}: {MANIFEST} is written by p2pfl task pack; remove it")
        try:
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise PaperError(f"{path} is a link or a device: a bundle holds plain files")
            total += path.stat().st_size
            if total > BUNDLE_BYTES_MAX:
                raise PaperError(f"{folder} has more than {BUNDLE_BYTES_MAX} bytes; leave data out")
            files[name] = path.read_bytes()
        except OSError as error:
            raise PaperError(f"cannot read {path}: {error.strerror}") from None
    if not files:
        raise PaperError(f"there is nothing to pack in {folder}")
    files[MANIFEST] = tomli_w.dumps(_manifest({"task": task}).model_dump()).encode()
    _require_possible(files)
    return _archive(files)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle, and check all of it.

    Raises:
        PaperError: it cannot be read, or is no bundle; the line says why.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise PaperError(f"cannot read {path}: {error.strerror}") from None
    try:
        return bundle_of(content)
    except PaperError as error:
        raise PaperError(f"{path} is no bundle: {error}") from None


def bundle_of(content: bytes) -> Bundle:
    """Check the bytes of a bundle.

    Raises:
        PaperError: they are none; the message says why.
    """
    if len(content) > BUNDLE_BYTES_MAX:
        raise PaperError(f"it has more than {BUNDLE_BYTES_MAX} bytes")
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                body = archive.extractfile(member) if member.isreg() else None
                if body is None or member.name in files or len(files) >= FILES_MAX:
                    raise PaperError(f"{member.name!r} cannot be in one")
                files[member.name] = body.read()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError):
        raise PaperError("it is damaged, or no archive") from None
    _require_possible(files)
    if _archive(files) != content:
        raise PaperError("it is not packed as p2pfl task pack does: something may hide in it")
    try:
        document = tomllib.loads(files[MANIFEST].decode())
    except (KeyError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise PaperError(f"its {MANIFEST} is missing or damaged") from None
    return Bundle(hashlib.sha256(content).hexdigest(), _manifest(document), files, content)


def unlocked_requirements(text: str) -> list[str]:
    """Return the requirements that are not locked to a version and its hashes."""
    joined = re.sub(r"\\\n", " ", text)
    lines = (line.strip() for line in joined.splitlines())
    return [
        line for line in lines if line and not line.startswith("#") and not _HASHED.fullmatch(line)
    ]


def _require_possible(files: Mapping[str, bytes]) -> None:
    if len(files) > FILES_MAX:
        raise PaperError(f"a bundle has at most {FILES_MAX} files, not {len(files)}")
    for name in files:
        path = PurePosixPath(name)
        if len(name.encode()) > NAME_BYTES_MAX:
            raise PaperError(f"{name} is a longer name than the {NAME_BYTES_MAX} bytes there are")
        if path.as_posix() != name or not all(_NAME.fullmatch(part) for part in path.parts):
            raise PaperError(
                f"{name!r} is no name in a bundle: letters, digits, dot, dash and underscore"
            )
        if path.suffix.lower() in ROWS_IN and path.parts[0] != MOCK:
            raise PaperError(
                f"{name} may hold rows: made-up ones belong into {MOCK}/, real ones into no bundle"
            )
    if REQUIREMENTS in files:
        try:
            unlocked = unlocked_requirements(files[REQUIREMENTS].decode())
        except UnicodeDecodeError:
            raise PaperError(f"{REQUIREMENTS} is no text") from None
        if unlocked:
            raise PaperError(
                f"{REQUIREMENTS}: {unlocked[0]!r} is not locked: write NAME==VERSION"
                " --hash=sha256:..., as pip-compile --generate-hashes does"
            )


def _manifest(document: Mapping[str, object]) -> BundleManifest:
    try:
        return BundleManifest.model_validate(document)
    except ValidationError as error:
        lines = explain(error, document, BundleManifest, source=MANIFEST)
        raise PaperError(lines.splitlines()[0]) from None


def _archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(files[name]))
    return packed.getvalue()
