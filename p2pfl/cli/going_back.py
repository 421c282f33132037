"""`p2pfl charter back`: what a proposal says that goes back to where an epoch began.

As where a member withdraws, and later models are not to build on rounds with its rows: then the
group goes back to the end of the epoch before that member joined, and trains again without it.
"""

from pathlib import Path

from p2pfl.cli.errors import BadInput
from p2pfl.cli.ledgers import read_ledger
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.record import DamagedRecord, read_record
from p2pfl_gossip.ledger.standing import KEPT_MAX


def print_beginnings(peer: Path, *, without: str | None) -> None:
    """Print the line `from` for each epoch's beginning, or for the one before a member joined.

    Args:
        peer: whose ledger it is.
        without: name of the member, if there is one.

    Raises:
        BadInput: the ledger cannot be read, or there never was such a member.
    """
    try:
        history = read_record(read_ledger(peer))
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {peer} is damaged: {error}") from None
    numbers = list(range(len(history.epochs)))
    if without is not None:
        joined = [
            epoch.number
            for epoch in history.epochs
            if any(member.name == without for member in epoch.charter.members)
        ]
        if not joined:
            raise BadInput(f"{without} is in no charter of this ledger")
        numbers = joined[:1]
        print(
            f"# the state before {without} joined; put the line at the head of the proposal's TOML"
        )
    for number in numbers:
        _print(history, number)


def _print(history: History, number: int) -> None:
    step = history.beginning(number)
    head, model = step.head, step.entry.state[0]
    print(f"# epoch {number} began at height {step.entry.height}")
    if 0 < number < len(history.epochs) - KEPT_MAX:
        print(f"# members keep the models of the last {KEPT_MAX} beginnings: this one may be lost")
    print(
        f'from = {{ epoch = {head.epoch}, round = {head.round}, entry = "{head.entry.hex()}",'
        f' length = {model.length}, state = "{model.digest.hex()}" }}'
    )
