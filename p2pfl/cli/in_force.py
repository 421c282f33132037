"""Which charter a command speaks of: the one in force, as far as the files beside it tell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pfl.charter.chain import chain_of, read_folder
from p2pfl.charter.charter_file import CharterFile, read_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import CHARTERS
from p2pfl.cli.errors import BadInput
from p2pfl.daemon.config import PeerFolder
from p2pfl.store.reading import has_journal, read_kept
from p2pfl_gossip.ledger.history import FOUNDING_RECORD, History
from p2pfl_gossip.ledger.record import DamagedRecord, read_record, record_from_journal
from p2pfl_gossip.records import MalformedFrame


def read_in_force(path: Path) -> CharterFile:
    """Read a charter that can be amended: a file, or the one in force of a folder.

    Raises:
        BadInput: it is a draft, not signed by all founders, or a proposal that is not approved.
        PaperError: a file is damaged, or a folder has none.
    """
    if path.is_dir():
        history = history_beside(path)
        taken = None if history is None else [epoch.digest for epoch in history.epochs]
        return chain_of(read_folder(path), in_force=taken).present
    file = read_file(path)
    list(doubts(path, file))
    return file


def history_beside(folder: Path) -> History | None:
    """Read the ledger of the peer whose folder of charters this is; None if it is no peer's.

    It tells which of the charters that are approved came into force, up to when the peer ran last.

    Raises:
        BadInput: the ledger cannot be read, or is damaged.
    """
    peer = folder.absolute().parent
    if folder.name != CHARTERS or not has_journal(PeerFolder(peer).journal):
        return None
    records = dict(read_kept(PeerFolder(peer).journal, "ledger/"))
    if FOUNDING_RECORD not in records:
        return None  # Of a network, or of a peer that never began.
    try:
        return read_record(record_from_journal({**records}))
    except (DamagedRecord, MalformedFrame) as error:
        raise BadInput(f"the ledger of {peer} is damaged: {error}") from None


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
