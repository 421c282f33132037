"""The privacy budgets of a launched group: made for the run, of just what its charter may cost."""

import os
from collections.abc import Iterable
from pathlib import Path

from p2pfl.privacy.budget.ledger import ID_BYTES, create, read_records
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.planner import Plan
from p2pfl_simulations.launch.errors import LaunchError

BUDGET = Path("budget", "ledger")
ANCHORS = "anchors"


def anchor_of(name: str) -> Path:
    """Return where a peer's anchor is, from its folder: beside the folders of all."""
    return Path("..", ANCHORS, name)


def open_budget(folder: Path, plan: Plan) -> None:
    """Make the budget of a peer's rows, and its anchor.

    Raises:
        LaunchError: it cannot be made.
    """
    ledger, anchor = folder / BUDGET, folder / anchor_of(folder.name)
    epsilon, delta = plan.question.epsilon, plan.question.delta
    assert epsilon is not None
    assert delta is not None
    try:
        for made in (ledger, anchor):
            made.parent.mkdir(exist_ok=True)
        create(
            *(ledger, anchor),
            dataset=folder.name,
            epsilon=epsilon,
            delta=delta,
            entropy=os.urandom(ID_BYTES),
        )
    except (OSError, PrivacyError) as error:
        raise LaunchError(f"cannot make the budget of {folder.name}: {error}") from error


def spent_most(folders: Iterable[Path]) -> int:
    """Return how many vectors a peer gave, by its own budget: of all peers the most.

    Raises:
        PrivacyError: a budget cannot be read.
    """
    books = [read_records(folder / BUDGET).book for folder in folders]
    return max((one.spent for book in books for one in book.charters.values()), default=0)
