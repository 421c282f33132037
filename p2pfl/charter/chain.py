"""The charters of a group in their order, and what waits beside them.

Whoever has the files can check them without the group: the founding charter carries the signature
of each key in it, and each later one what it takes to change the one before. Which of two charters
that are both approved came into force, only the ledger says.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from p2pfl.charter.charter_file import SUFFIX, CharterFile, merged, read_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import CHARTERS
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.approving import ApprovalStanding
from p2pfl_gossip.ledger.departing import departed

FILES_MAX = 4096
"""Charter files in one folder: one a day for a decade."""

COMPARED_MAX = 5
"""Members by which two studies differ at least, so that no sum over fewer can be worked out."""

ABOUT_TO_END_DAYS = (60, 30, 7)
"""How long before a date people are warned."""


@dataclass(frozen=True)
class Waiting:
    """A charter that is not in force.

    Attributes:
        file: with what keys have said of it.
        standing: how far its approval is.
    """

    file: CharterFile
    standing: ApprovalStanding


@dataclass(frozen=True)
class Chain:
    """The charters of one group.

    Attributes:
        files: from the founding one to the last that is approved and has no rival.
        standings: of each.
        waiting: those that name the last one and are not in force, or not for certain.
        drafts: founding charters that are not signed by all yet.
    """

    files: tuple[CharterFile, ...]
    standings: tuple[ApprovalStanding, ...]
    waiting: tuple[Waiting, ...]
    drafts: tuple[CharterFile, ...] = ()

    @property
    def present(self) -> CharterFile:
        """The charter that holds, as far as these files say.

        Raises:
            PaperError: there is none: the group is not founded yet.
        """
        if not self.files:
            raise PaperError("there is no charter that all founders have signed")
        return self.files[-1]

    def departed(self, number: int) -> dict[str, Says]:
        """Return what members said alone of a charter in force once, by name.

        As its own file has it, or that of the charter which followed: who leaves is not thrown out.

        Args:
            number: of the charter, in order.
        """
        files = self.files[number : number + 2]
        return departed(files[0].charter, [it for file in files for it in file.approvals])

    def find(self, digest: bytes) -> CharterFile | None:
        """Return one of the charters in force once, by its name."""
        return next((file for file in self.files if file.digest == digest), None)


def read_folder(folder: Path) -> list[CharterFile]:
    """Read all charter files of a folder.

    Raises:
        PaperError: one of them cannot be read, or is damaged; or it is a peer's folder, whose
            charters lie in one of their own.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise PaperError(f"cannot read {folder}: {error.strerror}") from None
    if not paths and (folder / CHARTERS).is_dir():
        raise PaperError(f"{folder} is a peer's folder: its charters are in {folder / CHARTERS}")
    if len(paths) > FILES_MAX:
        raise PaperError(f"{folder} has more than {FILES_MAX} charter files; move some away")
    return [read_file(path) for path in paths]


def chain_of(files: Iterable[CharterFile], *, in_force: Collection[bytes] | None = None) -> Chain:
    """Put charters of one group in their order.

    Args:
        files: of the group.
        in_force: digests of the charters that came into force, by a member's ledger, where there is
            one: of the others none did, whoever approved it.

    Raises:
        PaperError: they are of several groups, or one of them follows from none that is here.
    """
    known: dict[bytes, CharterFile] = {}
    for file in files:
        name = file.draft_digest if file.is_founding else file.digest
        known[name] = merged(known[name], file) if name in known else file
    drafts = [file for file in known.values() if file.is_draft]
    started = [file for file in known.values() if file.is_founding and not file.is_draft]
    rest = [file for file in known.values() if not file.is_founding]
    if len(started) > 1:
        names = " and ".join(file.digest.hex()[:16] for file in started)
        raise PaperError(f"these are charters of {len(started)} groups: {names}")
    if not started:
        if rest:
            raise PaperError("the founding charter is missing: amendments alone prove nothing")
        return Chain((), (), (), tuple(drafts))
    standing = started[0].founding_standing()
    if not standing.is_enough:
        if rest:
            raise PaperError("the founding charter is not signed by all, and there are amendments")
        return Chain((), (), (), (*drafts, started[0]))
    return _followed(started[0], standing, rest, tuple(drafts), in_force)


def _followed(
    founding: CharterFile,
    standing: ApprovalStanding,
    rest: list[CharterFile],
    drafts: tuple[CharterFile, ...],
    in_force: Collection[bytes] | None,
) -> Chain:
    files, standings = [founding], [standing]
    while True:
        present = files[-1]
        children = [file for file in rest if file.charter.present == present.digest]
        rest = [file for file in rest if file not in children]
        waiting = [Waiting(file, file.standing_after(present)) for file in children]
        followers = {file.charter.present for file in rest}
        approved = [it for it in waiting if it.standing.is_enough]
        if in_force is not None:
            taken = [it for it in approved if it.file.digest in in_force]
        else:
            # Of two that are approved, that one came into force which another one follows.
            taken = [it for it in approved if len(approved) == 1 or it.file.digest in followers]
        if len(taken) != 1:
            if rest and in_force is None:  # By a ledger, they are void with what they follow.
                raise PaperError(
                    f"charter {rest[0].digest.hex()[:16]} follows"
                    f" {rest[0].charter.present.hex()[:16]}, which is not here or not approved"
                )
            return Chain(tuple(files), tuple(standings), tuple(waiting), drafts)
        files.append(taken[0].file)
        standings.append(taken[0].standing)


def comparable(
    one: CharterFile, other: CharterFile, of_frame: Collection[bytes] = ()
) -> str | None:
    """Warn of two studies of one frame whose models can be compared; None where they cannot.

    Whoever has the models of two groups that differ by few members has nearly what these few gave.

    Args:
        one: a study, or the frame itself.
        other: the same.
        of_frame: digests of charters that are known to be of one frame: studies of two of its
            epochs name two of them.
    """
    frames = [bytes.fromhex(it.terms.under) if it.terms.under else it.digest for it in (one, other)]
    is_frame_of_other = one.digest == frames[1] or other.digest == frames[0]
    is_related = frames[0] == frames[1] or is_frame_of_other
    is_related |= all(frame in of_frame for frame in frames)
    members = [{member.controller for member in it.charter.members} for it in (one, other)]
    differ = sorted(members[0] ^ members[1])
    if not is_related or not 0 < len(differ) < COMPARED_MAX:
        return None
    return (
        f"{one.terms.name} and {other.terms.name} differ by {', '.join(differ)}: who has the models"
        " of both can compare them, and so learn of these members alone"
    )


def days_left(until: int, now_s: int) -> int:
    """Return the whole days until a date; negative once it is over."""
    return (until - now_s) // 86_400


def date_warning(what: str, until: int, now_s: int) -> str | None:
    """Warn of a date that comes near, or is over; None where there is time."""
    left = days_left(until, now_s)
    if until <= now_s:
        days = (now_s - until) // 86_400
        since = f"{days} day{'' if days == 1 else 's'}" if days else "less than a day"
        return f"{what} is over since {since}: no update is given under it"
    for days in sorted(ABOUT_TO_END_DAYS):
        if left < days:
            return f"{what} ends in {left} days (warning of {days} days)"
    return None
