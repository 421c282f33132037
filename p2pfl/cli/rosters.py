"""`p2pfl roster create | add | show | verify`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.overrides import parse_overrides
from p2pfl.cli.plugins import SCENARIOS, BrokenPlugin, load_plugin
from p2pfl.cli.quantities import plural
from p2pfl.daemon.config import PeerFolder
from p2pfl.group.cards import Member, read_card
from p2pfl.group.documents import put_value
from p2pfl.group.protection import describe_protection
from p2pfl.group.roster_file import (
    RosterFile,
    draw_nonce,
    faults,
    group_id,
    make_roster,
    read_draft,
    read_roster,
    with_members,
    write_roster,
)
from p2pfl.group.settings import chosen_algorithm
from p2pfl.store.keys import read_public_keys
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN

# --- create ----------------------------------------------------------------------------------


def create_roster(
    path: Path, given: Mapping[str, Any], settings: Iterable[str], *, scenario: str | None
) -> None:
    """Write a roster without members; `given` is by dotted key, `settings` are as typed."""
    if path.exists() or path.is_symlink():
        raise BadInput(f"{path} is there already; name a new file, or remove it")
    values = parse_overrides(settings) | dict(given)
    with peer_errors():
        document = _from_scenario(scenario) if scenario else {}
        for key, value in values.items():
            put_value(document, key, value, BadInput)
        document.setdefault("name", path.stem)
        document.setdefault("nonce", draw_nonce())
        if isinstance(averaging := document.get("averaging"), dict):
            averaging.setdefault("algorithm", chosen_algorithm(averaging, COHORT_SIZE_MIN))
        roster = make_roster(document, source="roster create")
        write_roster(path, roster)
    rounds, members = plural(roster.rounds, "round"), plural(len(roster.members), "member")
    print(f"wrote {path}: {roster.learning.task}, {rounds}, {members}")
    if scenario:
        print(
            "a trial: the members split the task's data (learning.partition) and all draws are"
            " known (draw_seed); take these out of the file for a group with data of its own"
        )
    print(f"next: p2pfl roster add {path} CARD...")


def _from_scenario(name: str) -> dict[str, Any]:
    """Return what a scenario says of a group."""
    try:
        document: dict[str, Any] = load_plugin(SCENARIOS, "roster")(name)
    except BrokenPlugin as error:
        raise BadInput(f"--from-scenario {name}: {error}") from None
    return document


# --- add -------------------------------------------------------------------------------------


def add_cards(path: Path, cards: Sequence[Path]) -> None:
    """Admit peers by their cards, all or none; tell what each of them changed."""
    with peer_errors():
        roster = read_draft(path)
        members = list(roster.members)
        told = [_admit(members, read_card(card), card) for card in cards]
        changed = with_members(roster, members)
        write_roster(path, changed)
    for line in told:
        print(line)
    before, after = group_id(roster), group_id(changed)
    same = "still group" if after == before else "now group"
    print(f"{path}: {plural(len(members), 'member')}, {same} {after.hex()}")
    for fault in faults(changed):
        print(f"not complete yet: {fault}")


def _admit(members: list[Member], card: Member, source: Path) -> str:
    """Put a card among the members; return what that changed."""
    place = next(
        (index for index, member in enumerate(members) if member.peer_id == card.peer_id), None
    )
    if place is None:
        for member in members:
            if member.name == card.name:
                raise BadInput(
                    f"{source}: {card.name} is a member already, as {member.peer_id} and not"
                    f" {card.peer_id}; ask the two for other names, or who is who"
                )
        members.append(card)
        return f"added {card.name}, {card.peer_id}"
    known = members[place]
    if known == card:
        return f"{card.name} is a member already, just as on {source}"
    if known.commitment not in (None, card.commitment):
        raise BadInput(
            f"{source}: {card.name} has committed to another contribution to the draw; a group's"
            " draw cannot change: make a new roster if it has not begun"
        )
    members[place] = card
    changes = [
        f"{what} {_shown(getattr(known, key))} -> {_shown(getattr(card, key))}"
        for key, what in _SHOWN
        if getattr(known, key) != getattr(card, key)
    ]
    return f"changed {known.name}: {'; '.join(changes)}"


_SHOWN = (("name", "name"), ("addresses", "addresses"), ("commitment", "commits"), ("rows", "rows"))


def _shown(value: str | tuple[str, ...] | int | None) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value or "none")


# --- show and verify -------------------------------------------------------------------------


def show_roster(path: Path, *, as_json: bool) -> None:
    """Show a roster, complete or not."""
    with peer_errors():
        roster = read_draft(path)
    found, protection = faults(roster), describe_protection(roster)
    if as_json:
        document = {
            "group_id": group_id(roster).hex(),
            "is_complete": not found,
            "faults": found,
            "hides_models": roster.hides_models,
            "protection": protection,
            "roster": roster.model_dump(mode="json"),
        }
        print(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    averaging = roster.averaging.algorithm
    draws = "agreed in secret" if roster.draw_seed is None else "public"
    learning = "split for a trial" if roster.learning.partition else "of their own"
    for name, value in (
        ("group", roster.name),
        ("group id", group_id(roster).hex()),
        ("learning", f"{roster.learning.task}, {plural(roster.rounds, 'round')}, data {learning}"),
        ("averaging", averaging),
        *([] if roster.keeps_ledger else [("draws", draws)]),
    ):
        console.print(f"{name:<11}{value}", markup=False, soft_wrap=True)
    if roster.members:
        console.print(_member_table(roster))
    for line in protection:
        console.print(line, markup=False)
    for fault in found:
        console.print(f"not complete yet: {fault}", markup=False, style="yellow", soft_wrap=True)


def _member_table(roster: RosterFile) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("member", style="bold", no_wrap=True)
    table.add_column("peer id", overflow="fold")
    table.add_column("addresses", overflow="fold")
    table.add_column("rows" if roster.keeps_ledger else "commits", justify="right")
    for index, member in enumerate(roster.members):
        last = "no" if member.commitment is None else "yes"
        if roster.keeps_ledger:
            last = "" if member.rows is None else f"{member.rows:,}"
        table.add_row(str(index), member.name, member.peer_id, "\n".join(member.addresses), last)
    return table


def verify_roster(path: Path, peer: Path | None) -> None:
    """Say in one line that a group can start with a roster, or raise BadInput with its faults."""
    with peer_errors():
        roster = read_roster(path)
        as_member = _verify_member(path, roster, peer) if peer else ""
    print(
        f"{path}: group {group_id(roster).hex()}, {plural(len(roster.members), 'member')},"
        f" ready to start{as_member}"
    )


def _verify_member(path: Path, roster: RosterFile, peer: Path) -> str:
    keys = read_public_keys(PeerFolder(peer).key)
    member = roster.find(keys.peer_id)
    if member is None:
        raise BadInput(
            f"{path}: {keys.peer_id}, the peer of {peer}, is no member; have its card added:"
            f" p2pfl roster add {path} {PeerFolder(peer).card}"
        )
    if not roster.keeps_ledger and member.commitment not in (None, keys.commitment.hex()):
        raise BadInput(
            f"{path}: {member.name} is committed to another draw secret than {peer} holds; have"
            f" {PeerFolder(peer).card} added to a new roster"
        )
    return f", with {peer} as {member.name}"
