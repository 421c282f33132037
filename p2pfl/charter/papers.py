"""The papers of a peer: the folder in which its group's charters lie, read as it changes.

    DIR/charters/NAME.charter        the founding charter, those that followed, and proposals
    DIR/charters/NAME.safetensors    first states that charters begin from
    DIR/charters/invitation.toml     of who came later: what it was invited to
    DIR/charters/seen.json           when proposals first came, for the notice before lost keys go

People put files there and sign in them, and so does a running peer with what others have proposed
and signed: both write whole files, and each takes what the other has added.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from p2pfl.charter.charter_file import (
    SUFFIX,
    CharterFile,
    encode_file,
    merged,
    read_file,
    write_file,
)
from p2pfl.charter.errors import PaperError
from p2pfl.charter.first_states import read_first_state
from p2pfl.charter.invitations import INVITATION, Invitation, read_invitation
from p2pfl.store.files import SHARED, replace_file
from p2pfl_crypto.identity import public_key_of
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.states import StateItem

CHARTERS = "charters"
"""What the folder is called in a peer's."""

SEEN = "seen.json"

STATE_SUFFIX = ".safetensors"


class Papers:
    """What lies in the folder.

    Attributes:
        path: the folder.
        files: charter files by digest; of a draft, that of the draft.
        faults: why a file is passed over, by its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[bytes, CharterFile] = {}
        self.faults: dict[str, str] = {}
        self._places: dict[bytes, Path] = {}
        self._stamps: dict[Path, tuple[int, int, int]] = {}
        self._seen: dict[str, int] | None = None

    def read(self) -> bool:
        """Read what is new or changed since the last time; return whether anything is.

        Raises:
            PaperError: the folder cannot be read. A file that cannot be is in `faults`.
        """
        try:
            paths = sorted(path for path in self.path.iterdir() if path.suffix == SUFFIX)
            stamps = {path: _stamp(path) for path in paths}
        except FileNotFoundError:
            paths, stamps = [], {}
        except OSError as error:
            raise PaperError(f"cannot read {self.path}: {error.strerror}") from None
        changed = [path for path in paths if self._stamps.get(path) != stamps[path]]
        for path in changed:
            self._take(path)
        self._stamps = stamps
        return bool(changed)

    def _take(self, path: Path) -> None:
        self.faults.pop(path.name, None)
        try:
            file = read_file(path)
            known = self.files.get(file.digest)
            self.files[file.digest] = file if known is None else merged(known, file)
            self._places.setdefault(file.digest, path)
        except PaperError as error:
            self.faults[path.name] = str(error)

    def founding(self) -> CharterFile:
        """Return the founding charter.

        Raises:
            PaperError: there is none, one of two groups, or one that is not signed by all.
        """
        found = [it for it in self.files.values() if it.is_founding and not it.is_draft]
        if len(found) > 1:
            names = " and ".join(sorted(it.digest.hex()[:16] for it in found))
            raise PaperError(f"{self.path} has the charters of two groups, {names}: take one out")
        if not found:
            fault = next(iter(self.faults.values()), None)
            raise PaperError(
                fault
                or f"there is no founding charter in {self.path}: put the file there that all"
                " founders have signed, NAME.charter (docs/consortium.md)"
            )
        standing = found[0].founding_standing()
        if not standing.is_enough:
            raise PaperError(
                f"{self._places[found[0].digest]} is not signed by all founders:"
                f" {standing.missing[0]}"
            )
        return found[0]

    def names(self, peer_id: str) -> bool:
        """Whether any charter here has a peer among its members."""
        key = public_key_of(peer_id)
        return any(it.key == key for file in self.files.values() for it in file.charter.members)

    def put(self, file: CharterFile) -> None:
        """Write what is new of a charter to its file, or to a new one.

        Raises:
            PaperError: it cannot be written.
        """
        known, place = self.files.get(file.digest), self._places.get(file.digest)
        if known is not None and place is not None:
            file = merged(known, file)
            if encode_file(file) == encode_file(known) and place.exists():
                return
        place = place or self.path / f"{file.digest.hex()[:16]}{SUFFIX}"
        write_file(place, file)  # With what somebody has signed there a moment ago.
        self.files[file.digest], self._places[file.digest] = file, place

    def place_of(self, digest: bytes) -> Path | None:
        """Return where a charter's file is."""
        return self._places.get(digest)

    def first_state(self, item: StateItem) -> Vector | None:
        """Return a first state, float32[d], if its file is here."""
        try:
            paths = sorted(it for it in self.path.iterdir() if it.suffix == STATE_SUFFIX)
        except OSError:
            return None
        for path in paths:
            try:
                vector, found = read_first_state(path)
            except PaperError as error:
                self.faults[path.name] = str(error)
                continue
            if found == item:
                vector.flags.writeable = False
                return vector
        return None

    def invitation(self) -> Invitation | None:
        """Return what this peer was invited to, if it came later than the founders.

        Raises:
            PaperError: it cannot be read.
        """
        path = self.path / INVITATION
        return read_invitation(path) if path.exists() else None

    def first_seen(self, digests: Iterable[bytes], now_s: int) -> dict[bytes, int]:
        """Return when proposals were first here, in seconds since 1970; what is new is noted."""
        if self._seen is None:
            self._seen = _read_seen(self.path / SEEN)
        wanted = {digest.hex() for digest in digests}
        seen = {name: at_s for name, at_s in self._seen.items() if name in wanted}
        seen |= dict.fromkeys(sorted(wanted - seen.keys()), now_s)
        if seen != self._seen:
            try:
                replace_file(self.path / SEEN, json.dumps(seen).encode(), mode=SHARED)
            except OSError as error:
                raise PaperError(f"cannot write {self.path / SEEN}: {error.strerror}") from None
            self._seen = seen
        return {bytes.fromhex(name): at_s for name, at_s in seen.items()}


def _read_seen(path: Path) -> dict[str, int]:
    try:
        seen = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # Then notice begins again, which harms nobody.
    if not isinstance(seen, dict):
        return {}
    return {str(name): at_s for name, at_s in seen.items() if isinstance(at_s, int)}


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
