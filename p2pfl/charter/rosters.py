"""Rosters: how groups said who they are before they had charters; read to found the same anew.

A roster named members, task and settings, and nobody signed it. What it says goes into a founding
charter, where the members come by their cards. The old group's model is a first state by then.
"""

from pathlib import Path
from typing import Literal

from p2pfl.charter.cards import MemberCard
from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import CharterForm
from p2pfl.charter.from_settings import form_from_settings
from p2pfl.group.cards import PeerName
from p2pfl.group.documents import read_document
from p2pfl.group.settings import AveragingSettings, GroupSettings
from p2pfl.learner.settings import PartitionSettings, SettingsTable, TaskSettings


class _Learning(TaskSettings):
    partition: PartitionSettings | None = None


class _Member(SettingsTable):
    name: PeerName
    peer_id: str
    addresses: tuple[str, ...] = ()
    commitment: str | None = None
    rows: int | None = None


class _Roster(SettingsTable):
    format: Literal[1] = 1
    name: str
    description: str = ""
    rounds: int = 30
    seed: int = 1
    checkpoint_every: int = 1
    evaluate_every: int = 1
    nonce: str | None = None
    draw_seed: str | None = None
    learning: _Learning = _Learning()
    averaging: AveragingSettings = GroupSettings()
    members: tuple[_Member, ...] = ()


def form_of_roster(
    path: Path, cards: list[MemberCard], *, first_state: Path, bundle: Path | None
) -> CharterForm:
    """Return the charter that says what a roster said.

    Args:
        path: of the roster.
        cards: of all its members.
        first_state: where the group begins, as `p2pfl task begin --model` writes it.
        bundle: of the task; None for one that comes with p2pfl.

    Raises:
        PaperError: it cannot be read, is of a trial, or the cards are not those of its members; one
            line a fault.
    """
    roster = read_document(path, _Roster, PaperError)
    if roster.learning.partition is not None:
        raise PaperError(
            f"{path}: it is the roster of a trial, whose members split one data set: run its"
            " scenario with p2pfl launch"
        )
    _require_cards(path, roster, cards)
    return form_from_settings(
        name=roster.name.strip(),
        purpose=roster.description or f"goes on from the roster of {roster.name}",
        rounds=roster.rounds,
        evaluate_every=roster.evaluate_every,
        seed=roster.seed,
        learning=roster.learning,
        averaging=roster.averaging,
        first_state=first_state,
        bundle=bundle,
        source=str(path),
    )


def _require_cards(path: Path, roster: _Roster, cards: list[MemberCard]) -> None:
    """Require the card of each member, as the same peer, and no others."""
    by_name = {card.name: card for card in cards}
    faults = []
    for member in roster.members:
        card = by_name.pop(member.name, None)
        if card is None:
            faults.append(f"{path}: {member.name} is a member, and its card is missing: --card")
        elif card.peer_id != member.peer_id:
            faults.append(
                f"{path}: the card of {member.name} is of another peer, {card.peer_id} and not"
                f" {member.peer_id}"
            )
    faults += [f"{path}: {name} is no member: leave its card out" for name in by_name]
    if faults:
        raise PaperError("\n".join(faults))
