"""Why members give no update now, and what their operators can do: lines of `p2pfl peer status`."""

from collections.abc import Iterator, Mapping
from typing import Any

QUIET = ("finished", "charter")
"""All members rest so for a while: there is nothing to do about it."""

RESTS: Mapping[str, tuple[str, str]] = {
    "unsigned": (
        "its own governance keys have not signed the charter in force",
        "sign it with p2pfl charter approve FILE --key KEY",
    ),
    "task": (
        "its operator has not approved the task, or it cannot run there",
        "p2pfl task show, then p2pfl task approve",
    ),
    "lapsed": (
        "by its calendar the charter, or a document that it requires, is over",
        "amend the charter with p2pfl charter propose",
    ),
    "spent": (
        "it has given as many updates from one model as it may",
        "p2pfl peer resume --once-more gives one more; else it goes on with the next model",
    ),
    "start": (
        "its journal is older than what others hold of it",
        "it goes on by itself once a model above all that is certified",
    ),
    "paused": ("its operator paused it", "p2pfl peer resume"),
    "state": (
        "it lacks the model that the epoch starts from",
        "put its file into the folder charters",
    ),
    "training": ("its last training gave nothing", "its own log says why"),
}
"""By the cause: why, and what to do at that member's own place."""


def resting_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """Name those of a group that give no update now; not ourselves, if the charter's rows do."""
    ledger, charter = status["ledger"], status["charter"]
    if ledger is None:
        return
    for member in ledger["members"]:
        cause, name = member["rests"], member["name"]
        is_told = name == status["name"] and charter is not None and charter["why"]
        if cause is None or cause in QUIET or is_told:
            continue
        if cause in RESTS:
            why, remedy = RESTS[cause]
            yield f"{name} rests: {why}; there: {remedy}"
        else:
            yield f"{name} rests, for a reason that this version does not know"
