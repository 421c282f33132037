"""What the processes of a launched run left behind, told to checkers: journals and logs."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from p2pfl.daemon.config import PeerFolder
from p2pfl.store.errors import StoreError
from p2pfl.store.reading import has_journal, read_kept, read_kept_vector
from p2pfl_gossip.actions import Persist, Report, Vector
from p2pfl_gossip.events import Finished
from p2pfl_gossip.ledger.standing import STANDING_RECORD, model_key, read_standing
from p2pfl_simulations.checkers import Violation, Watched
from p2pfl_simulations.checkers.conduct import NoHonestRefused
from p2pfl_simulations.checkers.ledger import OneHistory
from p2pfl_simulations.checkers.naming import OnlyLiarsNamed
from p2pfl_simulations.launch.ledgers import LEDGER

LOGS = "peer.log*"
"""Of a peer: the one that is written, and those that were put away."""


def check_journals(watched: Watched, folders: Sequence[Path], finished: Collection[int]) -> None:
    """Tell checkers what the members of a group keep, as if each had kept all of it at once.

    Args:
        watched: the run.
        folders: of all peers, by index; their processes have ended.
        finished: who has reported that it finished, by index.

    Raises:
        Violation: something that must hold does not.
    """
    checkers = (OneHistory(), OnlyLiarsNamed())
    for checker in checkers:
        checker.start(watched)
        for index, folder in enumerate(folders):
            checker.on_action(0.0, index, Persist(_kept(folder)))
        for index in finished:
            checker.on_action(0.0, index, Report(Finished(watched.rounds)))


def _kept(folder: Path) -> dict[str, bytes | Vector | None]:
    """Return the ledger's records of a journal, and the model that it goes on from."""
    journal = PeerFolder(folder).journal
    if not has_journal(journal):
        return {}  # It was ended before it had begun.
    try:
        records: dict[str, bytes | Vector | None] = {**read_kept(journal, LEDGER)}
        standing = records.get(STANDING_RECORD)
        if isinstance(standing, bytes):
            key = model_key(read_standing(standing).model)
            model = read_kept_vector(journal, key)
            if model is not None:
                records[key] = model
    except StoreError as error:
        raise Violation(f"the journal of {folder.name} does not hold: {error}") from None
    return records


def check_logs(watched: Watched, folders: Sequence[Path]) -> None:
    """Tell a checker whom peers refused, as their logs have it; raises `Violation`."""
    checker = NoHonestRefused()
    checker.start(watched)
    for index, folder in enumerate(folders):
        for entry in _entries(folder):
            if entry.get("event") == "refused":
                sender = watched.index_of(entry["member"])
                checker.on_refused(0.0, index, sender, entry["reason"])


def _entries(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the lines of a peer's logs; what a kill left of one is passed over."""
    for log in sorted(folder.glob(LOGS)):
        with log.open("rb") as lines:
            for line in lines:
                if line.rstrip().endswith(b"}"):
                    entry: dict[str, str] = json.loads(line)
                    yield entry
