"""Which charter a command speaks of: the one in force, as far as the files beside it tell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pfl.charter.chain import chain_of, read_folder
from p2pfl.charter.charter_file import CharterFile, read_file
from p2pfl.charter.errors import PaperError
from p2pfl.cli.errors import BadInput


def read_in_force(path: Path) -> CharterFile:
    """Read a charter that can be amended: a file, or the one in force of a folder.

    Raises:
        BadInput: it is a draft, not signed by all founders, or a proposal that is not approved.
        PaperError: a file is damaged, or a folder has none.
    """
    if path.is_dir():
        return chain_of(read_folder(path)).present
    file = read_file(path)
    list(doubts(path, file))
    return file


def doubts(path: Path, file: CharterFile) -> Iterator[str]:
    """Refuse a charter that is not in force; say why it may not be, where only the ledger knows.

    Raises:
        BadInput: it is a draft, not signed by all founders, or a proposal that is not approved.
        PaperError: a charter beside it is damaged.
    """
    if file.is_draft:
        raise BadInput(f"{path}: it is a draft: not all founders have shown their random bytes yet")
    beside = read_folder(path.parent)
    if file.is_founding:
        standing = file.founding_standing()
        if not standing.is_enough:
            raise BadInput(f"{path} is not signed by all founders: {standing.missing[0]}")
    else:
        before = next((it for it in beside if it.digest == file.charter.present), None)
        if before is None:
            name = file.charter.present.hex()[:16]
            yield f"the charter that it follows, {name}, is not beside it: it may be a proposal"
        elif (standing := file.standing_after(before)).missing:
            raise BadInput(
                f"{path} is a proposal, and not approved ({standing.missing[0]}): name the charter"
                " in force"
            )
    for name in approved_after(file, beside):
        yield f"charter {name} follows it and is approved: once that is in force, name that one"


def approved_after(
    file: CharterFile, others: Sequence[CharterFile], *, but: bytes = b""
) -> Iterator[str]:
    """Name the charters, but for one, that are approved and may have come in the place of one."""
    for it in others:
        if it.charter.present != file.digest or it.digest == but:
            continue
        try:
            standing = it.standing_after(file)
        except PaperError:
            continue  # It can follow none.
        if standing.is_enough:
            yield it.digest.hex()[:16]
