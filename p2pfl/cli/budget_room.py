"""What a private charter takes of budgets, told before anybody signs it.

An amendment is paid beside what the charter before it has reserved: that one is closed, and the
rest of it free, only once the next has begun.
"""

from pathlib import Path

from p2pfl.charter.charter_file import CharterFile
from p2pfl.charter.papers import CHARTERS
from p2pfl.cli.quantities import plural
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.spending import NO_BUDGET
from p2pfl.privacy.budget.book import Book
from p2pfl.privacy.budget.ledger import open_ledger
from p2pfl.privacy.errors import PrivacyError
from p2pfl_gossip.ledger.privacy import Privacy


def print_budget(file: CharterFile, peer: Path | None) -> None:
    """Print how many updates budgets must pay for, and whether a peer's does.

    Args:
        file: the charter; of one that is not private nothing is printed.
        peer: the folder of a peer of the member that is to sign; None if none is known.

    Raises:
        ConfigError: the peer's settings cannot be read.
    """
    privacy = file.charter.privacy
    if privacy is None:
        return
    if file.is_founding:
        print(f"privacy    each member's budget must pay for {plural(privacy.spends, 'update')};")
        print("           any later charter is paid beside them: a budget without room for more")
        print("           than that pays for none, not even for another date")
    else:
        more = plural(privacy.spends, "more update")
        print(f"privacy    each member's budget must pay for {more},")
        print("           beside what it has reserved for the charter in force")
    if peer is not None:
        print(f"budget     of {peer}: {_budget_of(peer, file, privacy)}")


def peer_beside(path: Path) -> Path | None:
    """Return the folder of the peer whose folder of charters a path is, or is a file of."""
    for charters in (path, path.parent):
        if charters.name == CHARTERS and PeerFolder(charters.parent).config.is_file():
            return charters.parent
    return None


def _budget_of(peer: Path, file: CharterFile, privacy: Privacy) -> str:
    """Say whether the budget of a peer's data pays for a charter, as it is now."""
    config = read_config(peer)
    if config.budget is None or config.budget_anchor is None:
        return NO_BUDGET
    try:
        book = open_ledger(peer / config.budget, peer / config.budget_anchor).book
        if file.digest.hex() in book.charters:
            return "they are reserved"
        room = _room(book, privacy)
    except PrivacyError as error:
        return str(error)
    if room > privacy.spends:
        return f"there is room for them, and for {room - privacy.spends:,} more of this noise"
    if room == privacy.spends:
        return "there is room for them alone: it would pay for no later charter"
    if not book.charters:
        return (
            f"there is surely room for {room:,} of them; if all fit, they take it whole, and it"
            " would pay for no later charter"
        )
    return f"there is room for {room:,} of them: its peer would hold this charter back"


def _room(book: Book, privacy: Privacy) -> int:
    return book.room(
        rate_units=privacy.rate_units, noise=privacy.noise_units / 2**20, steps=privacy.steps
    )
